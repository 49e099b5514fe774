"""The measured curves that come with the package."""

from __future__ import annotations

from importlib import resources

import xarray as xr

from scalingeq.errors import DataError


def available() -> list[str]:
    """Names of the shipped sets.

    Examples
    --------
    >>> "stdlib-lm" in available()
    True
    """
    folder = resources.files(__package__)
    return sorted(
        entry.name.removesuffix(".nc").replace("_", "-") for entry in folder.iterdir() if entry.name.endswith(".nc")
    )


def load(name: str) -> xr.Dataset:
    """Load measured curves that come with the package.

    Parameters
    ----------
    name : str
        ``"stdlib-lm"``: byte-level transformers trained on the Python standard library; its card is
        ``stdlib_lm.md`` beside the file.

    Returns
    -------
    xarray.Dataset
        In memory, with the labels of the schema; how it was made is in its attributes.

    Raises
    ------
    DataError
        If there is no such set; lists those there are.

    Examples
    --------
    >>> load("stdlib-lm").loss.attrs["units"]
    'nats per byte'
    """
    if name not in available():
        raise DataError(
            f"no measured curves {name!r} come with the package; there are {', '.join(map(repr, available()))}"
        )
    with (
        resources.as_file(resources.files(__package__) / f"{name.replace('-', '_')}.nc") as path,
        xr.open_dataset(path, engine="netcdf4") as ds,
    ):
        return ds.load()
