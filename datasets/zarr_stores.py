"""Zarr folders beside NetCDF files: what is one, and whether they can be read."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from scalingeq.errors import ArchiveError

SUFFIX = ".zarr"
ROOTS = (".zgroup", "zarr.json", ".zmetadata")  # one of these is in the root of every store


def is_zarr(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a Zarr store: by its suffix, or by what the folder holds.

    Examples
    --------
    >>> is_zarr("fit.zarr"), is_zarr("fit.nc")
    (True, False)
    """
    path = Path(path)
    return path.suffix == SUFFIX or is_store(path)


def is_store(path: Path) -> bool:
    """Whether a folder is there and holds a Zarr store."""
    return any((path / root).is_file() for root in ROOTS)


def require_zarr(path: str | os.PathLike[str]) -> None:
    """Refuse a Zarr store where zarr is not installed.

    Raises
    ------
    ArchiveError
        Saying how to install it.
    """
    if find_spec("zarr") is None:
        raise ArchiveError(f"{path}: Zarr needs the package zarr; pip install 'scalingeq[zarr]'")
