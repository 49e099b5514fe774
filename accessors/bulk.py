"""Fits in bulk: every element of further dimensions (tasks, seeds, draws) as a record of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from scalingeq.datasets.labels import ROLES, label
from scalingeq.datasets.schema import REQUIRED
from scalingeq.datasets.shapes import POINTS
from scalingeq.errors import DataError, raise_problems
from scalingeq.inference.laws import Law, LawFit, law
from scalingeq.inference.laws.additive import AdditiveLaw
from scalingeq.inference.twopoint import LAW_NAME

from . import groups
from .fitted import analysis_tree, fitted_groups, parameter_problems
from .mapping import TEXT, Output, map_elements

if TYPE_CHECKING:
    from lmfit import Parameter, Parameters

WEIGHTS = "weights of the fit"  # no name of a variable
NOTES = Output((), TEXT, {"long_name": "what a reader of the parameters must know", "units": "1"})


def fit_elements(
    ds: xr.Dataset,
    name: str,
    dim: str | Sequence[str],
    params: Parameters | None,
    *,
    hold_out: Mapping[str, Any] | None,
    weights: xr.DataArray | None,
    parameters: Mapping[str, float | Parameter],
    progress: bool,
) -> xr.DataTree:
    """Fit the law ``name`` to every element of ``dim``; lazy where the record, or the weights, are chunked.

    Parameters
    ----------
    ds : xarray.Dataset
        Measured curves with ``dim`` beside the dimensions of the schema, on any of its variables.
    name, dim, params, hold_out, weights, parameters, progress
        As in :meth:`scalingeq.accessors.MeasuredLaws.fit`.

    Returns
    -------
    xarray.DataTree
        An analysis whose groups have ``dim`` too; ``success`` and ``message`` in ``parameters`` say which fits failed.

    Raises
    ------
    DataError
        If ``dim`` or a variable is missing, or a parameter is unknown.
    """
    ds, chosen, dims = label(ds), law(name), [dim] if isinstance(dim, str) else list(dim)
    needed = ({*ROLES} - {"train_loss"}) | {"test_eigenvalues", "offset_stderr"}
    of_runs = {name for name, coord in ds.coords.items() if "run" in coord.dims}  # hold_out may name any of these
    own = {str(name): ds[name] for name in ds.variables if name not in dims and name in needed | of_runs}
    if weights is not None and weights.indexes:
        weights = weights.reindex_like(ds["loss"])  # by its labels, as in a single fit
    inputs = own | ({} if weights is None else {WEIGHTS: weights})
    lazy = any(array.chunks for array in inputs.values())
    problems = [f"dim: the observations of a run lie along {dim!r}; pass others" for dim in dims if dim in POINTS]
    problems += [f"{name}: missing; label({name}=...)" for name in REQUIRED if name not in ds]
    problems += parameter_problems(chosen, parameters)
    if not chosen.has_loss:
        problems.append(
            f"dim: the {chosen.title} give a frontier alone, each record its own; fit the elements one by one"
        )
    if weights is not None and any(weights.sizes[dim] != ds.sizes.get(dim, weights.sizes[dim]) for dim in weights.dims):
        problems.append(f"weights: dimensions {dict(weights.sizes)} do not fit those of the record, {dict(ds.sizes)}")
    if lazy and progress:
        problems.append("progress: chunked fits run where they are computed; use dask.diagnostics.ProgressBar there")
    raise_problems(problems, DataError)

    points = tuple(str(dim) for dim in ds["loss"].dims if dim not in dims)
    templates = _templates(
        ds, chosen, points, list(chosen.parameters if params is None else params), hold_out is not None
    )
    outputs = {f"{group}/{name}": output for group, (named, _) in templates.items() for name, output in named.items()}
    sizes = {dim: coord.size for _, coords in templates.values() for dim, coord in coords.items()}
    about = {name: (tuple(str(dim) for dim in v.dims if dim not in dims), v.attrs) for name, v in own.items()}
    fit = partial(_fit_element, law=chosen, about=about, params=params, hold_out=hold_out, parameters=parameters)
    if weights is not None:
        fit = partial(fit, weight_dims=tuple(dim for dim in weights.dims if dim not in dims))
    found = map_elements(fit, inputs, dims, outputs, sizes, progress=_bar if progress else iter)

    mapped = {dim: weights[dim] for dim in dims if weights is not None and dim in weights.coords} | {
        name: coord for name, coord in ds.coords.items() if coord.dims and set(coord.dims) <= set(dims)
    }
    tree = {"observed": ds}
    for group, (named, coords) in templates.items():
        rest = ds.coords if group == "prediction" else {}
        data = {name: found[f"{group}/{name}"] for name in named}
        tree[group] = xr.Dataset(data, {**mapped, **rest, **coords})
    tree["parameters"] = tree["parameters"].assign(success=found["success"], message=found["message"])
    return analysis_tree(tree, chosen)


def _bar(elements: Any) -> Any:
    from tqdm import tqdm

    return tqdm(elements, desc="fits", unit="fit")


def _templates(
    ds: xr.Dataset, law: Law, points: tuple[str, ...], names: list[str], held_out: bool
) -> dict[str, tuple[dict[str, Output], dict[str, xr.DataArray]]]:
    """Outputs and coordinates of each group, labelled as those of one fit are."""
    from lmfit import Parameters

    from scalingeq.inference.covariance import Noise
    from scalingeq.inference.fitting import TwoPointFit

    params = Parameters()
    for name in names:
        params.add(name)
    units, tokens = str(ds["loss"].attrs["units"]), str(ds["batch_size"].attrs["units"])
    nothing = AdditiveLaw(*[np.nan] * len(fields(AdditiveLaw)))
    about: dict[str, Any] = {
        "law": law.name, "params": params, "covariance": np.zeros((len(names),) * 2), "residual_scale": np.nan,
        "weight": np.zeros(0),
    }  # fmt: skip
    if law.name == LAW_NAME:
        about |= {"additive": nothing, "noise": Noise(*[np.nan] * len(fields(Noise)))}
        about |= {"prior_share": np.full(len(names), np.nan), "misfit_scale": np.nan, "irreducible_prior": np.nan}
        about |= {"reference": {"reference_params": np.nan}}
    fit = TwoPointFit(**about) if law.name == LAW_NAME else LawFit(**about)
    labelled = {"parameters": groups.parameters_group(fit, law, units, tokens, ())}
    if law.name == LAW_NAME:
        labelled["additive"] = groups.additive_group(nothing, units, tokens)
    templates = {}
    for group, template in labelled.items():
        named = {
            str(name): Output(tuple(map(str, v.dims)), TEXT if v.dtype.kind == "U" else v.dtype.str, v.attrs)
            for name, v in template.data_vars.items()
        }
        templates[group] = named, {str(name): coord for name, coord in template.coords.items()}
    templates["parameters"][0]["notes"] = NOTES
    predictions = {
        name: Output(points, "f8", {"long_name": text, "units": unit})
        for name, (text, unit) in groups.prediction_labels(law, units).items()
    }
    predictions["role"] = predictions["role"]._replace(attrs=dict(predictions["role"].attrs) | groups.ROLE_FLAGS)
    for name, text in groups.SCORES.items():
        if held_out or not name.startswith("held_out"):
            predictions[name] = Output(("law",), "f8", {"long_name": text, "units": "1"})
    names = [law.name, *(["additive"] if "additive" in labelled else [])]
    templates["prediction"] = predictions, {"law": groups.law_coordinate(names)}
    return templates


def _fit_element(
    arrays: dict[str, np.ndarray],
    *,
    law: Law,
    about: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]],
    params: Parameters | None,
    hold_out: Mapping[str, Any] | None,
    parameters: Mapping[str, float | Parameter],
    weight_dims: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Fit one element; what is fitted by name, ``group/variable``."""
    given = arrays.pop(WEIGHTS, None)
    weights = None if given is None else xr.DataArray(given, dims=weight_dims)
    variables = {name: (dims, arrays[name], attrs) for name, (dims, attrs) in about.items()}
    ds = xr.Dataset({"loss": variables.pop("loss")}, variables)
    found = fitted_groups(ds, law, params, hold_out=hold_out, weights=weights, parameters=parameters)
    del found["observed"]
    values = {f"{group}/{name}": v.values for group, one in found.items() for name, v in one.data_vars.items()}
    return values | {"parameters/notes": found["parameters"].attrs["notes"]}
