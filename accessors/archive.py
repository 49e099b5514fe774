"""What an archive of an analysis holds: its groups, attributes that files can carry, and its provenance.

An analysis is a ``DataTree`` of plain arrays and text: ``/observed`` (the measured curves), ``/parameters`` (value,
stderr, initial, min, max, vary and expr over ``parameter``; covariance over ``parameter, parameter_``),
``/prediction``, and whatever groups a user adds, such as ``/frontier``. Nothing in it is evaluated on opening.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from scalingeq.datasets.history import installed_version, now
from scalingeq.errors import ArchiveError, raise_problems

LAYOUT_VERSION = 1
REQUIRED = {
    "observed": ("loss",),
    "parameters": ("value", "stderr", "initial", "min", "max", "vary", "expr", "covariance"),
    "prediction": ("loss",),
}
PACKAGES = ("scalingeq", "numpy", "scipy", "lmfit", "xarray", "netCDF4")
JSON = "json:"  # begins an attribute that netCDF could not hold as it was
# On opening a file xarray turns numbers in these units into timedelta64; UDUNITS knows them by symbols as well.
TIME_SYMBOLS = {"days": "d", "hours": "h", "minutes": "min", "seconds": "s", "milliseconds": "ms", "microseconds": "us"}


def encode_attributes(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes that netCDF holds without change: what it refuses or alters becomes JSON text.

    Parameters
    ----------
    attrs : mapping
        Attributes of a dataset or variable.

    Returns
    -------
    dict
        Text, numbers and numeric arrays as they are; bool, None, lists, tuples and dicts as ``"json:..."``.

    Raises
    ------
    ArchiveError
        If a value is none of these.

    Examples
    --------
    >>> encode_attributes({"units": "1", "checked": True, "runs": ["a"]})
    {'units': '1', 'checked': 'json:true', 'runs': 'json:["a"]'}
    """

    def plain(value: Any) -> Any:
        if isinstance(value, np.bool_):
            return bool(value)
        if isinstance(value, (np.generic, np.ndarray)):
            return value.tolist()
        raise TypeError(f"{type(value).__name__} is not text, a number, a list or a dict")

    encoded, problems = {}, []
    for name, value in attrs.items():
        kind = np.asarray(value).dtype.kind if isinstance(value, (int, float, np.ndarray, np.generic)) else ""
        if isinstance(value, str) or (kind and kind in "iuf"):
            encoded[str(name)] = value
            continue
        try:
            encoded[str(name)] = JSON + json.dumps(value, default=plain, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            problems.append(f"attribute {name!r}: cannot be archived, {error}; remove or rewrite it")
    raise_problems(problems, ArchiveError)
    return encoded


def decode_attributes(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as they were before :func:`encode_attributes` (tuples and arrays of text as lists).

    Examples
    --------
    >>> decode_attributes({"units": "1", "checked": "json:true", "runs": 'json:["a"]'})
    {'units': '1', 'checked': True, 'runs': ['a']}
    """

    def decode(value: Any) -> Any:
        if not (isinstance(value, str) and value.startswith(JSON)):
            return value
        try:
            return json.loads(value.removeprefix(JSON))
        except ValueError:
            return value  # text of a user that happens to begin so

    return {str(name): decode(value) for name, value in attrs.items()}


def self_contained(tree: xr.DataTree) -> xr.DataTree:
    """Return a tree that plain ``to_netcdf`` and ``xarray.open_datatree`` carry without loss.

    Each group gets its own copy of the coordinates that it inherits; attributes are encoded; what the variables
    remember of the files they came from (packing into integers, chunks) is forgotten.

    Parameters
    ----------
    tree : xarray.DataTree
        Not changed; stays lazy where it is.

    Returns
    -------
    xarray.DataTree

    Raises
    ------
    ArchiveError
        If an attribute cannot be archived; says which group and variable has it.

    Examples
    --------
    >>> tree = xr.DataTree(xr.Dataset({"a": ((), 1.0, {"ok": True})}, attrs={"note": None}))
    >>> safe = self_contained(tree)
    >>> safe.attrs, safe["a"].attrs
    ({'note': 'json:null'}, {'ok': 'json:true'})
    """
    problems: list[str] = []

    def encoded(attrs: Mapping[Any, Any], where: str) -> dict[str, Any]:
        try:
            return encode_attributes(attrs)
        except ArchiveError as error:
            problems.extend(f"{where}: {problem}" for problem in error.problems)
            return {}

    groups = {}
    for node in tree.subtree:
        path = node.relative_to(tree)
        ds = node.to_dataset(inherit=True).drop_encoding()
        ds.attrs = encoded(ds.attrs, f"group {path}")
        for name, variable in ds.variables.items():
            attrs = encoded(variable.attrs, f"group {path}, variable {name!r}")
            if attrs.get("units") in TIME_SYMBOLS:
                attrs["units"] = TIME_SYMBOLS[attrs["units"]]
            ds[name].attrs = attrs
        groups["/" if path == "." else f"/{path}"] = ds
    raise_problems(problems, ArchiveError)
    return xr.DataTree.from_dict(groups, name=tree.name)


def check_analysis(tree: xr.DataTree) -> None:
    """Refuse a tree that is not an analysis.

    Raises
    ------
    ArchiveError
        Naming each group and variable that is missing.

    Examples
    --------
    >>> check_analysis(xr.DataTree())
    Traceback (most recent call last):
        ...
    scalingeq.errors.ArchiveError: not an analysis: the groups observed, parameters, prediction and the attribute
    provenance are missing; pass a tree that ds.twopoint.fit() or ds.laws.fit() made
    """
    missing = [group for group in REQUIRED if group not in tree.children]
    problems = []
    if missing or "provenance" not in tree.attrs:
        parts = [f"the group{'s' * (len(missing) > 1)} {', '.join(missing)}"] if missing else []
        parts += ["the attribute provenance"] if "provenance" not in tree.attrs else []
        verb = "is" if len(missing) + ("provenance" not in tree.attrs) == 1 else "are"
        problems.append(
            f"not an analysis: {' and '.join(parts)} {verb} missing; pass a tree that ds.twopoint.fit() or ds.laws.fit() made"
        )
    for group, names in REQUIRED.items():
        if group not in missing:
            absent = [name for name in names if name not in tree[group]]
            if absent:
                problems.append(f"not an analysis: group {group} has no {', '.join(absent)}")
    raise_problems(problems, ArchiveError)


def read_provenance(tree: xr.DataTree) -> dict[str, Any]:
    """Return what an analysis says of its making, as :func:`provenance` wrote it.

    Raises
    ------
    ArchiveError
        If the attribute is missing or not what :func:`provenance` writes.

    Examples
    --------
    >>> tree = xr.DataTree()
    >>> tree.attrs["provenance"] = provenance(xr.Dataset(), "twopoint", "1", seed=0)
    >>> read_provenance(tree)["law"]
    'twopoint'
    """
    try:
        found = json.loads(tree.attrs.get("provenance", ""))
    except (TypeError, ValueError):
        found = None
    if not (isinstance(found, dict) and {"law", "law_version"} <= found.keys()):
        raise ArchiveError("provenance: the attribute of the tree's root is missing or not JSON text that names a law")
    return found


def law_of(tree: xr.DataTree) -> str:
    """Return the name of the law that an analysis fitted; raises as :func:`read_provenance`."""
    return str(read_provenance(tree)["law"])


def provenance(ds: xr.Dataset, law: str, version: str, seed: int) -> str:
    """Describe the making of an analysis in one JSON text.

    Parameters
    ----------
    ds : xarray.Dataset
        The observed curves.
    law, version : str
        Name and version of the law fitted.
    seed : int
        Of the random numbers of the fit.

    Returns
    -------
    str
        JSON with the keys ``layout, law, law_version, data_sha256`` (null for chunked data), ``seed, time`` (UTC,
        ISO 8601) and ``versions``.

    Examples
    --------
    >>> list(json.loads(provenance(xr.Dataset({"loss": ("step", [1.0])}), "twopoint", "1", seed=0)))
    ['layout', 'law', 'law_version', 'data_sha256', 'seed', 'time', 'versions']
    """
    about = {
        "layout": LAYOUT_VERSION,
        "law": law,
        "law_version": version,
        # Chunked data are not computed for it.
        "data_sha256": None if ds.chunks else checksum(ds),
        "seed": seed,
        "time": now(),
        "versions": {"python": platform.python_version()} | {name: installed_version(name) for name in PACKAGES},
    }
    return json.dumps(about)


def checksum(ds: xr.Dataset) -> str:
    """SHA-256 of the names, dimensions and values of a dataset, the same before and after an archive.

    Parameters
    ----------
    ds : xarray.Dataset
        Numbers and text.

    Returns
    -------
    str
        Hexadecimal digits.

    Examples
    --------
    >>> ds = xr.Dataset({"loss": ("step", [1.0, 2.0])})
    >>> checksum(ds) == checksum(ds.copy(deep=True)), checksum(ds) == checksum(2 * ds)
    (True, False)
    """
    digest = hashlib.sha256()
    names: list[Hashable] = sorted(ds.variables, key=str)
    for name in names:
        variable = ds.variables[name]
        values = np.asarray(variable.values)
        digest.update(json.dumps([str(name), [str(dim) for dim in variable.dims], list(values.shape)]).encode())
        if values.dtype.kind in "biufc":
            little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
            digest.update(little.dtype.str.encode() + little.tobytes())
        else:  # text comes back from a file in another type
            digest.update(json.dumps([str(value) for value in values.ravel().tolist()]).encode())
    return digest.hexdigest()
