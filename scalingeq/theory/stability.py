"""Stability of discrete SGD: the edge of the random spectrum and the largest stable learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from scalingeq.errors import InstabilityError, ParameterError, raise_problems
from scalingeq.theory.equivalents import one_point, size_problems
from scalingeq.theory.spectrum import AnySpectrum, FloatArray


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
    return _outside(spectrum, float(width), float(samples)).edge


def largest_learning_rate(
    spectrum: AnySpectrum,
    *,
    batch_size: float = math.inf,
    width: float = math.inf,
    samples: float = math.inf,
    momentum: float = 0.0,
    ridge: float = 0.0,
) -> float:
    """Learning rate at which discrete SGD becomes unstable, exact for Gaussian inputs.

    Parameters
    ----------
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs.
    batch_size : float
        Samples in a minibatch; infinity for full batches.
    width, samples : float
        Number of random features and of training samples.
    momentum : float
        Momentum of the heavy ball, from 0 to below 1.
    ridge : float
        Weight decay, in the units of the eigenvalues.

    Returns
    -------
    float
        Smallest learning rate, in units of 1/eigenvalue, at which the loss does not stay bounded: where the noise that
        a unit of loss leaves behind in all later steps adds up to one, or where a single mode grows.

    Raises
    ------
    ParameterError
        Where a size is not positive, or momentum or ridge is outside its domain.

    Notes
    -----
    With X = rate (x + ridge) over the eigenvalues x of the random covariance, a heavy ball keeps of a kick
    ``S = (1 + momentum) / ((1 - momentum) X (2 (1 + momentum) - X))``, and the descent is stable where
    ``(1/batch) sum Y**2 S / (1 - Y**2 S / batch) < 1``, Y = rate x. As a function of x this has two poles, one on
    either side of the spectrum, so that the sum is one of degrees of freedom (arXiv:2502.05074) at real frequencies.
    Without momentum and ridge it is ``(rate/batch) sum x / (2 - rate x (1 + 1/batch)) < 1``.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw
    >>> spectrum = PowerLaw(alpha=1.5, r=0.4)
    >>> print(round(largest_learning_rate(spectrum), 6), round(largest_learning_rate(spectrum, batch_size=1), 4))
    2.0 0.5223
    >>> print(round(largest_learning_rate(spectrum, momentum=0.9), 6))
    3.8
    """
    problems = size_problems({"batch_size": batch_size, "width": width, "samples": samples})
    if not 0 <= momentum < 1:
        problems.append(f"momentum is {momentum!r}: pass a number from 0 to below 1")
    if not (math.isfinite(ridge) and ridge >= 0):
        problems.append(f"ridge is {ridge!r}: pass a finite number, not negative")
    raise_problems(problems, ParameterError)
    outside = _outside(spectrum, float(width), float(samples))
    edge = outside.edge
    leading = (1 - momentum) + (1 + momentum) / batch_size
    if ridge == 0:
        if math.isfinite(batch_size):
            most = batch_size * leading / (1 + momentum)
            # Gaps below that of the edge are inside the spectrum.
            filled = _falling_root(lambda gap: outside.degrees(gap) - most)
            edge = outside.frequency(max(filled, outside.turning_gap))
        return 2 * (1 - momentum**2) / leading / edge
    highest = 2 * (1 + momentum) / (edge + ridge)
    if math.isinf(batch_size):
        return highest

    def spare(rate: float) -> float:
        """One minus what noise adds up to; negative where a mode grows."""
        # (1 - momentum) X (2 (1 + momentum) - X) - (1 + momentum) Y**2 / batch = 0, in rate * x.
        linear = (1 - momentum) * (1 + momentum - rate * ridge)
        constant = (1 - momentum) * rate * ridge * (2 * (1 + momentum) - rate * ridge)
        root = linear + math.sqrt(linear**2 + leading * constant)
        above, below = root / leading / rate, constant / root / rate
        if above <= edge:
            return -1.0
        beyond = outside.degrees(outside.gap(above))
        inside = float(one_point(below, spectrum, width, samples).degrees.real)
        return 1 - (above * beyond - below * inside) / (above + below) * (1 + momentum) / (batch_size * leading)

    return highest * _falling_root(lambda share: spare(highest * share), 1e-12, 1.0)


def check_learning_rates(
    rate: FloatArray,
    batch_size: FloatArray,
    spectrum: AnySpectrum,
    *,
    sizes: list[tuple[float, float]],
    momentum: float = 0.0,
    ridge: float = 0.0,
) -> None:
    """Raise an InstabilityError, which names step and threshold, where discrete SGD is unstable at some step.

    ``rate`` and ``batch_size`` are one value, or one for each step; ``sizes`` are pairs of width and samples.
    """
    highest, smallest = float(rate.max()), float(batch_size.min())
    if momentum == 0 and ridge == 0:
        stable = _are_stable(highest, smallest, spectrum, np.array(sizes))
        sizes = [size for size, passed in zip(sizes, stable, strict=True) if not passed]
    for width, samples in sizes:

        def threshold(batch: float, width: float = width, samples: float = samples) -> float:
            return largest_learning_rate(
                spectrum, batch_size=batch, width=width, samples=samples, momentum=momentum, ridge=ridge
            )

        # Larger batches stand larger rates: most schedules pass by their largest rate and smallest batch alone.
        if highest < threshold(smallest):
            continue
        rates, batches = np.broadcast_arrays(rate, batch_size)
        distinct, which = np.unique(batches, return_inverse=True)
        limit = np.array([threshold(float(batch)) for batch in distinct])[which.reshape(batches.shape)]
        unstable = rates >= limit
        if unstable.any():
            step = int(unstable.argmax())
            where = f" at step {step}" if rates.size > 1 else ""
            options = "".join(
                f", {name}={value:g}" for name, value in (("momentum", momentum), ("ridge", ridge)) if value
            )
            raise InstabilityError(
                f"learning_rate is {rates[step]:.6g}{where}, {rates[step] / limit[step]:.4g} times the exact threshold "
                f"{limit[step]:.6g} at which SGD diverges with batch_size={batches[step]:g}, width={width:g}, "
                f"samples={samples:g}{options}: pass a smaller learning_rate or a larger batch_size"
            )


def _are_stable(rate: float, batch_size: float, spectrum: AnySpectrum, sizes: FloatArray) -> NDArray[np.bool_]:
    """Whether plain SGD is certainly stable at each pair of width and samples (pair, 2), without its threshold.

    The sum of `largest_learning_rate` is one over the eigenvalues below a pole. Noise stays bounded where the degrees
    of freedom at the pole are less than most; they fall with the gap, so that any gap which is not beyond the pole
    bounds them.
    """
    outside = _outside(spectrum, math.inf, math.inf)
    pole = 2 / (rate * (1 + 1 / batch_size)) if rate else math.inf
    gap, degrees = outside.scan
    frequency = outside.top * (1 + gap) * (1 + degrees / sizes[:, :1]) * (1 + degrees / sizes[:, 1:])
    return np.asarray(((frequency < pole) & (degrees < batch_size + 1)).any(axis=1))


def edge_bound(spectrum: AnySpectrum, per_width: float, per_sample: float) -> float:
    """A bound on the largest eigenvalue of the random covariance (`largest_eigenvalue`), a little above it."""
    outside = _outside(spectrum, math.inf, math.inf)
    gap, degrees = outside.scan
    # Every gap gives a bound, and the best of them the edge itself.
    return float((outside.top * (1 + gap) * (1 + degrees * per_width) * (1 + degrees * per_sample)).min())


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

    @cached_property
    def scan(self) -> tuple[FloatArray, FloatArray]:
        """Some gaps, and minus the degrees of freedom there."""
        gap = np.geomspace(1e-3, 100, 60)
        return gap, (1 / (gap[:, None] + self.below)) @ self.weight

    def degrees(self, gap: float) -> float:
        """Minus the degrees of freedom, which are negative here."""
        return float((self.weight / (gap + self.below)).sum())

    def frequency(self, gap: float) -> float:
        """Minus the Laplace frequency."""
        return float(self.top * (1 + gap) * np.prod(1 + self.degrees(gap) / self.sizes))

    @cached_property
    def edge(self) -> float:
        """Smallest ``frequency`` over all gaps."""
        return self.frequency(self.turning_gap)

    def gap(self, frequency: float) -> float:
        """Gap of a frequency beyond the edge."""
        return _falling_root(lambda gap: frequency - self.frequency(gap), self.turning_gap)

    @cached_property
    def turning_gap(self) -> float:
        """Gap of the edge."""

        def fall(gap: float) -> float:
            slope = (self.weight / (gap + self.below) ** 2).sum()
            return float((slope / (self.sizes + self.degrees(gap))).sum() - 1 / (1 + gap))

        return _falling_root(fall)


#: One loss asks several times for the edge of one and the same spectrum.
_outside = lru_cache(maxsize=256)(_Outside)


def _falling_root(function: Callable[[float], float], lowest: float = 1e-15, highest: float = 1e15) -> float:
    """Root, between bounds, of a function that changes from plus to minus, by bisection of its logarithm."""
    low, high = math.log(lowest), math.log(highest)
    for _ in range(56):
        middle = (low + high) / 2
        low, high = (middle, high) if function(math.exp(middle)) > 0 else (low, middle)
    return math.exp((low + high) / 2)
