"""The innermost loops of losses under schedules for numba, as those of `scalingeq.theory.compiled`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scalingeq.theory.spectrum import ComplexArray, FloatArray


def decay(
    time: FloatArray, rate: ComplexArray, gone: float, residual: ComplexArray
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Exponentials (time, mode) of time times rate, 0 below that of ``gone``; the last argument takes them."""
    for i in range(time.size):
        for m in range(rate.size):
            x, y = time[i] * rate[m].real, time[i] * rate[m].imag
            residual[i, m] = 0.0
            if x > gone:
                size = np.exp(x)
                residual[i, m] = complex(size * np.cos(y), size * np.sin(y))


def march(
    length: FloatArray,
    noise: FloatArray,
    exponent: ComplexArray,
    forcing: FloatArray,
    train: ComplexArray,
    test: ComplexArray,
    follows: NDArray[np.int64],
    linear: FloatArray,
    square: FloatArray,
    times_x: NDArray[np.bool_],
    start: FloatArray,
    push: FloatArray,
    loss: FloatArray,
    added: FloatArray,
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """March over panels, as `scalingeq.theory.collocation.march` describes; the last two arguments take the results.

    ``test`` has no rows where its kernel is that of the train loss. Complex numbers are kept as real and imaginary parts
    apart, which fill the processor's vectors.
    """
    problems, cases = forcing.shape[0], forcing.shape[1]
    panels, stages = noise.shape[1], noise.shape[2]
    modes = exponent.size
    kernels = 2 if test.shape[0] > 0 else 1
    rate, weights = np.empty((2, modes)), np.empty((kernels, 2, problems, modes))
    rate[0], rate[1] = exponent.real, exponent.imag
    weights[0, 0], weights[0, 1] = train.real, train.imag
    if kernels == 2:
        weights[1, 0], weights[1, 1] = test.real, test.imag
    state = np.zeros((2, problems, cases, modes))
    basis = np.empty((2, stages, modes))
    decay, new = np.empty((2, modes)), np.empty((2, modes))
    weighted = np.empty((kernels, 2, stages, modes))
    sums = np.zeros((2, stages))
    old = np.zeros((2, stages))
    matrix = np.empty((stages, stages))
    passed = np.empty((stages, stages))
    value = np.empty((cases, stages))
    rx, ry, dx, dy, nx, ny = rate[0], rate[1], decay[0], decay[1], new[0], new[1]
    first = 0
    while first < problems:
        schedule, end = follows[first], first
        while end < problems and follows[end] == schedule:
            end += 1
        for panel in range(panels):
            span = length[schedule, panel]
            if span == 0:
                break
            decay[:] = 0.0
            for i in range(stages):
                bx, by = basis[0, i], basis[1, i]
                one, two, turned = linear[i], square[i], 1.0 if times_x[i] else 0.0
                for m in range(modes):
                    x, y = span * rx[m], span * ry[m]
                    c, d = 1 - one * x + two * (x * x - y * y), -one * y + 2 * two * x * y
                    over = 1 / (c * c + d * d)
                    c, d = c * over, -d * over
                    bx[m], by[m] = c + turned * (c * x - d * y - c), d + turned * (c * y + d * x - d)
                last = start[stages - 1, i]
                for m in range(modes):
                    dx[m] += last * bx[m]
                    dy[m] += last * by[m]
            for p in range(first, end):
                for k in range(kernels):
                    wx, wy = weights[k, 0, p], weights[k, 1, p]
                    for i in range(stages):
                        bx, by, ux, uy = basis[0, i], basis[1, i], weighted[k, 0, i], weighted[k, 1, i]
                        a = 0.0
                        for m in range(modes):
                            ux[m] = wx[m] * bx[m] - wy[m] * by[m]
                            uy[m] = wx[m] * by[m] + wy[m] * bx[m]
                            a += ux[m]
                        sums[k, i] = a
                for j in range(stages):
                    for k in range(stages):
                        a, b = 0.0, 0.0
                        for i in range(stages):
                            a += push[j, i, k] * sums[0, i]
                            b += push[j, i, k] * sums[1, i]
                        matrix[j, k] = -a * noise[schedule, panel, k]
                        passed[j, k] = b
                    matrix[j, j] += 1
                for c in range(cases):
                    zx, zy = state[0, p, c], state[1, p, c]
                    for k in range(kernels):
                        for i in range(stages):
                            ux, uy = weighted[k, 0, i], weighted[k, 1, i]
                            a = 0.0
                            for m in range(modes):
                                a += ux[m] * zx[m] - uy[m] * zy[m]
                            old[k, i] = a
                    for j in range(stages):
                        a, b = 0.0, 0.0
                        for i in range(stages):
                            a += start[j, i] * old[0, i]
                            b += start[j, i] * old[1, i]
                        value[c, j] = forcing[p, c, panel, j] + a
                        added[p, c, panel, j] = b
                # Gauss elimination: the noise of a panel is a small part of the loss, so that the diagonal leads.
                for k in range(stages):
                    for j in range(k + 1, stages):
                        factor = matrix[j, k] / matrix[k, k]
                        for i in range(k + 1, stages):
                            matrix[j, i] -= factor * matrix[k, i]
                        for c in range(cases):
                            value[c, j] -= factor * value[c, k]
                for c in range(cases):
                    for j in range(stages - 1, -1, -1):
                        for i in range(j + 1, stages):
                            value[c, j] -= matrix[j, i] * value[c, i]
                        value[c, j] /= matrix[j, j]
                        loss[p, c, panel, j] = value[c, j]
                    zx, zy = state[0, p, c], state[1, p, c]
                    for m in range(modes):
                        nx[m] = dx[m] * zx[m] - dy[m] * zy[m]
                        ny[m] = dx[m] * zy[m] + dy[m] * zx[m]
                    for i in range(stages):
                        kick = 0.0
                        for j in range(stages):
                            injected = value[c, j] * noise[schedule, panel, j]
                            kick += push[stages - 1, i, j] * injected
                            added[p, c, panel, i] += passed[i, j] * injected
                        bx, by = basis[0, i], basis[1, i]
                        for m in range(modes):
                            nx[m] += kick * bx[m]
                            ny[m] += kick * by[m]
                    state[:, p, c] = new
        first = end


def march_tangents(
    length: FloatArray,
    noise: FloatArray,
    exponent: ComplexArray,
    base: FloatArray,
    kernels: ComplexArray,
    follows: NDArray[np.int64],
    forcing_change: FloatArray,
    kernels_change: ComplexArray,
    length_change: FloatArray,
    noise_change: FloatArray,
    linear: FloatArray,
    square: FloatArray,
    times_x: NDArray[np.bool_],
    start: FloatArray,
    push: FloatArray,
    moved: FloatArray,
    added: FloatArray,
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """March over panels, as `scalingeq.theory.tangents.march_tangents` describes; the last two take the results.

    ``kernels`` (kernel, problem, mode) are that of the train loss and, where it is another one, that of the test loss;
    ``kernels_change`` (kernel, problem, parameter, mode) their changes. Complex numbers are in parts, as in `march`.
    """
    problems, parameters = forcing_change.shape[:2]
    panels, stages = noise.shape[1], noise.shape[2]
    modes, count = exponent.size, kernels.shape[0]
    # Each kernel has modes of its own, beside those of the other, where its weights are 0.
    lowest, highest = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    for k in range(count):
        used = np.flatnonzero(kernels[k, 0])
        lowest[k], highest[k] = used[0], used[-1] + 1
    rate, weight = np.empty((2, modes)), np.empty((count, 2, modes))
    rate[0], rate[1] = exponent.real, exponent.imag
    state = np.empty((2, modes))
    zx, zy = state[0], state[1]
    tangent = np.empty((2, parameters, modes))
    basis, held, slope = np.empty((2, stages, modes)), np.empty((2, stages, modes)), np.empty((2, stages, modes))
    weighted = np.empty((count, 2, stages, modes))
    decay, drift, new = np.empty((2, modes)), np.empty((2, modes)), np.empty((2, modes))
    (decay_x, decay_y), (drift_x, drift_y), (new_x, new_y) = (
        (decay[0], decay[1]),
        (drift[0], drift[1]),
        (new[0], new[1]),
    )
    # Of the functions: sums with the kernels, and as they change with the length, with the state and by themselves.
    sums, stretched, through = np.empty((count, stages)), np.empty((count, stages)), np.empty((count, stages))
    old, own = np.empty((count, stages)), np.empty((count, stages))
    pushed = np.empty((stages, stages))
    response = np.empty((count, stages, stages))
    matrix = np.empty((stages, stages))
    inverse = np.empty((stages, stages))
    value = np.empty(stages)
    fed = np.empty(stages)
    changes = np.empty((count, problems, parameters), dtype=np.bool_)
    change = np.empty((count, 2, problems, parameters, modes))
    for k in range(count):
        change[k, 0], change[k, 1] = kernels_change[k].real, kernels_change[k].imag
        for p in range(problems):
            for t in range(parameters):
                changes[k, p, t] = kernels_change[k, p, t].any()
    for p in range(problems):
        schedule = follows[p]
        state[:] = 0.0
        tangent[:] = 0.0
        for k in range(count):
            for m in range(modes):
                weight[k, 0, m], weight[k, 1, m] = kernels[k, p, m].real, kernels[k, p, m].imag
        for panel in range(panels):
            span = length[schedule, panel]
            if span == 0:
                break
            felt = noise[schedule, panel]
            decay[:] = 0.0
            drift[:] = 0.0
            new[:] = 0.0
            for i in range(stages):
                for j in range(stages):
                    a = 0.0
                    for n in range(stages):
                        a += push[j, i, n] * (base[p, panel, n] * felt[n])
                    pushed[j, i] = a
                bx, by, hx, hy, sx, sy = basis[0, i], basis[1, i], held[0, i], held[1, i], slope[0, i], slope[1, i]
                one, two, turned = linear[i], square[i], 1.0 if times_x[i] else 0.0
                for m in range(modes):
                    x, y = span * rate[0, m], span * rate[1, m]
                    # One over the denominator, the function, and its derivative times the exponent.
                    c, d = 1 - one * x + two * (x * x - y * y), -one * y + 2 * two * x * y
                    over = 1 / (c * c + d * d)
                    c, d = c * over, -d * over
                    u, v = c * x - d * y, c * y + d * x
                    u, v = c + turned * (u - c), d + turned * (v - d)
                    bx[m], by[m] = u, v
                    x, y = one - 2 * two * x, -2 * two * y
                    x, y = turned + u * x - v * y, u * y + v * x
                    x, y = c * x - d * y, c * y + d * x
                    sx[m], sy[m] = x * rate[0, m] - y * rate[1, m], x * rate[1, m] + y * rate[0, m]
                for m in range(modes):
                    hx[m], hy[m] = bx[m] * zx[m] - by[m] * zy[m], bx[m] * zy[m] + by[m] * zx[m]
                last, kick = start[stages - 1, i], pushed[stages - 1, i]
                for m in range(modes):
                    decay_x[m] += last * bx[m]
                    decay_y[m] += last * by[m]
                for m in range(modes):
                    new_x[m] += last * hx[m] + kick * bx[m]
                    new_y[m] += last * hy[m] + kick * by[m]
                for m in range(modes):
                    drift_x[m] += last * (sx[m] * zx[m] - sy[m] * zy[m]) + kick * sx[m]
                    drift_y[m] += last * (sx[m] * zy[m] + sy[m] * zx[m]) + kick * sy[m]
                for k in range(count):
                    wx, wy = weight[k, 0], weight[k, 1]
                    ux, uy = weighted[k, 0, i], weighted[k, 1, i]
                    a, b, c = 0.0, 0.0, 0.0
                    for m in range(modes):
                        ux[m] = wx[m] * bx[m] - wy[m] * by[m]
                        uy[m] = wx[m] * by[m] + wy[m] * bx[m]
                        x, y = wx[m] * sx[m] - wy[m] * sy[m], wx[m] * sy[m] + wy[m] * sx[m]
                        a += ux[m]
                        b += x
                        c += x * zx[m] - y * zy[m]
                    sums[k, i], stretched[k, i], through[k, i] = a, b, c
            state[:] = new
            for k in range(count):
                for j in range(stages):
                    for i in range(stages):
                        a = 0.0
                        for n in range(stages):
                            a += push[j, n, i] * sums[k, n]
                        response[k, j, i] = a
            # Gauss elimination, as in the march itself, for the inverse.
            for j in range(stages):
                for i in range(stages):
                    matrix[j, i] = -response[0, j, i] * felt[i]
                    inverse[j, i] = 0.0
                matrix[j, j] += 1
                inverse[j, j] = 1.0
            for k in range(stages):
                pivot = 1 / matrix[k, k]
                for i in range(stages):
                    matrix[k, i] *= pivot
                    inverse[k, i] *= pivot
                for j in range(stages):
                    if j != k:
                        factor = matrix[j, k]
                        for i in range(stages):
                            matrix[j, i] -= factor * matrix[k, i]
                            inverse[j, i] -= factor * inverse[k, i]
            for t in range(parameters):
                stretch = length_change[schedule, t, panel]
                louder = noise_change[schedule, t, panel]
                for k in range(count):
                    # Where the weights are 0 there is nothing to sum.
                    low, size = lowest[k], highest[k] - lowest[k]
                    tx, ty = tangent[0, t, low:], tangent[1, t, low:]
                    cx, cy = change[k, 0, p, t, low:], change[k, 1, p, t, low:]
                    for i in range(stages):
                        ux, uy = weighted[k, 0, i, low:], weighted[k, 1, i, low:]
                        a, b = 0.0, 0.0
                        for m in range(size):
                            a += ux[m] * tx[m] - uy[m] * ty[m]
                        if changes[k, p, t]:
                            bx, by, hx, hy = basis[0, i, low:], basis[1, i, low:], held[0, i, low:], held[1, i, low:]
                            for m in range(size):
                                a += cx[m] * hx[m] - cy[m] * hy[m]
                                b += cx[m] * bx[m] - cy[m] * by[m]
                        old[k, i] = a + stretch * through[k, i]
                        own[k, i] = b + stretch * stretched[k, i]
                for j in range(stages):
                    a = forcing_change[p, t, panel, j]
                    for i in range(stages):
                        a += start[j, i] * old[0, i] + pushed[j, i] * own[0, i]
                        a += response[0, j, i] * (base[p, panel, i] * louder[i])
                    value[j] = a
                for j in range(stages):
                    a = 0.0
                    for i in range(stages):
                        a += inverse[j, i] * value[i]
                    moved[p, t, panel, j] = a
                    fed[j] = a * felt[j] + base[p, panel, j] * louder[j]
                for k in range(1, count):
                    for j in range(stages):
                        a = 0.0
                        for i in range(stages):
                            a += start[j, i] * old[k, i] + pushed[j, i] * own[k, i] + response[k, j, i] * fed[i]
                        added[p, t, panel, j] = a
                tx, ty = tangent[0, t], tangent[1, t]
                for m in range(modes):
                    new_x[m] = decay_x[m] * tx[m] - decay_y[m] * ty[m] + stretch * drift_x[m]
                    new_y[m] = decay_x[m] * ty[m] + decay_y[m] * tx[m] + stretch * drift_y[m]
                for i in range(stages):
                    kick = 0.0
                    for j in range(stages):
                        kick += push[stages - 1, i, j] * fed[j]
                    bx, by = basis[0, i], basis[1, i]
                    for m in range(modes):
                        new_x[m] += kick * bx[m]
                        new_y[m] += kick * by[m]
                tangent[:, t] = new


def at_times(
    time: FloatArray, series: FloatArray, asked: FloatArray, found: FloatArray
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Sum the powers (row, panel, power) of `scalingeq.theory.collocation.at_times`; the last argument takes them."""
    begin = 0
    for panel in range(time.shape[0]):
        end = asked.size
        if panel < time.shape[0] - 1:
            end = begin
            while end < asked.size and asked[end] <= time[panel + 1, 0]:
                end += 1
        first, over = time[panel, 0], 2 / (time[panel, 1] - time[panel, 0])
        for row in range(series.shape[0]):
            # As many powers as a panel has nodes and a beginning, one by one: loops over them are not vectorised.
            c = series[row, panel]
            c0, c1, c2, c3, c4, c5, c6, c7 = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
            for i in range(begin, end):
                x = (asked[i] - first) * over - 1
                found[row, i] = ((((((c7 * x + c6) * x + c5) * x + c4) * x + c3) * x + c2) * x + c1) * x + c0
        begin = end
