"""Spectra estimated from samples: against known spectra, and against models trained on real data."""

import math

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_sample_images

from scalingeq.errors import ParameterError
from scalingeq.theory import (
    PowerLaw,
    Spectrum,
    flow_loss,
    loss_curve,
    spectrum_from_features,
    spectrum_from_kernel,
)

TIME = np.geomspace(0.3, 1000, 12)


def sample(law, n, noise, rng, width=math.inf):
    """Features and labels of the model of the theory."""
    k = np.arange(1.0, law.dim + 1)
    z = rng.standard_normal((n, k.size))
    labels = z @ k ** -(law.alpha * law.r + 0.5) + math.sqrt(noise) * rng.standard_normal(n)
    features = z * k ** (-law.alpha / 2)
    if math.isfinite(width):
        features = features @ rng.standard_normal((k.size, width)) / math.sqrt(width)
    return features, labels


def uncorrected(features, labels):
    """The sample's own eigenvalues and power."""
    eigenvalue, vectors = np.linalg.eigh(features @ features.T / labels.size)
    return Spectrum(np.maximum(eigenvalue, 0), (vectors.T @ labels) ** 2 / labels.size)


@pytest.mark.parametrize(
    "law, n, noise, width, serves",
    [
        (PowerLaw(1.5, 0.4, 1000), 300, 0.1, math.inf, {"samples": 100}),
        (PowerLaw(1.2, 0.3, 1000), 300, 0.0, math.inf, {"samples": 150}),
        (PowerLaw(1.5, 0.4, 1000), 300, 0.3, math.inf, {"samples": 100, "width": 60, "noise_rate": 0.05}),
        (PowerLaw(1.2, 0.4, 120), 300, 0.1, math.inf, {"samples": 100}),
        (PowerLaw(1.5, 0.4, 1000), 300, 0.1, 250, {"samples": 100}),
    ],
    ids=["noise", "no noise", "noisy SGD at finite width", "fewer features than samples", "random features"],
)
def test_known_spectrum_is_found(law, n, noise, width, serves):
    rng = np.random.default_rng(3)
    draws = [sample(law, n, noise, rng, width) for _ in range(12)]
    for kind in ("test", "train"):
        truth = flow_loss(TIME, law, noise_variance=noise, kind=kind, **serves)
        found = np.array(
            [flow_loss(TIME, spectrum_from_features(*draw, width=width), kind=kind, **serves) for draw in draws]
        )
        naive = np.array([flow_loss(TIME, uncorrected(*draw), kind=kind, **serves) for draw in draws[:4]])
        error = found.std(axis=0, ddof=1) / math.sqrt(len(draws))
        assert np.all(np.abs(found.mean(axis=0) - truth) < np.maximum(4 * error, 0.03 * truth)), kind
        # One draw scatters as the mean square of n labels does; without the corrections it is off by several times that.
        scatter = np.sqrt(np.mean((found / truth - 1) ** 2, axis=0))
        assert scatter.max() < 2 * math.sqrt(2 / n), kind
        assert np.abs(naive.mean(axis=0) / truth - 1).max() > 1.5 * np.abs(found.mean(axis=0) / truth - 1).max(), kind


def test_many_samples_give_the_eigenvalues_themselves():
    rng = np.random.default_rng(0)
    eigenvalue, weights = np.array([4.0, 1.0, 0.1]), np.array([1.0, 2.0, 3.0])
    features = rng.standard_normal((100_000, 3)) * np.sqrt(eigenvalue)
    spectrum = spectrum_from_features(features, features @ weights + rng.standard_normal(100_000))
    for value, power in zip(eigenvalue, weights**2 * eigenvalue, strict=True):
        near = np.abs(np.log(np.maximum(spectrum.eigenvalues, 1e-9) / value)) < 0.2
        assert spectrum.modes[near].sum() == pytest.approx(1, rel=0.01)
        assert spectrum.modes[near] @ spectrum.eigenvalues[near] == pytest.approx(value, rel=0.02)
        assert spectrum.target_power[near].sum() == pytest.approx(power, rel=0.02)
    assert spectrum.target_power[spectrum.eigenvalues == 0] == pytest.approx([1.0], rel=0.02)


def test_noise_is_the_residual_over_its_degrees_of_freedom():
    # The unbiased estimate of linear regression, which the deterministic equivalent contains.
    rng = np.random.default_rng(1)
    features = rng.standard_normal((200, 40))
    labels = features @ rng.standard_normal(40) + 3 * rng.standard_normal(200)
    residual = np.linalg.lstsq(features, labels)[1].item()
    spectrum = spectrum_from_features(features, labels)
    assert spectrum.target_power[spectrum.eigenvalues == 0].item() == pytest.approx(residual / 160, rel=0.01)
    assert spectrum.rank == pytest.approx(40, rel=0.01)


@pytest.mark.parametrize("size", [(150, 40), (40, 150)])
def test_features_and_their_kernel_agree(size):
    rng = np.random.default_rng(2)
    features, labels = rng.standard_normal(size) ** 3, rng.standard_normal((size[0], 2))
    serves = {"samples": 30, "width": 20}
    by_features = flow_loss(TIME, spectrum_from_features(features, labels), **serves)
    by_kernel = flow_loss(TIME, spectrum_from_kernel(features @ features.T, labels), **serves)
    np.testing.assert_allclose(by_features, by_kernel, rtol=2e-3)
    # Outputs add; the kernel's unit is that of the inverse time, the labels' that of the root of the loss.
    scaled = spectrum_from_kernel(4 * features @ features.T, labels * 3)
    np.testing.assert_allclose(flow_loss(TIME / 4, scaled, **serves), 9 * by_kernel, rtol=1e-6)
    assert flow_loss([0.0], scaled)[0] == pytest.approx(9 * (labels**2).sum() / size[0], rel=0.02)


def subset(kernel, labels, samples, rng):
    """Samples in random order, and the kernel between all of them and the first."""
    order = rng.permutation(labels.size)
    return kernel[np.ix_(order, order[:samples])], labels[order]


def descend(kernel, labels, steps, rate, batch, rng):
    """Test and train loss (2, step) of kernel regression on the first samples by (minibatch) gradient descent."""
    samples = kernel.shape[1]
    weights, done, losses = np.zeros(samples), 0, []
    for step in steps:
        for _ in range(step - done):
            chosen = rng.integers(samples, size=batch) if math.isfinite(batch) else np.arange(samples)
            np.subtract.at(weights, chosen, rate / chosen.size * (kernel[chosen] @ weights - labels[chosen]))
        done = step
        square = (kernel @ weights - labels) ** 2
        losses.append([square[samples:].mean(), square[:samples].mean()])
    return np.transpose(losses)


def breast_cancer():
    """Gaussian kernel on 30 standardised features, benign or malignant."""
    data = load_breast_cancer()
    x = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    return np.exp(-((x[:, None] - x) ** 2).sum(axis=2) / 60), 2.0 * data.target - 1


def digits():
    """Kernel of an infinitely wide layer of ReLU (Cho & Saul 2009) on 64 pixels, even or odd."""
    data = load_digits()
    x = (data.data - data.data.mean(axis=0)) / data.data.std()
    norm = np.linalg.norm(x, axis=1)
    cosine = np.clip(x @ x.T / np.outer(norm, norm), -1, 1)
    angle = np.arccos(cosine)
    kernel = np.outer(norm, norm) * (np.sin(angle) + (np.pi - angle) * cosine) / (64 * np.pi)
    return kernel, np.where(data.target % 2 == 0, 1.0, -1.0)


def photographs(width, rng):
    """Random ReLU features of the 80 neighbours of every ninth pixel of two photographs, and that pixel."""
    windows = [
        np.lib.stride_tricks.sliding_window_view(image.mean(axis=2), (9, 9))[::3, ::3].reshape(-1, 81)
        for image in load_sample_images().images
    ]
    patches = np.concatenate(windows)
    patches = (patches - patches.mean()) / patches.std()
    neighbours = np.delete(patches, 40, axis=1)
    features = np.maximum(neighbours @ rng.standard_normal((80, width)), 0) * math.sqrt(2 / (80 * width))
    return features, patches[:, 40]


def misses(runs, steps, spectrum, **settings):
    """Mean and largest relative error of the theory over the steps, of test and of train loss: (kind, 2)."""
    measured = np.mean(runs, axis=0)
    theory = [loss_curve(steps, spectrum, kind=kind, **settings) for kind in ("test", "train")]
    error = np.abs(theory / measured - 1)
    return np.stack([error.mean(axis=1), error.max(axis=1)], axis=1)


# Tolerances below are what was measured, rounded up: mean and largest relative error, of the test loss and of the train
# loss. The means of the draws have standard errors of 1 to 3 %. The largest errors are those of the last steps, where
# small train losses follow the samples that fit worst: real samples differ more from each other than Gaussian ones.
STEPS = np.unique(np.geomspace(1, 3000, 12).astype(int))


@pytest.mark.parametrize(
    "data, samples, batch, tolerance",
    [
        (breast_cancer, 100, math.inf, [(0.02, 0.04), (0.03, 0.09)]),
        (breast_cancer, 300, 8, [(0.01, 0.02), (0.01, 0.02)]),
        (digits, 100, math.inf, [(0.01, 0.03), (0.05, 0.26)]),
        (digits, 300, 16, [(0.01, 0.03), (0.01, 0.01)]),
    ],
    ids=["breast cancer", "breast cancer, minibatches", "digits", "digits, minibatches"],
)
def test_kernel_regression_on_real_data_is_predicted(data, samples, batch, tolerance):
    kernel, labels = data()
    rng = np.random.default_rng(5)
    spectrum = spectrum_from_kernel(kernel, labels)
    rate = 0.05 / spectrum.eigenvalues.max()
    runs = [descend(*subset(kernel, labels, samples, rng), STEPS, rate, batch, rng) for _ in range(12)]
    missed = misses(runs, STEPS, spectrum, learning_rate=rate, batch_size=batch, samples=samples)
    assert np.all(missed < tolerance)


def test_random_features_are_predicted_by_the_kernel_of_infinite_width():
    data = load_digits()
    inputs = (data.data - data.data.mean(axis=0)) / data.data.std()
    kernel, labels = digits()
    spectrum = spectrum_from_kernel(kernel, labels)
    rate, rng = 0.05 / spectrum.eigenvalues.max(), np.random.default_rng(5)
    runs, narrow = [], None
    for _ in range(12):
        features = np.maximum(inputs @ rng.standard_normal((64, 150)), 0) * math.sqrt(2 / (64 * 150))
        runs.append(descend(*subset(features @ features.T, labels, 200, rng), STEPS, rate, math.inf, rng))
        narrow = narrow or spectrum_from_features(features, labels, width=150)
    settings = {"learning_rate": rate, "samples": 200, "width": 150}
    assert np.all(misses(runs, STEPS, spectrum, **settings) < [(0.02, 0.06), (0.01, 0.05)])
    # One narrow network shows the spectrum as well, where its width is taken off.
    assert np.all(misses(runs, STEPS, narrow, **settings) < [(0.03, 0.05), (0.05, 0.14)])


def test_random_features_of_photographs_are_predicted():
    rng = np.random.default_rng(5)
    features, labels = photographs(200, rng)
    spectrum = spectrum_from_features(features, labels)
    rate = 0.05 / spectrum.eigenvalues.max()
    runs = []
    for _ in range(12):
        some = rng.permutation(labels.size)[:6000]
        runs.append(descend(features[some] @ features[some[:1000]].T, labels[some], STEPS, rate, 16, rng))
    missed = misses(runs, STEPS, spectrum, learning_rate=rate, batch_size=16, samples=1000)
    assert np.all(missed < [(0.01, 0.03), (0.03, 0.07)])


@pytest.mark.parametrize(
    "estimate, matrix, labels, width, text",
    [
        (spectrum_from_kernel, np.eye(3), np.ones(2), 5, "one label a sample"),
        (spectrum_from_kernel, np.eye(3)[:2], np.ones(2), 5, "one row and one column"),
        (spectrum_from_kernel, [[1.0, 0.5], [0.1, 1.0]], np.ones(2), 5, "not symmetric"),
        (spectrum_from_kernel, [[0.0, 1.0], [1.0, 0.0]], np.ones(2), 5, "none below 0"),
        (spectrum_from_kernel, np.eye(2), [1.0, math.nan], 0.5, "2 problems"),
        (spectrum_from_kernel, np.eye(2), 1.0, 5, "one label a sample"),
        (spectrum_from_features, np.ones(3), np.ones(3), 5, "one row a sample"),
        (spectrum_from_features, np.zeros((3, 2)), np.zeros(3), 5, "2 problems"),
        (spectrum_from_features, np.ones((3, 2)), np.ones(3), math.nan, "width is nan"),
    ],
)
def test_estimates_refuse(estimate, matrix, labels, width, text):
    with pytest.raises(ParameterError, match=text):
        estimate(matrix, labels, width=width)
