"""The best plan at a given compute: size, tokens, batch size, learning rate and the shape of its schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ConvergenceError, ParameterError, raise_problems
from ..theory.schedule import Schedule
from ..theory.spectrum import PowerLaw
from ..theory.stability import largest_learning_rate
from . import twopoint
from .curves import Floats
from .frontier import FLOPS_RULES, FlopsRule, tokens_for
from .slopes import log_loss_jacobian
from .twopoint import Settings, effective_rate, effective_width, value_of
from .twopoint_frontier import frontier
from .uncertainty import propagate

SHAPES = ("constant", "linear", "cosine", "wsd")
"""Schedules: constant rate; linear and cosine decay to zero; warm-up-stable-decay, constant and then linear to zero."""

COSINE_KNOTS = 65
DECAY = (0.02, 0.9)
"""Bounds of the share of steps in which a warm-up-stable-decay schedule decays."""

IDENTIFIED = 2.0
"""Standard errors that the noise has to be above zero to recommend a batch by it."""

SIZE_REACH, STEP, AT_LIMIT = 4.0, 1e-2, 0.02
"""In log: sizes searched around those of the constant rate, step of differences, and distance that counts as at a limit."""


@dataclass(frozen=True)
class Limits:
    """What a plan has to stay within.

    Attributes
    ----------
    learning_rate, batch_size : (float, float)
        Lowest and highest.
    stability : float
        Highest share of the learning rate, and of the noise rate, at which the descent diverges.
    """

    learning_rate: tuple[float, float]
    batch_size: tuple[float, float]
    stability: float = 0.5


@dataclass(frozen=True)
class Plan:
    """The best run of one shape of schedule at one compute.

    Attributes
    ----------
    shape : str
        One of :data:`SHAPES`.
    params, tokens, learning_rate, batch_size : float
        The rate is the highest of the schedule.
    decay : float
        Share of the steps in which the rate falls.
    loss, loss_stderr : float
        Loss at the end, and the standard error of its logarithm from the fit's covariance.
    gradient : ndarray, shape (parameter,)
        Derivatives of the log loss in the parameters of the law, zero for those that are not uncertain.
    stability : float
        The highest rate as a share of the exact threshold at which discrete steps diverge.
    limits : tuple of str
        What stopped at a limit.
    """

    shape: str
    params: float
    tokens: float
    learning_rate: float
    batch_size: float
    decay: float
    loss: float
    loss_stderr: float
    gradient: Floats
    stability: float
    limits: tuple[str, ...]


def planned_schedule(shape: str, rate: float, batch_size: float, steps: float, decay: float = 0.2) -> Schedule:
    """Schedule of one shape in the units of the record.

    Parameters
    ----------
    shape : str
        One of :data:`SHAPES`.
    rate, batch_size, steps : float
        Highest rate, tokens a step, number of steps.
    decay : float
        Share of the steps in which warm-up-stable-decay decays.

    Examples
    --------
    >>> planned_schedule("wsd", 0.1, 10.0, 100.0).knots[0].tolist()
    [0.0, 80.0, 100.0]
    >>> planned_schedule("linear", 0.1, 10.0, 100.0).time(100.0).item()
    5.0
    """
    if shape == "cosine":
        share = np.linspace(0.0, 1.0, COSINE_KNOTS)
        height = (1 + np.cos(np.pi * share)) / 2
    elif shape == "wsd":
        share, height = np.array([0.0, 1 - decay, 1.0]), np.array([1.0, 1.0, 0.0])
    else:
        share, height = np.array([0.0, 1.0]), np.array([1.0, 1.0 if shape == "constant" else 0.0])
    return Schedule(steps * share, rate * height, rate * height / batch_size)


def is_noise_identified(values: Mapping[str, float], covariance: Floats | None) -> bool:
    """Whether a fit knows the noise of its batches: free, and more than two standard errors above zero.

    Examples
    --------
    >>> is_noise_identified(twopoint.complete({"alpha": 1.5, "r": 0.3, "noise_scale": 2.0}), None)
    False
    """
    if covariance is None:
        return False
    number = list(values).index("noise_scale")
    return bool(0 < IDENTIFIED * np.sqrt(covariance[number, number]) < values["noise_scale"])


class Planner:
    """Losses and best plans of one law at one compute.

    Parameters
    ----------
    values : mapping
        All parameters of the two-point law.
    covariance : ndarray, shape (parameter, parameter), or None
        Of the fit.
    compute : float
        FLOPs.
    reference_params : float
        Size that the amplitudes refer to.
    limits : Limits
        A rate or batch of one value alone is held.
    dataset_size : float
        Unique tokens.
    flops : callable
        Compute of (params, tokens).

    Raises
    ------
    ParameterError
        If no rate within the limits is stable, or the law counts time in tokens (``batch_exponent``) or divides
        rates by its loss (``loss_exponent``).

    Notes
    -----
    At given tokens the gradient flow knows the rate and the batch as ``rate**rate_exponent / batch`` alone. Of all pairs
    with the best ratio the planner takes the highest rate, that is the largest batch and the fewest steps.

    Examples
    --------
    >>> law = twopoint.complete(dict(alpha=1.5, r=0.3, width_scale=100.0, width_exponent=1.0, noise_scale=50.0))
    >>> planner = Planner(law, None, 1e13, 1e4, Limits((0.1, 0.1), (10.0, 1e4)))
    >>> best = planner.best("linear")
    >>> best.loss < planner.best("constant").loss, best.learning_rate
    (True, 0.1)
    """

    def __init__(
        self,
        values: Mapping[str, float],
        covariance: Floats | None,
        compute: float,
        reference_params: float,
        limits: Limits,
        dataset_size: float = np.inf,
        flops: FlopsRule = FLOPS_RULES["6ND"],
    ) -> None:
        self.values, self.covariance, self.compute = values, covariance, compute
        self.reference_params, self.dataset_size, self.flops = reference_params, dataset_size, flops
        self.limits = limits
        makes = {"batch_exponent": "intrinsic time depend on the batch", "loss_exponent": "rates depend on the loss"}
        raise_problems(
            [
                f"{name}: {exponent:g} makes {what}, which the planner does not know; pass a fit with {name}=0"
                for name, what in makes.items()
                if (exponent := value_of(values, name))
            ],
            ParameterError,
        )
        self.spectrum = PowerLaw(values["alpha"], values["r"])
        self.exponent = value_of(values, "rate_exponent")
        # The rate at which the fastest mode diverges, in the units of the record.
        edge = limits.stability * largest_learning_rate(self.spectrum) / values["time_scale"]
        self.highest_rate = min(limits.learning_rate[1], self._rate_of(edge))
        if self.highest_rate < limits.learning_rate[0]:
            raise ParameterError(
                f"learning_rate: no rate from {limits.learning_rate[0]:g} on is below {limits.stability:g} of the threshold "
                f"{self._rate_of(edge / limits.stability):.3g} at which SGD diverges; pass smaller ones"
            )
        low, high = (
            np.log(self._acting(rate) / batch)
            for rate, batch in (
                (limits.learning_rate[0], limits.batch_size[1]),
                (self.highest_rate, limits.batch_size[0]),
            )
        )
        if values["noise_scale"] > 0:
            noise = limits.stability * 2 / self.spectrum.trace / values["noise_scale"]
            self.noise_limited = bool(np.log(noise) < high)
            high = max(min(high, np.log(noise)), low)
        else:
            self.noise_limited = False
        self.ratios = float(low), float(high)

    def _acting(self, rate: float) -> float:
        return float(effective_rate(np.asarray(rate), np.ones(()), self.values))

    def _rate_of(self, acting: float) -> float:
        """Learning rate of the record that acts as this one."""
        reference = twopoint.REFERENCE_RATE
        return float(reference * (acting / reference) ** (1 / self.exponent))

    def rate_and_batch(self, log_ratio: float) -> tuple[float, float]:
        """Highest rate, and the largest batch, of one ratio of the acting rate to the batch."""
        batch = min(self._acting(self.highest_rate) / np.exp(log_ratio), self.limits.batch_size[1])
        return min(self._rate_of(np.exp(log_ratio) * batch), self.highest_rate), float(batch)

    def settings(self, shape: str, params: float, rate: float, batch: float, decay: float) -> Settings:
        """Settings of the end of one run."""
        tokens = float(tokens_for(np.asarray(self.compute), np.asarray(params), self.flops))
        steps = tokens / batch
        one = np.ones(1)
        schedules: tuple[tuple[Schedule, NDArray[np.int64]], ...] = ()
        if shape != "constant":
            schedules = ((planned_schedule(shape, rate, batch, steps, decay), np.zeros(1, np.int64)),)
        return Settings(
            np.array([[steps]]), params * one, rate * one, batch * one, self.dataset_size * one, schedules
        )  # fmt: skip

    def log_loss(self, shape: str, params: float, rate: float, batch: float, decay: float) -> float:
        """Log loss at the end of one run."""
        settings = self.settings(shape, params, rate, batch, decay)
        return float(np.log(twopoint.predict(self.values, settings, self.reference_params)[0, 0]))

    def best(self, shape: str) -> Plan:
        """Best plan of one shape of schedule.

        Raises
        ------
        ConvergenceError
            If there is no best size.
        """
        from scipy.optimize import minimize

        ratio = self._start_ratio()
        rate, batch = self.rate_and_batch(ratio)
        size = frontier(
            self.values, np.array([self.compute]), reference_params=self.reference_params, learning_rate=rate,
            batch_size=batch, dataset_size=self.dataset_size, flops=self.flops,
        ).params[0]  # fmt: skip
        start, bounds = [0.0, ratio], [(-SIZE_REACH, SIZE_REACH), self.ratios]
        if shape == "wsd":
            start.append(float(np.log(0.2)))
            bounds.append((float(np.log(DECAY[0])), float(np.log(DECAY[1]))))

        def objective(x: Floats) -> float:
            return self.log_loss(shape, *self._point(shape, size, x))

        found = minimize(objective, start, method="L-BFGS-B", bounds=bounds, options={"eps": STEP, "ftol": 1e-10})
        if abs(abs(found.x[0]) - SIZE_REACH) < AT_LIMIT:
            raise ConvergenceError(
                f"compute: at {self.compute:.3g} FLOPs no size is optimal for the schedule {shape!r}; pass a compute "
                "nearer to the runs'"
            )
        params, rate, batch, decay = self._point(shape, size, found.x)
        settings = self.settings(shape, params, rate, batch, decay)
        gradient = np.zeros(len(self.values))
        if self.covariance is not None:
            pairs = zip(self.values, np.diag(self.covariance), strict=True)
            uncertain = [name for name, variance in pairs if variance > 0]
            gradient = log_loss_jacobian(self.values, settings, self.reference_params, uncertain)[1][0, 0]
        matrix = np.zeros((gradient.size, gradient.size)) if self.covariance is None else self.covariance
        return Plan(
            shape=shape,
            params=params,
            tokens=float(settings.step[0, 0] * batch),
            learning_rate=rate,
            batch_size=batch,
            decay={"constant": 0.0, "wsd": decay}.get(shape, 1.0),
            loss=float(np.exp(found.fun)),
            loss_stderr=float(propagate(gradient, matrix)),
            gradient=gradient,
            stability=self._stability(params, rate, batch),
            limits=self._limits(shape, rate, batch, float(found.x[1]), decay),
        )

    def _start_ratio(self) -> float:
        """Best ratio of the acting rate to the batch at a constant rate and the frontier's size, of a scan."""
        low, high = self.ratios
        if high - low < AT_LIMIT:
            return high
        ratios = np.linspace(low, high, 9)
        losses = []
        for ratio in ratios:
            rate, batch = self.rate_and_batch(float(ratio))
            losses.append(
                frontier(
                    self.values, np.array([self.compute]), reference_params=self.reference_params, learning_rate=rate,
                    batch_size=batch, dataset_size=self.dataset_size, flops=self.flops,
                ).loss[0]
            )  # fmt: skip
        return float(ratios[int(np.argmin(losses))])

    def _point(self, shape: str, size: float, x: Floats) -> tuple[float, float, float, float]:
        """Params, rate, batch and decay at a point of the search."""
        rate, batch = self.rate_and_batch(float(x[1]))
        return float(size * np.exp(x[0])), rate, batch, float(np.exp(x[2])) if shape == "wsd" else 1.0

    def _stability(self, params: float, rate: float, batch: float) -> float:
        noise = self.values["noise_scale"]
        width = float(effective_width(self.values, np.asarray(params), self.reference_params))
        threshold = largest_learning_rate(
            self.spectrum,
            batch_size=max(self.values["time_scale"] / noise * batch, 1.0) if noise > 0 else np.inf,
            width=width,
        )
        return self.values["time_scale"] * self._acting(rate) / threshold

    def _limits(self, shape: str, rate: float, batch: float, log_ratio: float, decay: float) -> tuple[str, ...]:
        """What stopped at a limit, in words."""

        def near(value: float, limit: float) -> bool:
            return bool(abs(np.log(value / limit)) < AT_LIMIT)

        found = []
        # Only the ratio is determined: a rate at its highest is a choice, unless the batch is at its smallest.
        if self.ratios[1] - self.ratios[0] < AT_LIMIT:
            return ("learning_rate and batch_size held",)
        if log_ratio > self.ratios[1] - AT_LIMIT:
            found.append(
                "noise at its share of stability" if self.noise_limited else "batch_size lowest, learning_rate highest"
            )
        elif near(batch, self.limits.batch_size[1]) and rate < self.highest_rate * (1 - AT_LIMIT):
            found.append("batch_size highest")
            if near(rate, self.limits.learning_rate[0]):
                found.append("learning_rate lowest")
        if shape == "wsd":
            found += [
                f"decay {word}"
                for word, limit in zip(("shortest", "longest"), DECAY, strict=True)
                if near(decay, limit)
            ]
        return tuple(found)
