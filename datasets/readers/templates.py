"""Fast reading of lines that are alike: only the first of a shape is taken apart.

A line's template, which has a pattern in place of every number, then finds the numbers of all lines of that shape in one
pass of ``re`` over the text.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .programs import HEADS, NUMBER, Row, parse

#: Most shapes that are learnt, and longest line that one is learnt from.
_SHAPES, _LONGEST = 24, 1 << 12


class Block(NamedTuple):
    """Lines of one shape: one of them, the numbers of all among the lines that were found, and the columns of values."""

    row: Row
    at: NDArray[np.int64]
    columns: list[array[float]]


class Templates:
    r"""Shapes of lines that have been met so far.

    Examples
    --------
    >>> count, blocks, others = Templates().find(b"s:1 trl:3.5\ns:2 trl:3.4\n")
    >>> count, blocks[0].row.names, blocks[0].columns, others
    (2, ('step', 'trl'), [array('d', [1.0, 2.0]), array('d', [3.5, 3.4])], {})
    """

    def __init__(self) -> None:
        self._rows: dict[bytes, Row] = {}
        self._pattern, self._layout = _HEADS_ONLY

    def find(self, text: bytes) -> tuple[int, list[Block], dict[int, bytes]]:
        """Find the lines with a head: their count, those of known shapes, and the text of others by their number."""
        while True:
            columns = list(zip(*self._pattern.findall(text), strict=True))
            others = _others(columns, self._layout)
            if not self._learn(others.values()):
                break
        try:
            blocks = _convert(columns, self._layout)
        except ValueError:
            # A line has the shape of others but no number in some place: each line has to be looked at.
            pattern, layout = _HEADS_ONLY
            columns = list(zip(*pattern.findall(text), strict=True))
            blocks, others = [], _others(columns, layout)
        return len(columns[0]) if columns else 0, blocks, others

    def like(self, row: Row) -> list[Row]:
        """First lines of the shapes that a line has."""
        return [known for template, known in self._rows.items() if re.match(template, row.text + b"\n")]

    def of_kind(self, row: Row) -> list[Row]:
        """First lines of the shapes of a line's kind."""
        return [known for known in self._rows.values() if known.kind is row.kind]

    def _learn(self, lines: Iterable[bytes]) -> bool:
        """Learn one more shape, if the lines have one to learn."""
        if len(self._rows) == _SHAPES:
            return False
        for line in lines:
            if len(line) > _LONGEST:
                continue
            try:
                row = parse(line)
            except ValueError:
                continue
            template = template_of(row)
            match = re.match(template, row.text + b"\n")
            if template not in self._rows and match and match.groups() == row.values:
                self._rows[template] = row
                self._pattern, self._layout = _compile(self._rows)
                return True
        return False


def template_of(row: Row) -> bytes:
    """Pattern of all lines of a shape: head and names as they are, a group for each value, any number elsewhere.

    For speed a value is any sequence of a number's characters: one that is no number fails when it is converted.
    """
    text = row.text
    in_head = {name: pattern for name, pattern in _IN_HEAD.items() if row.head.groupdict().get(name)}
    edges = [0, *(edge for name in in_head for edge in row.head.span(name))]
    edges.append(min(row.head.end(), row.found[0].start("key")))
    kept = [*zip(edges[::2], edges[1::2], strict=True), *(field.span("key") for field in row.found)]
    marks = [(span, _exactly(text[slice(*span)])) for span in kept]
    marks += [(row.head.span(name), pattern) for name, pattern in in_head.items()]
    marks += [(field.span("value"), rb"([-+.0-9eEnaifNAIF]++)") for field in row.fields.values()]
    pieces, at = [], 0
    for (start, end), pattern in sorted(marks):
        pieces += [_loosely(text[at:start]), pattern]
        at = end
    return b"".join([*pieces, _loosely(text[at:]), rb"(?=\n)"])


_IN_HEAD = {"step": rb"([0-9]++)", "total": rb"[0-9]++"}


def _loosely(text: bytes) -> bytes:
    """Pattern of text with any numbers in place of those it has."""
    parts = re.split(b"(%b)" % NUMBER, text)
    return b"".join(rb"[-+]?+(?:nan|inf|[-+.0-9eE]++)" if odd % 2 else _exactly(part) for odd, part in enumerate(parts))


def _exactly(text: bytes) -> bytes:
    """Pattern of text with spaces of any length, which align numbers."""
    return re.sub(rb"(?:\\ )+", rb" ++", re.escape(text))


#: What groups of a pattern hold, from which one on: values of a shape, or lines of none without this first letter.
_Layout = list[tuple[int, Row | bytes]]


def _compile(shapes: Mapping[bytes, Row]) -> tuple[re.Pattern[bytes], _Layout]:
    """Pattern of lines of some shapes, by their templates, and of all others with a head.

    It has one branch a first letter, so that ``re`` skips to these.
    """
    branches: list[bytes] = []
    layout: _Layout = []
    first = 0
    for letter in sorted({head[:1] for head in HEADS}):
        alike = {template: row for template, row in shapes.items() if template.startswith(letter)}
        for row in alike.values():
            layout.append((first, row))
            first += len(row.names)
        layout.append((first, letter))
        first += 1
        heads = b"|".join(head[1:] for head in HEADS if head.startswith(letter))
        rests = [*(template[1:] for template in alike), rb"((?:%b)[^\n]*+)" % heads]
        branches.append(letter + b"(?:%b)" % b"|".join(rests))
    return re.compile(b"|".join(branches)), layout


def _others(columns: list[tuple[bytes, ...]], layout: _Layout) -> dict[int, bytes]:
    """Lines of no known shape by their number."""
    return {
        at: letter + rest
        for first, letter in layout
        if columns and isinstance(letter, bytes) and any(columns[first])
        for at, rest in enumerate(columns[first])
        if rest
    }


def _convert(columns: list[tuple[bytes, ...]], layout: _Layout) -> list[Block]:
    blocks = []
    for first, row in layout:
        if not columns or isinstance(row, bytes):
            continue
        chosen = columns[first]  # empty where a line has another shape
        at = np.flatnonzero(np.fromiter(map(bool, chosen), bool, len(chosen)))
        parts = columns[first : first + len(row.names)]
        blocks.append(Block(row, at, [_numbers(list(compress(part, chosen))) for part in parts]))
    return blocks


def _numbers(texts: list[bytes]) -> array[float]:
    """Numbers of texts; many columns of a log never change, and are not converted time and again."""
    if texts and texts.count(texts[0]) == len(texts):
        return array("d", [float(texts[0])]) * len(texts)
    return array("d", map(float, texts))


_HEADS_ONLY = _compile({})
