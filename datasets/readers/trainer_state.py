"""Hugging Face's trainer_state.json: the history that transformers' Trainer keeps, read an entry at a time."""

from __future__ import annotations

import itertools
import json
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

import numpy as np

from scalingeq.errors import DataError

from .columns import Columns, Floats
from .configuration import run_folder
from .log import Log
from .reading import only_numbers, open_text

FORMAT = "Hugging Face trainer_state.json"

BLANK = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()
BLOCK = 1024  # entries on their way into columns at a time


def can_read(head: bytes, name: str) -> bool:
    """Tell whether a file holds the state of a Trainer, or its ``log_history`` alone, by its beginning.

    Parameters
    ----------
    head : bytes
        Beginning of the file.
    name : str
        Its name: ``trainer_state.json`` may keep its history anywhere.

    Returns
    -------
    bool

    Examples
    --------
    >>> can_read(b'{"epoch": 1.0, "log_history": [{"step": 1', "state.json"), can_read(b'{"step": 1}', "log.jsonl")
    (True, False)
    """
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if begin.startswith(b"{"):
        return b'"log_history"' in begin or name == "trainer_state.json"
    entry = begin[1:].lstrip().startswith(b"{")
    return begin.startswith(b"[") and entry and all(key in begin for key in (b'"epoch"', b'"step"', b'loss"'))


def read(path: str | os.PathLike[str]) -> list[Log]:
    r"""Read one state of a Trainer.

    Rows are the entries of ``log_history``, in their order: those of training have ``loss``, those of evaluation
    ``eval_loss`` or ``eval_<set>_loss``. Lists and texts are left out. The last entry, which tells of the run as a whole
    (``train_runtime``, and a ``train_loss`` that is the mean of all), is no row: with the other entries of the state,
    such as ``max_steps`` and ``train_batch_size`` (sequences on one process and for one pass, before accumulation), it
    is the configuration.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    list of Log
        One run, named after its folder (that above a ``checkpoint-*``).

    Raises
    ------
    DataError
        If it cannot be read, is not such a state, is cut short or has no history.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "trainer_state.json"
    >>> _ = path.write_text('{"log_history": [{"loss": 3.5, "step": 1}, {"eval_loss": NaN, "step": 1}], "max_steps": 1}')
    >>> [log] = read(path)
    >>> log.columns, log.config
    ({'loss': array([3.5, nan]), 'step': array([1., 1.]), 'eval_loss': array([nan, nan])}, {'max_steps': 1})
    """
    source = os.fspath(path)
    history = _History(source)
    config: dict[str, Any] = {}
    with open_text(path) as file:
        text = _Json(file, source)
        begin = text.next()
        if begin == "[":
            history.extend(text.entries())
        elif begin == "{":
            for key in text.names():
                if key != "log_history":
                    value = text.value(f"the value of {key!r}")
                    config |= {
                        name: one for name, one in _flat({key: value}) if isinstance(one, (bool, int, float, str))
                    }
                elif text.next() != "[":
                    raise text.error("expected a list as the value of 'log_history'")
                else:
                    history.extend(text.entries())
        else:
            raise text.error("expected the JSON object that a Trainer saves as its state")
        if text.next():
            raise text.error("expected nothing after the end of the JSON value")
    config |= history.summary
    columns = history.columns()
    if not columns:
        raise DataError(f"{source}: no history; expected a list 'log_history' with an entry for each logged step")
    return [Log(os.path.basename(run_folder(os.path.abspath(path))), columns, config, source)]


class _History:
    """Entries on their way into columns.

    Attributes
    ----------
    summary : dict
        Entries of the one that tells of a whole run.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.summary: dict[str, Any] = {}
        self._entries = 0
        self._entry_of_row = array("q")
        self._columns = Columns(lambda name: True)
        self._names: set[str] = set()
        self._values = 0

    def extend(self, entries: Iterator[Any]) -> None:
        while block := list(itertools.islice(entries, BLOCK)):
            of_name: dict[str, tuple[list[int], list[Any]]] = {}
            for entry in block:
                self._entries += 1
                if not isinstance(entry, dict):
                    found = repr(entry) if isinstance(entry, (str, float, int)) else f"a {type(entry).__name__}"
                    raise DataError(
                        f"{self.source}, entry {self._entries} of 'log_history': {found[:60]}, "
                        "expected an object of values"
                    )
                if "train_runtime" in entry and "loss" not in entry:
                    self.summary |= _scalars({k: value for k, value in entry.items() if k not in ("step", "epoch")})
                    continue
                row = len(self._entry_of_row)
                self._entry_of_row.append(self._entries)
                for name, value in _flat(entry) if dict in map(type, entry.values()) else entry.items():
                    if type(value) is not list:
                        rows, values = of_name.setdefault(name, ([], []))
                        rows.append(row)
                        values.append(value)
            for name, (rows, values) in of_name.items():
                self._columns.add(name, np.array(rows), values, self._entry_of_row.__getitem__)
                self._values += len(values)
            self._names.update(of_name)
            # A name of its own in each entry would make a table of the square of the file's size.
            if self._entries * len(self._names) > 10_000_000 + 100 * self._values:
                raise DataError(
                    f"{self.source}, entry {self._entries} of 'log_history': {len(self._names)} names so far, "
                    "most of them in few entries; expected entries that share their names"
                )

    def columns(self) -> dict[str, Floats]:
        return only_numbers(self._columns.finish(len(self._entry_of_row)), self.source, "entry")


def _flat(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name and value of all that is in a nested entry, nested names joined with "/"."""
    # A stack in place of recursion: the depth is the file's choice.
    stack = [("", iter(entry.items()))]
    while stack:
        prefix, items = stack[-1]
        for name, value in items:
            if isinstance(value, dict):
                stack.append((f"{prefix}{name}/", iter(value.items())))
                break
            yield f"{prefix}{name}", value
        else:
            stack.pop()


def _scalars(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in _flat(entry) if isinstance(value, (bool, int, float, str))}


class _Json:
    """JSON of a file, decoded one value after another, so that memory holds a part of its text only."""

    CHUNK = 1 << 18

    def __init__(self, file: TextIO, source: str) -> None:
        self.file = file
        self.source = source
        self.text = ""
        self.at = 0
        self.line = 1
        self.ended = False

    def error(self, expected: str) -> DataError:
        line = self.line + self.text.count("\n", 0, self.at)
        found = repr(self.text[self.at : self.at + 20]) if self.at < len(self.text) else "the file's end"
        return DataError(f"{self.source}, line {line}: found {found}, {expected}")

    def _fill(self) -> None:
        # As much again as is waiting, so that a value of any length costs twice its reading at most.
        chunk = self.file.read(max(self.CHUNK, len(self.text) - self.at))
        self.line += self.text.count("\n", 0, self.at)
        self.text = self.text[self.at :] + chunk
        self.at = 0
        self.ended = not chunk

    def next(self) -> str:
        """Next character that is not blank, not taken yet; none at the end."""
        while True:
            blank = BLANK.match(self.text, self.at)
            self.at = blank.end() if blank else self.at
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self._fill()

    def take(self, accepted: str) -> str:
        found = self.next()
        if not found or found not in accepted:
            raise self.error("expected " + " or ".join(map(repr, accepted)))
        self.at += 1
        return found

    def value(self, what: str) -> Any:
        self.next()
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except RecursionError as error:
                raise self.error(f"expected {what}, nested less deeply") from error
            except ValueError as error:  # malformed, or not read to its end yet
                if self.ended:
                    raise self.error(f"expected {what} ({error})") from error
            else:
                # A number at the end of the text may have more digits in the file.
                if end < len(self.text) or self.ended:
                    self.at = end
                    return value
            self._fill()

    def entries(self) -> Iterator[Any]:
        """Values of the list that begins here."""
        self.take("[")
        count = 0
        if self.next() == "]":
            self.at += 1
            return
        while True:
            count += 1
            yield self.value(f"entry {count} of the list")
            if self.take(",]") == "]":
                return

    def names(self) -> Iterator[str]:
        """Keys of the object that begins here; the caller takes the value of each."""
        self.take("{")
        if self.next() == "}":
            self.at += 1
            return
        while True:
            key = self.value("a key")
            if not isinstance(key, str):
                raise self.error("expected a text as the key")
            self.take(":")
            yield key
            if self.take(",}") == "}":
                return


def join_checkpoints(logs: Iterable[Log]) -> list[Log]:
    """Join the histories that the checkpoints of a run keep.

    Each checkpoint holds the history up to its step, so histories of one run overlap. The one that goes furthest (of equals, the
    one that says most) is kept whole; earlier ones add the rows from before its first step. Rows of an attempt that was
    given up are gone with that: they belong to a path that training left.

    Parameters
    ----------
    logs : iterable of Log
        As :func:`read` gives them, of any number of runs, in any order.

    Returns
    -------
    list of Log
        One for each folder of a run, in the order in which they first came; configuration and source of the state
        that goes furthest.

    Raises
    ------
    DataError
        If one of several states of a run has no column ``step``.

    Examples
    --------
    >>> early = Log("a", {"step": np.array([1.0, 2.0]), "loss": np.array([4.0, 3.0])}, source="a/checkpoint-2/s.json")
    >>> late = Log("a", {"step": np.array([2.0, 3.0]), "loss": np.array([2.9, 2.0])}, source="a/checkpoint-3/s.json")
    >>> [log] = join_checkpoints([late, early])
    >>> log.columns
    {'step': array([1., 2., 3.]), 'loss': array([4. , 2.9, 2. ])}
    """
    runs: dict[str, list[Log]] = {}
    for log in logs:
        runs.setdefault(run_folder(os.path.abspath(log.source)), []).append(log)
    return [_join(states) for states in runs.values()]


def _join(states: list[Log]) -> Log:
    if len(states) == 1:
        return states[0]
    for state in states:
        if "step" not in state.columns or np.isnan(state.columns["step"]).all():
            raise DataError(
                f"{state.source}: no steps, expected a column 'step' to join it with the other checkpoints of its run"
            )
    latest, *earlier = sorted(
        states,
        key=lambda log: (np.nanmax(log.columns["step"]), log.columns["step"].size, len(log.config)),
        reverse=True,
    )
    parts = [(latest, np.ones(latest.columns["step"].size, bool))]
    first = np.nanmin(latest.columns["step"])
    for state in earlier:
        steps = state.columns["step"]
        before = steps < first
        if before.any():
            parts.insert(0, (state, before))
            first = np.nanmin(steps)
    if len(parts) == 1:
        return latest
    names = dict.fromkeys(name for part, _ in parts for name in part.columns)
    columns = {
        name: np.concatenate(
            [part.columns[name][kept] if name in part.columns else np.full(kept.sum(), np.nan) for part, kept in parts]
        )
        for name in names
    }
    return Log(latest.name, columns, latest.config, latest.source)
