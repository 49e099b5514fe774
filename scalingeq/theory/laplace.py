"""Inverse Laplace transforms in one and two frequencies, on a hyperbola around the negative real axis."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalingeq.theory.spectrum import ComplexArray, FloatArray

#: One contour serves all times of a window [end / WINDOW, end], with NODES frequencies on its upper half.
WINDOW = 10.0
NODES = 26
#: Pairs of frequencies that never count for more than this, in units of s s' times the transform there, are left out.
NEGLIGIBLE = 3e-14


class Contour(NamedTuple):
    """Upper half of the contour for times up to 1, starting on the real axis; scale ``frequency`` by 1/end.

    Attributes
    ----------
    frequency : ndarray of complex, shape (frequency,)
        Laplace frequencies, in units of 1/end of the window.
    weight : ndarray of complex, shape (frequency,)
        The inverse transform at time t is ``Re sum(weight * exp(frequency * t) * transform)``.
    """

    frequency: ComplexArray
    weight: ComplexArray


@lru_cache(maxsize=8)
def hyperbola(window: float = WINDOW, nodes: int = NODES) -> Contour:
    """Hyperbola contour of Weideman and Trefethen for the times [1/window, 1].

    Parameters
    ----------
    window : float
        Ratio of the last to the first time that the contour serves.
    nodes : int
        Number of frequencies on the upper half, the one on the real axis included.

    Returns
    -------
    Contour
        Frequencies and weights; they are shared, do not write into them.

    Notes
    -----
    Weideman & Trefethen, Math. Comp. 76 (2007) 1341, section 4: the angle is the one of fastest convergence.

    Examples
    --------
    >>> contour = hyperbola()
    >>> t = 0.5
    >>> value = (contour.weight * np.exp(contour.frequency * t) / contour.frequency**2).sum().real
    >>> print(f"{value:.6f}")
    0.500000
    """
    angle = np.linspace(np.pi / 4, np.pi / 2, 2002)[1:-1]
    reach = np.arccosh(((np.pi - 2 * angle) * window + 4 * angle - np.pi) / ((4 * angle - np.pi) * np.sin(angle)))
    best = np.argmax((np.pi**2 - 2 * np.pi * angle) / reach)
    phi, step = angle[best], reach[best] / nodes
    scale = (4 * np.pi * phi - np.pi**2) / reach[best] * nodes
    u = step * np.arange(nodes)
    frequency = scale * (1 + np.sin(1j * u - phi))
    weight = step / np.pi * scale * np.cos(1j * u - phi)
    weight[0] /= 2  # the node on the real axis is its own mirror image
    return Contour(frequency, weight)


def propagate(phase: FloatArray) -> ComplexArray:
    """Weights (time, frequency) that turn transforms on the contour into values at ``phase`` (time,)."""
    contour = hyperbola()
    return np.asarray(contour.weight * np.exp(np.multiply.outer(phase, contour.frequency)))


@lru_cache(maxsize=1)
def pairs() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers (pair,) of the first and second frequencies of the pairs on a contour that count, each pair once.

    Each first frequency has all second ones from itself up to some last one.
    """
    first, second = np.triu_indices(NODES)
    size = np.abs(propagate(np.geomspace(1 / WINDOW, 1, 25)) / hyperbola().frequency)
    count = (size[:, first] * size[:, second]).max(axis=0) > NEGLIGIBLE
    return first[count], second[count]


@lru_cache(maxsize=1)
def seconds_of_pairs() -> NDArray[np.int64]:
    """One more than the number of the last second frequency, of each first frequency (first,) of `pairs`."""
    first, second = pairs()
    return np.asarray(second[np.append(np.flatnonzero(np.diff(first)), -1)] + 1)


@lru_cache(maxsize=1)
def ends_of_pairs() -> NDArray[np.int64]:
    """Numbers (3 pair,) of the first frequencies of all pairs, the second, and their conjugates, which follow all."""
    first, second = pairs()
    return np.concatenate([first, second, second + NODES])


@lru_cache(maxsize=1)
def pair_factors() -> tuple[ComplexArray, ComplexArray]:
    """Sum s + s' and 1/(s s') of frequencies on the contour for times up to 1, at all pairs (2, pair).

    They are at s and s', and at s and the conjugate of s'.
    """
    first, second = pairs()
    s = hyperbola().frequency
    left, right = s[first], np.stack([s[second], s[second].conj()])
    return left + right, 1 / (left * right)


def inverse_two(
    phase: FloatArray,
    end: float,
    same: ComplexArray,
    mirrored: ComplexArray,
    prime: tuple[FloatArray, float] | None = None,
) -> FloatArray:
    """Inverse transform in two frequencies s, s' at two times t, t'.

    Parameters
    ----------
    phase : ndarray, shape (time,)
        Times t of one window, in units of its end.
    end : float
        End of the window.
    same, mirrored : ndarray of complex, shape (frequency, frequency)
        The transform at s and s' on the upper halves of the contours, and at s and the conjugate of s'.
    prime : (ndarray of shape (time,), float), optional
        Phase and end of the window of the times t'; the times t themselves where it is not given.

    Returns
    -------
    ndarray, shape (time,)
        Values at the pairs of times.
    """
    weights = propagate(phase)
    second, second_end = (weights, end) if prime is None else (propagate(prime[0]), prime[1])
    # Over the full contour the weights of the two halves are w/2 and its conjugate.
    inner = (weights @ same) * second + (weights @ mirrored) * second.conj()
    return np.asarray(inner.sum(axis=1).real / 2 / (end * second_end))


def pair_weights(weights: ComplexArray) -> ComplexArray:
    """Weights (time, 2, pair) that turn transforms at pairs of frequencies into values at equal times.

    ``weights`` are those of `propagate`. The transform is symmetric, and real at conjugate pairs of its frequencies: it
    is given at the pairs (s, s') of `pairs`, and at s and the conjugate of s'.
    """
    first, second = pairs()
    left, right = weights[:, first] * np.where(first == second, 0.5, 1.0), weights[:, second]
    return np.stack([left * right, left * right.conj()], axis=1)
