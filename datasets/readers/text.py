"""Text logs as nanoGPT, llm.c, modded-nanogpt, Megatron-LM and DeepSpeed print them."""

from __future__ import annotations

import io
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scalingeq.errors import DataError

from .log import Log
from .programs import ANY, KINDS, Row, parse
from .templates import Templates

FORMAT = "text log"
_BLOCK = 1 << 16  # bytes, few enough that a processor's cache holds what becomes of them
#: Longest line that is looked at: longer ones are data, not a log's.
_LONGEST = 1 << 16
#: Most columns of a log.
_COLUMNS = 1000
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_TERMINAL = re.compile(rb"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|\][^\x07\x1b\r\n]*+(?:\x07|\x1b\\)|[@-Z\\^_])")
_SUFFIXES = (".log", ".txt", ".out", ".err")


def can_read(head: bytes, name: str) -> bool:
    """Tell a text log by its lines; one that opens with 64 KiB of other text, such as source code, by its name.

    Examples
    --------
    >>> can_read(b"s:0 tel:10.95", "main.log"), can_read(b"step,loss", "log.csv")
    (True, False)
    """
    if head.startswith(_BYTE_ORDER_MARKS):
        head = head.decode("utf-16", errors="replace").encode(errors="replace")
    if ANY.search(_plain(head)):
        return True
    return len(head) >= 1 << 16 and b"\0" not in head and name.lower().endswith(_SUFFIXES)


def read(path: str | PathLike[str]) -> Iterator[Log]:
    r"""Run of a file, a row for each line that tells of a step, in their order, duplicated steps as they are.

    Columns have the names that the program prints; the optimiser step is "step" for all. Of a list, such as the learning
    rates that DeepSpeed prints, the first entry is read. A line without a step (the "val loss" of llm.c) belongs to the
    step before it. The configuration holds "total_steps" where the lines tell of it. Prefixes (times, ranks, loggers),
    colours and progress bars do not matter; all other lines are passed over. Where several programs print, the lines of the
    one with most are read, DeepSpeed's only where it is alone. Lines that several processes print are rows each. A last line
    without a line end is left out if it is shorter than those before it, as in the log of a run under way.

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
    table = _Table(path)
    for text in _lines(path):
        table.add(text)
    # Of several programs' lines those of most rows; DeepSpeed runs within others, whose rows say more.
    programs = [kind.program for kind in KINDS if kind.program in table.rows]
    program = max(programs, key=lambda name: (name != "DeepSpeed", table.rows[name]), default=None)
    if program is None:
        examples = "; ".join(repr(kind.example) for kind in KINDS)
        raise DataError(f"{path}: none of its {table.lines} lines tells of a step; expected lines such as {examples}")
    config = {"total_steps": table.totals[program]} if program in table.totals else {}
    yield Log(path.stem, table.columns(program), config, str(path))


class _Table:
    """Values of a log's lines by program and columns, with the numbers of their rows."""

    def __init__(self, path: Path) -> None:
        self.lines = 0
        self.rows: Counter[str] = Counter()
        self.totals: dict[str, int] = {}
        self._path = path
        self._count = 0  # of rows, those of all programs together
        self._values: dict[tuple[str, tuple[str, ...]], tuple[array[int], list[array[float]]]] = {}
        self._names: set[str] = set()
        self._templates = Templates()

    def add(self, text: bytes) -> None:
        """Take in whole lines; text without a line end is the file's last line, which may be cut off."""
        if not text.endswith(b"\n"):
            if self._is_cut(text):
                return
            text += b"\n"
        count, blocks, others = self._templates.find(text)
        for row, at, columns in blocks:
            self._put(row, self._count + at, columns)
        for number, line in others.items():
            if len(line) <= _LONGEST:
                row = self._parse(line, text)
                self._put(row, np.array([self._count + number]), [array("d", [float(value)]) for value in row.values])
        self._count += count
        self.lines += text.count(b"\n")

    def columns(self, program: str) -> dict[str, NDArray[np.float64]]:
        """Columns of one program's lines, of one length."""
        parts = [
            (names, np.frombuffer(rows, np.int64), [np.frombuffer(values) for values in columns])
            for (owner, names), (rows, columns) in self._values.items()
            if owner == program
        ]
        used = np.zeros(self._count, bool)
        for _, at, _ in parts:
            used[at] = True
        place = np.cumsum(used) - 1
        every = dict.fromkeys(("step", *(name for names, _, _ in parts for name in names)))
        columns = {name: np.full(used.sum(), np.nan) for name in every}
        for names, at, values in parts:
            for name, numbers in zip(names, values, strict=True):
                columns[name][place[at]] = numbers
        step = columns["step"]
        before = np.maximum.accumulate(np.where(np.isnan(step), -1, np.arange(step.size)))
        columns["step"] = np.where(before < 0, 0.0, step[before])
        return columns

    def _put(self, row: Row, at: NDArray[np.int64], columns: list[array[float]]) -> None:
        if not at.size:
            return
        program = row.kind.program
        if row.total:
            self.totals[program] = row.total
        key = (program, row.names)
        if key not in self._values:
            self._values[key] = (array("q"), [array("d") for _ in columns])
            self._names.update(row.names)
            if len(self._names) > _COLUMNS:
                where = f"{self._path}, near line {self.lines + 1}"
                raise DataError(f"{where}: more than {_COLUMNS} different fields; expected a log's, which recur")
        self.rows[program] += at.size
        rows, numbers = self._values[key]
        rows.frombytes(at.tobytes())
        for column, values in zip(numbers, columns, strict=True):
            column.extend(values)

    def _parse(self, line: bytes, text: bytes) -> Row:
        try:
            return parse(line)
        except ValueError as error:
            number = self.lines + text.count(b"\n", 0, text.find(line)) + 1
            example = next(kind.example for kind in KINDS if kind.head.search(line))
            raise DataError(f"{self._path}, line {number}: {error}; expected a line such as {example!r}") from None

    def _is_cut(self, text: bytes) -> bool:
        """Tell whether a last line without an end has fewer fields or digits than those before it."""
        if not ANY.search(text):
            return False
        try:
            row = parse(text)
        except ValueError:
            return True
        alike = self._templates.like(row)
        if not alike:
            return bool(self._templates.of_kind(row))
        return len(_decimals(row.text)) < len(_decimals(alike[0].text))


def _decimals(text: bytes) -> bytes:
    """What follows the point of the number that a line ends in."""
    match = re.search(rb"\.([-+0-9eE]*+)\Z", text)
    return match[1] if match else b""


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of a file, as many as a block holds at a time, without terminal codes, each ended by one newline.

    Lines that are too long are left out; the last piece is what follows the last line end.
    """
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
    """Bytes of a file, in UTF-8 where it says that it is UTF-16 (as of a redirection in PowerShell)."""
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
