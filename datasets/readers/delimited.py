"""Tables of text with a header line, read in blocks of rows: what the readers of CSV logs share."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike, fspath

from scalingeq.errors import DataError

from .columns import Columns, Floats
from .reading import only_numbers, open_text

BLOCK = 1 << 17  # cells held as text at a time, more where rows are wide: a piece of a column needs some length


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
    source = fspath(path)
    columns = Columns(lambda name: True)
    size = 0
    with open_text(path, newline="") as file:
        rows = csv.reader(file, delimiter=separator, strict=True)
        try:
            names = numbered(name.strip() for name in next(rows, []))
            if not names:
                raise DataError(f"{source}, line 1: empty, expected a header that names the columns")
            whole = _whole_rows(rows, len(names), source)
            while block := list(itertools.islice(whole, max(64, BLOCK // len(names)))):
                lines, cells = zip(*block, strict=True)
                at = slice(size, size + len(lines))
                for name, texts in zip(names, zip(*cells, strict=True), strict=True):
                    if name:
                        columns.add(name, at, _numbers(texts), lambda row, at=at, lines=lines: lines[row - at.start])
                size = at.stop
        except csv.Error as error:
            raise DataError(f"{source}, line {rows.line_num}: {error}; expected a table in CSV") from error
    if not size:
        raise DataError(f"{source}, line 2: the file's end, expected a row below the header")
    return only_numbers(columns.finish(size), source)


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


def _numbers(texts: Sequence[str]) -> list[float] | list[str]:
    """Numbers of cells, or the cells as they are where one is neither a number nor empty."""
    try:
        return [float(text) if text else math.nan for text in texts]
    except ValueError:
        return list(texts)


def _whole_rows(rows: Iterator[list[str]], width: int, source: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of the line that each ends on; empty lines are none."""
    for row in rows:
        if len(row) != width:
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            raise DataError(f"{source}, line {rows.line_num}: {len(row)} cells, expected {width} as in the header")
        yield rows.line_num, row
