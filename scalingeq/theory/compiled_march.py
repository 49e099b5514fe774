"""The innermost loops of losses under schedules for numba, as those of `scalingeq.theory.compiled`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scalingeq.theory.spectrum import ComplexArray, FloatArray


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
    state = np.zeros((2, problems, cases, modes))
    basis = np.empty((2, stages, modes))
    decay = np.empty((2, modes))
    new = np.empty((2, modes))
    weighted = np.empty((kernels, 2, stages, modes))
    sums = np.zeros((2, stages))
    old = np.zeros((2, stages))
    matrix = np.empty((stages, stages))
    passed = np.empty((stages, stages))
    value = np.empty((cases, stages))
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
                last = start[stages - 1, i]
                for m in range(modes):
                    x, y = span * exponent[m].real, span * exponent[m].imag
                    if times_x[i]:
                        u, v = basis[0, i - 1, m], basis[1, i - 1, m]
                        u, v = u * x - v * y, u * y + v * x
                    else:
                        u = 1 - linear[i] * x + square[i] * (x * x - y * y)
                        v = -linear[i] * y + 2 * square[i] * x * y
                        over = 1 / (u * u + v * v)
                        u, v = u * over, -v * over
                    basis[0, i, m], basis[1, i, m] = u, v
                    decay[0, m] += last * u
                    decay[1, m] += last * v
            for p in range(first, end):
                for k in range(kernels):
                    weight = train[p] if k == 0 else test[p]
                    for i in range(stages):
                        a = 0.0
                        for m in range(modes):
                            x = weight[m].real * basis[0, i, m] - weight[m].imag * basis[1, i, m]
                            weighted[k, 0, i, m] = x
                            weighted[k, 1, i, m] = weight[m].real * basis[1, i, m] + weight[m].imag * basis[0, i, m]
                            a += x
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
                    for k in range(kernels):
                        for i in range(stages):
                            a = 0.0
                            for m in range(modes):
                                a += weighted[k, 0, i, m] * state[0, p, c, m] - weighted[k, 1, i, m] * state[1, p, c, m]
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
                    for m in range(modes):
                        x, y = state[0, p, c, m], state[1, p, c, m]
                        new[0, m] = decay[0, m] * x - decay[1, m] * y
                        new[1, m] = decay[0, m] * y + decay[1, m] * x
                    for i in range(stages):
                        kick = 0.0
                        for j in range(stages):
                            injected = value[c, j] * noise[schedule, panel, j]
                            kick += push[stages - 1, i, j] * injected
                            added[p, c, panel, i] += passed[i, j] * injected
                        for m in range(modes):
                            new[0, m] += kick * basis[0, i, m]
                            new[1, m] += kick * basis[1, i, m]
                    for m in range(modes):
                        state[0, p, c, m], state[1, p, c, m] = new[0, m], new[1, m]
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
    zr, zi = state[0], state[1]
    tangent = np.empty((2, parameters, modes))
    basis, held, slope = np.empty((2, stages, modes)), np.empty((2, stages, modes)), np.empty((2, stages, modes))
    weighted = np.empty((count, 2, stages, modes))
    decay, drift, new = np.empty((2, modes)), np.empty((2, modes)), np.empty((2, modes))
    (decay_x, decay_y), (drift_x, drift_y), (new_x, new_y) = (decay[0], decay[1]), (drift[0], drift[1]), (new[0], new[1])
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
                br, bi, hr, hi, sr, si = basis[0, i], basis[1, i], held[0, i], held[1, i], slope[0, i], slope[1, i]
                one, two, turned = linear[i], square[i], 1.0 if times_x[i] else 0.0
                for m in range(modes):
                    x, y = span * rate[0, m], span * rate[1, m]
                    # One over the denominator, the function, and its derivative times the exponent.
                    c, d = 1 - one * x + two * (x * x - y * y), -one * y + 2 * two * x * y
                    over = 1 / (c * c + d * d)
                    c, d = c * over, -d * over
                    u, v = c * x - d * y, c * y + d * x
                    u, v = c + turned * (u - c), d + turned * (v - d)
                    br[m], bi[m] = u, v
                    x, y = one - 2 * two * x, -2 * two * y
                    x, y = turned + u * x - v * y, u * y + v * x
                    x, y = c * x - d * y, c * y + d * x
                    sr[m], si[m] = x * rate[0, m] - y * rate[1, m], x * rate[1, m] + y * rate[0, m]
                for m in range(modes):
                    hr[m], hi[m] = br[m] * zr[m] - bi[m] * zi[m], br[m] * zi[m] + bi[m] * zr[m]
                last, kick = start[stages - 1, i], pushed[stages - 1, i]
                for m in range(modes):
                    decay_x[m] += last * br[m]
                    decay_y[m] += last * bi[m]
                for m in range(modes):
                    new_x[m] += last * hr[m] + kick * br[m]
                    new_y[m] += last * hi[m] + kick * bi[m]
                for m in range(modes):
                    drift_x[m] += last * (sr[m] * zr[m] - si[m] * zi[m]) + kick * sr[m]
                    drift_y[m] += last * (sr[m] * zi[m] + si[m] * zr[m]) + kick * si[m]
                for k in range(count):
                    wr, wi = weight[k, 0], weight[k, 1]
                    ur, ui = weighted[k, 0, i], weighted[k, 1, i]
                    a, b, c = 0.0, 0.0, 0.0
                    for m in range(modes):
                        ur[m] = wr[m] * br[m] - wi[m] * bi[m]
                        ui[m] = wr[m] * bi[m] + wi[m] * br[m]
                        x, y = wr[m] * sr[m] - wi[m] * si[m], wr[m] * si[m] + wi[m] * sr[m]
                        a += ur[m]
                        b += x
                        c += x * zr[m] - y * zi[m]
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
                    tr, ti = tangent[0, t, low:], tangent[1, t, low:]
                    cr, ci = change[k, 0, p, t, low:], change[k, 1, p, t, low:]
                    for i in range(stages):
                        ur, ui = weighted[k, 0, i, low:], weighted[k, 1, i, low:]
                        a, b = 0.0, 0.0
                        for m in range(size):
                            a += ur[m] * tr[m] - ui[m] * ti[m]
                        if changes[k, p, t]:
                            br, bi, hr, hi = basis[0, i, low:], basis[1, i, low:], held[0, i, low:], held[1, i, low:]
                            for m in range(size):
                                a += cr[m] * hr[m] - ci[m] * hi[m]
                                b += cr[m] * br[m] - ci[m] * bi[m]
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
                tr, ti = tangent[0, t], tangent[1, t]
                for m in range(modes):
                    new_x[m] = decay_x[m] * tr[m] - decay_y[m] * ti[m] + stretch * drift_x[m]
                    new_y[m] = decay_x[m] * ti[m] + decay_y[m] * tr[m] + stretch * drift_y[m]
                for i in range(stages):
                    kick = 0.0
                    for j in range(stages):
                        kick += push[stages - 1, i, j] * fed[j]
                    br, bi = basis[0, i], basis[1, i]
                    for m in range(modes):
                        new_x[m] += kick * br[m]
                        new_y[m] += kick * bi[m]
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


def totals(
    rate: FloatArray, noise_rate: FloatArray, time: FloatArray, noise: FloatArray
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Integrals up to each step of the rate and of rate times noise rate; the last two arguments take them."""
    time[0], noise[0] = 0.0, 0.0
    for i in range(rate.size):
        time[i + 1] = time[i] + rate[i]
        noise[i + 1] = noise[i] + rate[i] * noise_rate[i]
