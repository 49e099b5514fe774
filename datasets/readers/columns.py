"""Columns of a log while it is streamed: numbers and words of rows that come piece by piece."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = slice | NDArray[np.int64]
BLANK = ("", "null", "none", "na", "n/a", "nan")  # words that stand for no value


class Words(NamedTuple):
    """A column of text: each different word once.

    Attributes
    ----------
    codes : ndarray of int, shape (row,)
        Position of each row's word in ``values``; -1 where the row has none.
    values : list of str
        The words, in the order of their first row.
    line : int
        Line of the file with the first word.
    """

    codes: NDArray[np.int32]
    values: list[str]
    line: int


class Table(NamedTuple):
    """What a file of rows holds.

    Attributes
    ----------
    numbers : dict of str to ndarray of float, shape (row,)
        Columns of numbers, NaN where a row has none.
    words : dict of str to Words
        Columns asked for as text, and the words found in columns of numbers.
    left_out : sequence of str
        Names of the other columns.
    rows : int
        Number of rows.
    """

    numbers: dict[str, Floats]
    words: dict[str, Words]
    left_out: Sequence[str] = ()
    rows: int = 0


class Columns:
    """Collects the columns of a file as its rows come; a column takes 8 bytes a row, a word 4 bytes a row.

    Parameters
    ----------
    is_chosen : callable
        Tells by a column's name whether to keep it.
    as_text : container of str, optional
        Columns of words, even where these look like numbers.

    Examples
    --------
    >>> columns = Columns(lambda name: True, as_text={"run"})
    >>> columns.add("loss", slice(0, 2), [3.0, "nan"], lambda row: row + 1)
    >>> columns.add("run", slice(0, 2), [7, "b"], lambda row: row + 1)
    >>> table = columns.finish(2)
    >>> table.numbers["loss"], table.words["run"].values
    (array([ 3., nan]), ['7', 'b'])
    """

    def __init__(self, is_chosen: Callable[[str], bool], as_text: Container[str] = ()) -> None:
        self._is_chosen = is_chosen
        self._wanted: dict[str, bool] = {}
        self.as_text = as_text
        self._numbers: dict[str, array[float]] = {}
        self._words: dict[str, tuple[dict[str, int], array[int], array[int], int]] = {}

    def is_wanted(self, name: str) -> bool:
        """Tell whether a column is to be added."""
        if name not in self._wanted:
            self._wanted[name] = self._is_chosen(name)
        return self._wanted[name]

    def add(self, name: str, rows: Rows, values: Collection[Any], line: Callable[[int], int]) -> None:
        """Add values of consecutive or chosen rows; ``line`` tells a row's line in the file."""
        if name in self.as_text:
            for row, value in zip(_positions(rows), values, strict=True):
                self._add_word(name, row, _word(value), line)
            return
        numbers = as_numbers(values)
        if numbers is None:
            values = list(values)
            numbers = np.empty(len(values))
            for k, (row, value) in enumerate(zip(_positions(rows), values, strict=True)):
                number = numbers[k] = as_number(value)
                if number != number and isinstance(value, str) and value.strip().lower().lstrip("+-") not in BLANK:
                    self._add_word(name, row, _word(value), line)
        # Arrays that grow in place: pieces of many columns, joined in the end, would double the memory.
        column = self._numbers.setdefault(name, array("d"))
        start, stop = (rows.start, rows.stop) if isinstance(rows, slice) else (int(rows[0]), int(rows[-1]) + 1)
        if isinstance(rows, slice) and len(column) <= start:
            _fill(column, start)
            column.frombytes(numbers.tobytes())
        else:
            _fill(column, stop)
            filled = np.frombuffer(column)
            # Two keys can lead to one name, {"a": {"b": 1}} and {"a/b": 1}: neither may blot out the other.
            filled[rows] = np.where(np.isnan(numbers), filled[rows], numbers)

    def _add_word(self, name: str, row: int, word: str, line: Callable[[int], int]) -> None:
        if not word:
            return
        if name not in self._words:
            self._words[name] = ({}, array("q"), array("i"), line(row))
        codes, at, code, _ = self._words[name]
        at.append(row)
        code.append(codes.setdefault(word, len(codes)))

    def finish(self, size: int) -> Table:
        """Columns of ``size`` rows."""
        numbers = {}
        for name, column in self._numbers.items():
            _fill(column, size)
            numbers[name] = np.frombuffer(column)
        words = {}
        for name, (codes, at, code, line) in self._words.items():
            of_row = np.full(size, -1, np.int32)
            of_row[np.frombuffer(at, np.int64)] = np.frombuffer(code, np.int32)
            words[name] = Words(of_row, list(codes), line)
        return Table(numbers, words, tuple(name for name, wanted in self._wanted.items() if not wanted), size)


def _fill(column: array[float], size: int) -> None:
    """Lengthen a column to a number of rows without values."""
    if len(column) < size:
        column.extend(array("d", [np.nan]) * (size - len(column)))


def _positions(rows: Rows) -> Iterable[int]:
    return range(rows.start, rows.stop) if isinstance(rows, slice) else rows.tolist()


def as_number(value: Any) -> float:
    """Number of a value of any kind; NaN where it is none."""
    try:
        return float(value)
    except (ValueError, TypeError):
        return float("nan")
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def as_numbers(values: Collection[Any], items: Iterable[Any] | None = None) -> Floats | None:
    """Numbers of values, or of ``items``, as many of them; None where one is of a kind that needs a closer look.

    Examples
    --------
    >>> as_numbers([1, None, "2.5", True]), as_numbers([1, "two"])
    (array([1. , nan, 2.5, 1. ]), None)
    """
    if isinstance(values, np.ndarray):
        return values.astype(np.float64, copy=False)
    try:
        return np.fromiter(values if items is None else items, np.float64, len(values))
    except (ValueError, TypeError, OverflowError):
        return None


def _word(value: Any) -> str:
    """Text of a value of any kind; empty where there is none."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return "" if text.lower() in BLANK else text
