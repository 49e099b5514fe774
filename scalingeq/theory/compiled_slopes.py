"""The loop over frequencies of the derivatives of the equivalents, for numba (`scalingeq.theory.compiled`)."""

from __future__ import annotations

import numpy as np

from scalingeq.theory.spectrum import ComplexArray, FloatArray

#: Frequencies whose results are put down together.
TOGETHER = 16


def slopes(
    fields: tuple[ComplexArray, ...],
    per_width: FloatArray,
    per_sample: FloatArray,
    eigenvalue: FloatArray,
    moved: FloatArray,
    shares: FloatArray,
    tail: FloatArray,
    trace: FloatArray,
    out: ComplexArray,
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Derivatives of one-point equivalents, as `scalingeq.theory.sensitivities.one_point_slopes` has them.

    ``fields``, each (frequency,), are kappa2, kappa1 and degrees, and the slopes and curvatures of degrees and power;
    ``moved``, ``shares`` and ``tail`` as in `NodeSlopes`; ``trace`` (parameter,) the changes of the whole trace. ``out``
    (5 or 7, parameter + 3, frequency) takes the fields of `OnePointSlopes`, the last two only where it has room for them.
    """
    parameters, size = shares.shape[2], eigenvalue.size
    pairs = out.shape[0] == 7
    # Filled up with nodes of no weight, as in `walk`.
    nodes, last = (size + 15) // 16 * 16, tail.shape[3]
    begin = size - last
    eigen, inverse, columns = np.ones(nodes), np.empty(nodes), np.zeros((4, nodes))
    for i in range(size):
        eigen[i] = eigenvalue[i]
        for j in range(2):
            columns[2 * j, i], columns[2 * j + 1, i] = moved[j, i], moved[j, i] * eigenvalue[i]
    # The tails of trace and target have nodes of their own.
    start, stop = np.zeros((2, 2, parameters), dtype=np.int64), np.zeros((2, 2, parameters), dtype=np.int64)
    for kind in range(2):
        for j in range(2):
            for n in range(parameters):
                used = np.flatnonzero(tail[kind, j, n])
                if used.size:
                    start[kind, j, n], stop[kind, j, n] = used[0], used[-1] + 1
    by_tail = np.empty((last, 3), dtype=np.complex128)
    power = np.empty((3, 2), dtype=np.complex128)
    at_fixed = np.zeros((2, 2, parameters + 3), dtype=np.complex128)
    # Results of some frequencies are put down together, for their places may share one line of the processor's cache.
    some = np.empty((out.shape[0], parameters + 3, TOGETHER), dtype=np.complex128)
    for f in range(fields[0].size):
        p, q = per_width[f], per_sample[f]
        kappa, kappa1, d = fields[0][f], fields[1][f], fields[2][f]
        x0, y = kappa.real, kappa.imag
        yy = y * y
        if parameters:
            a0 = b0 = c0 = d0 = a1 = b1 = c1 = d1 = a2 = b2 = c2 = d2 = 0.0
            for i in range(nodes):
                x = x0 + eigen[i]
                one = 1.0 / (x * x + yy)
                inverse[i] = one
                square = one * one
                a0 += columns[0, i] * one
                b0 += columns[1, i] * one
                c0 += columns[2, i] * one
                d0 += columns[3, i] * one
                a1 += columns[0, i] * square
                b1 += columns[1, i] * square
                c1 += columns[2, i] * square
                d1 += columns[3, i] * square
            if pairs:
                for i in range(nodes):
                    cube = inverse[i] * inverse[i] * inverse[i]
                    a2 += columns[0, i] * cube
                    b2 += columns[1, i] * cube
                    c2 += columns[2, i] * cube
                    d2 += columns[3, i] * cube
            turn, conjugate = complex(0.0, -2 * y), complex(x0, -y)
            for j, plain0, plain1, plain2, moment0, moment1, moment2 in (
                (0, a0, a1, a2, b0, b1, b2),
                (1, c0, c1, c2, d0, d1, d2),
            ):
                mixed = moment1 + conjugate * plain1
                power[0, j] = moment0 + conjugate * plain0
                power[1, j] = plain0 + turn * mixed
                power[2, j] = mixed + turn * (plain1 + turn * (moment2 + conjugate * plain2))
            for i in range(last):
                x = x0 + eigen[begin + i]
                one = complex(x * inverse[begin + i], -y * inverse[begin + i])
                by_tail[i, 0], by_tail[i, 1] = one, one * one
                by_tail[i, 2] = by_tail[i, 1] * one
            for j in range(2):
                for n in range(parameters):
                    change, move = shares[0, j, n], shares[1, j, n]
                    total, slope = change * power[0, j], -change * power[1, j]
                    second, third = move * power[1, j], move * power[2, j]
                    for i in range(start[0, j, n], stop[0, j, n]):
                        total += tail[0, j, n, i] * by_tail[i, 0]
                        slope -= tail[0, j, n, i] * by_tail[i, 1]
                    for i in range(start[1, j, n], stop[1, j, n]):
                        second += tail[1, j, n, i] * by_tail[i, 1]
                        third += tail[1, j, n, i] * by_tail[i, 2]
                    total += kappa * second
                    slope += second - 2 * kappa * third
                    at_fixed[0, j, n], at_fixed[1, j, n] = total, slope
        a, b = 1 - d * p, 1 - d * q
        by_degrees = -kappa * (b * p + a * q)
        steep = a * b + by_degrees * fields[3][f]
        unit = steep.conjugate() * (1 / (steep.real**2 + steep.imag**2))
        over = b.conjugate() * (1 / (b.real**2 + b.imag**2))
        for n in range(parameters + 3):
            change = complex(1.0)
            if n < parameters:
                change = -by_degrees * at_fixed[0, 0, n]
            elif n == parameters:
                change = kappa * d * b
            elif n == parameters + 1:
                change = kappa * d * a
            shift = change * unit
            degrees = at_fixed[0, 0, n] + shift * fields[3][f]
            some[0, n, f % TOGETHER] = shift
            some[2, n, f % TOGETHER] = degrees
            some[3, n, f % TOGETHER] = at_fixed[0, 1, n] + shift * fields[4][f]
            squares = -(shift * d + kappa * degrees)
            if n < parameters:
                squares += trace[n]
            some[4, n, f % TOGETHER] = squares
            if pairs:
                some[5, n, f % TOGETHER] = at_fixed[1, 0, n] + shift * fields[5][f]
                some[6, n, f % TOGETHER] = at_fixed[1, 1, n] + shift * fields[6][f]
            if p >= q:
                total = kappa1 * degrees * q
                if n == parameters + 1:
                    total += kappa1 * d
                elif n == parameters + 2:
                    total += 1
                some[1, n, f % TOGETHER] = total * over
            else:
                total = degrees * p
                if n == parameters:
                    total += d
                some[1, n, f % TOGETHER] = shift * a - kappa * total
        if f % TOGETHER == TOGETHER - 1 or f == fields[0].size - 1:
            for i in range(out.shape[0]):
                for n in range(parameters + 3):
                    for k in range(f % TOGETHER + 1):
                        out[i, n, f - f % TOGETHER + k] = some[i, n, k]
