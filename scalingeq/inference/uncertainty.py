"""What a fit's covariance says of anything computed from its parameters: bands and identified combinations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import twopoint
from .algorithms import PLAIN, Algorithm, algorithm_loss
from .curves import Floats, TrainingCurves
from .loss_rates import rates_over_own_loss
from .slopes import log_loss_jacobian

COMBINATIONS = {
    "2 r": ("r",),
    "2 alpha r": ("alpha", "r"),
    "2 alpha r width_exponent": ("alpha", "r", "width_exponent"),
}
"""Combinations that curves determine better than the parameters themselves: twice the product of these parameters."""


def identified_combinations(values: Mapping[str, float], covariance: Floats) -> dict[str, tuple[float, float]]:
    """Value and standard error of the combinations that curves determine better than the parameters themselves.

    The time exponent 2r, the width-limited exponent 2αr, and 2αr · width_exponent, by linear propagation.

    Examples
    --------
    >>> names = list(twopoint.PARAMETERS)
    >>> values = dict.fromkeys(names, 1.0) | {"r": 0.25, "alpha": 2.0}
    >>> identified_combinations(values, np.zeros((len(names), len(names))))["2 alpha r"]
    (1.0, 0.0)
    """
    moved = {name: combination(name, list(values), values) for name in COMBINATIONS}
    return {name: (value, float(propagate(gradient, covariance))) for name, (value, gradient) in moved.items()}


def combination(quantity: str, names: Sequence[str], values: Mapping[str, float]) -> tuple[float, Floats]:
    """Value of a combination or of a single parameter, and its derivatives with respect to the parameters ``names``.

    Examples
    --------
    >>> value, gradient = combination("2 alpha r", ["alpha", "r"], {"alpha": 2.0, "r": 0.25})
    >>> value, gradient.tolist()
    (1.0, [0.5, 4.0])
    """
    factors = COMBINATIONS.get(quantity, (quantity,))
    slopes = {name: value_of_combination(quantity, {**values, name: 1.0}) for name in factors}  # linear in each
    return float(value_of_combination(quantity, values)), np.array([slopes.get(name, 0.0) for name in names])


def value_of_combination(quantity: str, values: Mapping[str, Any]) -> Any:
    """Value of a combination or of a single parameter, of numbers or of arrays of any kind.

    Examples
    --------
    >>> value_of_combination("2 r", {"r": np.array([0.25, 0.5])}).tolist()
    [0.5, 1.0]
    """
    if quantity not in COMBINATIONS:
        return values[quantity]
    return 2.0 * math.prod(values[name] for name in COMBINATIONS[quantity])


def propagate(derivative: Floats, covariance: Floats) -> Floats:
    """Standard error of quantities with derivatives (..., parameter), to first order.

    Examples
    --------
    >>> propagate(np.array([[1.0, 1.0]]), np.eye(2)).round(3).tolist()
    [1.414]
    """
    return np.asarray(np.sqrt(np.maximum(np.einsum("...i,ij,...j->...", derivative, covariance, derivative), 0.0)))


def predicted_band(
    values: Mapping[str, float],
    covariance: Floats | None,
    curves: TrainingCurves,
    reference_params: float,
    algorithm: Algorithm = PLAIN,
) -> tuple[Floats, Floats | None]:
    """Loss (obs,) that the law predicts for each observation, and its standard error where there is a covariance.

    Where the loss divides the rates (``loss_exponent``), errors are those at the rates of the prediction.

    Examples
    --------
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(np.zeros(2, int), np.array([10.0, 100.0]), np.ones(2), np.ones(2), np.ones(2),
    ...     np.array(["a"]), 1e4 * one, 0.1 * one, 8 * one, np.inf * one, 0 * one)
    >>> loss, stderr = predicted_band(twopoint.complete(dict(alpha=1.5, r=0.4)), None, curves, 1e4)
    >>> loss.shape, stderr
    ((2,), None)
    """
    if twopoint.value_of(values, "loss_exponent"):
        curves = rates_over_own_loss(values, curves, reference_params)
    if not algorithm.is_plain:
        return _algorithm_band(values, covariance, curves, reference_params, algorithm)
    settings, index = twopoint.settings_of(curves)
    loss = twopoint.predict(values, settings, reference_params)[index]
    if covariance is None:
        return loss, None
    uncertain = [name for name, variance in zip(values, np.diag(covariance), strict=True) if variance > 0]
    derivative = log_loss_jacobian(values, settings, reference_params, uncertain)[1][index]
    return loss, loss * propagate(derivative, covariance)


def _algorithm_band(
    values: Mapping[str, float],
    covariance: Floats | None,
    curves: TrainingCurves,
    reference_params: float,
    algorithm: Algorithm,
) -> tuple[Floats, Floats | None]:
    """As :func:`predicted_band`, by difference quotients of the whole loss."""
    loss = algorithm_loss(values, curves, reference_params, algorithm)
    if covariance is None:
        return loss, None
    derivative = np.zeros((loss.size, len(values)))
    for number, name in enumerate(values):
        if covariance[number, number] > 0 and np.isfinite(values[name]):
            step = twopoint.difference(values, name)
            moved = algorithm_loss({**values, name: values[name] + step}, curves, reference_params, algorithm)
            derivative[:, number] = (moved - loss) / step
    return loss, propagate(derivative, covariance)
