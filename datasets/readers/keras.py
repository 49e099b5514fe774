"""Logs of Keras' CSVLogger: one row an epoch, no steps."""

from __future__ import annotations

import os
from pathlib import Path

from scalingeq.errors import DataError

from .delimited import first_rows, read_table
from .log import Log
from .reading import open_text

FORMAT = "Keras CSVLogger"

SEPARATORS = ",;\t| "


def can_read(head: bytes, name: str) -> bool:
    r"""Tell a table of epochs without steps, in any separator that the logger may have been given.

    Parameters
    ----------
    head : bytes
        Beginning of the file.
    name : str
        Not needed.

    Returns
    -------
    bool

    Examples
    --------
    >>> can_read(b"epoch;accuracy;loss\n0;0.1;2.5\n", "log.csv"), can_read(b"epoch,step,loss\n0,1,2.5\n", "log.csv")
    (True, False)
    """
    return _separator(head) is not None


def _separator(head: bytes) -> str | None:
    for separator in SEPARATORS:
        rows = first_rows(head, separator)
        names, first = next(rows, []), next(rows, [])
        # The logger writes the epoch first, and the loss as "loss"; a step column, or names of runs, are another's.
        if names[:1] == ["epoch"] and "loss" in names and "step" not in names and first[:1] and first[0].isdigit():
            return separator
    return None


def read(path: str | os.PathLike[str]) -> list[Log]:
    r"""Read one log of CSVLogger.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    list of Log
        One run, named after the file, with ``epoch`` counting from 0 (appended logs begin anew) and no step; NaN where
        the logger wrote ``NA``. Metrics that are no single number are left out.

    Raises
    ------
    DataError
        If it cannot be read or is no such table.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "wide.csv"
    >>> _ = path.write_text("epoch;loss;val_loss\n0;2.5;NA\n1;2.0;2.25\n")
    >>> read(path)[0].columns
    {'epoch': array([0., 1.]), 'loss': array([2.5, 2. ]), 'val_loss': array([ nan, 2.25])}
    """
    source = os.fspath(path)
    with open_text(path) as file:
        separator = _separator(file.read(1 << 16).encode())
    if separator is None:
        raise DataError(
            f"{source}, line 1: expected 'epoch' and a loss, the header of Keras' CSVLogger, above its rows"
        )
    return [Log(Path(path).stem, read_table(path, separator), source=source)]
