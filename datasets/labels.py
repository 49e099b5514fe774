"""The names of a training record: what each variable means, and how other names become these."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from scalingeq.errors import DataError, raise_problems


class Role(NamedTuple):
    """What a variable of the schema says of itself where the data do not say it."""

    long_name: str
    units: str


ROLES = {
    "run": Role("training run", "1"),
    "row_size": Role("number of observations of the run", "1"),
    "step": Role("optimiser steps done", "1"),
    "tokens": Role("training tokens seen", "tokens"),
    "loss": Role("test loss", "1"),
    "train_loss": Role("training loss", "1"),
    "loss_stderr": Role("standard error of the test loss", "1"),
    "params": Role("number of parameters", "1"),
    "width": Role("width of the network", "1"),
    "learning_rate": Role("learning rate", "1"),
    "batch_size": Role("tokens in an optimiser step", "tokens"),
    "dataset_size": Role("unique training tokens (infinite: one pass)", "tokens"),
    "warmup_steps": Role("steps of linear warm-up of the learning rate", "1"),
    "seed": Role("random seed of the run", "1"),
}
MEASURED = ("loss", "train_loss", "loss_stderr")  # the data variables; every other role is a coordinate
SHARED_UNITS = (("tokens", "batch_size", "dataset_size"), MEASURED)
PER_RUN = ("row_size", "params", "width", "dataset_size", "warmup_steps", "seed")


def label(ds: xr.Dataset, *, units: Mapping[str, str] | None = None, **roles: Any) -> xr.Dataset:
    """Give a training record the names, coordinates and attributes of the schema.

    Parameters
    ----------
    ds : xarray.Dataset
        Measured curves under any names. A variable may also name its role in its attribute ``scaling_role``.
    units : mapping of str to str, optional
        Units by role. Those of ``tokens`` are shared by ``batch_size`` and ``dataset_size`` (default "tokens"), those
        of ``loss`` by ``train_loss`` and ``loss_stderr`` (default "1"). They replace what the data state.
    **roles
        For a role (``run``, ``step``, ``loss``, ``params``, ``learning_rate``, ``batch_size``, ...) the name of a
        variable as text, or what the record lacks as a number, an array over runs or observations, or a DataArray.

    Returns
    -------
    xarray.Dataset
        The same values; ``loss``, ``train_loss`` and ``loss_stderr`` are data variables, other roles coordinates.
        Variables without a role are kept as they are. ``ds`` is not changed.

    Raises
    ------
    DataError
        If a name is not in the dataset, two variables claim one role, or an array fits no dimension or two.

    Examples
    --------
    >>> log = xr.Dataset({"val_loss": ("iter", [3.0, 2.5])}, {"iter": [10, 20]})
    >>> ds = label(log, step="iter", loss="val_loss", params=1e6, units={"loss": "nats per token"})
    >>> ds.loss.dims, float(ds.params), ds.loss.units, ds.step.long_name
    (('step',), 1000000.0, 'nats per token', 'optimiser steps done')
    """
    ds = _without_multi_index(ds)
    given = {role: value for role, value in roles.items() if not isinstance(value, str)}
    claims = _claims(ds, {role: value for role, value in roles.items() if isinstance(value, str)}, set(given))
    ds = _name_runs(ds, claims)
    ds = _assign(ds, given)
    ds = _name_observations(ds)
    ds = ds.reset_coords([name for name in MEASURED if name in ds.coords])
    ds = ds.set_coords([name for name in ROLES if name in ds.data_vars and name not in MEASURED])
    return _describe(ds, units or {})


def _without_multi_index(ds: xr.Dataset) -> xr.Dataset:
    """Replace stacked indexes by text, which files can hold; their levels stay as coordinates."""
    for dim, index in dict(ds.indexes).items():
        if dim in ds.dims and index.nlevels > 1:
            names = [", ".join(f"{n}={v}" for n, v in zip(index.names, row, strict=True)) for row in index]
            ds = ds.reset_index(dim).drop_vars(dim, errors="ignore").assign_coords({dim: names})
    return ds.copy()


def _claims(ds: xr.Dataset, named: dict[str, str], given: set[str]) -> dict[str, str]:
    """Variable of each role that is not under its own name."""
    known = set(ds.variables) | set(ds.dims)
    problems = [
        f"{role}: not a role; the roles are {', '.join(ROLES)}" for role in [*named, *given] if role not in ROLES
    ]
    problems += [
        f"{role}: no variable {name!r} in the dataset, which has {', '.join(map(str, ds.variables))}; "
        f"pass the name of one of these, or a value as a number"
        for role, name in named.items()
        if name not in known
    ]
    marked: dict[str, list[Hashable]] = {}
    for name, variable in ds.variables.items():
        role = variable.attrs.get("scaling_role")
        if role is not None and role not in ROLES:
            problems.append(f"{name}: its scaling_role {role!r} is not a role; the roles are {', '.join(ROLES)}")
        elif role is not None and role not in named and role not in given and name not in named.values():
            marked.setdefault(role, []).append(name)
    claims = dict(named)
    for role, names in marked.items():
        if len(names) > 1:
            problems.append(f"{role}: {' and '.join(map(repr, names))} both have this scaling_role; pass {role}=NAME")
        claims[role] = str(names[0])
    for role, name in claims.items():
        if name in known and role in ds.variables and name != role and role not in claims.values():
            problems.append(
                f"{role}: {name!r} is to be it, and the dataset has a variable {role!r} as well; "
                f"drop one with ds.drop_vars(...), or name the role of the other"
            )
    owners: dict[str, list[str]] = {}
    for role, name in claims.items():
        if role != "run":  # the coordinate of the runs may also be their size
            owners.setdefault(name, []).append(role)
    problems += [f"{name}: claimed by {' and '.join(r)}; name one" for name, r in owners.items() if len(r) > 1]
    raise_problems(problems, DataError)
    return claims


def _name_runs(ds: xr.Dataset, claims: dict[str, str]) -> xr.Dataset:
    """Rename the claimed variables, and the dimension of the runs to ``run``."""
    names = {name: role for role, name in claims.items() if role != "run"}
    source = claims.get("run", "run")
    dims: dict[Hashable, str] = {}
    if source in ds.dims:
        dims[source] = "run"
    elif source in ds.variables and ds[source].ndim == 1:
        dims[ds[source].dims[0]] = "run"
    if source not in names and source not in ROLES:
        names[source] = "run"
    return _renamed(ds, names, dims)


def _name_observations(ds: xr.Dataset) -> xr.Dataset:
    """Rename the dimension of the observations: ``step`` where all runs share their steps, else ``obs``."""
    if "step" not in ds.variables:
        return ds
    rest = [dim for dim in ds.variables["step"].dims if dim != "run"]
    if len(rest) != 1 or rest[0] == "obs":
        return ds
    shared = ds.variables["step"].ndim == 1 and "row_size" not in ds.variables
    return _renamed(ds, {}, {rest[0]: "step" if shared else "obs"})


def _renamed(
    ds: xr.Dataset, names: Mapping[Hashable, str] | Mapping[str, str], dims: dict[Hashable, str]
) -> xr.Dataset:
    """Rename variables and dimensions separately, which ``Dataset.rename`` does not where both have one name."""
    names = {old: new for old, new in names.items() if old != new and old in ds.variables}
    dims = {old: new for old, new in dims.items() if old != new}
    raise_problems(
        [
            f"{new}: {old!r} is to be this dimension, and the dataset has another of that name; rename one"
            for old, new in dims.items()
            if new in ds.dims
        ],
        DataError,
    )
    if not names and not dims:
        return ds
    variables = {}
    for old, variable in ds.variables.items():
        plain = variable.to_base_variable()
        plain.dims = tuple(dims.get(dim, dim) for dim in variable.dims)
        variables[names.get(old, old)] = plain
    coords = {names.get(name, name) for name in ds.coords}
    data = {name: variable for name, variable in variables.items() if name not in coords}
    return xr.Dataset(data, {name: variables[name] for name in coords}, ds.attrs)


def _assign(ds: xr.Dataset, given: dict[str, Any]) -> xr.Dataset:
    """Add the roles that are given as values."""
    problems = []
    for role, value in given.items():
        if isinstance(value, xr.DataArray):
            ds = ds.assign({role: value})
            continue
        array = np.asarray(value)
        if array.dtype.kind not in "iufU":
            problems.append(f"{role}: {value!r} is neither the name of a variable nor numbers; pass one of these")
            continue
        if array.ndim == 0 and role in ds.dims:
            problems.append(f"{role}: one value for a whole dimension of that name; pass an array of {ds.sizes[role]}")
            continue
        if array.ndim == 0:
            ds = ds.assign({role: array})
            continue
        measured = next((ds[name] for name in MEASURED if name in ds), None)
        dims = list(ds.dims)
        if role in PER_RUN:
            dims = ["run"] if "run" in dims else []
        elif role == "step":
            dims = [dim for dim in dims if dim != "run"]
        fits: list[tuple[Hashable, ...]] = [(dim,) for dim in dims if array.shape == (ds.sizes[dim],)]
        if measured is not None and array.ndim > 1 and array.shape == measured.shape:
            fits = [measured.dims]
        if len(fits) == 1:
            ds = ds.assign({role: (fits[0], array)})
        else:
            what = "fits no dimension" if not fits else f"fits the dimensions {', '.join(str(f[0]) for f in fits)}"
            problems.append(f"{role}: an array of shape {array.shape} {what} of {dict(ds.sizes)}; pass a DataArray")
    raise_problems(problems, DataError)
    return ds


def _describe(ds: xr.Dataset, units: Mapping[str, str]) -> xr.Dataset:
    """Fill in ``units`` and ``long_name`` where the data have none."""
    raise_problems(
        [f"{name}: not a role, so its units cannot be set" for name in units if name not in ROLES], DataError
    )
    stated = {name: ds[name].attrs["units"] for name in ROLES if name in ds and ds[name].attrs.get("units")} | dict(
        units
    )
    for group in SHARED_UNITS:
        known = next((stated[name] for name in group if name in stated), None)
        if known is not None:
            stated = dict.fromkeys(group, known) | stated
    for name, role in ROLES.items():
        if name in ds.variables:
            attrs = ds[name].attrs
            attrs.setdefault("long_name", role.long_name)
            attrs["units"] = stated.get(name, role.units)
    return ds
