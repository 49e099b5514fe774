"""Derivatives of the equivalents and of losses against central differences."""

import math

import numpy as np
import pytest

from scalingeq.errors import ParameterError
from scalingeq.theory import PowerLaw, Spectrum, flow_loss, loss_curve
from scalingeq.theory.equivalents import one_point
from scalingeq.theory.sensitivities import node_slopes, one_point_slopes

S = np.array([1e-4, 0.3, 3.0, 0.002 * np.exp(1.0j), 0.1 * np.exp(2.2j), 1e-5 * np.exp(-1.9j)])
FIELDS = ("kappa2", "kappa1", "degrees", "power", "squares")


def central(function, x, step):
    """Derivative by central differences, extrapolated from two steps to the fourth order."""
    coarse, fine = ((function(x + h) - function(x - h)) / (2 * h) for h in (step, step / 2))
    return fine + (fine - coarse) / 3


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("dim", [2, 40, 1e9, math.inf])
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


TIMES = np.geomspace(0.01, 1e6, 9)
BASE = {"alpha": 1.5, "r": 0.4, "width": 80.0, "samples": 120.0, "noise_variance": 0.05, "noise_rate": 0.3}


def flow(parameters, kind, factor=1.0, **options):
    rest = {name: value for name, value in parameters.items() if name not in ("alpha", "r")}
    spectrum = PowerLaw(parameters["alpha"], parameters["r"], 1e9)
    return flow_loss(factor * TIMES, spectrum, kind=kind, **rest, **options)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize(
    "changes, kind",
    [
        ({}, "test"),
        ({}, "train"),
        ({"samples": math.inf}, "test"),
        ({"width": math.inf}, "test"),
        ({"width": 1e4, "samples": 3e4}, "test"),
        ({"alpha": 2.0, "r": 0.9}, "test"),
    ],
)
def test_jacobian_of_flow_loss_is_central_differences(changes, kind):
    base = BASE | changes
    loss, jacobian = flow(base, kind, jacobian=True)
    np.testing.assert_allclose(loss, flow(base, kind), rtol=1e-12)
    assert tuple(jacobian) == (*BASE, "time")
    for name, slope in jacobian.items():
        x = base.get(name, 1.0)
        if math.isinf(x):
            assert not slope.any()
            continue
        if name == "time":
            expected, slope = central(lambda y: flow(base, kind, y), 1.0, 3e-3), slope * TIMES
        else:
            expected = central(lambda y, name=name: flow(base | {name: y}, kind), x, 3e-3 * x)
        # Where the loss has stopped to depend on a parameter, to the same share of the loss over the parameter.
        np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-7 * loss.min() / x)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("noise_rate", [0.0, 0.3])
def test_jacobian_does_not_hang_on_the_other_times(noise_rate):
    # The kernel is taken at early times, too, where none are asked for.
    parameters = BASE | {"noise_rate": noise_rate}
    loss, jacobian = flow(parameters, "test", jacobian=True)
    rest = {name: value for name, value in parameters.items() if name not in ("alpha", "r")}
    late, late_jacobian = flow_loss(TIMES[5:7], PowerLaw(1.5, 0.4, 1e9), **rest, jacobian=True)
    np.testing.assert_allclose(late, loss[5:7], rtol=1e-7)
    for name, slope in late_jacobian.items():
        np.testing.assert_allclose(slope, jacobian[name][5:7], rtol=1e-6, atol=1e-7 * np.abs(jacobian[name]).max())


def test_jacobian_without_noise_and_at_the_start():
    spectrum = PowerLaw(1.5, 0.4)
    for sizes in ({}, {"samples": 100}, {"width": 30, "samples": 100}):
        loss, jacobian = flow_loss([0.0, 3.0], spectrum, **sizes, noise_variance=0.1, jacobian=True)
        raised = flow_loss([0.0, 3.0], spectrum, **sizes, noise_variance=0.1, noise_rate=1e-5)
        np.testing.assert_allclose(jacobian["noise_rate"][1], (raised - loss)[1] / 1e-5, rtol=1e-3)
        assert abs(jacobian["noise_rate"][0]) < 1e-5
        np.testing.assert_allclose(jacobian["noise_variance"][0], 1, rtol=1e-6)
        power = central(lambda x: PowerLaw(x, 0.4).nodes(1.0).power, 1.5, 1e-3)
        np.testing.assert_allclose(jacobian["alpha"][0], power, rtol=1e-6)
        early = flow_loss([1e-6], spectrum, **sizes, noise_variance=0.1)[0]
        np.testing.assert_allclose(jacobian["time"][0], (early - loss[0]) / 1e-6, rtol=1e-3)


@pytest.mark.parametrize("samples", [math.inf, 120.0])
def test_jacobian_of_loss_curve_is_central_differences(samples):
    steps = np.array([[3.0, 100.0, 1e4], [1.0, 10.0, 1e5]])
    base = {"width": 80.0, "samples": samples, "noise_variance": 0.05, "learning_rate": 0.3, "batch_size": 5.0}
    spectrum = PowerLaw(1.5, 0.4, 1e9)
    loss, jacobian = loss_curve(steps, spectrum, momentum=0.2, jacobian=True, **base)
    np.testing.assert_allclose(loss, loss_curve(steps, spectrum, momentum=0.2, **base), rtol=1e-12)
    assert tuple(jacobian) == ("alpha", "r", *list(base)[:3], "learning_rate", "batch_size", "steps")
    for name in ("noise_variance", "learning_rate", "batch_size"):
        expected = central(
            lambda x, name=name: loss_curve(steps, spectrum, momentum=0.2, **base | {name: x}),
            base[name],
            3e-3 * base[name],
        )
        np.testing.assert_allclose(jacobian[name], expected, rtol=1e-6, atol=1e-7 * loss.min())
    expected = central(lambda x: loss_curve(x * steps, spectrum, momentum=0.2, **base), 1.0, 3e-3)
    np.testing.assert_allclose(jacobian["steps"] * steps, expected, rtol=1e-6, atol=1e-7 * loss.min())


def test_jacobian_of_many_curves_is_that_of_each():
    spectrum, width = PowerLaw(1.5, 0.4), np.array([20.0, 50.0, 200.0])
    together = flow_loss(TIMES, spectrum, width=width, samples=[90.0, math.inf, 40.0], noise_rate=0.1, jacobian=True)
    for i, samples in enumerate((90.0, math.inf, 40.0)):
        alone = flow_loss(TIMES, spectrum, width=width[i], samples=samples, noise_rate=0.1, jacobian=True)
        np.testing.assert_allclose(together[0][i], alone[0], rtol=1e-9)
        for name, slope in alone[1].items():
            np.testing.assert_allclose(together[1][name][i], slope, rtol=1e-5, atol=1e-9 * np.abs(slope).max())


def test_a_measured_spectrum_gives_no_derivatives_of_exponents():
    jacobian = flow_loss([1.0], Spectrum([1.0, 0.5], [1.0, 0.2]), width=5, jacobian=True)[1]
    assert tuple(jacobian) == ("width", "samples", "noise_variance", "noise_rate", "time")


@pytest.mark.parametrize(
    "options",
    [
        {"dynamics": "discrete"},
        {"ridge": 0.1, "samples": 50},
        {"ensemble": (2, 1)},
        {"test_spectrum": PowerLaw(1.6, 0.4)},
    ],
)
def test_loss_curve_refuses_derivatives_it_does_not_have(options):
    with pytest.raises(ParameterError, match=next(iter(options))):
        loss_curve([10], PowerLaw(1.5, 0.4), **options, jacobian=True)
