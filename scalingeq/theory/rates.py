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
#: The noise rate of single steps has a kink where its slope changes by the share KINK of its largest a step, ALONE times
#: as much as AROUND steps before and after.
KINK, ALONE, AROUND = 1e-5, 8.0, 3
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

    def breaks(self) -> FloatArray:
        """Ascending steps, other than the first and the last, at which the noise rate jumps or its slope does."""


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

    def breaks(self) -> FloatArray:
        """Steps, other than the first and the last, at which the noise rate jumps; its slope does so at knots alone."""
        step, _, noise_rate = self.knots
        inner = np.flatnonzero((step[1:] == step[:-1]) & (step[1:] < self.last) & (step[1:] > 0))
        before, after = noise_rate[inner], noise_rate[inner + 1]
        change = np.abs(after - before)
        jumps = inner[(change > PEAK * noise_rate.max()) & (change > JUMP * np.maximum(before, after))]
        return np.asarray(step[jumps])


class StepRates:
    """One noise rate (step,) for each step, and one rate for each or for all."""

    def __init__(self, rate: FloatArray, noise_rate: FloatArray) -> None:
        steps = noise_rate.size
        # One piece of memory is large enough for the allocator to keep it; fresh pages cost more than the sums.
        rates, self._sums = np.empty((2, 2, steps + 1))
        rates[0, :steps], rates[1, :steps] = rate, noise_rate
        self.rate, self.noise_rate = rates[0, :steps], rates[1, :steps]
        self.last = float(steps)

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
    def totals(self) -> tuple[FloatArray, FloatArray]:
        """Integrals up to each step."""
        time, noise = self._sums
        compiled = loops()
        if compiled is not None:
            compiled.totals(self.rate, self.noise_rate, time, noise)
            return time, noise
        time[0] = noise[0] = 0
        np.cumsum(self.rate, out=time[1:])
        np.multiply(self.rate, self.noise_rate, out=noise[1:])
        np.cumsum(noise[1:], out=noise[1:])
        return time, noise

    def integrals(self, step: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Integrals (...) of the rate, and of rate times noise rate, up to ``step`` (...)."""
        time, noise = self.totals
        whole = np.minimum(step.astype(np.int64), self.rate.size - 1)
        since = (step - whole) * self.rate[whole]
        return time[whole] + since, noise[whole] + since * self.noise_rate[whole]

    def time(self, step: FloatArray) -> FloatArray:
        """Integral (...) of the rate up to ``step`` (...)."""
        compiled = loops()
        if compiled is not None:
            time = np.empty(step.shape)
            compiled.time_at(self.rate, self.totals[0], step.ravel(), time.ravel())
            return time
        whole = step.astype(np.int64)
        total = self.totals[0][whole]
        if not (whole == step).all():
            total = total + (step - whole) * self.rate[np.minimum(whole, self.rate.size - 1)]
        return np.asarray(total)

    def step_at(self, time: FloatArray) -> FloatArray:
        """First step (...) up to which the rate integrates to ``time`` (...)."""
        total = self.totals[0]
        whole = np.searchsorted(total[1:-1], time, side="left")
        left, rate = time - total[whole], self.rate[whole]
        return np.asarray(whole + np.minimum(np.divide(left, rate, out=np.zeros_like(left), where=rate > 0), 1.0))

    def before(self, step: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Rate and noise rate (...) just before each step (...)."""
        whole = np.clip(np.ceil(step).astype(np.int64) - 1, 0, self.rate.size - 1)
        return self.rate[whole], self.noise_rate[whole]

    def noise_at(self, time: FloatArray) -> FloatArray:
        """Integral (...) of rate times noise rate up to ``time`` (...)."""
        return np.asarray(np.interp(time, *self.totals), dtype=np.float64)

    def breaks(self) -> FloatArray:
        """Ascending steps, other than the first and the last, at which the noise rate jumps or begins to rise or fall."""
        noise_rate = self.noise_rate
        highest = float(noise_rate.max())
        found = np.zeros(noise_rate.size, dtype=np.bool_)
        compiled = loops()
        if compiled is not None:
            compiled.breaks(noise_rate, PEAK * highest, JUMP, KINK * highest, ALONE, AROUND, found)
        else:
            for begin in range(0, noise_rate.size, BLOCK):
                self._mark_breaks(begin, highest, found)
        return np.flatnonzero(found).astype(np.float64)

    def _mark_breaks(self, begin: int, highest: float, found: NDArray[np.bool_]) -> None:
        """Mark the breaks of one block of steps in ``found`` (step,)."""
        noise_rate, last = self.noise_rate, self.noise_rate.size - 3
        change = np.diff(noise_rate[begin : begin + BLOCK + 2])
        # Nearly all changes are small ones.
        large = begin + np.flatnonzero(np.abs(change[:BLOCK]) > PEAK * highest)
        low, high = noise_rate[large], noise_rate[large + 1]
        found[1 + large[np.abs(high - low) > JUMP * np.maximum(low, high)]] = True
        large = begin + np.flatnonzero(np.abs(np.diff(change)) > KINK * highest)

        def bend(at: NDArray[np.int64]) -> FloatArray:
            return np.asarray(np.abs(noise_rate[at] - 2 * noise_rate[at + 1] + noise_rate[at + 2]))

        around = np.maximum(bend(np.maximum(large - AROUND, 0)), bend(np.minimum(large + AROUND, last)))
        found[2 + large[bend(large) > ALONE * around]] = True
