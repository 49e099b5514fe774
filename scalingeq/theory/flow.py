"""The loss of gradient flow with the noise of minibatches, and its derivatives, of many curves at once.

Values and derivatives (1 + parameter, ...) come in one array, the value first; the parameters are those of the spectrum,
one over the width, one over the number of samples, the noise variance, the noise rate and the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from scalingeq.theory import laplace
from scalingeq.theory.compiled import loops
from scalingeq.theory.curves import Curves, IntArray
from scalingeq.theory.equivalents import OnePoint, forcing_one_point, kernel_one_point
from scalingeq.theory.scratch import scratch
from scalingeq.theory.sensitivities import OnePointSlopes, node_slopes, one_point_slopes, two_points
from scalingeq.theory.spectrum import AnySpectrum, ComplexArray, FloatArray
from scalingeq.theory.stability import edge_bound
from scalingeq.theory.two_frequency import KernelGrids, kernel_grids
from scalingeq.theory.volterra import noisy_loss
from scalingeq.theory.windows import (
    Layout,
    SortedTimes,
    as_slice,
    equivalents,
    inverse_of_pairs,
    invert,
    sort_times,
)

#: Curves whose transforms are worked on at once, so that they stay in the processor's cache.
CURVES_AT_ONCE = 32
#: Rows whose pairs of frequencies are worked on at once, unless more have the same end of their window.
PAIRS_AT_ONCE = 32


class Equivalents(NamedTuple):
    """Equivalents at the frequencies of windows, and their derivatives where they are wanted.

    Attributes
    ----------
    point : OnePoint
        Equivalents (row, frequency).
    slopes : OnePointSlopes or None
        Their derivatives.
    power : float
        Loss of the untrained model, without label noise.
    """

    point: OnePoint
    slopes: OnePointSlopes | None
    power: float

    @property
    def parameters(self) -> int:
        """Number of derivatives of a loss."""
        return 0 if self.slopes is None else len(self.slopes.names) + 2

    @property
    def of_kernels(self) -> IntArray:
        """Numbers of the value and of those derivatives that test kernels have.

        What leaves the renormalised frequency where it is moves the target alone.
        """
        moves = () if self.slopes is None else self.slopes.kappa2[:-1, 0, 0] != 0
        return np.flatnonzero([True, *moves])


def one_frequency_loss(curves: Curves, spectrum: AnySpectrum, jacobian: bool) -> FloatArray:
    """Train loss, or that of one pass, (1 or 1 + parameter, curve, time) at positive times, and 0 at times 0."""
    times = sort_times(2 * curves.grid)
    layout = times.curves(curves.which)
    end, whose = times.end[layout.window], layout.curve
    of, row = _equivalents(
        end, curves.per_width[whose], curves.per_sample[whose], spectrum, end.size if jacobian else 0, polish=False
    )
    values = np.zeros((1 + of.parameters, curves.which.size, curves.grid.shape[1]))
    # Curves may share their equivalents; their transforms and derivatives would not fit into the cache together.
    for first in range(0, curves.which.size, CURVES_AT_ONCE):
        own = curves.which[first : first + CURVES_AT_ONCE]
        items = slice(*np.searchsorted(whose, (first, first + own.size)))
        train = _train_loss(of, row[items], curves, whose[items])
        invert(times, times.curves(own), train, values, first)
    return values


def two_frequency_loss(curves: Curves, spectrum: AnySpectrum, jacobian: bool, noise: bool) -> FloatArray:
    """Test loss with finite data (1 or 1 + parameter, curve, time) at positive times, and 0 at times 0.

    It is the test forcing and, with noise, the test kernel on the train loss. Without ``noise`` derivatives with respect to
    its rate are left 0 where there is none.
    """
    noisy = bool(curves.noise_rate.any())
    if not (noisy or noise):
        return forcing_loss(curves, spectrum, jacobian)
    problem, sizes = curves.problems
    # One set of windows serves the forcing, the kernel, and the train loss, which is wanted at twice the times. Without
    # noise they are those of `forcing_loss`.
    wanted, last = np.concatenate([curves.grid, 2 * curves.grid]), (1 + noisy) * float(curves.grid.max())
    bound = edge_bound(spectrum, curves.per_width.max(), curves.per_sample.max())
    times, grids = sort_times(wanted, last), kernel_grids(last, bound)
    forced, driven = times.curves(curves.which), times.curves(curves.which + len(curves.grid))
    problems, windows = np.divmod(np.arange(len(sizes) * grids.end.size), grids.end.size)
    end = np.concatenate([times.end[forced.window], grids.end[windows], times.end[driven.window]])
    per_width, per_sample = sizes[np.concatenate([problem[forced.curve], problems, problem[driven.curve]])].T
    # Without noise, derivatives of the kernel and of the train loss are not felt.
    moving = end.size if noisy else forced.curve.size
    of, row = _equivalents(end, per_width, per_sample, spectrum, moving if jacobian else 0)
    moved = of if noisy else of._replace(slopes=None)
    row_forced, row_driven = row[: forced.curve.size], row[row.size - driven.curve.size :]
    row_fed = row[forced.curve.size : row.size - driven.curve.size].reshape(len(sizes), -1)
    values = np.zeros((1 + of.parameters, curves.which.size, curves.grid.shape[1]))
    kernel = np.zeros((max(1, moved.parameters - 2), *row_fed.shape, grids.phase.size))
    numbers = moved.of_kernels
    blocks = _blocks(of.point, int(row_forced.min()), int(row_forced.max()) + 1, int(row[:moving].max()) + 1)
    for rows, pairs in two_points(of.point, of.slopes, blocks):
        _forcing_at(rows, pairs, of, row_forced, times, forced, curves, values)
        _kernel_at(rows, pairs[0], moved, numbers, row_fed, grids, kernel)
    _with_noise_rate(values)
    train = _train_loss(moved, row_driven, curves, driven.curve)
    window = driven.window - driven.window.min()
    p, resolvent = _resolvents(times.end[driven.window.min() :].tobytes(), grids.rate.tobytes())
    # The kernels' transforms (1 + parameter, problem, window, frequency).
    amplitude = grids.amplitudes(kernel.reshape(*kernel.shape[:2], -1))
    transform = (amplitude @ resolvent).view(np.complex128).reshape(*amplitude.shape[:2], *p.shape)
    transform = transform[:, problem[driven.curve], window]
    if not noisy:
        invert(times, driven, train * transform, values[-2:-1])
        return values
    rate = curves.noise_rate[driven.curve, None]
    added = train * (rate * transform[0])
    if jacobian:
        added[1 : len(transform)] += rate * train[0] * transform[1:]
        added[-2] += train[0] * transform[0]
        added[-1] = p[window] * added[0]
    invert(times, driven, added, values)
    return values


@lru_cache(maxsize=8)
def _resolvents(ends: bytes, rates: bytes) -> tuple[ComplexArray, FloatArray]:
    """Frequencies (window, frequency), doubled, of windows, and what turns amplitudes of exponentials into transforms.

    The latter (term, window * frequency * 2) has real and imaginary parts in turn.
    """
    p = 2 * laplace.FREQUENCIES / np.frombuffer(ends)[:, None]
    return p, (1 / (np.frombuffer(rates)[:, None] + p.ravel())).view(np.float64)


def forcing_loss(curves: Curves, spectrum: AnySpectrum, jacobian: bool) -> FloatArray:
    """What `two_frequency_loss` gives without noise, for which the derivative with respect to its rate is left 0."""
    times = sort_times(curves.grid)
    layout = times.curves(curves.which)
    end, whose = times.end[layout.window], layout.curve
    of, row = _equivalents(
        end, curves.per_width[whose], curves.per_sample[whose], spectrum, end.size if jacobian else 0
    )
    values = np.zeros((1 + of.parameters, curves.which.size, curves.grid.shape[1]))
    for rows, pairs in two_points(of.point, of.slopes, _blocks(of.point, 0, len(of.point.s), len(of.point.s))):
        _forcing_at(rows, pairs, of, row, times, layout, curves, values)
    _with_noise_rate(values)
    return values


def test_kernel_amplitudes(
    grids: KernelGrids, per_width: FloatArray, per_sample: FloatArray, spectrum: AnySpectrum
) -> FloatArray:
    """Amplitudes (1 + parameter of spectrum and sizes, problem, term) of test kernels as sums of exponentials."""
    windows = grids.end.size
    end = np.tile(grids.end, per_width.size)
    of, row = _equivalents(end, per_width.repeat(windows), per_sample.repeat(windows), spectrum, end.size)
    row = row.reshape(per_width.size, windows)
    kernel, numbers = np.zeros((of.parameters - 2, *row.shape, grids.phase.size)), of.of_kernels
    for rows, pairs in two_points(of.point, of.slopes, _blocks(of.point, 0, 0, len(of.point.s))):
        _kernel_at(rows, pairs[0], of, numbers, row, grids, kernel)
    return grids.amplitudes(kernel.reshape(*kernel.shape[:2], -1))


def _with_noise_rate(values: FloatArray) -> None:
    """Put the derivative with respect to the noise rate, which is 0 without noise, before that with respect to time."""
    if len(values) > 1:
        values[-1] = values[-2]
        values[-2] = 0.0


def _blocks(point: OnePoint, begin: int, forced: int, moved: int) -> Iterator[tuple[slice, bool, bool]]:
    """Blocks for `two_points` of whole windows, from row ``begin`` on.

    Signals are wanted up to row ``forced``, derivatives up to row ``moved``.
    """
    end, count = point.s[:, 0].real.tolist(), len(point.s)
    windows = [row for row in range(begin + 1, count) if end[row] != end[row - 1]] + [count]
    for window, following in zip(windows, [*windows[1:], count + PAIRS_AT_ONCE], strict=True):
        if window in (forced, moved) or following - begin > PAIRS_AT_ONCE:
            yield slice(begin, window), begin < forced, begin < moved
            begin = window


def _forcing_at(
    rows: slice,
    pairs: ComplexArray,
    of: Equivalents,
    row: IntArray,
    times: SortedTimes,
    layout: Layout,
    curves: Curves,
    values: FloatArray,
) -> None:
    """Test loss without noise, and its derivatives but that with respect to the noise rate, at the times of windows.

    They become the first of ``values`` (1 or 1 + parameter, curve, time).
    """
    loss = values[: of.parameters or 1]
    for window, items, where in layout.parts:
        own = row[items]
        if rows.start <= own[0] < rows.stop:
            end, noise = times.end[window], curves.noise_variance[layout.curve[items]]
            transform = _forcing(of, rows, pairs, own, noise, end)
            loss[where] = inverse_of_pairs(transform, times.real_pair_weights(window))


def _kernel_at(
    rows: slice,
    variance: ComplexArray,
    of: Equivalents,
    numbers: IntArray,
    row: IntArray,
    grids: KernelGrids,
    kernel: FloatArray,
) -> None:
    """Test kernel (1 or 1 + parameter of spectrum and sizes, problem, window, phase) at the times of its grid.

    ``variance`` is that of `two_points` of ``rows``; derivatives without one of the ``numbers`` are left as they are.
    """
    some = slice(*row[0].searchsorted((rows.start, rows.stop)))
    own = row[:, some]
    if own.size:
        transform = _kernel(of, rows, variance, numbers, own.ravel())
        inverse = inverse_of_pairs(transform, grids.weights)
        kernel[numbers, :, some] = inverse.reshape(len(inverse), *own.shape, -1) / grids.end[some, None] ** 2


def _equivalents(
    end: FloatArray,
    per_width: FloatArray,
    per_sample: FloatArray,
    spectrum: AnySpectrum,
    moving: int,
    polish: bool = True,
) -> tuple[Equivalents, IntArray]:
    """Equivalents of windows with ``end`` (item,), and the row of each item.

    There are derivatives for the rows up to the last of the first ``moving`` items, of which there may be none.
    """
    # Pairs of frequencies are worked on in blocks of rows with the same end of their window.
    order = np.argsort(-end, kind="stable") if polish else slice(None)
    point, ordered, nodes = equivalents(end[order], per_width[order], per_sample[order], spectrum, polish=polish)
    row = np.empty_like(ordered)
    row[order] = ordered
    slopes = None
    if moving:
        of_nodes = node_slopes(spectrum, float(np.abs(point.s).min()))
        some = OnePoint._make(field[: row[:moving].max() + 1] for field in point)
        slopes = one_point_slopes(some, nodes, of_nodes, pairs=polish)
    return Equivalents(point, slopes, spectrum.power), row


def _train_loss(of: Equivalents, row: IntArray, curves: Curves, whose: IntArray) -> ComplexArray:
    """Transform (1 or 1 + parameter, item, frequency) at twice the time of the train loss, of ``row`` and ``whose``."""
    point, slopes = of.point, of.slopes
    compiled = loops()
    if compiled is not None:
        moved = [np.empty((0, *point.s.shape), dtype=np.complex128)] * 5
        if slopes is not None:
            moved = [field[:-1] for field in slopes[1:6]]
        out = scratch("train losses", (1 + of.parameters, row.size, point.s.shape[1]))
        compiled.train(
            *point[:6], *point[-2:], *moved, of.power, row, curves.noise_variance[whose], curves.noise_rate[whose], out
        )
        return out
    noise, rate = curves.noise_variance[whose, None], curves.noise_rate[whose, None]
    unit, kernel = (1 / point.kappa1)[row], kernel_one_point(point)[row]
    forcing = forcing_one_point(point, 0.0)[row] + noise * unit
    loss = noisy_loss(forcing, kernel, rate)
    if slopes is None:
        return loss[None]
    resolved = 1 / (1 - rate / 2 * kernel)
    out = scratch("train losses", (1 + of.parameters, *loss.shape))
    kappa2, kappa1, degrees, power, squares = (field[:-1] for field in slopes[1:6])
    out[0] = loss
    forced = (kappa2 * point.power + point.kappa2 * power) / point.kappa1
    # The kernel is Tr Sigma - s df, and the trace is squares + kappa2 df.
    fed = squares + kappa2 * point.degrees + (point.kappa2 - point.s) * degrees
    out[1:-3] = resolved * (forced[:, row] - forcing * (kappa1 / point.kappa1)[:, row])
    out[1:-3] += rate / 2 * loss * resolved * fed[:, row]
    out[-3] = resolved * unit
    out[-2] = loss * kernel / 2 * resolved
    out[-1] = 2 * (point.s[row] * loss - of.power - noise)  # without the jump at the start
    return out


def _forcing(
    of: Equivalents, rows: slice, pairs: ComplexArray, row: IntArray, noise_variance: FloatArray, end: float
) -> ComplexArray:
    """Transform (1 or parameter, item, pair) of the test forcing of the window with ``end`` at the ``row`` of items.

    ``pairs`` are those of `two_points` of ``rows``, among which are those of the items. The noise rate is none of the
    parameters.
    """
    parameters, (total, over) = pairs.shape[1] - 1, laplace.pair_factors()
    own, per_sample = row - rows.start, of.point.per_sample[rows]
    out = scratch("losses of pairs", (3 + parameters if parameters else 1, row.size, over.size))
    compiled = loops()
    if compiled is not None:
        compiled.forcing(pairs, per_sample, of.power, own, noise_variance, total, over, end, out)
        return out
    total, over = total / end, over * end**2
    noise, per_sample = noise_variance[:, None], per_sample[own]
    variance, signal = pairs[:, :, as_slice(own)]
    resolved = 1 / (1 - variance[0] * per_sample)
    unit = resolved * over
    value = (signal[0] + noise) * unit
    out[0] = value
    if parameters:
        moved = variance[1:] * per_sample
        moved[-1] += variance[0]
        moved *= value * resolved
        slopes = out[1:-2]
        np.multiply(signal[1:], unit, out=slopes)
        slopes += moved
        out[-2] = unit
        out[-1] = total * (value - (of.power + noise) * over)  # without the jump at the start
    return out


def _kernel(of: Equivalents, rows: slice, variance: ComplexArray, numbers: IntArray, row: IntArray) -> ComplexArray:
    """Transform (number, item, pair) of the test kernel, and its derivatives with ``numbers``, at the ``row`` of items.

    ``variance`` is that of `two_points` of ``rows``, among which are those of the items. The last of several derivatives
    is that with respect to one over the number of samples.
    """
    own, per_sample = row - rows.start, of.point.per_sample[rows]
    out = scratch("losses of pairs", (len(numbers), row.size, variance.shape[2]))
    compiled = loops()
    if compiled is not None:
        compiled.kernel(variance, numbers, per_sample, own, out)
        return out
    variance = variance[:, as_slice(own)]
    resolved = 1 / (1 - variance[0] * per_sample[own])
    value = variance[0] * resolved
    out[0] = value
    if len(out) > 1:
        square = resolved * resolved
        for slope, number in zip(out[1:], numbers[1:], strict=True):
            np.multiply(variance[number], square, out=slope)
        out[-1] += value * value
    return out
