"""Weights and the robust penalty that every fit of a law shares."""

from __future__ import annotations

import numpy as np

from .curves import Floats, TrainingCurves

POINTS_PER_CURVE = 4.0
"""Independent points that one curve is worth: its residuals are correlated along the run."""

HUBER_THRESHOLD = 1.345
"""Residual, in standard deviations, beyond which the penalty is linear (95 % efficient for Gaussian errors)."""


def point_weights(curves: TrainingCurves) -> Floats:
    """Weight (obs,) of each residual: √(4/n) in a run of n points, 1 in runs of fewer than 4.

    Examples
    --------
    >>> one = np.ones(1)
    >>> nine = TrainingCurves(np.zeros(16, int), np.arange(16.0), np.arange(16.0), np.ones(16), np.ones(16),
    ...     np.array(["a"]), one, one, one, one, one)
    >>> float(point_weights(nine)[0])
    0.5
    """
    count = np.bincount(curves.run, minlength=curves.name.size)
    return np.sqrt(np.minimum(1.0, POINTS_PER_CURVE / np.maximum(count, 1)))[curves.run]


def weighted_spread(misfit: Floats, weight: Floats) -> float:
    """Root mean square of log residuals, weighted.

    Examples
    --------
    >>> weighted_spread(np.array([3.0, -3.0, 100.0]), np.array([1.0, 2.0, 0.0]))
    3.0
    """
    return float(np.sqrt(np.sum((weight * misfit) ** 2) / np.sum(weight**2)))


def huber_residual(residual: Floats) -> Floats:
    """Residual whose square is twice Huber's penalty, so that least squares minimises the penalty (Huber 1964).

    Examples
    --------
    >>> huber_residual(np.array([-1.0, 1.345])).tolist()
    [-1.0, 1.345]
    >>> float(huber_residual(np.array(10.0)).round(3))
    5.009
    """
    size = np.abs(residual)
    linear = np.sqrt(2 * HUBER_THRESHOLD * np.maximum(size, HUBER_THRESHOLD) - HUBER_THRESHOLD**2)
    return np.asarray(np.where(size <= HUBER_THRESHOLD, residual, np.sign(residual) * linear))


def huber_slope(residual: Floats) -> Floats:
    """Return the derivative of :func:`huber_residual`.

    Examples
    --------
    >>> huber_slope(np.array([0.5])).tolist()
    [1.0]
    """
    size = np.maximum(np.abs(residual), HUBER_THRESHOLD)
    linear = HUBER_THRESHOLD / np.sqrt(2 * HUBER_THRESHOLD * size - HUBER_THRESHOLD**2)
    return np.asarray(np.where(np.abs(residual) <= HUBER_THRESHOLD, 1.0, linear))
