"""Covariate shift: a test covariance with other eigenvalues in the basis of the training covariance."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from scalingeq.errors import ParameterError
from scalingeq.theory.spectrum import AnySpectrum, FloatArray, Nodes, PowerLaw, Spectrum, compress, power_law_measures


class ShiftedNodes(NamedTuple):
    """Quadrature nodes of a training spectrum with what each stands for in the test covariance.

    Attributes
    ----------
    training : Nodes
        Nodes of the training spectrum.
    trace, target : ndarray, shape (node,)
        Test eigenvalues, and test power of the target, ``w_k**2`` times the test eigenvalue, that a node stands for.
    """

    training: Nodes
    trace: FloatArray
    target: FloatArray


def shifted_nodes(spectrum: AnySpectrum, test_spectrum: AnySpectrum, smallest_frequency: float) -> ShiftedNodes:
    """Nodes of a training and a test spectrum together; see :meth:`scalingeq.theory.PowerLaw.nodes`.

    Parameters
    ----------
    spectrum, test_spectrum : PowerLaw or Spectrum
        Spectra of the training and the test inputs; mode k of one is mode k of the other. The test spectrum's own
        target power does not enter: the target is the same function. A measured test spectrum beside a power law may have
        fewer modes: the others do not vary in the test.
    smallest_frequency : float
        Smallest modulus of the renormalised frequencies, positive.

    Returns
    -------
    ShiftedNodes

    Raises
    ------
    ParameterError
        Where the spectra are of different kinds or lengths, or the test loss of the untrained model is infinite.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw
    >>> nodes = shifted_nodes(PowerLaw(2.0, 0.5, dim=2), PowerLaw(1.0, 0.5, dim=2), 1e-3)
    >>> nodes.trace, nodes.target
    (array([1. , 0.5]), array([1.  , 0.25]))
    """
    if isinstance(spectrum, PowerLaw) and isinstance(test_spectrum, PowerLaw):
        if spectrum.dim != test_spectrum.dim:
            raise ParameterError(
                f"test_spectrum has dim={test_spectrum.dim:g}, spectrum dim={spectrum.dim:g}: pass one of the same length"
            )
        power = 2 * spectrum.alpha * spectrum.r + 1
        shifted = power - spectrum.alpha + test_spectrum.alpha
        if math.isinf(spectrum.dim) and shifted <= 1:
            raise ParameterError(
                f"test_spectrum has alpha={test_spectrum.alpha:g}, and the target's power in it diverges: pass alpha "
                f"above {spectrum.alpha - power + 1:g}, or spectra with a finite dim"
            )
        eigenvalue, (trace, target, test_trace, test_target) = power_law_measures(
            spectrum.alpha, spectrum.dim, smallest_frequency, (spectrum.alpha, power, test_spectrum.alpha, shifted)
        )
        return ShiftedNodes(Nodes(eigenvalue, trace / eigenvalue, target), test_trace, test_target)
    if isinstance(spectrum, PowerLaw) and isinstance(test_spectrum, Spectrum):
        return _measured_test(spectrum, np.asarray(test_spectrum.eigenvalues), smallest_frequency)
    if not (isinstance(spectrum, Spectrum) and isinstance(test_spectrum, Spectrum)):
        raise ParameterError(
            f"test_spectrum is a {type(test_spectrum).__name__}, spectrum a {type(spectrum).__name__}: pass two of a kind"
        )
    training, test = np.asarray(spectrum.eigenvalues), np.asarray(test_spectrum.eigenvalues)
    if training.shape != test.shape:
        raise ParameterError(
            f"test_spectrum has {test.size} modes, spectrum {training.size}: pass one test eigenvalue a mode"
        )
    power_of_modes = np.asarray(spectrum.target_power)
    unknown = (training == 0) & (test > 0)
    if unknown.any():
        raise ParameterError(
            f"test_spectrum: mode {int(unknown.argmax())} has no variance in training but in the test: what the target "
            "is along it cannot be known; pass a test eigenvalue of 0 there"
        )
    # A mode without variance in either keeps its power, as label noise.
    ratio = np.divide(test, training, out=np.ones_like(test), where=training > 0)
    count = np.asarray(spectrum.modes)
    eigenvalue, (modes, target, test_trace, test_target) = compress(
        training, np.stack([count * (training > 0), power_of_modes, count * test, power_of_modes * ratio])
    )
    return ShiftedNodes(Nodes(eigenvalue, modes, target), test_trace, test_target)


def _measured_test(spectrum: PowerLaw, test: FloatArray, smallest_frequency: float) -> ShiftedNodes:
    """Nodes of a power law, with measured test eigenvalues of its first modes."""
    if test.size > spectrum.dim:
        raise ParameterError(
            f"test_spectrum has {test.size} modes, spectrum {spectrum.dim:g}: pass no more than it has"
        )
    training = spectrum.nodes(smallest_frequency)
    k = np.arange(1.0, test.size + 1)
    power = k ** (spectrum.alpha - 2 * spectrum.alpha * spectrum.r - 1) * test
    eigenvalue, (trace, target) = compress(k**-spectrum.alpha, np.stack([test, power]))
    none, before = np.zeros_like(eigenvalue), np.zeros_like(training.eigenvalue)
    both = Nodes(
        np.append(training.eigenvalue, eigenvalue),
        np.append(training.modes, none),
        np.append(training.target, none),
    )
    return ShiftedNodes(both, np.append(before, trace), np.append(before, target))
