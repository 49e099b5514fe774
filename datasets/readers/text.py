"""Text logs as nanoGPT, llm.c, modded-nanogpt, Megatron-LM and DeepSpeed print them."""

from __future__ import annotations

import io
import re
from array import array
from collections.abc import Iterator
from itertools import compress
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scalingeq.errors import DataError

from .log import Log
from .programs import ANY, KINDS, PROGRAMS, Row, parse

FORMAT = "text log"
_BLOCK = 1 << 18
#: Longest line that is looked at (longer ones are data, not a log's), and longest one whose shape is learnt.
_LONGEST, _LONGEST_SHAPE = 1 << 16, 1 << 12
#: Shapes of lines that are learnt, and different columns that a log may have.
_SHAPES, _COLUMNS = 24, 1000
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_TERMINAL = re.compile(rb"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|\][^\x07\x1b\r\n]*+(?:\x07|\x1b\\)|[@-Z\\^_])")
_NAMES = (".log", ".txt", ".out", ".err")


def can_read(head: bytes, name: str) -> bool:
    """Tell a text log by its lines; a log that opens with more than the head of other text by its name.

    Examples
    --------
    >>> can_read(b"s:0 tel:10.95", "main.log"), can_read(b"step,loss", "log.csv")
    (True, False)
    """
    if head.startswith(_BYTE_ORDER_MARKS):
        head = head.decode("utf-16", errors="replace").encode()
    if ANY.search(_plain(head)):
        return True
    return len(head) >= 1 << 15 and b"\0" not in head and name.lower().endswith(_NAMES)


def read(path: str | PathLike[str]) -> Iterator[Log]:
    r"""Run of a file, a row for each line that tells of a step, in their order, duplicated steps as they are.

    Columns have the names that the program prints; the optimiser step is "step" for all, and of a list, such as DeepSpeed's
    learning rates, the first entry is read. A line without a step (llm.c's "val loss") belongs to the last step before it.
    The configuration holds "total_steps" where the lines tell of it. Prefixes (times, ranks, loggers), colours and
    progress bars do not matter; all other lines are passed over. Where a program runs within another (DeepSpeed in
    Megatron), the outer one's lines are read. The line that a run under way has not printed to its end is left out.

    Raises
    ------
    DataError
        If the file has no such line, or one in which a loss is no number.

    Examples
    --------
    >>> _ = Path("main.log").write_text("s:0 tel:11.0\ns:0 trl:10.9\ns:1 trl:10.8\n")
    >>> log = next(read("main.log"))
    >>> log.name, log.columns["step"], log.columns["trl"]
    ('main', array([0., 0., 1.]), array([ nan, 10.9, 10.8]))
    """
    path = Path(path)
    table = _Table()
    for text in _lines(path):
        table.add(text, path)
    program = next((program for program in PROGRAMS if program in table.programs), None)
    if program is None:
        examples = "; ".join(f"{name}: {example!r}" for name, example in _examples().items())
        raise DataError(f"{path}: none of its {table.lines} lines is one of a training log; expected such as {examples}")
    config = {} if table.totals.get(program) is None else {"total_steps": table.totals[program]}
    yield Log(path.stem, table.columns(program), config, str(path))


def _examples() -> dict[str, str]:
    return {kind.program: kind.example for kind in reversed(KINDS)}


class _Table:
    """Values of a log's lines by program and column, with the number of the row that each stands in."""

    def __init__(self) -> None:
        self.lines = 0
        self.programs: set[str] = set()
        self.totals: dict[str, int | None] = {}
        self._count = 0  # of rows, those of all programs together
        self._values: dict[tuple[str, str], tuple[array[int], array[float]]] = {}
        self._shapes: dict[bytes, Row] = {}
        self._pattern = self._compile()

    def add(self, text: bytes, path: Path) -> None:
        """Take in whole lines; text without a line end is the file's last line, which may be cut off."""
        if not text.endswith(b"\n"):
            if self._is_cut(text):
                return
            text += b"\n"
        while True:
            found = self._pattern.findall(text)
            if not self._learn(row[-1] for row in found if row[-1]):
                break
        groups = list(zip(*found, strict=True))
        first = 0
        for row in self._shapes.values() if found else ():
            last = first + len(row.names)
            at = self._count + np.flatnonzero(np.fromiter(map(bool, groups[first]), bool, len(found)))
            for name, values in zip(row.names, groups[first:last], strict=True):
                self._put(row, name, at, compress(values, groups[first]))
            first = last
        for number, (*_, rest) in enumerate(found, self._count):
            if rest and len(rest) <= _LONGEST:
                self._add_one(rest, number, text, path)
        if len(self._values) > _COLUMNS:
            raise DataError(
                f"{path}, line {self.lines + 1} or after: more than {_COLUMNS} different fields; expected a log's, that recur"
            )
        self._count += len(found)
        self.lines += text.count(b"\n")

    def columns(self, program: str) -> dict[str, NDArray[np.float64]]:
        """Columns of one program's lines, of one length."""
        parts = {
            name: (np.frombuffer(rows, np.int64), np.frombuffer(values, float))
            for (owner, name), (rows, values) in self._values.items()
            if owner == program
        }
        rows = np.unique(np.concatenate([numbers for numbers, _ in parts.values()]))
        columns = {name: np.full(rows.size, np.nan) for name in ("step", *parts)}
        for name, (numbers, values) in parts.items():
            columns[name][np.searchsorted(rows, numbers)] = values
        step = columns["step"]
        known = np.maximum.accumulate(np.where(np.isnan(step), -1, np.arange(step.size)))
        columns["step"] = np.where(known < 0, 0.0, step[known])
        return columns

    def _put(self, row: Row, name: str, at: NDArray[np.int64], values: Iterator[bytes]) -> None:
        program = row.kind.program
        rows, numbers = self._values.setdefault((program, name), (array("q"), array("d")))
        rows.frombytes(at.tobytes())
        numbers.extend(map(float, values))
        if at.size:
            self.programs.add(program)

    def _add_one(self, rest: bytes, number: int, text: bytes, path: Path) -> None:
        """Take in a line of no known shape."""
        try:
            row = parse(rest)
        except ValueError as error:
            line = self.lines + text.count(b"\n", 0, text.find(rest)) + 1
            example = next(kind.example for kind in KINDS if kind.head.search(rest))
            raise DataError(f"{path}, line {line}: {error}; expected such as {example!r}") from None
        for name, value in zip(row.names, row.values, strict=True):
            self._put(row, name, np.array([number]), iter([value]))
        self.totals[row.kind.program] = row.total or self.totals.get(row.kind.program)

    def _learn(self, unknown: Iterator[bytes]) -> bool:
        """Learn one new shape from lines of no known one, if there is one to learn."""
        for text in unknown:
            if len(self._shapes) == _SHAPES:
                return False
            if len(text) > _LONGEST_SHAPE:
                continue
            try:
                row = parse(text)
            except ValueError:
                continue
            template = row.template
            if template not in self._shapes and (match := re.match(template, row.text + b"\n")) and match.groups() == row.values:
                self._shapes[template] = row
                self.totals[row.kind.program] = row.total or self.totals.get(row.kind.program)
                self._pattern = self._compile()
                return True
        return False

    def _compile(self) -> re.Pattern[bytes]:
        """Pattern of the lines of known shapes, and, in the last group, of others; an empty group makes rows of one group."""
        return re.compile(b"|".join([*self._shapes, rb"()((?:%b)[^\n]*+)" % ANY.pattern]))

    def _is_cut(self, text: bytes) -> bool:
        """Tell whether a last line without an end is shorter than those before it, by fields or by digits."""
        try:
            row = parse(text) if ANY.search(text) else None
        except ValueError:
            return True
        if row is None:
            return False
        alike = [known for template, known in self._shapes.items() if re.match(template, row.text + b"\n")]
        if not alike:
            return any(known.kind is row.kind for known in self._shapes.values())
        return len(_decimals(row.text)) < len(_decimals(alike[0].text))


def _decimals(text: bytes) -> bytes:
    """Decimals of a number that a line ends in."""
    match = re.search(rb"\.([-+0-9eE]*)\Z", text)
    return match[1] if match else b""


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of a file, as many as a block holds at a time, all with one line end, without terminal codes or lines too long."""
    rest, too_long = b"", False
    for block in _blocks(path):
        if too_long:
            end = re.search(rb"[\r\n]", block)
            if not end:
                continue
            block, too_long = block[end.start() :], False
        block = rest + block
        # A carriage return at the end of a block may be half of a line end.
        cut = max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1)) + 1
        rest = block[cut:]
        if len(rest) > _LONGEST:
            rest, too_long = b"", True
        if cut:
            yield _plain(block[:cut])
    if rest:
        yield _plain(rest)


def _blocks(path: Path) -> Iterator[bytes]:
    """Bytes of a file, as UTF-8 where it says that it is UTF-16 (as of a redirection in PowerShell)."""
    with open(path, "rb") as file:
        if not file.peek(2).startswith(_BYTE_ORDER_MARKS):
            yield from iter(lambda: file.read(_BLOCK), b"")
            return
        decoded = io.TextIOWrapper(file, "utf-16", errors="replace", newline="")
        yield from (text.encode(errors="replace") for text in iter(lambda: decoded.read(_BLOCK), ""))


def _plain(text: bytes) -> bytes:
    """Text without terminal codes, with one kind of line end."""
    if b"\x1b" in text:
        text = _TERMINAL.sub(b"", text)
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text
