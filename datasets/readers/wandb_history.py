"""History of a run of Weights & Biases, as its files and its API give it: JSON lines, Parquet or CSV."""

from __future__ import annotations

import os
import re

from scalingeq.errors import DataError

from . import tidy
from .delimited import first_rows
from .log import Log
from .names import RUN_COLUMNS, Naming
from .reading import only_numbers

FORMAT = "Weights & Biases history (JSON lines, CSV, Parquet)"

OWN = ("_runtime", "_timestamp")  # columns that stand beside _step in each history
NAMELESS = re.compile(r"(?:wandb[-_])?history|\d+")  # files that do not tell their run
FILES = "files"  # folder within that of the run


def can_read(head: bytes, name: str) -> bool:
    r"""Tell a history of one run by the columns that Weights & Biases adds.

    Parameters
    ----------
    head : bytes
        Beginning of the file.
    name : str
        Not needed.

    Returns
    -------
    bool
        False for several runs in one file, which is a tidy table, and for Parquet of more than 64 KiB, whose names are
        at its end: the tidy reader gives the same columns.

    Examples
    --------
    >>> can_read(b'{"_step": 1, "_runtime": 0.5, "train/loss": 3.0}\n', "a"), can_read(b'{"step": 1, "loss": 3.0}\n', "a")
    (True, False)
    """
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if begin.startswith(tidy.PARQUET):
        return b"_step" in begin and any(own.encode() in begin for own in OWN)
    if begin.startswith(b"{"):
        line = begin.partition(b"\n")[0]
        found = [key for key in ("_step", *OWN, *RUN_COLUMNS) if f'"{key}"'.encode() in line]
    else:
        found = next(first_rows(head), [])
    return "_step" in found and not {*RUN_COLUMNS}.intersection(found) and bool({*OWN}.intersection(found))


def read(path: str | os.PathLike[str], naming: Naming | None = None) -> list[Log]:
    r"""Read the history of one run.

    Parameters
    ----------
    path : str or path
        Rows of ``wandb-history.jsonl`` or of ``scan_history()``, the ``history`` artifact in Parquet (which needs
        ``pyarrow``), or what ``history().to_csv()`` writes.
    naming : Naming, optional
        Which columns are wanted; all of them where it is not given.

    Returns
    -------
    list of Log
        One run, named after its file, or its folder where the file's name is that of any history. Nested keys are
        joined with "/"; media and other texts are left out.

    Raises
    ------
    DataError
        If it cannot be read or is no such history, or a wanted column has texts among its numbers.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "wide.jsonl"
    >>> _ = path.write_text('{"_step": 0, "_runtime": 1, "train": {"loss": 3.0}}\n{"_step": 1, "_runtime": 2, "lr": 0.1}\n')
    >>> log = read(path)[0]
    >>> log.name, log.columns["train/loss"], log.columns["lr"]
    ('wide', array([ 3., nan]), array([nan, 0.1]))
    """
    source = os.fspath(path)
    table = tidy.read_table(path, is_wanted=naming.is_wanted if naming else lambda name: True)
    columns = {name: column for name, column in only_numbers(table, source).items() if name}
    if not columns and not table.left_out:
        raise DataError(f"{source}: texts alone, expected columns of numbers")
    return [Log(_run_name(source), columns, source=source, left_out=table.left_out)]


def _run_name(path: str) -> str:
    folder, file = os.path.split(os.path.abspath(path))
    stem = os.path.splitext(file)[0]
    if not NAMELESS.fullmatch(stem):
        return stem
    folder = os.path.dirname(folder) if os.path.basename(folder) == FILES else folder
    return os.path.basename(folder)
