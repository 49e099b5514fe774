"""What a fit's covariance says of anything computed from its parameters: bands and identified combinations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from . import twopoint
from .algorithms import PLAIN, Algorithm, algorithm_loss
from .curves import Floats, TrainingCurves


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
    alpha, r, exponent = (values[name] for name in ("alpha", "r", "width_exponent"))
    gradients: dict[str, tuple[float, Sequence[float]]] = {
        "2 r": (2 * r, (0.0, 2.0, 0.0)),
        "2 alpha r": (2 * alpha * r, (2 * r, 2 * alpha, 0.0)),
        "2 alpha r width_exponent": (2 * alpha * r * exponent, (2 * r * exponent, 2 * alpha * exponent, 2 * alpha * r)),
    }
    names = list(values)
    position = [names.index(name) for name in ("alpha", "r", "width_exponent")]
    block = covariance[np.ix_(position, position)]
    return {
        name: (float(value), float(np.sqrt(max(np.array(gradient) @ block @ np.array(gradient), 0.0))))
        for name, (value, gradient) in gradients.items()
    }


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

    Examples
    --------
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(np.zeros(2, int), np.array([10.0, 100.0]), np.ones(2), np.ones(2), np.ones(2),
    ...     np.array(["a"]), 1e4 * one, 0.1 * one, 8 * one, np.inf * one, 0 * one)
    >>> loss, stderr = predicted_band(twopoint.complete(dict(alpha=1.5, r=0.4)), None, curves, 1e4)
    >>> loss.shape, stderr
    ((2,), None)
    """
    if not algorithm.is_plain:
        return _algorithm_band(values, covariance, curves, reference_params, algorithm)
    settings, index = twopoint.settings_of(curves)
    loss = twopoint.predict(values, settings, reference_params)[index]
    if covariance is None:
        return loss, None
    uncertain = [name for name, variance in zip(values, np.diag(covariance), strict=True) if variance > 0]
    derivative = twopoint.log_loss_jacobian(values, settings, reference_params, uncertain)[index]
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
