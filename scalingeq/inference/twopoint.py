"""The two-point law of measured curves: how a network's size, data, rate and noise enter the theory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import DataError, raise_problems
from ..theory.dynamics import flow_loss
from ..theory.spectrum import PowerLaw
from .curves import Floats, TrainingCurves

LAW_NAME, LAW_VERSION = "twopoint", "1"

MINIMUM_WIDTH = 30.0
"""Effective widths below this lie outside the theory's domain: its corrections are of relative order 1/width."""


STEP = 1e-4
"""Relative step of difference quotients in a parameter: far above the theory's error of about 1e-8."""


@dataclass(frozen=True)
class ParameterInfo:
    """What a parameter of the law is: its unit, name in words and the bounds a fit keeps it in."""

    units: str
    long_name: str
    minimum: float
    maximum: float


# Units are written for a loss in the unit "loss" and data counted in "tokens"; labels put in the record's own.
PARAMETERS: dict[str, ParameterInfo] = {
    "alpha": ParameterInfo("1", "capacity exponent: eigenvalues fall as k^-alpha", 1.02, 8.0),
    "r": ParameterInfo("1", "source exponent: target power falls as k^-(2 alpha r + 1)", 0.02, 3.0),
    "scale": ParameterInfo("loss", "loss of one unit of the theory's target power", 1e-12, np.inf),
    "irreducible": ParameterInfo("loss", "loss that no model and no data remove", 0.0, np.inf),
    "unlearnable": ParameterInfo("loss", "loss that a model of the reference size cannot remove", 0.0, np.inf),
    "unlearnable_exponent": ParameterInfo("1", "exponent of size in the unlearnable loss", 0.0, 5.0),
    "time_scale": ParameterInfo("1", "intrinsic time per unit of learning rate and step", 1e-12, np.inf),
    "width_scale": ParameterInfo("1", "effective width of a model of the reference size", 1e-12, np.inf),
    "width_exponent": ParameterInfo("1", "exponent of size in the effective width", 0.0, 5.0),
    "samples_scale": ParameterInfo("1/tokens", "effective samples per unique token", 1e-12, np.inf),
    "noise_scale": ParameterInfo("tokens", "SGD noise per unit of learning rate and inverse batch", 0.0, np.inf),
}


@dataclass(frozen=True)
class Settings:
    """Where a loss is asked for: one entry per run, and times (run, T) padded with the run's last.

    Attributes
    ----------
    step : ndarray, shape (run, T)
        Optimiser steps, as :func:`intrinsic_steps` counts them.
    params, learning_rate, batch_size, dataset_size : ndarray, shape (run,)
        As in :class:`~scalingeq.inference.curves.TrainingCurves`.
    """

    step: Floats
    params: Floats
    learning_rate: Floats
    batch_size: Floats
    dataset_size: Floats


def intrinsic_steps(step: Floats, warmup_steps: Floats) -> Floats:
    """Steps at the full rate that move as far as ``step`` steps with a linear warm-up do: the integral of the rate.

    Examples
    --------
    >>> intrinsic_steps(np.array([50.0, 100.0, 500.0]), np.array(100.0)).tolist()
    [12.5, 50.0, 450.0]
    """
    warm = np.minimum(step, warmup_steps)
    return np.asarray(step - warm + np.divide(warm**2, 2 * warmup_steps, out=np.zeros_like(step), where=warm > 0))


def settings_of(curves: TrainingCurves) -> tuple[Settings, tuple[np.ndarray, np.ndarray]]:
    """Pad the observations to (run, T); the index pair takes values (run, T) back to (obs,)."""
    runs, row, count = np.unique(curves.run, return_inverse=True, return_counts=True)
    column = np.arange(curves.run.size) - np.repeat(np.cumsum(count) - count, count)
    where = np.minimum(np.arange(count.max()), count[:, None] - 1) + (np.cumsum(count) - count)[:, None]
    steps = intrinsic_steps(curves.step, curves.warmup_steps[curves.run])
    per_run = (curves.params, curves.learning_rate, curves.batch_size, curves.dataset_size)
    return Settings(steps[where], *(values[runs] for values in per_run)), (row, column)


def effective_width(parameters: Mapping[str, float], params: Floats, reference_params: float) -> Floats:
    """Width of the theory for models of ``params`` parameters."""
    return np.asarray(parameters["width_scale"] * (params / reference_params) ** parameters["width_exponent"])


def basis_losses(parameters: Mapping[str, float], settings: Settings, reference_params: float) -> tuple[Floats, Floats]:
    """Loss (run, T) of a unit of target power and of a unit of label noise: the law is linear in both.

    L = scale · signal + (irreducible + unlearnable (params/params₀)^-unlearnable_exponent) · noise.

    Parameters
    ----------
    parameters : mapping
        ``alpha, r, time_scale, width_scale, width_exponent, samples_scale, noise_scale``.
    settings : Settings
        Runs and times.
    reference_params : float
        params₀.

    Raises
    ------
    InstabilityError
        If the noise makes the loss grow without bound.
    """
    noise = np.array([0.0, 1.0])[:, None]
    losses = flow_loss(
        np.broadcast_to(
            parameters["time_scale"] * settings.learning_rate[:, None] * settings.step, (2, *settings.step.shape)
        ),
        PowerLaw(parameters["alpha"], parameters["r"]),
        noise_rate=parameters["noise_scale"] * settings.learning_rate / settings.batch_size,
        width=effective_width(parameters, settings.params, reference_params),
        samples=parameters["samples_scale"] * settings.dataset_size,
        noise_variance=noise,
    )
    return losses[0], losses[1] - losses[0]


def unlearnable_shape(parameters: Mapping[str, float], params: Floats, reference_params: float) -> Floats:
    """Size dependence (params/params₀)^-unlearnable_exponent of the loss that a model cannot represent."""
    return np.asarray((params / reference_params) ** -parameters["unlearnable_exponent"])


def predict(parameters: Mapping[str, float], settings: Settings, reference_params: float) -> Floats:
    """Test loss (run, T) of the law.

    Examples
    --------
    >>> one = np.ones(1)
    >>> settings = Settings(np.array([[10.0, 100.0]]), 1e4 * one, 0.1 * one, np.inf * one, np.inf * one)
    >>> loss = predict(complete(dict(alpha=1.5, r=0.4)), settings, 1e4)
    >>> loss.shape, bool(loss[0, 1] < loss[0, 0])
    ((1, 2), True)
    """
    signal, noise = basis_losses(parameters, settings, reference_params)
    shape = unlearnable_shape(parameters, settings.params, reference_params)[:, None]
    return np.asarray(
        parameters["scale"] * signal + (parameters["irreducible"] + parameters["unlearnable"] * shape) * noise
    )


def unknown_problems(names: Iterable[str]) -> list[str]:
    """What is wrong with names of parameters.

    Examples
    --------
    >>> unknown_problems(["alpha"])
    []
    """
    return [f"{name}: no such parameter; known are {', '.join(PARAMETERS)}" for name in names if name not in PARAMETERS]


def value_problems(parameters: Mapping[str, float]) -> list[str]:
    """What is wrong with names and values of parameters: unknown, or outside the bounds of the law.

    Examples
    --------
    >>> value_problems({"alpha": 0.5})
    ['alpha: 0.5 is outside [1.02, 8]; pass a value inside']
    """
    known = {name: (value, PARAMETERS[name]) for name, value in parameters.items() if name in PARAMETERS}
    return unknown_problems(parameters) + [
        f"{name}: {value:g} is outside [{info.minimum:g}, {info.maximum:g}]; pass a value inside"
        for name, (value, info) in known.items()
        if not info.minimum <= value <= info.maximum
    ]


def complete(parameters: Mapping[str, float]) -> dict[str, float]:
    """Every parameter of the law: those given, and for the others the value that leaves their effect out.

    Raises
    ------
    DataError
        If a name is unknown, a value is outside its bounds, or ``alpha`` or ``r`` is missing.

    Examples
    --------
    >>> complete(dict(alpha=1.5, r=0.4))["noise_scale"]
    0.0
    """
    neutral = {"scale": 1.0, "irreducible": 0.0, "unlearnable": 0.0, "unlearnable_exponent": 0.0, "time_scale": 1.0}
    neutral |= {"noise_scale": 0.0, "width_scale": np.inf, "width_exponent": 0.0, "samples_scale": np.inf}
    missing = [f"{name}: missing; pass {name}=..." for name in ("alpha", "r") if name not in parameters]
    raise_problems(value_problems(parameters) + missing, DataError)
    return neutral | {name: float(value) for name, value in parameters.items()}


def difference(values: Mapping[str, float], name: str) -> float:
    """Step of a difference quotient in the parameter ``name``.

    Examples
    --------
    >>> difference({"alpha": 2.0}, "alpha")
    0.0002
    """
    return STEP * max(abs(values[name]), 1e-3)


def log_loss_jacobian(
    parameters: Mapping[str, float], settings: Settings, reference_params: float, names: Collection[str]
) -> Floats:
    """Derivatives (run, T, parameter) of the log loss, in the order of ``parameters``.

    Those that ``names`` does not have, and those of infinite parameters (an effect left out), are zero.

    Examples
    --------
    >>> one = np.ones(1)
    >>> settings = Settings(np.array([[10.0, 100.0]]), 1e4 * one, 0.1 * one, np.inf * one, np.inf * one)
    >>> values = complete(dict(alpha=1.5, r=0.4))
    >>> slope = log_loss_jacobian(values, settings, 1e4, ["scale"])[0, :, list(values).index("scale")]
    >>> slope.round(4).tolist()
    [1.0, 1.0]
    """
    loss = predict(parameters, settings, reference_params)
    derivative = np.zeros((*loss.shape, len(parameters)))
    for number, name in enumerate(parameters):
        if name in names and np.isfinite(parameters[name]):
            step = difference(parameters, name)
            moved = predict({**parameters, name: parameters[name] + step}, settings, reference_params)
            # A loss of exactly zero has no logarithm; the smallest number stands for it.
            tiny = np.finfo(float).tiny
            derivative[..., number] = (np.log(np.maximum(moved, tiny)) - np.log(np.maximum(loss, tiny))) / step
    return derivative
