"""The shapes of a training record: the one place that knows how runs and observations lie in an array.

Grid ``(run, step)``, padded ``(run, obs)`` with NaN, ragged ``(obs)`` with ``row_size(run)``, a single run without
``run``, and a table of final losses ``(run)`` all become one list of observations, and back.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from scalingeq.errors import DataError, raise_problems

POINTS = ("step", "obs")  # names that the dimension of the observations may have


@dataclass(frozen=True)
class Layout:
    """Where the observations of a record lie.

    Attributes
    ----------
    dims, shape : tuple
        Dimensions and shape of a variable that has one value for each observation.
    where : dict of str to ndarray of int, shape (obs,)
        Position of each observation along ``run`` and along the dimension of the observations; ordered by run.
    names : ndarray of str, shape (run,)
        Labels of the runs.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    where: dict[Hashable, NDArray[np.int64]]
    names: NDArray[np.str_]

    @property
    def run(self) -> NDArray[np.int64]:
        """Run of each observation."""
        return self.where["run"]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of observations of each run."""
        return np.bincount(self.run, minlength=self.names.size)

    @property
    def is_table(self) -> bool:
        """Whether each run has its final loss alone."""
        return self.dims == ("run",)

    def spread(self, variable: xr.DataArray) -> NDArray[Any]:
        """Values (obs,) of a variable over runs, observations, both or none."""
        index = tuple(self.where[dim] for dim in variable.dims)
        return np.broadcast_to(variable.values[index] if index else variable.values, self.run.shape)

    def place(self, values: ArrayLike) -> NDArray[np.float64]:
        """Put values (obs,) where the observations lie, NaN elsewhere."""
        values = np.asarray(values)
        if values.shape != self.run.shape:
            raise DataError(f"values of shape {values.shape} for {self.run.size} observations; pass one for each")
        out = np.full(self.shape, np.nan)
        out[tuple(self.where[dim] for dim in self.dims)] = values
        return out


def find_layout(ds: xr.Dataset) -> Layout:
    """Recognise the shape of a labelled record.

    Raises
    ------
    DataError
        If the dimensions are none of the accepted shapes.

    Examples
    --------
    >>> ds = xr.Dataset({"loss": (("run", "step"), [[3.0, 2.0], [2.5, 1.5]])}, {"step": [1, 2]})
    >>> layout = find_layout(ds)
    >>> layout.run, layout.spread(ds.step)
    (array([0, 0, 1, 1]), array([1, 2, 1, 2]))
    """
    raise_problems(_unknown_dimensions(ds), DataError)
    if "row_size" in ds:
        return _ragged(ds)
    # A dimension without steps also answers to its name, with made-up numbers: only variables count.
    if "step" not in ds.variables or ds["step"].dims in ((), ("run",)):
        return _table(ds)
    step = ds["step"]
    (point,) = [str(dim) for dim in step.dims if dim != "run"]
    expected = {"run", point} if "run" in ds.dims else {point}
    dims = tuple(map(str, ds["loss"].dims)) if "loss" in ds else tuple(d for d in ("run", point) if d in expected)
    if set(dims) != expected:
        raise DataError(
            f"loss: has the dimensions {dims}, but step{step.dims} asks for {tuple(sorted(expected, reverse=True))}"
        )
    runs = ds.sizes.get("run", 1)
    steps = step.transpose(..., point).values
    # Only steps of their own tell where a run ends; NaN in shared steps is found later as a bad step.
    own = step.ndim == 2 or "run" not in ds.dims
    there = ~np.isnan(steps) if own and steps.dtype.kind == "f" else np.ones(steps.shape, bool)
    run, along = np.nonzero(np.broadcast_to(there, (runs, ds.sizes[point])))
    return Layout(dims, tuple(ds.sizes[d] for d in dims), {"run": run, point: along}, _names(ds, runs))


def _unknown_dimensions(ds: xr.Dataset) -> list[str]:
    """Name the dimensions of the loss and the steps that the schema does not have."""
    problems = []
    for name in ("loss", "step"):
        dims = ds[name].dims if name in ds else ()
        odd = [str(dim) for dim in dims if dim not in ("run", *POINTS)]
        if odd and name == "loss" and "step" not in ds and "run" in dims:
            problems.append(f"step: missing; say which variable counts steps along {odd[0]!r}: label(ds, step=NAME)")
        elif odd:
            what = f"label(ds, run={odd[0]!r})" if len(odd) == 1 else f"ds.stack(run={odd}) for those that count runs"
            problems.append(
                f"{name}: unknown dimension {', '.join(map(repr, odd))}; the shapes are (run, step), (run, obs) and "
                f"(obs): pass {what}, and label(ds, step=NAME) for the steps"
            )
        elif set(POINTS) <= set(dims):
            problems.append(f"{name}: has both dimensions 'step' and 'obs'; keep one")
    return problems


def _ragged(ds: xr.Dataset) -> Layout:
    problems = []
    size = ds["row_size"]
    for name in ("loss", "step"):
        if name in ds and ds[name].dims != ("obs",):
            problems.append(f"{name}: has the dimensions {ds[name].dims}, but a record with row_size has ('obs',)")
    if size.dims != ("run",) or size.dtype.kind not in "iuf" or not np.all(size.values >= 0):
        problems.append(f"row_size: needs one count >= 0 for each run, has the dimensions {size.dims}")
    elif "step" not in ds:
        problems.append("step: missing; pass label(ds, step=NAME)")
    elif not problems and size.values.sum() != ds.sizes["obs"]:
        problems.append(
            f"row_size: adds up to {size.values.sum()}, but there are {ds.sizes['obs']} observations; "
            f"ds.isel(run=...) leaves these behind: choose runs with scalingeq.datasets.select_runs(ds, ...)"
        )
    raise_problems(problems, DataError)
    counts = size.values.astype(np.int64)
    where: dict[Hashable, NDArray[np.int64]] = {
        "run": np.repeat(np.arange(counts.size), counts),
        "obs": np.arange(ds.sizes["obs"]),
    }
    return Layout(("obs",), (ds.sizes["obs"],), where, _names(ds, counts.size))


def _table(ds: xr.Dataset) -> Layout:
    anchor = next((name for name in ("loss", "tokens", "step") if name in ds), None)
    if anchor is None or ds[anchor].dims != ("run",):
        raise DataError("step: missing; pass label(ds, step=NAME), or give a table of final losses over 'run' alone")
    if "tokens" not in ds and "step" not in ds:
        raise DataError("tokens: missing; a table of final losses needs them for each run: label(ds, tokens=NAME)")
    runs = ds.sizes["run"]
    return Layout(("run",), (runs,), {"run": np.arange(runs)}, _names(ds, runs))


def _names(ds: xr.Dataset, runs: int) -> NDArray[np.str_]:
    if "run" not in ds.variables:
        return np.arange(runs).astype(np.str_)
    return np.array([str(name) for name in np.atleast_1d(ds["run"].values)], dtype=np.str_)


def select_runs(ds: xr.Dataset, keep: ArrayLike | xr.DataArray) -> xr.Dataset:
    """Choose runs of a labelled record of any shape.

    Parameters
    ----------
    ds : xarray.Dataset
        Labelled curves with a dimension ``run``.
    keep : array of bool, shape (run,), or of int
        A mask, or positions of the runs in the order wanted.

    Returns
    -------
    xarray.Dataset
        The chosen runs, with their observations alone.

    Raises
    ------
    DataError
        If ``ds`` has no dimension ``run``, or the mask is not one value a run.

    Examples
    --------
    >>> ds = xr.Dataset({"loss": ("obs", [3.0, 2.0, 2.5, 1.5, 1.2])},
    ...                 {"step": ("obs", [1, 2, 1, 2, 3]), "row_size": ("run", [2, 3]), "params": ("run", [1e3, 1e4])})
    >>> select_runs(ds, ds.params > 2e3).loss.values
    array([2.5, 1.5, 1.2])
    """
    if "run" not in ds.dims:
        raise DataError("run: the dataset has no such dimension, so no runs to choose from")
    chosen = np.atleast_1d(np.asarray(keep))
    if chosen.dtype == bool and chosen.shape != (ds.sizes["run"],):
        raise DataError(f"keep: a mask of shape {chosen.shape} for {ds.sizes['run']} runs; pass one value for each")
    positions = np.arange(ds.sizes["run"])[chosen]
    if "row_size" in ds:
        layout = _ragged(ds)
        ds = ds.isel(obs=np.concatenate([np.zeros(0, np.int64), *(np.nonzero(layout.run == p)[0] for p in positions)]))
    return ds.isel(run=positions)
