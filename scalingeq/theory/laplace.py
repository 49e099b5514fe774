"""Inverse Laplace transforms in one and two frequencies, from values at a few of them around the negative real axis.

All that decays is a sum of exponentials, and its transform at s the same sum of 1/(s + rate). Weights that turn these at
some frequencies into the exponential at a time, whatever the rate, turn every transform into its inverse.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from scalingeq.theory.spectrum import ComplexArray, FloatArray

#: One set of frequencies, scaled by 1/end, serves all times of a window [end / WINDOW, end].
WINDOW = 10.0
#: Those of a window that ends at 1, from the real axis on and above it; their mirror images belong to them. They leave the
#: smallest error that ``tests/benchmarks/frequencies.py`` finds, for which it takes 26 on a hyperbola with its own weights.
FREQUENCIES: ComplexArray = np.array([
    3.049, 2.861+1.1012j, 2.7675+2.2164j, 2.6131+3.5612j, 2.5012+5.2159j, 2.1012+7.8734j, 0.87453+11.146j,
    -1.0512+14.995j, -3.7686+19.636j, -7.3599+25.398j, -12.44+32.922j, -19.971+42.216j, -30.639+53.419j,
    -45.777+66.78j, -67.192+82.286j, -97.807+100.16j, -144.6+121.31j,
])  # fmt: skip
NODES = FREQUENCIES.size
#: Errors at a rate are counted in units of 1/(1 + (rate/FAST)**2), for losses fall from far higher values.
FAST = 30.0
#: What the weights, over their frequencies, count beside errors, lest they raise those of rounding.
SMALL = 2e-13


def design(frequencies: ComplexArray, rate: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What weights of frequencies are fitted with: how much errors at rates count (rate, 1), and the matrix of the fit.

    The matrix (rate + part, part) turns real parts of weights, and imaginary parts of all but the first, into counted
    exponentials, the inverses of 1/(s + rate), and into their own sizes.
    """
    resolvent, counted = 1 / (rate[:, None] + frequencies), (1 + (rate / FAST) ** 2)[:, None]
    size = SMALL * np.sqrt(rate.size) / np.abs(frequencies)
    inverse = np.concatenate([resolvent.real, -resolvent.imag[:, 1:]], axis=1) * counted
    return counted, np.concatenate([inverse, np.diag(np.concatenate([size, size[1:]]))])


def factored_inverse(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Matrices (unknown, rank) and (rank, row) that solve least squares one after the other.

    Their product would lose what the large elements of the one cancel.
    """
    scale = np.linalg.norm(matrix, axis=0)
    left, singular, right = np.linalg.svd(matrix / scale, full_matrices=False)
    kept = singular > 1e-13 * singular[0]
    return right[kept].T / singular[kept] / scale[:, None], left[:, kept].T


@lru_cache(maxsize=1)
def _inverse() -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rates (rate,), and matrices (rate, rank) and (rank, part) that turn exponentials of them into weights."""
    rate = np.append(0.0, np.geomspace(1e-2, 1e5, 120))
    counted, matrix = design(FREQUENCIES, rate)
    left, right = factored_inverse(matrix)
    felt = rate < 1e3  # exponentials of faster ones are 0
    return rate[felt], (right.T[: rate.size] * counted)[felt], left.T


def propagate(phase: FloatArray) -> ComplexArray:
    """Weights that turn transforms at `FREQUENCIES` into values at times of the window that ends at 1.

    Parameters
    ----------
    phase : ndarray, shape (time,)
        Times, in units of the end of their window.

    Returns
    -------
    ndarray of complex, shape (time, frequency)
        The inverse transform is ``Re sum(weight * transform)``; the error of an exponential is below 2e-12.

    Notes
    -----
    Rational approximation in the place of a contour (Trefethen, Weideman & Schmelzer, BIT 46 (2006) 653), with one set of
    poles for all times of a window, which variable projection finds (Golub & Pereyra, SIAM J. Numer. Anal. 10 (1973) 413).

    Examples
    --------
    >>> time = np.array([0.2, 0.5])
    >>> ((propagate(time) / (FREQUENCIES + 3)).sum(axis=1).real / np.exp(-3 * time)).round(9)
    array([1., 1.])
    """
    rate, first, second = _inverse()
    parts = (np.exp(-np.multiply.outer(phase, rate)) @ first) @ second
    weights = parts[:, :NODES].astype(np.complex128)
    weights[:, 1:] += 1j * parts[:, NODES:]
    return weights


def with_mirrors(fields: ComplexArray) -> ComplexArray:
    """Fields (..., frequency), and after them those of the mirror images in the opposite order."""
    return np.concatenate([fields, fields[..., ::-1].conj()], axis=-1)


@lru_cache(maxsize=1)
def pairs() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers (pair,) of the first frequencies of all pairs, and of the second ones among those of `with_mirrors`.

    Frequency i has all from itself to its mirror image: every pair, but for mirror images of both, is there once.
    """
    first = np.arange(NODES)
    return np.repeat(first, 2 * (NODES - first)), np.concatenate([np.arange(i, 2 * NODES - i) for i in first])


@lru_cache(maxsize=1)
def _ends_of_pairs() -> NDArray[np.int64]:
    """The numbers (2 pair,) of `pairs`, first those of the first frequencies."""
    return np.concatenate(pairs())


def at_pairs(fields: ComplexArray) -> tuple[ComplexArray, ComplexArray]:
    """Fields (..., frequency) at the first and the second frequencies (..., pair) of `pairs`."""
    # One look-up of all takes less time than two.
    both = np.take(with_mirrors(fields), _ends_of_pairs(), axis=-1)
    count = both.shape[-1] // 2
    return both[..., :count], both[..., count:]


@lru_cache(maxsize=1)
def pair_factors() -> tuple[ComplexArray, ComplexArray]:
    """Sum s + s' and 1/(s s') of `FREQUENCIES`, those of times up to 1, at all pairs (pair,)."""
    left, right = at_pairs(FREQUENCIES)
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
        The transform at s and s' at the frequencies of both windows, and at s and the conjugate of s'.
    prime : (ndarray of shape (time,), float), optional
        Phase and end of the window of the times t'; the times t themselves where it is not given.

    Returns
    -------
    ndarray, shape (time,)
        Values at the pairs of times.
    """
    weights = propagate(phase)
    second, second_end = (weights, end) if prime is None else (propagate(prime[0]), prime[1])
    # The weights of the frequencies are w/2, and those of their mirror images its conjugate.
    inner = (weights @ same) * second + (weights @ mirrored) * second.conj()
    return np.asarray(inner.sum(axis=1).real / 2 / (end * second_end))


def pair_weights(weights: ComplexArray) -> ComplexArray:
    """Weights (time, pair) that turn transforms at `pairs` of frequencies into values at equal times.

    ``weights`` are those of `propagate`. The transform is symmetric, and real at conjugate pairs of its frequencies.
    """
    first, second = pairs()
    # A frequency with itself, or with its mirror image, stands for no other pair.
    alone = (second == first) | (second == 2 * NODES - 1 - first)
    left, right = at_pairs(weights)
    return np.asarray(left * np.where(alone, 0.5, 1.0) * right)
