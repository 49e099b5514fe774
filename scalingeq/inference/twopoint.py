"""The two-point law of measured curves: how a network's size, data, rate and noise enter the theory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, ParameterError, raise_problems
from ..theory.dynamics import flow_loss
from ..theory.schedule import Schedule
from ..theory.scheduled import Assigned
from ..theory.scheduled_runs import losses_of_runs
from ..theory.spectrum import AnySpectrum, PowerLaw, Spectrum
from .curves import Floats, TrainingCurves

LAW_NAME, LAW_VERSION = "twopoint", "1"

MINIMUM_WIDTH = 30.0
"""Effective widths below this lie outside the theory's domain: its corrections are of relative order 1/width."""


REFERENCE_RATE = 1e-3
"""Learning rate that the exponent of the rate leaves as it is."""

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
    "rate_exponent": ParameterInfo("1", "exponent of the learning rate in intrinsic time and SGD noise", 0.2, 2.0),
    "batch_exponent": ParameterInfo(
        "1", "exponent of the batch size in intrinsic time and SGD noise: 0 counts steps, 1 tokens", 0.0, 2.0
    ),
    "loss_exponent": ParameterInfo("1", "exponent of the loss that divides learning rates and SGD noise", 0.0, 2.0),
    "shift": ParameterInfo("1", "capacity exponent of the test inputs less alpha", -np.inf, np.inf),
}

NEUTRAL = {
    "scale": 1.0, "irreducible": 0.0, "unlearnable": 0.0, "unlearnable_exponent": 0.0, "time_scale": 1.0,
    "width_scale": np.inf, "width_exponent": 0.0, "samples_scale": np.inf, "noise_scale": 0.0, "rate_exponent": 1.0,
    "batch_exponent": 0.0, "loss_exponent": 0.0, "shift": 0.0,
}  # fmt: skip
"""Value of each parameter but ``alpha`` and ``r`` that leaves its effect out."""


@dataclass(frozen=True)
class Settings:
    """Where a loss is asked for: one entry per run, and times (run, T) padded with the run's last.

    Attributes
    ----------
    step : ndarray, shape (run, T)
        Optimiser steps done.
    params, learning_rate, batch_size, dataset_size : ndarray, shape (run,)
        As in :class:`~scalingeq.inference.curves.TrainingCurves`.
    schedules : tuple of (Schedule, ndarray of int)
        Schedules in the record's units, and which of these runs follow each; the others have constant rates.
    warmup_steps : ndarray, shape (run,)
        Steps of linear warm-up of the runs without a schedule.
    test_eigenvalues : ndarray, shape (mode,), or None
        As in :class:`~scalingeq.inference.curves.TrainingCurves`.
    """

    step: Floats
    params: Floats
    learning_rate: Floats
    batch_size: Floats
    dataset_size: Floats
    schedules: tuple[tuple[Schedule, NDArray[np.int64]], ...] = ()
    warmup_steps: Floats | float = 0.0
    test_eigenvalues: Floats | None = None

    def time(self, batch_exponent: float = 0.0) -> Floats:
        """Integral (run, T) of the learning rate over the steps, times the batch size to a power."""
        time = self.learning_rate[:, None] * self.intrinsic_steps()
        for schedule, runs in self.schedules:
            time[runs] = schedule.time(self.step[runs])
        return np.asarray(time * self.batch_size[:, None] ** batch_exponent)

    def intrinsic_steps(self, rate_exponent: float = 1.0) -> Floats:
        """Steps (run, T) at the full rate that stand for those done, where there is no schedule."""
        warmup = np.broadcast_to(self.warmup_steps, self.params.shape)[:, None]
        return intrinsic_steps(self.step, warmup, rate_exponent)

    def intrinsic_slope(self, rate_exponent: float) -> Floats:
        """Derivative (run, T) of :meth:`intrinsic_steps` in the exponent of the rate."""
        warmup = np.broadcast_to(self.warmup_steps, self.params.shape)[:, None]
        return intrinsic_slope(self.step, warmup, rate_exponent)

    @property
    def constant(self) -> NDArray[np.int64]:
        """Runs without a schedule."""
        constant = np.ones(self.params.size, dtype=np.bool_)
        for _, runs in self.schedules:
            constant[runs] = False
        return np.flatnonzero(constant)


RAMP, KNOTS_ON_RAMP = 0.05, 16
"""Relative change between two knots from which on a schedule gets knots in between, and how many pieces these make."""


def intrinsic_steps(step: Floats, warmup_steps: Floats, rate_exponent: float = 1.0) -> Floats:
    """Steps at the full rate that move as far as ``step`` steps with a linear warm-up do: the integral of the rate.

    ``rate_exponent`` is that of the rate in the integral.

    Examples
    --------
    >>> intrinsic_steps(np.array([50.0, 100.0, 500.0]), np.array(100.0)).tolist()
    [12.5, 50.0, 450.0]
    """
    warm = np.minimum(step, warmup_steps)
    share = np.divide(warm, warmup_steps, out=np.zeros_like(step), where=warm > 0)
    return np.asarray(step - warm + warm * share**rate_exponent / (1 + rate_exponent))


def intrinsic_slope(step: Floats, warmup_steps: Floats, rate_exponent: float) -> Floats:
    """Derivative of :func:`intrinsic_steps` in the exponent of the rate.

    Examples
    --------
    >>> intrinsic_slope(np.array([100.0, 500.0]), np.array(100.0), 1.0).tolist()
    [-25.0, -25.0]
    """
    warm = np.minimum(step, warmup_steps)
    share = np.divide(warm, warmup_steps, out=np.ones_like(step), where=warm > 0)
    integral = warm * share**rate_exponent / (1 + rate_exponent)
    return np.asarray(integral * (np.log(share) - 1 / (1 + rate_exponent)))


def effective_rate(rate: Floats, batch_size: Floats, parameters: Mapping[str, float]) -> Floats:
    """Learning rates as they act: ``rate**rate_exponent * batch_size**batch_exponent``.

    The rate is in units in which the reference rate is as it was. Under AdamW the loss of a token hardly depends on the
    batch: intrinsic time counts tokens then, and the noise, the rate of a token, is that of any batch.

    Examples
    --------
    >>> effective_rate(np.array([1e-3, 1e-5]), np.array(8.0), {"rate_exponent": 0.5}).tolist()
    [0.001, 0.0001]
    >>> effective_rate(np.array([1e-3, 1e-5]), np.array(8.0), {"batch_exponent": 1.0}).tolist()
    [0.008, 8e-05]
    """
    exponent, of_batch = value_of(parameters, "rate_exponent"), value_of(parameters, "batch_exponent")
    acting = rate if exponent == 1 else np.asarray(REFERENCE_RATE * (rate / REFERENCE_RATE) ** exponent)
    return acting if of_batch == 0 else acting * batch_size**of_batch


def effective_schedule(schedule: Schedule, parameters: Mapping[str, float], *, ramps: bool = False) -> Schedule:
    """Schedule of the theory, in its units, for one of the record.

    With ``ramps`` it has knots on its ramps even where they are straight: its change with the exponent of the rate is not.

    Examples
    --------
    >>> effective_schedule(Schedule([0, 1], [0.1, 0.1], [0.2, 0.2]), {"time_scale": 2.0, "noise_scale": 3.0}).constant
    (0.2, 0.6000000000000001)
    """
    exponents = value_of(parameters, "rate_exponent"), value_of(parameters, "batch_exponent")
    acting = _acting(schedule, *exponents, ramps or exponents[0] != 1)
    return acting.scaled(parameters["time_scale"], parameters["noise_scale"])


#: Steps of the exponents of rate and batch at which panels are cut, to serve the exponents in between.
EXPONENT_STEP = 1 / 16


@lru_cache(maxsize=512)
def _acting(schedule: Schedule, rate_exponent: float, batch_exponent: float, ramps: bool) -> Schedule:
    """Schedule of rates as they act; those of the last points of a fit are remembered, with their panels."""
    if (rate_exponent, batch_exponent) == (1, 0):
        return _with_ramps(schedule) if ramps else schedule
    exponents = {"rate_exponent": rate_exponent, "batch_exponent": batch_exponent}
    step, rate, noise_rate = _acting(schedule, 1.0, 0.0, ramps).knots
    acting = effective_rate(rate, _batch_size(rate, noise_rate), exponents)
    noise_rate = noise_rate * np.divide(acting, rate, out=np.zeros_like(rate), where=rate > 0)
    nearest = tuple(EXPONENT_STEP * round(exponent / EXPONENT_STEP) for exponent in exponents.values())
    if nearest == (rate_exponent, batch_exponent):
        return Schedule(step, acting, noise_rate)
    return _acting(schedule, *nearest, ramps).varied(acting, noise_rate)


def schedule_direction(
    schedule: Schedule, parameters: Mapping[str, float], name: str, *, ramps: bool = False
) -> tuple[Floats, Floats]:
    """Derivatives of rate and noise rate at the knots of :func:`effective_schedule` in one of its parameters.

    Examples
    --------
    >>> flat = Schedule([0, 1], [1e-2, 1e-2], [0.2, 0.2])
    >>> rate, noise = schedule_direction(flat, {"time_scale": 2.0, "noise_scale": 3.0}, "rate_exponent")
    >>> (rate / np.log(10)).round(4).tolist()
    [0.02, 0.02]
    """
    acting = effective_schedule(schedule, {**parameters, "noise_scale": 1.0}, ramps=ramps)
    _, acting_rate, acting_noise = acting.knots
    if name == "noise_scale":
        return np.zeros_like(acting_rate), np.asarray(acting_noise)
    _, rate, noise_rate = _acting(schedule, 1.0, 0.0, ramps or value_of(parameters, "rate_exponent") != 1).knots
    base = _batch_size(rate, noise_rate) if name == "batch_exponent" else rate / REFERENCE_RATE
    log = np.log(base, out=np.zeros_like(rate), where=rate > 0)
    return acting_rate * log, parameters["noise_scale"] * acting_noise * log


def _batch_size(rate: Floats, noise_rate: Floats) -> Floats:
    """Batch size at knots; one where there is no noise to tell it by."""
    return np.asarray(np.divide(rate, noise_rate, out=np.ones_like(rate), where=noise_rate > 0))


def _with_ramps(schedule: Schedule) -> Schedule:
    """Schedule with knots where its rate changes much, denser towards its low end.

    A power of a ramp is no longer linear.
    """
    return Schedule(*_with_knots_on_ramps(*schedule.knots))


def _with_knots_on_ramps(step: Floats, rate: Floats, noise_rate: Floats) -> tuple[Floats, Floats, Floats]:
    change = np.abs(np.diff(rate)) > RAMP * np.maximum(rate[1:], rate[:-1])
    ramps = np.flatnonzero(change & (np.diff(step) > 0))
    share = (np.arange(1, KNOTS_ON_RAMP) / KNOTS_ON_RAMP) ** 2
    shares = np.where((rate[ramps] < rate[ramps + 1])[:, None], share, 1 - share[::-1])
    between = [
        np.insert(
            values,
            np.repeat(ramps + 1, share.size),
            (values[ramps, None] + shares * np.diff(values)[ramps, None]).ravel(),
        )
        for values in (step, rate, noise_rate)
    ]
    return between[0], between[1], between[2]


def settings_of(curves: TrainingCurves) -> tuple[Settings, tuple[np.ndarray, np.ndarray]]:
    """Pad the observations to (run, T); the index pair takes values (run, T) back to (obs,)."""
    runs, row, count = np.unique(curves.run, return_inverse=True, return_counts=True)
    column = np.arange(curves.run.size) - np.repeat(np.cumsum(count) - count, count)
    where = np.minimum(np.arange(count.max()), count[:, None] - 1) + (np.cumsum(count) - count)[:, None]
    followers: dict[Schedule, list[int]] = {}
    for number, run in enumerate(runs.tolist()):
        if run in curves.schedules:
            followers.setdefault(curves.schedules[run], []).append(number)
    settings = Settings(
        step=curves.step[where],
        params=curves.params[runs],
        learning_rate=curves.learning_rate[runs],
        batch_size=curves.batch_size[runs],
        dataset_size=curves.dataset_size[runs],
        schedules=tuple((schedule, np.array(numbers)) for schedule, numbers in followers.items()),
        warmup_steps=curves.warmup_steps[runs],
        test_eigenvalues=curves.test_eigenvalues,
    )
    return settings, (row, column)


def effective_width(parameters: Mapping[str, float], params: Floats, reference_params: float) -> Floats:
    """Width of the theory for models of ``params`` parameters."""
    return np.asarray(parameters["width_scale"] * (params / reference_params) ** parameters["width_exponent"])


def basis_losses(parameters: Mapping[str, float], settings: Settings, reference_params: float) -> tuple[Floats, Floats]:
    """Loss (run, T) of a unit of target power and of a unit of label noise: the law is linear in both.

    L = scale · signal + (irreducible + unlearnable (params/params₀)^-unlearnable_exponent) · noise, at the time
    time_scale · ∫ u dstep, with noise_scale · u/batch_size as the noise rate of the theory, where u is the learning rate
    to the power of rate_exponent, times the batch size to the power of batch_exponent.

    Parameters
    ----------
    parameters : mapping
        ``alpha, r, time_scale, width_scale, width_exponent, samples_scale, noise_scale``, and ``rate_exponent``,
        ``batch_exponent`` and ``shift`` if any.
    settings : Settings
        Runs and times.
    reference_params : float
        params₀.

    Raises
    ------
    InstabilityError
        If the noise makes the loss grow without bound.
    ParameterError
        If the shift takes the test inputs out of the theory's domain.
    """
    alpha, r = parameters["alpha"], parameters["r"]
    test_spectrum = spectrum_of_test(parameters, settings.test_eigenvalues)
    width = effective_width(parameters, settings.params, reference_params)
    samples = parameters["samples_scale"] * settings.dataset_size
    noise = np.array([0.0, 1.0])[:, None]
    losses = np.empty((2, *settings.step.shape))
    runs, steps, assigned = scheduled_runs(settings, parameters, all_runs=test_spectrum is not None)
    if runs.size:
        losses[:, runs] = losses_of_runs(
            steps,
            assigned,
            PowerLaw(alpha, r),
            width=width[runs],
            samples=samples[runs],
            noise_variance=noise,
            test_spectrum=test_spectrum,
        )
    runs = settings.constant
    if test_spectrum is None and runs.size:
        # About ten times as fast.
        losses[:, runs] = flow_loss(
            noise_variance=noise, **flow_arguments(parameters, settings, runs, reference_params)
        )
    return losses[0], losses[1] - losses[0]


def flow_arguments(
    parameters: Mapping[str, float], settings: Settings, runs: NDArray[np.int64], reference_params: float
) -> dict[str, Any]:
    """Arguments of :func:`scalingeq.theory.flow_loss` for ``runs`` at constant rates, all but the label noise.

    Examples
    --------
    >>> one = np.ones(1)
    >>> settings = Settings(np.array([[10.0]]), 1e4 * one, 0.1 * one, 8 * one, np.inf * one)
    >>> flow_arguments(complete(dict(alpha=1.5, r=0.4, noise_scale=2.0)), settings, np.array([0]), 1e4)["noise_rate"]
    array([0.025])
    """
    rate = effective_rate(settings.learning_rate[runs], settings.batch_size[runs], parameters)
    steps = settings.intrinsic_steps(value_of(parameters, "rate_exponent"))[runs]
    return {
        "time": parameters["time_scale"] * rate[:, None] * steps,
        "spectrum": PowerLaw(parameters["alpha"], parameters["r"]),
        "noise_rate": parameters["noise_scale"] * rate / settings.batch_size[runs],
        "width": effective_width(parameters, settings.params[runs], reference_params),
        "samples": parameters["samples_scale"] * settings.dataset_size[runs],
    }


def log_loss_slopes(
    parameters: Mapping[str, float], settings: Settings, reference_params: float
) -> tuple[Floats, Floats, Floats]:
    """Log loss (run, T) at constant rates without warm-up, and its derivatives in log params and in log steps.

    Examples
    --------
    >>> one = np.ones(1)
    >>> settings = Settings(np.array([[1e4]]), 1e4 * one, 0.1 * one, np.inf * one, np.inf * one)
    >>> log_loss, by_params, by_steps = log_loss_slopes(complete(dict(alpha=1.5, r=0.3)), settings, 1e4)
    >>> abs(by_params).tolist(), by_steps.round(2).tolist()  # no effect of size, and a time exponent of 2 r
    ([[0.0]], [[-0.6]])
    """
    arguments = flow_arguments(parameters, settings, settings.constant, reference_params)
    shape = unlearnable_shape(parameters, settings.params, reference_params)
    unlearnable = parameters["unlearnable"] * shape / parameters["scale"]
    loss, slopes = flow_loss(
        noise_variance=parameters["irreducible"] / parameters["scale"] + unlearnable, jacobian=True, **arguments
    )
    width = arguments["width"]
    # An infinite width has no slope.
    by_width = slopes["width"] * np.where(np.isfinite(width), width, 0.0)[:, None]
    by_noise = slopes["noise_variance"] * unlearnable[:, None]
    by_params = parameters["width_exponent"] * by_width - parameters["unlearnable_exponent"] * by_noise
    return np.log(parameters["scale"] * loss), by_params / loss, slopes["time"] * arguments["time"] / loss


def scheduled_runs(
    settings: Settings, parameters: Mapping[str, float], *, all_runs: bool = False, ramps: bool = False
) -> tuple[NDArray[np.int64], Floats, Assigned]:
    """Runs that follow schedules, their steps (run, T), and the theory's schedules of these runs.

    With ``all_runs`` those of constant rates too; ``ramps`` as in :func:`effective_schedule`.

    Examples
    --------
    >>> schedule, two = Schedule([0, 100], [0.1, 0.0], [0.0, 0.0]), np.ones(2)
    >>> settings = Settings(np.array([[10.0], [20.0]]), two, two, two, two, ((schedule, np.array([1])),))
    >>> runs, steps, assigned = scheduled_runs(settings, complete(dict(alpha=1.5, r=0.4)))
    >>> runs.tolist(), steps.tolist(), assigned.which.tolist()
    ([1], [[20.0]], [0])
    """
    groups = list(settings.schedules)
    step = settings.step
    if all_runs and (constant := settings.constant).size:
        step = step.copy()
        step[constant] = settings.intrinsic_steps(value_of(parameters, "rate_exponent"))[constant]
        rates = np.stack([settings.learning_rate, settings.batch_size])[:, constant]
        distinct, which = np.unique(rates, axis=1, return_inverse=True)
        for number, (rate, batch_size) in enumerate(distinct.T.tolist()):
            mine = constant[which.ravel() == number]
            groups.append((constant_schedule(rate, batch_size, 0.0, float(step[mine].max())), mine))
    runs = np.concatenate([np.empty(0, dtype=np.int64), *(followers for _, followers in groups)])
    follows = np.repeat(np.arange(len(groups)), [followers.size for _, followers in groups])
    acting = [effective_schedule(schedule, parameters, ramps=ramps) for schedule, _ in groups]
    return runs, step[runs], Assigned(acting, follows)


def constant_schedule(rate: float, batch_size: float, warmup_steps: float, last: float) -> Schedule:
    """Schedule, up to step ``last`` at least, of a constant rate after a linear warm-up.

    Examples
    --------
    >>> constant_schedule(0.1, 8.0, 10.0, 100.0).time(100.0).round(6).item()
    9.5
    """
    end = max(last, warmup_steps + 1)
    step, rates = ([0.0, warmup_steps, end], [0.0, rate, rate]) if warmup_steps else ([0.0, end], [rate, rate])
    return Schedule(step, rates, np.array(rates) / batch_size)


def spectrum_of_test(parameters: Mapping[str, float], test_eigenvalues: Floats | None) -> AnySpectrum | None:
    """Spectrum of the test inputs: measured, shifted in its exponent, or none of its own.

    Examples
    --------
    >>> spectrum_of_test({"alpha": 1.5, "r": 0.3, "shift": -0.2}, None)
    PowerLaw(alpha=1.3, r=0.3, dim=inf)
    """
    shift = value_of(parameters, "shift")
    if test_eigenvalues is None:
        return PowerLaw(parameters["alpha"] + shift, parameters["r"]) if shift else None
    if shift:
        raise ParameterError("shift: the record has measured test_eigenvalues as well; pass one of both")
    return Spectrum(test_eigenvalues, np.ones_like(test_eigenvalues))


def value_of(parameters: Mapping[str, float], name: str) -> float:
    """Value of a parameter; in an analysis older than it, the one that leaves its effect out.

    Examples
    --------
    >>> value_of({"alpha": 1.5, "r": 0.3}, "shift")
    0.0
    """
    return parameters.get(name, NEUTRAL[name])


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
    return _combined(parameters, basis_losses(parameters, settings, reference_params), settings, reference_params)


def _combined(
    parameters: Mapping[str, float], basis: tuple[Floats, Floats], settings: Settings, reference_params: float
) -> Floats:
    """Loss (run, T) from its :func:`basis_losses`."""
    signal, noise = basis
    shape = unlearnable_shape(parameters, settings.params, reference_params)[:, None]
    return np.asarray(
        parameters["scale"] * signal + (parameters["irreducible"] + parameters["unlearnable"] * shape) * noise
    )


def unknown_problems(names: Iterable[str], known: Mapping[str, ParameterInfo] = PARAMETERS) -> list[str]:
    """What is wrong with names of parameters of a law.

    Examples
    --------
    >>> unknown_problems(["alpha"])
    []
    """
    return [f"{name}: no such parameter; known are {', '.join(known)}" for name in names if name not in known]


def value_problems(parameters: Mapping[str, float], known: Mapping[str, ParameterInfo] = PARAMETERS) -> list[str]:
    """What is wrong with names and values of parameters: unknown, or outside the bounds of the law.

    Examples
    --------
    >>> value_problems({"alpha": 0.5})
    ['alpha: 0.5 is outside [1.02, 8]; pass a value inside']
    """
    found = {name: (value, known[name]) for name, value in parameters.items() if name in known}
    return unknown_problems(parameters, known) + [
        f"{name}: {value:g} is outside [{info.minimum:g}, {info.maximum:g}]; pass a value inside"
        for name, (value, info) in found.items()
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
    missing = [f"{name}: missing; pass {name}=..." for name in ("alpha", "r") if name not in parameters]
    raise_problems(value_problems(parameters) + missing, DataError)
    lowest = -min(parameters["alpha"] - PARAMETERS["alpha"].minimum, 2 * parameters["alpha"] * parameters["r"])
    if not lowest <= value_of(parameters, "shift") < np.inf:
        raise DataError(
            f"shift: {parameters['shift']:g} makes the test inputs or the target on them infinite; "
            f"pass a number above {lowest:g}, 0 for test inputs like the training's"
        )
    return NEUTRAL | {name: float(value) for name, value in parameters.items()}


def difference(values: Mapping[str, float], name: str) -> float:
    """Step of a difference quotient in the parameter ``name``.

    Examples
    --------
    >>> difference({"alpha": 2.0}, "alpha")
    0.0002
    """
    # A shift may be zero, and is a difference of exponents of order 1.
    return STEP * max(abs(values[name]), 1.0 if name == "shift" else 1e-3)
