"""Schedules of the learning rate and the batch size."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from scalingeq.errors import ParameterError, raise_problems
from scalingeq.theory.panels import Panels, cut, refilled
from scalingeq.theory.rates import Knots, LinearRates, Rates, StepRates
from scalingeq.theory.spectrum import FloatArray


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

    def __init__(self, step: ArrayLike, rate: ArrayLike, noise_rate: ArrayLike) -> None:
        knots = Knots(*(np.asarray(values, dtype=np.float64) for values in (step, rate, noise_rate)))
        problems = []
        if knots.step.ndim != 1 or knots.step.size < 2:
            problems.append(f"step has shape {knots.step.shape}: pass two knots or more in one dimension")
        elif knots.step[0] != 0:
            problems.append(f"step begins at {knots.step[0]:g}: pass the schedule from step 0 on")
        elif not np.all(np.diff(knots.step) >= 0) or not np.isfinite(knots.step[-1]):
            problems.append("step is not ascending and finite: sort the knots; two at one step are a jump")
        for name, values in knots._asdict().items():
            if values.shape != knots.step.shape:
                problems.append(f"{name} has shape {values.shape}, step {knots.step.shape}: pass one value a knot")
            elif name != "step" and (bad := ~(np.isfinite(values) & (values >= 0))).any():
                problems.append(
                    f"{name} is {float(values[bad][0])!r} at step {knots.step[bad][0]:g}: "
                    "pass none negative or not finite"
                )
        raise_problems(problems, ParameterError)
        self._set(LinearRates(knots), {})

    def _set(
        self,
        rates: Rates,
        cuts: dict[tuple[float, int, int], Panels],
        scale: tuple[float, float] = (1, 1),
        near: Schedule | None = None,
    ) -> None:
        self._rates, self._cuts, self._scale, self._near = rates, cuts, scale, near

    @classmethod
    def of_steps(cls, rate: FloatArray, noise_rate: FloatArray) -> Schedule:
        """Schedule from a noise rate (step,) for each optimiser step, and a rate for each or for all; none negative."""
        schedule = cls.__new__(cls)
        schedule._set(StepRates(rate, noise_rate), {})
        return schedule

    @classmethod
    def of_constant(cls, rate: float, noise_rate: float, last: float) -> Schedule:
        """Schedule of one rate and one noise rate, none negative, up to step ``last``, positive."""
        schedule = cls.__new__(cls)
        schedule._set(LinearRates(Knots(np.array([0.0, last]), np.full(2, rate), np.full(2, noise_rate))), {})
        return schedule

    def scaled(self, rate: float = 1.0, noise: float = 1.0) -> Schedule:
        """Schedule with its learning rates, and its noise rates, multiplied by a number each.

        It shares the panels of this schedule: a fit that varies the numbers finds them once.
        """
        schedule = type(self).__new__(type(self))
        schedule._set(self._rates, self._cuts, (rate * self._scale[0], noise * self._scale[1]), self._near)
        return schedule

    def varied(self, rate: FloatArray, noise_rate: FloatArray) -> Schedule:
        """Schedule with other rates (knot,), finite and not negative, at the same knots.

        They are to be near those of this schedule, at the steps of whose panels its own end: to find these takes longer
        than to compute the losses.
        """
        schedule = type(self).__new__(type(self))
        by_rate, by_noise = self._scale
        knots = Knots(self._rates.knots.step, rate / by_rate, noise_rate / by_noise)
        schedule._set(LinearRates(knots), {}, self._scale, self)
        return schedule

    def per_step(self, steps: int) -> tuple[FloatArray, FloatArray]:
        """Learning rate, and one over the batch size, (step,) of each of the first ``steps`` optimiser steps."""
        time, noise = (np.diff(value) for value in self.integrals(np.arange(steps + 1.0)))
        return time, np.divide(noise, time**2, out=np.zeros_like(time), where=time > 0)

    @property
    def constant(self) -> tuple[float, float] | None:
        """Learning rate and noise rate where two knots give them once and for all."""
        if self._rates.knot_count == 2:
            _, rate, noise_rate = self.knots
            if rate[0] == rate[1] and noise_rate[0] == noise_rate[1]:
                return float(rate[0]), float(noise_rate[0])
        return None

    @property
    def last(self) -> float:
        """Step at which the schedule ends."""
        return self._rates.last

    @property
    def knots(self) -> Knots:
        """Steps, rates and noise rates of the knots."""
        step, rate, noise_rate = self._rates.knots
        by_rate, by_noise = self._scale
        return Knots(
            step, rate if by_rate == 1 else by_rate * rate, noise_rate if by_noise == 1 else by_noise * noise_rate
        )

    @property
    def step(self) -> FloatArray:
        """Steps (knot,) of the knots."""
        return self.knots.step

    @property
    def rate(self) -> FloatArray:
        """Learning rates (knot,) at the knots."""
        return self.knots.rate

    @property
    def noise_rate(self) -> FloatArray:
        """Noise rates (knot,) at the knots."""
        return self.knots.noise_rate

    def highest_noise(self, last: float) -> float:
        """Largest noise rate up to step ``last``."""
        return self._scale[1] * self._rates.highest_noise(last)

    def integrals(self, step: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Intrinsic time and injected noise up to ``step`` (...): integrals of the rate and of rate times noise rate.

        Examples
        --------
        >>> Schedule([0, 10], [0.5, 0.5], [0.1, 0.1]).integrals([10.0])
        (array([5.]), array([0.5]))
        """
        time, noise = self._rates.integrals(np.asarray(step, dtype=np.float64))
        by_rate, by_noise = self._scale
        return by_rate * time, by_rate * by_noise * noise

    def time(self, step: ArrayLike) -> FloatArray:
        """Intrinsic time (...) of steps: the integral of the learning rate.

        Examples
        --------
        >>> print(Schedule([0, 10], [0.5, 0.5], [0.0, 0.0]).time(4.0))
        2.0
        """
        return self._scale[0] * self._rates.time(np.asarray(step, dtype=np.float64))

    def before(self, step: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Learning rate and noise rate (...) just before each step (...)."""
        rate, noise_rate = self._rates.before(step)
        return self._scale[0] * rate, self._scale[1] * noise_rate

    def step_at(self, time: FloatArray) -> FloatArray:
        """First step (...) at which an intrinsic time (...) is reached."""
        return self._rates.step_at(time / self._scale[0])

    def panels(self, last: float, edge: float) -> Panels:
        """Panels of intrinsic time, on each of which the schedule and its losses are smooth.

        Parameters
        ----------
        last : float
            Step at which the panels end, positive.
        edge : float
            Largest eigenvalue, whose mode relaxes fastest.

        Returns
        -------
        Panels
            Consecutive panels; they are shared, do not write into them.

        Examples
        --------
        >>> panels = Schedule([0, 100], [0.5, 0.5], [0.1, 0.1]).panels(100.0, edge=1.0)
        >>> bool((panels.time[1:, 0] == panels.time[:-1, 1]).all())
        True
        """
        by_rate, by_noise = self._scale
        # In the units of the shared rates, rounded up in steps: the panels serve all scales that are a bit smaller.
        octave = math.ceil(2 * math.log2(edge * by_rate))
        loudness = 2 * math.ceil(math.log2(max(by_noise / by_rate, 1e-30)) / 2)
        step, time, noise, stairs = self._cut(last, octave, loudness)
        return Panels(step, by_rate * time, by_rate * by_noise * noise, by_rate * by_noise * stairs)

    def _cut(self, last: float, octave: int, loudness: int) -> Panels:
        """Panels in the units of the shared rates."""
        key = (last, octave, loudness)
        if key not in self._cuts:
            if self._near is not None and isinstance(self._rates, LinearRates):
                self._cuts[key] = refilled(self._rates, self._near._cut(*key).step)
            else:
                self._cuts[key] = cut(self._rates, last, 2 ** (octave / 2), 2.0**loudness)
        return self._cuts[key]
