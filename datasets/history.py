"""What was done to a dataset, in its attribute ``history``: one line each, with the time and the package's version."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import metadata

import xarray as xr


def note(ds: xr.Dataset, text: str) -> xr.Dataset:
    """Return the dataset with a line for ``text`` added to ``attrs["history"]``.

    Examples
    --------
    >>> note(xr.Dataset(), "made up").attrs["history"]
    '...Z scalingeq ...: made up'
    """
    line = f"{now()} scalingeq {installed_version('scalingeq')}: {text}"
    before = ds.attrs.get("history")
    return ds.assign_attrs(history=f"{before}\n{line}" if before else line)


def installed_version(package: str) -> str:
    """Version of an installed package, "unknown" where there is none.

    Examples
    --------
    >>> installed_version("no-such-package")
    'unknown'
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def now() -> str:
    """Time in UTC by ISO 8601, to the second.

    Examples
    --------
    >>> len(now())
    20
    """
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
