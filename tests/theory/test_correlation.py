"""Correlations and responses at unequal times against random draws, exact laws and the relations between them."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from scalingeq.errors import ParameterError
from scalingeq.theory import (
    PowerLaw,
    Spectrum,
    correlation,
    flow_loss,
    forcing_two_point,
    kernel,
    renormalised_frequency,
    response,
    static_loss,
)
from scalingeq.theory.laplace import FREQUENCIES, inverse_two

MODES = 300
SPECTRUM = PowerLaw(1.5, 0.4, MODES)
EIGENVALUE = np.arange(1.0, MODES + 1) ** -1.5
POWER = np.arange(1.0, MODES + 1) ** -2.2
NOISE = 0.1
TIMES = np.array([0.0, 1.0, 10.0, 100.0, 3000.0])
SIZES = [(200, 120), (120, 200), (150, 150), (math.inf, 120), (120, math.inf)]


class Flow:
    """Gradient flow of one random draw, solved mode by mode: ``dv/dt = -matrix v + pull``."""

    def __init__(self, width, samples, rng):
        features = np.diag(np.sqrt(EIGENVALUE))
        if math.isfinite(width):
            features = features @ rng.standard_normal((MODES, width)) / math.sqrt(width)
        self.features, target = features, np.sqrt(POWER)
        # With infinite data the inputs are the square root of their covariance, and the noise averages out.
        inputs, labels, self.samples = features, target, 1
        if math.isfinite(samples):
            whitened = rng.standard_normal((samples, MODES))
            inputs, self.samples = whitened @ features, samples
            labels = whitened @ target + math.sqrt(NOISE) * rng.standard_normal(samples)
        self.inputs, self.labels, self.target = inputs, labels, target
        self.rate, self.basis = np.linalg.eigh(inputs.T @ inputs / self.samples)

    def weights(self, labels, time, start=0.0):
        """Weights (feature, time) learned from the labels; the second term is what is left of those at the start."""
        pull = self.basis.T @ (self.inputs.T @ labels / self.samples)
        rate = np.maximum(self.rate, 1e-14)[:, None]
        decay = np.exp(-rate * time)
        learned = -np.expm1(-rate * time) / rate * pull[:, None]
        return self.basis @ (learned + decay * (self.basis.T @ np.broadcast_to(start, self.rate.shape))[:, None])


def compare(draws, theory, scale):
    """Within 4 standard errors of the mean, and these small enough that the comparison means something."""
    draws = np.array(draws)
    error = draws.std(axis=0, ddof=1) / math.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - theory) < 4 * error + 1e-8)
    assert np.all(error < 0.03 * scale)


@pytest.mark.parametrize("width, samples", SIZES)
def test_correlation_at_unequal_times_of_random_draws(width, samples):
    rng = np.random.default_rng(3)
    draws = {"test": [], "train": []}
    for _ in range(200):
        flow = Flow(width, samples, rng)
        weights = flow.weights(flow.labels, TIMES)
        miss = flow.target[:, None] - flow.features @ weights
        residual = flow.labels[:, None] - flow.inputs @ weights
        draws["test"].append(miss.T @ miss + NOISE)
        draws["train"].append(residual.T @ residual / flow.samples + (NOISE if math.isinf(samples) else 0.0))
    for kind, values in draws.items():
        settings = {"width": width, "samples": samples, "noise_variance": NOISE, "kind": kind}
        theory = correlation(TIMES[:, None], TIMES, SPECTRUM, **settings)
        compare(values, theory, scale=np.sqrt(np.outer(theory.diagonal(), theory.diagonal())))


def test_test_correlation_does_not_depend_on_the_sum_of_times_alone():
    # So that the comparison above could fail: a function of the sum would be off by many errors.
    settings = {"samples": 120, "noise_variance": NOISE}
    unequal, equal = (correlation(*pair, SPECTRUM, **settings) for pair in ((1.0, 2999.0), (1500.0, 1500.0)))
    assert unequal < 0.7 * equal
    settings["kind"] = "train"
    unequal, equal = (correlation(*pair, SPECTRUM, **settings) for pair in ((1.0, 2999.0), (1500.0, 1500.0)))
    np.testing.assert_allclose(unequal, equal, rtol=1e-12)


@pytest.mark.parametrize("width, samples", SIZES[:4])
@pytest.mark.parametrize("of", ["data", "features"])
def test_response_to_kicks_of_random_draws(width, samples, of):
    # Random signs on all labels, or all weights, at once: what comes back with the same sign is each one's own response.
    if of == "features" and math.isinf(width):
        np.testing.assert_allclose(response(TIMES, SPECTRUM, samples=samples, of=of), 1, rtol=1e-8)
        return
    rng = np.random.default_rng(4)
    draws = []
    for _ in range(40):
        flow = Flow(width, samples, rng)
        plain = flow.weights(flow.labels, TIMES)
        if of == "data":
            kick = rng.choice([-1.0, 1.0], samples)
            change = kick[:, None] - flow.inputs @ (flow.weights(flow.labels + kick, TIMES) - plain)
        else:
            kick = rng.choice([-1.0, 1.0], width)
            change = flow.weights(flow.labels, TIMES, start=kick) - plain
        draws.append((kick[:, None] * change).mean(axis=0))
    theory = response(TIMES, SPECTRUM, width=width, samples=samples, of=of)
    compare(draws, theory, scale=1.0)
    # The start is exact, and the end is the share that cannot be learned away, approached slowly where it is 0 for both.
    assert theory[0] == pytest.approx(1, abs=1e-8)
    end = response(1e12, SPECTRUM, width=width, samples=samples, of=of)
    share = 1 - min(width, samples) / (samples if of == "data" else width)
    np.testing.assert_allclose(end, share, atol=1e-8 if width != samples else 1e-4)


@pytest.mark.parametrize("width, samples", SIZES)
@pytest.mark.parametrize("kind", ["test", "train"])
def test_equal_times_give_the_loss(width, samples, kind):
    time = np.concatenate([[0.0], np.geomspace(1e-3, 1e8, 60)])
    for spectrum in (SPECTRUM, PowerLaw(1.1, 0.7)):
        settings = {"width": width, "samples": samples, "noise_variance": NOISE, "kind": kind}
        loss = flow_loss(time, spectrum, **settings)
        np.testing.assert_allclose(correlation(time, time, spectrum, **settings), loss, rtol=1e-8, atol=1e-10)


def test_large_width_and_data_give_the_explicit_sum():
    time = np.concatenate([[0.0], np.geomspace(1e-3, 1e5, 25)])
    total = time[:, None] + time
    expected = np.exp(-EIGENVALUE * total[..., None]) @ POWER + NOISE
    values = correlation(time[:, None], time, SPECTRUM, width=1e15, samples=1e15, noise_variance=NOISE)
    np.testing.assert_allclose(values, expected, rtol=1e-8)


@pytest.mark.parametrize("aspect", [0.5, 3.0])
def test_white_inputs_against_the_law_of_marchenko_and_pastur(aspect):
    # The eigenvalues x of the sample covariance have a known density, and every residual is an average over them.
    samples, signal = 1000, 0.8
    modes = int(aspect * samples)
    white = Spectrum(np.ones(modes), np.full(modes, signal / modes))
    low, high = (1 - math.sqrt(aspect)) ** 2, (1 + math.sqrt(aspect)) ** 2

    def average(function, at_zero):
        def integrand(angle):
            x = (low + high) / 2 - (high - low) / 2 * math.cos(angle)
            return ((high - low) / 2 * math.sin(angle)) ** 2 / (2 * math.pi * aspect * x) * function(x)

        return quad(integrand, 0, math.pi, epsabs=1e-13, epsrel=1e-12)[0] + max(1 - 1 / aspect, 0) * at_zero

    for t, u in [(0.3, 0.3), (0.1, 4.0), (2.0, 50.0), (1e-3, 100.0)]:
        signal_left = signal * average(lambda x, t=t, u=u: math.exp(-x * (t + u)), 1.0)
        noise_learned = average(lambda x, t=t, u=u: math.expm1(-x * t) * math.expm1(-x * u) / x, 0.0)
        expected = signal_left + NOISE * (1 + aspect * noise_learned)
        values = correlation([t, u], [u, t], white, samples=samples, noise_variance=NOISE)
        np.testing.assert_allclose(values, expected, rtol=1e-8)
        left = aspect * average(lambda x, t=t: math.exp(-x * t) - 1, 0.0) + 1
        np.testing.assert_allclose(response(t, white, samples=samples), left, rtol=1e-8)


@pytest.mark.parametrize("width, samples", [(60, 90), (90, 60), (math.inf, 80)])
def test_train_correlation_is_the_test_correlation_through_the_response(width, samples):
    # Transform of a function of t + t': the divided difference of the one-frequency transform.
    s = np.array([0.003, 0.1, 0.5 * np.exp(1.2j), 0.02 * np.exp(-2.5j)])[:, None]
    s_prime = np.array([0.02, 1.0, 0.3 * np.exp(2.0j)])

    def train(s):
        kappa2, kappa1 = renormalised_frequency(s, SPECTRUM, width, samples)
        return (kappa2 * (1 / (kappa2[..., None] + EIGENVALUE) @ POWER) + NOISE) / kappa1, kappa1

    (first, kappa1), (second, kappa1_prime) = train(s), train(s_prime)
    through = s * s_prime / (kappa1 * kappa1_prime) * forcing_two_point(s, s_prime, SPECTRUM, width, samples, NOISE)
    np.testing.assert_allclose(through, (first - second) / (s_prime - s), rtol=1e-8)


def test_response_of_the_data_ties_the_losses_at_every_time():
    # The same relation in time: r(t) = rho(t) + the integral of R'(t - u) rho(u), here from the start to t = 5.
    time, settings = 5.0, {"width": 60.0, "samples": 90.0, "noise_variance": NOISE}
    node, weight = np.polynomial.legendre.leggauss(60)
    earlier, weight = time * (node + 1) / 2, time * weight / 2
    step = 1e-3
    since = time - earlier
    slope = (
        response(since + step, SPECTRUM, width=60, samples=90) - response(since, SPECTRUM, width=60, samples=90)
    ) / step
    grid = np.append(earlier, time)
    past = correlation(grid[:, None], grid, SPECTRUM, **settings)
    through = np.append(weight * slope, 1.0)
    train = flow_loss([time], SPECTRUM, kind="train", **settings)
    np.testing.assert_allclose(through @ past @ through, train[0], rtol=1e-3)


def test_curvature_of_the_response_is_the_kernel():
    # R(t) = Tr exp(-K t) / P and K_train(t) = Tr K^2 exp(-2 K t) / P, with the P of the kernel matrix left out of both.
    time = np.array([0.5, 5.0, 50.0])
    sizes = {"width": 80.0, "samples": 120.0}
    curvature = []
    for step in (0.04 * time, 0.02 * time):
        three = [response(2 * time + move, SPECTRUM, **sizes) for move in (-step, 0, step)]
        curvature.append((three[0] - 2 * three[1] + three[2]) / step**2)
    extrapolated = (4 * curvature[1] - curvature[0]) / 3
    np.testing.assert_allclose(120 * extrapolated, kernel(time, SPECTRUM, kind="train", **sizes), rtol=1e-4)


def test_late_times_end_at_the_static_loss():
    for width, samples in [(50.0, 100.0), (100.0, 50.0), (math.inf, 80.0)]:
        settings = {"width": width, "samples": samples, "noise_variance": NOISE}
        late = correlation([1e10, 1e10], [1e10, 1e12], SPECTRUM, **settings)
        np.testing.assert_allclose(late, static_loss(SPECTRUM, **settings), rtol=1e-6)


def test_inversion_at_times_of_unlike_windows():
    s = FREQUENCIES
    time, prime, end, end_prime = np.array([0.02, 0.1]), np.array([30.0, 70.0]), 0.1, 100.0
    first = s[:, None] / end
    halves = [1 / ((first + 0.5) * np.sqrt(q)) for q in (s / end_prime, s.conj() / end_prime)]
    values = inverse_two(time / end, end, *halves, prime=(prime / end_prime, end_prime))
    np.testing.assert_allclose(values, np.exp(-0.5 * time) / np.sqrt(np.pi * prime), rtol=1e-8)


def test_shapes_and_symmetry():
    time = np.geomspace(0.01, 1e4, 12).reshape(3, 4)
    matrix = correlation(time[..., None, None], time, SPECTRUM, width=40, samples=50)
    assert matrix.shape == (3, 4, 3, 4)
    np.testing.assert_array_equal(matrix, matrix.transpose(2, 3, 0, 1))
    # A correlation has no negative eigenvalue, and no entry beyond what those at equal times allow.
    matrix = matrix.reshape(12, 12)
    assert np.linalg.eigvalsh(matrix).min() > -1e-9
    assert np.all(matrix**2 <= np.outer(matrix.diagonal(), matrix.diagonal()) * (1 + 1e-9))
    assert correlation(1.0, 2.0, SPECTRUM, samples=50).shape == ()
    assert response(1.0, SPECTRUM, samples=50).shape == ()
    assert correlation(np.empty((2, 0)), 1.0, SPECTRUM, samples=50).shape == (2, 0)
    assert correlation([], [], SPECTRUM).shape == response([], SPECTRUM).shape == (0,)


def test_units_of_the_eigenvalues_are_those_of_one_over_time():
    time = np.array([0.0, 1e-3, 1.0, 1e4])
    for scale in (1e-8, 1e8):
        scaled = Spectrum(EIGENVALUE * scale, POWER)
        for function in (
            lambda spectrum, t: correlation(t[:, None], t, spectrum, width=40, samples=50),
            lambda spectrum, t: response(t, spectrum, width=40, samples=50),
        ):
            np.testing.assert_allclose(function(scaled, time / scale), function(SPECTRUM, time), rtol=1e-8)


def test_unreachable_target_power_acts_as_label_noise():
    time = np.array([0.0, 1.0, 1000.0])
    spectrum, reachable = Spectrum([1.0, 0.5, 0.0], [1.0, 0.5, 0.25]), Spectrum([1.0, 0.5], [1.0, 0.5])
    settings = {"width": 5.0, "samples": 4.0}
    np.testing.assert_allclose(
        correlation(time[:, None], time, spectrum, **settings),
        correlation(time[:, None], time, reachable, noise_variance=0.25, **settings),
        rtol=1e-8,
    )
    np.testing.assert_allclose(response(time, spectrum, **settings), response(time, reachable, **settings), rtol=1e-8)


@pytest.mark.parametrize("width, samples", [(1, 1e12), (1e12, 1), (1, 1), (30, 30), (math.inf, 1)])
@pytest.mark.parametrize("alpha, r", [(1.02, 0.02), (6.0, 5.0)])
def test_corners_of_the_domain(alpha, r, width, samples):
    spectrum, time = PowerLaw(alpha, r), np.concatenate([[0.0], np.geomspace(1e-6, 1e9, 16)])
    matrix = correlation(time[:, None], time, spectrum, width=width, samples=samples, noise_variance=1e-3)
    diagonal = matrix.diagonal()
    assert np.all(matrix**2 <= np.outer(diagonal, diagonal) * (1 + 1e-6))
    for of in ("data", "features"):
        left = response(time, spectrum, width=width, samples=samples, of=of)
        assert np.all((left > -1e-8) & (left < 1 + 1e-8))
        assert np.all(np.diff(left) < 1e-8)


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"time": -1.0}, "time contains -1.0"),
        ({"time_prime": [0.0, math.inf]}, "time_prime contains inf"),
        ({"time": [1.0, 2.0], "time_prime": [1.0, 2.0, 3.0]}, "broadcast"),
        ({"width": 0}, "width is"),
        ({"kind": "validation"}, "kind is"),
        ({"time": math.nan, "samples": -1, "noise_variance": -1}, "3 problems"),
    ],
)
def test_correlation_refuses(arguments, text):
    with pytest.raises(ParameterError, match=text):
        correlation(arguments.pop("time", 1.0), arguments.pop("time_prime", 1.0), SPECTRUM, **arguments)


@pytest.mark.parametrize(
    "arguments, text", [({"of": "labels"}, "of is"), ({"time": [-1.0], "width": 0, "of": 3}, "3 problems")]
)
def test_response_refuses(arguments, text):
    with pytest.raises(ParameterError, match=text):
        response(arguments.pop("time", 1.0), SPECTRUM, **arguments)
