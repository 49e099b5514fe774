"""Histories as JSON lines: one object a row, nested keys joined with "/"."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterator
from io import BytesIO
from operator import attrgetter
from os import PathLike, fspath
from typing import Any

import numpy as np

from scalingeq.errors import DataError

from .columns import Columns, Floats, Table, as_numbers

DEEPEST = 64  # objects within objects
CHUNK = 1 << 18  # bytes decoded at a time: larger ones cost memory and win nothing
LONGEST_LINE = 1 << 24  # bytes; what is longer is no row of a log
MOST_KEYS = 10_000
STRUCT_KEY = re.compile(r'[^\\"\x00-\x1f\ud800-\udfff]+').fullmatch
BOM = b"\xef\xbb\xbf"

Shape = dict[str, Any]  # of the rows: name of a key to the shape under it, NUMBER, ANYTHING or SKIPPED
NUMBER, ANYTHING, SKIPPED = "number", "anything", "skipped"


def read_columns(
    path: str | PathLike[str], *, is_wanted: Callable[[str], bool] = lambda name: True
) -> dict[str, Floats]:
    r"""Read the numbers of a JSON lines file.

    Parameters
    ----------
    path : str or path
        One JSON object a line. NaN, Infinity and numbers given as text are numbers; true and false are 1 and 0.
    is_wanted : callable, optional
        Tells by its name whether a column is kept; memory is 8 bytes a row for each kept column.

    Returns
    -------
    dict of str to ndarray of float, shape (row,)
        Columns by key, those of nested objects joined with "/"; NaN where a row has no number. Text is left out.

    Raises
    ------
    DataError
        If the file cannot be read or a line is not a JSON object; names file and line.

    Examples
    --------
    >>> import pathlib
    >>> path = pathlib.Path("history.jsonl")
    >>> _ = path.write_text('{"_step": 1, "train": {"loss": 3.5}}\n{"_step": 2, "note": "x", "train": {"loss": NaN}}\n')
    >>> read_columns(path)
    {'_step': array([1., 2.]), 'train/loss': array([3.5, nan])}
    """
    table = read_table(path, is_wanted=is_wanted)
    return {
        name: column for name, column in table.numbers.items() if name not in table.words or np.isfinite(column).any()
    }


def read_table(
    path: str | PathLike[str],
    *,
    is_wanted: Callable[[str], bool] = lambda name: True,
    as_text: Container[str] = (),
) -> Table:
    """Read a JSON lines file with its words; as :func:`read_columns`.

    Parameters
    ----------
    path, is_wanted
        As for :func:`read_columns`.
    as_text : container of str, optional
        Columns to be read as words, names of runs for example.

    Returns
    -------
    Table
        Numbers, and words where a column has these.
    """
    reading = _Reading(fspath(path), Columns(is_wanted, as_text))
    for place, chunk in _chunks(reading.path):
        reading.add(place, chunk)
    return reading.columns.finish(reading.rows)


def _chunks(path: str) -> Iterator[tuple[int, bytes]]:
    """Whole lines of a file, a chunk at a time, each with its place in the file."""
    try:
        with open(path, "rb") as file:
            if file.read(len(BOM)) != BOM:
                file.seek(0)
            place = file.tell()
            while chunk := file.read(CHUNK):
                if not chunk.endswith(b"\n"):
                    rest = file.readline(LONGEST_LINE)
                    if len(rest) == LONGEST_LINE:
                        line = _line_at(path, place + len(chunk))
                        raise DataError(f"{path}, line {line}: longer than {LONGEST_LINE:,} bytes; a row was expected")
                    chunk += rest
                yield place, chunk
                place += len(chunk)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _line_at(path: str, place: int) -> int:
    """Line of a place in a file; counted when it is needed, as counting each line would cost a sixth of the time."""
    with open(path, "rb") as file:
        pieces = iter(lambda: file.read(min(CHUNK, place - file.tell())), b"")
        return 1 + sum(piece.count(b"\n") for piece in pieces)


class _Reading:
    """A JSON lines file on its way into columns.

    Rows are decoded into a struct with the keys seen so far, which is several times faster than into dictionaries. A row
    that does not fit, for a new key or a bare NaN, is decoded freely, and its keys are in the struct from then on.
    """

    def __init__(self, path: str, columns: Columns) -> None:
        self.path = path
        self.columns = columns
        self.rows = 0
        self.shape: Shape = {}
        self.keys = 0
        self._prepare()

    def _prepare(self) -> None:
        import msgspec

        kinds = {NUMBER: float | str | bool | None, ANYTHING: Any, SKIPPED: msgspec.Raw}
        self.getters: dict[tuple[str, ...], Callable[[Any], Any]] = {}

        def build(shape: Shape, path: tuple[str, ...], fields: str) -> Any:
            members = []
            for k, (key, inner) in enumerate(shape.items()):
                if not STRUCT_KEY(key):
                    continue  # the struct cannot have it: such rows are always decoded freely
                field = f"{fields}f{k}"
                if isinstance(inner, dict):
                    kind = build(inner, (*path, key), f"{field}.")
                    default = kind()
                else:
                    kind, default = kinds[inner], float("nan")
                    if inner != SKIPPED:
                        self.getters[(*path, key)] = attrgetter(field)
                members.append((f"f{k}", kind, msgspec.field(name=key, default=default)))
            return msgspec.defstruct("Row", members, forbid_unknown_fields=True, frozen=True, gc=False)

        self.decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(build(self.shape, (), ""))

    def add(self, place: int, chunk: bytes) -> None:
        """Add the rows of whole lines that begin at a place of the file."""
        import msgspec

        first = self.rows
        if not self.shape:
            self._learn(place, chunk)

        def line(row: int) -> int:
            full = [k for k, text in enumerate(chunk.split(b"\n")) if text.strip()]
            return _line_at(self.path, place) + full[row - first]

        try:
            structs = self.decoder.decode_lines(chunk)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            self._add_singly(place, chunk, line)
        else:
            self.rows += len(structs)
            self._add_structs(slice(first, self.rows), structs, line)

    def _learn(self, place: int, chunk: bytes) -> None:
        """Learn the keys of the first row, so that the struct suits its like from the start."""
        for text in BytesIO(chunk):
            if text.strip():
                for _ in self._flatten(self._decode_freely(text, place), self.shape, (), place):
                    pass
                return self._prepare()
            place += len(text)
        return None

    def _add_structs(self, rows: slice | np.ndarray[Any, Any], structs: list[Any], line: Callable[[int], int]) -> None:
        for path, getter in self.getters.items():
            name = "/".join(path)
            numbers = as_numbers(structs, map(getter, structs)) if name not in self.columns.as_text else None
            self.columns.add(name, rows, list(map(getter, structs)) if numbers is None else numbers, line)

    def _add_singly(self, place: int, chunk: bytes, line: Callable[[int], int]) -> None:
        import msgspec

        structs, at = [], []
        free: dict[str, tuple[list[int], list[Any]]] = {}
        keys = self.keys
        for text in BytesIO(chunk):
            start, place = place, place + len(text)
            if not text.strip():
                continue
            try:
                structs.append(self.decoder.decode(text))
                at.append(self.rows)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                row = self._decode_freely(text, start)
                for name, value in self._flatten(row, self.shape, (), start):
                    rows, values = free.setdefault(name, ([], []))
                    rows.append(self.rows)
                    values.append(value)
            self.rows += 1
        if structs:
            self._add_structs(np.array(at), structs, line)
        for name, (rows, values) in free.items():
            self.columns.add(name, np.array(rows), values, line)
        if self.keys != keys:
            self._prepare()

    def _at(self, place: int) -> str:
        return f"{self.path}, line {_line_at(self.path, place)}"

    def _decode_freely(self, text: bytes, place: int) -> dict[str, Any]:
        try:
            row = json.loads(text)
        except RecursionError:
            raise DataError(f"{self._at(place)}: nested too deeply; a JSON object of numbers was expected") from None
        except ValueError as error:
            what = f"{text[:60]!r} is not JSON ({error})"
            raise DataError(f"{self._at(place)}: {what}; a JSON object was expected: is the file cut off?") from None
        if not isinstance(row, dict):
            raise DataError(f"{self._at(place)}: {text[:60]!r} is not a JSON object, as each row has to be")
        return row

    def _flatten(
        self, row: dict[str, Any], shape: Shape, path: tuple[str, ...], place: int
    ) -> Iterator[tuple[str, Any]]:
        """Wanted values of a row by name; its new keys are added to the shape."""
        if len(path) > DEEPEST:
            raise DataError(f"{self._at(place)}: nested too deeply; a JSON object of numbers was expected")
        for key, value in row.items():
            name = "/".join((*path, key))
            if isinstance(value, dict) and name not in self.columns.as_text:
                inner = shape.setdefault(key, {})
                if not isinstance(
                    inner, dict
                ):  # a number in other rows: known under this name, though not in the struct
                    inner = {}
                yield from self._flatten(value, inner, (*path, key), place)
                continue
            wanted = self.columns.is_wanted(name)
            if key not in shape:
                self.keys += 1
                if self.keys > MOST_KEYS:
                    raise DataError(f"{self._at(place)}: more than {MOST_KEYS:,} different keys; is it a log?")
                anything = name in self.columns.as_text or isinstance(value, list)
                shape[key] = ANYTHING if wanted and anything else NUMBER if wanted else SKIPPED
            if wanted:
                yield name, value
