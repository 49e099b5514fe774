"""Derivatives of the deterministic equivalents with respect to what they depend on, by implicit differentiation.

The renormalised frequency is a root, whose derivative needs no more than the sums over the spectrum that the root itself
needs, weighted with the logarithm of the mode's number: the exponents of a power law enter through it alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from scalingeq.theory import laplace
from scalingeq.theory.compiled import loops
from scalingeq.theory.equivalents import (
    OnePoint,
    both_of_pairs,
    compiled_pairs,
    cross_sums,
    two_point,
)
from scalingeq.theory.following import sums_at, with_moments
from scalingeq.theory.scratch import scratch
from scalingeq.theory.spectrum import (
    TAIL_NODES,
    AnySpectrum,
    ComplexArray,
    FloatArray,
    Nodes,
    PowerLaw,
    counted_modes,
    is_negligible,
    power_sum,
    tail_rules,
)

#: Relative distance of two frequencies below which derivatives of their divided differences are the mean at the ends.
NEAR = 1e-4
#: Windows whose pairs are worked on at once, so that arrays stay in the processor's cache.
WINDOWS_AT_ONCE = 8
#: Frequencies whose derivatives are worked on at once, for the same reason.
FREQUENCIES_AT_ONCE = 800


class NodeSlopes(NamedTuple):
    """Derivatives of the nodes of a spectrum with respect to its parameters.

    Attributes
    ----------
    names : tuple of str
        Parameters of the spectrum: ``alpha`` and ``r`` of a power law, none of a measured spectrum.
    trace, target : ndarray, shape (parameter, node)
        Derivatives of the nodes' shares ``modes * eigenvalue`` in the trace, and of their target power.
    moved : ndarray, shape (2, node)
        Trace and target times the change of the logarithm of the eigenvalue with alpha.
    shares : ndarray, shape (2, 2, parameter)
        With g = 1/(eigenvalue + kappa2) and e the relative change of the eigenvalue, the sum of w g, of trace and of
        target, changes at fixed kappa2 by the sum of (dw - w e) g + kappa2 w e g**2: the two weights in it, in units of
        ``moved``, for both sums.
    tail : ndarray, shape (2, 2, parameter, tail node)
        What the weights are beyond that at the last nodes, which stand for the tail.
    """

    names: tuple[str, ...]
    trace: FloatArray
    target: FloatArray
    moved: FloatArray
    shares: FloatArray
    tail: FloatArray


class OnePointSlopes(NamedTuple):
    """Derivatives of one-point equivalents.

    Attributes
    ----------
    names : tuple of str
        What the derivatives are with respect to: the parameters of the spectrum (`NodeSlopes`), ``per_width``,
        ``per_sample`` and the Laplace frequency ``s``, each with the others held.
    kappa2, kappa1, degrees, power, squares, degrees_slope, power_slope : ndarray of complex, shape (parameter, ...)
        Derivatives of the fields of `OnePoint`.
    """

    names: tuple[str, ...]
    kappa2: ComplexArray
    kappa1: ComplexArray
    degrees: ComplexArray
    power: ComplexArray
    squares: ComplexArray
    degrees_slope: ComplexArray
    power_slope: ComplexArray


@lru_cache(maxsize=64)
def node_slopes(spectrum: AnySpectrum, smallest_frequency: float) -> NodeSlopes:
    """Derivatives of the nodes of a spectrum.

    Parameters
    ----------
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs and of the target.
    smallest_frequency : float
        As in :meth:`PowerLaw.nodes`.

    Returns
    -------
    NodeSlopes
        Derivatives at fixed numbers of modes, exact for the sums over the nodes as they are.

    Examples
    --------
    >>> slopes = node_slopes(PowerLaw(alpha=2.0, r=0.5, dim=2), 0.1)
    >>> slopes.names, slopes.target.round(6)
    (('alpha', 'r'), array([[-0.      , -0.086643],
           [-0.      , -0.346574]]))
    """
    nodes = spectrum.nodes(smallest_frequency)
    if not isinstance(spectrum, PowerLaw):
        none = np.empty((0, nodes.eigenvalue.size))
        return NodeSlopes((), none, none, np.zeros((2, none.shape[1])), np.empty((2, 2, 0)), np.empty((2, 2, 0, 0)))
    alpha, r, dim = spectrum.alpha, spectrum.r, spectrum.dim
    k, count, stop = counted_modes(alpha, dim, smallest_frequency)
    log = np.log(k)
    trace = -log * count * k**-alpha
    target = -log * count * k ** -(2 * alpha * r + 1)
    # The exponents of eigenvalue, trace and target, and their derivatives with respect to alpha and r.
    exponents = np.array([alpha, alpha, 2 * alpha * r + 1])
    slopes = np.array([[1.0, 1.0, 2 * r], [0.0, 0.0, 2 * alpha]])
    parts = [[slope[:, None] * part] for slope, part in zip(slopes.T, (-log * k**-alpha, trace, target), strict=True)]
    if stop <= dim:
        node, weight = _tail_slopes(exponents[1:], alpha, slopes[:, 1:], slopes[:, :1], stop, dim)
        none = np.zeros((2, TAIL_NODES))
        parts[0] += [node[:, 0], node[:, 1]]
        parts[1] += [weight[:, 0], none]
        parts[2] += [none, weight[:, 1]]
    of_eigenvalue, trace, target = (np.concatenate(part, axis=1) for part in parts)
    moved = np.stack([nodes.modes * nodes.eigenvalue, nodes.target])[:, None] * (of_eigenvalue / nodes.eigenvalue)
    weights, moved = np.stack([np.stack([trace, target]) - moved, moved]), moved[:, 0]
    # The trace of a mode is its eigenvalue, and its target a power of that; not so at the tail.
    shares = np.array([[[0.0, 0.0], [2 * r - 1, 2 * alpha]], [[1.0, 0.0], [1.0, 0.0]]])
    tail = (weights - shares[..., None] * moved[:, None])[..., k.size :]
    return NodeSlopes(("alpha", "r"), trace, target, moved, shares, tail)


def _tail_slopes(
    exponents: FloatArray,
    alpha: float,
    exponent_slopes: FloatArray,
    alpha_slopes: FloatArray,
    first: float,
    last: float,
) -> tuple[FloatArray, FloatArray]:
    """Derivatives (parameter, measure, node) of the nodes and weights of tails' Gauss rules, those of their moments."""
    node, weight = tail_rules(tuple(exponents.tolist()), alpha, first, last)
    node, weight = node * first**alpha, weight * first ** exponents[:, None]
    order = np.arange(2 * TAIL_NODES)
    # The moments are analytic in the exponent: a tiny imaginary step gives the derivative to the last digit.
    tiny = 1e-30
    near = np.asarray(exponents[:, None] + alpha * order + 1j * tiny, dtype=np.complex128)
    moment_slopes = power_sum(near, first, last).imag / tiny
    # sum(d weight * node**j + weight * j * node**(j - 1) * d node) is the derivative of moment j.
    powers = node[:, None] ** order[:, None]
    steeper = order[:, None] * np.concatenate([np.zeros_like(powers[:, :1]), powers[:, :-1]], axis=1)
    changes = (exponent_slopes[..., None] + order * alpha_slopes[..., None]) * moment_slopes
    seen = ~is_negligible(exponents, alpha, first)
    solved = np.zeros((*exponent_slopes.shape, 2 * TAIL_NODES))
    matrix = np.concatenate([powers, steeper], axis=2)[seen]
    solved[:, seen] = np.linalg.solve(matrix, changes[:, seen, :, None])[..., 0]
    weight_slopes, moved = solved[..., :TAIL_NODES], solved[..., TAIL_NODES:]
    log = math.log(first) * seen[:, None]
    node_slopes = moved / weight - alpha_slopes[..., None] * log * node
    weight_slopes = weight_slopes - exponent_slopes[..., None] * log * weight
    return node_slopes * first**-alpha, weight_slopes * first ** -exponents[:, None]


def one_point_slopes(point: OnePoint, nodes: Nodes, slopes: NodeSlopes, pairs: bool = True) -> OnePointSlopes:
    """Derivatives of one-point equivalents.

    Parameters
    ----------
    point : OnePoint
        Equivalents at the frequencies.
    nodes, slopes : Nodes and NodeSlopes
        Nodes of the spectrum that serve them, and their derivatives.
    pairs : bool
        Whether ``degrees_slope`` and ``power_slope`` are wanted, which are 0 otherwise: pairs of frequencies need them.

    Returns
    -------
    OnePointSlopes
        Derivatives, by implicit differentiation of ``s = kappa2 (1 - df/width) (1 - df/samples)``
        (arXiv:2502.05074).

    Examples
    --------
    >>> from scalingeq.theory.equivalents import one_point
    >>> spectrum = PowerLaw(alpha=2.0, r=0.5, dim=2)
    >>> slopes = one_point_slopes(one_point(0.1, spectrum, width=4), spectrum.nodes(0.1), node_slopes(spectrum, 0.1))
    >>> dict(zip(slopes.names, (slopes.kappa2.real.round(6) + 0).tolist()))
    {'alpha': -0.009053, 'r': 0.0, 'per_width': 0.324626, 'per_sample': 0.204894, 's': 1.388805}
    """
    count, shape, powers = len(slopes.names), point.kappa2.shape, 3 if pairs else 2
    fields = tuple(field.ravel() for field in (point.kappa2, point.kappa1, point.degrees, *point[6:10]))
    sizes = np.empty((2, *shape))
    sizes[0], sizes[1] = point.per_width, point.per_sample
    sizes = sizes.reshape(2, -1)
    shares = slopes.trace.sum(axis=1)
    out = np.empty((7 if pairs else 5, count + 3, fields[0].size), dtype=np.complex128)
    compiled = loops()
    if compiled is not None:
        compiled.slopes(fields, *sizes, nodes.eigenvalue, slopes.moved, slopes.shares, slopes.tail, shares, out)
    else:
        last = nodes.eigenvalue[nodes.eigenvalue.size - slopes.tail.shape[-1] :]
        columns, of_tail = (
            with_moments(slopes.moved, nodes.eigenvalue),
            with_moments(slopes.tail.reshape(4 * count, last.size), last),
        )
        for first in range(0, out.shape[2], FREQUENCIES_AT_ONCE):
            some = slice(first, first + FREQUENCIES_AT_ONCE)
            own = [field[some] for field in fields]
            moved = sums_at(own[0], nodes.eigenvalue, columns, powers).swapaxes(1, 2)
            sums = slopes.shares[..., None] * moved[:, None, :, None]
            if slopes.tail.size:
                sums += sums_at(own[0], last, of_tail, powers).swapaxes(1, 2).reshape(sums.shape)
            _slopes_from(sums, own, sizes[:, some], shares, out[..., some])
    found = list(out.reshape(*out.shape[:2], *shape))
    names = (*slopes.names, "per_width", "per_sample", "s")
    return OnePointSlopes(names, *found, *([] if pairs else [np.zeros_like(found[0])] * 2))


def _slopes_from(
    sums: ComplexArray, fields: list[ComplexArray], sizes: FloatArray, shares: FloatArray, out: ComplexArray
) -> None:
    """Derivatives of one-point equivalents from ``sums`` (power, change or move, trace or target, parameter, frequency).

    ``fields`` are kappa2, kappa1 and degrees, and the slopes and curvatures of degrees and power; ``sizes`` (2, frequency)
    one over width and samples; ``shares`` the changes of the trace. The last argument (5 or 7, parameter + 3, frequency)
    takes the fields of `OnePointSlopes`.
    """
    kappa, kappa1, degrees, *by_kappa = fields
    per_width, per_sample = sizes
    count = len(shares)
    by_changes, by_moves = sums.swapaxes(0, 1)
    # At fixed kappa2, the sums change by this much, and their derivatives with respect to kappa2.
    explicit = list(by_changes[0] + kappa * by_moves[1])
    if len(out) == 7:
        explicit += list(by_moves[1] - by_changes[1] - 2 * kappa * by_moves[2])
    a, b = 1 - degrees * per_width, 1 - degrees * per_sample
    by_degrees = -kappa * (b * per_width + a * per_sample)
    # Minus the derivative of kappa2 a b - s with respect to each parameter, at fixed kappa2.
    moved = out[0]
    np.multiply(explicit[0], -by_degrees, out=moved[:count])
    moved[count:] = kappa * degrees * b, kappa * degrees * a, np.ones_like(kappa)
    moved /= a * b + by_degrees * by_kappa[0]
    for place, slope, change in zip((2, 3, 5, 6), by_kappa, explicit, strict=False):
        np.multiply(moved, slope, out=out[place])
        out[place, :count] += change
    d_degrees = out[2]
    # eigenvalue * g = 1 - kappa2 g
    out[4] = -(moved * degrees + kappa * d_degrees)
    out[4, :count] += shares[:, None]
    # Of the two forms of kappa1 the one is taken that `one_point` takes.
    through_width, through_data = d_degrees * per_width, d_degrees * per_sample
    through_width[count] += degrees
    through_data[count + 1] += degrees
    from_s = kappa1 * through_data / b
    from_s[count + 2] += 1 / b
    out[1] = np.where(per_width >= per_sample, from_s, moved * a - kappa * through_width)


def two_points(
    point: OnePoint, slopes: OnePointSlopes | None, blocks: Iterable[tuple[slice, bool, bool]]
) -> Iterator[tuple[slice, ComplexArray]]:
    """Two-point equivalents of one model at the pairs of frequencies of each window, and their derivatives.

    They are many times as large as the one-point equivalents, so that they are asked for in blocks, each of which lasts
    until the next.

    Parameters
    ----------
    point : OnePoint
        Equivalents (row, frequency).
    slopes : OnePointSlopes, optional
        Their derivatives.
    blocks : iterable of (slice, bool, bool)
        Rows, whether the signal is wanted, and whether derivatives are, where there are some.

    Yields
    ------
    rows : slice
        Those of ``blocks``, in turn.
    pairs : ndarray of complex, shape (1 or 2, 1 or 1 + parameter, row, pair)
        Variance and signal of `TwoPoint`, and after each, by the chain rule, its derivatives with respect to the
        parameters of the spectrum, ``per_width`` and ``per_sample``.
    """
    compiled = loops()
    for rows, signals, moving in blocks:
        moved: tuple[ComplexArray, ...] = ()
        if moving and slopes is not None:
            moved = (slopes.kappa2, slopes.degrees, slopes.power, slopes.degrees_slope, slopes.power_slope)
        # The last parameter is the Laplace frequency.
        count = len(moved[0]) - 1 if moved else 0
        out = scratch("pairs", (1 + signals, 1 + count, rows.stop - rows.start, laplace.pairs()[0].size))
        if compiled is not None:
            compiled_pairs(compiled, point, rows.start, moved, NEAR, out)
        else:
            for row in range(rows.start, rows.stop, WINDOWS_AT_ONCE):
                some = slice(row, min(row + WINDOWS_AT_ONCE, rows.stop))
                own = out[:, :, some.start - rows.start : some.stop - rows.start]
                first, second = both_of_pairs(OnePoint._make(field[some] for field in point))
                cross, target = cross_sums(first, second)
                pair = two_point(first, second, cross, target)
                own[:, 0] = (pair.variance, pair.signal)[: len(own)]
                if moved:
                    changes = np.stack([part[:-1, some] for part in moved])
                    _pair_slopes(first, second, cross, target, changes, own[:, 1:])
        yield rows, out


def _pair_slopes(
    first: OnePoint, second: OnePoint, cross: ComplexArray, target: ComplexArray, moved: ComplexArray, out: ComplexArray
) -> None:
    """Derivatives of `two_points`; ``moved`` are those of kappa2, degrees, power and their slopes."""
    # What they are made of is found first, once for all parameters.
    kappa, per_width = first.kappa2, first.per_width
    apart = second.kappa2 - kappa
    near = np.nonzero(~(np.abs(apart) > NEAR * np.abs(kappa)))
    apart[near] = np.inf
    divisor = 1 / apart
    both, resolved = kappa + second.kappa2, 1 / (1 - (second.degrees - kappa * cross) * per_width)
    # The share of the features, kappa kappa' h / (N (1 - gamma_2)).
    unit = kappa * second.kappa2 * cross * resolved
    features = unit * per_width
    by_target = kappa * (second.kappa2 - features)
    # Both change with kappa2 at both frequencies, with its difference, with the difference of the degrees and with those
    # at the second frequency: differences, lest they cancel where the frequencies are close.
    weight = per_width * resolved * cross
    product, by_second, by_cross = weight * cross, 1 + weight * features, features - kappa + weight * by_target
    by_degrees = by_cross * divisor
    by_apart, by_kappa = kappa * product - cross * by_degrees, both * product - cross * by_second
    by = [(by_kappa, by_apart, by_degrees, by_second)]
    by_width, near_by_cross = [resolved * cross], [by_cross[near]]
    signals, by_power = len(out) == 2, by_target * divisor
    if signals:
        target_squares = second.power - kappa * target
        weight = per_width * resolved * target_squares
        product, by_second, by_cross = target + weight * cross, weight * features, weight * by_target
        by_degrees = by_cross * divisor
        by_apart = kappa * product - cross * by_degrees - target * by_power
        by_kappa = both * product - cross * by_second - features * target
        by.append((by_kappa, by_apart, by_degrees, by_second))
        by_width.append(resolved * target_squares)
        near_by_cross.append(by_cross[near])
    # Where the frequencies are all but equal, divided differences change like the mean of the slopes.
    left, right = (side[:, :, near[0], near[1]] for side in laplace.at_pairs(moved[3:]))
    near_cross, near_target = (left + right) / -2
    near_target = near_target * by_target[near]
    for n, moves in enumerate(moved[0, :, 0, 0] != 0):
        # What leaves the renormalised frequency where it is moves the target alone.
        left, right = laplace.at_pairs(moved[0 if moves else 2 : 3 if signals else 2, n])
        out[0, n] = 0
        if signals:
            np.multiply(right[-1], features, out=out[1, n])
            out[1, n] += (left[-1] - right[-1]) * by_power
            out[1, n][near] += near_target[n]
        if moves:
            changes = left[0], right[0] - left[0], left[1] - right[1], right[1]
            for slope, coefficients, near_coefficient in zip(out[:, n], by, near_by_cross, strict=True):
                for change, coefficient in zip(changes, coefficients, strict=True):
                    slope += change * coefficient
                slope[near] += near_cross[n] * near_coefficient
    for slope, coefficient in zip(out[:, -2], by_width, strict=True):
        slope += unit * coefficient
