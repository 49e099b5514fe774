"""The loops over pairs of frequencies, for numba (`scalingeq.theory.compiled`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scalingeq.theory.spectrum import ComplexArray, FloatArray

#: What `pair` keeps of each second frequency, after the seven fields there, for the variance and the signal together.
VARIANCE, SIGNAL, DIVISOR, CROSS, TARGET, RESOLVED, FEATURES, UNIT, BY_POWER, BY_TARGET, KEPT = range(7, 18)
#: What it keeps for one of the two: a derivative, and what derivatives are made of.
SLOPE, BY_KAPPA, BY_APART, BY_DEGREES, BY_SECOND_DEGREES, BY_CROSS, BY_WIDTH, PARTS = range(8)
#: Room for the second frequencies and, in the opposite order, their conjugates: those of the pairs of frequency i are then
#: side by side, from i on and as far from the end. A multiple of 8.
MOST = 40


def pair(
    fields: tuple[ComplexArray, ...],
    per_width: FloatArray,
    slopes: tuple[ComplexArray, ...],
    first_row: int,
    near_value: float,
    near_slope: float,
    out: ComplexArray,
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Two-point equivalents of one model at pairs of frequencies, and their derivatives, as `two_point` has them.

    ``fields``, each (row, frequency), are kappa2, degrees and power, their two slopes and their two curvatures, and
    ``per_width`` (row, 1); ``slopes``, each (parameter or more, row, frequency), derivatives of the first five, one over
    the width next to last of the parameters. ``out`` (1 or 2, 1 + parameter, row, pair) takes the variance, and after it
    the signal where it has room for that, of the rows from ``first_row`` on.
    """
    kinds, parameters, rows, count = out.shape[0], out.shape[1] - 1, out.shape[2], fields[0].shape[1]
    # Real and imaginary parts apart, in arrays whose shapes are known when they are compiled, let eight pairs fill the
    # processor's vectors; what the arrays are filled up with is computed in vain.
    w, own, moved = np.ones((KEPT, 2, MOST)), np.ones((PARTS, 2, MOST)), np.ones((parameters, 3, 2, MOST))
    near_at = np.empty(MOST, dtype=np.int64)
    for place in range(rows):
        row = first_row + place
        size = per_width[row, 0]
        for j in range(count):
            for half in range(2):
                c, sign = (2 * count - 1 - j if half else j), 1.0 - 2 * half
                for q in range(7):
                    w[q, 0, c], w[q, 1, c] = fields[q][row, j].real, sign * fields[q][row, j].imag
                for n in range(parameters):
                    for q in range(3):
                        one = slopes[q][n, row, j]
                        moved[n, q, 0, c], moved[n, q, 1, c] = one.real, sign * one.imag
        number = 0
        for i in range(count):
            k, d, p = fields[0][row, i], fields[1][row, i], fields[2][row, i]
            d1, p1, d2, p2 = fields[3][row, i], fields[4][row, i], fields[5][row, i], fields[6][row, i]
            scale = k.real**2 + k.imag**2
            # Unsigned numbers cannot count from an array's end, which would keep the loops from being vectorised.
            start, stop = np.uint64(i // 8 * 8), np.uint64((2 * count - i + 7) // 8 * 8)
            for c in range(start, stop):
                k_, d_, p_ = (
                    complex(w[0, 0, c], w[0, 1, c]),
                    complex(w[1, 0, c], w[1, 1, c]),
                    complex(w[2, 0, c], w[2, 1, c]),
                )
                d1_, p1_ = complex(w[3, 0, c], w[3, 1, c]), complex(w[4, 0, c], w[4, 1, c])
                d2_, p2_ = complex(w[5, 0, c], w[5, 1, c]), complex(w[6, 0, c], w[6, 1, c])
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
                features = unit * size
                signal, variance = product * target + features * target_squares, squares + features * cross
                w[VARIANCE, 0, c], w[VARIANCE, 1, c] = variance.real, variance.imag
                w[SIGNAL, 0, c], w[SIGNAL, 1, c] = signal.real, signal.imag
                w[DIVISOR, 0, c], w[DIVISOR, 1, c] = divisor.real, divisor.imag
                w[CROSS, 0, c], w[CROSS, 1, c] = cross.real, cross.imag
                w[TARGET, 0, c], w[TARGET, 1, c] = target.real, target.imag
                w[RESOLVED, 0, c], w[RESOLVED, 1, c] = resolved.real, resolved.imag
                w[FEATURES, 0, c], w[FEATURES, 1, c] = features.real, features.imag
                w[UNIT, 0, c], w[UNIT, 1, c] = unit.real, unit.imag
            # Pairs of frequencies that are all but equal have no divisor, and are few.
            nears = 0
            if parameters:
                for c in range(i, 2 * count - i):
                    if w[DIVISOR, 0, c] == 0 and w[DIVISOR, 1, c] == 0:
                        near_at[nears] = c
                        nears += 1
            for kind in range(kinds):
                value = w[VARIANCE + kind]
                result = out[kind, 0, place, number : number + 2 * (count - i)]
                for c in range(result.size):
                    result[c] = complex(value[0, i + c], value[1, i + c])
                if parameters == 0:
                    continue
                # Each has terms that the other lacks.
                is_signal, is_variance = float(kind), 1.0 - kind
                for c in range(start, stop):
                    k_, cross = complex(w[0, 0, c], w[0, 1, c]), complex(w[CROSS, 0, c], w[CROSS, 1, c])
                    target, features = (
                        complex(w[TARGET, 0, c], w[TARGET, 1, c]),
                        complex(w[FEATURES, 0, c], w[FEATURES, 1, c]),
                    )
                    divisor, p_ = complex(w[DIVISOR, 0, c], w[DIVISOR, 1, c]), complex(w[2, 0, c], w[2, 1, c])
                    share = is_variance * cross + is_signal * (p_ - k * target)
                    by_width = share * complex(w[RESOLVED, 0, c], w[RESOLVED, 1, c])
                    weight, plain, by_target = size * by_width, is_signal * target, k * (k_ - features)
                    product, second = plain + weight * cross, is_variance + weight * features
                    by_cross = is_variance * (features - k) + weight * by_target
                    degrees, power = by_cross * divisor, by_target * divisor
                    apart = k * product - cross * degrees - plain * power
                    kappa = (k + k_) * product - cross * second - plain * features
                    w[BY_POWER, 0, c], w[BY_POWER, 1, c] = power.real, power.imag
                    w[BY_TARGET, 0, c], w[BY_TARGET, 1, c] = by_target.real, by_target.imag
                    own[BY_KAPPA, 0, c], own[BY_KAPPA, 1, c] = kappa.real, kappa.imag
                    own[BY_APART, 0, c], own[BY_APART, 1, c] = apart.real, apart.imag
                    own[BY_DEGREES, 0, c], own[BY_DEGREES, 1, c] = degrees.real, degrees.imag
                    own[BY_SECOND_DEGREES, 0, c], own[BY_SECOND_DEGREES, 1, c] = second.real, second.imag
                    own[BY_CROSS, 0, c], own[BY_CROSS, 1, c] = by_cross.real, by_cross.imag
                    own[BY_WIDTH, 0, c], own[BY_WIDTH, 1, c] = by_width.real, by_width.imag
                for n in range(parameters):
                    dk, dd, dp = slopes[0][n, row, i], slopes[1][n, row, i], slopes[2][n, row, i]
                    dd1, dp1 = slopes[3][n, row, i], slopes[4][n, row, i]
                    if kind == 0:
                        for c in range(start, stop):
                            own[SLOPE, 0, c], own[SLOPE, 1, c] = 0.0, 0.0
                    else:
                        for c in range(start, stop):
                            dp_ = complex(moved[n, 2, 0, c], moved[n, 2, 1, c])
                            change = (dp - dp_) * complex(w[BY_POWER, 0, c], w[BY_POWER, 1, c])
                            change += dp_ * complex(w[FEATURES, 0, c], w[FEATURES, 1, c])
                            own[SLOPE, 0, c], own[SLOPE, 1, c] = change.real, change.imag
                    # What leaves the renormalised frequency where it is moves the target alone.
                    if dk != 0:
                        for c in range(start, stop):
                            dk_, dd_ = (
                                complex(moved[n, 0, 0, c], moved[n, 0, 1, c]),
                                complex(moved[n, 1, 0, c], moved[n, 1, 1, c]),
                            )
                            change = complex(own[SLOPE, 0, c], own[SLOPE, 1, c])
                            change += dk * complex(own[BY_KAPPA, 0, c], own[BY_KAPPA, 1, c])
                            change += (dk_ - dk) * complex(own[BY_APART, 0, c], own[BY_APART, 1, c])
                            change += (dd - dd_) * complex(own[BY_DEGREES, 0, c], own[BY_DEGREES, 1, c])
                            change += dd_ * complex(own[BY_SECOND_DEGREES, 0, c], own[BY_SECOND_DEGREES, 1, c])
                            own[SLOPE, 0, c], own[SLOPE, 1, c] = change.real, change.imag
                    if n == parameters - 2:
                        for c in range(start, stop):
                            change = complex(w[UNIT, 0, c], w[UNIT, 1, c])
                            change *= complex(own[BY_WIDTH, 0, c], own[BY_WIDTH, 1, c])
                            own[SLOPE, 0, c] += change.real
                            own[SLOPE, 1, c] += change.imag
                    for m in range(nears):
                        c = near_at[m]
                        j = c if c < count else 2 * count - 1 - c
                        dd1_, dp1_ = slopes[3][n, row, j], slopes[4][n, row, j]
                        if c >= count:
                            dd1_, dp1_ = dd1_.conjugate(), dp1_.conjugate()
                        change = (dd1 + dd1_) * complex(own[BY_CROSS, 0, c], own[BY_CROSS, 1, c])
                        if kind == 1:
                            change += (dp1 + dp1_) * complex(w[BY_TARGET, 0, c], w[BY_TARGET, 1, c])
                        own[SLOPE, 0, c] -= change.real * 0.5
                        own[SLOPE, 1, c] -= change.imag * 0.5
                    result = out[kind, 1 + n, place, number : number + 2 * (count - i)]
                    for c in range(result.size):
                        result[c] = complex(own[SLOPE, 0, i + c], own[SLOPE, 1, i + c])
            number += 2 * (count - i)


def forcing(
    pairs: ComplexArray,
    per_sample: FloatArray,
    untrained: float,
    row: NDArray[np.int64],
    noise_variance: FloatArray,
    total: ComplexArray,
    over: ComplexArray,
    end: float,
    out: ComplexArray,
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Transform of the test forcing and its derivatives, as `scalingeq.theory.flow` has them.

    ``pairs`` (2, 1 or 1 + parameter, row, pair) are the variance and the signal, ``total`` and ``over`` (pair,) s + s' and
    1/(s s') of a window that ends at 1, not at ``end``; ``out`` (..., item, pair) takes the results at the ``row`` of each
    item.
    """
    parameters, count = pairs.shape[1] - 1, over.size
    # Few arrays in a loop, or it is not vectorised.
    resolved, unit, ratio = np.empty((3, count), dtype=np.complex128)
    rate, square = 1 / end, end * end
    for item in range(row.size):
        r, noise = row[item], noise_variance[item]
        q, jump = per_sample[r, 0], (untrained + noise) * square
        share, signal, value = pairs[0, 0, r], pairs[1, 0, r], out[0, item]
        for n in range(count):
            left = 1 - share[n] * q
            norm = 1 / (left.real**2 + left.imag**2)
            resolved[n] = complex(left.real * norm, -left.imag * norm)
        for n in range(count):
            unit[n] = resolved[n] * over[n] * square
        for n in range(count):
            value[n] = (signal[n] + noise) * unit[n]
        if parameters:
            for n in range(count):
                ratio[n] = value[n] * resolved[n]
            for m in range(1, parameters + 1):
                d_share, d_signal, slope = pairs[0, m, r], pairs[1, m, r], out[m, item]
                for n in range(count):
                    slope[n] = unit[n] * d_signal[n] + ratio[n] * (q * d_share[n])
            slope, by_noise, by_time = out[parameters, item], out[-2, item], out[-1, item]
            for n in range(count):
                slope[n] += ratio[n] * share[n]
            for n in range(count):
                by_noise[n] = unit[n]
            for n in range(count):
                by_time[n] = total[n] * rate * (value[n] - jump * over[n])


def kernel(
    variance: ComplexArray,
    numbers: NDArray[np.int64],
    per_sample: FloatArray,
    row: NDArray[np.int64],
    out: ComplexArray,
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Transform of the test kernel and its derivatives, as `scalingeq.theory.flow` has them.

    ``variance`` (1 or 1 + parameter, row, pair) is that of `pair`, of which the value and derivatives with ``numbers``
    are used; ``out`` (number, item, pair) takes the results at the ``row`` of each item.
    """
    parameters, count = out.shape[0] - 1, variance.shape[2]
    square = np.empty(count, dtype=np.complex128)
    for item in range(row.size):
        r = row[item]
        q = per_sample[r, 0]
        share, value = variance[0, r], out[0, item]
        for n in range(count):
            left = 1 - share[n] * q
            norm = 1 / (left.real**2 + left.imag**2)
            resolved = complex(left.real * norm, -left.imag * norm)
            value[n] = share[n] * resolved
            square[n] = resolved * resolved
        for m in range(1, parameters + 1):
            d_share, slope = variance[numbers[m], r], out[m, item]
            for n in range(count):
                slope[n] = d_share[n] * square[n]
        if parameters:
            slope = out[parameters, item]
            for n in range(count):
                slope[n] += value[n] * value[n]
