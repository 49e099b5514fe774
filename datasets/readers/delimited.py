"""Tables of text with a header line, read in blocks of rows: what the readers of CSV logs share."""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from scalingeq.errors import DataError, raise_problems

from .columns import number, open_text, shortened

BLOCK = 1 << 17  # cells held as text at a time


def first_rows(head: bytes, separator: str = ",") -> Iterator[list[str]]:
    """Rows in the beginning of a table; ends at what is no table. The last row may be cut short.

    Examples
    --------
    >>> list(first_rows(b"epoch;loss\\n0;2.5\\n1;"))
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


def read_table(path: str | os.PathLike[str], separator: str = ",") -> tuple[list[str], list[NDArray[np.float64] | None]]:
    r"""Header and columns of a table.

    Parameters
    ----------
    path : str or path
    separator : str

    Returns
    -------
    names : list of str
        As in the header, repeated and empty ones too.
    columns : list of ndarray of float, shape (row,), or None
        NaN where a cell is empty or says that it has no value (``NA``, ``nan``); None for a column of texts.

    Raises
    ------
    ArchiveError
        If the file cannot be read.
    DataError
        If it has no rows, a row has more or fewer cells than the header, quotes do not close, or texts and numbers
        share a column.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "metrics.csv"
    >>> _ = path.write_text("step,train_loss,val_loss\n1,3.0,\n1,,3.5\n")
    >>> read_table(path)
    (['step', 'train_loss', 'val_loss'], [array([1., 1.]), array([ 3., nan]), array([nan, 3.5])])
    """
    source = os.fspath(path)
    with open_text(path, newline="") as file:
        rows = csv.reader(file, delimiter=separator, strict=True)
        try:
            names = [name.strip() for name in next(rows, [])]
            if not names:
                raise DataError(f"{source}: line 1: empty, expected a header that names the columns")
            columns = [array("d") for _ in names]
            others: list[tuple[int, str] | None] = [None] * len(names)
            whole = _whole_rows(rows, len(names), source)
            while block := list(itertools.islice(whole, max(1, BLOCK // len(names)))):
                lines, cells = zip(*block, strict=True)
                for index, texts in enumerate(zip(*cells, strict=True)):
                    try:
                        columns[index].extend([float(text) if text else math.nan for text in texts])
                    except ValueError:
                        others[index] = _extend(columns[index], texts, lines) or others[index]
        except csv.Error as error:
            raise DataError(f"{source}: line {rows.line_num}: {error}; expected a table in CSV") from error
    if not columns[0]:
        raise DataError(f"{source}: line 2: the file's end, expected a row below the header")
    arrays = [np.frombuffer(column) for column in columns]
    texts_at = [(index, other) for index, other in enumerate(others) if other is not None]
    raise_problems(
        [
            f"{source}: line {other[0]}: column {names[index]!r} holds {shortened(other[1])}, "
            "expected a number as elsewhere in that column"
            for index, other in texts_at
            if not np.isnan(arrays[index]).all()
        ],
        DataError,
    )
    return names, [array if other is None else None for array, other in zip(arrays, others, strict=True)]


def named_columns(path: str | os.PathLike[str], separator: str = ",") -> dict[str, NDArray[np.float64]]:
    r"""Columns of numbers of a table by their names; a name that comes twice is refused.

    Parameters
    ----------
    path, separator
        As for :func:`read_table`.

    Returns
    -------
    dict of str to ndarray of float, shape (row,)
        Columns of texts, and those without a name such as the row numbers that pandas writes, are left out.

    Raises
    ------
    ArchiveError, DataError
        As :func:`read_table`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "log.csv"
    >>> _ = path.write_text(",epoch,loss,note\n0,0,3.0,warm\n1,1,NA,cold\n")
    >>> named_columns(path)
    {'epoch': array([0., 1.]), 'loss': array([ 3., nan])}
    """
    names, columns = read_table(path, separator)
    twice = sorted({name for name in names if name and names.count(name) > 1}) if len(set(names)) < len(names) else []
    raise_problems(
        [f"{os.fspath(path)}: line 1: column {name!r} comes twice, expected each name once" for name in twice], DataError
    )
    return {name: column for name, column in zip(names, columns, strict=True) if name and column is not None}


def _whole_rows(rows: Iterator[list[str]], width: int, source: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of the line that each ends on; empty lines are none."""
    for row in rows:
        if len(row) != width:
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            raise DataError(f"{source}: line {rows.line_num}: {len(row)} cells, expected {width} as in the header")
        yield rows.line_num, row


def _extend(column: array[float], texts: tuple[str, ...], lines: tuple[int, ...]) -> tuple[int, str] | None:
    """Extend a column by cells that are not all numbers; return one that is none, with its line."""
    other = None
    for line, text in zip(lines, texts, strict=True):
        value = number(text)
        if value is None:
            other = other or (line, text)
            value = math.nan
        column.append(value)
    return other
