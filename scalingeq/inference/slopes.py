"""Derivatives of the two-point law's loss with respect to its parameters, from those of the theory by the chain rule."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from ..theory.dynamics import flow_loss
from ..theory.scheduled_runs import slopes_of_runs
from ..theory.spectrum import PowerLaw
from . import twopoint
from .curves import Floats
from .twopoint import REFERENCE_RATE, Settings, effective_width, unlearnable_shape, value_of

TINY = np.finfo(float).tiny  # a loss of exactly zero has no logarithm; the smallest number stands for it


def log_loss_jacobian(
    parameters: Mapping[str, float], settings: Settings, reference_params: float, names: Collection[str]
) -> tuple[Floats, Floats]:
    """Log loss (run, T) and its derivatives (run, T, parameter), in the order of ``parameters``.

    Derivatives that ``names`` does not have, and those of infinite parameters (an effect left out), are zero.

    Examples
    --------
    >>> one = np.ones(1)
    >>> settings = Settings(np.array([[10.0, 100.0]]), 1e4 * one, 0.1 * one, np.inf * one, np.inf * one)
    >>> values = twopoint.complete(dict(alpha=1.5, r=0.4))
    >>> log_loss, slope = log_loss_jacobian(values, settings, 1e4, ["scale"])
    >>> slope[0, :, list(values).index("scale")].round(4).tolist()
    [1.0, 1.0]
    """
    loss, slopes = loss_slopes(parameters, settings, reference_params, names)
    derivative = np.zeros((*loss.shape, len(parameters)))
    positive = np.maximum(loss, TINY)
    for number, name in enumerate(parameters):
        if name in slopes:
            derivative[..., number] = slopes[name] / positive
    return np.log(positive), derivative


def loss_slopes(
    parameters: Mapping[str, float], settings: Settings, reference_params: float, names: Collection[str]
) -> tuple[Floats, dict[str, Floats]]:
    """Loss (run, T) of the law, and its derivative (run, T) in each of the finite parameters among ``names``.

    Examples
    --------
    >>> one = np.ones(1)
    >>> settings = Settings(np.array([[10.0, 100.0]]), 1e4 * one, 0.1 * one, np.inf * one, np.inf * one)
    >>> values = twopoint.complete(dict(alpha=1.5, r=0.4, irreducible=0.5))
    >>> loss, slopes = loss_slopes(values, settings, 1e4, ["irreducible"])
    >>> slopes["irreducible"].round(4).tolist()
    [[1.0, 1.0]]
    """
    wanted = [name for name in names if np.isfinite(parameters[name])]
    if twopoint.spectrum_of_test(parameters, settings.test_eigenvalues) is not None or "shift" in wanted:
        return _by_differences(parameters, settings, reference_params, wanted)
    shape = unlearnable_shape(parameters, settings.params, reference_params)
    noise_variance = (parameters["irreducible"] + parameters["unlearnable"] * shape) / parameters["scale"]
    loss = np.empty(settings.step.shape)
    # Derivatives of the theory's loss, in its own units.
    raw = {name: np.zeros_like(loss) for name in (*wanted, "noise_variance")}
    if settings.schedules:
        _put(loss, raw, *_of_schedules(parameters, settings, reference_params, noise_variance, wanted))
    if (runs := settings.constant).size:
        _put(loss, raw, runs, *_of_constant(parameters, settings, reference_params, runs, noise_variance[runs]))
    scale = parameters["scale"]
    by_noise = raw["noise_variance"]
    slopes = {name: scale * raw[name] for name in wanted}
    ratio = np.log(settings.params / reference_params)[:, None]
    of_amplitudes = {
        "scale": loss - noise_variance[:, None] * by_noise,
        "irreducible": by_noise,
        "unlearnable": shape[:, None] * by_noise,
        "unlearnable_exponent": -parameters["unlearnable"] * shape[:, None] * ratio * by_noise,
    }
    slopes |= {name: slope for name, slope in of_amplitudes.items() if name in wanted}
    return scale * loss, slopes


def _put(
    loss: Floats, raw: dict[str, Floats], runs: NDArray[np.int64], found: Floats, slopes: Mapping[str, Floats]
) -> None:
    """Put the losses and derivatives of some runs where they belong."""
    loss[runs] = found
    for name, slope in slopes.items():
        if name in raw:
            raw[name][runs] = slope


def _sizes(
    parameters: Mapping[str, float],
    settings: Settings,
    reference_params: float,
    runs: NDArray[np.int64],
    slopes: Mapping[str, Floats],
) -> dict[str, Floats]:
    """Derivatives in what width and samples are made of; an infinite size has none."""
    params = settings.params[runs]
    width = effective_width(parameters, params, reference_params)
    unique = settings.dataset_size[runs]
    log_width = slopes["width"] * np.where(np.isfinite(width), width, 0.0)[:, None]
    return {
        "width_scale": log_width / parameters["width_scale"],
        "width_exponent": log_width * np.log(params / reference_params)[:, None],
        "samples_scale": slopes["samples"] * np.where(np.isfinite(unique), unique, 0.0)[:, None],
    }


def _of_constant(
    parameters: Mapping[str, float],
    settings: Settings,
    reference_params: float,
    runs: NDArray[np.int64],
    noise_variance: Floats,
) -> tuple[Floats, dict[str, Floats]]:
    """Theory's loss (run, T) of runs at constant rates, and its derivatives."""
    arguments = twopoint.flow_arguments(parameters, settings, runs, reference_params)
    loss, slopes = flow_loss(noise_variance=noise_variance, jacobian=True, **arguments)
    rate, batch_size = settings.learning_rate[runs], settings.batch_size[runs]
    acting = twopoint.effective_rate(rate, batch_size, parameters)
    noise_rate = arguments["noise_rate"]
    in_time = slopes["time"] * arguments["time"]
    in_noise = slopes["noise_rate"] * noise_rate[:, None]
    exponent = value_of(parameters, "rate_exponent")
    steps, change = settings.intrinsic_steps(exponent)[runs], settings.intrinsic_slope(exponent)[runs]
    moved = np.divide(change, steps, out=np.zeros_like(steps), where=steps > 0)
    of_rate, of_batch = np.log(rate / REFERENCE_RATE)[:, None], np.log(batch_size)[:, None]
    found = {name: slopes[name] for name in ("alpha", "r", "noise_variance")}
    found |= {
        "time_scale": in_time / parameters["time_scale"],
        "noise_scale": slopes["noise_rate"] * (acting / batch_size)[:, None],
        "rate_exponent": in_time * (of_rate + moved) + in_noise * of_rate,
    }
    if np.isfinite(batch_size).all():
        found["batch_exponent"] = (in_time + in_noise) * of_batch
    return loss, found | _sizes(parameters, settings, reference_params, runs, slopes)


def _of_schedules(
    parameters: Mapping[str, float],
    settings: Settings,
    reference_params: float,
    noise_variance: Floats,
    wanted: Collection[str],
) -> tuple[NDArray[np.int64], Floats, dict[str, Floats]]:
    """Runs under schedules, the theory's losses (run, T) of them, and their derivatives."""
    ramps = "rate_exponent" in wanted
    runs, steps, assigned = twopoint.scheduled_runs(settings, parameters, ramps=ramps)
    # Each of these parameters changes the schedules in a direction of its own.
    ways = [name for name in ("rate_exponent", "batch_exponent") if name in wanted]
    if "noise_scale" in wanted and parameters["noise_scale"] == 0:
        ways.append("noise_scale")
    loss, slopes = slopes_of_runs(
        steps,
        assigned,
        PowerLaw(parameters["alpha"], parameters["r"]),
        width=effective_width(parameters, settings.params[runs], reference_params),
        samples=parameters["samples_scale"] * settings.dataset_size[runs],
        noise_variance=noise_variance[runs],
        directions={
            name: [
                twopoint.schedule_direction(schedule, parameters, name, ramps=ramps)
                for schedule, _ in settings.schedules
            ]
            for name in ways
        },
    )
    found = {name: slopes[name] for name in ("alpha", "r", "noise_variance", *ways)}
    found["time_scale"] = slopes["rate"] / parameters["time_scale"]
    if parameters["noise_scale"] > 0:
        found["noise_scale"] = slopes["noise_rate"] / parameters["noise_scale"]
    return runs, loss, found | _sizes(parameters, settings, reference_params, runs, slopes)


def _by_differences(
    parameters: Mapping[str, float], settings: Settings, reference_params: float, names: Collection[str]
) -> tuple[Floats, dict[str, Floats]]:
    """Loss and difference quotients, where the theory has no derivatives: under covariate shift."""
    loss = twopoint.predict(parameters, settings, reference_params)
    slopes = {}
    for name in names:
        step = twopoint.difference(parameters, name)
        there = {**parameters, name: parameters[name] + step}
        slopes[name] = (twopoint.predict(there, settings, reference_params) - loss) / step
    return loss, slopes
