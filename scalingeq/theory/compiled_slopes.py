"""The loop over frequencies of the derivatives of the equivalents, for numba (`scalingeq.theory.compiled`)."""

from __future__ import annotations

import numpy as np

from scalingeq.theory.spectrum import ComplexArray, FloatArray


def slopes(
    fields: tuple[ComplexArray, ...],
    per_width: FloatArray,
    per_sample: FloatArray,
    eigenvalue: FloatArray,
    weights: FloatArray,
    trace: FloatArray,
    out: ComplexArray,
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Derivatives of one-point equivalents, as `scalingeq.theory.sensitivities.one_point_slopes` has them.

    ``fields``, each (frequency,), are kappa2, kappa1 and degrees, and the slopes and curvatures of degrees and power;
    ``weights`` (2, 2, parameter, node) the changes and the moves, of trace and target, at the nodes; ``trace``
    (parameter,) the changes of the whole trace. ``out`` (5 or 7, parameter + 3, frequency) takes the fields of
    `OnePointSlopes`, the last two only where it has room for them.
    """
    parameters = weights.shape[2]
    pairs = out.shape[0] == 7
    # Filled up with nodes of no weight, as in `walk`.
    nodes = (eigenvalue.size + 15) // 16 * 16
    eigen, inverse, square, cube = np.ones(nodes), np.empty(nodes), np.empty(nodes), np.empty(nodes)
    eigen[: eigenvalue.size] = eigenvalue
    plain, moment = np.zeros((4 * parameters, nodes)), np.zeros((4 * parameters, nodes))
    # Unsigned numbers cannot count from an array's end, which would keep the loops from being vectorised.
    begin, end = np.empty(4 * parameters, dtype=np.uint64), np.uint64(nodes)
    for k in range(4 * parameters):
        n = k % parameters
        own = weights[k // parameters // 2, k // parameters % 2, n]
        plain[k, : own.size] = own
        moment[k, : own.size] = own * eigenvalue
        # The changes of many weights are at the tail alone, others nowhere.
        used = np.flatnonzero(own)
        begin[k] = np.uint64(used[0] // 16 * 16 if used.size else nodes)
    at_fixed = np.zeros((2, 2, parameters + 3), dtype=np.complex128)
    for f in range(fields[0].size):
        p, q = per_width[f], per_sample[f]
        kappa, kappa1, d = fields[0][f], fields[1][f], fields[2][f]
        x0, y = kappa.real, kappa.imag
        for i in range(nodes):
            x = x0 + eigen[i]
            inverse[i] = 1.0 / (x * x + y * y)
            square[i] = inverse[i] * inverse[i]
        if pairs:
            for i in range(nodes):
                cube[i] = square[i] * inverse[i]
        turn, conjugate = complex(0.0, -2 * y), complex(x0, -y)
        for k in range(2 * parameters):
            j, n = k // parameters, k % parameters
            total, slope = complex(0.0), complex(0.0)
            if begin[k] < end:
                a0 = b0 = a1 = b1 = 0.0
                if pairs:
                    for i in range(begin[k], end):
                        a0 += plain[k, i] * inverse[i]
                        b0 += moment[k, i] * inverse[i]
                        a1 += plain[k, i] * square[i]
                        b1 += moment[k, i] * square[i]
                else:
                    for i in range(begin[k], end):
                        a0 += plain[k, i] * inverse[i]
                        b0 += moment[k, i] * inverse[i]
                total = b0 + conjugate * a0
                slope = -a0 - turn * (b1 + conjugate * a1)
            k += 2 * parameters
            if begin[k] < end:
                a0 = a1 = b1 = a2 = b2 = 0.0
                if pairs:
                    for i in range(begin[k], end):
                        a0 += plain[k, i] * inverse[i]
                        a1 += plain[k, i] * square[i]
                        b1 += moment[k, i] * square[i]
                        a2 += plain[k, i] * cube[i]
                        b2 += moment[k, i] * cube[i]
                else:
                    for i in range(begin[k], end):
                        a0 += plain[k, i] * inverse[i]
                        a1 += plain[k, i] * square[i]
                        b1 += moment[k, i] * square[i]
                mixed = b1 + conjugate * a1
                second = a0 + turn * mixed
                third = mixed + turn * (a1 + turn * (b2 + conjugate * a2))
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
            moved = change * unit
            degrees = at_fixed[0, 0, n] + moved * fields[3][f]
            out[0, n, f] = moved
            out[2, n, f] = degrees
            out[3, n, f] = at_fixed[0, 1, n] + moved * fields[4][f]
            squares = -(moved * d + kappa * degrees)
            if n < parameters:
                squares += trace[n]
            out[4, n, f] = squares
            if pairs:
                out[5, n, f] = at_fixed[1, 0, n] + moved * fields[5][f]
                out[6, n, f] = at_fixed[1, 1, n] + moved * fields[6][f]
            if p >= q:
                total = kappa1 * degrees * q
                if n == parameters + 1:
                    total += kappa1 * d
                elif n == parameters + 2:
                    total += 1
                out[1, n, f] = total * over
            else:
                total = degrees * p
                if n == parameters:
                    total += d
                out[1, n, f] = moved * a - kappa * total
