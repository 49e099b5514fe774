"""A closed contour around the random spectrum, on which every linear algorithm becomes a sum over complex modes.

The spectrum of the random covariance lies on [0, edge]. For a filter phi(x) that is analytic there, the sum of phi over
the spectrum, weighted as the resolvent weighs it, is a contour integral: ``Re sum(weight * phi(-s) * transform(s))``.
One contour serves all times at once, because its nodes are spaced evenly in log s.
"""

from __future__ import annotations

import cmath
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from scalingeq.theory.spectrum import ComplexArray, FloatArray

#: Angle at which the contour leaves the origin: halfway between the spectrum and the growing filters.
ANGLE = 0.75 * math.pi
#: Gauss-Legendre nodes on the upper half: for each decade of the straight part, and on the arcs about the origin and
#: about the spectrum's far end.
NODES_PER_DECADE, NODES_AT_ORIGIN, NODES_AT_EDGE = 16, 10, 14
#: The circle is cut into pieces of a few times its distance from the spectrum, with this many nodes each.
NODES_ON_PIECE, PIECE = 20, 4.0


class ClosedContour(NamedTuple):
    """Upper half of a contour that runs once around the spectrum.

    Attributes
    ----------
    s : ndarray of complex, shape (mode,)
        Laplace frequencies, in the units of the eigenvalues; the mode of each has the eigenvalue -s.
    weight : ndarray of complex, shape (mode,)
        ``Re sum(weight * phi(-s) * transform(s))`` is the spectral sum.
    """

    s: ComplexArray
    weight: ComplexArray


def closed_contour(
    time: float, edge: float, *, ridge: float = 0.0, rate: float = 0.0, momentum: float = 0.0, distance: float = 0.5
) -> ClosedContour:
    """Contour for the filters of gradient flow or of discrete steps.

    Parameters
    ----------
    time : float
        Longest intrinsic time, learning rate times steps, that the filters reach.
    edge : float
        Largest eigenvalue of the random covariance.
    ridge : float
        Ridge parameter, which moves all rates.
    rate, momentum : float
        Largest learning rate and the momentum of discrete steps; rate 0 is gradient flow.
    distance : float
        Distance from the far end of the spectrum, or of fast modes, as a share of the room that there is.

    Returns
    -------
    ClosedContour
        Frequencies at which the filters of these algorithms stay bounded, and weights.

    Notes
    -----
    With discrete steps a mode is multiplied in each by z, where ``rate (x + ridge) = (1 - z)(1 - momentum/z)``; the
    contour is the one of gradient flow in log z, and stays inside the unit circle of z. Where fast modes alternate or
    oscillate, it follows a circle that has all of them inside.

    Examples
    --------
    >>> contour = closed_contour(10.0, edge=1.0)
    >>> decay = (contour.weight * np.exp(4.0 * contour.s) / (contour.s + 0.5)).sum().real
    >>> print(f"{decay:.8f}, {np.exp(-2.0):.8f}")
    0.13533528, 0.13533528
    """
    if rate == 0:
        v, weight = _around(1 / (2 * time), (1 + distance) * (edge + ridge))
        return ClosedContour(ridge + v, weight)
    top = rate * (edge + ridge)
    first = rate / (2 * time)
    # The slow root z of the fastest mode.
    half = (1 + momentum - top) / 2
    root = cmath.sqrt(half**2 - momentum)
    slow = half + (root if half >= 0 else -root)
    reach = -(1 + distance) * math.log(slow.real) if slow.imag == 0 and slow.real > 0 else math.inf
    if reach < min(1.2, -0.4 * math.log(momentum) if momentum else math.inf):
        v, weight = _around(first, reach)
    else:
        radius = max(abs(slow), math.sqrt(momentum)) if slow.imag or slow.real < 0 else math.sqrt(momentum)
        angle = abs(cmath.phase(slow)) if slow.imag else math.pi if slow.real < 0 else 0.0
        v, weight = _along_circle(first, max(radius, math.exp(-3)), angle, math.sqrt(momentum), distance)
    z = np.exp(v)
    s = ridge - (1 - z) * (1 - momentum / z) / rate
    return ClosedContour(np.asarray(s), np.asarray(weight * (z - momentum / z) / rate))


@lru_cache(maxsize=64)
def _gauss(points: int) -> tuple[FloatArray, FloatArray]:
    from numpy.polynomial.legendre import leggauss

    return leggauss(points)


def _straight(first: float, last: float) -> tuple[ComplexArray, ComplexArray]:
    """Arc about the origin from the positive axis, and the straight part of the contour, from ``first`` to ``last``."""
    arc, arc_weight = _arc(NODES_AT_ORIGIN, ANGLE)
    half = math.log(last / first) / 2
    y, weight = _gauss(max(12, math.ceil(NODES_PER_DECADE * 2 * half / math.log(10))))
    line = first * cmath.exp(1j * ANGLE) * np.exp(half * (y + 1))
    weights = np.concatenate([first * arc_weight, line * weight * (half / 1j / math.pi)])
    return np.concatenate([first * arc, line]), weights


@lru_cache(maxsize=4)
def _arc(nodes: int, angle: float) -> tuple[ComplexArray, ComplexArray]:
    """Nodes and weights of an arc of the unit circle from the positive axis up to an angle.

    It is half of a symmetric one, so that nothing is lost where a contour meets its mirror image.
    """
    x, weight = (part[nodes:] for part in _gauss(2 * nodes))
    arc = np.exp(1j * angle * x)
    return arc, arc * weight * (angle / math.pi)


def _around(first: float, last: float) -> tuple[ComplexArray, ComplexArray]:
    """Close the straight part by an arc to the negative axis."""
    v, weight = _straight(min(first, last / 10), last)
    # From the end of the straight part to the negative axis: the mirror image of an arc from the positive one.
    arc, arc_weight = (-last * part[::-1].conj() for part in _arc(NODES_AT_EDGE, math.pi - ANGLE))
    return np.concatenate([v, arc]), np.concatenate([weight, arc_weight])


def _along_circle(
    first: float, radius: float, angle: float, oscillating: float, distance: float
) -> tuple[ComplexArray, ComplexArray]:
    """Close the straight part along a circle in z around the fast modes, those within ``radius`` up to ``angle``.

    Modes that oscillate lie on the circle of radius ``oscillating``; z inside of it stands for the same x as outside.
    """
    room = -math.log(radius)
    gap = (1 - distance) * room
    last = gap / -math.cos(ANGLE)
    v, weight = _straight(min(first, last / 10), last)
    begin = last * math.sin(ANGLE)
    outside = -math.log(oscillating) - gap if oscillating else math.inf
    end = max(angle, begin)
    around_end = end + outside < math.pi
    if not around_end:
        end = math.pi
    edges = np.linspace(begin, end, 1 + max(1, math.ceil((end - begin) / (PIECE * distance * room))))
    x, piece_weight = _gauss(NODES_ON_PIECE)
    half = (edges[1] - edges[0]) / 2
    parts = [v, -gap + 1j * (edges[:-1, None] + half * (x + 1)).ravel()]
    weights = [weight, np.tile(piece_weight, edges.size - 1) * half / math.pi + 0j]
    if around_end:
        # A quarter of a circle about the last mode; its mirror image is the way back.
        arc, arc_weight = (1j * outside * part.conj() for part in _arc(NODES_AT_EDGE, math.pi / 2))
        parts.append(math.log(oscillating) + 1j * end + arc)
        weights.append(arc_weight)
    return np.concatenate(parts), np.concatenate(weights)
