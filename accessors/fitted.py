"""From a training record to an analysis: the fit of any law as labelled groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from scalingeq.datasets.schema import check, to_curves
from scalingeq.datasets.shapes import find_layout
from scalingeq.errors import DataError, raise_problems
from scalingeq.inference.laws import Law, law
from scalingeq.inference.laws.isoflop import FrontierFit
from scalingeq.inference.twopoint import unknown_problems, value_problems
from scalingeq.inference.validation import Task, fit_average

from . import groups
from .archive import provenance, self_contained
from .checking import TASKS, candidates_group, check_group
from .selection import selected

if TYPE_CHECKING:
    from lmfit import Parameter, Parameters


def fit_record(
    ds: xr.Dataset,
    name: str,
    params: Parameters | None,
    *,
    hold_out: Mapping[str, Any] | None,
    weights: xr.DataArray | None,
    progress: bool,
    parameters: Mapping[str, float | Parameter],
    leave_out: Task | None = None,
) -> xr.DataTree:
    """Fit the law ``name`` to all runs of a record: what ``ds.laws.fit`` and ``ds.twopoint.fit`` do.

    Parameters
    ----------
    ds : xarray.Dataset
        A training record.
    name, params, hold_out, weights, progress, parameters
        As in :meth:`scalingeq.accessors.MeasuredLaws.fit`.
    leave_out
        ``check`` of :meth:`scalingeq.accessors.MeasuredTwoPoint.fit`.
    """
    from tqdm import tqdm

    chosen = law(name)
    with tqdm(total=100, desc="fit", unit="%", disable=not progress, bar_format="{desc} {bar} {n:.0f} %") as bar:
        found = fitted_groups(
            ds, chosen, params, hold_out=hold_out, weights=weights, parameters=parameters, leave_out=leave_out,
            progress=lambda share: bar.update(100 * share - bar.n),
        )  # fmt: skip
    return analysis_tree(found, chosen)


def fitted_groups(
    ds: xr.Dataset,
    chosen: Law,
    params: Parameters | None,
    *,
    hold_out: Mapping[str, Any] | None,
    weights: xr.DataArray | None,
    parameters: Mapping[str, float | Parameter],
    leave_out: Task | None = None,
    progress: Callable[[float], object] | None = None,
) -> dict[str, xr.Dataset]:
    """Fit a law to a record and label the result: the groups of an analysis by name.

    Parameters
    ----------
    ds, params, hold_out, weights, parameters, leave_out
        As for :func:`fit_record`.
    chosen : Law
        Law to fit.
    progress : callable, optional
        Told the share of the work done, from 0 to 1.
    """
    from scalingeq.inference.fitting import TwoPointFit

    ds = check(ds)
    curves = to_curves(ds)
    if leave_out is not None:
        _check_problems(leave_out, params, weights, parameters)
    wanted = selected(ds, curves, hold_out)
    weight = chosen.default_weights(curves) if weights is None else _flat_weights(ds, weights)
    training = np.where(wanted, 0.0, weight)
    # What the weights leave out of a fit, the transient by default, is no test of the law either.
    held = wanted & (weight > 0)
    if not (training > 0).any():
        raise DataError("weights: no observation outside hold_out has a weight above zero; pass some that have")
    if params is None:
        params, notes = chosen.default_parameters(curves.select(training > 0))
    else:
        params, notes = params.copy(), ()
    _set_parameters(chosen, params, parameters)
    average = None if leave_out is None else fit_average(curves, leave_out, fitted=~wanted, progress=progress)
    fit = chosen.fit(curves, params, weights=training, progress=progress) if average is None else average.best
    role = np.where(held, groups.HELD_OUT, np.where(fit.used, groups.FITTED, groups.NOT_USED)).astype(float)
    units, tokens = ds["loss"].attrs["units"], str(ds["batch_size"].attrs["units"])
    additive = fit.additive if isinstance(fit, TwoPointFit) else None
    parts = {
        "observed": ds,
        "parameters": groups.parameters_group(fit, chosen, units, tokens, notes if average is None else ()),
        "prediction": groups.prediction_group(
            ds, curves, chosen, fit, additive, role, fit.weight, None if average is None else average.law
        ),
    }
    if average is not None:
        parts |= {"candidates": candidates_group(average), "check": check_group(ds, curves, average)}
    if additive is not None:
        parts["additive"] = groups.additive_group(additive, units, tokens)
    if isinstance(fit, FrontierFit):
        parts["optima"] = groups.optima_group(fit.optima, units)
    return parts


def analysis_tree(found: Mapping[str, xr.Dataset], chosen: Law) -> xr.DataTree:
    """Groups of a fit, or of fits in bulk, as an analysis with its provenance."""
    tree = xr.DataTree.from_dict(dict(found), name=f"{chosen.name} analysis")
    tree.attrs["title"] = f"{chosen.title[0].upper()}{chosen.title[1:]} fitted to measured loss curves"
    tree.attrs["provenance"] = provenance(found["observed"], chosen.name, chosen.version, seed=0)
    return self_contained(tree)


def _check_problems(task: str, params: Any, weights: Any, parameters: Mapping[str, Any]) -> None:
    """Refuse what a check cannot do."""
    problems = []
    if task not in TASKS:
        problems.append(f"check: no task {task!r}; pass one of {', '.join(TASKS)}")
    given = [name for name, value in (("params", params), ("weights", weights)) if value is not None]
    if given := given + list(parameters):
        problems.append(f"check: chooses among fits with defaults; leave out {', '.join(given)}, or check=None")
    raise_problems(problems, DataError)


def _flat_weights(ds: xr.Dataset, weights: xr.DataArray) -> np.ndarray:
    """Weights (obs,) in the order of the curves."""
    try:
        aligned = weights.reindex_like(ds["loss"]) if weights.indexes else weights
        flat = find_layout(ds).spread(aligned).astype(float)
    except (KeyError, ValueError, IndexError) as error:
        raise DataError(
            f"weights: dimensions {dict(weights.sizes)} do not fit those of loss, {dict(ds['loss'].sizes)}"
        ) from error
    if not (np.isfinite(flat) & (flat >= 0)).all():
        raise DataError(
            "weights: negative or missing values; pass a finite weight of zero or more for every observation"
        )
    return np.asarray(flat)


def parameter_problems(law: Law, given: Mapping[str, float | Parameter]) -> list[str]:
    """What is wrong with parameters of a law given by name: unknown, or held outside their bounds.

    Examples
    --------
    >>> parameter_problems(law("twopoint"), {"alpha": 0.5})
    ['alpha: 0.5 is outside [1.02, 8]; pass a value inside']
    """
    whole, numbers = _split(given)
    return unknown_problems(whole, law.parameters) + value_problems(numbers, law.parameters)


def _split(given: Mapping[str, float | Parameter]) -> tuple[dict[str, Parameter], dict[str, float]]:
    from lmfit import Parameter

    whole = {name: value for name, value in given.items() if isinstance(value, Parameter)}
    return whole, {name: value for name, value in given.items() if not isinstance(value, Parameter)}


def _set_parameters(law: Law, params: Parameters, given: Mapping[str, float | Parameter]) -> None:
    """Hold a parameter of a law at a number, or replace it by the lmfit parameter given."""
    raise_problems(parameter_problems(law, given), DataError)
    whole, numbers = _split(given)
    for name, value in whole.items():
        params[name].set(value=value.value, vary=value.vary, min=value.min, max=value.max, expr=value.expr or "")
    for name, number in numbers.items():
        info = law.parameters[name]
        params[name].set(value=float(number), vary=False, min=info.minimum, max=info.maximum)
