"""Tables of text with a header line, as several programs write their logs."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from os import PathLike, fspath

from scalingeq.errors import DataError

from .columns import Columns, Floats
from .jsonl import LONGEST_LINE
from .reading import only_numbers, open_text

BLOCK = 1 << 19  # cells decoded at a time


def first_rows(head: bytes, separator: str = ",") -> Iterator[list[str]]:
    r"""Rows in the beginning of a table; ends at what is no table. The last row may be cut short.

    Examples
    --------
    >>> list(first_rows(b"epoch;loss\n0;2.5\n1;"))
    [['epoch;loss'], ['0;2.5'], ['1;']]
    """
    text = head.decode("utf-8-sig", errors="replace")
    if "\0" in text:
        return
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            yield [cell.strip() for cell in row]
    except csv.Error:
        return


def read_table(path: str | PathLike[str], separator: str = ",") -> dict[str, Floats]:
    r"""Columns of numbers of a table.

    Parameters
    ----------
    path : str or path
    separator : str

    Returns
    -------
    dict of str to ndarray of float, shape (row,)
        In the header's order; NaN where a cell is empty or says that it has no value (``NA``, ``nan``). Of columns with
        one name the second is ``"name (2)"``. Columns of texts, and those without a name such as the row numbers that
        pandas writes, are left out.

    Raises
    ------
    DataError
        If the file cannot be read or has no rows, a row has more or fewer cells than the header, quotes do not close,
        or texts and numbers share a column.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "metrics.csv"
    >>> _ = path.write_text("step,train_loss,val_loss\n1,3.0,\n1,,3.5\n")
    >>> read_table(path)
    {'step': array([1., 1.]), 'train_loss': array([ 3., nan]), 'val_loss': array([nan, 3.5])}
    """
    import pandas as pd

    source = fspath(path)
    names = numbered(_check_ends(path, separator))
    columns = Columns(lambda name: True)
    rows = 0
    try:
        # Line ends become "\n" on the way: after a bare "\r" pandas loses a blank first cell and shifts the row.
        with open_text(path) as file:
            pieces = pd.read_csv(
                file,
                sep=separator,
                header=0,
                names=range(len(names)),
                index_col=False,
                chunksize=max(64, BLOCK // len(names)),
                low_memory=False,
            )
            for piece in pieces:
                at = slice(rows, rows + len(piece))
                for index, name in enumerate(names):
                    if name:
                        values = piece[index].to_numpy()
                        cells = values if values.dtype.kind in "iuf" else values.tolist()
                        columns.add(name, at, cells, lambda row: row + 2)
                rows = at.stop
    except DataError:
        raise
    except (ValueError, OverflowError) as error:
        raise DataError(f"{source}: {str(error).strip()}; expected a table in CSV, all rows as its header") from error
    if not rows:
        raise DataError(f"{source}, line 2: the file's end, expected a row below the header")
    numbers = only_numbers(columns.finish(rows), source)
    if not numbers:
        raise DataError(f"{source}, line 2: texts alone, expected columns of numbers")
    return numbers


def _check_ends(path: str | PathLike[str], separator: str) -> list[str]:
    """Names in the header, after a look at the rows that pandas would shift or fill up: the first and the last."""
    source = fspath(path)
    with open_text(path) as file:
        rows = csv.reader(iter(lambda: file.readline(LONGEST_LINE), ""), delimiter=separator, strict=True)
        try:
            names = next((row for row in rows if row), [])
            first = next((row for row in rows if row), names)
        except csv.Error as error:
            raise DataError(f"{source}, line {rows.line_num}: {error}; expected a table in CSV") from error
        if not "".join(names).strip():
            raise DataError(f"{source}, line 1: empty, expected a header that names the columns")
        if len(first) != len(names):
            raise DataError(
                f"{source}, line {rows.line_num}: {len(first)} cells, expected {len(names)} as in the header"
            )
    with open(path, "rb") as binary:
        binary.seek(0, io.SEEK_END)
        binary.seek(max(0, binary.tell() - (1 << 16) - 64 * len(names)))
        last = binary.read().rstrip(b"\r\n").replace(b"\r", b"\n").rpartition(b"\n")[2]
    # A last line with an odd number of quotes ends a cell of several lines, or one that pandas will find unclosed.
    ending = [] if last.count(b'"') % 2 else list(first_rows(last, separator))
    if len(ending) == 1 and (cells := len(ending[0])) != len(names):
        raise DataError(f"{source}, last line: {cells} cells, expected {len(names)} as in the header; is it cut short?")
    return [name.strip() for name in names]


def numbered(names: Iterable[str]) -> list[str]:
    """Names with the second and later ones of each numbered, so that none is lost.

    Examples
    --------
    >>> numbered(["step", "loss", "loss"])
    ['step', 'loss', 'loss (2)']
    """
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 or not name else f"{name} ({seen[name]})")
    return found
