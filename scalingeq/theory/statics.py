"""Losses at infinite training time: ridge and ridgeless regression on inputs, kernels and random features."""

from __future__ import annotations

import math

import numpy as np

from scalingeq.errors import ParameterError, raise_problems
from scalingeq.theory.equivalents import (
    OnePoint,
    cross_sums,
    forcing_from,
    renormalised_frequency,
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
    ridge: float = 0.0,
    noise_variance: float = 0.0,
    kind: str = "test",
) -> float:
    """Loss of gradient flow at infinite time: that of ridge regression, without a ridge of the minimum-norm solution.

    Parameters
    ----------
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs and of the target.
    width, samples : float
        Number of random features and of training samples; infinity is allowed.
    ridge : float
        Ridge parameter (weight decay), in the units of the eigenvalues, not negative: what is minimised is the train
        loss plus ``ridge`` times the squared norm of the weights on the features.
    noise_variance : float
        Variance of the label noise, in the units of the loss. The loss includes it.
    kind : {"test", "train"}
        Loss on fresh samples, or on the training samples.

    Returns
    -------
    float
        Loss, in the units of the target power (the train loss without the penalty); infinity for the test loss at the
        interpolation threshold, where without a ridge the smaller of width and number of modes equals ``samples``.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain.

    Notes
    -----
    ``s s'`` times the two-point forcing of arXiv:2502.05074 at s = s' = ridge, where gradient flow with weight decay
    ends; without a ridge the limit s -> 0, where the degrees of freedom equal the smaller of width and samples. The
    train loss is ``(1 - df/samples)**2`` of the test loss: the residual on a training sample is that on a fresh one
    times the response of the data (`response`), which is generalised cross-validation (arXiv:1903.08560).

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, static_loss
    >>> spectrum = PowerLaw(alpha=1.5, r=0.4)
    >>> [round(static_loss(spectrum, width=n, samples=100), 4) for n in (50, 99, 101, 200)]
    [0.1276, 3.0654, 3.0441, 0.0425]
    >>> [round(static_loss(spectrum, width=n, samples=100, ridge=1e-3), 4) for n in (50, 99, 101, 200)]
    [0.1036, 0.0593, 0.0582, 0.0328]
    """
    problems = size_problems({"width": width, "samples": samples}) + [
        f"{name} is {value!r}: pass a finite number, not negative"
        for name, value in (("ridge", ridge), ("noise_variance", noise_variance))
        if not (math.isfinite(value) and value >= 0)
    ]
    if kind not in ("test", "train"):
        problems.append(f"kind is {kind!r}: pass 'test' or 'train'")
    raise_problems(problems, ParameterError)
    per_width = np.array(1 / width)
    if ridge > 0:
        kappa2, kappa1 = (float(value) for value in renormalised_frequency(ridge, spectrum, width, samples))
        response = ridge / kappa1
    else:
        parameters = min(width, spectrum.rank)
        if math.isinf(parameters) and math.isinf(samples):
            return noise_variance
        if parameters == samples:
            return math.inf if kind == "test" else 0.0
        kappa2 = saturated_frequency(spectrum, min(width, samples))
        response = max(1 - parameters / samples, 0.0)
    if kappa2 > 0:
        nodes = spectrum.nodes(kappa2)
        resolvent = 1 / (kappa2 + nodes.eigenvalue)
        modes = nodes.modes * nodes.eigenvalue
        degrees, power = float(modes @ resolvent), float(nodes.target @ resolvent)
        cross, target = float(modes @ resolvent**2), float(nodes.target @ resolvent**2)
    else:
        # Every mode is learned, whatever the features; target power without a mode acts as label noise.
        degrees, power, cross, target = spectrum.rank, 0.0, 0.0, 0.0
        per_width = np.array(0.0)
        nodes = spectrum.nodes(1.0)
        noise_variance += float(nodes.target[nodes.eigenvalue == 0].sum())
    fields = (ridge, kappa2, 0.0, degrees, power, 0.0, -cross, -target, 0.0, 0.0)
    point = OnePoint._make(
        [*(np.array(field, dtype=np.complex128) for field in fields), per_width, np.array(1 / samples)]
    )
    pair = two_point(point, point, *cross_sums(point, point))
    test = float(forcing_from(pair, noise_variance).real)
    return test if kind == "test" else response**2 * test


def ridge_regression_loss(
    spectrum: AnySpectrum, *, samples: float, ridge: float = 0.0, noise_variance: float = 0.0, kind: str = "test"
) -> float:
    """Loss of linear or kernel ridge regression: `static_loss` without random features.

    Regression with a kernel is linear regression on the kernel's features, so that one function serves both: the
    spectrum of a kernel is that of its integral operator over the inputs, and the target power of a mode is the squared
    coefficient of the target in the eigenfunction.

    Parameters
    ----------
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs, or of the kernel, and of the target.
    samples : float
        Number of training samples.
    ridge : float
        Ridge parameter, in the units of the eigenvalues; 0 for the minimum-norm solution. A kernel regression that
        inverts the kernel matrix plus ``delta`` times the identity has the ridge ``delta / samples``.
    noise_variance : float
        Variance of the label noise, in the units of the loss. The loss includes it.
    kind : {"test", "train"}
        Loss on fresh samples, or on the training samples.

    Returns
    -------
    float
        Loss, in the units of the target power.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain.

    Notes
    -----
    The limit of infinite width of arXiv:2502.05074, which gives the asymptotics of ridge regression of arXiv:1903.08560
    and those of kernel regression of arXiv:2002.02561 and arXiv:2110.03922.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, ridge_regression_loss
    >>> kernel_spectrum = PowerLaw(alpha=1.5, r=0.4)
    >>> [round(ridge_regression_loss(kernel_spectrum, samples=n, ridge=1e-3), 4) for n in (10, 100, 1000)]
    [0.1739, 0.0143, 0.0037]
    """
    return static_loss(spectrum, samples=samples, ridge=ridge, noise_variance=noise_variance, kind=kind)


def random_features_loss(
    spectrum: AnySpectrum,
    *,
    width: float,
    samples: float,
    ridge: float = 0.0,
    noise_variance: float = 0.0,
    kind: str = "test",
) -> float:
    """Loss of ridge regression on random features of the inputs: `static_loss` with both sizes given.

    Parameters
    ----------
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs, or of the kernel that the features sample, and of the target.
    width, samples : float
        Number of random features and of training samples.
    ridge : float
        Ridge parameter, in the units of the eigenvalues; 0 for the minimum-norm solution.
    noise_variance : float
        Variance of the label noise, in the units of the loss. The loss includes it.
    kind : {"test", "train"}
        Loss on fresh samples, or on the training samples.

    Returns
    -------
    float
        Loss, in the units of the target power; without a ridge it diverges where width equals samples.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain.

    Notes
    -----
    Linear random features of arXiv:2502.05074; the same as the asymptotics of arXiv:2311.14646.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, random_features_loss
    >>> spectrum = PowerLaw(alpha=1.5, r=0.4)
    >>> [round(random_features_loss(spectrum, width=n, samples=100, ridge=1e-3), 4) for n in (10, 100, 1000)]
    [0.3396, 0.0588, 0.0173]
    """
    return static_loss(spectrum, width=width, samples=samples, ridge=ridge, noise_variance=noise_variance, kind=kind)
