"""The renormalised frequency followed along paths in the complex plane, with the sums over the spectrum there.

It is a root that changes branch where it is looked for without care, so that it is continued from the real axis. Each
point of a path is predicted from the three before it so well that one pass over the nodes of the spectrum is enough:
the pass gives the sums and their first two derivatives, and with them the last step to third order.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scalingeq.errors import ConvergenceError
from scalingeq.theory.compiled import loops
from scalingeq.theory.scratch import scratch
from scalingeq.theory.spectrum import ComplexArray, FloatArray, Nodes, Number

#: Elements of the arrays (frequency, node) that one pass works on, so that they stay in the processor's cache.
CHUNK = 40_000
#: Elements of such arrays up to which the number of steps counts, not the work in each.
FEW = 4000
#: Largest steps of Newton's method, in units of s, that no other follows, of so many at most: values are right to third
#: order in the last, first derivatives to second, and second ones to first, where these, too, are wanted to the last digits.
SHORT, SHORTEST, PASSES = 3e-5, 1e-10, 3
#: Largest last step, in units of the renormalised frequency, after which it counts as found.
LAST_STEP = 1e-3
#: Steps in which a frequency anywhere is reached from the positive real axis, at first and where they were too few.
STEPS, CAREFUL_STEPS = 14, 48
#: What is found at each frequency: kappa2, kappa1, degrees, power, squares, and first and second derivatives of degrees
#: and power, as `scalingeq.theory.equivalents.OnePoint` has them. The sums are exact to the third order in the last step
#: of Newton's method, their derivatives to the second and the first.
FIELDS = 9


def weights_of(nodes: Nodes) -> FloatArray:
    """Weights (3, node) of the sums: trace, target and trace times eigenvalue."""
    trace = nodes.modes * nodes.eigenvalue
    return np.stack([trace, nodes.target, trace * nodes.eigenvalue])


def with_moments(weights: FloatArray, eigenvalue: FloatArray) -> FloatArray:
    """Columns (node, 2 weight) that `resolvent_sums` takes: the weights, and the weights times the eigenvalue."""
    return np.ascontiguousarray(np.concatenate([weights, weights * eigenvalue]).T)


def resolvent_sums(
    kappa: ComplexArray,
    eigenvalue: FloatArray,
    columns: FloatArray | ComplexArray,
    powers: int,
    work: ComplexArray,
) -> ComplexArray:
    """Sums (power, row, weight) of ``weight / (eigenvalue + kappa)**power`` for powers up to 2 or 3.

    ``columns`` are those of `with_moments`, or the weights (node, weight) as complex numbers, which take fewer steps but
    each of more work; ``work`` is room for at least (powers, row, node) numbers.
    """
    rows, size = kappa.size, kappa.size * eigenvalue.size
    if columns.dtype.kind == "c":
        resolvent = work[: powers * size].reshape(powers, rows, -1)
        np.add(kappa[:, None], eigenvalue, out=resolvent[0])
        np.reciprocal(resolvent[0], out=resolvent[0])
        for power in range(1, powers):
            np.multiply(resolvent[power - 1], resolvent[0], out=resolvent[power])
        return (resolvent.reshape(-1, eigenvalue.size) @ columns).reshape(powers, rows, -1)
    # With x + iy = eigenvalue + kappa they are sums of real powers of 1/(x**2 + y**2).
    count, x, y = columns.shape[1] // 2, kappa.real[:, None], kappa.imag[:, None]
    inverse = work.view(np.float64)[: powers * size].reshape(powers, rows, -1)
    first = inverse[0]
    np.add(x, eigenvalue, out=first)
    np.multiply(first, first, out=first)
    first += y * y
    np.divide(1.0, first, out=first)
    for power in range(1, powers):
        np.multiply(inverse[power - 1], first, out=inverse[power])
    both = (inverse.reshape(-1, eigenvalue.size) @ columns).reshape(powers, rows, 2 * count)
    # Sums of weight / (x + iy) / (x**2 + y**2)**n, from which all others follow.
    plain, turn = both[..., :count], -2j * y
    mixed = both[..., count:] + kappa.conj()[:, None] * plain
    sums = np.empty((powers, rows, count), dtype=np.complex128)
    sums[0] = mixed[0]
    np.multiply(turn, mixed[1:], out=sums[1:])
    sums[1:] += plain[:-1]
    if powers == 3:
        sums[2] *= turn
        sums[2] += mixed[1]
    return sums


def sums_at(kappa: ComplexArray, eigenvalue: FloatArray, columns: FloatArray, powers: int) -> ComplexArray:
    """What `resolvent_sums` gives, of many frequencies."""
    sums = np.empty((powers, kappa.size, columns.shape[1] // 2), dtype=np.complex128)
    step = min(max(1, CHUNK // eigenvalue.size), max(kappa.size, 1))
    work = scratch("powers of resolvents", (powers * step * eigenvalue.size,))
    for i in range(0, kappa.size, step):
        sums[:, i : i + step] = resolvent_sums(kappa[i : i + step], eigenvalue, columns, powers, work)
    return sums


def real_root(
    s: FloatArray,
    nodes: Nodes,
    per_width: FloatArray,
    per_sample: FloatArray,
    bottom: float,
    last_step: float = 1e-10,
) -> FloatArray:
    """Renormalised frequency (row,) at real s >= 0, none below ``bottom``, by Newton's method inside a bracket.

    It ends with relative steps of ``last_step``: what is left is the square of the step.
    """
    weight = nodes.modes * nodes.eigenvalue
    top = float((s + nodes.trace * (per_width + per_sample)).max())
    decades = math.log10(max(top / bottom, 1.0))
    points = 4 + int(4 * decades)
    grid = bottom * 10 ** (np.arange(points) * ((decades + math.log10(2)) / (points - 1)))
    degrees = (1 / (grid[:, None] + nodes.eigenvalue)) @ weight
    a, b = 1 - per_width[:, None] * degrees, 1 - per_sample[:, None] * degrees
    value = np.where((a > 0) & (b > 0), grid * a * b, -1.0)
    # Above the root the left-hand side grows: the bracket ends where the last run of values above s starts.
    above = value >= s[:, None]
    index = np.maximum(grid.size - np.cumprod(above[:, ::-1], axis=1).sum(axis=1), 1)
    upper, rows = np.minimum(index, grid.size - 1), np.arange(s.size)
    low, high = grid[index - 1] * (1 - 1e-12), grid[upper]
    at_low, at_high = value[rows, index - 1], value[rows, upper]
    kappa = high.copy()
    # Where both ends are on the branch, the root is close to a power law's between them.
    inside = (at_low > 0) & (at_high > at_low) & (s > at_low) & (s < at_high)
    share = np.log(s[inside] / at_low[inside]) / np.log(at_high[inside] / at_low[inside])
    kappa[inside] = low[inside] * (high[inside] / low[inside]) ** share
    columns = weight.reshape(-1, 1)
    for _ in range(100):
        resolvent = 1 / (kappa[:, None] + nodes.eigenvalue)
        degrees = (resolvent @ columns)[:, 0]
        resolvent *= resolvent
        value, slope = residual(kappa, s, degrees, -(resolvent @ columns)[:, 0], per_width, per_sample)
        below = (value < 0) | (degrees * per_width > 1) | (degrees * per_sample > 1)
        low, high = np.where(below, kappa, low), np.where(below, high, kappa)
        new = kappa - value / slope
        new = np.where((new >= low) & (new <= high), new, np.sqrt(low * high))
        change = np.abs(new - kappa)
        kappa = new
        if (change <= last_step * kappa).all():
            return np.asarray(kappa)
    raise ConvergenceError(
        f"the renormalised frequency at s = {s[change.argmax()]:.6g} did not converge in 100 steps of Newton's method"
    )


def residual(
    kappa: NDArray[Number],
    s: NDArray[Number],
    degrees: NDArray[Number],
    slope: NDArray[Number],
    per_width: FloatArray,
    per_sample: FloatArray,
) -> tuple[NDArray[Number], NDArray[Number]]:
    """``kappa (1 - df/N)(1 - df/P) - s`` and its derivative; ``slope`` is that of df."""
    a, b = 1 - degrees * per_width, 1 - degrees * per_sample
    return kappa * a * b - s, a * b - kappa * slope * (b * per_width + a * per_sample)


def follow(
    path: ComplexArray,
    nodes: Nodes,
    per_width: FloatArray,
    per_sample: FloatArray,
    polish: bool = False,
    copies: bool = False,
) -> ComplexArray:
    """Follow the renormalised frequency along paths.

    Parameters
    ----------
    path : ndarray of complex, shape (path, point)
        Laplace frequencies; the first of each path is real and positive, the others lie above, one smooth step apart,
        so that the path and its mirror image are one.
    nodes : Nodes
        Nodes of the spectrum.
    per_width, per_sample : ndarray, shape (path,)
        One over the width and one over the number of samples.
    polish : bool
        Whether derivatives, too, are wanted to the last digits.
    copies : bool
        Whether the paths are scaled copies of one.

    Returns
    -------
    ndarray of complex, shape (FIELDS, path, point)
        Frequencies and sums.

    Raises
    ------
    ConvergenceError
        Where Newton's method fails.
    """
    fields, found = _walk(path, nodes, per_width, per_sample, polish=polish, copies=copies)
    if not found.all():
        row, point = np.nonzero(~found)
        fields[:, row, point] = follow_to(path[row, point], nodes, per_width[row], per_sample[row], CAREFUL_STEPS)
    return fields


def follow_to(
    s: ComplexArray, nodes: Nodes, per_width: FloatArray, per_sample: FloatArray, most_steps: int = STEPS
) -> ComplexArray:
    """What `follow` finds (FIELDS, row) at s in the upper half plane, continued from |s| in even steps of angle.

    Raises
    ------
    ConvergenceError
        Where Newton's method fails.
    """
    careful = most_steps == CAREFUL_STEPS
    fields, found = np.empty((FIELDS, s.size), dtype=np.complex128), np.empty(s.size, dtype=np.bool_)
    real = s.imag == 0
    for rows, steps in ((real, 0), (~real, most_steps)):
        if rows.any():
            angle = np.angle(s[rows])[:, None] * np.linspace(0, 1, steps + 1)
            path = np.abs(s[rows])[:, None] * np.exp(1j * angle)
            ends = _walk(path, nodes, per_width[rows], per_sample[rows], polish=True)
            fields[:, rows], found[rows] = ends[0][:, :, -1], ends[1][:, -1]
    wrong = ~found
    if wrong.any():
        if careful:
            raise ConvergenceError(
                f"the renormalised frequency at s = {s[wrong][0]:.6g} did not converge to the branch that continues s > 0"
            )
        fields[:, wrong] = follow_to(s[wrong], nodes, per_width[wrong], per_sample[wrong], CAREFUL_STEPS)
    return fields


def _is_found(s: ComplexArray, kappa: ComplexArray, step: ComplexArray) -> NDArray[np.bool_]:
    """Whether a frequency is found to the last digits, and on the right branch."""
    # kappa2 / s is a Stieltjes function: on the right branch 0 <= arg kappa2 <= arg s, and only there.
    modulus = np.abs(kappa)
    slack = -1e-9 * modulus
    before = s.imag * kappa.real - s.real * kappa.imag >= np.abs(s) * slack
    return np.asarray((np.abs(step) <= LAST_STEP * modulus) & (kappa.imag >= slack) & before)


def predictors(log: ComplexArray) -> ComplexArray:
    """Weights (path, point, 6) that continue a function, by values and slopes at three points, to the next point.

    ``log`` (path, point) is the logarithm of the path, 0 at its start. The weights of point n belong to the values and
    slopes at n - 3, n - 2 and n - 1, in turn; those of points 0 and 1 are not for use. The point before the start is
    the mirror image of the one after it.
    """
    paths, points = log.shape
    weights = np.zeros((paths, points, 3, 2), dtype=np.complex128)
    if points > 2:
        all_points = np.concatenate([log[:, 1:2].conj(), log], axis=1)
        three = np.stack([all_points[:, i : points - 2 + i] for i in range(3)], axis=-1)
        target = log[:, 2:]
        for i in range(3):
            x, (y, z) = three[..., i], (three[..., j] for j in range(3) if j != i)
            lagrange = (target - y) * (target - z) / ((x - y) * (x - z))
            weights[:, 2:, i, 0] = (1 - 2 * (1 / (x - y) + 1 / (x - z)) * (target - x)) * lagrange**2
            weights[:, 2:, i, 1] = (target - x) * lagrange**2
    return weights.reshape(paths, points, 6)


@lru_cache(maxsize=32)
def _continued(ratio: bytes) -> tuple[ComplexArray, ComplexArray]:
    """Logarithm (1, point) and predictors of one path, which is given as the bytes of its ratio to its start."""
    log = np.log(np.frombuffer(ratio, dtype=np.complex64)[None].astype(np.complex128))
    return log, predictors(log)


def _walk(
    path: ComplexArray,
    nodes: Nodes,
    per_width: FloatArray,
    per_sample: FloatArray,
    polish: bool = False,
    copies: bool = False,
) -> tuple[ComplexArray, NDArray[np.bool_]]:
    """Frequencies and sums (FIELDS, path, point), and whether they are found (path, point)."""
    if copies:
        # Those of few paths: rounding makes them recognisable.
        log, prediction = _continued((path[0] / path[0, 0]).astype(np.complex64).tobytes())
    else:
        log = np.log(path / path[:, :1])
        prediction = predictors(log)
    fields, found = np.empty((FIELDS, *path.shape), dtype=np.complex128), np.empty(path.shape, dtype=np.bool_)
    short, compiled = SHORTEST if polish else SHORT, loops()
    if compiled is not None:
        first_step = log[:, min(1, path.shape[1] - 1)].copy()
        compiled.walk(
            path, first_step, prediction, *nodes, per_width, per_sample, PASSES, short, LAST_STEP, fields, found
        )
        return fields, found
    columns = with_moments(weights_of(nodes), nodes.eigenvalue)
    together = min(max(1, CHUNK // nodes.eigenvalue.size), len(path))
    work = scratch("powers of resolvents", (3 * together * nodes.eigenvalue.size,))
    for i in range(0, len(path), together):
        rows = slice(i, i + together)
        own_log, own_prediction = (part if len(part) == 1 else part[rows] for part in (log, prediction))
        fields[:, rows], found[rows] = _walk_together(
            path[rows], own_log, own_prediction, nodes, columns, per_width[rows], per_sample[rows], short, work
        )
    return fields, found


def _walk_together(
    path: ComplexArray,
    log: ComplexArray,
    prediction: ComplexArray,
    nodes: Nodes,
    columns: FloatArray,
    per_width: FloatArray,
    per_sample: FloatArray,
    short: float,
    work: ComplexArray,
) -> tuple[ComplexArray, NDArray[np.bool_]]:
    """What `_walk` gives, for as many paths as fit into the cache, all at one point at a time."""
    real = path[:, 0].real
    # The first point takes one more step, of third order.
    start = real_root(real, nodes, per_width, per_sample, float(real.min(initial=np.inf)), last_step=1e-5)
    # Numbers of two kinds take NumPy longer than complex ones alone.
    sizes = per_width.astype(np.complex128), per_sample.astype(np.complex128)
    rows, points = path.shape
    at_points = columns if rows * nodes.eigenvalue.size > FEW else columns[:, :3].astype(np.complex128)
    data = bool(per_sample.any())
    kappa = np.empty((points, rows), dtype=np.complex128)
    steps = np.empty((points, rows), dtype=np.complex128)
    powers = scratch("sums of walks", (3, points, rows, 3))
    # Values and slopes of log kappa against log s, from the mirror image of the second point on.
    history = np.zeros((points + 1, 2, rows), dtype=np.complex128)
    # Copies of one path have one prediction: what sums products takes half the time of what multiplies and adds.
    prediction = prediction[0] if len(prediction) == 1 else np.ascontiguousarray(np.moveaxis(prediction, 0, -1))
    guess = start.astype(np.complex128)
    for point in range(points):
        if point == 1:
            guess = kappa[0] * np.exp(history[1, 1] * (log[:, 1] - log[:, 0]))
        elif point > 1:
            before, own = history[point - 2 : point + 1].reshape(6, rows), prediction[point]
            guess = np.exp(own @ before if own.ndim == 1 else (own * before).sum(axis=0))
        s = path[:, point]
        # Only the first step off the axis is not predicted, and takes one more.
        for _ in range(1 + (point == 1)):
            powers[:, point] = resolvent_sums(guess, nodes.eigenvalue, at_points, 3, work)
            step, derivative = _step(guess, s, powers[:, point, :, 0], *sizes, data)
            guess = guess + step
        kappa[point], steps[point] = guess, step
        history[point + 1, 0] = np.log(guess)
        history[point + 1, 1] = s / (guess * derivative)
        if point == 1:
            history[0] = history[2].conj()
    for _ in range(1, PASSES):
        late = np.abs(steps) > short * np.abs(path.T)
        if not late.any():
            break
        row = late.nonzero()[1]
        powers[:, late] = sums_at(kappa[late], nodes.eigenvalue, columns, 3)
        steps[late] = _step(kappa[late], path.T[late], powers[:, late, 0], sizes[0][row], sizes[1][row], data)[0]
        kappa[late] += steps[late]
    # Series about where the sums were taken.
    kappa, step, powers = kappa.T, steps.T, powers.transpose(3, 0, 2, 1)
    fields = np.empty((FIELDS, rows, points), dtype=np.complex128)
    fields[0] = kappa
    fields[2:5] = powers[:, 0] - step * (powers[:, 1] - step * powers[:, 2])
    fields[5:7] = 2 * step * powers[:2, 2] - powers[:2, 1]
    fields[7:] = 2 * powers[:2, 2]
    # Of the two forms of kappa1 the one is taken whose factor does not vanish at s = 0.
    through_width, through_data = fields[2] * per_width[:, None], fields[2] * per_sample[:, None]
    fields[1] = np.where((per_width >= per_sample)[:, None], path / (1 - through_data), kappa * (1 - through_width))
    return fields, _is_found(path, kappa, step)


def _step(
    kappa: ComplexArray,
    s: ComplexArray,
    powers: ComplexArray,
    per_width: ComplexArray,
    per_sample: ComplexArray,
    data: bool,
) -> tuple[ComplexArray, ComplexArray]:
    """Step to the root, exact to third order, and the derivative of s there; ``powers`` are those of the trace.

    Without finite ``data`` half of the work is not there.
    """
    if data:
        degrees, drop, curvature = powers
        a, b = 1 - degrees * per_width, 1 - degrees * per_sample
        both, value = a * per_sample + b * per_width, a * b
        fall, bent = both * drop, curvature * both - drop * drop * (per_width * per_sample)
    else:
        value, fall, bent = powers * per_width
        value = 1 - value
    derivative = kappa * fall + value
    # Half the second derivative.
    second = fall - kappa * bent
    bend = second / derivative
    newton = (s - kappa * value) / derivative
    step = newton - newton * newton * bend
    return step, derivative + 2 * step * second
