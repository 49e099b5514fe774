"""Losses against explicit sums over modes, recursions, static limits and solutions in the time domain."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import i0

from scalingeq.errors import InstabilityError, ParameterError
from scalingeq.theory import (
    PowerLaw,
    Spectrum,
    compiled,
    fit_exponentials,
    flow_loss,
    forcing,
    kernel,
    kernel_exponentials,
    static_loss,
)
from scalingeq.theory.compiled_pairs import MOST
from scalingeq.theory.laplace import FREQUENCIES, NODES, inverse_two, pair_weights, pairs, propagate, with_mirrors
from scalingeq.theory.windows import sort_times

TIMES = np.geomspace(1e-3, 1e6, 46)


def modes(alpha, r, dim):
    k = np.arange(1.0, dim + 1)
    return k**-alpha, k ** -(2 * alpha * r + 1)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("alpha, r", [(0.6, 0.4), (1.0, 0.5), (1.02, 0.3), (1.5, 0.4), (2.0, 1.0), (3.0, 0.3)])
@pytest.mark.parametrize("kind", ["test", "train"])
def test_infinite_width_and_data_give_the_explicit_sum(alpha, r, kind):
    eigenvalue, power = modes(alpha, r, 1e5)
    expected = [(power * np.exp(-2 * eigenvalue * t)).sum() for t in TIMES]
    loss = flow_loss(TIMES, PowerLaw(alpha, r, 1e5), kind=kind)
    # Losses that fall faster than 1/t sink into the error of the inversion in the end.
    assert np.all(np.abs(loss - expected) < 1e-8 * np.array(expected) + 1e-9 / (1 + TIMES))


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("kind", ["test", "train"])
def test_large_width_and_data_tend_to_infinite_ones(kind):
    spectrum = PowerLaw(1.5, 0.4, 1e5)
    limit = flow_loss(TIMES, spectrum, noise_rate=0.1, noise_variance=0.01, kind=kind)
    large = flow_loss(TIMES, spectrum, noise_rate=0.1, noise_variance=0.01, kind=kind, width=1e16, samples=1e16)
    # With noise, finite data take the kernel as a sum of exponentials.
    np.testing.assert_allclose(large, limit, rtol=1e-6 if kind == "test" else 1e-8)
    np.testing.assert_allclose(
        flow_loss(TIMES, spectrum, width=1e16, samples=1e16, kind=kind), flow_loss(TIMES, spectrum), rtol=1e-8
    )


def one_pass_recursion(steps, eigenvalue, power, rate, noise_rate, noise_variance):
    """Mean loss of discrete SGD, mode by mode, where no single mode dominates the loss."""
    error, losses = power / eigenvalue, []
    for step in range(steps[-1] + 1):
        loss = eigenvalue @ error + noise_variance
        if step in steps:
            losses.append(loss)
        error = (1 - rate * eigenvalue) ** 2 * error + rate * noise_rate * eigenvalue * loss
    return np.array(losses)


@pytest.mark.usefixtures("loops")
def test_noise_agrees_with_the_recursion_of_discrete_steps_at_small_rates():
    eigenvalue, power = modes(1.5, 0.4, 100)
    time = np.array([2.0, 10.0, 50.0])
    flow = flow_loss(time, PowerLaw(1.5, 0.4, 100), noise_rate=0.2, noise_variance=0.01)
    gaps = []
    for rate in (0.02, 0.01, 0.005):
        steps = np.rint(time / rate).astype(int).tolist()
        gaps.append(one_pass_recursion(steps, eigenvalue, power, rate, 0.2, 0.01) / flow - 1)
    assert np.all(np.abs(gaps[1]) < 0.02)
    # The difference is a power series in the rate: extrapolated to zero, nothing is left.
    np.testing.assert_allclose((gaps[0] - 6 * gaps[1] + 8 * gaps[2]) / 3, 0, atol=1e-6)


def volterra_in_time(time, force, kernel_at, rate, points=4000):
    """Solve the Volterra equation with the trapezoidal rule, extrapolated from two grids."""
    answers = []
    for n in (points // 2, points):
        grid = np.linspace(0, time, n + 1)
        h, values, k = time / n, force(grid), kernel_at(grid)
        loss = np.empty(n + 1)
        loss[0] = values[0]
        for i in range(1, n + 1):
            inner = k[i] * loss[0] / 2 + k[1:i][::-1] @ loss[1:i]
            loss[i] = (values[i] + rate * h * inner) / (1 - rate * h * k[0] / 2)
        answers.append(loss[-1])
    return answers[1] + (answers[1] - answers[0]) / 3


@pytest.mark.parametrize("time", [0.5, 20.0])
def test_volterra_equation_in_one_pass_against_the_time_domain(time):
    eigenvalue, power = modes(1.5, 0.4, 50)
    rate = 0.6

    def force(t):
        return np.exp(-2 * np.outer(t, eigenvalue)) @ power + 0.1

    def kernel_at(t):
        return np.exp(-2 * np.outer(t, eigenvalue)) @ eigenvalue**2

    expected = volterra_in_time(time, force, kernel_at, rate)
    loss = flow_loss([time], PowerLaw(1.5, 0.4, 50), noise_rate=rate, noise_variance=0.1)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("width, samples", [(60, 90), (90, 60), (math.inf, 80)])
def test_volterra_equation_with_finite_data_against_the_time_domain(width, samples):
    spectrum, rate, time = PowerLaw(1.5, 0.4), 0.5, 30.0
    sizes = {"width": width, "samples": samples}

    def kernel_at(kind):
        def at(t):
            return kernel(np.maximum(t, 1e-9), spectrum, **sizes, kind=kind)

        return at

    def force(t):
        return forcing(t, spectrum, **sizes, noise_variance=0.05, kind="train")

    train = volterra_in_time(time, force, kernel_at("train"), rate)
    loss = flow_loss([time], spectrum, noise_rate=rate, noise_variance=0.05, kind="train", **sizes)
    np.testing.assert_allclose(loss, train, rtol=1e-6)
    added = quad(
        lambda u: (
            kernel(time - u, spectrum, **sizes)
            * flow_loss([u], spectrum, noise_rate=rate, noise_variance=0.05, kind="train", **sizes)[0]
        ),
        0,
        time,
        epsrel=1e-8,
        limit=200,
    )[0]
    test = forcing([time], spectrum, noise_variance=0.05, **sizes)[0] + rate * added
    np.testing.assert_allclose(
        flow_loss([time], spectrum, noise_rate=rate, noise_variance=0.05, **sizes), test, rtol=1e-6
    )


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("width, samples", [(100, 300), (300, 100), (1e4, 3e4), (math.inf, 50)])
@pytest.mark.parametrize("alpha", [1.1, 1.5, 3.0])
@pytest.mark.parametrize("last", [220.0, 1370.0, 1e5, 5.1e6])
def test_kernel_is_a_sum_of_exponentials(last, alpha, width, samples):
    spectrum = PowerLaw(alpha, 0.4)
    terms = kernel_exponentials(last, spectrum, width=width, samples=samples)
    time = np.geomspace(1e-4, last, 97)
    values = kernel(time, spectrum, width=width, samples=samples)
    floor = 1e-5 * spectrum.nodes(1.0).trace / (1 + time)
    assert np.all(np.abs(terms.at(time) - values) < 1e-7 * (np.abs(values) + floor))


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize(
    "width, samples", [(100, math.inf), (50, 100), (98, 100), (103, 100), (400, 100), (math.inf, 100), (40, 1e4)]
)
@pytest.mark.parametrize("dim", [math.inf, 2000])
@pytest.mark.parametrize("kind", ["test", "train"])
def test_flow_ends_at_the_static_limit(width, samples, dim, kind):
    spectrum = PowerLaw(1.5, 0.4, dim)
    sizes = {"width": width, "samples": samples, "noise_variance": 0.1, "kind": kind}
    np.testing.assert_allclose(
        flow_loss([1e11], spectrum, **sizes), static_loss(spectrum, **sizes), rtol=1e-6, atol=1e-9
    )


def test_static_limits_known_from_linear_regression():
    # More samples than modes, without features: sigma^2 / (1 - dim/samples), and (1 - dim/samples) for training.
    spectrum = PowerLaw(1.5, 0.4, 40)
    np.testing.assert_allclose(static_loss(spectrum, samples=100, noise_variance=0.3), 0.3 / 0.6, rtol=1e-12)
    np.testing.assert_allclose(static_loss(spectrum, samples=100, noise_variance=0.3, kind="train"), 0.18, rtol=1e-12)
    # White inputs, fewer samples than modes: bias (1 - P/D) and variance sigma^2 D / (D - P).
    white = Spectrum(np.ones(100), np.full(100, 0.01))
    np.testing.assert_allclose(static_loss(white, samples=60, noise_variance=0.3), 0.4 + 0.3 / 0.4, rtol=1e-10)
    assert static_loss(spectrum, width=20, samples=20) == math.inf
    assert static_loss(white, samples=60, kind="train") == pytest.approx(0, abs=1e-12)


def test_double_descent():
    spectrum = PowerLaw(1.5, 0.4)
    losses = [static_loss(spectrum, width=n, samples=100, noise_variance=0.05) for n in (10, 30, 90, 110, 1000)]
    assert losses[1] < losses[2] > losses[4]
    assert losses[3] > losses[4]


def test_noise_floor_of_one_pass():
    # At a constant rate the loss ends at F / (1 - kernel norm).
    spectrum = PowerLaw(1.5, 0.4)
    trace = spectrum.nodes(1.0).trace
    floor = static_loss(spectrum, width=100, noise_variance=0.1) / (1 - 0.3 * trace / 2)
    loss = flow_loss([1e15], spectrum, noise_rate=0.3, width=100, noise_variance=0.1)
    np.testing.assert_allclose(loss, floor, rtol=1e-4)


@pytest.mark.usefixtures("loops")
def test_unreachable_target_power_acts_as_label_noise():
    spectrum = Spectrum([1.0, 0.5, 0.0], [1.0, 0.5, 0.25])
    reachable = Spectrum([1.0, 0.5], [1.0, 0.5])
    sizes = {"width": 5.0, "samples": 4.0}
    for kind in ("test", "train"):
        np.testing.assert_allclose(
            flow_loss(TIMES, spectrum, kind=kind, **sizes),
            flow_loss(TIMES, reachable, noise_variance=0.25, kind=kind, **sizes),
            rtol=1e-8,
        )
        np.testing.assert_allclose(
            static_loss(spectrum, kind=kind, **sizes),
            static_loss(reachable, kind=kind, noise_variance=0.25, **sizes),
            rtol=1e-12,
        )


@pytest.mark.usefixtures("loops")
def test_curves_are_computed_together_as_they_are_one_by_one():
    spectrum = PowerLaw(1.5, 0.4)
    width, rate = np.array([[30.0], [300.0]]), np.array([0.0, 0.1, 0.2])
    samples, noise = np.array([math.inf, 50.0, 500.0]), 0.1
    time = np.stack([np.geomspace(0.01, 100, 7), np.geomspace(1, 1e5, 7), np.linspace(0, 10, 7)])
    for kind in ("test", "train"):
        together = flow_loss(
            time, spectrum, noise_rate=rate, width=width, samples=samples, noise_variance=noise, kind=kind
        )
        assert together.shape == (2, 3, 7)
        for i, j in np.ndindex(2, 3):
            alone = flow_loss(
                time[j],
                spectrum,
                noise_rate=rate[j],
                width=width[i, 0],
                samples=samples[j],
                noise_variance=noise,
                kind=kind,
            )
            np.testing.assert_allclose(together[i, j], alone, rtol=1e-6 if kind == "test" else 1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["test", "train"])
@pytest.mark.parametrize("samples", [80.0, math.inf])
def test_compiled_loops_change_nothing_but_rounding(kind, samples, monkeypatch):
    pytest.importorskip("numba", reason="compiled loops need the extra [fast]")
    losses = []
    for flag in ("0", "1"):
        monkeypatch.setenv("SCALINGEQ_COMPILED", flag)
        compiled.loops.cache_clear()
        assert (compiled.loops() is None) == (flag == "0")
        arguments = {"width": [30, 3000], "noise_rate": 0.2, "noise_variance": 0.1, "kind": kind, "samples": samples}
        loss = flow_loss(TIMES, PowerLaw(1.5, 0.4), **arguments)
        losses.append((loss, *flow_loss(TIMES, PowerLaw(1.5, 0.4), **arguments, jacobian=True)))
    compiled.loops.cache_clear()
    (loss, same, slopes), (other, other_same, other_slopes) = losses
    # A train loss that is learnt to the end is rounding itself, beside the loss of about 1 at the start.
    np.testing.assert_allclose(loss, other, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(same, other_same, rtol=1e-12, atol=1e-15)
    for name, slope in slopes.items():
        # Derivatives are differences, and change their sign.
        np.testing.assert_allclose(other_slopes[name], slope, rtol=1e-12, atol=2e-11 * np.abs(slope).max())


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("samples", [50.0, math.inf])
def test_many_curves_of_few_problems_are_those_of_each(samples):
    spectrum, noise, rate = PowerLaw(1.5, 0.4), np.linspace(0, 1, 70), np.tile([0.0, 0.1], 35)
    arguments = {"width": np.tile([30.0, 300.0, 3000.0, 30.0, 30.0], 14), "noise_variance": noise, "noise_rate": rate}
    loss, slopes = flow_loss(TIMES[::9], spectrum, samples=samples, **arguments, jacobian=True)
    for curve in (0, 1, 4, 33, 69):
        one = {name: values[curve] for name, values in arguments.items()}
        alone, slope = flow_loss(TIMES[::9], spectrum, samples=samples, **one, jacobian=True)
        np.testing.assert_allclose(loss[curve], alone, rtol=1e-7)
        np.testing.assert_allclose(slopes["alpha"][curve], slope["alpha"], rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(slopes["noise_variance"][curve], slope["noise_variance"], rtol=1e-6)


def test_start_and_order_of_times():
    spectrum = PowerLaw(1.5, 0.4)
    for sizes in ({}, {"width": 20}, {"width": 20, "samples": 30}, {"samples": 30, "noise_rate": 0.1}):
        start = flow_loss([0.0, 1e-12], spectrum, noise_variance=0.1, **sizes)
        np.testing.assert_allclose(start, spectrum.nodes(1.0).power + 0.1, rtol=1e-8)
        loss = flow_loss(TIMES, spectrum, **sizes)
        np.testing.assert_allclose(flow_loss(TIMES[::-1], spectrum, **sizes), loss[::-1], rtol=1e-6)
    assert flow_loss([], spectrum).shape == (0,)
    assert flow_loss(np.empty((3, 0)), spectrum, samples=10).shape == (3, 0)


def test_two_frequency_inversion_of_known_pairs():
    time, s = np.array([0.2, 0.5, 1.0]), FREQUENCIES
    known = [
        # Not symmetric in the two frequencies, and symmetric.
        (lambda p, q: 1 / (p + 1) / np.sqrt(q), np.exp(-time) / np.sqrt(np.pi * time)),
        (lambda p, q: 1 / ((p + 1) * (q + 1) - 0.5), np.exp(-2 * time) * i0(np.sqrt(2) * time)),
    ]
    for transform, expected in known:
        halves = [transform(s[:, None], q) for q in (s, s.conj())]
        np.testing.assert_allclose(inverse_two(time, 1.0, *halves), expected, rtol=1e-8)
    first, second = pairs()
    values = (pair_weights(propagate(time)) * transform(s[first], with_mirrors(s)[second])).sum(axis=1).real
    np.testing.assert_allclose(values, expected, rtol=1e-8)


def test_weights_turn_resolvents_into_exponentials():
    """At rates and times between those of the fit, and far beyond them."""
    time, rate = np.geomspace(0.1, 1, 97), np.append(0.0, np.geomspace(1e-3, 1e8, 1001))
    inverse = (propagate(time)[:, None] / (rate[:, None] + FREQUENCIES)).sum(axis=2).real
    error = np.abs(inverse - np.exp(-np.multiply.outer(time, rate)))
    assert error.max() < 2e-12
    # Losses that fall like a power of the time are far below what they fell from.
    assert (error * rate**2)[:, rate < 1e5].max() < 3e-9
    assert (np.abs(propagate(time)) / np.abs(FREQUENCIES)).sum(axis=1).max() < 10


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("alpha, r, dim", [(1.02, 0.04, 1000), (1.5, 0.4, 30), (2.0, 1.2, 10_000), (4.0, 3.0, 3)])
def test_error_of_losses_that_are_learnt_to_the_end(alpha, r, dim):
    """Far above the documented error the loss is that of the modes, one by one; no more is said of it below."""
    spectrum, time = PowerLaw(alpha, r, dim), np.geomspace(1e-2, 1e8, 101)
    eigenvalue, power = modes(alpha, r, dim)
    expected = np.exp(-2 * np.multiply.outer(time, eigenvalue)) @ power
    error = np.abs(flow_loss(time, spectrum) - expected)
    assert np.all(error < 1e-8 * expected + 2e-12 * spectrum.power)


def test_windows_end_at_the_time_that_is_given():
    times = sort_times(np.array([[1.0, 30.0, 100.0], [2.0, 60.0, 200.0]]), 100.0)
    np.testing.assert_allclose(times.end, [100.0, 10.0, 1000.0, 100.0, 10.0])
    np.testing.assert_array_equal(times.row, [0, 0, 1, 1, 1])
    np.testing.assert_allclose(sort_times(np.array([[1.0, 30.0, 100.0]])).end, [100.0, 10.0])


def test_compiled_pairs_have_room_for_the_frequencies():
    assert 2 * NODES <= MOST
    assert MOST % 8 == 0


def test_fit_exponentials():
    time = np.geomspace(1e-3, 1e4, 200)
    terms = fit_exponentials(time, (1 + time) ** -1.3, (1 + time) ** -1.3, np.geomspace(1e-5, 1e2, 57))
    np.testing.assert_allclose(terms.at(time), (1 + time) ** -1.3, rtol=1e-6)
    p = np.array([0.1 + 0j])
    expected = quad(lambda u: (1 + u) ** -1.3 * np.exp(-0.1 * u), 0, np.inf)[0]
    np.testing.assert_allclose(terms.transform(p), expected, rtol=1e-6)


@pytest.mark.parametrize("alpha", [1.02, 2.0, 6.0])
@pytest.mark.parametrize("r", [0.02, 1.0, 5.0])
@pytest.mark.parametrize("width, samples", [(1, 1e12), (1e12, 1), (1e12, 1e12), (30, 30), (math.inf, math.inf), (1, 1)])
@pytest.mark.parametrize("kind", ["test", "train"])
def test_corners_of_the_domain(alpha, r, width, samples, kind):
    spectrum = PowerLaw(alpha, r)
    threshold = 2 / spectrum.nodes(1.0).trace
    time = np.geomspace(1e-3, 1e9, 25)
    for rate in (0.0, 0.9999 * threshold):
        loss = flow_loss(time, spectrum, width=width, samples=samples, noise_rate=rate, noise_variance=1e-3, kind=kind)
        assert np.all(np.isfinite(loss))
        assert np.all(loss >= (0 if kind == "train" else 1e-3 * (1 - 1e-6)))


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"time": [-1.0]}, "time contains -1.0"),
        ({"time": 1.0}, "single number"),
        ({"time": [np.nan]}, "time contains nan"),
        ({"noise_rate": -1}, "noise_rate"),
        ({"noise_rate": np.nan}, "noise_rate"),
        ({"width": 0}, "width is"),
        ({"samples": np.nan}, "samples is"),
        ({"noise_variance": np.inf}, "noise_variance"),
        ({"kind": "validation"}, "kind"),
        ({"width": [1, 2], "samples": [1, 2, 3]}, "broadcast"),
        ({"width": -1, "samples": 0, "kind": 3}, "3 problems"),
    ],
)
def test_flow_loss_refuses(arguments, text):
    with pytest.raises(ParameterError, match=text):
        flow_loss(arguments.pop("time", [1.0]), PowerLaw(1.5, 0.4), **arguments)


def test_noise_beyond_the_kernel_norm_is_an_instability():
    spectrum = PowerLaw(1.5, 0.4)
    threshold = 2 / spectrum.nodes(1.0).trace
    for sizes in ({}, {"width": 10}, {"samples": 10}):
        flow_loss([1.0], spectrum, noise_rate=0.999 * threshold, **sizes)
        with pytest.raises(InstabilityError, match=r"1\.5 times the threshold"):
            flow_loss([1.0], spectrum, noise_rate=1.5 * threshold, **sizes)


@pytest.mark.parametrize("kind", ["test", "train"])
@pytest.mark.parametrize(
    "spectrum", [PowerLaw(1.5, 0.4), Spectrum(np.arange(1, 101.0) ** -1.5, np.arange(1, 101.0) ** -2.2)]
)
def test_many_times_at_once_are_those_of_few(kind, spectrum):
    """Beyond some thousand times losses are interpolated: as exact as they are, finite spectra learnt to the end too."""
    time = np.append(0.0, np.exp(np.random.default_rng(0).uniform(np.log(1e-4), np.log(1e7), 5000)))
    settings = dict(noise_rate=[0.05, 0.01], width=80, samples=300, noise_variance=0.1, kind=kind)
    loss, jacobian = flow_loss(time, spectrum, jacobian=True, **settings)
    parts = [flow_loss(part, spectrum, jacobian=True, **settings) for part in np.array_split(time, 2)]
    few = np.concatenate([part for part, _ in parts], axis=1)
    np.testing.assert_allclose(loss, few, rtol=1e-9, atol=1e-9)
    for name, slope in jacobian.items():
        few = np.concatenate([part[name] for _, part in parts], axis=1)
        np.testing.assert_allclose(slope, few, rtol=0, atol=1e-6 * np.abs(few).max())
