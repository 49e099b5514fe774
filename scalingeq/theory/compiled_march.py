"""The innermost loops of losses under schedules for numba, as those of `scalingeq.theory.compiled`."""

from __future__ import annotations

import numpy as np

from scalingeq.theory.spectrum import ComplexArray, FloatArray


def march(
    length: FloatArray,
    noise: FloatArray,
    exponent: ComplexArray,
    forcing: FloatArray,
    train: ComplexArray,
    test: ComplexArray,
    root: ComplexArray,
    left: ComplexArray,
    start: ComplexArray,
    push: ComplexArray,
    loss: FloatArray,
    added: FloatArray,
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """March over panels, as `scalingeq.theory.collocation.march` describes; the last two arguments take the results.

    ``test`` has no rows where its kernel is that of the train loss.
    """
    problems, cases = forcing.shape[0], forcing.shape[1]
    panels, stages = noise.shape
    modes = exponent.size
    tested = test.shape[0] > 0
    state = np.zeros((problems, cases, modes), dtype=np.complex128)
    middle = np.empty((stages, modes), dtype=np.complex128)
    sums = np.empty((2, stages), dtype=np.complex128)
    old = np.empty((2, stages), dtype=np.complex128)
    kick = np.empty(stages, dtype=np.complex128)
    matrix = np.empty((stages, stages))
    passed = np.empty((stages, stages))
    value = np.empty((cases, stages))
    for panel in range(panels):
        for i in range(stages):
            scale = length[panel] * root[i]
            for m in range(modes):
                x = 1 - scale.real * exponent[m].real + scale.imag * exponent[m].imag
                y = -scale.real * exponent[m].imag - scale.imag * exponent[m].real
                inverse = 1 / (x * x + y * y)
                middle[i, m] = complex(x * inverse, -y * inverse)
        for p in range(problems):
            for i in range(stages):
                a = complex(0.0)
                for m in range(modes):
                    a += train[p, m] * middle[i, m]
                sums[0, i] = a
                if tested:
                    a = complex(0.0)
                    for m in range(modes):
                        a += test[p, m] * middle[i, m]
                    sums[1, i] = a
            for j in range(stages):
                for k in range(stages):
                    a = complex(0.0)
                    b = complex(0.0)
                    for i in range(stages):
                        both = left[j, i] * push[i, k]
                        a += both * sums[0, i]
                        b += both * sums[1, i]
                    matrix[j, k] = -a.real * noise[panel, k]
                    passed[j, k] = b.real
                matrix[j, j] += 1
            for c in range(cases):
                for i in range(stages):
                    a = complex(0.0)
                    b = complex(0.0)
                    for m in range(modes):
                        kept = state[p, c, m] * middle[i, m]
                        a += train[p, m] * kept
                        if tested:
                            b += test[p, m] * kept
                    old[0, i] = start[i] * a
                    old[1, i] = start[i] * b
                for j in range(stages):
                    a = complex(0.0)
                    b = complex(0.0)
                    for i in range(stages):
                        a += left[j, i] * old[0, i]
                        b += left[j, i] * old[1, i]
                    value[c, j] = forcing[p, c, panel, j] + a.real
                    added[p, c, panel, j] = b.real
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
                for i in range(stages):
                    a = complex(0.0)
                    for j in range(stages):
                        a += push[i, j] * (value[c, j] * noise[panel, j])
                        if tested:
                            added[p, c, panel, i] += passed[i, j] * (value[c, j] * noise[panel, j])
                    kick[i] = a
                for m in range(modes):
                    a = complex(0.0)
                    b = state[p, c, m]
                    for i in range(stages):
                        a += left[stages - 1, i] * (start[i] * b + kick[i]) * middle[i, m]
                    state[p, c, m] = a


def march_tangents(
    length: FloatArray,
    noise: FloatArray,
    exponent: ComplexArray,
    base: FloatArray,
    kernels: ComplexArray,
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
    ``kernels_change`` (kernel, parameter, problem, mode) their changes.
    """
    parameters, problems, cases, panels, stages = forcing_change.shape
    modes = exponent.size
    count = kernels.shape[0]
    # Each kernel has modes of its own, beside those of the other, where its weights are 0.
    lowest, highest = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    for k in range(count):
        used = np.flatnonzero(kernels[k, 0])
        lowest[k], highest[k] = used[0], used[-1] + 1
    state = np.zeros((problems, cases, modes), dtype=np.complex128)
    tangent = np.zeros((parameters, problems, cases, modes), dtype=np.complex128)
    middle = np.empty((stages, modes), dtype=np.complex128)
    stretched = np.empty((stages, modes), dtype=np.complex128)
    sums = np.empty((count, stages), dtype=np.complex128)
    sums_stretched = np.empty((count, stages), dtype=np.complex128)
    through = np.empty((cases, count, stages), dtype=np.complex128)
    response = np.empty((count, stages, stages))
    matrix = np.empty((stages, stages))
    inverse = np.empty((stages, stages))
    kick = np.empty(stages, dtype=np.complex128)
    local = np.empty((count, stages), dtype=np.complex128)
    weighted = np.empty((count, stages, modes), dtype=np.complex128)
    kept = np.empty((count, stages, modes), dtype=np.complex128)
    pushed = np.empty((cases, stages), dtype=np.complex128)
    old = np.empty((count, stages), dtype=np.complex128)
    value = np.empty(stages)
    fed = np.empty(stages)
    for panel in range(panels):
        for i in range(stages):
            scale = length[panel] * root[i]
            for m in range(modes):
                x = 1 - scale.real * exponent[m].real + scale.imag * exponent[m].imag
                y = -scale.real * exponent[m].imag - scale.imag * exponent[m].real
                over = 1 / (x * x + y * y)
                middle[i, m] = complex(x * over, -y * over)
        for i in range(stages):
            for m in range(modes):
                stretched[i, m] = root[i] * exponent[m] * middle[i, m] * middle[i, m]
        for p in range(problems):
            for k in range(count):
                for i in range(stages):
                    a = complex(0.0)
                    b = complex(0.0)
                    for m in range(lowest[k], highest[k]):
                        weighted[k, i, m] = kernels[k, p, m] * middle[i, m]
                        a += weighted[k, i, m]
                        b += kernels[k, p, m] * stretched[i, m]
                    sums[k, i] = a
                    sums_stretched[k, i] = b
                for j in range(stages):
                    for i in range(stages):
                        a = complex(0.0)
                        for n in range(stages):
                            a += left[j, n] * push[n, i] * sums[k, n]
                        response[k, j, i] = a.real
            # Gauss elimination, as in the march itself, for the inverse.
            for j in range(stages):
                for i in range(stages):
                    matrix[j, i] = -response[0, j, i] * noise[panel, i]
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
            for c in range(cases):
                for i in range(stages):
                    a = complex(0.0)
                    for j in range(stages):
                        a += push[i, j] * (base[p, c, panel, j] * noise[panel, j])
                    pushed[c, i] = a
                for k in range(count):
                    for i in range(stages):
                        a = complex(0.0)
                        for m in range(lowest[k], highest[k]):
                            a += kernels[k, p, m] * (state[p, c, m] * stretched[i, m])
                        through[c, k, i] = start[i] * a + sums_stretched[k, i] * pushed[c, i]
            for t in range(parameters):
                stretch = length_change[t, panel]
                for k in range(count):
                    changes = kernels_change[k, t, p].any()
                    for i in range(stages):
                        a = complex(0.0)
                        if changes:
                            for m in range(lowest[k], highest[k]):
                                kept[k, i, m] = kernels_change[k, t, p, m] * middle[i, m]
                                a += kept[k, i, m]
                        local[k, i] = a
                for c in range(cases):
                    for k in range(count):
                        changes = kernels_change[k, t, p].any()
                        for i in range(stages):
                            a = complex(0.0)
                            for m in range(lowest[k], highest[k]):
                                a += weighted[k, i, m] * tangent[t, p, c, m]
                            if changes:
                                for m in range(lowest[k], highest[k]):
                                    a += kept[k, i, m] * state[p, c, m]
                            old[k, i] = start[i] * a + local[k, i] * pushed[c, i] + stretch * through[c, k, i]
                    for j in range(stages):
                        a = complex(0.0)
                        for i in range(stages):
                            a += left[j, i] * old[0, i]
                        value[j] = forcing_change[t, p, c, panel, j] + a.real
                        for i in range(stages):
                            value[j] += response[0, j, i] * (base[p, c, panel, i] * noise_change[t, panel, i])
                    for j in range(stages):
                        total = 0.0
                        for i in range(stages):
                            total += inverse[j, i] * value[i]
                        moved[t, p, c, panel, j] = total
                        fed[j] = total * noise[panel, j] + base[p, c, panel, j] * noise_change[t, panel, j]
                    for k in range(1, count):
                        for j in range(stages):
                            a = complex(0.0)
                            for i in range(stages):
                                a += left[j, i] * old[k, i]
                            total = a.real
                            for i in range(stages):
                                total += response[k, j, i] * fed[i]
                            added[t, p, c, panel, j] = total
                    for i in range(stages):
                        a = complex(0.0)
                        for j in range(stages):
                            a += push[i, j] * fed[j]
                        kick[i] = a
                    for m in range(modes):
                        a = complex(0.0)
                        b = tangent[t, p, c, m]
                        for i in range(stages):
                            a += left[stages - 1, i] * (start[i] * b + kick[i]) * middle[i, m]
                        if stretch != 0:
                            for i in range(stages):
                                own = start[i] * state[p, c, m] + pushed[c, i]
                                a += stretch * left[stages - 1, i] * own * stretched[i, m]
                        tangent[t, p, c, m] = a
            for c in range(cases):
                for m in range(modes):
                    a = complex(0.0)
                    b = state[p, c, m]
                    for i in range(stages):
                        a += left[stages - 1, i] * (start[i] * b + pushed[c, i]) * middle[i, m]
                    state[p, c, m] = a


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
