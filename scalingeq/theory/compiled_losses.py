"""The loops that turn equivalents into losses, for numba (`scalingeq.theory.compiled`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scalingeq.theory.spectrum import ComplexArray, FloatArray


def train(
    s: ComplexArray,
    kappa2: ComplexArray,
    kappa1: ComplexArray,
    degrees: ComplexArray,
    power: ComplexArray,
    squares: ComplexArray,
    per_width: FloatArray,
    per_sample: FloatArray,
    d_kappa2: ComplexArray,
    d_kappa1: ComplexArray,
    d_degrees: ComplexArray,
    d_power: ComplexArray,
    d_squares: ComplexArray,
    untrained: float,
    row: NDArray[np.int64],
    noise_variance: FloatArray,
    noise_rate: FloatArray,
    out: ComplexArray,
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Transform of the train loss and its derivatives, as `scalingeq.theory.flow` has them.

    The equivalents are (row, frequency), one over the sizes (row, 1), derivatives (parameter, row, frequency), of which
    there may be none. ``out`` (1 or parameter + 4, item, frequency) takes the results at the ``row`` of each item.
    """
    parameters, (rows, count) = d_kappa2.shape[0], s.shape
    kernel, signal, over = np.empty((3, rows, count), dtype=np.complex128)
    moved = np.empty((3, parameters, rows, count), dtype=np.complex128)
    for r in range(rows):
        p, q = per_width[r, 0], per_sample[r, 0]
        for f in range(count):
            d, k = degrees[r, f], kappa2[r, f]
            a, b = d * p, d * q
            kernel[r, f] = squares[r, f] + k * d * (a + b - a * b)
            one = kappa1[r, f]
            over[r, f] = one.conjugate() * (1 / (one.real**2 + one.imag**2))
            signal[r, f] = k * power[r, f]
        for n in range(parameters):
            for f in range(count):
                k, dk = kappa2[r, f], d_kappa2[n, r, f]
                moved[0, n, r, f] = (dk * power[r, f] + k * d_power[n, r, f]) * over[r, f]
                moved[1, n, r, f] = d_kappa1[n, r, f] * over[r, f]
                moved[2, n, r, f] = d_squares[n, r, f] + dk * degrees[r, f] + (k - s[r, f]) * d_degrees[n, r, f]
    forced, resolved, fed = np.empty((3, count), dtype=np.complex128)
    for item in range(row.size):
        r, noise, half = row[item], noise_variance[item], noise_rate[item] / 2
        for f in range(count):
            left = 1 - half * kernel[r, f]
            resolved[f] = left.conjugate() * (1 / (left.real**2 + left.imag**2))
            forced[f] = (signal[r, f] + noise) * over[r, f]
            out[0, item, f] = forced[f] * resolved[f]
        if parameters:
            for f in range(count):
                fed[f] = half * out[0, item, f] * resolved[f]
            for n in range(parameters):
                for f in range(count):
                    out[1 + n, item, f] = (
                        resolved[f] * (moved[0, n, r, f] - forced[f] * moved[1, n, r, f]) + fed[f] * moved[2, n, r, f]
                    )
            for f in range(count):
                loss = out[0, item, f]
                out[-3, item, f] = resolved[f] * over[r, f]
                out[-2, item, f] = 0.5 * loss * kernel[r, f] * resolved[f]
                out[-1, item, f] = 2 * (s[r, f] * loss - untrained - noise)


def invert(
    transform: FloatArray,
    curve: NDArray[np.int64],
    window: NDArray[np.int64],
    first: NDArray[np.int64],
    place: NDArray[np.int64],
    weights: FloatArray,
    begin_at: int,
    values: FloatArray,
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Add the inverse of ``transform`` (lead, item, part), of the ``curve`` and ``window`` of each item.

    ``weights`` (time, part) are those of the times of all windows, which begin at ``first`` and stood at ``place``;
    ``values`` (lead, curve, time) takes the results, from the curve ``begin_at`` on.
    """
    for item in range(curve.size):
        begin, end = first[window[item]], first[window[item] + 1]
        for n in range(transform.shape[0]):
            own, out = transform[n, item], values[n, begin_at + curve[item]]
            # Four at a time, which keep the processor busy; at the end some are taken again, with no effect.
            for t in range(begin, end, 4):
                t1, t2, t3 = min(t + 1, end - 1), min(t + 2, end - 1), min(t + 3, end - 1)
                w, w1, w2, w3 = weights[t], weights[t1], weights[t2], weights[t3]
                a = b = c = d = 0.0
                for i in range(own.size):
                    x = own[i]
                    a += x * w[i]
                    b += x * w1[i]
                    c += x * w2[i]
                    d += x * w3[i]
                out[place[t]] += a
                if t + 1 < end:
                    out[place[t1]] += b
                if t + 2 < end:
                    out[place[t2]] += c
                if t + 3 < end:
                    out[place[t3]] += d


def product(
    parts: FloatArray, weights: FloatArray, values: FloatArray
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Product of ``parts`` (row, part) and ``weights`` (time, part); the last argument (row, time) takes it."""
    last, end = parts.shape[0] - 1, weights.shape[0] - 1
    # Four rows by three times, as many sums as the processor has registers for; at the ends some are taken again.
    for m in range(0, last + 1, 4):
        m1, m2, m3 = min(m + 1, last), min(m + 2, last), min(m + 3, last)
        x, x1, x2, x3 = parts[m], parts[m1], parts[m2], parts[m3]
        for t in range(0, end + 1, 3):
            t1, t2 = min(t + 1, end), min(t + 2, end)
            w, w1, w2 = weights[t], weights[t1], weights[t2]
            a = b = c = a1 = b1 = c1 = 0.0
            a2 = b2 = c2 = a3 = b3 = c3 = 0.0
            for i in range(w.size):
                a += x[i] * w[i]
                b += x[i] * w1[i]
                c += x[i] * w2[i]
                a1 += x1[i] * w[i]
                b1 += x1[i] * w1[i]
                c1 += x1[i] * w2[i]
                a2 += x2[i] * w[i]
                b2 += x2[i] * w1[i]
                c2 += x2[i] * w2[i]
                a3 += x3[i] * w[i]
                b3 += x3[i] * w1[i]
                c3 += x3[i] * w2[i]
            values[m, t], values[m, t1], values[m, t2] = a, b, c
            values[m1, t], values[m1, t1], values[m1, t2] = a1, b1, c1
            values[m2, t], values[m2, t1], values[m2, t2] = a2, b2, c2
            values[m3, t], values[m3, t1], values[m3, t2] = a3, b3, c3
