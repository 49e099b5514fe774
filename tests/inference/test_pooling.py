"""Pooled exponents beside what they were drawn from, and beside a likelihood maximised by hand."""

import numpy as np
import pytest

from scalingeq import FitError
from scalingeq.inference.pooling import pool_exponents

MEAN = np.log([1.6, 0.25])
SPREAD = np.array([[0.04, -0.015], [-0.015, 0.03]])


def drawn(tasks, seed=0):
    """True and fitted exponents of tasks, with errors of very different sizes and their covariances."""
    rng = np.random.default_rng(seed)
    true = rng.multivariate_normal(MEAN, SPREAD, tasks)
    root = rng.standard_normal((tasks, 2, 2)) * rng.uniform(0.05, 0.3, (tasks, 1, 1))
    errors = root @ root.transpose(0, 2, 1) + 1e-4 * np.eye(2)
    log_values = true + np.array([rng.multivariate_normal(np.zeros(2), error) for error in errors])
    values = np.exp(log_values)
    return true, values, errors * (values[:, :, None] * values[:, None, :])


def test_mean_and_spread_of_the_tasks_are_found():
    _, values, covariance = drawn(1000)
    found = pool_exponents(values, covariance)
    error = np.sqrt(np.diag(found.mean_covariance)) / found.mean
    assert np.all(np.abs(np.log(found.mean) - MEAN) < 4 * error)
    assert np.all(error < 0.02)
    # A sample covariance of 1000 has an error of √2/√1000 = 4.5 %; measured ones have more: 4 of twice that.
    np.testing.assert_allclose(np.diag(found.spread), np.diag(SPREAD), rtol=0.36)
    np.testing.assert_allclose(found.spread[0, 1], SPREAD[0, 1], rtol=0.5)


def test_pooled_values_are_nearer_to_the_truth_and_say_how_near():
    true, values, covariance = drawn(1000, seed=1)
    found = pool_exponents(values, covariance)
    apart = np.log(found.values) - true
    assert np.mean(apart**2) < 0.75 * np.mean((np.log(values) - true) ** 2)
    log_error = found.covariance / (found.values[:, :, None] * found.values[:, None, :])
    distance = np.einsum("ti,tij,tj->t", apart, np.linalg.inv(log_error), apart)
    # Chi-squared with 2 degrees of freedom: mean 2 and variance 4.
    assert abs(distance.mean() - 2) < 4 * np.sqrt(4 / 1000)


def test_one_parameter_agrees_with_the_restricted_likelihood():
    from scipy.optimize import minimize_scalar

    _, values, covariance = drawn(40, seed=2)
    values, covariance = values[:, :1], covariance[:, :1, :1]
    x, error = np.log(values[:, 0]), covariance[:, 0, 0] / values[:, 0] ** 2

    def cost(log_spread):
        weight = 1 / (np.exp(log_spread) + error)
        mean = np.sum(weight * x) / np.sum(weight)
        return np.sum(weight * (x - mean) ** 2) - np.sum(np.log(weight)) + np.log(np.sum(weight))

    best = np.exp(minimize_scalar(cost, bounds=(-12, 2), method="bounded", options={"xatol": 1e-8}).x)
    found = pool_exponents(values, covariance)
    assert found.spread[0, 0] == pytest.approx(best, rel=1e-3)
    weight = 1 / (best + error)
    mean = np.sum(weight * x) / np.sum(weight)
    assert np.log(found.mean[0]) == pytest.approx(mean, abs=1e-5)
    np.testing.assert_allclose(np.log(found.values[:, 0]), mean + best * weight * (x - mean), atol=1e-4)


def test_what_cannot_be_pooled_is_refused():
    values, covariance = np.ones((3, 2)), np.tile(np.eye(2), (3, 1, 1))
    with pytest.raises(FitError, match="three tasks"):
        pool_exponents(values[:2], covariance[:2])
    with pytest.raises(FitError, match="not positive definite"):
        pool_exponents(values, covariance * [1, 0])
    with pytest.raises(FitError, match="not positive and"):
        pool_exponents(-values, covariance)
    with pytest.raises(FitError, match="covariance: shape"):
        pool_exponents(values, covariance[:, :1])
