"""Exponents of several tasks, pooled: each is drawn towards their common mean as far as its own data leave it open."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import FitError, raise_problems
from .curves import Floats

CHANGE, STEPS = 1e-8, 10_000
"""Relative change of the spread between tasks at which its estimate ends, and the largest number of steps."""


class Pooled(NamedTuple):
    """Estimates of several tasks after pooling.

    Attributes
    ----------
    values : ndarray, shape (task, parameter)
        Shrunk estimates.
    covariance : ndarray, shape (task, parameter, parameter)
        Of these, with the error of the common mean.
    mean : ndarray, shape (parameter,)
        Common (geometric) mean.
    mean_covariance : ndarray, shape (parameter, parameter)
        Of the mean.
    spread : ndarray, shape (parameter, parameter)
        Covariance of the logarithms of the true values between tasks.
    """

    values: Floats
    covariance: Floats
    mean: Floats
    mean_covariance: Floats
    spread: Floats


def pool_exponents(values: Floats, covariance: Floats) -> Pooled:
    """Shrink exponents that were fitted task by task towards a common mean (empirical Bayes).

    Parameters
    ----------
    values : ndarray, shape (task, parameter)
        Fitted positive parameters that tasks may share, such as alpha and r.
    covariance : ndarray, shape (task, parameter, parameter)
        Their covariances in each fit.

    Returns
    -------
    Pooled

    Raises
    ------
    FitError
        If there are fewer than three tasks, a value is not positive, or a covariance is not positive definite, as that of
        a parameter that was held is not.

    Notes
    -----
    True logarithms are normal around a common mean with a common covariance, the spread, and each estimate is normal
    around its own. The spread is that of the greatest restricted likelihood, found by expectation and maximisation
    (Dempster, Laird and Rubin 1977); given it, estimates and mean are the best linear unbiased ones. Errors go to and
    from logarithms to first order, and that of the spread itself, large with few tasks, is not in the covariances.

    Examples
    --------
    >>> apart = pool_exponents(np.array([[1.0], [2.0], [4.0]]), np.full((3, 1, 1), 1e-6))
    >>> alike = pool_exponents(np.array([[1.0], [1.1], [1.2]]), np.full((3, 1, 1), 1.0))
    >>> apart.values.ravel().round(2).tolist(), bool(np.ptp(alike.values) < 0.02)
    ([1.0, 2.0, 4.0], True)
    """
    values, covariance = np.asarray(values, float), np.asarray(covariance, float)
    problems = []
    if values.ndim != 2 or len(values) < 3:
        problems.append(f"values: shape {values.shape}; pass (task, parameter) of three tasks or more")
    elif covariance.shape != (*values.shape, values.shape[1]):
        problems.append(f"covariance: shape {covariance.shape}; pass {(*values.shape, values.shape[1])}")
    elif not np.all(np.linalg.eigvalsh(covariance)[:, 0] > 0):
        problems.append("covariance: not positive definite; leave out parameters that were held or are at a bound")
    if not np.all(values > 0):
        problems.append("values: some are not positive and have no logarithm; pass exponents and scales above zero")
    raise_problems(problems, FitError)

    log_values = np.log(values)
    errors = covariance / (values[:, :, None] * values[:, None, :])
    spread = np.atleast_2d(np.cov(log_values, rowvar=False)) + np.mean(errors, axis=0)
    for _ in range(STEPS):
        log_mean, mean_error, shrunk, remaining = _given(spread, log_values, errors)
        apart = shrunk - log_mean
        # What of each task's distance from the mean is still open: that of the restricted likelihood.
        before, spread = spread, (apart.T @ apart + _open(spread, errors, mean_error).sum(axis=0)) / len(values)
        if np.abs(spread - before).max() <= CHANGE * np.abs(spread).max():
            break
    log_mean, mean_error, shrunk, remaining = _given(spread, log_values, errors)
    mean, found = np.exp(log_mean), np.exp(shrunk)
    return Pooled(
        found, remaining * (found[:, :, None] * found[:, None, :]), mean, mean_error * np.outer(mean, mean), spread
    )


def _given(spread: Floats, log_values: Floats, errors: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Common mean and its covariance, estimates and theirs, for a known spread."""
    weight = np.linalg.inv(spread + errors)
    mean_error = np.linalg.inv(weight.sum(axis=0))
    mean = mean_error @ np.einsum("tij,tj->i", weight, log_values)
    kept = spread @ weight
    shrunk = mean + np.einsum("tij,tj->ti", kept, log_values - mean)
    rest = np.eye(len(mean)) - kept
    remaining = spread - kept @ spread + rest @ mean_error @ rest.transpose(0, 2, 1)
    return mean, mean_error, shrunk, remaining


def _open(spread: Floats, errors: Floats, mean_error: Floats) -> Floats:
    """Covariance (task, parameter, parameter) of each task's distance from the mean, given the data."""
    kept = spread @ np.linalg.inv(spread + errors)
    return np.asarray(spread - kept @ spread + kept @ mean_error @ kept.transpose(0, 2, 1))
