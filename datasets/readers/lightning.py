"""Metrics of Lightning's CSVLogger: training and validation on rows of their own, blanks elsewhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .delimited import first_rows, read_table
from .log import Log

FORMAT = "Lightning metrics.csv"

VERSION = re.compile(r"version_\d+")


def can_read(head: bytes, name: str) -> bool:
    r"""Tell a table with steps in which rows leave out what others have; ``metrics.csv`` may as well be full.

    Parameters
    ----------
    head : bytes
        Beginning of the file.
    name : str
        Lightning's name for it is ``metrics.csv``, which a table without blanks needs to be told from others.

    Returns
    -------
    bool

    Examples
    --------
    >>> can_read(b"epoch,step,train_loss,val_loss\n0,9,2.5,\n0,9,,2.6\n", "a.csv")
    True
    >>> can_read(b"epoch,step,loss\n0,9,2.5\n", "a.csv"), can_read(b"epoch,step,loss\n0,9,2.5\n", "metrics.csv")
    (False, True)
    """
    names, *rows = list(first_rows(head)) or [[]]
    if "step" not in names or len(names) < 2 or "run" in names:
        return False
    if not head.endswith((b"\n", b"\r")):
        rows = rows[: max(1, len(rows) - 1)]  # the last one may have been cut where the beginning ends
    blank = any("" in row for row in rows if len(row) == len(names))
    return name == "metrics.csv" or ("epoch" in names and blank)


def read(path: str | os.PathLike[str]) -> list[Log]:
    r"""Read one ``metrics.csv``.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    list of Log
        One run, named after its folder, ``<name>/version_<n>`` where that is Lightning's own; NaN for blanks.

    Raises
    ------
    DataError
        If it cannot be read or is no such table.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "metrics.csv"
    >>> _ = path.write_text("epoch,step,train_loss,val_loss\n0,9,2.5,\n0,9,,2.625\n")
    >>> read(path)[0].columns["val_loss"]
    array([  nan, 2.625])
    """
    folder = Path(os.path.abspath(path)).parent
    name = f"{folder.parent.name}/{folder.name}" if VERSION.fullmatch(folder.name) else folder.name
    return [Log(name, read_table(path), source=os.fspath(path))]
