"""Losses at infinite training time: the ridgeless limits, with double descent."""

from __future__ import annotations

import math

import numpy as np

from scalingeq.errors import ParameterError, raise_problems
from scalingeq.theory.equivalents import (
    OnePoint,
    forcing_from,
    saturated_frequency,
    size_problems,
    two_point,
)
from scalingeq.theory.spectrum import AnySpectrum


def static_loss(
    spectrum: AnySpectrum,
    *,
    width: float = math.inf,
    samples: float = math.inf,
    noise_variance: float = 0.0,
    kind: str = "test",
) -> float:
    """Loss of gradient flow at infinite time, which is that of the ridgeless minimum-norm solution.

    Parameters
    ----------
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs and of the target.
    width, samples : float
        Number of random features and of training samples.
    noise_variance : float
        Variance of the label noise, in the units of the loss. The loss includes it.
    kind : {"test", "train"}
        Loss on fresh samples, or on the training samples.

    Returns
    -------
    float
        Loss, in the units of the target power; infinity for the test loss at the interpolation threshold, where the
        smaller of width and number of modes equals ``samples``.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain.

    Notes
    -----
    The limit s, s' -> 0 of the two-point forcing of arXiv:2502.05074, where the degrees of freedom equal the smaller
    of width and samples.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, static_loss
    >>> spectrum = PowerLaw(alpha=1.5, r=0.4)
    >>> [round(static_loss(spectrum, width=n, samples=100), 4) for n in (50, 99, 101, 200)]
    [0.1276, 3.0654, 3.0441, 0.0425]
    """
    problems = size_problems({"width": width, "samples": samples})
    if not (math.isfinite(noise_variance) and noise_variance >= 0):
        problems.append(f"noise_variance is {noise_variance!r}: pass a finite number, not negative")
    if kind not in ("test", "train"):
        problems.append(f"kind is {kind!r}: pass 'test' or 'train'")
    raise_problems(problems, ParameterError)
    parameters = min(width, spectrum.rank)
    if math.isinf(parameters) and math.isinf(samples):
        return noise_variance
    if kind == "test" and parameters == samples:
        return math.inf
    kappa = saturated_frequency(spectrum, min(width, samples))
    per_width, per_sample = np.array(1 / width), np.array(1 / samples)
    if kappa > 0:
        nodes = spectrum.nodes(kappa)
        resolvent = 1 / (kappa + nodes.eigenvalue)
        modes = nodes.modes * nodes.eigenvalue
        degrees, power = float(modes @ resolvent), float(nodes.target @ resolvent)
        cross, target = float(modes @ resolvent**2), float(nodes.target @ resolvent**2)
    else:
        # Every mode is learned, whatever the features; target power without a mode acts as label noise.
        degrees, power, cross, target = spectrum.rank, 0.0, 0.0, 0.0
        per_width = np.array(0.0)
        nodes = spectrum.nodes(1.0)
        noise_variance += float(nodes.target[nodes.eigenvalue == 0].sum())
    if kind == "train":
        return float((1 - min(degrees / samples, 1.0)) * (kappa * power + noise_variance))
    fields = (0.0, kappa, 0.0, degrees, power, 0.0)
    point = OnePoint._make([*(np.array(field, dtype=np.complex128) for field in fields), per_width, per_sample])
    pair = two_point(point, point, np.array(cross, dtype=np.complex128), np.array(target, dtype=np.complex128))
    return float(forcing_from(pair, noise_variance).real)
