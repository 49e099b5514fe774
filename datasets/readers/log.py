"""What a reader makes of a training log: the columns of one run under the names that the log gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Log:
    """One run's log.

    Attributes
    ----------
    name : str
        Name of the run, as the log or its folder gives it.
    columns : mapping of str to ndarray of float, shape (row,)
        Values by the log's own names, nested keys joined with "/"; all of one length, NaN where a row has no value.
    config : mapping
        The run's configuration where the log carries one (not files beside it), flat, nested keys joined with "/".
    source : str
        File that it was read from.
    left_out : sequence of str
        Names of columns that the log has and the reader left out, as nobody asked for them.

    Examples
    --------
    >>> log = Log("a", {"step": np.array([1.0, 2.0]), "loss": np.array([3.0, 2.0])}, source="a.csv")
    >>> log.columns["loss"].size
    2
    """

    name: str
    columns: Mapping[str, NDArray[np.float64]]
    config: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    left_out: Sequence[str] = ()


class Reader(Protocol):
    """A module of this package that reads one format."""

    #: What the format is called in messages and documentation.
    FORMAT: str

    def can_read(self, head: bytes, name: str) -> bool:
        """Tell by the first 64 KiB, and by the file's name where that does not suffice, whether a file has the format."""
        ...

    def read(self, path: str | PathLike[str]) -> Iterable[Log]:
        """Runs of a file, in its order; errors are :class:`~scalingeq.errors.DataError` naming file, line and what was expected.

        A reader that can leave out columns, and so keep its memory to what is wanted, takes ``naming`` as well: a
        :class:`~scalingeq.datasets.readers.names.Naming`, whose ``is_wanted`` tells which ones to read.
        One whose files repeat each other, as checkpoints of a run do, has a function ``join_checkpoints`` that takes the
        logs of one run and gives them without repetition.
        """
        ...
