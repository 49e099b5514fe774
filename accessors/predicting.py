"""Predictions in the shape of a dataset: at once, or lazily where the dataset is."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from scalingeq.datasets.history import note
from scalingeq.datasets.schema import check, label, to_curves
from scalingeq.datasets.shapes import POINTS
from scalingeq.errors import DataError, ParameterError
from scalingeq.inference.algorithms import PLAIN, Algorithm
from scalingeq.inference.frontier import Frontier

from . import groups

RECORDED = "twopoint_parameters"


def predicted(
    ds: xr.Dataset, law: groups.FittedLaw, history: str, algorithm: Algorithm = PLAIN, components: bool = False
) -> xr.Dataset:
    """Predictions of a law in the shape of a dataset; lazy, chunk by chunk, where the dataset is chunked.

    Parameters
    ----------
    ds : xarray.Dataset
        Runs, with or without losses.
    law : FittedLaw
        Parameters.
    history : str
        Where they come from.
    algorithm : Algorithm
        How the runs are trained.
    components : bool
        Whether to add the parts of the loss.
    """
    if components and algorithm.kind == "train":
        raise DataError("components: the parts are those of the test loss; pass kind='test'")
    ds = label(ds)
    predict = partial(_predicted, law=law, algorithm=algorithm, components=components)
    out = _lazily(predict, ds, law, algorithm, components) if ds.chunks else predict(ds)
    out.attrs[RECORDED] = json.dumps(law.values | {"reference_params": law.reference_params})
    return note(out, f"twopoint.predict with {history}")


def _predicted(ds: xr.Dataset, law: groups.FittedLaw, algorithm: Algorithm, components: bool) -> xr.Dataset:
    ds = check(ds, needs_loss=False)
    curves = to_curves(ds, needs_loss=False)
    out = groups.predicted_losses(ds, curves, law, _units(ds), algorithm, components)
    measured = _measured(algorithm)
    if measured in ds:
        out["measured_loss"] = ds[measured]
    return out


def _measured(algorithm: Algorithm) -> str:
    """Variable that a prediction stands beside."""
    return "loss" if algorithm.kind == "test" else "train_loss"


def _units(ds: xr.Dataset) -> str:
    return str(ds["loss"].attrs["units"]) if "loss" in ds else "1"


def _lazily(
    predict: partial[xr.Dataset], ds: xr.Dataset, law: groups.FittedLaw, algorithm: Algorithm, components: bool
) -> xr.Dataset:
    """Prediction whose values are computed when they are asked for.

    Runs stay in their chunks; so do their observations where rate and batch size are those of a run, as the loss at a
    step then needs no other step. A schedule is needed as a whole, and a ragged record all of its row sizes.
    """
    import dask.array

    together = set(ds.dims)
    if "row_size" not in ds:
        together -= {"run"}
        if not any(dim in ds[name].dims for name in ("learning_rate", "batch_size") if name in ds for dim in POINTS):
            together -= {*POINTS}
    ds = ds.unify_chunks().chunk(dict.fromkeys(together, -1))
    labels = groups.loss_labels(law, _units(ds), algorithm, components)
    outline = partial(_outline, labels=labels, measured=_measured(algorithm))

    def later(dims: Mapping[Hashable, int]) -> Any:
        return dask.array.empty(list(dims.values()), chunks=[ds.chunks.get(dim, size) for dim, size in dims.items()])

    block = partial(_predicted_block, predict=predict, outline=outline)
    return xr.map_blocks(block, ds, template=outline(ds, fill=later))


def _predicted_block(ds: xr.Dataset, predict: partial[xr.Dataset], outline: partial[xr.Dataset]) -> xr.Dataset:
    """Prediction for the part of a record in a chunk, which may lie wholly in the padding of its runs."""
    if "step" in ds and ds["step"].isnull().all():
        return outline(ds, fill=lambda dims: np.full(list(dims.values()), np.nan))
    return predict(ds)


def _outline(
    ds: xr.Dataset,
    labels: Mapping[str, tuple[str, str]],
    measured: str,
    fill: Callable[[Mapping[Hashable, int]], Any],
) -> xr.Dataset:
    """Labelled prediction in the shape of a record, with what ``fill`` makes of sizes by dimension as values."""
    points = ds["step"].dims if "step" in ds else ("run",)
    dims = ds["loss"].dims if "loss" in ds else tuple(dim for dim in ("run", *points) if dim in ds.dims)
    sizes = {dim: ds.sizes[dim] for dim in dims}
    out = xr.Dataset(coords=ds.coords)
    for name, (long_name, units) in labels.items():
        of_parts = {}
        if leading := groups.leading_coordinate(name):
            out = out.assign_coords({leading[0]: leading})
            of_parts = {leading[0]: len(leading[1])}
        out[name] = ((*of_parts, *sizes), fill(of_parts | sizes), {"long_name": long_name, "units": units})
    if measured in ds:
        out["measured_loss"] = ds[measured]
    return out


def lazy_frontier(
    compute: xr.DataArray,
    band: Callable[[Any], tuple[Frontier, Frontier]],
    labelled: Callable[..., xr.Dataset],
) -> xr.Dataset:
    """Frontier at chunked compute, which is found, chunk by chunk, when it is asked for.

    Parameters
    ----------
    compute : xarray.DataArray
        FLOPs along one dimension.
    band : callable
        Best frontier and standard errors at an array of compute.
    labelled : callable
        Dataset of compute and what ``band`` returns.
    """
    if compute.ndim != 1:
        raise ParameterError(f"compute: has the dimensions {compute.dims}; pass FLOPs along one")
    empty = np.zeros(0)
    nothing = Frontier(*[empty] * len(fields(Frontier)))
    template = labelled(empty, nothing, nothing)
    flops = compute.variable.to_base_variable()
    flops.dims = ("compute",)
    found = xr.apply_ufunc(
        partial(_frontier_block, band=band, labelled=labelled),
        flops,
        input_core_dims=[[]],
        output_core_dims=[list(variable.dims[1:]) for variable in template.data_vars.values()],
        dask="parallelized",
        output_dtypes=[float] * len(template.data_vars),
        dask_gufunc_kwargs={"output_sizes": {"quantile": template.sizes["quantile"]}},
    )
    data = {}
    for (name, variable), values in zip(template.data_vars.items(), found, strict=True):
        data[name] = values
        data[name].attrs = variable.attrs
    # An index would be computed at once.
    flops.attrs = template["compute"].attrs
    ds = xr.Dataset(data, template.drop_vars("compute").coords)
    return ds.assign_coords(xr.Coordinates({"compute": flops}, indexes={}))


def _frontier_block(
    compute: np.ndarray, band: Callable[[Any], tuple[Frontier, Frontier]], labelled: Callable[..., xr.Dataset]
) -> tuple[np.ndarray, ...]:
    return tuple(variable.values for variable in labelled(compute, *band(compute)).data_vars.values())


def smallest_size(ds: xr.Dataset) -> float:
    """Size that amplitudes refer to where nothing else is said."""
    return float(np.min(ds["params"])) if "params" in ds else 1.0
