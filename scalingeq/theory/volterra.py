"""The Volterra equation of SGD noise at a constant rate, and kernels as sums of exponentials.

The noise of SGD is the loss itself, filtered: ``L_train(t) = F_train(t) + g int K_train(t - u) L_train(u) du`` and
``L(t) = F(t) + g int K(t - u) L_train(u) du`` with g = learning rate / batch size (arXiv:2502.05074, section on SGD).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from scalingeq.errors import InstabilityError
from scalingeq.theory.laplace import factored_inverse
from scalingeq.theory.spectrum import ComplexArray, FloatArray


def noisy_loss(forcing: ComplexArray, kernel: ComplexArray, noise_rate: ArrayLike) -> ComplexArray:
    """Solve the Volterra equation of the train loss in the Laplace domain.

    Parameters
    ----------
    forcing, kernel : ndarray of complex, shape (...)
        Transforms of the train forcing and kernel at twice the time.
    noise_rate : array_like, shape (...)
        Learning rate over batch size.

    Returns
    -------
    ndarray of complex, shape (...)
        Transform of the train loss at twice the time.

    Examples
    --------
    >>> print(noisy_loss(np.array(1.0 + 0j), np.array(0.5 + 0j), 2.0).real)
    2.0
    """
    return np.asarray(forcing / (1 - np.asarray(noise_rate) / 2 * kernel))


def check_kernel_norm(noise_rate: FloatArray, trace: float) -> None:
    """Raise an InstabilityError where the noise feeds on itself: the norm of the train kernel is half the trace."""
    largest = float(noise_rate.max(initial=0.0))
    threshold = 2 / trace
    if largest >= threshold:
        raise InstabilityError(
            f"noise_rate (learning rate over batch size) is {largest:.6g}, {largest / threshold:.4g} times the "
            f"threshold 2 / Tr(covariance) = {threshold:.6g} where the loss of SGD diverges: pass a smaller noise_rate"
        )


class Exponentials(NamedTuple):
    """A function of time as the sum of ``amplitude * exp(-rate * t)``.

    Attributes
    ----------
    rate : ndarray, shape (term,)
        Rates, in units of 1/time.
    amplitude : ndarray, shape (term,)
        Amplitudes, of either sign.
    """

    rate: FloatArray
    amplitude: FloatArray

    def at(self, time: FloatArray) -> FloatArray:
        """Values at times (...)."""
        return np.asarray(np.exp(-np.multiply.outer(time, self.rate)) @ self.amplitude)

    def transform(self, p: ComplexArray) -> ComplexArray:
        """Laplace transform at frequencies (...)."""
        return np.asarray((1 / (p[..., None] + self.rate)) @ self.amplitude.astype(np.complex128))


def fit_exponentials(time: FloatArray, values: FloatArray, tolerance: FloatArray, rate: FloatArray) -> Exponentials:
    """Write a function of time as a sum of exponentials with given rates, by least squares.

    Parameters
    ----------
    time, values : ndarray, shape (time,)
        The function at times that cover the inverse of all rates.
    tolerance : ndarray, shape (time,)
        What an error is measured in, positive; its values themselves for relative errors.
    rate : ndarray, shape (term,)
        Rates; a logarithmic grid with twelve to the decade reaches 1e-8.

    Returns
    -------
    Exponentials
        The sum; amplitudes have either sign (with positive ones alone the fit stalls at 1e-4).

    Examples
    --------
    >>> time = np.geomspace(1e-3, 1e3, 200)
    >>> values = 1 / (1 + time)
    >>> kernel = fit_exponentials(time, values, values, np.geomspace(1e-4, 1e2, 49))
    >>> bool(np.abs(kernel.at(time) / values - 1).max() < 1e-6)
    True
    """
    left, right = pseudo_inverse(time, tolerance, rate)
    return Exponentials(rate, left @ (right @ values))


def pseudo_inverse(time: FloatArray, tolerance: FloatArray, rate: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Matrices (term, rank) and (rank, time) that turn values into amplitudes (`fit_exponentials`) one after the other.

    They depend on the grids alone.
    """
    left, right = factored_inverse(np.exp(-np.multiply.outer(time, rate)) / tolerance[:, None])
    return left, right / tolerance
