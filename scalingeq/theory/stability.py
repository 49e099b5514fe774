"""Stability of discrete SGD: the edge of the random spectrum and the largest stable learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from scalingeq.errors import InstabilityError, ParameterError, raise_problems
from scalingeq.theory.equivalents import size_problems
from scalingeq.theory.spectrum import AnySpectrum


def largest_eigenvalue(spectrum: AnySpectrum, *, width: float = math.inf, samples: float = math.inf) -> float:
    """Largest eigenvalue of the random covariance of the features on the training samples.

    Parameters
    ----------
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs.
    width, samples : float
        Number of features and of training samples.

    Returns
    -------
    float
        Upper edge of the random spectrum, in the units of the eigenvalues; the largest eigenvalue of the covariance
        where width and samples are infinite.

    Raises
    ------
    ParameterError
        Where a size is not positive.

    Notes
    -----
    The edge is where the map from the renormalised frequency to s (arXiv:2502.05074), at negative real frequencies,
    turns: between it and -infinity the resolvent has no singularity. Where one mode stands out, its random eigenvalue
    spreads by a relative sqrt(2/width + 2/samples), and this edge is the upper end of that spread.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw
    >>> print(round(largest_eigenvalue(PowerLaw(alpha=1.5, r=0.4), width=100), 4))
    1.2286
    """
    raise_problems(size_problems({"width": width, "samples": samples}), ParameterError)
    return _Outside(spectrum, width, samples).edge()


def largest_learning_rate(
    spectrum: AnySpectrum, *, batch_size: float = math.inf, width: float = math.inf, samples: float = math.inf
) -> float:
    """Learning rate at which discrete SGD becomes unstable, exact for Gaussian inputs.

    Parameters
    ----------
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs.
    batch_size : float
        Samples in a minibatch; infinity for full batches.
    width, samples : float
        Number of features and of training samples.

    Returns
    -------
    float
        Smallest learning rate, in units of 1/eigenvalue, at which the loss does not stay bounded: where
        ``(rate/batch) sum x / (2 - rate x (1 + 1/batch)) = 1`` over the eigenvalues x of the random covariance, or
        where ``rate x (1 + 1/batch) = 2`` for the largest of them.

    Raises
    ------
    ParameterError
        Where a size is not positive.

    Notes
    -----
    The sum is ``-df(kappa) / (batch + 1)`` at the renormalised frequency (arXiv:2502.05074) of
    ``s = -2 / (rate (1 + 1/batch))``, so that the threshold needs one real root.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw
    >>> spectrum = PowerLaw(alpha=1.5, r=0.4)
    >>> print(round(largest_learning_rate(spectrum), 6), round(largest_learning_rate(spectrum, batch_size=1), 4))
    2.0 0.5223
    """
    raise_problems(size_problems({"batch_size": batch_size, "width": width, "samples": samples}), ParameterError)
    outside = _Outside(spectrum, width, samples)
    edge = outside.edge()
    if math.isfinite(batch_size):
        edge = max(edge, outside.frequency(_falling_root(lambda gap: outside.degrees(gap) - batch_size - 1)))
    return 2 / (edge * (1 + 1 / batch_size))


def check_learning_rate(
    learning_rate: float, spectrum: AnySpectrum, batch_size: float, width: float, samples: float
) -> None:
    """Raise an InstabilityError, which names the threshold, where discrete SGD at these settings is unstable."""
    threshold = largest_learning_rate(spectrum, batch_size=batch_size, width=width, samples=samples)
    if learning_rate >= threshold:
        raise InstabilityError(
            f"learning_rate is {learning_rate:.6g}, {learning_rate / threshold:.4g} times the exact threshold "
            f"{threshold:.6g} at which SGD diverges with batch_size={batch_size:g}, width={width:g}, "
            f"samples={samples:g}: pass a smaller learning_rate or a larger batch_size"
        )


class _Outside:
    """The renormalisation at real frequencies below the negative of the spectrum.

    The position is ``kappa2 = -top (1 + gap)``, with ``top`` the largest eigenvalue.
    """

    def __init__(self, spectrum: AnySpectrum, width: float, samples: float) -> None:
        nodes = spectrum.nodes(spectrum.nodes(1.0).eigenvalue[0])
        self.top = nodes.eigenvalue[0]
        self.weight = nodes.modes * nodes.eigenvalue / self.top
        self.below = 1 - nodes.eigenvalue / self.top
        self.sizes = np.array([width, samples])

    def degrees(self, gap: float) -> float:
        """Minus the degrees of freedom, which are negative here."""
        return float((self.weight / (gap + self.below)).sum())

    def frequency(self, gap: float) -> float:
        """Minus the Laplace frequency."""
        return float(self.top * (1 + gap) * np.prod(1 + self.degrees(gap) / self.sizes))

    def edge(self) -> float:
        """Smallest ``frequency`` over all gaps."""

        def fall(gap: float) -> float:
            slope = (self.weight / (gap + self.below) ** 2).sum()
            return float((slope / (self.sizes + self.degrees(gap))).sum() - 1 / (1 + gap))

        return self.frequency(_falling_root(fall))


def _falling_root(function: Callable[[float], float]) -> float:
    """Positive root of a function that changes from plus to minus, by bisection of its logarithm."""
    low, high = math.log(1e-15), math.log(1e15)
    for _ in range(56):
        middle = (low + high) / 2
        low, high = (middle, high) if function(math.exp(middle)) > 0 else (low, middle)
    return math.exp((low + high) / 2)
