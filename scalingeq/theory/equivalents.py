"""Deterministic equivalents of the resolvent of a random-feature model trained on finite data.

A random resolvent at the Laplace frequency s is replaced by a deterministic one at the renormalised frequencies
s -> kappa1 -> kappa2, one step for each source of randomness: the data, then the features (arXiv:2502.05074, where they
are called omega, omega1, omega2). Losses need a product of two resolvents at different frequencies, whose equivalent is
the two-point one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalingeq.errors import ParameterError, raise_problems
from scalingeq.theory import laplace
from scalingeq.theory.compiled import Loops, loops
from scalingeq.theory.following import follow, follow_to, real_root
from scalingeq.theory.shift import ShiftedNodes
from scalingeq.theory.spectrum import AnySpectrum, ComplexArray, FloatArray, Nodes, Spectrum

#: Relative distance of two frequencies below which their divided differences are taken from derivatives.
NEAR = 1e-3


class OnePoint(NamedTuple):
    """The renormalised frequencies at s and the sums over the spectrum that every equivalent is made of.

    Attributes
    ----------
    s, kappa2, kappa1 : ndarray of complex, shape (...)
        Laplace frequency, the renormalised one, and the one renormalised by the data alone.
    degrees : ndarray of complex, shape (...)
        Degrees of freedom df(kappa2).
    power, squares : ndarray of complex, shape (...)
        Sums of target power / (eigenvalue + kappa2) and of eigenvalue**2 / (eigenvalue + kappa2).
    degrees_slope, power_slope, degrees_curvature, power_curvature : ndarray of complex, shape (...)
        First and second derivatives of degrees and power with respect to kappa2.
    per_width, per_sample : ndarray, shape (...)
        One over the width and one over the number of samples.
    """

    s: ComplexArray
    kappa2: ComplexArray
    kappa1: ComplexArray
    degrees: ComplexArray
    power: ComplexArray
    squares: ComplexArray
    degrees_slope: ComplexArray
    power_slope: ComplexArray
    degrees_curvature: ComplexArray
    power_curvature: ComplexArray
    per_width: FloatArray
    per_sample: FloatArray


def degrees_of_freedom(kappa: ArrayLike, spectrum: AnySpectrum) -> NDArray[np.inexact]:
    """Degrees of freedom, the sum of ``eigenvalue / (eigenvalue + kappa)`` over the modes.

    Parameters
    ----------
    kappa : array_like of float or complex, shape (...)
        Frequencies off the negative real axis, in the units of the eigenvalues.
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs.

    Returns
    -------
    ndarray, shape (...)
        Degrees of freedom, a number of modes; real where ``kappa`` is.

    Raises
    ------
    ParameterError
        Where a frequency is on the negative real axis, zero, or not finite.

    Notes
    -----
    df_1 of arXiv:2502.05074.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, degrees_of_freedom
    >>> degrees_of_freedom([0.25, 1.0], PowerLaw(alpha=2.0, r=0.5, dim=2))
    array([1.3, 0.7])
    """
    values = np.asarray(kappa)
    _check_frequencies({"kappa": values})
    nodes = spectrum.nodes(_smallest(values))
    return np.asarray((1 / (values[..., None] + nodes.eigenvalue)) @ (nodes.modes * nodes.eigenvalue))


def s_transform(degrees: ArrayLike, size: ArrayLike) -> NDArray[np.inexact]:
    """S-transform of a white Wishart factor, the ratio by which it raises the renormalised frequency.

    Parameters
    ----------
    degrees : array_like, shape (...)
        Degrees of freedom at the frequency.
    size : array_like, shape (...)
        Degrees of freedom of the Wishart factor: number of samples, or width.

    Returns
    -------
    ndarray, shape (...)
        ``1 / (1 - degrees / size)``, without units: kappa1 / s for the data, kappa2 / kappa1 for the features.

    Notes
    -----
    arXiv:2502.05074, section on free multiplicative convolution: S(df) = 1 / (1 - df / n).

    Examples
    --------
    >>> s_transform([0.0, 50.0], 100)
    array([1., 2.])
    """
    return np.asarray(1 / (1 - np.asarray(degrees) / np.asarray(size)))


def renormalised_frequency(
    s: ArrayLike, spectrum: AnySpectrum, width: ArrayLike = math.inf, samples: ArrayLike = math.inf
) -> tuple[NDArray[np.inexact], NDArray[np.inexact]]:
    """Renormalised frequencies kappa2 and kappa1 at the Laplace frequency s.

    Parameters
    ----------
    s : array_like of float or complex, shape (...)
        Laplace frequencies off the negative real axis, in the units of the eigenvalues (a rate in flow time).
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs.
    width, samples : array_like, broadcast with s
        Number of features and of training samples; infinity is allowed.

    Returns
    -------
    kappa2, kappa1 : ndarray, shape (...)
        The solution of ``s = kappa2 (1 - df/width) (1 - df/samples)`` that continues the real one at s > 0, and
        ``kappa1 = s / (1 - df/samples)``; real where s is.

    Raises
    ------
    ParameterError
        Where a frequency is on the negative real axis or zero, or a size is not positive.
    ConvergenceError
        Where Newton's method fails.

    Notes
    -----
    omega_2 and omega_1 of arXiv:2502.05074, with s = i omega.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, renormalised_frequency
    >>> kappa2, kappa1 = renormalised_frequency([0.1, 1.0], PowerLaw(alpha=1.5, r=0.4), width=20)
    >>> kappa2.round(6), kappa1
    (array([0.161891, 1.099375]), array([0.1, 1. ]))
    """
    values = np.asarray(s)
    _check_frequencies({"s": values})
    point = one_point(values, spectrum, width, samples)
    if np.iscomplexobj(values):
        return point.kappa2, point.kappa1
    return point.kappa2.real, point.kappa1.real


def one_point(
    s: ArrayLike, spectrum: AnySpectrum, width: ArrayLike = math.inf, samples: ArrayLike = math.inf
) -> OnePoint:
    """Renormalised frequencies and sums at any Laplace frequencies; arguments as in `renormalised_frequency`.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw
    >>> print(one_point(0.1, PowerLaw(alpha=2.0, r=0.5, dim=2)).degrees.real.round(6))
    1.623377
    """
    check_sizes({"width": width, "samples": samples})
    frequency = np.asarray(s, dtype=np.complex128)
    frequency, per_width, per_sample = np.broadcast_arrays(
        frequency, 1 / np.asarray(width, dtype=np.float64), 1 / np.asarray(samples, dtype=np.float64)
    )
    shape = frequency.shape
    flat = frequency.ravel()
    nodes = spectrum.nodes(_smallest(flat))
    below = flat.imag < 0
    upper = np.where(below, flat.conj(), flat)
    found = follow_to(upper, nodes, per_width.ravel(), per_sample.ravel())
    fields = np.where(below, found.conj(), found).reshape(-1, *shape)
    return OnePoint._make([frequency, *fields, per_width, per_sample])


def one_point_along(
    path: ComplexArray,
    nodes: Nodes,
    per_width: FloatArray,
    per_sample: FloatArray,
    polish: bool = False,
    copies: bool = False,
) -> OnePoint:
    """Renormalised frequencies and sums along paths that leave the positive real axis in even steps.

    Parameters
    ----------
    path : ndarray of complex, shape (path, point)
        Laplace frequencies; the first of each path is real and positive, the others lie above, one smooth step apart,
        so that the path and its mirror image are one.
    nodes : Nodes
        Nodes of the spectrum.
    per_width, per_sample : ndarray, shape (path,)
        One over the width and one over the number of samples.
    polish : bool
        Whether derivatives, too, are wanted to the last digits: pairs of frequencies need them.
    copies : bool
        Whether the paths are scaled copies of one, which takes less time.

    Returns
    -------
    OnePoint
        Fields of shape (path, point); ``per_width`` and ``per_sample`` of shape (path, 1).

    Raises
    ------
    ConvergenceError
        Where Newton's method fails.
    """
    fields = follow(path, nodes, per_width, per_sample, polish, copies)
    return OnePoint._make([path, *fields, per_width[:, None], per_sample[:, None]])


def forcing_one_point(point: OnePoint, noise_variance: ArrayLike) -> ComplexArray:
    """Laplace transform, at twice the time, of the train loss of gradient flow.

    Parameters
    ----------
    point : OnePoint
        Equivalents at the frequencies.
    noise_variance : array_like, broadcast with them
        Variance of the label noise.

    Returns
    -------
    ndarray of complex
        ``(kappa2 sum c/(lambda + kappa2) + noise variance) / kappa1`` (arXiv:2502.05074, train forcing).

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw
    >>> print(forcing_one_point(one_point(1.0, PowerLaw(alpha=2.0, r=0.5, dim=1)), 0.1).real)
    0.6
    """
    return np.asarray((point.kappa2 * point.power + np.asarray(noise_variance, dtype=np.float64)) / point.kappa1)


def kernel_one_point(point: OnePoint) -> ComplexArray:
    """Laplace transform, at twice the time, of the kernel of the train loss.

    Parameters
    ----------
    point : OnePoint
        Equivalents at the frequencies.

    Returns
    -------
    ndarray of complex
        ``Tr Sigma - s df(kappa2)`` (arXiv:2502.05074, train kernel), written so that nothing cancels.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw
    >>> print(kernel_one_point(one_point(1.0, PowerLaw(alpha=2.0, r=0.5, dim=1))).real)
    0.5
    """
    a, b = point.degrees * point.per_width, point.degrees * point.per_sample
    return np.asarray(point.squares + point.kappa2 * point.degrees * (a + b - a * b))


#: No derivatives of anything.
NO_SLOPES = (np.empty((0, 0, 0), dtype=np.complex128),) * 5


class Shared(NamedTuple):
    """What the two models have in common whose errors a pair of resolvents multiplies.

    Attributes
    ----------
    features, data : bool
        Whether they have the same random features, and the same training samples; a model has both with itself.
    """

    features: bool = True
    data: bool = True


#: A model has everything in common with itself.
ONE_MODEL = Shared()


class TwoPoint(NamedTuple):
    """The two-point equivalents at a pair of frequencies, before the factors of 1/s.

    Attributes
    ----------
    signal, test_signal : ndarray of complex
        What the features leave of the target, b, on the training inputs and on those of the test (b').
    variance, test_variance : ndarray of complex
        Number of samples times the data's share gamma_1, and the same weighted with the test covariance (a').
    per_sample : ndarray
        One over the number of samples, or 0 where the two models have different ones.
    """

    signal: ComplexArray
    variance: ComplexArray
    test_signal: ComplexArray
    test_variance: ComplexArray
    per_sample: FloatArray


def two_point(
    first: OnePoint,
    second: OnePoint,
    cross: ComplexArray,
    target: ComplexArray,
    test: ComplexArray | None = None,
    shared: Shared = ONE_MODEL,
) -> TwoPoint:
    """Two-point equivalents of the data and the features (arXiv:2502.05074, the two-point equivalent applied twice).

    Parameters
    ----------
    first, second : OnePoint
        Equivalents at s and at s', broadcast with each other.
    cross, target : ndarray of complex
        Sums of eigenvalue and of target power over ``(eigenvalue + kappa2)(eigenvalue + kappa2')``.
    test : ndarray of complex, shape (3, ...), optional
        Sums of the test eigenvalue, of the test power of the target, and of test eigenvalue times eigenvalue over the
        same, where the test covariance is not that of the training.
    shared : Shared
        What the models at s and at s' have in common.

    Returns
    -------
    TwoPoint
        Equivalents at each pair.
    """
    kappa = first.kappa2 * second.kappa2
    # sum a lambda/((lambda + k)(lambda + k')) = sum a/(lambda + k') - k sum a/((lambda + k)(lambda + k'))
    squares = second.degrees - first.kappa2 * cross
    target_squares = second.power - first.kappa2 * target
    per_width = first.per_width if shared.features else np.zeros(1)
    features = kappa * cross * per_width / (1 - squares * per_width)
    signal, variance = kappa * target + features * target_squares, squares + features * cross
    test_signal, test_variance = signal, variance
    if test is not None:
        features = kappa * test[0] * per_width / (1 - squares * per_width)
        test_signal, test_variance = kappa * test[1] + features * target_squares, test[2] + features * cross
    per_sample = first.per_sample if shared.data else np.zeros(1)
    return TwoPoint(signal, variance, test_signal, test_variance, per_sample)


def two_point_along(
    first: OnePoint, second: OnePoint, nodes: Nodes | ShiftedNodes, shared: Shared = ONE_MODEL, ridge: float = 0.0
) -> list[tuple[TwoPoint, ComplexArray]]:
    """Two-point equivalents at all pairs of frequencies of two windows.

    Parameters
    ----------
    first, second : OnePoint
        Equivalents at s and at s', fields of shape (pair of windows, frequency).
    nodes : Nodes or ShiftedNodes
        Nodes of the spectrum, with those of the test spectrum where it is another one.
    shared : Shared
        What the models at s and at s' have in common.

    Returns
    -------
    list of two (TwoPoint, ndarray of complex)
        Equivalents and ``s s'``, each of shape (pair of windows, frequency, frequency): at s and s', and at s and the conjugate
        of s'.
    """
    row = OnePoint._make(field[..., :, None] for field in first)
    column = OnePoint._make(field[..., None, :] for field in second)
    mirrored = OnePoint._make(field.conj() for field in column)
    test: list[ComplexArray | None] = [None, None]
    if isinstance(nodes, ShiftedNodes):
        eigenvalue = nodes.training.eigenvalue
        weights = np.stack([nodes.trace, nodes.target, nodes.trace * eigenvalue])
        left = weights[:, None, None] / (first.kappa2[..., None] + eigenvalue)
        right = (1 / (second.kappa2[..., None] + eigenvalue)).swapaxes(-1, -2)
        test = [left @ right, left @ right.conj()]
    return [
        (two_point(row, other, *cross_sums(row, other), sums, shared), (row.s - ridge) * (other.s - ridge))
        for other, sums in zip((column, mirrored), test, strict=True)
    ]


def two_point_of_pairs(
    point: OnePoint, nodes: ShiftedNodes | Nodes | None = None, shared: Shared = ONE_MODEL
) -> TwoPoint:
    """Two-point equivalents (row, pair) at the pairs of frequencies of each window (`scalingeq.theory.laplace`).

    ``point`` is (row, frequency); ``nodes`` are those of a test spectrum, where it is another one.
    """
    compiled = loops()
    if compiled is not None and nodes is None and shared == ONE_MODEL:
        out = np.empty((2, 1, len(point.s), laplace.pairs()[0].size), dtype=np.complex128)
        compiled_pairs(compiled, point, 0, (), NEAR, out)
        variance, signal = out[:, 0]
        return TwoPoint(signal, variance, signal, variance, point.per_sample)
    first, second = both_of_pairs(point)
    test = None
    if isinstance(nodes, ShiftedNodes):
        numbers, others = laplace.pairs()
        eigenvalue = nodes.training.eigenvalue
        weights = np.stack([nodes.trace, nodes.target, nodes.trace * eigenvalue])
        left = weights[:, None, None] / (point.kappa2[..., None] + eigenvalue)
        right = (1 / (laplace.with_mirrors(point.kappa2)[..., None] + eigenvalue)).swapaxes(-1, -2)
        test = (left @ right)[..., numbers, others]
    pair = two_point(first, second, *cross_sums(first, second), test, shared)
    return pair._replace(per_sample=np.broadcast_to(pair.per_sample, (len(point.s), 1)))


def compiled_pairs(
    compiled: Loops,
    point: OnePoint,
    first_row: int,
    slopes: tuple[ComplexArray, ...],
    near_slope: float,
    out: ComplexArray,
) -> None:
    """Variance and, if ``out`` has room, signal of one model, and their derivatives, by the compiled loop.

    ``slopes``, each (parameter or more, row, frequency), are those of kappa2, degrees, power, and of the slopes of the
    two; there may be none.
    """
    fields = (point.kappa2, point.degrees, point.power, *point[6:10])
    compiled.pair(fields, point.per_width, slopes or NO_SLOPES, first_row, NEAR, near_slope, out)


def both_of_pairs(point: OnePoint) -> tuple[OnePoint, OnePoint]:
    """Equivalents (row, pair) at the first and the second frequencies of pairs."""
    first, second = laplace.at_pairs(np.stack(point[:-2]))
    return OnePoint._make([*first, *point[-2:]]), OnePoint._make([*second, *point[-2:]])


def cross_sums(first: OnePoint, second: OnePoint) -> tuple[ComplexArray, ComplexArray]:
    """Sums of eigenvalue and of target power over ``(eigenvalue + kappa2)(eigenvalue + kappa2')``.

    They are divided differences of the sums at one frequency, so that they need no nodes.
    """
    apart = second.kappa2 - first.kappa2
    near = ~(np.abs(apart) > NEAR * np.abs(first.kappa2))
    # Where too little is left of the difference, the mean of the slope over the way, from its ends and their slopes.
    divisor = np.where(near, 1.0, apart)
    shift = apart / 12
    cross, target = (
        np.where(near, shift * (d_curvature - curvature) - (slope + d_slope) / 2, (value - d_value) / divisor)
        for value, d_value, slope, d_slope, curvature, d_curvature in (
            (
                first.degrees, second.degrees, first.degrees_slope, second.degrees_slope,
                first.degrees_curvature, second.degrees_curvature,
            ),
            (
                first.power, second.power, first.power_slope, second.power_slope,
                first.power_curvature, second.power_curvature,
            ),
        )
    )  # fmt: skip
    return cross, target


def forcing_from(pair: TwoPoint, noise_variance: ArrayLike) -> ComplexArray:
    """``s s'`` times the test forcing: (b + noise variance) / (1 - gamma_1) where the test inputs are the training's."""
    noise = np.asarray(noise_variance, dtype=np.float64)
    through_data = (pair.signal + noise) * pair.per_sample / (1 - pair.variance * pair.per_sample)
    return np.asarray(pair.test_signal + noise + pair.test_variance * through_data)


def kernel_from(pair: TwoPoint) -> ComplexArray:
    """Test kernel: P gamma_1 / (1 - gamma_1) where the test inputs are the training's."""
    return np.asarray(pair.test_variance / (1 - pair.variance * pair.per_sample))


def _pair(
    s: ArrayLike, s_prime: ArrayLike, spectrum: AnySpectrum, width: ArrayLike, samples: ArrayLike
) -> tuple[TwoPoint, ComplexArray]:
    """Two-point equivalents at frequencies that broadcast, and ``s s'``."""
    _check_frequencies({"s": np.asarray(s), "s_prime": np.asarray(s_prime)})
    first, second = one_point(s, spectrum, width, samples), one_point(s_prime, spectrum, width, samples)
    return two_point(first, second, *cross_sums(first, second)), first.s * second.s


def forcing_two_point(
    s: ArrayLike,
    s_prime: ArrayLike,
    spectrum: AnySpectrum,
    width: ArrayLike = math.inf,
    samples: ArrayLike = math.inf,
    noise_variance: ArrayLike = 0.0,
) -> ComplexArray:
    """Double Laplace transform of the test loss of gradient flow.

    Parameters
    ----------
    s, s_prime : array_like of complex, shape (...)
        Laplace frequencies off the negative real axis; they broadcast.
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs and of the target.
    width, samples : array_like, broadcast with s
        Number of features and of training samples.
    noise_variance : array_like, broadcast with s
        Variance of the label noise, in the units of the loss.

    Returns
    -------
    ndarray of complex, shape (...)
        ``(b + noise variance) / ((1 - gamma_1) s s')``; the loss at time t is its inverse transform at (t, t).

    Raises
    ------
    ParameterError
        Where a frequency is on the negative real axis or zero, or a size is not positive.

    Notes
    -----
    The forcing function of arXiv:2502.05074 in the frequency domain.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, forcing_two_point
    >>> print(forcing_two_point(1.0, 3.0, PowerLaw(alpha=2.0, r=0.5, dim=1)).real.round(6))
    0.125
    """
    pair, product = _pair(s, s_prime, spectrum, width, samples)
    return np.asarray(forcing_from(pair, noise_variance) / product)


def kernel_two_point(
    s: ArrayLike,
    s_prime: ArrayLike,
    spectrum: AnySpectrum,
    width: ArrayLike = math.inf,
    samples: ArrayLike = math.inf,
) -> ComplexArray:
    """Double Laplace transform of the test kernel of the Volterra equation.

    Parameters
    ----------
    s, s_prime, spectrum, width, samples
        As in `forcing_two_point`.

    Returns
    -------
    ndarray of complex, shape (...)
        ``P gamma_1 / (1 - gamma_1)``; the kernel at time t is its inverse transform at (t, t).

    Raises
    ------
    ParameterError
        Where a frequency is on the negative real axis or zero, or a size is not positive.

    Notes
    -----
    The kernel of arXiv:2502.05074 in the frequency domain.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, kernel_two_point
    >>> print(kernel_two_point(1.0, 3.0, PowerLaw(alpha=2.0, r=0.5, dim=1)).real.round(6))
    0.125
    """
    return kernel_from(_pair(s, s_prime, spectrum, width, samples)[0])


def one_point_equivalent(covariance: ArrayLike, s: complex, n: float) -> ComplexArray:
    """Deterministic equivalent of the resolvent of one sample covariance.

    Parameters
    ----------
    covariance : array_like, shape (d, d)
        Covariance of the rows of a Gaussian matrix, symmetric and positive semidefinite.
    s : complex
        Frequency off the negative real axis, in the units of the eigenvalues.
    n : float
        Number of rows in the sample.

    Returns
    -------
    ndarray of complex, shape (d, d)
        ``kappa (Sigma + kappa)^-1``, the equivalent of ``s (S + s)^-1`` with S the sample covariance.

    Raises
    ------
    ParameterError
        Where the matrix is not square, or the frequency or the size is outside its domain.

    Notes
    -----
    The one-point equivalent of arXiv:2502.05074, with kappa the frequency renormalised by the sample.

    Examples
    --------
    >>> import numpy as np
    >>> from scalingeq.theory import one_point_equivalent
    >>> one_point_equivalent(np.eye(2), 1.0, n=1e12).real.round(6)
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    eigenvalue, basis, kappa = _sample_frequencies(np.asarray(covariance), {"s": s}, n)
    return np.asarray(basis * (kappa[0] / (eigenvalue + kappa[0])) @ basis.T)


def two_point_equivalent(covariance: ArrayLike, M: ArrayLike, s: complex, s_prime: complex, n: float) -> ComplexArray:
    """Deterministic equivalent of a fixed matrix between two resolvents of one sample covariance.

    Parameters
    ----------
    covariance : array_like, shape (d, d)
        Covariance of the rows of a Gaussian matrix, symmetric and positive semidefinite.
    M : array_like, shape (d, d)
        Any matrix that does not depend on the sample.
    s, s_prime : complex
        Frequencies off the negative real axis.
    n : float
        Number of rows in the sample.

    Returns
    -------
    ndarray of complex, shape (d, d)
        Equivalent of ``s s' (S + s)^-1 M (S + s')^-1`` with S the sample covariance.

    Raises
    ------
    ParameterError
        Where a matrix is not square, or a frequency or the size is outside its domain.

    Notes
    -----
    The two-point deterministic equivalent, the main result of arXiv:2502.05074.

    Examples
    --------
    >>> import numpy as np
    >>> from scalingeq.theory import two_point_equivalent
    >>> two_point_equivalent(np.eye(2), np.eye(2), 1.0, 1.0, n=1e12).real.round(6)
    array([[0.25, 0.  ],
           [0.  , 0.25]])
    """
    sigma, middle = np.asarray(covariance), np.asarray(M)
    if sigma.shape != middle.shape:
        raise ParameterError(f"covariance has shape {sigma.shape}, M {middle.shape}: pass two square (d, d) matrices")
    eigenvalue, basis, kappa = _sample_frequencies(sigma, {"s": s, "s_prime": s_prime}, n)
    left, right = kappa[0] / (eigenvalue + kappa[0]), kappa[1] / (eigenvalue + kappa[1])
    rotated = basis.T @ middle @ basis
    # Traces of Sigma (Sigma + kappa)^-1 X (Sigma + kappa')^-1 over n, in the eigenbasis, for X = M and X = Sigma.
    share = eigenvalue * left * right / (kappa[0] * kappa[1] * n)
    rotated = rotated + np.diag(eigenvalue * (share @ np.diag(rotated)) / (1 - share @ eigenvalue))
    return np.asarray(basis @ (left[:, None] * rotated * right) @ basis.T)


def _sample_frequencies(
    sigma: NDArray[np.float64], frequencies: dict[str, complex], n: float
) -> tuple[FloatArray, FloatArray, ComplexArray]:
    """Eigenvalues and basis of a covariance, and the frequencies as a sample of ``n`` rows renormalises them."""
    check_sizes({"n": n})
    _check_frequencies({name: np.asarray(value) for name, value in frequencies.items()})
    if sigma.ndim != 2 or sigma.shape[0] != sigma.shape[1]:
        raise ParameterError(f"covariance has shape {sigma.shape}: pass a square (d, d) matrix")
    eigenvalue, basis = np.linalg.eigh(sigma)
    spectrum = Spectrum(np.maximum(eigenvalue, 0), np.zeros_like(eigenvalue))
    values = np.array(list(frequencies.values()), dtype=np.complex128)
    return eigenvalue, basis, one_point(values, spectrum, samples=n).kappa2


def saturated_frequency(spectrum: AnySpectrum, size: float) -> float:
    """Renormalised frequency at s = 0, where the degrees of freedom equal the smaller of width and samples.

    Parameters
    ----------
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs.
    size : float
        The smaller of width and samples.

    Returns
    -------
    float
        kappa2 with ``df(kappa2) = size``; 0 where the spectrum has no more modes than that.

    Raises
    ------
    ParameterError
        Where the size is not positive.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, degrees_of_freedom
    >>> spectrum = PowerLaw(alpha=1.5, r=0.4)
    >>> print(degrees_of_freedom(saturated_frequency(spectrum, 100.0), spectrum).round(6))
    100.0
    """
    check_sizes({"size": size})
    if size >= spectrum.rank:
        return 0.0
    smallest = spectrum.trace
    # Go down until the root lies above: nodes that do not reach it cannot be trusted with it.
    while degrees_of_freedom(smallest, spectrum) < size:
        smallest *= 1e-3
    nodes = spectrum.nodes(smallest)
    return float(real_root(np.zeros(1), nodes, np.array([1 / size]), np.zeros(1), smallest)[0])


def check_sizes(sizes: dict[str, ArrayLike]) -> None:
    """Raise a ParameterError that names every size that is not positive."""
    raise_problems(size_problems(sizes), ParameterError)


def size_problems(sizes: dict[str, ArrayLike]) -> list[str]:
    """What is wrong with widths, sample counts and their like, which are positive or infinite."""
    return [
        f"{name} is {np.asarray(value)[~(np.asarray(value) > 0)].flat[0]!r}: pass positive numbers, or infinity"
        for name, value in sizes.items()
        if not ends_of(np.asarray(value, dtype=np.float64))[0] > 0
    ]


def ends_of(values: FloatArray) -> tuple[float, float]:
    """Smallest and largest of some numbers, which are not numbers where one of them is not."""
    if values.ndim == 0:  # as most arguments are, and NumPy takes long over one number
        return values.item(), values.item()
    return float(values.min(initial=math.inf)), float(values.max(initial=-math.inf))


def _check_frequencies(frequencies: dict[str, NDArray[np.inexact]]) -> None:
    raise_problems(
        [
            f"{name} contains {value[bad].flat[0]!r}: pass finite frequencies off the negative real axis, not 0"
            for name, value in frequencies.items()
            if np.any(bad := ~np.isfinite(value) | ((value.imag == 0) & (value.real <= 0)))
        ],
        ParameterError,
    )


def _smallest(frequency: NDArray[np.inexact]) -> float:
    return float(np.min(np.abs(frequency), initial=math.inf)) if frequency.size else 1.0
