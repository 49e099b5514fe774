"""Times sorted into windows, each with a contour of its own, and the equivalents on these contours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scalingeq.theory import laplace
from scalingeq.theory.curves import IntArray
from scalingeq.theory.equivalents import OnePoint, one_point_along
from scalingeq.theory.spectrum import AnySpectrum, ComplexArray, FloatArray

#: Elements of the arrays (time, frequency) that one pass of the inverse transform works on.
CHUNK = 200_000


class SortedTimes(NamedTuple):
    """Times of several curves sorted into windows, each window of each curve once.

    Attributes
    ----------
    number, problem, curve : ndarray of int, shape (pair,)
        Window, problem and curve of each pair of curve and window.
    phase : ndarray, shape (time,)
        Times in units of their window's end.
    pair : ndarray of int, shape (time,)
        Pair that each time belongs to.
    """

    number: IntArray
    problem: IntArray
    curve: IntArray
    phase: FloatArray
    pair: IntArray

    @property
    def end(self) -> FloatArray:
        """End of the window of each pair."""
        return laplace.WINDOW ** self.number.astype(np.float64)


def sort_times(time: FloatArray, curve: IntArray, problem: IntArray) -> SortedTimes:
    """Sort times (time,) of curves (time,); ``problem`` (curve,) numbers the problem of each curve."""
    number, phase = laplace.windows(time)
    # One integer stands for curve and window: there are far fewer than 2048 windows in double precision.
    key, pair = np.unique(curve * 2048 + number + 1024, return_inverse=True)
    return SortedTimes(key % 2048 - 1024, problem[key // 2048], key // 2048, phase, pair.reshape(-1))


def invert(times: SortedTimes, transform: ComplexArray) -> FloatArray:
    """Values at the times of the inverse of ``transform`` (pair, frequency)."""
    values = np.empty(times.phase.size)
    end = times.end
    step = CHUNK // laplace.NODES
    for i in range(0, values.size, step):
        pair = times.pair[i : i + step]
        values[i : i + step] = laplace.inverse_one(times.phase[i : i + step], end[pair], transform[pair])
    return values


def equivalents(
    times: SortedTimes, per_width: FloatArray, per_sample: FloatArray, spectrum: AnySpectrum, ridge: float = 0.0
) -> tuple[OnePoint, IntArray]:
    """One-point equivalents (row, frequency) on the contour, moved by ``ridge``, of each window of each problem.

    Also the row of each pair; the sizes are given for each pair.
    """
    _, first, row = np.unique(times.problem * 2048 + times.number + 1024, return_index=True, return_inverse=True)
    path = ridge + laplace.hyperbola().frequency / times.end[first, None]
    nodes = spectrum.nodes(float(np.abs(path).min()))
    return one_point_along(path, nodes, per_width[first], per_sample[first], polish=True), row.reshape(-1)


def take(point: OnePoint, row: IntArray) -> OnePoint:
    """Equivalents of some rows."""
    return OnePoint._make(field[row] for field in point)


def of_one_problem(
    time: FloatArray, spectrum: AnySpectrum, per_width: float, per_sample: float
) -> tuple[SortedTimes, OnePoint]:
    """Positive times (time,) of one problem, sorted, and the one-point equivalents (pair, frequency) of its windows."""
    zero = np.zeros(time.size, dtype=np.int64)
    times = sort_times(time, zero, zero)
    sizes = np.ones(times.number.size)
    point, row = equivalents(times, sizes * per_width, sizes * per_sample, spectrum)
    return times, take(point, row)
