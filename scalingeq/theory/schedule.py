"""Schedules of the learning rate and the batch size, and the panels of steps on which they are smooth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalingeq.errors import ParameterError, raise_problems
from scalingeq.theory.collocation import STAGES, interpolation, radau
from scalingeq.theory.spectrum import FloatArray

#: A panel ends before its intrinsic time grows by this share since the start or the last jump of the schedule, where
#: it is longer than FIRST in units of the fastest mode's time.
GROWTH, FIRST = 0.35, 0.3
#: Nor do the learning rate and the noise rate change within a panel by more than the share CHANGE, unless the panel is
#: shorter than SHORT.
CHANGE, SHORT = 0.5, 0.01
#: A panel is cut until a polynomial gives the integrals of its schedule to the share RESOLVED, or so well that the
#: losses do not feel the rest, the stairs of single steps above all.
RESOLVED, NOT_FELT = 3e-7, 3e-6
#: Panels start anew, as they do at step 0, where a rate changes at once by the share JUMP, and by PEAK of its largest.
JUMP, PEAK = 0.1, 3e-3


@dataclass(frozen=True, eq=False)
class Schedule:
    """Learning rate and noise rate against steps, linear between knots.

    Parameters
    ----------
    step : array_like, shape (knot,)
        Steps of the knots, ascending from 0; two knots at one step are a jump.
    rate : array_like, shape (knot,)
        Learning rate, not negative, in units of 1/eigenvalue.
    noise_rate : array_like, shape (knot,)
        Learning rate over batch size, likewise.

    Raises
    ------
    ParameterError
        Where the arrays are not such; all that is wrong is named at once.

    Examples
    --------
    >>> warm_up = Schedule([0, 10, 20], [0.0, 0.5, 0.5], [0.0, 0.1, 0.1])
    >>> warm_up.time([10.0, 20.0])
    array([2.5, 7.5])
    """

    step: ArrayLike
    rate: ArrayLike
    noise_rate: ArrayLike

    def __post_init__(self) -> None:
        arrays = {name: np.asarray(getattr(self, name), dtype=np.float64) for name in ("step", "rate", "noise_rate")}
        step = arrays["step"]
        problems = []
        if step.ndim != 1 or step.size < 2:
            problems.append(f"step has shape {step.shape}: pass two knots or more in one dimension")
        elif step[0] != 0:
            problems.append(f"step begins at {step[0]:g}: pass the schedule from step 0 on")
        elif not np.all(np.diff(step) >= 0) or not np.isfinite(step[-1]):
            problems.append("step is not ascending and finite: sort the knots; two at one step are a jump")
        for name, values in arrays.items():
            if values.shape != step.shape:
                problems.append(f"{name} has shape {values.shape}, step {step.shape}: pass one value a knot")
            elif name != "step" and (bad := ~(np.isfinite(values) & (values >= 0))).any():
                problems.append(
                    f"{name} is {float(values[bad][0])!r} at step {step[bad][0]:g}: pass none negative or not finite"
                )
        raise_problems(problems, ParameterError)
        for name, values in arrays.items():
            object.__setattr__(self, name, values)

    @classmethod
    def of_steps(cls, rate: FloatArray, noise_rate: FloatArray) -> Schedule:
        """Schedule from one rate and one noise rate (step,) for each optimiser step."""
        step = np.arange(rate.size + 1.0).repeat(2)[1:-1]
        return cls(step, rate.repeat(2), noise_rate.repeat(2))

    def scaled(self, rate: float = 1.0, noise: float = 1.0) -> Schedule:
        """Schedule with its learning rates, and its noise rates, multiplied by a number each."""
        step, rates, noise_rates = self.knots
        return Schedule(step, rate * rates, noise * noise_rates)

    def per_step(self, steps: int) -> tuple[FloatArray, FloatArray]:
        """Learning rate, and one over the batch size, (step,) of each of the first ``steps`` optimiser steps."""
        time, noise = (np.diff(value) for value in self.integrals(np.arange(steps + 1.0)))
        return time, np.divide(noise, time**2, out=np.zeros_like(time), where=time > 0)

    @property
    def constant(self) -> tuple[float, float] | None:
        """Learning rate and noise rate where two knots give them once and for all."""
        _, rate, noise_rate = self.knots
        if rate.size == 2 and rate[0] == rate[1] and noise_rate[0] == noise_rate[1]:
            return float(rate[0]), float(noise_rate[0])
        return None

    @property
    def last(self) -> float:
        """Step at which the schedule ends."""
        return float(self.knots[0][-1])

    @cached_property
    def knots(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Steps, rates and noise rates of the knots."""
        return np.asarray(self.step), np.asarray(self.rate), np.asarray(self.noise_rate)

    @cached_property
    def _integrals(self) -> tuple[FloatArray, FloatArray]:
        """Integrals of the rate, and of the rate times the noise rate, up to each knot."""
        step, rate, noise = self.knots
        length, low, grown = np.diff(step), rate[:-1], np.diff(rate)
        noise_low, noise_grown = noise[:-1], np.diff(noise)
        time = length * (low + grown / 2)
        power = length * (low * noise_low + (low * noise_grown + noise_low * grown) / 2 + grown * noise_grown / 3)
        return np.append(0.0, np.cumsum(time)), np.append(0.0, np.cumsum(power))

    def integrals(self, step: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Intrinsic time and injected noise up to ``step`` (...): integrals of the rate and of rate times noise rate.

        Examples
        --------
        >>> Schedule([0, 10], [0.5, 0.5], [0.1, 0.1]).integrals([10.0])
        (array([5.]), array([0.5]))
        """
        at = np.asarray(step, dtype=np.float64)
        knot, rate, noise = self.knots
        i = np.clip(np.searchsorted(knot, at, side="left") - 1, 0, knot.size - 2)
        since, length = at - knot[i], knot[i + 1] - knot[i]
        share = np.divide(since, length, out=np.zeros_like(since), where=length > 0)
        low, noise_low = rate[i], noise[i]
        grown, noise_grown = (rate[i + 1] - low) * share, (noise[i + 1] - noise_low) * share
        time, power = self._integrals
        return time[i] + since * (low + grown / 2), power[i] + since * (
            low * noise_low + (low * noise_grown + noise_low * grown) / 2 + grown * noise_grown / 3
        )

    def time(self, step: ArrayLike) -> FloatArray:
        """Intrinsic time (...) of steps: the integral of the learning rate.

        Examples
        --------
        >>> Schedule([0, 10], [0.5, 0.5], [0.0, 0.0]).time(4.0)
        array(2.)
        """
        return np.asarray(self.integrals(step)[0])

    def panels(self, last: float, edge: float) -> tuple[FloatArray, FloatArray]:
        """Ends of consecutive panels of steps, on each of which the schedule and its losses are smooth.

        Parameters
        ----------
        last : float
            Step at which the panels end, positive.
        edge : float
            Largest eigenvalue, whose mode relaxes fastest.

        Returns
        -------
        first, last : ndarray, shape (panel,)
            Steps between which each panel lies; fractions of steps where a single one is long.

        Examples
        --------
        >>> first, last = Schedule([0, 100], [0.5, 0.5], [0.1, 0.1]).panels(100.0, edge=1.0)
        >>> print(first[0], last[-1], bool((first[1:] == last[:-1]).all()))
        0.0 100.0 True
        """
        jumps = self._jumps(last)
        low, high = np.append(0.0, jumps), np.append(jumps, last)
        starts, origin = low, self.time(low)
        nodes, (between, to_between) = np.append(0.0, radau(STAGES)[0]), interpolation(STAGES)
        places, gaps = np.concatenate([nodes, between]), np.diff(nodes)
        done: list[FloatArray] = []
        while low.size:
            length = high - low
            time, noise = self.integrals(low[:, None] + length[:, None] * places)
            begin, spent = time[:, 0], time[:, nodes.size - 1] - time[:, 0]
            too_long = np.zeros(low.size, dtype=np.bool_)
            for values, not_felt in (
                (time, NOT_FELT * np.maximum(begin, 1 / edge)),
                (noise, NOT_FELT / edge**2),
            ):
                values, inside = values[:, : nodes.size], values[:, nodes.size :]
                error = np.abs(values @ to_between.T - inside).max(axis=1)
                too_long |= error > np.maximum(RESOLVED * (values[:, -1] - values[:, 0]), not_felt)
                slope = np.diff(values, axis=1) / gaps
                changes = slope.max(axis=1) - slope.min(axis=1) > CHANGE * slope.max(axis=1)
                too_long |= changes & (spent > SHORT / edge)
            too_long &= length > 1
            since = begin - origin[np.searchsorted(starts, low, side="right") - 1]
            too_long |= spent > np.maximum(GROWTH * since, FIRST / edge)
            done.append(np.stack([low[~too_long], high[~too_long]]))
            low, high = low[too_long], high[too_long]
            middle = (low + high) / 2
            middle = np.where(high - low > 1, np.clip(np.round(middle), low + 0.5, high - 0.5), middle)
            low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
        first, last_of = np.concatenate(done, axis=1)
        order = np.argsort(first)
        return first[order], last_of[order]

    def _jumps(self, last: float) -> FloatArray:
        """Steps before ``last`` at which a rate jumps."""
        step, *rates = self.knots
        at: NDArray[np.bool_] = np.zeros(step.size - 1, dtype=np.bool_)
        for rate in rates:
            at |= np.abs(np.diff(rate)) > np.maximum(JUMP * np.maximum(rate[1:], rate[:-1]), PEAK * rate.max())
        at &= (np.diff(step) == 0) & (step[1:] < last) & (step[1:] > 0)
        return step[1:][at]
