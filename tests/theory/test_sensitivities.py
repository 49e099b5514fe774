"""Derivatives of the equivalents and of losses against central differences."""

import math

import numpy as np
import pytest

from scalingeq.theory import PowerLaw, Spectrum
from scalingeq.theory.equivalents import one_point
from scalingeq.theory.sensitivities import node_slopes, one_point_slopes

S = np.array([1e-4, 0.3, 3.0, 0.002 * np.exp(1.0j), 0.1 * np.exp(2.2j), 1e-5 * np.exp(-1.9j)])
FIELDS = ("kappa2", "kappa1", "degrees", "power", "squares")


def central(function, x, step):
    """Derivative by central differences, extrapolated from two steps to the fourth order."""
    coarse, fine = ((function(x + h) - function(x - h)) / (2 * h) for h in (step, step / 2))
    return fine + (fine - coarse) / 3


@pytest.mark.parametrize("dim", [40, 1e9, math.inf])
@pytest.mark.parametrize("alpha, r", [(1.3, 0.4), (1.5, 0.9), (3.0, 0.3)])
@pytest.mark.parametrize("width, samples", [(math.inf, math.inf), (30.0, math.inf), (math.inf, 20.0), (25.0, 70.0)])
def test_one_point_slopes_are_central_differences(alpha, r, dim, width, samples):
    spectrum = PowerLaw(alpha, r, dim)
    slopes = one_point_slopes(
        one_point(S, spectrum, width, samples),
        spectrum.nodes(np.abs(S).min()),
        node_slopes(spectrum, np.abs(S).min()),
    )
    at = {
        "alpha": (alpha, lambda x: one_point(S, PowerLaw(x, r, dim), width, samples)),
        "r": (r, lambda x: one_point(S, PowerLaw(alpha, x, dim), width, samples)),
        "per_width": (1 / width, lambda x: one_point(S, spectrum, 1 / x, samples)),
        "per_sample": (1 / samples, lambda x: one_point(S, spectrum, width, 1 / x)),
        "s": (1.0, lambda x: one_point(S * x, spectrum, width, samples)),
    }
    assert slopes.names == tuple(at)
    for number, name in enumerate(slopes.names):
        x, function = at[name]
        if x == 0:
            continue
        for field in FIELDS:
            expected = central(lambda y, field=field, function=function: getattr(function(y), field), x, 2e-3 * x)
            if name == "s":
                expected = expected / S
            value = getattr(function(x), field)
            np.testing.assert_allclose(
                getattr(slopes, field)[number] * x, expected * x, rtol=1e-7, atol=1e-9 * np.abs(value).max()
            )


def test_slopes_at_infinite_sizes_are_the_limits_of_those_at_large_ones():
    spectrum = PowerLaw(1.5, 0.4)
    nodes, slopes = spectrum.nodes(1e-5), node_slopes(spectrum, 1e-5)
    limit, large = (one_point_slopes(one_point(S, spectrum, n, n), nodes, slopes) for n in (math.inf, 1e12))
    for field in FIELDS:
        # The exponents move the frequency in proportion to 1/n.
        np.testing.assert_allclose(getattr(limit, field), getattr(large, field), rtol=1e-7, atol=1e-9)


def test_a_measured_spectrum_has_no_exponents():
    spectrum = Spectrum([1.0, 0.5], [1.0, 0.2])
    slopes = one_point_slopes(one_point(S, spectrum, 5), spectrum.nodes(1.0), node_slopes(spectrum, 1.0))
    assert slopes.names == ("per_width", "per_sample", "s")
    expected = central(lambda x: one_point(S, spectrum, 1 / x).kappa2, 0.2, 1e-3)
    np.testing.assert_allclose(slopes.kappa2[0], expected, rtol=1e-8)
