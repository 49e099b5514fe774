"""Predictions in the shape of a dataset: at once, or lazily where the dataset is."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import xarray as xr

from scalingeq.datasets.history import note
from scalingeq.datasets.schema import check, label, to_curves
from scalingeq.errors import DataError
from scalingeq.inference.algorithms import PLAIN, Algorithm

from . import groups

RECORDED = "twopoint_parameters"


def predicted(
    ds: xr.Dataset, law: groups.FittedLaw, history: str, algorithm: Algorithm = PLAIN, components: bool = False
) -> xr.Dataset:
    """Predictions of a law in the shape of a dataset; lazy, run by run of its chunks, where the dataset is chunked.

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

    A run needs its whole schedule, and a ragged record all of its row sizes: only chunks of runs stay apart.
    """
    import dask.array

    apart = "run" in ds.dims and "row_size" not in ds
    ds = ds.chunk({dim: -1 for dim in ds.dims if not (apart and dim == "run")})
    if apart and "run" not in ds.chunks:
        ds = ds.chunk({"run": -1})
    points = ds["step"].dims if "step" in ds else ("run",)
    dims = ds["loss"].dims if "loss" in ds else tuple(dim for dim in ("run", *points) if dim in ds.dims)
    dims = tuple(dict.fromkeys(dims))
    template = xr.Dataset(coords=ds.coords)
    for name, (long_name, units) in groups.loss_labels(law, _units(ds), algorithm, components).items():
        shape, chunks = tuple(ds.sizes[dim] for dim in dims), tuple(ds.chunks[dim] for dim in dims)
        name_dims = dims
        if leading := groups.leading_coordinate(name):
            template = template.assign_coords({leading[0]: leading})
            parts = template.sizes[leading[0]]
            shape, chunks, name_dims = (parts, *shape), ((parts,), *chunks), (leading[0], *dims)
        empty = dask.array.empty(shape, chunks=chunks)
        template[name] = (name_dims, empty, {"long_name": long_name, "units": units})
    if _measured(algorithm) in ds:
        template["measured_loss"] = ds[_measured(algorithm)]
    return xr.map_blocks(predict, ds, template=template)


def smallest_size(ds: xr.Dataset) -> float:
    """Size that amplitudes refer to where nothing else is said."""
    return float(np.min(ds["params"])) if "params" in ds else 1.0
