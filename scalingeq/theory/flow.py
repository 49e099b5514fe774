"""The loss of gradient flow with the noise of minibatches, and its derivatives, of many curves at once.

Values and derivatives (1 + parameter, ...) come in one array, the value first; the parameters are those of the spectrum,
one over the width, one over the number of samples, the noise variance, the noise rate and the time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scalingeq.theory import laplace
from scalingeq.theory.curves import Curves, IntArray
from scalingeq.theory.equivalents import (
    OnePoint,
    TwoPoint,
    forcing_one_point,
    kernel_one_point,
    two_point_of_pairs,
)
from scalingeq.theory.sensitivities import (
    OnePointSlopes,
    TwoPointSlopes,
    node_slopes,
    one_point_slopes,
    two_point_slopes,
)
from scalingeq.theory.spectrum import AnySpectrum, ComplexArray, FloatArray
from scalingeq.theory.stability import edge_bound
from scalingeq.theory.two_frequency import KernelGrids, kernel_grids, product_of_pairs
from scalingeq.theory.volterra import noisy_loss
from scalingeq.theory.windows import are_all, equivalents, invert, sort_times, take


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

    def take(self, row: IntArray) -> Equivalents:
        """Equivalents of some rows."""
        if are_all(row, len(self.point.s)):
            return self
        return self._replace(point=take(self.point, row), slopes=None if self.slopes is None else self.slopes.take(row))


def one_frequency_loss(curves: Curves, spectrum: AnySpectrum, jacobian: bool) -> FloatArray:
    """Train loss, or that of one pass, (1 or 1 + parameter, curve, time) at positive times, and 0 at times 0."""
    times = sort_times(2 * curves.grid)
    layout = times.curves(curves.which)
    end, whose = times.end[layout.window], layout.curve
    of, row = _equivalents(end, curves.per_width[whose], curves.per_sample[whose], spectrum, jacobian, polish=False)
    return invert(times, layout, _train_loss(of.take(row), curves, whose), curves.grid.shape[1])


def two_frequency_loss(curves: Curves, spectrum: AnySpectrum, jacobian: bool) -> FloatArray:
    """Test loss with finite data (1 or 1 + parameter, curve, time) at positive times, and 0 at times 0.

    It is the test forcing and, with noise, the test kernel on the train loss.
    """
    columns, rows = curves.grid.shape[1], len(curves.grid)
    noisy = bool(curves.noise_rate.any())
    if not (noisy or jacobian):
        return forcing_loss(curves, spectrum, jacobian)
    sizes, problem = np.unique(curves.per_width + 1j * curves.per_sample, return_inverse=True)
    problem = problem.reshape(-1)
    bound = edge_bound(spectrum, curves.per_width.max(), curves.per_sample.max())
    grids = kernel_grids(float(curves.grid.max()), bound)
    # One set of windows serves the forcing, the kernel, and the train loss, which is wanted at twice the times.
    most = max(columns, grids.time.size)
    wanted = (curves.grid, grids.time[None], 2 * curves.grid)
    times = sort_times(np.concatenate([np.pad(part, ((0, 0), (0, most - part.shape[1]))) for part in wanted]))
    forced, driven = times.curves(curves.which), times.curves(curves.which + rows + 1)
    fed = times.curves(np.full(sizes.size, rows))
    layouts = (forced, fed, driven)
    end = times.end[np.concatenate([layout.window for layout in layouts])]
    size = np.concatenate(
        [(curves.per_width + 1j * curves.per_sample)[forced.curve], sizes[fed.curve],
         (curves.per_width + 1j * curves.per_sample)[driven.curve]]
    )  # fmt: skip
    of, row = _equivalents(end, size.real, size.imag, spectrum, jacobian)
    row_forced, row_fed, row_driven = np.split(row, np.cumsum([layout.curve.size for layout in layouts])[:-1])
    if noisy:
        of_pairs, place = _used(of, np.concatenate([row_forced, row_fed]))
        row_forced, row_fed = np.split(place, [row_forced.size])
        pair, slopes = _pairs(of_pairs)
        kernel = _test_kernel(pair, slopes)
    else:
        # Derivatives of the kernel are not felt where there is no noise.
        of_kernel, row_fed = _used(of._replace(slopes=None), row_fed)
        kernel = _test_kernel(_pairs(of_kernel)[0], None)
        of_pairs, row_forced = _used(of, row_forced)
        pair, slopes = _pairs(of_pairs)
    forcing = _test_forcing(of_pairs, pair, slopes, row_forced, curves, forced.curve)
    loss = invert(times, forced, forcing, columns)
    amplitude = grids.amplitudes(invert(times, fed, kernel[:, row_fed], grids.time.size))
    train = _train_loss(of.take(row_driven), curves, driven.curve)
    windows, window = np.unique(driven.window, return_inverse=True)
    window = window.reshape(-1)
    p = 2 * laplace.hyperbola().frequency / times.end[windows, None]
    # The kernels' transforms (1 + parameter, problem, window, frequency).
    resolvent = (1 / (p[..., None] + grids.rate)).reshape(-1, grids.rate.size)
    kernel = (amplitude @ resolvent.T).reshape(len(amplitude), sizes.size, *p.shape)[:, problem[driven.curve], window]
    rate = curves.noise_rate[driven.curve, None]
    added = train * (rate * kernel[0])
    if jacobian:
        added[1 : len(kernel)] += rate * train[0] * kernel[1:]
        added[-2] += train[0] * kernel[0]
        added[-1] = p[window] * added[0]
    return loss + invert(times, driven, added, columns)


def forcing_loss(curves: Curves, spectrum: AnySpectrum, jacobian: bool) -> FloatArray:
    """What `two_frequency_loss` gives without noise, for which the derivative with respect to its rate is left 0."""
    times = sort_times(curves.grid)
    layout = times.curves(curves.which)
    end, whose = times.end[layout.window], layout.curve
    of, row = _equivalents(end, curves.per_width[whose], curves.per_sample[whose], spectrum, jacobian)
    return invert(times, layout, _test_forcing(of, *_pairs(of), row, curves, whose), curves.grid.shape[1])


def _used(of: Equivalents, row: IntArray) -> tuple[Equivalents, IntArray]:
    """Equivalents of the distinct ones of some rows, and the place of each among these."""
    rows, place = np.unique(row, return_inverse=True)
    return of.take(rows), place.reshape(-1)


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


def _train_loss(of: Equivalents, curves: Curves, whose: IntArray) -> ComplexArray:
    """Transform (1 or 1 + parameter, item, frequency) at twice the time of the train loss of the curves ``whose``."""
    point, slopes = of.point, of.slopes
    noise, rate = curves.noise_variance[whose, None], curves.noise_rate[whose, None]
    forcing, kernel = forcing_one_point(point, noise), kernel_one_point(point)
    loss = noisy_loss(forcing, kernel, rate)
    if slopes is None:
        return loss[None]
    resolved = 1 / (1 - rate / 2 * kernel)
    out = np.empty((len(slopes.names) + 3, *loss.shape), dtype=np.complex128)
    kappa2, kappa1, degrees, power, squares = (field[:-1] for field in slopes[1:6])
    out[0] = loss
    forced = (kappa2 * point.power + point.kappa2 * power - forcing * kappa1) / point.kappa1
    # The kernel is Tr Sigma - s df, and the trace is squares + kappa2 df.
    fed = squares + kappa2 * point.degrees + (point.kappa2 - point.s) * degrees
    out[1:-3] = (forced + rate / 2 * loss * fed) * resolved
    out[-3] = resolved / point.kappa1
    out[-2] = loss * kernel / 2 * resolved
    out[-1] = 2 * (point.s * loss - of.power - noise)  # without the jump at the start
    return out


def _pairs(of: Equivalents) -> tuple[TwoPoint, TwoPointSlopes | None]:
    """Two-point equivalents (row, 2, pair), and their derivatives."""
    return (two_point_of_pairs(of.point), None) if of.slopes is None else two_point_slopes(of.point, of.slopes)


def _test_forcing(
    of: Equivalents, pair: TwoPoint, slopes: TwoPointSlopes | None, row: IntArray, curves: Curves, whose: IntArray
) -> ComplexArray:
    """Transform (1 or 1 + parameter, item, 2, pair) of the test forcing, of ``row`` and ``whose`` curve (item,)."""
    over = 1 / product_of_pairs(of.point)
    unit = over / (1 - pair.variance * pair.per_sample)
    noise = curves.noise_variance[whose, None, None]
    at = slice(None) if are_all(row, len(unit)) else row
    value = (unit * pair.signal)[at]
    if noise.any():
        value += noise * unit[at]
    if slopes is None:
        return value[None]
    ratio = slopes.variance * pair.per_sample
    ratio[-1] += pair.variance
    ratio *= unit / over
    first, second = laplace.pairs()
    both = of.point.s[:, first], of.point.s[:, second]
    total = np.stack([both[0] + both[1], both[0] + both[1].conj()], axis=1)
    out = np.empty((len(ratio) + 4, *value.shape), dtype=np.complex128)
    out[0] = value
    np.multiply(ratio[:, at], value, out=out[1:-3])
    np.multiply(slopes.signal, unit, out=ratio)
    out[1:-3] += ratio[:, at]
    out[-3] = unit[at]
    out[-2] = 0
    out[-1] = total[at] * (value - (of.power + noise) * over[at])  # without the jump at the start
    return out


def _test_kernel(pair: TwoPoint, slopes: TwoPointSlopes | None) -> ComplexArray:
    """Transform (1 or 1 + parameter of spectrum and sizes, row, 2, pair) of the test kernel."""
    unit = 1 / (1 - pair.variance * pair.per_sample)
    kernel = pair.variance * unit
    if slopes is None:
        return kernel[None]
    out = np.empty((1 + len(slopes.variance), *kernel.shape), dtype=np.complex128)
    out[0] = kernel
    np.multiply(slopes.variance, unit * (1 + kernel * pair.per_sample), out=out[1:])
    out[-1] += unit * kernel * pair.variance
    return out


def test_kernel_amplitudes(
    grids: KernelGrids, per_width: FloatArray, per_sample: FloatArray, spectrum: AnySpectrum
) -> FloatArray:
    """Amplitudes (1 + parameter of spectrum and sizes, problem, term) of test kernels as sums of exponentials."""
    times = sort_times(grids.time[None])
    layout = times.curves(np.zeros(per_width.size, dtype=np.int64))
    whose = layout.curve
    of, row = _equivalents(times.end[layout.window], per_width[whose], per_sample[whose], spectrum, True)
    return grids.amplitudes(invert(times, layout, _test_kernel(*_pairs(of))[:, row], grids.time.size))
