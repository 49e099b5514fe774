"""The groups of an analysis: a fit's arrays as labelled datasets, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from scalingeq.datasets.schema import from_curves
from scalingeq.errors import DataError
from scalingeq.inference.algorithms import PLAIN, Algorithm, algorithm_components
from scalingeq.inference.curves import Floats, TrainingCurves
from scalingeq.inference.laws import AdditiveLaw
from scalingeq.inference.twopoint import PARAMETERS
from scalingeq.inference.uncertainty import predicted_band
from scalingeq.theory.training import Decomposition

if TYPE_CHECKING:
    from lmfit import Parameters

    from scalingeq.inference.fitting import TwoPointFit
    from scalingeq.inference.frontier import Frontier

NOT_USED, FITTED, HELD_OUT = 0, 1, 2
ROLE_FLAGS = {
    "flag_values": np.array([NOT_USED, FITTED, HELD_OUT], float),
    "flag_meanings": "not_used fitted held_out",
}
LAWS = ("twopoint", "additive")
SCORES = {
    "fitted_error": "RMS log error of the fitted observations",
    "held_out_error": "RMS log error of the held-out observations",
    "held_out_end_error": "log error at the end of the longest held-out run",
}


class FittedLaw(NamedTuple):
    """What predictions need of a fit: values by name, covariance (parameter, parameter), reference size."""

    values: dict[str, float]
    covariance: Floats | None
    reference_params: float


def parameters_group(fit: TwoPointFit, loss_units: str, token_units: str, notes: tuple[str, ...]) -> xr.Dataset:
    """Label the parameters of a fit; ``notes`` come before its own."""
    parameters = list(fit.params.values())
    names = [parameter.name for parameter in parameters]
    numbers = {
        "value": ([p.value for p in parameters], "best fit"),
        "stderr": ([np.nan if p.stderr is None else p.stderr for p in parameters], "standard error (NaN: not fitted)"),
        "initial": ([p.init_value for p in parameters], "start of the fit"),
        "min": ([p.min for p in parameters], "lower bound"),
        "max": ([p.max for p in parameters], "upper bound"),
    }
    mixed = "see parameter_units"
    ds = xr.Dataset(
        {name: ("parameter", np.array(values, float), _about(text, mixed)) for name, (values, text) in numbers.items()},
        {"parameter": ("parameter", names, _about("parameter of the two-point law", "1"))},
    )
    vary = np.array([p.vary for p in parameters], np.int8)
    flags = {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "held fitted"}
    ds["vary"] = ("parameter", vary, _about("whether the fit moved it", "1") | flags)
    ds["expr"] = (
        "parameter",
        [p.expr or "" for p in parameters],
        _about("constraint, never evaluated on opening", "1"),
    )
    ds["covariance"] = (
        ("parameter", "parameter_"),
        fit.covariance,
        _about("covariance of the parameters (zero: held, or at a bound)", "products of parameter_units"),
    )
    ds["prior_share"] = ("parameter", fit.prior_share, _about("share of the variance that the weak priors have", "1"))
    ds = ds.assign_coords(
        parameter_=("parameter_", names, _about("parameter of the two-point law", "1")),
        parameter_units=("parameter", [_units(name, loss_units, token_units) for name in names]),
        meaning=("parameter", [PARAMETERS[name].long_name if name in PARAMETERS else "constraint" for name in names]),
    )
    ds["parameter_units"].attrs = _about("unit of each parameter", "1")
    ds["meaning"].attrs = _about("meaning of each parameter", "1")
    ds["reference_params"] = ((), fit.reference_params, _about("model size that amplitudes refer to", "1"))
    ds["residual_scale"] = ((), fit.residual_scale, _about("spread of the log residuals", "1"))
    ds["misfit_scale"] = ((), fit.misfit_scale, _about("log residual of weight one, without measurement error", "1"))
    ds["residual_correlation"] = (
        (),
        fit.noise.correlation,
        _about("correlation of neighbouring log residuals of a run", "1"),
    )
    ds.attrs["notes"] = "\n".join((*notes, *fit.notes))
    return ds


def predicted_losses(
    ds: xr.Dataset, curves: TrainingCurves, law: FittedLaw, loss_units: str, algorithm: Algorithm, components: bool
) -> xr.Dataset:
    """Label the losses that a law predicts for the runs of ``ds``, with standard errors where it has a covariance."""
    labels = loss_labels(law, loss_units, algorithm, components)
    of_fit = (law.values, law.covariance, curves, law.reference_params, algorithm)
    if not components:
        return _losses(ds, *predicted_band(*of_fit), labels)
    parts = algorithm_components(law.values, curves, law.reference_params, algorithm)
    stderr = None if law.covariance is None else predicted_band(*of_fit)[1]
    # The loss is the sum of its parts to the last digit.
    out = _losses(ds, np.sum(list(parts.values()), axis=0), stderr, labels)
    about = labels["component_loss"]
    stacked = [from_curves(ds, {"part": part}, {"part": about})["part"] for part in parts.values()]
    out["component_loss"] = xr.concat(stacked, xr.Variable(*component_coordinate()))
    return out


def _losses(ds: xr.Dataset, loss: Floats, stderr: Floats | None, labels: dict[str, tuple[str, str]]) -> xr.Dataset:
    return from_curves(ds, {"loss": loss} | ({} if stderr is None else {"loss_stderr": stderr}), labels)


def loss_labels(
    law: FittedLaw, loss_units: str, algorithm: Algorithm = PLAIN, components: bool = False
) -> dict[str, tuple[str, str]]:
    """Label, as ``long_name`` and ``units``, each variable of :func:`predicted_losses`."""
    kind = "test" if algorithm.kind == "test" else "training"
    labels = {"loss": (f"{kind} loss predicted by the two-point theory", loss_units)}
    if law.covariance is not None:
        labels["loss_stderr"] = ("standard error of the predicted loss from the fit's covariance", loss_units)
    if components:
        labels["component_loss"] = ("part of the predicted loss", loss_units)
    return labels


def component_coordinate() -> tuple[str, list[str], dict[str, str]]:
    """Names of the parts of a loss as the coordinate of their dimension."""
    return "component", list(Decomposition._fields), _about("part of the loss", "1")


def prediction_group(
    ds: xr.Dataset, curves: TrainingCurves, law: FittedLaw, additive: AdditiveLaw, role: Floats, weight: Floats
) -> xr.Dataset:
    """Label the predictions of both laws for the observed curves, what each point was used for, and the scores."""
    units = ds["loss"].attrs["units"]
    loss, stderr = predicted_band(law.values, law.covariance, curves, law.reference_params)
    other = additive.loss(curves.params[curves.run], curves.tokens)
    labels = prediction_labels(law, units)
    values = {"additive_loss": other, "log_residual": np.log(curves.loss / loss), "role": role, "weight": weight}
    out = _losses(ds, loss, stderr, labels).merge(from_curves(ds, values, labels))
    out["role"].attrs |= ROLE_FLAGS
    return out.merge(scores(curves, {"twopoint": loss, "additive": other}, role))


def prediction_labels(law: FittedLaw, loss_units: str) -> dict[str, tuple[str, str]]:
    """Label, as ``long_name`` and ``units``, what :func:`prediction_group` has for each observation."""
    return loss_labels(law, loss_units) | {
        "additive_loss": ("test loss predicted by the additive law", loss_units),
        "log_residual": ("log of measured over predicted loss", "1"),
        "role": ("what the observation was used for", "1"),
        "weight": ("weight of the observation in the fit", "1"),
    }


def additive_group(law: AdditiveLaw, loss_units: str, token_units: str) -> xr.Dataset:
    """Label the additive law that the analysis is compared with."""
    about = {
        "irreducible": (loss_units, "E"),
        "size_amplitude": (loss_units, "A, at the reference size"),
        "data_amplitude": (loss_units, "B, at the reference tokens"),
        "size_exponent": ("1", "a"),
        "data_exponent": ("1", "b"),
        "reference_params": ("1", "size that A refers to"),
        "reference_tokens": (token_units, "tokens that B refers to"),
    }
    text = "E + A (params/reference)^-a + B (tokens/reference)^-b: "
    return xr.Dataset(
        {name: ((), getattr(law, name), _about(text + what, units)) for name, (units, what) in about.items()}
    )


def frontier_dataset(
    compute: Floats,
    best: Frontier,
    stderr: Frontier,
    quantile: Sequence[float],
    units: Mapping[str, str],
    batch_size: float,
) -> xr.Dataset:
    """Label a frontier: the best fit, and normal quantiles (of the logarithm, where a quantity is positive)."""
    from scipy.special import ndtri

    normal = ndtri(np.asarray(quantile, float))
    texts = {
        "loss": ("test loss on the frontier", units["loss"]),
        "params": ("model size on the frontier", "1"),
        "tokens": ("tokens seen on the frontier", units["tokens"]),
        "size_exponent": ("d ln params / d ln compute along the frontier", "1"),
        "data_exponent": ("d ln tokens / d ln compute along the frontier", "1"),
        "loss_exponent": ("d ln loss / d ln compute along the frontier", "1"),
    }
    ds = xr.Dataset(
        coords={
            "compute": ("compute", compute, _about("training compute", "FLOP")),
            "quantile": ("quantile", np.asarray(quantile, float), _about("quantile of the fit's covariance", "1")),
        }
    )
    for name, (text, unit) in texts.items():
        centre, shift = getattr(best, name)[:, None], getattr(stderr, name)[:, None] * normal
        band = centre + shift if name.endswith("exponent") else centre * np.exp(shift)
        ds[name] = (("compute", "quantile"), band, _about(text, unit))
        ds[f"best_{name}"] = ("compute", centre[:, 0], _about(f"{text}, best fit", unit))
    for prefix in ("", "best_"):
        ds[f"{prefix}steps"] = ds[f"{prefix}tokens"] / batch_size
        ds[f"{prefix}steps"].attrs = _about("optimiser steps on the frontier" + ", best fit" * bool(prefix), "1")
    return ds


def read_parameters(group: xr.Dataset) -> FittedLaw:
    """Return what predictions need of :func:`parameters_group`; evaluates no stored expression.

    Raises
    ------
    DataError
        If it is that of a fit in bulk which failed.
    """
    group = group.load()
    if not group.get("success", True):
        raise DataError(f"this fit failed ({group['message'].item()}); choose one with success")
    names = [str(name) for name in group["parameter"].values]
    keep = [number for number, name in enumerate(names) if name in PARAMETERS]
    names = [names[number] for number in keep]
    value = group["value"].values[keep]
    return FittedLaw(
        values=dict(zip(names, map(float, value), strict=True)),
        covariance=group["covariance"].values[np.ix_(keep, keep)],
        reference_params=float(group["reference_params"]),
    )


def scores(curves: TrainingCurves, predicted: dict[str, Floats], role: Floats) -> xr.Dataset:
    """RMS log error of each law on the fitted and the held-out part, and at the end of the longest held-out run."""
    ds = xr.Dataset(coords={"law": law_coordinate()})
    misfit = {law: np.log(predicted[law] / curves.loss) for law in LAWS}
    for name, value in (("fitted_error", FITTED), ("held_out_error", HELD_OUT)):
        mask = role == value
        if mask.any():
            errors = [float(np.sqrt(np.mean(misfit[law][mask] ** 2))) for law in LAWS]
            ds[name] = ("law", errors, _about(SCORES[name], "1"))
    held = np.flatnonzero(role == HELD_OUT)
    if held.size:
        last = held[np.argmax(curves.tokens[held])]
        ds["held_out_end_error"] = (
            "law",
            [float(misfit[law][last]) for law in LAWS],
            _about(f"{SCORES['held_out_end_error']}, {curves.name[curves.run[last]]}", "1"),
        )
    return ds


def law_coordinate() -> xr.DataArray:
    """Names of the laws that are compared."""
    return xr.DataArray(list(LAWS), dims="law", attrs=_about("law", "1"))


def stored_expressions(group: xr.Dataset) -> dict[str, str]:
    """Constraint expressions by parameter, as text."""
    return {str(n): str(e) for n, e in zip(group["parameter"].values, group["expr"].values, strict=True) if str(e)}


def to_lmfit(group: xr.Dataset) -> Parameters:
    """Parameters of a stored fit as lmfit's, to refit with; lmfit evaluates the stored expressions."""
    from lmfit import Parameters

    params = Parameters()
    for number, name in enumerate(map(str, group["parameter"].values)):
        row = {key: float(group[key].values[number]) for key in ("value", "min", "max")}
        params.add(name, **row, vary=bool(group["vary"].values[number]))
    for name, expression in stored_expressions(group).items():
        params[name].set(expr=expression)
    return params


def _about(long_name: str, units: str) -> dict[str, str]:
    return {"long_name": long_name, "units": units}


def _units(name: str, loss_units: str, token_units: str) -> str:
    if name not in PARAMETERS:
        return "1"
    return {"loss": loss_units, "tokens": token_units, "1/tokens": f"1/{token_units}"}.get(PARAMETERS[name].units, "1")
