"""Columns of a log from its rows: flat names, numbers where rows have them, NaN where they do not."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from scalingeq.errors import ArchiveError, DataError, raise_problems

#: What programs write for a value that is not there, beside "nan" in all its forms.
MISSING = frozenset({"", "na", "n/a", "none", "null"})


def number(value: object) -> float | None:
    """Value as a number: NaN where it says that there is none, nothing where it is not a number at all.

    Parameters
    ----------
    value : object
        A value of JSON or a cell of a table; texts such as ``"0.5"``, ``"nan"`` and ``"Infinity"`` are numbers.

    Returns
    -------
    float or None

    Examples
    --------
    >>> number("1e-3"), number("NA"), number(10**400), number("adam")
    (0.001, nan, inf, None)
    """
    if type(value) is int and -(2**53) < value < 2**53:
        return float(value)
    if value is None:
        return math.nan
    if isinstance(value, str) and value.strip().lower() in MISSING:
        return math.nan
    if not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError:  # an integer beyond the largest float
        return math.inf if isinstance(value, int) and value > 0 else -math.inf


def flatten(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name and value of all that is in a nested mapping, nested names joined with "/".

    Parameters
    ----------
    row : mapping
        Of any depth; lists are values.

    Yields
    ------
    tuple of str and object

    Examples
    --------
    >>> list(flatten({"step": 1, "train": {"loss": 2.0, "lr": 0.1}}))
    [('step', 1), ('train/loss', 2.0), ('train/lr', 0.1)]
    """
    # A stack in place of recursion: the depth is the file's choice.
    stack = [("", iter(row.items()))]
    while stack:
        prefix, items = stack[-1]
        for name, value in items:
            if isinstance(value, dict):
                stack.append((f"{prefix}{name}/", iter(value.items())))
                break
            yield f"{prefix}{name}", value
        else:
            stack.pop()


class Columns:
    """Columns that grow by rows of any names.

    Texts and lists are no numbers: a column of nothing else is left out, one that mixes them with numbers is refused.

    Examples
    --------
    >>> columns = Columns("a.json", "entry")
    >>> for row in ({"step": 1, "loss": 3.0}, {"step": 1, "eval_loss": "3.5"}):
    ...     columns.add(row)
    >>> columns.arrays()
    {'step': array([1., 1.]), 'loss': array([ 3., nan]), 'eval_loss': array([nan, 3.5])}
    """

    def __init__(self, source: str, row: str) -> None:
        self.source = source
        self.row = row
        self.rows = 0
        self._columns: dict[str, array[float]] = {}
        self._others: dict[str, tuple[int, object]] = {}
        self._values = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        rows = self.rows
        for name, value in flatten(row) if dict in map(type, row.values()) else row.items():
            found = value if type(value) is float else number(value)
            if found is None:
                self._others.setdefault(name, (rows + 1, value))
                continue
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = array("d")
            missing = rows - len(column)
            if missing > 0:
                column.extend([math.nan] * missing)
            elif missing < 0:  # the same name in two ways, {"a/b": 1, "a": {"b": 2}}: the last one holds
                column.pop()
            column.append(found)
        self._values += len(row)
        self.rows += 1
        # Otherwise a name of its own in each row would make a table of the square of the file's size.
        if self.rows * len(self._columns) > 10_000_000 + 100 * self._values:
            raise DataError(
                f"{self.source}: {self.row} {self.rows}: {len(self._columns)} names so far, most of them in few rows; "
                "expected rows that share their names"
            )

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Columns so far, shape (row,) each."""
        problems = []
        arrays = {}
        for name, column in self._columns.items():
            column.extend([math.nan] * (self.rows - len(column)))
            values = np.array(column)
            if name not in self._others:
                arrays[name] = values
            elif not np.isnan(values).all():
                row, value = self._others[name]
                problems.append(
                    f"{self.source}: {self.row} {row}: {name!r} is {shortened(value)}, "
                    "expected a number as elsewhere in that column"
                )
        raise_problems(problems, DataError)
        return arrays


def shortened(value: object) -> str:
    """Value as a message shows it.

    Examples
    --------
    >>> shortened("ab" * 100)
    "'abababababababababababababababababababa..."
    """
    # Long and deep values are cut before they are formatted.
    if isinstance(value, (dict, list)):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 43 else f"{text[:40]}..."


@contextmanager
def open_text(path: str | os.PathLike[str], newline: str | None = None) -> Iterator[TextIO]:
    """Open a text file with or without a byte-order mark; what is wrong with it is an error of this package.

    Parameters
    ----------
    path : str or path
    newline : str, optional
        As for :func:`open`.

    Yields
    ------
    file

    Raises
    ------
    ArchiveError
        If the file is missing or cannot be read.
    DataError
        If it is not UTF-8.

    Examples
    --------
    >>> with open_text("no-such-file.csv") as file:
    ...     pass
    Traceback (most recent call last):
        ...
    scalingeq.errors.ArchiveError: no-such-file.csv: cannot be read (No such file or directory)
    """
    try:
        with open(path, encoding="utf-8-sig", newline=newline) as file:
            yield file
    except OSError as error:
        raise ArchiveError(f"{os.fspath(path)}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        found = bytes(error.object[error.start : error.start + 4])
        raise DataError(f"{os.fspath(path)}: holds the bytes {found!r}, expected a text in UTF-8") from error
