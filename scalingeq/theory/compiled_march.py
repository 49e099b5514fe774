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
    root: ComplexArray,
    left: ComplexArray,
    start: ComplexArray,
    push: ComplexArray,
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
    middle = np.empty((2, stages, modes))
    decay = np.empty((2, modes))
    weighted = np.empty((kernels, 2, stages, modes))
    sums = np.zeros((2, stages), dtype=np.complex128)
    old = np.zeros((2, stages), dtype=np.complex128)
    matrix = np.empty((stages, stages))
    passed = np.empty((stages, stages))
    value = np.empty((cases, stages))
    new = np.empty((2, modes))
    first = 0
    while first < problems:
        schedule, end = follows[first], first
        while end < problems and follows[end] == schedule:
            end += 1
        for panel in range(panels):
            if length[schedule, panel] == 0:
                break
            decay[:] = 0.0
            for i in range(stages):
                scale, last = length[schedule, panel] * root[i], left[stages - 1, i] * start[i]
                for m in range(modes):
                    x = 1 - scale.real * exponent[m].real + scale.imag * exponent[m].imag
                    y = -scale.real * exponent[m].imag - scale.imag * exponent[m].real
                    inverse = 1 / (x * x + y * y)
                    x, y = x * inverse, -y * inverse
                    middle[0, i, m], middle[1, i, m] = x, y
                    decay[0, m] += last.real * x - last.imag * y
                    decay[1, m] += last.real * y + last.imag * x
            for p in range(first, end):
                for k in range(kernels):
                    weight = train[p] if k == 0 else test[p]
                    for i in range(stages):
                        a, b = 0.0, 0.0
                        for m in range(modes):
                            x = weight[m].real * middle[0, i, m] - weight[m].imag * middle[1, i, m]
                            y = weight[m].real * middle[1, i, m] + weight[m].imag * middle[0, i, m]
                            weighted[k, 0, i, m], weighted[k, 1, i, m] = x, y
                            a += x
                            b += y
                        sums[k, i] = complex(a, b)
                for j in range(stages):
                    for k in range(stages):
                        a, b = 0.0, 0.0
                        for i in range(stages):
                            both = left[j, i] * push[i, k]
                            a += (both * sums[0, i]).real
                            b += (both * sums[1, i]).real
                        matrix[j, k] = -a * noise[schedule, panel, k]
                        passed[j, k] = b
                    matrix[j, j] += 1
                for c in range(cases):
                    for k in range(kernels):
                        for i in range(stages):
                            a, b = 0.0, 0.0
                            for m in range(modes):
                                x, y = state[0, p, c, m], state[1, p, c, m]
                                a += weighted[k, 0, i, m] * x - weighted[k, 1, i, m] * y
                                b += weighted[k, 0, i, m] * y + weighted[k, 1, i, m] * x
                            old[k, i] = start[i] * complex(a, b)
                    for j in range(stages):
                        a, b = 0.0, 0.0
                        for i in range(stages):
                            a += (left[j, i] * old[0, i]).real
                            b += (left[j, i] * old[1, i]).real
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
                        kick = complex(0.0)
                        for j in range(stages):
                            injected = value[c, j] * noise[schedule, panel, j]
                            kick += push[i, j] * injected
                            if kernels == 2:
                                added[p, c, panel, i] += passed[i, j] * injected
                        kick *= left[stages - 1, i]
                        for m in range(modes):
                            new[0, m] += kick.real * middle[0, i, m] - kick.imag * middle[1, i, m]
                            new[1, m] += kick.real * middle[1, i, m] + kick.imag * middle[0, i, m]
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
    root: ComplexArray,
    left: ComplexArray,
    start: ComplexArray,
    push: ComplexArray,
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
    state = np.empty((2, modes))
    tangent = np.empty((2, parameters, modes))
    middle = np.empty((2, stages, modes))
    inside = np.empty((2, stages, modes))
    weighted = np.empty((count, 2, stages, modes))
    change = np.empty((2, modes))
    decay, drift, new = np.empty((2, modes)), np.empty((2, modes)), np.empty((2, modes))
    sums = np.empty((count, stages), dtype=np.complex128)
    through = np.empty((count, stages), dtype=np.complex128)
    old = np.empty((count, stages), dtype=np.complex128)
    pushed = np.empty(stages, dtype=np.complex128)
    response = np.empty((count, stages, stages))
    matrix = np.empty((stages, stages))
    inverse = np.empty((stages, stages))
    value = np.empty(stages)
    fed = np.empty(stages)
    for p in range(problems):
        schedule = follows[p]
        state[:] = 0.0
        tangent[:] = 0.0
        for panel in range(panels):
            if length[schedule, panel] == 0:
                break
            felt = noise[schedule, panel]
            decay[:] = 0.0
            drift[:] = 0.0
            through[:] = 0.0
            new[:] = 0.0
            for i in range(stages):
                pushed[i] = 0.0
                for j in range(stages):
                    pushed[i] += push[i, j] * (base[p, panel, j] * felt[j])
                scale, last = length[schedule, panel] * root[i], left[stages - 1, i]
                for m in range(modes):
                    x = 1 - scale.real * exponent[m].real + scale.imag * exponent[m].imag
                    y = -scale.real * exponent[m].imag - scale.imag * exponent[m].real
                    over = 1 / (x * x + y * y)
                    x, y = x * over, -y * over
                    middle[0, i, m], middle[1, i, m] = x, y
                    # Amplitudes of the modes at the nodes.
                    u = start[i].real * state[0, m] - start[i].imag * state[1, m] + pushed[i].real
                    v = start[i].real * state[1, m] + start[i].imag * state[0, m] + pushed[i].imag
                    u, v = u * x - v * y, u * y + v * x
                    inside[0, i, m], inside[1, i, m] = u, v
                    new[0, m] += last.real * u - last.imag * v
                    new[1, m] += last.real * v + last.imag * u
                turn, pull = last * start[i], last * root[i]
                for m in range(modes):
                    x, y = middle[0, i, m], middle[1, i, m]
                    decay[0, m] += turn.real * x - turn.imag * y
                    decay[1, m] += turn.real * y + turn.imag * x
                    u = inside[0, i, m] * x - inside[1, i, m] * y
                    v = inside[0, i, m] * y + inside[1, i, m] * x
                    drift[0, m] += pull.real * u - pull.imag * v
                    drift[1, m] += pull.real * v + pull.imag * u
                for k in range(count):
                    a, b, c, d = 0.0, 0.0, 0.0, 0.0
                    for m in range(lowest[k], highest[k]):
                        weight, rate = kernels[k, p, m], exponent[m]
                        x = weight.real * middle[0, i, m] - weight.imag * middle[1, i, m]
                        y = weight.real * middle[1, i, m] + weight.imag * middle[0, i, m]
                        weighted[k, 0, i, m], weighted[k, 1, i, m] = x, y
                        a += x
                        b += y
                        u = x * rate.real - y * rate.imag
                        v = x * rate.imag + y * rate.real
                        c += u * inside[0, i, m] - v * inside[1, i, m]
                        d += u * inside[1, i, m] + v * inside[0, i, m]
                    sums[k, i] = complex(a, b)
                    through[k, i] = root[i] * complex(c, d)
            for m in range(modes):
                state[0, m], state[1, m] = new[0, m], new[1, m]
                x, y = drift[0, m], drift[1, m]
                drift[0, m] = x * exponent[m].real - y * exponent[m].imag
                drift[1, m] = x * exponent[m].imag + y * exponent[m].real
            for k in range(count):
                for j in range(stages):
                    for i in range(stages):
                        a = 0.0
                        for n in range(stages):
                            a += (left[j, n] * push[n, i] * sums[k, n]).real
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
                    changes = kernels_change[k, p, t].any()
                    if changes:
                        for m in range(lowest[k], highest[k]):
                            change[0, m], change[1, m] = (
                                kernels_change[k, p, t, m].real,
                                kernels_change[k, p, t, m].imag,
                            )
                    for i in range(stages):
                        a, b = 0.0, 0.0
                        for m in range(lowest[k], highest[k]):
                            x, y = tangent[0, t, m], tangent[1, t, m]
                            a += weighted[k, 0, i, m] * x - weighted[k, 1, i, m] * y
                            b += weighted[k, 0, i, m] * y + weighted[k, 1, i, m] * x
                        old[k, i] = start[i] * complex(a, b) + stretch * through[k, i]
                        if changes:
                            a, b = 0.0, 0.0
                            for m in range(lowest[k], highest[k]):
                                a += change[0, m] * inside[0, i, m] - change[1, m] * inside[1, i, m]
                                b += change[0, m] * inside[1, i, m] + change[1, m] * inside[0, i, m]
                            old[k, i] += complex(a, b)
                for j in range(stages):
                    a = forcing_change[p, t, panel, j]
                    for i in range(stages):
                        a += (left[j, i] * old[0, i]).real + response[0, j, i] * (base[p, panel, i] * louder[i])
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
                            a += (left[j, i] * old[k, i]).real + response[k, j, i] * fed[i]
                        added[p, t, panel, j] = a
                for m in range(modes):
                    x, y = tangent[0, t, m], tangent[1, t, m]
                    new[0, m] = decay[0, m] * x - decay[1, m] * y + stretch * drift[0, m]
                    new[1, m] = decay[0, m] * y + decay[1, m] * x + stretch * drift[1, m]
                for i in range(stages):
                    kick = complex(0.0)
                    for j in range(stages):
                        kick += push[i, j] * fed[j]
                    kick *= left[stages - 1, i]
                    for m in range(modes):
                        new[0, m] += kick.real * middle[0, i, m] - kick.imag * middle[1, i, m]
                        new[1, m] += kick.real * middle[1, i, m] + kick.imag * middle[0, i, m]
                for m in range(modes):
                    tangent[0, t, m], tangent[1, t, m] = new[0, m], new[1, m]


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
