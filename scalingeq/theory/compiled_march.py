"""The innermost loops of losses under schedules for numba, which the extra ``fast`` installs: the same numbers, sooner.

They are used wherever numba can be imported, from the first evaluation on, and kept on disk by numba. The environment
variable ``SCALINGEQ_COMPILED=0``, set before that evaluation, leaves all to NumPy.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from scalingeq.theory.spectrum import ComplexArray, FloatArray


class ScheduleLoops(NamedTuple):
    """Compiled loops, each the function of this module of the same name."""

    march: Callable[..., None]
    at_times: Callable[..., None]


@cache
def schedule_loops() -> ScheduleLoops | None:
    """Compiled loops, or None where numba is missing or switched off."""
    if os.environ.get("SCALINGEQ_COMPILED") == "0":
        return None
    try:
        numba = importlib.import_module("numba")
    except ImportError:
        return None
    # Sums may be taken in any order, so that they fill the processor's vectors; nothing else may change.
    compile_: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.njit(
        cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"}
    )
    return ScheduleLoops(compile_(march), compile_(at_times))


def march(
    length: FloatArray,
    noise: FloatArray,
    exponent: ComplexArray,
    forcing: FloatArray,
    train: ComplexArray,
    test: ComplexArray,
    root: ComplexArray,
    left: ComplexArray,
    start: ComplexArray,
    push: ComplexArray,
    loss: FloatArray,
    added: FloatArray,
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """March over panels, as `scalingeq.theory.collocation.march` describes; the last two arguments take the results.

    ``test`` has no rows where its kernel is that of the train loss.
    """
    problems, cases = forcing.shape[0], forcing.shape[1]
    panels, stages = noise.shape
    modes = exponent.size
    tested = test.shape[0] > 0
    state = np.zeros((problems, cases, modes), dtype=np.complex128)
    middle = np.empty((stages, modes), dtype=np.complex128)
    sums = np.empty((2, stages), dtype=np.complex128)
    old = np.empty((2, stages), dtype=np.complex128)
    kick = np.empty(stages, dtype=np.complex128)
    matrix = np.empty((stages, stages))
    passed = np.empty((stages, stages))
    value = np.empty((cases, stages))
    for panel in range(panels):
        for i in range(stages):
            scale = length[panel] * root[i]
            for m in range(modes):
                x = 1 - scale.real * exponent[m].real + scale.imag * exponent[m].imag
                y = -scale.real * exponent[m].imag - scale.imag * exponent[m].real
                inverse = 1 / (x * x + y * y)
                middle[i, m] = complex(x * inverse, -y * inverse)
        for p in range(problems):
            for i in range(stages):
                a = complex(0.0)
                for m in range(modes):
                    a += train[p, m] * middle[i, m]
                sums[0, i] = a
                if tested:
                    a = complex(0.0)
                    for m in range(modes):
                        a += test[p, m] * middle[i, m]
                    sums[1, i] = a
            for j in range(stages):
                for k in range(stages):
                    a = complex(0.0)
                    b = complex(0.0)
                    for i in range(stages):
                        both = left[j, i] * push[i, k]
                        a += both * sums[0, i]
                        b += both * sums[1, i]
                    matrix[j, k] = -a.real * noise[panel, k]
                    passed[j, k] = b.real
                matrix[j, j] += 1
            for c in range(cases):
                for i in range(stages):
                    a = complex(0.0)
                    b = complex(0.0)
                    for m in range(modes):
                        kept = state[p, c, m] * middle[i, m]
                        a += train[p, m] * kept
                        if tested:
                            b += test[p, m] * kept
                    old[0, i] = start[i] * a
                    old[1, i] = start[i] * b
                for j in range(stages):
                    a = complex(0.0)
                    b = complex(0.0)
                    for i in range(stages):
                        a += left[j, i] * old[0, i]
                        b += left[j, i] * old[1, i]
                    value[c, j] = forcing[p, c, panel, j] + a.real
                    added[p, c, panel, j] = b.real
            # Gauss elimination: the noise of a panel is a small part of the loss, so that the diagonal leads.
            for k in range(stages):
                for j in range(k + 1, stages):
                    factor = matrix[j, k] / matrix[k, k]
                    for i in range(k + 1, stages):
                        matrix[j, i] -= factor * matrix[k, i]
                    for c in range(cases):
                        value[c, j] -= factor * value[c, k]
            for c in range(cases):
                for j in range(stages - 1, -1, -1):
                    for i in range(j + 1, stages):
                        value[c, j] -= matrix[j, i] * value[c, i]
                    value[c, j] /= matrix[j, j]
                    loss[p, c, panel, j] = value[c, j]
                for i in range(stages):
                    a = complex(0.0)
                    for j in range(stages):
                        a += push[i, j] * (value[c, j] * noise[panel, j])
                        if tested:
                            added[p, c, panel, i] += passed[i, j] * (value[c, j] * noise[panel, j])
                    kick[i] = a
                for m in range(modes):
                    a = complex(0.0)
                    b = state[p, c, m]
                    for i in range(stages):
                        a += left[stages - 1, i] * (start[i] * b + kick[i]) * middle[i, m]
                    state[p, c, m] = a


def at_times(
    time: FloatArray, series: FloatArray, asked: FloatArray, found: FloatArray
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Sum the powers (row, panel, power) of `scalingeq.theory.collocation.at_times`; the last argument takes them."""
    rows, panels, powers = series.shape
    for row in range(rows):
        panel = 0
        for i in range(asked.size):
            while panel < panels - 1 and asked[i] > time[panel + 1, 0]:
                panel += 1
            half = (time[panel, 1] - time[panel, 0]) / 2
            place = (asked[i] - time[panel, 0]) / half - 1
            total = series[row, panel, powers - 1]
            for power in range(powers - 2, -1, -1):
                total = total * place + series[row, panel, power]
            found[row, i] = total
