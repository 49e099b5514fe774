"""Spectra from data: the eigenvalues and the target's power that samples of features, or of a kernel, stand for.

A sample of n has a spectrum of its own: its eigenvalues are spread, and noise and all that is not learned leak into
the power of every mode. The deterministic equivalents say how, so they are read here from the sample to the population.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from scalingeq.errors import ParameterError, raise_problems
from scalingeq.theory.spectrum import FloatArray, Spectrum

#: Eigenvalues this small beside the largest are rounding errors of the sample's.
SMALLEST = 1e-10
#: Frequencies are used down to where samples and width have renormalised them this far: below, the sample is all but
#: interpolated and says little.
SMALLEST_RATIO = 0.05
#: Frequencies, and eigenvalues on trial, in a decade.
FREQUENCIES_PER_DECADE = 10
EIGENVALUES_PER_DECADE = 20


def spectrum_from_kernel(kernel: ArrayLike, labels: ArrayLike, *, width: float = math.inf) -> Spectrum:
    """Estimate the spectrum of a kernel and of a target from the kernel matrix of a sample and its labels.

    Parameters
    ----------
    kernel : array_like, shape (sample, sample)
        Kernel between the samples, symmetric with no negative eigenvalue, as the model uses it: neither the kernel nor
        the labels are centred or scaled here.
    labels : array_like, shape (sample,) or (sample, output)
        Labels; with several outputs the squares are summed, as in a loss that sums over outputs.
    width : float
        Number of random features that the kernel is the scalar product of, to estimate the spectrum that any width
        has; infinity takes the kernel as it is.

    Returns
    -------
    Spectrum
        Some tens of eigenvalues with the modes and the target power that they stand for. Power that the sample shows no
        mode for, label noise above all, has eigenvalue 0, so that a loss with this spectrum includes it.

    Raises
    ------
    ParameterError
        Where the matrix is not a kernel matrix, labels do not match it or are all 0, or a value is not finite.

    Notes
    -----
    On a sample of n the deterministic equivalents of arXiv:2502.05074 hold with P = n: for every frequency s, with
    the eigenvalues x of the kernel matrix over n, ``df(kappa) = sum x / (x + s)`` at
    ``kappa = s / (1 - df/n) / (1 - df/width)``, and ``y (kernel/n + s)**-1 y / n`` gives
    ``kappa sum c / (lambda + kappa) + noise``. Both sums are linear in the modes and the target power at given
    eigenvalues, which are found by non-negative least squares (El Karoui, Ann. Statist. 36, 2757, 2008, does so for
    the eigenvalues).

    The estimate serves models of fewer samples than its own. What it says of eigenvalues too small for n samples to
    resolve is a guess, and target power there may count as noise or as a slow mode. Gaussian labels leave it a relative
    error of ``sqrt(2/n)``, that of a variance. Inputs much unlike Gaussian ones, with a few samples that hold most of the
    variance, break the equivalents themselves, late in training and for the train loss first.

    Examples
    --------
    >>> import numpy as np
    >>> from scalingeq.theory import loss_curve, spectrum_from_kernel
    >>> rng = np.random.default_rng(0)
    >>> inputs = rng.standard_normal((400, 5))
    >>> labels = inputs[:, 0] + 0.5 * rng.standard_normal(400)
    >>> spectrum = spectrum_from_kernel(inputs @ inputs.T, labels)
    >>> print(round(spectrum.rank, 2), spectrum.target_power[spectrum.eigenvalues == 0].round(2))
    5.0 [0.25]
    >>> loss_curve([0, 10, 100], spectrum, learning_rate=0.1, samples=50).round(2)
    array([1.3 , 0.44, 0.28])
    """
    matrix, target, problems = _check({"kernel": kernel}, labels, width)
    n = matrix.shape[0]
    if matrix.ndim == 2 and matrix.shape != (n, n):
        problems.append(f"kernel has shape {matrix.shape}: pass one row and one column a sample")
    elif not problems and not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-9 * float(np.abs(matrix).max())):
        problems.append("kernel is not symmetric: pass the kernel between the samples and themselves")
    raise_problems(problems, ParameterError)
    eigenvalue, vectors = np.linalg.eigh(matrix / n)
    if eigenvalue[0] < -1e-6 * eigenvalue[-1] or eigenvalue[-1] <= 0:
        raise ParameterError(
            f"kernel has eigenvalues from {n * eigenvalue[0]:.3g} to {n * eigenvalue[-1]:.3g}: pass a kernel matrix, "
            "which has positive ones and none below 0"
        )
    power = ((vectors.T @ target) ** 2).sum(axis=1) / n
    return _population(eigenvalue, power, float((target**2).sum()) / n, n, width)


def spectrum_from_features(features: ArrayLike, labels: ArrayLike, *, width: float = math.inf) -> Spectrum:
    """Estimate the spectrum of features, such as activations, and of a target from samples of both.

    Parameters
    ----------
    features : array_like, shape (sample, feature)
        Features as the model uses them, so that the predictor is ``features @ weights``: neither they nor the labels
        are centred or scaled here. Where the model fits an intercept apart, centre both first.
    labels : array_like, shape (sample,) or (sample, output)
        Labels; with several outputs the squares are summed, as in a loss that sums over outputs.
    width : float
        Number of features where they are random, to estimate the spectrum that any width has; infinity takes the
        features as they are.

    Returns
    -------
    Spectrum
        As `spectrum_from_kernel` of ``features @ features.T``, which is not needed where there are more samples than
        features.

    Raises
    ------
    ParameterError
        Where the arrays do not match or are all 0, or a value is not finite.

    Notes
    -----
    See `spectrum_from_kernel`.

    Examples
    --------
    >>> import numpy as np
    >>> from scalingeq.theory import spectrum_from_features
    >>> rng = np.random.default_rng(0)
    >>> features = rng.standard_normal((4000, 2)) * [1.0, 0.5]
    >>> spectrum = spectrum_from_features(features, features @ [1.0, 2.0])
    >>> print(round(spectrum.trace, 2), round(spectrum.power, 2))
    1.27 1.94
    """
    matrix, target, problems = _check({"features": features}, labels, width)
    raise_problems(problems, ParameterError)
    n = matrix.shape[0]
    if matrix.shape[1] > n:
        return spectrum_from_kernel(matrix @ matrix.T, target, width=width)
    eigenvalue, vectors = np.linalg.eigh(matrix.T @ matrix / n)
    overlap = (vectors.T @ (matrix.T @ target / n)) ** 2
    positive = eigenvalue > SMALLEST * eigenvalue[-1]
    power = overlap.sum(axis=1)[positive] / eigenvalue[positive]
    return _population(eigenvalue[positive], power, float((target**2).sum()) / n, n, width)


def _check(named: dict[str, ArrayLike], labels: ArrayLike, width: float) -> tuple[FloatArray, FloatArray, list[str]]:
    """Matrix, labels (sample, output), and what is wrong with them."""
    ((name, value),) = named.items()
    matrix, target = np.asarray(value, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    problems = [] if width >= 1 else [f"width is {width!r}: pass at least one feature, or infinity"]
    if matrix.ndim != 2 or matrix.shape[0] < 2 or matrix.shape[1] == 0:
        problems.append(f"{name} has shape {matrix.shape}: pass a matrix with one row a sample, of at least two")
    elif target.ndim not in (1, 2) or target.shape[0] != matrix.shape[0]:
        problems.append(f"labels have shape {target.shape}, {name} {matrix.shape}: pass one label a sample")
    for what, array in ((name, matrix), ("labels", target)):
        if bad := int(np.count_nonzero(~np.isfinite(array))):
            problems.append(f"{what}: {bad} of {array.size} values are not finite; pass none such")
        elif not array.any():
            problems.append(f"{what}: all values are 0; pass some that are not")
    return matrix, target.reshape(target.shape[0], -1) if target.ndim else target, problems


def _population(eigenvalue: FloatArray, power: FloatArray, total: float, samples: int, width: float) -> Spectrum:
    """Spectrum of the population from the eigenvalues of a sample's covariance and the labels' power along them.

    ``total`` is the mean square of the labels; what is left of it has eigenvalue 0 in the sample.
    """
    largest = float(eigenvalue.max())
    kept = eigenvalue > SMALLEST * largest
    eigenvalue, power = eigenvalue[kept], power[kept]
    rest = max(total - float(power.sum()), 0.0)
    s = _log_grid(10 * largest, 0.01 * float(eigenvalue.min()), FREQUENCIES_PER_DECADE)
    resolvent = 1 / (eigenvalue + s[:, None])
    degrees = resolvent @ eigenvalue
    ratio = (1 - degrees / samples) * (1 - degrees / width)
    informed = ratio > SMALLEST_RATIO
    s, degrees, ratio = s[informed], degrees[informed], ratio[informed]
    kappa = s / ratio
    unlearned = (resolvent[informed] @ power + rest / s) * kappa * (1 - degrees / width)
    trial = np.append(_log_grid(1.5 * largest, 0.03 * float(kappa.min()), EIGENVALUES_PER_DECADE), 0.0)
    # The sums scatter from sample to sample, relative to their size, as the inverse root of the ratio.
    weight = np.sqrt(ratio)
    learnable = kappa[:, None] / (kappa[:, None] + trial)
    modes = np.append(_non_negative(1 - learnable[:, :-1], degrees, weight), 0.0)
    target = _non_negative(learnable, unlearned, weight)
    used = (modes > 0) | (target > 0)
    return Spectrum(trial[used], target[used], modes[used])


def _log_grid(first: float, last: float, per_decade: int) -> FloatArray:
    return np.geomspace(first, last, 2 + int(per_decade * math.log10(first / last)))


def _non_negative(matrix: FloatArray, value: FloatArray, weight: FloatArray) -> FloatArray:
    """Solution, none of it negative, that comes closest to ``matrix @ solution = value`` in weighted relative terms."""
    from scipy.optimize import nnls

    scaled = matrix * (weight / value)[:, None]
    column = np.linalg.norm(scaled, axis=0)
    solution, _ = nnls(scaled / column, weight, maxiter=100 * column.size)
    return np.asarray(solution / column)
