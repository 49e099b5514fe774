"""The groups of an analysis: a fit's arrays as labelled datasets, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from scalingeq.datasets.schema import from_curves
from scalingeq.datasets.shapes import find_layout
from scalingeq.errors import ArchiveError, DataError
from scalingeq.inference.algorithms import PLAIN, Algorithm, algorithm_components
from scalingeq.inference.bands import AveragedLaw
from scalingeq.inference.curves import Floats, TrainingCurves
from scalingeq.inference.frontier import compute_of_cost
from scalingeq.inference.laws import Law, LawFit
from scalingeq.inference.laws import law as law_named
from scalingeq.inference.laws.additive import AdditiveLaw
from scalingeq.inference.laws.isoflop import Optima
from scalingeq.inference.twopoint import LAW_NAME
from scalingeq.inference.uncertainty import predicted_band
from scalingeq.theory.training import Decomposition

from .checking import averaged_losses, quantile_coordinate, quantile_label, read_average

if TYPE_CHECKING:
    from lmfit import Parameters

    from scalingeq.inference.frontier import Frontier

NOT_USED, FITTED, HELD_OUT = 0, 1, 2
ROLE_FLAGS = {
    "flag_values": np.array([NOT_USED, FITTED, HELD_OUT], float),
    "flag_meanings": "not_used fitted held_out",
}
SCORES = {
    "fitted_error": "RMS log error of the fitted observations",
    "held_out_error": "RMS log error of the held-out observations",
    "held_out_end_error": "log error at the end of the longest held-out run",
}
REFERENCES = {
    "reference_params": ("model size that amplitudes refer to", "1"),
    "reference_tokens": ("tokens that amplitudes refer to", "tokens"),
    "reference_compute": ("compute that size, tokens and loss on the frontier refer to", "FLOP"),
}


class FittedLaw(NamedTuple):
    """What predictions need of a fit: values by name, covariance (parameter, parameter), reference size, the average."""

    values: dict[str, float]
    covariance: Floats | None
    reference_params: float
    average: AveragedLaw | None = None


def law_of_analysis(tree: xr.DataTree) -> FittedLaw:
    """Return what predictions need of an analysis: its parameters, and the average of its candidates if it has some."""
    law = read_parameters(tree["parameters"].to_dataset())
    if "candidates" not in tree.children:
        return law
    return law._replace(average=read_average(tree["candidates"].to_dataset()))


def parameters_group(fit: LawFit, law: Law, loss_units: str, token_units: str, notes: tuple[str, ...]) -> xr.Dataset:
    """Label the parameters of a fit; ``notes`` come before its own."""
    from scalingeq.inference.fitting import TwoPointFit

    parameters = list(fit.params.values())
    names = [parameter.name for parameter in parameters]
    numbers = {
        "value": ([p.value for p in parameters], "best fit"),
        "stderr": ([np.nan if p.stderr is None else p.stderr for p in parameters], "standard error (NaN: not fitted)"),
        "initial": ([p.init_value for p in parameters], "start of the fit"),
        "min": ([p.min for p in parameters], "lower bound"),
        "max": ([p.max for p in parameters], "upper bound"),
    }
    mixed, about = "see parameter_units", law.parameters
    ds = xr.Dataset(
        {name: ("parameter", np.array(values, float), _about(text, mixed)) for name, (values, text) in numbers.items()},
        {"parameter": ("parameter", names, _about(f"parameter of the {law.title}", "1"))},
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
    ds = ds.assign_coords(
        parameter_=("parameter_", names, _about(f"parameter of the {law.title}", "1")),
        parameter_units=("parameter", [_units(law, name, loss_units, token_units) for name in names]),
        meaning=("parameter", [about[name].long_name if name in about else "constraint" for name in names]),
    )
    ds["parameter_units"].attrs = _about("unit of each parameter", "1")
    ds["meaning"].attrs = _about("meaning of each parameter", "1")
    for name, value in fit.reference.items():
        text, units = REFERENCES[name]
        ds[name] = ((), value, _about(text, token_units if units == "tokens" else units))
    ds["residual_scale"] = ((), fit.residual_scale, _about("spread of the log residuals", "1"))
    if isinstance(fit, TwoPointFit):
        texts = {
            "misfit_scale": (fit.misfit_scale, "log residual of weight one, without measurement error"),
            "irreducible_prior": (fit.irreducible_prior, "deviation of the prior on irreducible over the lowest loss"),
            "residual_correlation": (fit.noise.correlation, "correlation of neighbouring log residuals of a run"),
        }
        for name, (value, text) in texts.items():
            ds[name] = ((), value, _about(text, "1"))
        text = "share of the variance that the weak priors have"
        ds["prior_share"] = ("parameter", fit.prior_share, _about(text, "1"))
    ds.attrs["notes"] = "\n".join((*notes, *fit.notes))
    return ds


def predicted_losses(
    ds: xr.Dataset, curves: TrainingCurves, law: FittedLaw, loss_units: str, algorithm: Algorithm, components: bool
) -> xr.Dataset:
    """Label the losses that a law predicts for the runs of ``ds``, with standard errors where it has a covariance."""
    labels = loss_labels(law, loss_units, algorithm, components)
    of_fit = (law.values, law.covariance, curves, law.reference_params, algorithm)
    if law.average is not None and algorithm.is_plain and not components:
        return averaged_losses(ds, law.average, law.average.predict(curves), loss_units)
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
    elif law.average is not None and algorithm.is_plain:
        labels["loss_quantile"] = quantile_label(loss_units)
    return labels


def leading_coordinate(name: str) -> tuple[str, list[str] | list[float], dict[str, str]] | None:
    """Coordinate of the dimension that a variable of :func:`predicted_losses` has before those of the losses."""
    if name == "component_loss":
        return component_coordinate()
    return quantile_coordinate() if name == "loss_quantile" else None


def component_coordinate() -> tuple[str, list[str], dict[str, str]]:
    """Names of the parts of a loss as the coordinate of their dimension."""
    return "component", list(Decomposition._fields), _about("part of the loss", "1")


def prediction_group(
    ds: xr.Dataset,
    curves: TrainingCurves,
    law: Law,
    fit: LawFit,
    additive: AdditiveLaw | None,
    role: Floats,
    weight: Floats,
    average: AveragedLaw | None = None,
) -> xr.Dataset:
    """Label the predictions for the observed curves, what each point was used for, and the scores.

    The additive law stands beside the one fitted where it is given; an average stands in the place of the fit. A law
    that has a frontier alone predicts NaN.
    """
    units = ds["loss"].attrs["units"]
    if average is not None:
        out = averaged_losses(ds, average, average.predict(curves), units)
    elif law.has_loss:
        out = law_losses(ds, curves, law, fit.values, fit.covariance, units)
    else:
        about = {"loss": (f"no loss: the {law.title} give a frontier alone", units)}
        out = _losses(ds, np.full(curves.run.size, np.nan), None, about)
    loss = find_layout(ds).spread(out["loss"])
    with np.errstate(divide="ignore"):  # an infinite loss before the first token
        residual = np.log(curves.loss / loss)
    values, predicted = {"log_residual": residual, "role": role, "weight": weight}, {law.name: loss}
    if additive is not None:
        predicted["additive"] = additive.loss(curves.params[curves.run], curves.tokens)
        values["additive_loss"] = predicted["additive"]
    out = out.merge(from_curves(ds, values, prediction_labels(law, units)))
    out["role"].attrs |= ROLE_FLAGS
    return out.merge(scores(curves, predicted, role)) if law.has_loss else out


def prediction_labels(law: Law, loss_units: str) -> dict[str, tuple[str, str]]:
    """Label, as ``long_name`` and ``units``, what :func:`prediction_group` has for each observation."""
    labels = {
        "loss": (f"test loss predicted by the {law.title}", loss_units),
        "loss_stderr": ("standard error of the predicted loss from the fit's covariance", loss_units),
        "log_residual": ("log of measured over predicted loss", "1"),
        "role": ("what the observation was used for", "1"),
        "weight": ("weight of the observation in the fit", "1"),
    }
    if law.name == LAW_NAME:
        labels["additive_loss"] = ("test loss predicted by the additive law", loss_units)
    return labels


def optima_group(optima: Optima, loss_units: str) -> xr.Dataset:
    """Label the optima that a frontier goes through, with the spread of their resamples."""
    ds = xr.Dataset(coords={"compute": ("compute", optima.compute, _about("training compute", "FLOP"))})
    ds["params"] = ("compute", np.exp(optima.log_params), _about("best size (NaN: at an end of those measured)", "1"))
    ds["loss"] = ("compute", np.exp(optima.log_loss), _about("loss of the best size", loss_units))
    for name, drawn, text in (("params", optima.drawn_params, "size"), ("loss", optima.drawn_loss, "loss of it")):
        ds[f"{name}_stderr"] = (
            "compute",
            [float(np.std(some[np.isfinite(some)])) if np.isfinite(some).any() else np.nan for some in drawn.T],
            _about(f"standard deviation over resamples of the log of the best {text}", "1"),
        )
    return ds


def law_losses(
    ds: xr.Dataset,
    curves: TrainingCurves,
    law: Law,
    values: Mapping[str, float],
    covariance: Floats | None,
    loss_units: str,
) -> xr.Dataset:
    """Label the losses, and their standard errors, that any law predicts for the runs of ``ds``."""
    return _losses(ds, *law.loss_band(values, covariance, curves), prediction_labels(law, loss_units))


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


COSTS = (0.01, 0.05, 0.1)
"""Shares by which a limit of data raises the loss, whose compute is stated."""


def add_data_limit(ds: xr.Dataset, limit: float, unlimited: Frontier, token_units: str) -> xr.Dataset:
    """Add to a frontier under a limit of unique tokens how often these are seen, and what the limit costs."""
    for prefix, words in (("", ""), ("best_", ", best fit")):
        ds[f"{prefix}epochs"] = ds[f"{prefix}tokens"] / limit
        ds[f"{prefix}epochs"].attrs = _about(f"times that each unique token is seen on the frontier{words}", "1")
    about = _about("test loss on the frontier without the limit of data, best fit", ds["loss"].attrs["units"])
    ds["unlimited_loss"] = ("compute", unlimited.loss, about)
    ds["unlimited_params"] = ("compute", unlimited.params, _about("model size on the frontier without the limit", "1"))
    cost = ds["best_loss"].values / unlimited.loss - 1
    ds["limit_cost"] = ("compute", cost, _about("share by which the limit of data raises the loss", "1"))
    ds = ds.assign_coords(cost=("cost", list(COSTS), _about("share by which the limit of data raises the loss", "1")))
    order = np.argsort(ds["compute"].values)
    found = compute_of_cost(ds["compute"].values[order], cost[order], np.array(COSTS))
    about = _about("training compute from which the limit costs more (NaN: not among those asked for)", "FLOP")
    ds["limit_compute"] = ("cost", found, about)
    end = ds.isel(compute=order[-1])
    size, data = (float(end[f"best_{name}_exponent"]) for name in ("size", "data"))
    advice = ("enlarge the model", "repeat the data") if size > data else ("repeat the data", "enlarge the model")
    ds.attrs["repeat_or_enlarge"] = (
        f"at {float(end['compute']):.3g} FLOP the {limit:.3g} unique {token_units} are seen {float(end['best_epochs']):.3g} "
        f"times; more compute goes as compute^{size:.2f} into params and as compute^{data:.2f} into tokens: "
        f"{advice[0]} rather than {advice[1]}"
    )
    return ds


def read_parameters(group: xr.Dataset) -> FittedLaw:
    """Return what predictions of the two-point law need of :func:`parameters_group`; evaluates no stored expression."""
    values, covariance = read_values(group, law_named(LAW_NAME))
    return FittedLaw(values, covariance, values.pop("reference_params"))


def read_values(group: xr.Dataset, law: Law) -> tuple[dict[str, float], Floats]:
    """Parameters and reference sizes of a stored fit, and the parameters' covariance; evaluates no expression.

    Raises
    ------
    DataError
        If it is that of a fit in bulk which failed.
    """
    group = group.load()
    if not group.get("success", True):
        raise DataError(f"this fit failed ({group['message'].item()}); choose one with success")
    names = [str(name) for name in group["parameter"].values]
    keep = [number for number, name in enumerate(names) if name in law.parameters]
    value = group["value"].values
    values = {names[number]: float(value[number]) for number in keep}
    values |= {name: float(group[name]) for name in REFERENCES if name in group}
    return values, group["covariance"].values[np.ix_(keep, keep)]


def scores(curves: TrainingCurves, predicted: dict[str, Floats], role: Floats) -> xr.Dataset:
    """RMS log error of each law on the fitted and the held-out part, and at the end of the longest held-out run."""
    ds = xr.Dataset(coords={"law": law_coordinate(predicted)})
    misfit = {law: np.log(loss / curves.loss) for law, loss in predicted.items()}
    for name, value in (("fitted_error", FITTED), ("held_out_error", HELD_OUT)):
        mask = role == value
        if mask.any():
            errors = [float(np.sqrt(np.mean(misfit[law][mask] ** 2))) for law in predicted]
            ds[name] = ("law", errors, _about(SCORES[name], "1"))
    held = np.flatnonzero(role == HELD_OUT)
    if held.size:
        last = held[np.argmax(curves.tokens[held])]
        ds["held_out_end_error"] = (
            "law",
            [float(misfit[law][last]) for law in predicted],
            _about(f"{SCORES['held_out_end_error']}, {curves.name[curves.run[last]]}", "1"),
        )
    return ds


def law_coordinate(names: Iterable[str]) -> xr.DataArray:
    """Names of the laws that are compared."""
    return xr.DataArray(list(names), dims="law", attrs=_about("law", "1"))


def stored_weight(tree: xr.DataTree) -> Floats:
    """Weight (obs,) of each observation in the fit of an analysis.

    Raises
    ------
    ArchiveError
        If the analysis was written before weights were kept.
    """
    prediction = tree["prediction"].to_dataset()
    if "weight" not in prediction:
        raise ArchiveError("prediction: the analysis keeps no weights of its observations; fit the curves again")
    return np.asarray(find_layout(tree["observed"].to_dataset()).spread(prediction["weight"]), float)


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


def _units(law: Law, name: str, loss_units: str, token_units: str) -> str:
    if name not in law.parameters:
        return "1"
    units = law.parameters[name].units
    return {"loss": loss_units, "tokens": token_units, "1/tokens": f"1/{token_units}"}.get(units, units)
