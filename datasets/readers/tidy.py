"""Tidy tables of any column names: CSV, JSON lines and Parquet, one row for each observation or each run."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Container, Iterator
from itertools import islice
from os import PathLike, fspath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalingeq.errors import DataError

from . import jsonl
from .columns import Columns, Table, as_number
from .log import Log
from .names import RUN_COLUMNS, Naming

FORMAT = "tidy table (CSV, JSON lines, Parquet)"
PARQUET = b"PAR1"
DELIMITERS = ",;\t"
ROWS = 1 << 12  # of a CSV or Parquet table, decoded at a time
BYTES_PER_BYTE = 1000  # numbers that a byte of Parquet may stand for; a log has noise and stays far below
SMALL = 1 << 28  # bytes in memory that any file may take


def can_read(head: bytes, name: str) -> bool:
    r"""Tell whether a file is a table, by its first lines.

    Examples
    --------
    >>> can_read(b"step,loss\n1,3.0\n", "log"), can_read(b'{"step": 1}\n', "log"), can_read(b"hello\n", "log.csv")
    (True, True, False)
    """
    if head.startswith(PARQUET):
        return True
    head = head.removeprefix(jsonl.BOM)
    if b"\0" in head:
        return False
    first = next((line for line in head.splitlines() if line.strip()), b"").strip()
    if first.startswith(b"{"):
        try:
            return isinstance(json.loads(first), dict)
        except (ValueError, RecursionError):
            return False
    try:
        return len(_fields(first.decode())) > 1
    except UnicodeDecodeError:
        return False


def read(path: str | PathLike[str], naming: Naming | None = None) -> Iterator[Log]:
    r"""Read the runs of a table, in the order of their first rows.

    Parameters
    ----------
    path : str or path
        CSV with a header line and commas, semicolons or tabs; JSON lines; or Parquet, which needs ``pyarrow``.
    naming : Naming, optional
        Which columns are wanted, and which name the run: those called ``run``, ``run_name`` or ``run_id`` where it does
        not say. Without these, rows with a step (or epoch) are one run; rows without, and all rows where it says that
        no column does (``run`` None), are each the end of a run.

    Yields
    ------
    Log
        Text of the columns to be kept is in ``config``.

    Raises
    ------
    DataError
        If the file is not a table or names no run in some rows.

    Examples
    --------
    >>> import pathlib
    >>> _ = pathlib.Path("log.csv").write_text("run,iter,val\na,1,3.0\nb,1,2.8\na,2,2.5\n")
    >>> [(log.name, log.columns["val"].tolist()) for log in read("log.csv", Naming.of({"loss": "val"}))]
    [('a', [3.0, 2.5]), ('b', [2.8])]
    """
    path = fspath(path)
    naming = naming or Naming()
    table = read_table(path, is_wanted=naming.is_wanted, as_text={*RUN_COLUMNS, *(naming.run or ())})
    for name in naming.run or ():
        if name in naming.columns.values() and name in table.words:  # tells the runs apart, and is a quantity as well
            words = table.words[name]
            table.numbers[name] = np.array([*map(as_number, words.values), np.nan])[words.codes]
    _refuse_words(table, naming, path)
    names = {*table.numbers, *table.words}
    run = naming.run
    if run is not None and not names.intersection(run):  # where the configuration names the run, it does so later
        run = tuple(name for name in RUN_COLUMNS if name in names)[:1] if not run else ()
    missing = [name for name in run or () if name not in names]
    if missing:
        raise DataError(
            f"run: no column {missing[0]!r} in {path}, which has {', '.join([*sorted(names), *table.left_out])}"
        )
    if run:
        labels, of_row = combine_runs(table, run, path)
    elif run is not None and _has_steps(table, naming):
        labels, of_row = [os.path.splitext(os.path.basename(path))[0]], np.zeros(table.rows, np.int64)
    else:
        labels, of_row = [str(row) for row in range(table.rows)], np.arange(table.rows)
    yield from _split(table, labels, of_row, naming, path)


def _has_steps(table: Table, naming: Naming) -> bool:
    if {"step", "epoch"} & {*naming.values, *naming.columns}:
        return True
    return any(naming.find(role, table.numbers, is_tidy=True) is not None for role in ("step", "epoch"))


def _split(table: Table, labels: list[str], of_row: NDArray[np.int64], naming: Naming, path: str) -> Iterator[Log]:
    """Give each run its rows, in their order."""
    numbers = table.numbers
    if (np.diff(of_row) < 0).any():
        order = np.argsort(of_row, kind="stable")
        for name in numbers:  # one after the other: no second copy of the table
            numbers[name] = numbers[name][order]
    else:
        order = np.arange(of_row.size)
    ends = np.cumsum(np.bincount(of_row, minlength=len(labels)))
    kept = {name: words for name, words in table.words.items() if name in naming.keep or name in (naming.run or ())}
    for label, start, end in zip(labels, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        config = {}
        for name, words in kept.items():
            codes = np.unique(words.codes[order[start:end]])
            if codes.size > 1:
                raise DataError(
                    f"{name}: its text changes within run {label!r} of {path}; keep columns of one text a run"
                )
            config[name] = words.values[codes[0]] if codes[0] >= 0 else ""
        columns = {name: column[start:end] for name, column in numbers.items() if name not in kept}
        yield Log(label, columns, config, path, table.left_out)


def combine_runs(table: Table, run: tuple[str, ...], path: str) -> tuple[list[str], NDArray[np.int64]]:
    """Tell the names of the runs, and the run of each row, from one column of words or several."""
    codes = np.stack([table.words[name].codes for name in run])
    nameless = np.flatnonzero((codes < 0).any(axis=0))
    if nameless.size:
        raise DataError(
            f"run: {nameless.size} rows of {path} name no run (the first is row {nameless[0] + 1} after the header); "
            f"fill in the column"
        )
    _, first, of_row = np.unique(codes, axis=1, return_index=True, return_inverse=True)
    order = np.argsort(first)
    labels = [
        ", ".join(table.words[name].values[codes[k, first[j]]] for k, name in enumerate(run)) for j in order.tolist()
    ]
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return labels, rank[of_row.ravel()]


def _refuse_words(table: Table, naming: Naming, path: str) -> None:
    """Refuse text in columns that have to be numbers."""
    for name, words in table.words.items():
        numbers = table.numbers.get(name)
        if numbers is None or name in naming.keep or name in (naming.run or ()):
            continue
        if name in naming.columns.values() or not np.isnan(numbers).all():
            raise DataError(
                f"{path}, line {words.line}: {words.values[0]!r} in the column {name!r}, where numbers are needed"
            )
        del table.numbers[name]  # a column of words that has the name of a number


def read_table(
    path: str | PathLike[str],
    *,
    is_wanted: Callable[[str], bool] = lambda name: True,
    as_text: Container[str] = (),
) -> Table:
    """Read the wanted columns of a CSV, JSON lines or Parquet file, told apart by content.

    Parameters
    ----------
    path, is_wanted, as_text
        As for :func:`scalingeq.datasets.readers.jsonl.read_table`.

    Returns
    -------
    Table
        Numbers, and words where a column has these.

    Raises
    ------
    DataError
        If the file cannot be read as a table; names file and line.
    """
    path = fspath(path)
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if head.startswith(PARQUET):
        table = _read_parquet(path, Columns(is_wanted, as_text))
    elif head.removeprefix(jsonl.BOM).lstrip().startswith(b"{"):
        table = jsonl.read_table(path, is_wanted=is_wanted, as_text=as_text)
    else:
        table = _read_csv(path, Columns(is_wanted, as_text))
    return table


def _fields(header: str) -> list[str]:
    return next(csv.reader([header], delimiter=_delimiter(header), skipinitialspace=True), [])


def _delimiter(header: str) -> str:
    return max(DELIMITERS, key=header.count)


def _read_csv(path: str, columns: Columns) -> Table:
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = None
        try:
            # Without a limit, a file without line ends would be one line of all its bytes.
            lines = iter(lambda: file.readline(jsonl.LONGEST_LINE), "")
            header = next((line for line in lines if line.strip()), "")
            file.seek(0)
            reader = csv.reader(lines, delimiter=_delimiter(header), skipinitialspace=True, strict=True)
            names = next((row for row in reader if any(row)), [])
            twice = [name for name in names if columns.is_wanted(name.strip()) and names.count(name) > 1]
            if twice:
                raise DataError(f"{path}, line {reader.line_num}: the header names {twice[0]!r} twice; rename one")
            rows = 0
            filled = ((reader.line_num, row) for row in reader if row)
            while block := list(islice(filled, ROWS)):
                _add_rows(columns, names, block, rows, path)
                rows += len(block)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: holds the bytes {error.object[error.start :][:4]!r}, text in UTF-8 was expected"
            ) from error
        except csv.Error as error:
            line = reader.line_num if reader is not None else 1
            raise DataError(f"{path}, line {line}: {error}; rows of a table were expected") from error
    if not rows:
        raise DataError(f"{path}: the table has a header and no rows; give one row for each observation")
    return columns.finish(rows)


def _add_rows(columns: Columns, names: list[str], block: list[tuple[int, list[str]]], rows: int, path: str) -> None:
    """Add a block of rows that each come with their line."""
    lines, cells = zip(*block, strict=True)
    odd = next((k for k, row in enumerate(cells) if len(row) != len(names)), None)
    if odd is not None:
        raise DataError(
            f"{path}, line {lines[odd]}: {len(cells[odd])} cells, where the header has {len(names)}; is the file cut off?"
        )
    where = slice(rows, rows + len(block))
    for k, name in enumerate(names):
        if columns.is_wanted(name.strip()):
            columns.add(name.strip(), where, [row[k] or "nan" for row in cells], lambda row: lines[row - rows])


def _read_parquet(path: str, columns: Columns) -> Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(f"{path}: Parquet needs pyarrow; pip install 'scalingeq[logs]'") from error

    rows = 0
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            plain = [pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal]
            plain += [pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary]
            names = {path: name for path, name in _leaves(schema) if columns.is_wanted(name)}
            _refuse_bomb(file, len(names), path)
            for batch in file.iter_batches(ROWS, columns=list(names)):
                where = slice(rows, rows + batch.num_rows)
                flat = pa.Table.from_batches([batch])
                while any(pa.types.is_struct(one.type) for one in flat.schema):
                    flat = flat.flatten()
                for one, column in zip(flat.schema, flat.columns, strict=True):
                    if one.name in names and any(test(one.type) for test in plain):
                        columns.add(names[one.name], where, _values(column), lambda row: row + 1)
                rows += batch.num_rows
    except (pa.ArrowException, OSError, ValueError, NotImplementedError) as error:
        what = str(error).strip().splitlines()[0]
        raise DataError(f"{path}: begins as Parquet and cannot be read ({what}); is it cut off?") from error
    if not rows:
        raise DataError(f"{path}: the table has no rows; give one row for each observation")
    return columns.finish(rows)


def _values(column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return column.cast(pa.float64(), safe=False).to_numpy() if column.type != pa.float64() else column.to_numpy()
    return column.to_pylist()


def _leaves(schema: Any) -> list[tuple[str, str]]:
    """Path of each column in the file, and its name with "/" between nested keys (and not for a "." in a key)."""
    import pyarrow as pa

    def below(one: Any, path: str, name: str) -> Iterator[tuple[str, str]]:
        path, name = f"{path}{one.name}", f"{name}{one.name}"
        if pa.types.is_struct(one.type):
            for k in range(one.type.num_fields):
                yield from below(one.type.field(k), f"{path}.", f"{name}/")
        else:
            yield path, name

    return [leaf for one in schema for leaf in below(one, "", "")]


def _refuse_bomb(file: Any, columns: int, path: str) -> None:
    """Refuse a file that claims far more numbers than its bytes can hold."""
    size = os.path.getsize(path)
    packed = sum(file.metadata.row_group(k).total_byte_size for k in range(file.metadata.num_row_groups))
    claimed = max(packed, file.metadata.num_rows * columns * 8)
    if claimed > max(SMALL, BYTES_PER_BYTE * size):
        raise DataError(f"{path}: {size:,} bytes claim to hold {claimed:,}; not opened, as no log is packed so far")
