"""The groups of a fit to one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from scalingeq.datasets.schema import check, to_curves
from scalingeq.datasets.shapes import find_layout
from scalingeq.errors import DataError, raise_problems
from scalingeq.inference import twopoint

from . import groups
from .archive import provenance, self_contained
from .selection import selected

if TYPE_CHECKING:
    from lmfit import Parameter, Parameters


def fitted_groups(
    ds: xr.Dataset,
    params: Parameters | None = None,
    *,
    hold_out: Mapping[str, Any] | None = None,
    weights: xr.DataArray | None = None,
    parameters: Mapping[str, float | Parameter] | None = None,
    progress: Callable[[float], object] | None = None,
) -> dict[str, xr.Dataset]:
    """Fit a record and label the result: the groups of an analysis by name.

    Parameters
    ----------
    ds : xarray.Dataset
        Measured curves.
    params, hold_out, weights, parameters
        As in :meth:`scalingeq.accessors.MeasuredTwoPoint.fit`.
    progress : callable, optional
        Told the share of the work done, from 0 to 1.

    Raises
    ------
    DataError, FitError
        As :meth:`scalingeq.accessors.MeasuredTwoPoint.fit`.
    """
    from scalingeq.inference.fitting import default_parameters, default_weights, fit_two_point

    ds = check(ds)
    curves = to_curves(ds)
    held = selected(ds, curves, hold_out)
    weight = default_weights(curves) if weights is None else _flat_weights(ds, weights)
    training = np.where(held, 0.0, weight)
    # What the weights leave out of a fit, the transient by default, is no test of the law either.
    held &= weight > 0
    if not (training > 0).any():
        raise DataError("weights: no observation outside hold_out has a weight above zero; pass some that have")
    if params is None:
        params, notes = default_parameters(curves.select(training > 0))
    else:
        params, notes = params.copy(), ()
    _set_parameters(params, parameters or {})
    fit = fit_two_point(curves, params, weights=training, progress=progress)

    role = np.where(held, groups.HELD_OUT, np.where(training > 0, groups.FITTED, groups.NOT_USED))
    units, tokens = ds["loss"].attrs["units"], str(ds["batch_size"].attrs["units"])
    fitted = groups.parameters_group(fit, units, tokens, notes)
    law = groups.read_parameters(fitted)
    return {
        "observed": ds,
        "parameters": fitted,
        "prediction": groups.prediction_group(ds, curves, law, fit.additive, role.astype(float), fit.weight),
        "additive": groups.additive_group(fit.additive, units, tokens),
    }


def analysis_tree(found: Mapping[str, xr.Dataset]) -> xr.DataTree:
    """Groups of a fit as an analysis, with its provenance."""
    tree = xr.DataTree.from_dict(dict(found), name="two-point analysis")
    tree.attrs["title"] = "Two-point theory fitted to measured loss curves"
    tree.attrs["provenance"] = provenance(found["observed"], twopoint.LAW_NAME, twopoint.LAW_VERSION, seed=0)
    return self_contained(tree)


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


def parameter_problems(given: Mapping[str, float | Parameter]) -> list[str]:
    """What is wrong with parameters given by name: unknown, or held outside their bounds.

    Examples
    --------
    >>> parameter_problems({"alpha": 0.5})
    ['alpha: 0.5 is outside [1.02, 8]; pass a value inside']
    """
    from lmfit import Parameter

    numbers = {name: value for name, value in given.items() if not isinstance(value, Parameter)}
    return twopoint.unknown_problems(given.keys() - numbers.keys()) + twopoint.value_problems(numbers)


def _set_parameters(params: Parameters, given: Mapping[str, float | Parameter]) -> None:
    """Hold a parameter at a number, or replace it by the lmfit parameter given."""
    from lmfit import Parameter

    raise_problems(parameter_problems(given), DataError)
    for name, value in given.items():
        if isinstance(value, Parameter):
            params[name].set(value=value.value, vary=value.vary, min=value.min, max=value.max, expr=value.expr or "")
    for name, value in given.items():
        if not isinstance(value, Parameter):
            info = twopoint.PARAMETERS[name]
            params[name].set(value=float(value), vary=False, min=info.minimum, max=info.maximum)
