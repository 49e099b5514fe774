"""A training record with other observations or runs than before, in the shape that it had where that can be."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from scalingeq.errors import DataError, raise_problems

from .labels import MEASURED
from .shapes import Layout

Ints = NDArray[np.int64]


def observations(ds: xr.Dataset, layout: Layout) -> dict[str, NDArray[Any]]:
    """Values (obs,) of every variable that has the dimension of the observations.

    Raises
    ------
    DataError
        If one of them has further dimensions.

    Examples
    --------
    >>> from .shapes import find_layout
    >>> ds = xr.Dataset({"loss": (("run", "step"), [[3.0, 2.0], [2.5, 1.5]])}, {"step": [1, 2]})
    >>> observations(ds, find_layout(ds))["loss"]
    array([3. , 2. , 2.5, 1.5])
    """
    point = _point(layout)
    mine = [str(name) for name, variable in ds.variables.items() if point in variable.dims]
    raise_problems(
        [
            f"{name}: has the dimensions {ds[name].dims}, but an observation has one value; drop it with "
            f"ds.drop_vars({name!r})"
            for name in mine
            if not set(ds[name].dims) <= set(layout.where)
        ],
        DataError,
    )
    return {name: layout.spread(ds[name]) for name in mine}


def rearranged(
    ds: xr.Dataset,
    layout: Layout,
    values: Mapping[str, NDArray[Any]],
    run: Ints,
    parents: Ints,
    names: NDArray[np.str_] | None = None,
) -> xr.Dataset:
    """Build a record from observations by run, in the shape of another.

    Parameters
    ----------
    ds : xarray.Dataset
        The record that they come from, labelled, with its ``layout``.
    values : mapping of str to ndarray, shape (obs,)
        What the record holds for each observation, ``step`` among it.
    run : ndarray of int, shape (obs,), ascending
        New run of each observation.
    parents : ndarray of int, shape (run,)
        Run of ``ds`` whose coordinates each new run takes.
    names : ndarray of str, shape (run,), optional
        Names of the new runs; those of the parents otherwise.

    Returns
    -------
    xarray.Dataset
        A grid becomes ragged where its runs no longer share their steps, a single run where it is no longer one; padded
        and ragged records stay so.

    Examples
    --------
    >>> from .shapes import find_layout
    >>> ds = xr.Dataset({"loss": (("run", "step"), [[3.0, 2.0], [2.5, 1.5]])}, {"step": [1, 2]})
    >>> layout, runs = find_layout(ds), np.arange(2)
    >>> flat = observations(ds, layout)
    >>> rearranged(ds, layout, {k: v[[0, 1, 2]] for k, v in flat.items()}, np.array([0, 0, 1]), runs).loss.dims
    ('obs',)
    """
    point = _point(layout)
    step_dims = ds["step"].dims
    coords = set(ds.coords)
    order = {str(name): variable.dims for name, variable in ds.variables.items() if point in variable.dims}
    attrs = {name: ds[name].attrs for name in order}
    base = ds.drop_vars([*order, "row_size"], errors="ignore")
    base = base.isel(run=parents) if "run" in base.dims else base
    counts = np.bincount(run, minlength=parents.size)
    variables: dict[str, tuple[tuple[Hashable, ...], NDArray[Any]]] = {}
    if "row_size" not in ds and "run" not in ds.dims and parents.size == 1:
        variables = {name: ((point,), flat) for name, flat in values.items()}
    elif "row_size" not in ds and step_dims == (point,) and "run" in ds.dims and _share_steps(values["step"], counts):
        shared = (parents.size, counts[0])
        for name, flat in values.items():
            block = flat.reshape(shared)
            dims = order.get(name, layout.dims)
            alone = dims == (point,) and name not in MEASURED and _alike(block)
            variables[name] = ((point,), block[0]) if alone else _transposed(block, dims, point)
    elif "row_size" not in ds and len(step_dims) == 2:
        column = np.arange(run.size) - (np.cumsum(counts) - counts)[run]
        for name, flat in values.items():
            block = _padding(flat, (parents.size, int(counts.max(initial=0))), full=bool(np.ptp(counts) == 0))
            block[run, column] = flat
            variables[name] = _transposed(block, order.get(name, step_dims), point)
    else:
        if "run" not in ds.dims:
            base = base.drop_vars("run", errors="ignore")
        if "run" not in base.variables and names is None:
            names = layout.names[parents]
        variables = {name: (("obs",), flat) for name, flat in values.items()}
        base = base.assign_coords(row_size=("run", counts))
    if names is not None and "run" in {*base.dims, *(d for dims, _ in variables.values() for d in dims)}:
        about = ds["run"].attrs if "run" in ds.variables else {}
        base = base.assign_coords(run=("run", names, about))
    data = {name: (dims, array, attrs.get(name, {})) for name, (dims, array) in variables.items()}
    return base.assign({name: data[name] for name in data if name not in coords}).assign_coords(
        {name: data[name] for name in data if name in coords}
    )


def _point(layout: Layout) -> str:
    """Name of the dimension of the observations."""
    (point,) = [str(dim) for dim in layout.where if dim != "run"]
    return point


def _share_steps(step: NDArray[Any], counts: Ints) -> bool:
    if counts.size == 0 or np.ptp(counts) > 0:
        return False
    return _alike(step.reshape(counts.size, -1))


def _alike(block: NDArray[Any]) -> bool:
    """Whether all rows are the same, NaN included."""
    return bool(((block == block[0]) | ((block != block) & (block[0] != block[0]))).all())


def _transposed(
    block: NDArray[Any], dims: tuple[Hashable, ...], point: str
) -> tuple[tuple[Hashable, ...], NDArray[Any]]:
    """A (run, observation) array in the order of dimensions that it had."""
    return ((point, "run"), block.T) if dims == (point, "run") else (("run", point), block)


def _padding(flat: NDArray[Any], shape: tuple[int, int], full: bool) -> NDArray[Any]:
    """Array for values and for what stands after the end of a run: NaN, empty text, or False."""
    if flat.dtype.kind == "f" or (flat.dtype.kind in "iu" and not full):
        return np.full(shape, np.nan, np.result_type(flat.dtype, np.float64))
    return np.zeros(shape, flat.dtype)
