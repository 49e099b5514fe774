"""Times sorted into windows, each with frequencies of its own, and the equivalents at these frequencies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeAlias

import numpy as np

from scalingeq.theory import laplace
from scalingeq.theory.compiled import loops
from scalingeq.theory.curves import IntArray
from scalingeq.theory.equivalents import OnePoint, one_point_along
from scalingeq.theory.spectrum import AnySpectrum, ComplexArray, FloatArray, Nodes

#: Times of which the weights of the inverse transform are kept from one evaluation to the next.
KEPT_TIMES = 20_000
#: Times of which those of pairs of frequencies are kept, which take far more room.
KEPT_PAIRS = 1_000
#: Items from which on products of matrices are fastest one lead after the other, and their rows from which on they are
#: faster than a loop.
FEW_ITEMS, MANY_ROWS = 4, 64

Numbers: TypeAlias = IntArray | slice


@dataclass(frozen=True, eq=False)
class SortedTimes:
    """Positive times, in rows that are alike for all curves of a row, sorted into windows of frequencies that are scaled alike.

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
        Weights that turn transforms at the frequencies of the window into values at the time.
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
        """Layout of the windows of curves, which have the ``row`` (curve,) of times each; remembered as the times are."""
        return (_layout_before if self.place.size <= KEPT_TIMES else _layout)(self, np.ascontiguousarray(row).tobytes())

    @cached_property
    def real_weights(self) -> FloatArray:
        """Weights (time, part) of real and imaginary parts in turn.

        A real product of real and imaginary parts is half the work of a complex one.
        """
        return np.conj(self.weights).view(np.float64)

    @cached_property
    def _kept(self) -> dict[int, FloatArray]:
        return {}

    def real_pair_weights(self, window: int) -> FloatArray:
        """Those of pairs of frequencies at the times of a window."""
        if window in self._kept:
            return self._kept[window]
        real = real_pair_weights(self.weights[self.first[window] : self.first[window + 1]])
        if self.place.size <= KEPT_PAIRS:
            self._kept[window] = real
        return real


@dataclass(frozen=True, eq=False)
class Layout:
    """The windows of curves, one after the other.

    Attributes
    ----------
    times : SortedTimes
        What they are windows of.
    row : ndarray of int, shape (curve,)
        Row of times of each curve.
    curve, window : ndarray of int, shape (item,)
        Curve and window of each item.
    start : ndarray of int, shape (curve,)
        First item of each curve.
    """

    times: SortedTimes
    row: IntArray
    curve: IntArray
    window: IntArray
    start: IntArray

    @property
    def curves(self) -> int:
        """Number of curves."""
        return self.row.size

    @cached_property
    def parts(self) -> list[tuple[int, Numbers, tuple[Numbers, ...]]]:
        """Windows, each with the items of all curves that have it, and where their times stand among the values."""
        times = self.times
        parts: list[tuple[int, Numbers, tuple[Numbers, ...]]] = []
        for one in np.unique(self.row):
            curves = np.flatnonzero(self.row == one)
            for number, window in enumerate(np.flatnonzero(times.row == one).tolist()):
                place = times.place[times.first[window] : times.first[window + 1]]
                of_curves, of_times = as_slice(curves), as_slice(place)
                if not (isinstance(of_curves, slice) or isinstance(of_times, slice)):
                    of_curves = curves[:, None]
                parts.append((window, as_slice(self.start[curves] + number), (slice(None), of_curves, of_times)))
        return parts


def _layout(times: SortedTimes, rows: bytes) -> Layout:
    row = np.frombuffer(rows, dtype=np.int64)
    count = np.bincount(times.row, minlength=int(row.max(initial=0)) + 1)
    begin = np.cumsum(count) - count
    curve = np.repeat(np.arange(row.size), count[row])
    start = np.cumsum(count[row]) - count[row]
    return Layout(times, row, curve, np.arange(curve.size) - start[curve] + begin[row[curve]], start)


_layout_before = lru_cache(maxsize=64)(_layout)


def as_slice(numbers: IntArray) -> Numbers:
    """A slice, which takes no time to look up, where numbers are evenly spaced."""
    step = int(numbers[1] - numbers[0]) if numbers.size > 1 else 1
    if step > 0 and (np.diff(numbers) == step).all():
        return slice(int(numbers[0]), int(numbers[-1]) + 1, step)
    return numbers


def sort_times(time: FloatArray, last: float | None = None) -> SortedTimes:
    """Sort the positive ones of times (row, time) into windows; those of the last evaluations are remembered.

    One of the windows ends at ``last``, which is the last of all times where it is not given: as few windows as can be
    hold those up to there.
    """
    time = np.ascontiguousarray(time)
    return (_sorted_before if time.size <= KEPT_TIMES else _sorted)(time.tobytes(), time.shape[1], last)


def _sorted(content: bytes, columns: int, last: float | None) -> SortedTimes:
    time = np.frombuffer(content).reshape(-1, columns)
    last = float(time.max(initial=0.0)) if last is None else last
    row, place = np.nonzero(time)
    value = time[row, place]
    number = np.ceil(np.log(last / value) / np.log(laplace.WINDOW) - 1e-9).astype(np.int64) - 1
    number = np.maximum(number, np.where(value > last, -1024, 0))
    key = row * 2048 + number + 1024  # there are far fewer windows in double precision
    order = np.argsort(key, kind="stable")
    windows, first = np.unique(key[order], return_index=True)
    end = last * laplace.WINDOW ** (1024.0 - windows % 2048)
    ends = np.repeat(end, np.diff(np.append(first, key.size)))
    weights = laplace.propagate(value[order] / ends) / ends[:, None]
    return SortedTimes(end, windows // 2048, np.append(first, key.size), place[order], weights)


_sorted_before = lru_cache(maxsize=16)(_sorted)


def invert(times: SortedTimes, layout: Layout, transform: ComplexArray, values: FloatArray, first: int = 0) -> None:
    """Add the inverse of ``transform`` (lead, item, frequency) to ``values`` (lead, curve, time) from a curve on."""
    flat, weights = transform.view(np.float64), times.real_weights
    compiled = loops()
    if compiled is not None and len(flat) * layout.curves < MANY_ROWS:
        compiled.invert(flat, layout.curve, layout.window, times.first, times.place, weights, first, values)
        return
    own_values = values[:, first : first + layout.curves]
    for window, items, where in layout.parts:
        own_values[where] += _product(flat[:, items], weights[times.first[window] : times.first[window + 1]])


def invert_pairs(
    times: SortedTimes, layout: Layout, transform: Callable[[Numbers], ComplexArray], columns: int
) -> FloatArray:
    """Inverse, as that of `invert`, of a transform in two frequencies.

    ``transform`` gives that of some items (lead, item, pair) at the pairs of `scalingeq.theory.laplace.pairs`. It is
    asked for those of one window at a time, so that they stay in the processor's cache.
    """
    values = np.zeros((0, layout.curves, columns))
    for window, items, where in layout.parts:
        weights = times.real_pair_weights(window)
        inverse = inverse_of_pairs(transform(items), weights)
        if not len(values):
            values = np.zeros((len(inverse), *values.shape[1:]))
        values[where] = inverse
    return values


def real_pair_weights(weights: ComplexArray) -> FloatArray:
    """Weights (time, part) of pairs of frequencies, of real and imaginary parts in turn, from those of one frequency."""
    return np.conj(laplace.pair_weights(weights)).view(np.float64)


def inverse_of_pairs(transform: ComplexArray, weights: FloatArray) -> FloatArray:
    """Inverse (lead, item, time) of a transform (lead, item, pair); ``weights`` as `real_pair_weights` gives them."""
    parts = transform.view(np.float64)
    compiled = loops()
    if compiled is None:
        return _product(parts, weights)
    values = np.empty((*parts.shape[:2], len(weights)))
    compiled.product(np.ascontiguousarray(parts).reshape(-1, parts.shape[2]), weights, values.reshape(-1, len(weights)))
    return values


def _product(parts: FloatArray, weights: FloatArray) -> FloatArray:
    """Product (lead, item, time) of transforms (lead, item, part) and weights (time, part)."""
    if parts.shape[1] >= FEW_ITEMS:
        return parts @ weights.T
    return np.asarray((parts.reshape(-1, parts.shape[2]) @ weights.T).reshape(*parts.shape[:2], -1))


def equivalents(
    end: FloatArray, per_width: FloatArray, per_sample: FloatArray, spectrum: AnySpectrum, *, ridge: float = 0.0,
    polish: bool = False,
) -> tuple[OnePoint, IntArray, Nodes]:  # fmt: skip
    """One-point equivalents (row, frequency) at the frequencies, moved by ``ridge``, of windows with ``end`` (item,).

    Windows and sizes that are alike share a row. Also the row of each item, and the nodes that serve them.
    """
    rows: dict[tuple[float, float, float], int] = {}
    keys = zip(end.tolist(), per_width.tolist(), per_sample.tolist(), strict=True)
    row = [rows.setdefault(key, len(rows)) for key in keys]
    if len(rows) < len(row):
        end, per_width, per_sample = np.array(list(rows)).T.copy()
    path = ridge + laplace.FREQUENCIES / end[:, None]
    nodes = spectrum.nodes(float(np.abs(path).min()))
    point = one_point_along(path, nodes, per_width, per_sample, polish, copies=ridge == 0)
    return point, np.array(row), nodes


def take(point: OnePoint, row: IntArray) -> OnePoint:
    """Equivalents of some rows."""
    if row.size == len(point.s) and (row == np.arange(row.size)).all():
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
    values = np.zeros((1, 1, columns))
    invert(times, layout, np.ascontiguousarray(transform)[None], values)
    return np.asarray(values[0, 0])


def invert_one_of_pairs(times: SortedTimes, transform: ComplexArray, columns: int) -> FloatArray:
    """Inverse, at the times of one problem, of ``transform`` (window, pair)."""
    layout = times.curves(np.zeros(1, dtype=np.int64))
    return np.asarray(invert_pairs(times, layout, lambda items: transform[None, items], columns)[0, 0])
