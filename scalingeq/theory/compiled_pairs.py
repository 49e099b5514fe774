"""The loops over pairs of frequencies, for numba (`scalingeq.theory.compiled`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scalingeq.theory.spectrum import ComplexArray, FloatArray

#: What `pair` keeps for each second frequency, after the seven fields there.
DIVISOR, CROSS, TARGET, NEAR, PRODUCT, TARGET_SQUARES, FEATURES = range(7, 14)
BY_PRODUCT, BY_CROSS, BY_SQUARES, BY_WIDTH, SIGNAL, VARIANCE = range(14, 20)
#: At most so many frequencies are on the upper half of a contour.
MOST = 32


def pair(
    fields: ComplexArray,
    per_width: FloatArray,
    slopes: ComplexArray,
    near_value: float,
    near_slope: float,
    out: ComplexArray,
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Two-point equivalents of one model at pairs of frequencies, and their derivatives, as `two_point` has them.

    ``fields`` (7, row, frequency) are kappa2, degrees and power, their two slopes and their two curvatures;
    ``slopes`` (5, parameter, row, frequency) derivatives of the first five, one over the width next to last.
    ``out`` (2, 1 + parameter, row, 2, pair) takes signal and variance.
    """
    parameters, (rows, count) = slopes.shape[1], fields.shape[1:]
    # Real and imaginary parts apart, in one array whose shape is known when it is compiled, let eight pairs fill the
    # processor's vectors; what the array is filled up with is computed in vain.
    w, moved = np.ones((20, 2, MOST)), np.ones((parameters, 5, 2, MOST))
    for row in range(rows):
        size = per_width[row]
        for half in range(2):
            sign = -1.0 if half else 1.0
            for j in range(count):
                for q in range(7):
                    w[q, 0, j], w[q, 1, j] = fields[q, row, j].real, sign * fields[q, row, j].imag
                for n in range(parameters):
                    for q in range(5):
                        moved[n, q, 0, j], moved[n, q, 1, j] = (
                            slopes[q, n, row, j].real,
                            sign * slopes[q, n, row, j].imag,
                        )
            number = 0
            for i in range(count):
                k, d, p = fields[0, row, i], fields[1, row, i], fields[2, row, i]
                d1, p1, d2, p2 = fields[3, row, i], fields[4, row, i], fields[5, row, i], fields[6, row, i]
                scale = k.real**2 + k.imag**2
                # Unsigned numbers cannot count from an array's end, which would keep the loops from being vectorised.
                start, stop = np.uint64(i // 8 * 8), np.uint64(MOST)
                for j in range(start, stop):
                    k_, d_, p_ = (
                        complex(w[0, 0, j], w[0, 1, j]),
                        complex(w[1, 0, j], w[1, 1, j]),
                        complex(w[2, 0, j], w[2, 1, j]),
                    )
                    d1_, p1_ = complex(w[3, 0, j], w[3, 1, j]), complex(w[4, 0, j], w[4, 1, j])
                    d2_, p2_ = complex(w[5, 0, j], w[5, 1, j]), complex(w[6, 0, j], w[6, 1, j])
                    apart = k_ - k
                    square = apart.real**2 + apart.imag**2
                    far = square > near_slope**2 * scale
                    over = 1 / square if far else 0.0
                    divisor = complex(apart.real * over, -apart.imag * over)
                    cross, target = (d - d_) * divisor, (p - p_) * divisor
                    # Chosen, not added up: the one that does not hold may be far larger.
                    is_far = square > near_value**2 * scale
                    near = apart * (d2_ - d2) * (1 / 12) - (d1 + d1_) * 0.5
                    cross = complex(cross.real if is_far else near.real, cross.imag if is_far else near.imag)
                    near = apart * (p2_ - p2) * (1 / 12) - (p1 + p1_) * 0.5
                    target = complex(target.real if is_far else near.real, target.imag if is_far else near.imag)
                    product = k * k_
                    squares, target_squares = d_ - k * cross, p_ - k * target
                    left = 1 - squares * size
                    over = 1 / (left.real**2 + left.imag**2)
                    resolved = complex(left.real * over, -left.imag * over)
                    unit = product * cross * resolved
                    features, weight = unit * size, size * resolved
                    signal, variance = product * target + features * target_squares, squares + features * cross
                    by_product, by_cross, by_squares = weight * cross, weight * product, weight * features
                    by_width = unit * resolved
                    w[NEAR, 0, j] = 0.0 if far else -0.5
                    w[DIVISOR, 0, j], w[DIVISOR, 1, j] = divisor.real, divisor.imag
                    w[CROSS, 0, j], w[CROSS, 1, j] = cross.real, cross.imag
                    w[TARGET, 0, j], w[TARGET, 1, j] = target.real, target.imag
                    w[PRODUCT, 0, j], w[PRODUCT, 1, j] = product.real, product.imag
                    w[TARGET_SQUARES, 0, j], w[TARGET_SQUARES, 1, j] = target_squares.real, target_squares.imag
                    w[FEATURES, 0, j], w[FEATURES, 1, j] = features.real, features.imag
                    w[BY_PRODUCT, 0, j], w[BY_PRODUCT, 1, j] = by_product.real, by_product.imag
                    w[BY_CROSS, 0, j], w[BY_CROSS, 1, j] = by_cross.real, by_cross.imag
                    w[BY_SQUARES, 0, j], w[BY_SQUARES, 1, j] = by_squares.real, by_squares.imag
                    w[BY_WIDTH, 0, j], w[BY_WIDTH, 1, j] = by_width.real, by_width.imag
                    w[SIGNAL, 0, j], w[SIGNAL, 1, j] = signal.real, signal.imag
                    w[VARIANCE, 0, j], w[VARIANCE, 1, j] = variance.real, variance.imag
                for j in range(i, count):
                    out[0, 0, row, half, number + j - i] = complex(w[SIGNAL, 0, j], w[SIGNAL, 1, j])
                    out[1, 0, row, half, number + j - i] = complex(w[VARIANCE, 0, j], w[VARIANCE, 1, j])
                for n in range(parameters):
                    dk, dd, dp = slopes[0, n, row, i], slopes[1, n, row, i], slopes[2, n, row, i]
                    dd1, dp1 = slopes[3, n, row, i], slopes[4, n, row, i]
                    own = 1.0 if n == parameters - 2 else 0.0
                    for j in range(start, stop):
                        dk_, dd_ = (
                            complex(moved[n, 0, 0, j], moved[n, 0, 1, j]),
                            complex(moved[n, 1, 0, j], moved[n, 1, 1, j]),
                        )
                        dp_, dd1_ = (
                            complex(moved[n, 2, 0, j], moved[n, 2, 1, j]),
                            complex(moved[n, 3, 0, j], moved[n, 3, 1, j]),
                        )
                        dp1_, k_ = complex(moved[n, 4, 0, j], moved[n, 4, 1, j]), complex(w[0, 0, j], w[0, 1, j])
                        divisor, mean = complex(w[DIVISOR, 0, j], w[DIVISOR, 1, j]), w[NEAR, 0, j]
                        cross, target = (
                            complex(w[CROSS, 0, j], w[CROSS, 1, j]),
                            complex(w[TARGET, 0, j], w[TARGET, 1, j]),
                        )
                        dcross = (dd - dd_ - cross * (dk_ - dk)) * divisor + mean * (dd1 + dd1_)
                        dtarget = (dp - dp_ - target * (dk_ - dk)) * divisor + mean * (dp1 + dp1_)
                        dproduct = dk * k_ + k * dk_
                        dsquares = dd_ - dk * cross - k * dcross
                        dtarget_squares = dp_ - dk * target - k * dtarget
                        dfeatures = dproduct * complex(w[BY_PRODUCT, 0, j], w[BY_PRODUCT, 1, j])
                        dfeatures += dcross * complex(w[BY_CROSS, 0, j], w[BY_CROSS, 1, j])
                        dfeatures += dsquares * complex(w[BY_SQUARES, 0, j], w[BY_SQUARES, 1, j])
                        dfeatures += own * complex(w[BY_WIDTH, 0, j], w[BY_WIDTH, 1, j])
                        features = complex(w[FEATURES, 0, j], w[FEATURES, 1, j])
                        signal = dproduct * target + dtarget * complex(w[PRODUCT, 0, j], w[PRODUCT, 1, j])
                        signal += dfeatures * complex(w[TARGET_SQUARES, 0, j], w[TARGET_SQUARES, 1, j])
                        signal += features * dtarget_squares
                        variance = dsquares + dfeatures * cross + features * dcross
                        w[SIGNAL, 0, j], w[SIGNAL, 1, j] = signal.real, signal.imag
                        w[VARIANCE, 0, j], w[VARIANCE, 1, j] = variance.real, variance.imag
                    for j in range(i, count):
                        out[0, 1 + n, row, half, number + j - i] = complex(w[SIGNAL, 0, j], w[SIGNAL, 1, j])
                        out[1, 1 + n, row, half, number + j - i] = complex(w[VARIANCE, 0, j], w[VARIANCE, 1, j])
                number += count - i


def test(
    numerator: ComplexArray,
    variance: ComplexArray,
    per_sample: FloatArray,
    untrained: float,
    row: NDArray[np.int64],
    noise_variance: FloatArray,
    total: ComplexArray,
    over: ComplexArray,
    forcing: bool,
    out: ComplexArray,
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Transform of the test forcing, or the test kernel, and its derivatives, as `scalingeq.theory.flow` has them.

    ``numerator`` and ``variance`` (1 or 1 + parameter, row, 2, pair) are the two-point equivalents, ``total`` and
    ``over`` (2, pair) s + s' and the factor 1/(s s'); ``out`` (..., item, 2, pair) takes the results at the ``row`` of
    each item.
    """
    parameters, count = numerator.shape[0] - 1, over.shape[1]
    # Few arrays in a loop, or it is not vectorised.
    resolved, unit, ratio = np.empty((3, count), dtype=np.complex128)
    for item in range(row.size):
        r, noise = row[item], noise_variance[item]
        q = per_sample[r, 0]
        for half in range(2):
            signal, value = numerator[0, r, half], out[0, item, half]
            share, factor = variance[0, r, half], over[half]
            for n in range(count):
                left = 1 - share[n] * q
                norm = 1 / (left.real**2 + left.imag**2)
                resolved[n] = complex(left.real * norm, -left.imag * norm)
            for n in range(count):
                unit[n] = resolved[n] * factor[n]
            for n in range(count):
                value[n] = (signal[n] + noise) * unit[n]
            if parameters:
                for n in range(count):
                    ratio[n] = value[n] * resolved[n]
            for m in range(parameters):
                d_signal, d_share, slope = numerator[1 + m, r, half], variance[1 + m, r, half], out[1 + m, item, half]
                for n in range(count):
                    slope[n] = unit[n] * d_signal[n] + ratio[n] * (q * d_share[n])
                if m == parameters - 1:
                    for n in range(count):
                        slope[n] += ratio[n] * share[n]
            if forcing and parameters:
                by_noise, by_time, both = out[-2, item, half], out[-1, item, half], total[half]
                for n in range(count):
                    by_noise[n] = unit[n]
                for n in range(count):
                    by_time[n] = both[n] * (value[n] - (untrained + noise) * factor[n])
