"""The loss of gradient flow with the noise of minibatches, and its derivatives, of many curves at once.

Values and derivatives (1 + parameter, ...) come in one array, the value first; the parameters are those of the spectrum,
one over the width, one over the number of samples, the noise variance, the noise rate and the time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from scalingeq.theory import laplace
from scalingeq.theory.compiled import loops
from scalingeq.theory.curves import Curves, IntArray
from scalingeq.theory.equivalents import (
    OnePoint,
    forcing_one_point,
    kernel_one_point,
)
from scalingeq.theory.sensitivities import (
    OnePointSlopes,
    node_slopes,
    one_point_slopes,
    two_points,
)
from scalingeq.theory.spectrum import AnySpectrum, ComplexArray, FloatArray
from scalingeq.theory.stability import edge_bound
from scalingeq.theory.two_frequency import KernelGrids, kernel_grids
from scalingeq.theory.volterra import noisy_loss
from scalingeq.theory.windows import (
    Layout,
    Numbers,
    SortedTimes,
    equivalents,
    invert,
    invert_pairs,
    sort_times,
)

#: Curves whose transforms are worked on at once, and those with derivatives, so that they stay in the processor's cache.
CURVES_AT_ONCE, CURVES_WITH_DERIVATIVES = 16, 8
#: No factor at all pairs of frequencies.
UNIT = np.ones((2, laplace.pairs()[0].size), dtype=np.complex128)


class Equivalents(NamedTuple):
    """Equivalents on contours, and their derivatives where they are wanted.

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


def one_frequency_loss(curves: Curves, spectrum: AnySpectrum, jacobian: bool) -> FloatArray:
    """Train loss, or that of one pass, (1 or 1 + parameter, curve, time) at positive times, and 0 at times 0."""
    times = sort_times(2 * curves.grid)
    layout = times.curves(curves.which)
    end, whose = times.end[layout.window], layout.curve
    of, row = _equivalents(end, curves.per_width[whose], curves.per_sample[whose], spectrum, jacobian, polish=False)
    values = np.zeros((1 + of.parameters, curves.which.size, curves.grid.shape[1]))
    # Curves may share their equivalents; their transforms and derivatives would not fit into the cache together.
    together = CURVES_WITH_DERIVATIVES if jacobian else CURVES_AT_ONCE
    for first in range(0, curves.which.size, together):
        own = curves.which[first : first + together]
        items = slice(*np.searchsorted(whose, (first, first + own.size)))
        train = _train_loss(of, row[items], curves, whose[items])
        invert(times, times.curves(own), train, values, first)
    return values


def two_frequency_loss(curves: Curves, spectrum: AnySpectrum, jacobian: bool) -> FloatArray:
    """Test loss with finite data (1 or 1 + parameter, curve, time) at positive times, and 0 at times 0.

    It is the test forcing and, with noise, the test kernel on the train loss.
    """
    columns, rows = curves.grid.shape[1], len(curves.grid)
    noisy = bool(curves.noise_rate.any())
    if not (noisy or jacobian):
        return forcing_loss(curves, spectrum, jacobian)
    problem, sizes = curves.problems
    bound = edge_bound(spectrum, curves.per_width.max(), curves.per_sample.max())
    grids = kernel_grids(float(curves.grid.max()), bound)
    # One set of windows serves the forcing, the kernel, and the train loss, which is wanted at twice the times.
    wanted = np.zeros((2 * rows + 1, max(columns, grids.time.size)))
    wanted[:rows, :columns], wanted[rows, : grids.time.size], wanted[rows + 1 :, :columns] = (
        curves.grid, grids.time, 2 * curves.grid,
    )  # fmt: skip
    times = sort_times(wanted)
    forced, driven = times.curves(curves.which), times.curves(curves.which + rows + 1)
    fed = times.curves(np.full(len(sizes), rows))
    layouts, of_problems = (forced, fed, driven), (problem[forced.curve], fed.curve, problem[driven.curve])
    end = times.end[np.concatenate([layout.window for layout in layouts])]
    per_width, per_sample = sizes[np.concatenate(of_problems)].T
    of, row = _equivalents(end, per_width, per_sample, spectrum, jacobian)
    row_forced, row_fed, row_driven = np.split(row, np.cumsum([layout.curve.size for layout in layouts])[:-1])
    signal, variance = two_points(of.point, of.slopes)
    loss = _forced(times, forced, of, signal, variance, row_forced, curves)
    # Derivatives of the kernel are not felt where there is no noise.
    amplitude = _amplitudes(times, fed, of, variance if noisy else variance[:1], row_fed, grids)
    train = _train_loss(of, row_driven, curves, driven.curve)
    window = driven.window - driven.window.min()
    p, resolvent = _resolvents(times.end[driven.window.min() :].tobytes(), grids.rate.tobytes())
    # The kernels' transforms (1 + parameter, problem, window, frequency).
    kernel = (amplitude @ resolvent).view(np.complex128).reshape(*amplitude.shape[:2], *p.shape)
    kernel = kernel[:, problem[driven.curve], window]
    rate = curves.noise_rate[driven.curve, None]
    added = train * (rate * kernel[0])
    if jacobian:
        added[1 : len(kernel)] += rate * train[0] * kernel[1:]
        added[-2] += train[0] * kernel[0]
        added[-1] = p[window] * added[0]
    invert(times, driven, added, loss)
    return loss


@lru_cache(maxsize=8)
def _resolvents(ends: bytes, rates: bytes) -> tuple[ComplexArray, FloatArray]:
    """Frequencies (window, frequency), doubled, of windows, and what turns amplitudes of exponentials into transforms.

    The latter (term, window * frequency * 2) has real and imaginary parts in turn.
    """
    p = 2 * laplace.hyperbola().frequency / np.frombuffer(ends)[:, None]
    return p, (1 / (np.frombuffer(rates)[:, None] + p.ravel())).view(np.float64)


def forcing_loss(curves: Curves, spectrum: AnySpectrum, jacobian: bool) -> FloatArray:
    """What `two_frequency_loss` gives without noise, for which the derivative with respect to its rate is left 0."""
    times = sort_times(curves.grid)
    layout = times.curves(curves.which)
    end, whose = times.end[layout.window], layout.curve
    of, row = _equivalents(end, curves.per_width[whose], curves.per_sample[whose], spectrum, jacobian)
    signal, variance = two_points(of.point, of.slopes)
    return _forced(times, layout, of, signal, variance, row, curves)


def _forced(
    times: SortedTimes,
    layout: Layout,
    of: Equivalents,
    signal: ComplexArray,
    variance: ComplexArray,
    row: IntArray,
    curves: Curves,
) -> FloatArray:
    """Test loss without noise (1 or 1 + parameter, curve, time)."""

    def transform(items: Numbers) -> ComplexArray:
        noise, end = curves.noise_variance[layout.curve[items]], times.end[layout.window[items][0]]
        return _test_loss(of, signal, variance, row[items], noise, end)

    forced = invert_pairs(times, layout, transform, curves.grid.shape[1])
    if len(forced) == 1:
        return forced
    # The noise of minibatches plays no part.
    return np.concatenate([forced[:-1], np.zeros_like(forced[:1]), forced[-1:]])


def _amplitudes(
    times: SortedTimes, layout: Layout, of: Equivalents, variance: ComplexArray, row: IntArray, grids: KernelGrids
) -> FloatArray:
    """Amplitudes (1 or 1 + parameter of spectrum and sizes, problem, term) of test kernels as sums of exponentials."""

    def transform(items: Numbers) -> ComplexArray:
        rows = row[items]
        return _test_loss(of, variance, variance, rows, np.zeros(rows.size))

    return grids.amplitudes(invert_pairs(times, layout, transform, grids.time.size))


def _equivalents(
    end: FloatArray,
    per_width: FloatArray,
    per_sample: FloatArray,
    spectrum: AnySpectrum,
    jacobian: bool,
    polish: bool = True,
) -> tuple[Equivalents, IntArray]:
    """Equivalents of windows with ``end`` (item,), and the row of each item."""
    point, row, nodes = equivalents(end, per_width, per_sample, spectrum, polish=polish)
    slopes = None
    if jacobian:
        of_nodes = node_slopes(spectrum, float(np.abs(point.s).min()))
        slopes = one_point_slopes(point, nodes, of_nodes, pairs=polish)
    return Equivalents(point, slopes, spectrum.nodes(1.0).power), row


def _train_loss(of: Equivalents, row: IntArray, curves: Curves, whose: IntArray) -> ComplexArray:
    """Transform (1 or 1 + parameter, item, frequency) at twice the time of the train loss, of ``row`` and ``whose``."""
    point, slopes = of.point, of.slopes
    compiled = loops()
    if compiled is not None:
        moved = [np.empty((0, *point.s.shape), dtype=np.complex128)] * 5
        if slopes is not None:
            moved = [field[:-1] for field in slopes[1:6]]
        out = np.empty((1 + of.parameters, row.size, point.s.shape[1]), dtype=np.complex128)
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
    out = np.empty((1 + of.parameters, *loss.shape), dtype=np.complex128)
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


def _test_loss(
    of: Equivalents,
    numerator: ComplexArray,
    variance: ComplexArray,
    row: IntArray,
    noise_variance: FloatArray,
    end: float | None = None,
) -> ComplexArray:
    """Transform (1 or parameter, item, 2, pair) of the test forcing of the window with ``end`` at the ``row`` of items.

    The noise rate is none of the parameters. ``numerator`` is the signal of `two_points`. With the variance in its
    place, no noise of the labels and no end, for there is no factor 1/(s s'), the same is the test kernel, with
    derivatives for the spectrum and the sizes alone.
    """
    parameters, forcing = len(variance) - 1, end is not None
    total, over = UNIT, UNIT
    if end is not None:
        total, over = laplace.pair_factors()
        total, over = total / end, over * end**2
    lead = 1 + parameters + (2 if forcing and parameters else 0)
    out = np.empty((lead, row.size, *over.shape), dtype=np.complex128)
    compiled = loops()
    if compiled is not None:
        # Strided rows would be compiled anew.
        rows = np.ascontiguousarray(row)
        compiled.test(
            numerator, variance, of.point.per_sample, of.power, rows, noise_variance, total, over, forcing, out
        )
        return out
    noise, per_sample = noise_variance[:, None, None], of.point.per_sample[row, :, None]
    resolved = 1 / (1 - variance[0, row] * per_sample)
    unit = resolved * over
    value = (numerator[0, row] + noise) * unit
    out[0] = value
    if parameters:
        moved = variance[1:, row] * per_sample
        moved[-1] += variance[0, row]
        moved *= value * resolved
        slopes = out[1 : 1 + parameters]
        np.multiply(numerator[1:, row], unit, out=slopes)
        slopes += moved
        if forcing:
            out[-2] = unit
            out[-1] = total * (value - (of.power + noise) * over)  # without the jump at the start
    return out


def test_kernel_amplitudes(
    grids: KernelGrids, per_width: FloatArray, per_sample: FloatArray, spectrum: AnySpectrum
) -> FloatArray:
    """Amplitudes (1 + parameter of spectrum and sizes, problem, term) of test kernels as sums of exponentials."""
    times = sort_times(grids.time[None])
    layout = times.curves(np.zeros(per_width.size, dtype=np.int64))
    whose = layout.curve
    of, row = _equivalents(times.end[layout.window], per_width[whose], per_sample[whose], spectrum, True)
    _, variance = two_points(of.point, of.slopes)
    return _amplitudes(times, layout, of, variance, row, grids)
