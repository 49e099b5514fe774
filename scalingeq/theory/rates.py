"""Learning rates and noise rates against steps, and their integrals: linear between knots, or the same in each step."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from scalingeq.theory.compiled import loops
from scalingeq.theory.spectrum import FloatArray

#: The noise rate jumps where it changes at once by the share JUMP, and by PEAK of its largest. In intrinsic time the
#: learning rate plays no part but through it.
JUMP, PEAK = 0.1, 3e-3
#: Steps that are worked on at once, so that they stay in the processor's cache.
BLOCK = 8192


class Knots(NamedTuple):
    """Steps, learning rates and noise rates (knot,) between which rates are linear; two knots at a step are a jump."""

    step: FloatArray
    rate: FloatArray
    noise_rate: FloatArray


class Rates(Protocol):
    """Learning rates and noise rates of steps from 0 to ``last``, in any units."""

    @property
    def last(self) -> float:
        """Step at which the rates end."""

    @property
    def knots(self) -> Knots:
        """Knots between which the rates are linear."""

    @property
    def knot_count(self) -> int:
        """Number of knots."""

    def highest_noise(self, last: float) -> float:
        """Largest noise rate up to step ``last``."""

    def time(self, step: FloatArray) -> FloatArray:
        """Integral (...) of the rate up to ``step`` (...)."""

    def integrals(self, step: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Integrals (...) of the rate, and of rate times noise rate, up to ``step`` (...)."""

    def step_at(self, time: FloatArray) -> FloatArray:
        """First step (...) up to which the rate integrates to ``time`` (...)."""

    def before(self, step: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Rate and noise rate (...) just before each step (...)."""

    def noise_at(self, time: FloatArray) -> FloatArray:
        """Integral (...) of rate times noise rate up to ``time`` (...)."""

    def jumps(self) -> FloatArray:
        """Steps, other than the first and the last, at which the noise rate jumps."""


class LinearRates:
    """Rates that are linear between knots."""

    def __init__(self, knots: Knots) -> None:
        self.knots = knots
        self.last = float(knots.step[-1])

    @property
    def knot_count(self) -> int:
        """Number of knots."""
        return self.knots.step.size

    def highest_noise(self, last: float) -> float:
        """Largest noise rate up to step ``last``."""
        step, _, noise_rate = self.knots
        return float(max(noise_rate[step <= last].max(), np.interp(last, step, noise_rate)))

    @cached_property
    def _totals(self) -> tuple[FloatArray, FloatArray]:
        """Integrals up to each knot."""
        step, rate, noise = self.knots
        length, low, grown = np.diff(step), rate[:-1], np.diff(rate)
        noise_low, noise_grown = noise[:-1], np.diff(noise)
        time = length * (low + grown / 2)
        power = length * (low * noise_low + (low * noise_grown + noise_low * grown) / 2 + grown * noise_grown / 3)
        return np.append(0.0, np.cumsum(time)), np.append(0.0, np.cumsum(power))

    def integrals(self, step: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Integrals (...) of the rate, and of rate times noise rate, up to ``step`` (...)."""
        knot, rate, noise = self.knots
        i = np.clip(np.searchsorted(knot, step, side="left") - 1, 0, knot.size - 2)
        since, length = step - knot[i], knot[i + 1] - knot[i]
        share = np.divide(since, length, out=np.zeros_like(since), where=length > 0)
        low, noise_low = rate[i], noise[i]
        grown, noise_grown = (rate[i + 1] - low) * share, (noise[i + 1] - noise_low) * share
        time, power = self._totals
        return time[i] + since * (low + grown / 2), power[i] + since * (
            low * noise_low + (low * noise_grown + noise_low * grown) / 2 + grown * noise_grown / 3
        )

    def time(self, step: FloatArray) -> FloatArray:
        """Integral (...) of the rate up to ``step`` (...)."""
        return self.integrals(step)[0]

    def step_at(self, time: FloatArray) -> FloatArray:
        """First step (...) up to which the rate integrates to ``time`` (...)."""
        step, rate, _ = self.knots
        total = self._totals[0]
        i = np.clip(np.searchsorted(total, time, side="left") - 1, 0, step.size - 2)
        length, left, low = step[i + 1] - step[i], time - total[i], rate[i]
        slope = np.divide(rate[i + 1] - low, length, out=np.zeros_like(left), where=length > 0)
        # The root of left = low x + slope x**2 / 2, in the form that does not cancel.
        below = low + np.sqrt(np.maximum(low**2 + 2 * slope * left, 0.0))
        since = np.divide(2 * left, below, out=np.zeros_like(left), where=below > 0)
        return np.asarray(step[i] + np.minimum(since, length))

    def before(self, step: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Rate and noise rate (...) just before each step (...)."""
        knot, *rates = self.knots
        i = np.clip(np.searchsorted(knot, step, side="left") - 1, 0, knot.size - 2)
        length = knot[i + 1] - knot[i]
        share = np.divide(step - knot[i], length, out=np.zeros_like(step), where=length > 0)
        rate, noise_rate = (values[i] + share * (values[i + 1] - values[i]) for values in rates)
        return rate, noise_rate

    def noise_at(self, time: FloatArray) -> FloatArray:
        """Integral (...) of rate times noise rate up to ``time`` (...)."""
        return self.integrals(self.step_at(time))[1]

    def jumps(self) -> FloatArray:
        """Steps, other than the first and the last, at which the noise rate jumps."""
        step, _, noise_rate = self.knots
        inner = np.flatnonzero((step[1:] == step[:-1]) & (step[1:] < self.last) & (step[1:] > 0))
        return step[inner[_jumps(noise_rate[inner], noise_rate[inner + 1], noise_rate.max())]]


class StepRates:
    """One rate and one noise rate (step,) for each step."""

    def __init__(self, rate: FloatArray, noise_rate: FloatArray) -> None:
        self.rate, self.noise_rate = rate, noise_rate
        self.last = float(rate.size)

    @cached_property
    def knots(self) -> Knots:
        """Knots between which the rates are linear."""
        return Knots(np.arange(self.last + 1).repeat(2)[1:-1], self.rate.repeat(2), self.noise_rate.repeat(2))

    @property
    def knot_count(self) -> int:
        """Number of knots."""
        return 2 * self.rate.size

    def highest_noise(self, last: float) -> float:
        """Largest noise rate up to step ``last``."""
        return float(self.noise_rate[: max(int(np.ceil(last)), 1)].max())

    @cached_property
    def _totals(self) -> tuple[FloatArray, FloatArray]:
        """Integrals up to each step."""
        time, noise = np.empty(self.rate.size + 1), np.empty(self.rate.size + 1)
        compiled = loops()
        if compiled is not None:
            compiled.totals(self.rate, self.noise_rate, time, noise)
            return time, noise
        time[0] = noise[0] = 0
        np.cumsum(self.rate, out=time[1:])
        # In place: fresh memory costs more than the sums.
        np.multiply(self.rate, self.noise_rate, out=noise[1:])
        np.cumsum(noise[1:], out=noise[1:])
        return time, noise

    def integrals(self, step: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Integrals (...) of the rate, and of rate times noise rate, up to ``step`` (...)."""
        time, noise = self._totals
        whole = np.minimum(step.astype(np.int64), self.rate.size - 1)
        since = (step - whole) * self.rate[whole]
        return time[whole] + since, noise[whole] + since * self.noise_rate[whole]

    def time(self, step: FloatArray) -> FloatArray:
        """Integral (...) of the rate up to ``step`` (...)."""
        whole = step.astype(np.int64)
        total = self._totals[0][whole]
        if not (whole == step).all():
            total = total + (step - whole) * self.rate[np.minimum(whole, self.rate.size - 1)]
        return np.asarray(total)

    def step_at(self, time: FloatArray) -> FloatArray:
        """First step (...) up to which the rate integrates to ``time`` (...)."""
        total = self._totals[0]
        whole = np.clip(np.searchsorted(total, time, side="left") - 1, 0, self.rate.size - 1)
        left, rate = time - total[whole], self.rate[whole]
        return np.asarray(whole + np.minimum(np.divide(left, rate, out=np.zeros_like(left), where=rate > 0), 1.0))

    def before(self, step: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Rate and noise rate (...) just before each step (...)."""
        whole = np.clip(np.ceil(step).astype(np.int64) - 1, 0, self.rate.size - 1)
        return self.rate[whole], self.noise_rate[whole]

    def noise_at(self, time: FloatArray) -> FloatArray:
        """Integral (...) of rate times noise rate up to ``time`` (...)."""
        return np.asarray(np.interp(time, *self._totals), dtype=np.float64)

    def jumps(self) -> FloatArray:
        """Steps, other than the first and the last, at which the noise rate jumps."""
        return np.asarray(1.0 + _jumps(self.noise_rate[:-1], self.noise_rate[1:], self.noise_rate.max()))


def _jumps(before: FloatArray, after: FloatArray, highest: float) -> NDArray[np.int64]:
    """Where a rate jumps, by number; ``before`` and ``after`` are the rates on either side."""
    found = []
    for begin in range(0, before.size, BLOCK):
        low, high = before[begin : begin + BLOCK], after[begin : begin + BLOCK]
        # Nearly all changes are small ones.
        large = np.flatnonzero(np.abs(high - low) > PEAK * highest)
        change = np.abs(high[large] - low[large])
        found.append(begin + large[change > JUMP * np.maximum(low[large], high[large])])
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)
