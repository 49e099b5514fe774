"""The stability threshold against exact recursions and random matrices, on either side."""

import math

import numpy as np
import pytest

from scalingeq.errors import InstabilityError, ParameterError
from scalingeq.theory import PowerLaw, Spectrum, largest_eigenvalue, largest_learning_rate, loss_curve
from scalingeq.theory.stability import check_learning_rates


def growth(eigenvalue, rate, batch):
    """Largest growth factor, a step, of the mean squared errors of discrete SGD."""
    matrix = np.diag((1 - rate * eigenvalue) ** 2 + (rate * eigenvalue) ** 2 / batch)
    matrix += rate**2 / batch * np.outer(eigenvalue, eigenvalue)
    return np.abs(np.linalg.eigvals(matrix)).max()


@pytest.mark.parametrize("alpha", [0.6, 1.5, 3.0])
@pytest.mark.parametrize("batch", [1, 8, 64, 1e6])
def test_one_pass_threshold_against_the_exact_recursion(alpha, batch):
    eigenvalue = np.arange(1.0, 201) ** -alpha
    threshold = largest_learning_rate(PowerLaw(alpha, 0.4, 200), batch_size=batch)
    assert growth(eigenvalue, 0.999 * threshold, batch) < 1
    assert growth(eigenvalue, 1.001 * threshold, batch) > 1


@pytest.mark.parametrize("width, samples", [(100, math.inf), (math.inf, 100), (150, 300), (300, 150), (200, 200)])
def test_largest_eigenvalue_of_random_matrices(width, samples):
    rng, dim = np.random.default_rng(0), 400
    # White inputs have a sharp edge, which the largest eigenvalue of a draw meets; the eigenvalue of a single mode
    # fluctuates by about sqrt(2/width + 2/samples), and the edge lies at the upper end of that.
    spread = 2.5 * np.sqrt(1 / width + 1 / samples)
    for root, above in ((np.ones(dim), 0.04), (np.arange(1.0, dim + 1) ** -0.3, spread)):
        largest = []
        for _ in range(8):
            data = rng.standard_normal((samples, dim)) * root / np.sqrt(samples) if samples < 1e9 else np.diag(root)
            if width < 1e9:
                data = data @ rng.standard_normal((dim, width)) / np.sqrt(width)
            largest.append(np.linalg.norm(data, 2) ** 2)
        theory = largest_eigenvalue(Spectrum(root**2, np.ones(dim)), width=width, samples=samples)
        assert -0.04 < theory / np.mean(largest) - 1 < above


def test_threshold_at_finite_width_is_the_sum_over_random_eigenvalues():
    rng, dim, width, batch = np.random.default_rng(2), 300, 150, 4
    spectrum = PowerLaw(1.5, 0.4, dim)
    rate = largest_learning_rate(spectrum, batch_size=batch, width=width)
    sums = []
    for _ in range(40):
        features = np.arange(1.0, dim + 1)[:, None] ** -0.75 * rng.standard_normal((dim, width)) / np.sqrt(width)
        x = np.linalg.eigvalsh(features.T @ features)
        sums.append(rate / batch * (x / (2 - rate * x * (1 + 1 / batch))).sum())
    assert abs(np.mean(sums) - 1) < 4 * np.std(sums) / np.sqrt(40) + 0.03


def test_known_thresholds():
    spectrum = PowerLaw(1.5, 0.4)
    np.testing.assert_allclose(largest_learning_rate(spectrum), 2, rtol=1e-12)
    np.testing.assert_allclose(largest_eigenvalue(spectrum), 1, rtol=1e-12)
    # Marchenko and Pastur: the edge (1 + sqrt(D/P))^2 of white inputs.
    white = Spectrum(np.ones(50), np.ones(50))
    np.testing.assert_allclose(largest_eigenvalue(white, samples=200), 2.25, rtol=1e-12)
    # One mode: the descent contracts while rate (1 + 2/batch) < 2.
    np.testing.assert_allclose(largest_learning_rate(Spectrum([1.0], [1.0]), batch_size=2), 1, rtol=1e-10)


@pytest.mark.parametrize("sizes", [{}, {"width": 100}, {"samples": 100}, {"width": 100, "samples": 200}])
@pytest.mark.parametrize("batch", [1, 16, math.inf])
def test_loss_curve_stops_at_the_threshold(sizes, batch):
    spectrum = PowerLaw(1.5, 0.4)
    threshold = largest_learning_rate(spectrum, batch_size=batch, **sizes)
    assert np.all(np.isfinite(loss_curve([1, 10], spectrum, learning_rate=0.99 * threshold, batch_size=batch, **sizes)))
    with pytest.raises(InstabilityError, match=f"1.1 times the exact threshold {threshold:.6g}"):
        loss_curve([1, 10], spectrum, learning_rate=1.1 * threshold, batch_size=batch, **sizes)


def test_sizes_are_checked():
    with pytest.raises(ParameterError, match="2 problems"):
        largest_learning_rate(PowerLaw(1.5, 0.4), batch_size=0, width=-1)


@pytest.mark.parametrize("batch_size", [1, 8, 100, 1e4])
@pytest.mark.parametrize("width, samples", [(100, np.inf), (50, 80), (np.inf, 30)])
def test_check_passes_below_the_threshold_alone(batch_size, width, samples):
    spectrum = PowerLaw(1.5, 0.4)
    threshold = largest_learning_rate(spectrum, batch_size=batch_size, width=width, samples=samples)
    # By another way, that of a ridge.
    ridge = largest_learning_rate(spectrum, batch_size=batch_size, width=width, samples=samples, ridge=1e-12)
    np.testing.assert_allclose(threshold, ridge, rtol=1e-9)
    for factor in (0.5, 0.97, 0.9999):
        arguments = np.array([factor * threshold]), np.array([batch_size]), spectrum
        check_learning_rates(*arguments, sizes=[(width, samples), (np.inf, np.inf)])
    with pytest.raises(InstabilityError):
        check_learning_rates(np.array([1.0001 * threshold]), np.array([batch_size]), spectrum, sizes=[(width, samples)])
