"""Static losses against direct solutions with random draws, and against the closed forms of the literature."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from scalingeq.errors import ParameterError
from scalingeq.theory import (
    PowerLaw,
    Spectrum,
    flow_loss,
    random_features_loss,
    ridge_regression_loss,
    static_loss,
)

MODES = 300
SPECTRUM = PowerLaw(1.5, 0.4, MODES)
EIGENVALUE = np.arange(1.0, MODES + 1) ** -1.5
POWER = np.arange(1.0, MODES + 1) ** -2.2


def solved_ridge_problems(width, samples, ridge, noise_variance, draws, seed):
    """Test and train loss (draw, kind) of the solution in weight space; each draw has new features, data and noise."""
    rng = np.random.default_rng(seed)
    root, losses = np.sqrt(EIGENVALUE), []
    for _ in range(draws):
        features = np.diag(root)
        if math.isfinite(width):
            features = root[:, None] * rng.standard_normal((MODES, width)) / math.sqrt(width)
        whitened = rng.standard_normal((samples, MODES))
        inputs = whitened @ features
        labels = whitened @ np.sqrt(POWER) + math.sqrt(noise_variance) * rng.standard_normal(samples)
        if ridge > 0:
            penalised = inputs.T @ inputs / samples + ridge * np.eye(features.shape[1])
            weights = np.linalg.solve(penalised, inputs.T @ labels / samples)
        else:
            weights = np.linalg.lstsq(inputs, labels)[0]
        miss = np.sqrt(POWER) - features @ weights
        losses.append([miss @ miss + noise_variance, np.mean((labels - inputs @ weights) ** 2)])
    return np.array(losses)


@pytest.mark.parametrize(
    "width, samples, ridge",
    [
        (200, 120, 1e-1),
        (200, 120, 1e-3),
        (120, 200, 1e-2),
        (150, 150, 1e-2),
        (math.inf, 120, 1e-2),
        (math.inf, 120, 1e-4),
        (100, 250, 0.0),
        (250, 100, 0.0),
        (math.inf, 100, 0.0),
    ],
)
def test_solutions_of_random_ridge_problems(width, samples, ridge):
    settings = {"width": width, "samples": samples, "ridge": ridge, "noise_variance": 0.1}
    losses = solved_ridge_problems(width, samples, ridge, 0.1, draws=40, seed=1)
    error = losses.std(axis=0, ddof=1) / math.sqrt(len(losses))
    theory = np.array([static_loss(SPECTRUM, kind=kind, **settings) for kind in ("test", "train")])
    assert np.all(np.abs(losses.mean(axis=0) - theory) < 4 * error + 1e-12)
    assert np.all(error < 0.05 * theory + 1e-12)  # so that the comparison means something


@pytest.mark.parametrize("ridge", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("aspect", [0.4, 2.5])
def test_isotropic_ridge_regression_of_hastie_and_others(aspect, ridge):
    # arXiv:1903.08560: risk from the Stieltjes transform m(-ridge) of the law of Marchenko and Pastur.
    samples, signal, noise = 1000, 0.8, 0.3
    modes = int(aspect * samples)
    if ridge == 0:
        bias = signal * max(1 - 1 / aspect, 0)
        variance = noise * (aspect / (1 - aspect) if aspect < 1 else 1 / (aspect - 1))
    else:

        def stieltjes(z):
            b = 1 - aspect + z
            return (math.sqrt(b * b + 4 * aspect * z) - b) / (2 * aspect * z)

        step = 1e-5 * ridge
        slope = -(stieltjes(ridge + step) - stieltjes(ridge - step)) / (2 * step)
        bias = signal * ridge**2 * slope
        variance = noise * aspect * (stieltjes(ridge) - ridge * slope)
    white = Spectrum(np.ones(modes), np.full(modes, signal / modes))
    loss = ridge_regression_loss(white, samples=samples, ridge=ridge, noise_variance=noise)
    np.testing.assert_allclose(loss, bias + variance + noise, rtol=1e-7)


@pytest.mark.parametrize("samples, ridge", [(30, 1e-2), (100, 1e-4), (500, 1e-3), (100, 0.0)])
def test_kernel_regression_of_bordelon_and_others(samples, ridge):
    # arXiv:2002.02561 and arXiv:2110.03922, in their variables: delta added to the kernel matrix, which is not divided
    # by the number of samples; `threshold` is the eigenvalue that is half learned.
    delta = samples * ridge

    def excess(log):
        return (EIGENVALUE / (EIGENVALUE + math.exp(log))).sum() + delta / math.exp(log) - samples

    threshold = math.exp(brentq(excess, -25, 10, xtol=1e-14))
    learnability = EIGENVALUE / (EIGENVALUE + threshold)
    overfitting = samples / (samples - (learnability**2).sum())
    test = overfitting * (((1 - learnability) ** 2 * POWER).sum() + 0.1)
    train = (delta / (samples * threshold)) ** 2 * test
    for kind, expected in (("test", test), ("train", train)):
        loss = ridge_regression_loss(SPECTRUM, samples=samples, ridge=ridge, noise_variance=0.1, kind=kind)
        np.testing.assert_allclose(loss, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("width, samples, ridge", [(30, 100, 1e-2), (100, 30, 1e-4), (80, 80, 1e-3), (500, 200, 1e-5)])
def test_random_features_of_simon_and_others(width, samples, ridge):
    # arXiv:2311.14646: two equations for two thresholds, and their test loss.
    def inner(outer):
        return outer * (1 - (EIGENVALUE / (EIGENVALUE + outer)).sum() / width)

    def excess(outer):
        return (EIGENVALUE / (EIGENVALUE + outer)).sum() + samples * ridge / inner(outer) - samples

    # The inner threshold is positive only above the first of these.
    lowest = math.exp(brentq(lambda log: inner(math.exp(log)), -25, 10)) if width < MODES else 1e-11
    outer = brentq(excess, lowest * (1 + 1e-9), 100, xtol=1e-15)
    ratio = EIGENVALUE / (EIGENVALUE + outer)
    z, q = ratio.sum(), (ratio**2).sum()
    missed = outer / (EIGENVALUE + outer) - inner(outer) * EIGENVALUE / (EIGENVALUE + outer) ** 2 * width / (width - q)
    expected = (missed @ POWER + 0.1) / (1 - (q * (width - 2 * z) + z**2) / (samples * (width - q)))
    settings = {"width": width, "samples": samples, "ridge": ridge, "noise_variance": 0.1}
    np.testing.assert_allclose(random_features_loss(SPECTRUM, **settings), expected, rtol=1e-8)
    train = (ridge / inner(outer)) ** 2 * expected
    np.testing.assert_allclose(random_features_loss(SPECTRUM, **settings, kind="train"), train, rtol=1e-8)


@pytest.mark.parametrize("width, samples", [(50, 100), (100, 50), (math.inf, 80), (80, math.inf), (500, 400)])
@pytest.mark.parametrize("kind", ["test", "train"])
def test_small_ridge_tends_to_ridgeless(width, samples, kind):
    settings = {"width": width, "samples": samples, "noise_variance": 0.1, "kind": kind}
    for spectrum in (SPECTRUM, PowerLaw(1.5, 0.4)):
        limit = static_loss(spectrum, **settings)
        first, second = (static_loss(spectrum, ridge=ridge, **settings) - limit for ridge in (1e-8, 1e-9))
        # The difference is of first order in the ridge, that of the minimal train loss of second order.
        order = 2 if kind == "train" else 1
        np.testing.assert_allclose(second, first / 10**order, rtol=1e-2, atol=1e-12)


@pytest.mark.parametrize("width, samples", [(50, math.inf), (50, 100), (math.inf, 50), (80, 80)])
@pytest.mark.parametrize("kind", ["test", "train"])
def test_large_ridge_learns_nothing(width, samples, kind):
    loss = static_loss(SPECTRUM, width=width, samples=samples, ridge=1e10, noise_variance=0.1, kind=kind)
    np.testing.assert_allclose(loss, POWER.sum() + 0.1, rtol=1e-8)


def test_ridge_tames_double_descent():
    def losses(ridge):
        settings = {"samples": 100, "ridge": ridge, "noise_variance": 0.05}
        return [random_features_loss(SPECTRUM, width=n, **settings) for n in (30, 100, 1000)]

    # The peak is as high as one over the square root of the ridge; with a large one there is no second descent.
    assert losses(1e-10)[1] / losses(1e-8)[1] == pytest.approx(10, rel=0.02)
    below, at, beyond = losses(1e-4)
    assert below < at > beyond
    below, at, beyond = losses(1e-1)
    assert below > at > beyond
    assert static_loss(SPECTRUM, width=100, samples=100) == math.inf
    assert static_loss(SPECTRUM, width=100, samples=100, kind="train") == 0


def test_infinite_width_and_data_shrink_each_mode():
    expected = POWER @ (0.01 / (EIGENVALUE + 0.01)) ** 2 + 0.1
    for kind in ("test", "train"):
        np.testing.assert_allclose(static_loss(SPECTRUM, ridge=0.01, noise_variance=0.1, kind=kind), expected)


def test_weight_decay_is_early_stopping_at_first_order():
    # Ridge shrinks a slow mode by eigenvalue / ridge, flow by eigenvalue * time: 1 / ridge is a time.
    spectrum = Spectrum([1e-6], [1.0])
    flow = flow_loss([100.0], spectrum, width=50, samples=50)
    np.testing.assert_allclose(static_loss(spectrum, width=50, samples=50, ridge=0.01), flow, rtol=1e-7)


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"ridge": -1.0}, "ridge is -1.0"),
        ({"ridge": math.inf}, "ridge is inf"),
        ({"ridge": math.nan, "noise_variance": -1, "kind": "x"}, "3 problems"),
    ],
)
def test_static_losses_refuse(arguments, text):
    for function in (static_loss, ridge_regression_loss, random_features_loss):
        sizes = {"samples": 10.0} if function is ridge_regression_loss else {"width": 10.0, "samples": 10.0}
        with pytest.raises(ParameterError, match=text):
            function(SPECTRUM, **sizes, **arguments)
