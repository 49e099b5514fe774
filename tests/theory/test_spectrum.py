"""Quadrature nodes against explicit sums over the modes."""

import math
import time

import mpmath
import numpy as np
import pytest

from scalingeq.errors import ParameterError
from scalingeq.theory import PowerLaw, Spectrum, degrees_of_freedom, flow_loss

ANGLES = np.array([0.0, 1.0, 2.0])


def frequencies(smallest):
    return np.geomspace(smallest, 10, 25)[:, None] * np.exp(1j * ANGLES)


@pytest.mark.parametrize("dim", [1, 3, 10, 37, 60, 1e5])
@pytest.mark.parametrize("alpha", [0.6, 1.0, 1.5, 3.0, 5.5])
@pytest.mark.parametrize("r", [0.05, 0.4, 2.0])
def test_nodes_replace_the_modes(alpha, r, dim):
    k = np.arange(1.0, dim + 1)
    eigenvalue, power = k**-alpha, k ** -(2 * alpha * r + 1)
    spectrum = PowerLaw(alpha, r, dim)
    np.testing.assert_allclose((spectrum.trace, spectrum.power), (eigenvalue.sum(), power.sum()), rtol=1e-13)
    for smallest in (1e-2, 1e-6):
        nodes = spectrum.nodes(smallest)
        np.testing.assert_allclose(nodes.trace, eigenvalue.sum(), rtol=1e-10)
        np.testing.assert_allclose(nodes.power, power.sum(), rtol=1e-10)
        for kappa in frequencies(smallest).ravel():
            resolvent = 1 / (eigenvalue + kappa)
            by_nodes = 1 / (nodes.eigenvalue + kappa)
            np.testing.assert_allclose((nodes.modes * nodes.eigenvalue) @ by_nodes, eigenvalue @ resolvent, rtol=2e-8)
            np.testing.assert_allclose(nodes.target @ by_nodes, power @ resolvent, rtol=2e-8)


@pytest.mark.parametrize("alpha", [1.02, 1.5, 4.0])
def test_infinite_dimension_has_the_sums_of_the_zeta_function(alpha):
    spectrum, sums = PowerLaw(alpha, 0.3), [float(mpmath.zeta(alpha)), float(mpmath.zeta(2 * alpha * 0.3 + 1))]
    np.testing.assert_allclose((spectrum.trace, spectrum.power), sums, rtol=1e-14)
    nodes = spectrum.nodes(1e-9)
    np.testing.assert_allclose((nodes.trace, nodes.power), sums, rtol=1e-11)


def test_cost_is_flat_in_the_dimension():
    for dim in (1e3, 1e6, 1e12, math.inf):
        assert PowerLaw(1.5, 0.4, dim).nodes(1e-9).modes.size < 250


@pytest.mark.parametrize(
    "arguments, text",
    [
        ((1.0, 0.4), "diverges"),
        ((0.0, 0.4, 10), "alpha"),
        ((1.5, math.nan), "r is nan"),
        ((1.5, 0.4, 10.5), "whole number"),
        ((1.5, 0.4, 0), "dim is 0"),
        ((-1.0, -1.0, math.nan), "3 problems"),
    ],
)
def test_power_law_refuses(arguments, text):
    with pytest.raises(ParameterError, match=text):
        PowerLaw(*arguments)


@pytest.mark.parametrize("modes", [1, 64, 200, 200_000])
def test_measured_spectrum_is_compressed(modes):
    rng = np.random.default_rng(modes)
    eigenvalue = np.exp(2 * rng.standard_normal(modes))
    power = eigenvalue * rng.random(modes)
    spectrum = Spectrum(eigenvalue, power)
    nodes = spectrum.nodes(1.0)
    assert nodes.modes.size < 900
    assert nodes.modes.min() >= 0
    assert nodes.target.min() >= 0
    for kappa in frequencies(1e-6).ravel():
        np.testing.assert_allclose(
            (nodes.modes * nodes.eigenvalue / (nodes.eigenvalue + kappa)).sum(),
            (eigenvalue / (eigenvalue + kappa)).sum(),
            rtol=1e-8,
        )
        np.testing.assert_allclose(
            (nodes.target / (nodes.eigenvalue + kappa)).sum(), (power / (eigenvalue + kappa)).sum(), rtol=1e-8
        )


def test_a_million_modes_with_zeros_take_seconds_at_most():
    k = np.arange(1.0, 1e6 + 1)
    start = time.process_time()
    spectrum = Spectrum(np.append(k**-1.5, np.zeros(10)), np.append(k**-2.2, np.ones(10)))
    assert time.process_time() - start < 20
    assert spectrum.rank == 1e6
    np.testing.assert_allclose(
        degrees_of_freedom(1e-5, spectrum), degrees_of_freedom(1e-5, PowerLaw(1.5, 0.4, 1e6)), rtol=1e-9
    )
    np.testing.assert_allclose(spectrum.power, 10 + (k**-2.2).sum(), rtol=1e-12)
    np.testing.assert_allclose(spectrum.trace, (k**-1.5).sum(), rtol=1e-12)


def test_an_entry_may_stand_for_several_modes():
    rng = np.random.default_rng(0)
    eigenvalue, power, modes = rng.random(100), rng.random(100), rng.integers(4, size=100)
    together = Spectrum(eigenvalue, power * (modes > 0), modes)
    apart = Spectrum(np.repeat(eigenvalue, modes), np.repeat(power / np.maximum(modes, 1), modes))
    assert together.rank == apart.rank == modes.sum()
    settings = {"samples": 60, "width": 40}
    np.testing.assert_allclose(
        flow_loss([0.1, 1, 10], together, **settings), flow_loss([0.1, 1, 10], apart, **settings), rtol=1e-7
    )
    assert Spectrum([1.0, 0.0], [1.0, 1.0], 2.5).rank == 2.5


@pytest.mark.parametrize(
    "eigenvalues, power, text",
    [
        ([], [], "at least one"),
        ([1.0, -1.0], [1.0, math.nan], "2 problems"),
        ([1.0], [1.0, 2.0], "one value a mode"),
        ([0.0], [1.0], "all 0"),
    ],
)
def test_measured_spectrum_refuses(eigenvalues, power, text):
    with pytest.raises(ParameterError, match=text):
        Spectrum(eigenvalues, power)


def test_numbers_of_modes_are_checked():
    with pytest.raises(ParameterError, match="modes: 1 of 2"):
        Spectrum([1.0, 2.0], [1.0, 1.0], [1.0, -1.0])
    with pytest.raises(ParameterError, match="modes has shape"):
        Spectrum([1.0, 2.0], [1.0, 1.0], [1.0])
    with pytest.raises(ParameterError, match="all 0"):
        Spectrum([1.0, 0.0], [1.0, 1.0], [0.0, 1.0])
