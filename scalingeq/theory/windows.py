"""Times sorted into windows, each with a contour of its own, and the equivalents on these contours."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from scalingeq.theory import laplace
from scalingeq.theory.curves import IntArray
from scalingeq.theory.equivalents import OnePoint, one_point_along
from scalingeq.theory.spectrum import AnySpectrum, ComplexArray, FloatArray, Nodes

#: Times of which the weights of the inverse transform are kept from one evaluation to the next.
KEPT_TIMES = 20_000


class SortedTimes(NamedTuple):
    """Positive times, in rows that are alike for all curves of a row, sorted into windows of one scaled contour.

    Attributes
    ----------
    end : ndarray, shape (window,)
        End of each window of each row; the first rows come first.
    row : ndarray of int, shape (window,)
        Row of each window.
    first : ndarray of int, shape (window + 1,)
        Where the times of each window begin, and their number.
    place : ndarray of int, shape (time,)
        Where in its row each time stood.
    weights : ndarray of complex, shape (time, frequency)
        Weights that turn transforms on the contour of the window into values at the time, but for its end.
    """

    end: FloatArray
    row: IntArray
    first: IntArray
    place: IntArray
    weights: ComplexArray

    @property
    def window_of_times(self) -> IntArray:
        """Window (time,) of each time of a single row."""
        window = np.empty(self.place.size, dtype=np.int64)
        window[self.place] = np.repeat(np.arange(self.end.size), np.diff(self.first))
        return window

    def curves(self, row: IntArray) -> Layout:
        """Layout of the windows of curves, which have the ``row`` (curve,) of times each."""
        count = np.bincount(self.row, minlength=int(row.max(initial=0)) + 1)
        begin = np.cumsum(count) - count
        curve = np.repeat(np.arange(row.size), count[row])
        start = np.cumsum(count[row]) - count[row]
        return Layout(curve, np.arange(curve.size) - start[curve] + begin[row[curve]], start, row)


class Layout(NamedTuple):
    """The windows of curves, one after the other.

    Attributes
    ----------
    curve, window : ndarray of int, shape (item,)
        Curve and window of each item.
    start : ndarray of int, shape (curve,)
        First item of each curve.
    row : ndarray of int, shape (curve,)
        Row of times of each curve.
    """

    curve: IntArray
    window: IntArray
    start: IntArray
    row: IntArray


def sort_times(time: FloatArray) -> SortedTimes:
    """Sort the positive ones of times (row, time) into windows; those of the last evaluations are remembered."""
    time = np.ascontiguousarray(time)
    return (_sorted_before if time.size <= KEPT_TIMES else _sorted)(time.tobytes(), time.shape[1])


def _sorted(content: bytes, columns: int) -> SortedTimes:
    time = np.frombuffer(content).reshape(-1, columns)
    row, place = np.nonzero(time)
    value = time[row, place]
    last = value.max(initial=0.0)
    # Counted from the last time down, so that as few windows as can be hold all.
    number = np.maximum(np.ceil(np.log(last / value) / np.log(laplace.WINDOW) - 1e-9).astype(np.int64) - 1, 0)
    key = row * 2048 + number  # there are far fewer windows in double precision
    order = np.argsort(key, kind="stable")
    windows, first = np.unique(key[order], return_index=True)
    end = last * laplace.WINDOW ** -(windows % 2048).astype(np.float64)
    number_of_times = np.diff(np.append(first, key.size))
    phase = value[order] / np.repeat(end, number_of_times)
    return SortedTimes(end, windows // 2048, np.append(first, key.size), place[order], laplace.propagate(phase))


_sorted_before = lru_cache(maxsize=16)(_sorted)


def invert(times: SortedTimes, layout: Layout, transform: ComplexArray, columns: int) -> FloatArray:
    """Inverse of ``transform`` (..., item, frequency) as values (..., curve, time), which are 0 at times 0.

    A transform (..., item, 2, pair) in two frequencies is given at the pairs of `scalingeq.theory.laplace.pairs`.
    """
    two = transform.shape[-2:] == (2, laplace.pairs()[0].size)
    if two:
        transform = transform.reshape(*transform.shape[:-2], -1)
    lead = transform.shape[:-2]
    flat = np.ascontiguousarray(transform).reshape(-1, *transform.shape[-2:])
    values = np.zeros((len(flat), layout.row.size, columns))
    for row in np.unique(layout.row):
        curves = np.flatnonzero(layout.row == row)
        windows = np.flatnonzero(times.row == row)
        for number, window in enumerate(windows):
            part = slice(times.first[window], times.first[window + 1])
            weights = times.weights[part]
            end = times.end[window]
            if two:
                weights, end = laplace.pair_weights(weights).reshape(len(weights), -1), end * end
            items = flat[:, layout.start[curves] + number].reshape(-1, flat.shape[-1]).view(np.float64)
            # A real product of real and imaginary parts is half the work of a complex one.
            inverse = items @ np.conj(weights).view(np.float64).T / end
            values[:, curves[:, None], times.place[part]] = inverse.reshape(len(flat), curves.size, -1)
    return values.reshape(*lead, layout.row.size, columns)


def equivalents(
    end: FloatArray, per_width: FloatArray, per_sample: FloatArray, spectrum: AnySpectrum, *, ridge: float = 0.0,
    polish: bool = False,
) -> tuple[OnePoint, IntArray, Nodes]:  # fmt: skip
    """One-point equivalents (row, frequency) on the contours, moved by ``ridge``, of windows with ``end`` (item,).

    Windows and sizes that are alike share a row. Also the row of each item, and the nodes that serve them.
    """
    # Sorting complex numbers sorts pairs.
    _, size = np.unique(per_width + 1j * per_sample, return_inverse=True)
    _, first, row = np.unique(end + 1j * size.reshape(-1), return_index=True, return_inverse=True)
    path = ridge + laplace.hyperbola().frequency / end[first, None]
    nodes = spectrum.nodes(float(np.abs(path).min()))
    point = one_point_along(path, nodes, per_width[first], per_sample[first], polish)
    return point, row.reshape(-1), nodes


def take(point: OnePoint, row: IntArray) -> OnePoint:
    """Equivalents of some rows."""
    if np.array_equal(row, np.arange(len(point.s))):
        return point
    return OnePoint._make(field[row] for field in point)


def of_one_problem(
    time: FloatArray, spectrum: AnySpectrum, per_width: float, per_sample: float
) -> tuple[SortedTimes, OnePoint]:
    """Positive times (time,) of one problem, sorted, and the one-point equivalents (window, frequency)."""
    times = sort_times(time[None])
    sizes = np.ones(times.end.size)
    point, row, _ = equivalents(times.end, sizes * per_width, sizes * per_sample, spectrum, polish=True)
    return times, take(point, row)


def invert_one(times: SortedTimes, transform: ComplexArray, columns: int) -> FloatArray:
    """Inverse, at the times of one problem, of ``transform`` (window, frequency)."""
    layout = times.curves(np.zeros(1, dtype=np.int64))
    return np.asarray(invert(times, layout, transform, columns)[0])
