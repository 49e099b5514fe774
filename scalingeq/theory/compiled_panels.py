"""The loops over single steps that panels are cut by, for numba (`scalingeq.theory.compiled`)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from scalingeq.theory.spectrum import FloatArray


def totals(
    rate: FloatArray, noise_rate: FloatArray, time: FloatArray, noise: FloatArray
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Integrals up to each step of the rate and of rate times noise rate; the last two arguments take them."""
    time[0], noise[0] = 0.0, 0.0
    for i in range(rate.size):
        time[i + 1] = time[i] + rate[i]
        noise[i + 1] = noise[i] + rate[i] * noise_rate[i]


def time_at(
    rate: FloatArray, total: FloatArray, step: FloatArray, time: FloatArray
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Integral of the rate up to each ``step``, from the ``total`` of whole steps; the last argument takes it."""
    last = rate.size - 1
    for i in range(step.size):
        whole = int(step[i])
        time[i] = total[whole] + (step[i] - whole) * rate[min(whole, last)]


def breaks(
    noise_rate: FloatArray,
    peak: float,
    jump: float,
    kink: float,
    alone: float,
    around: int,
    found: NDArray[np.bool_],
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Mark the breaks of `scalingeq.theory.rates.StepRates` in ``found`` (step,)."""
    last = noise_rate.size - 3
    for i in range(noise_rate.size - 1):
        low, high = noise_rate[i], noise_rate[i + 1]
        if abs(high - low) > peak and abs(high - low) > jump * max(low, high):
            found[i + 1] = True
        if i <= last and abs(noise_rate[i + 2] - high - (high - low)) > kink:
            i0, i1 = max(i - around, 0), min(i + around, last)
            bend = abs(low - 2 * high + noise_rate[i + 2])
            before = abs(noise_rate[i0] - 2 * noise_rate[i0 + 1] + noise_rate[i0 + 2])
            after = abs(noise_rate[i1] - 2 * noise_rate[i1 + 1] + noise_rate[i1 + 2])
            if bend > alone * max(before, after):
                found[i + 2] = True


def noise_in(
    rate: FloatArray,
    noise_rate: FloatArray,
    time_total: FloatArray,
    noise_total: FloatArray,
    places: FloatArray,
    to_between: FloatArray,
    time: FloatArray,
    long: NDArray[np.bool_],
    alike: float,
    most: float,
    resolved: float,
    not_felt: float,
    change: float,
    noise: FloatArray,
    stairs: FloatArray,
    too_long: NDArray[np.bool_],
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Noise of the panels of `scalingeq.theory.panels`, and which of them are to be cut; the last three take the results.

    ``time`` (panel, place) are the times at the ``places`` (place,) of the beginning, the nodes, and between them.
    """
    last, stages = rate.size - 1, noise.shape[1]
    at_nodes, between = np.empty(stages + 1), np.empty(stages)
    whole = 0
    for panel in range(time.shape[0]):
        for place in range(2 * stages + 1):
            t = time[panel, place]
            # The last step that begins before this time, from the one found last on in strides that double.
            if not time_total[whole] < t:
                whole = 0
            stride = 1
            while whole + stride <= last and time_total[whole + stride] < t:
                whole += stride
                stride *= 2
            beyond = min(whole + stride, last + 1)
            while beyond - whole > 1:
                middle = (whole + beyond) // 2
                if time_total[middle] < t:
                    whole = middle
                else:
                    beyond = middle
            left, length = t - time_total[whole], time_total[whole + 1] - time_total[whole]
            total, since = noise_total[whole], 0.0
            if length > 0:
                total += (noise_total[whole + 1] - noise_total[whole]) / length * left
                since = min(left / rate[whole], 1.0)
            step = whole + since
            at = min(int(step), last)
            since = step - at
            here = noise_rate[at]
            up, down = noise_rate[min(at + 1, last)] - here, here - noise_rate[max(at - 1, 0)]
            ahead = (up + down) * rate[at] / 24
            if abs(up - down) > alike * abs(up + down) or abs(ahead) > most:
                ahead = 0.0
            total += ahead * (1 - 6 * since * (1 - since))
            if place % 2:
                between[place // 2] = total
            else:
                at_nodes[place // 2] = total
                if place:
                    stairs[panel, place // 2 - 1] = ahead
        begin = at_nodes[0]
        at_nodes -= begin
        between -= begin
        worst, highest, lowest = 0.0, -math.inf, math.inf
        for i in range(stages):
            guess = 0.0
            for j in range(stages + 1):
                guess += to_between[i, j] * at_nodes[j]
            worst = max(worst, abs(guess - between[i]))
            slope = (at_nodes[i + 1] - at_nodes[i]) / (places[2 * i + 2] - places[2 * i])
            highest, lowest = max(highest, slope), min(lowest, slope)
            noise[panel, i] = at_nodes[i + 1]
        missed = worst > resolved * at_nodes[stages] and worst > not_felt
        too_long[panel] = missed or (long[panel] and highest - lowest > change * highest)
