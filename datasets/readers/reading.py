"""What readers share: text files opened, and words refused among numbers, with errors that name file and place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from typing import TextIO

import numpy as np

from scalingeq.errors import DataError, raise_problems

from .columns import Floats, Table


@contextmanager
def open_text(path: str | PathLike[str]) -> Iterator[TextIO]:
    """Open a text file, with or without a byte-order mark, of any line ends.

    Parameters
    ----------
    path : str or path

    Yields
    ------
    file

    Raises
    ------
    DataError
        If the file cannot be read or is not UTF-8.

    Examples
    --------
    >>> with open_text("no-such-file.csv") as file:
    ...     pass
    Traceback (most recent call last):
        ...
    scalingeq.errors.DataError: no-such-file.csv: cannot be read (No such file or directory)
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield file
    except OSError as error:
        raise DataError(f"{fspath(path)}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        found = bytes(error.object[error.start : error.start + 4])
        raise DataError(f"{fspath(path)}: holds the bytes {found!r}, expected a text in UTF-8") from error


def only_numbers(table: Table, source: str, row: str = "line") -> dict[str, Floats]:
    """Columns of numbers; those of words alone are left out, those that mix both are refused.

    Parameters
    ----------
    table : Table
    source : str
        File that it was read from.
    row : str
        What the table's line numbers count.

    Returns
    -------
    dict of str to ndarray of float, shape (row,)

    Raises
    ------
    DataError
        If a column has words among numbers; names the first one's place.

    Examples
    --------
    >>> from .columns import Words
    >>> words = {"loss": Words(np.array([-1, 0]), ["diverged"], 3)}
    >>> only_numbers(Table({"loss": np.array([2.5, np.nan])}, words), "a.csv")
    Traceback (most recent call last):
        ...
    scalingeq.errors.DataError: a.csv, line 3: 'loss' is 'diverged', expected a number as in other rows
    """
    raise_problems(
        [
            f"{source}, {row} {words.line}: {name!r} is {words.values[0][:60]!r}, expected a number as in other rows"
            for name, words in table.words.items()
            if not np.isnan(table.numbers[name]).all()
        ],
        DataError,
    )
    return {name: column for name, column in table.numbers.items() if name not in table.words}
