"""Readers of training logs, one module a format: each turns files into :class:`~scalingeq.datasets.readers.log.Log`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from os import PathLike, fspath
from pathlib import Path
from typing import cast

from scalingeq.errors import ArchiveError

from . import tidy
from .log import Reader

HEAD = 1 << 16  # bytes by which a format is told


@cache
def readers() -> tuple[Reader, ...]:
    """Modules of this package that read a format; tidy tables, which many formats look like, come last.

    Examples
    --------
    >>> readers()[-1].FORMAT
    'tidy table (CSV, JSON lines, Parquet)'
    """
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    found = [cast(Reader, module) for module in modules if hasattr(module, "can_read")]
    return tuple(sorted(found, key=lambda reader: (reader is tidy, reader.FORMAT)))


def find_reader(path: str | PathLike[str]) -> Reader:
    r"""Find the reader of a file by its content, and by its name where that does not suffice.

    Parameters
    ----------
    path : str or path
        A training log.

    Returns
    -------
    Reader
        The module that reads it.

    Raises
    ------
    ArchiveError
        If the file is missing, cannot be read, or is in none of the formats; lists these.

    Examples
    --------
    >>> _ = Path("log.csv").write_text("step,loss\n1,3.0\n")
    >>> find_reader("log.csv").FORMAT
    'tidy table (CSV, JSON lines, Parquet)'
    """
    path = fspath(path)
    known = f"known are NetCDF and {', '.join(reader.FORMAT for reader in readers())}"
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError as error:
        raise ArchiveError(f"{path}: no such file; {known}") from error
    except IsADirectoryError as error:
        raise ArchiveError(f"{path}: cannot be read, it is a folder; pass a pattern such as {path}/*.csv") from error
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read ({error.strerror}); {known}") from error
    if not head.strip():
        raise ArchiveError(f"{path}: the file is empty; {known}")
    name = Path(path).name
    reader = next((reader for reader in readers() if reader.can_read(head, name)), None)
    if reader is None:
        raise ArchiveError(f"{path}: begins with {head[:16]!r}, which no format does; {known}")
    return reader
