"""The compute-optimal frontier: the size, duration and data that give the lowest predicted loss for a given compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..errors import ConvergenceError, ParameterError
from . import twopoint
from .curves import Floats
from .twopoint import Settings
from .uncertainty import propagate

FlopsRule = Callable[[Floats, Floats], Floats]

FLOPS_RULES: dict[str, FlopsRule] = {"6ND": lambda params, tokens: np.asarray(6.0 * params * tokens)}
"""Training compute of a model: 6 FLOPs for each parameter and token (Kaplan et al., arXiv:2001.08361)."""

SCAN_STEP = 0.35  # in log size, of the scan whose lowest point starts Newton's method
STENCIL = 0.02  # in log size and log compute, of the derivatives at the optimum
NEWTON_STEPS, NEWTON_REACH, NEWTON_TOLERANCE = 30, 0.7, 1e-5
BAND_STEP = 1e-2  # relative, of the difference quotients in a parameter


@dataclass(frozen=True)
class Frontier:
    """Optimum at each compute, arrays (compute,).

    ``size_exponent``, ``data_exponent`` and ``loss_exponent`` are the local slopes d ln(params, tokens, loss) /
    d ln(compute) along the frontier.
    """

    loss: Floats
    params: Floats
    tokens: Floats
    size_exponent: Floats
    data_exponent: Floats
    loss_exponent: Floats


def tokens_for(compute: Floats, params: Floats, flops: FlopsRule) -> Floats:
    """Tokens that ``compute`` pays for at each size, by solving flops(params, tokens) = compute in log tokens.

    Raises
    ------
    ParameterError
        If the rule does not grow with tokens, or the solution is not found.

    Examples
    --------
    >>> tokens_for(np.array(6e6), np.array(1e3), FLOPS_RULES["6ND"]).round(6).item()
    1000.0
    """
    log_tokens = np.log(compute / (6.0 * params))
    for _ in range(60):
        value = flops(params, np.exp(log_tokens))
        slope = np.log(flops(params, np.exp(log_tokens + 1e-4)) / value) / 1e-4
        if not np.all(np.isfinite(slope) & (slope > 0)):
            raise ParameterError(
                "flops: the rule does not grow with tokens; pass a function of (params, tokens) that does"
            )
        change = np.log(compute / value) / slope
        log_tokens = log_tokens + np.clip(change, -5.0, 5.0)
        if np.all(np.abs(change) < 1e-12):
            return np.asarray(np.exp(log_tokens))
    raise ParameterError(
        "flops: no number of tokens gives the compute asked for; pass a smooth rule of (params, tokens)"
    )


def frontier(
    parameters: Mapping[str, float],
    compute: Floats,
    *,
    reference_params: float,
    learning_rate: float,
    batch_size: float,
    dataset_size: float = np.inf,
    test_eigenvalues: Floats | None = None,
    flops: FlopsRule = FLOPS_RULES["6ND"],
    start: Floats | None = None,
) -> Frontier:
    """Minimise the predicted loss over model size at each compute.

    Parameters
    ----------
    parameters : mapping
        All parameters of the two-point law.
    compute : ndarray, shape (compute,)
        FLOPs.
    reference_params : float
        Size that the amplitudes refer to.
    learning_rate, batch_size, dataset_size : float
        Of the runs planned, constant; ``dataset_size`` limits the unique tokens.
    test_eigenvalues : ndarray, shape (mode,), optional
        Measured variance of the test inputs along the modes.
    flops : callable
        Compute of (params, tokens).
    start : ndarray, shape (compute,), optional
        Sizes near the optimum; the default scans all sizes.

    Returns
    -------
    Frontier

    Raises
    ------
    ConvergenceError
        If the loss has no minimum inside the sizes searched: then it says at which compute and on which side.

    Examples
    --------
    >>> law = twopoint.complete(dict(alpha=1.5, r=0.3, width_scale=100.0, width_exponent=1.0))
    >>> best = frontier(law, np.array([1e12, 1e13]), reference_params=1e4, learning_rate=0.1, batch_size=100.0)
    >>> bool(best.params[1] > best.params[0]), bool(best.loss[1] < best.loss[0])
    (True, True)
    """
    if not np.isfinite(parameters["width_scale"]) and parameters["unlearnable"] == 0:
        raise ParameterError(
            "width_scale, unlearnable: model size has no effect on this law, so no size is optimal; "
            "fit runs of three or more sizes"
        )

    def loss_at(params: Floats, steps: Floats) -> Floats:
        """Loss (run, T)."""
        constant = np.ones_like(params)
        settings = Settings(
            steps, params, learning_rate * constant, batch_size * constant, dataset_size * constant,
            test_eigenvalues=test_eigenvalues,
        )  # fmt: skip
        return twopoint.predict(parameters, settings, reference_params)

    return optimal_sizes(loss_at, compute, batch_size=batch_size, flops=flops, start=start)


def optimal_sizes(
    loss_at: Callable[[Floats, Floats], Floats],
    compute: Floats,
    *,
    batch_size: float,
    flops: FlopsRule = FLOPS_RULES["6ND"],
    start: Floats | None = None,
) -> Frontier:
    """Minimise any loss over model size at each compute: the frontier that all laws share.

    Parameters
    ----------
    loss_at : callable
        Loss (run, T) of sizes (run,) at steps (run, T).
    compute : ndarray, shape (compute,)
        FLOPs.
    batch_size : float
        Tokens a step.
    flops : callable
        Compute of (params, tokens).
    start : ndarray, shape (compute,), optional
        Sizes near the optimum; the default scans all sizes.

    Raises
    ------
    ConvergenceError
        As :func:`frontier`.

    Examples
    --------
    >>> best = optimal_sizes(lambda params, steps: params[:, None]**-0.5 + steps**-0.5, np.array([6e12]), batch_size=1.0)
    >>> best.params.round(2).item(), best.size_exponent.round(3).item()
    (1000000.0, 0.5)
    """

    def log_loss(shifts: Floats) -> Floats:
        """Log loss (shift, compute) at shifts (shift, 2) of log size and log compute from the current point."""
        params = np.exp(log_params + shifts[:, :1])
        steps = tokens_for(np.exp(log_compute + shifts[:, 1:]), params, flops) / batch_size
        return np.asarray(np.log(loss_at(params.ravel(), steps.reshape(-1, 1)).reshape(params.shape)))

    log_compute = np.log(compute)
    log_params = np.log(start) if start is not None else _scan(loss_at, compute, batch_size, flops)
    for _ in range(NEWTON_STEPS):
        below, here, above = log_loss(STENCIL * np.array([[-1, 0], [0, 0], [1, 0]]))
        slope, curvature = (above - below) / (2 * STENCIL), (above - 2 * here + below) / STENCIL**2
        # Where the loss curves the other way, go downhill; near the optimum this is Newton's method.
        step = np.where(curvature > 0, -slope / np.where(curvature > 0, curvature, 1.0), -np.sign(slope) * NEWTON_REACH)
        step = np.clip(step, -NEWTON_REACH, NEWTON_REACH)
        log_params = log_params + step
        if np.abs(step).max() < NEWTON_TOLERANCE:
            break
    else:
        where = float(compute[np.abs(step).argmax()])
        raise ConvergenceError(
            f"compute: no optimal size was found at {where:.3g} FLOPs; pass a compute nearer to the runs'"
        )
    tokens = tokens_for(compute, np.exp(log_params), flops)
    # Along the optimum d ln L / d ln C is the partial derivative (envelope theorem); the size moves so that the
    # slope in size stays zero.
    stencil = log_loss(STENCIL * np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)])).reshape(3, 3, -1)
    loss_exponent = (stencil[1, 2] - stencil[1, 0]) / (2 * STENCIL)
    mixed = (stencil[2, 2] - stencil[2, 0] - stencil[0, 2] + stencil[0, 0]) / 4
    size_exponent = -mixed / (stencil[2, 1] - 2 * stencil[1, 1] + stencil[0, 1])
    ahead = tokens_for(np.exp(log_compute + STENCIL), np.exp(log_params + size_exponent * STENCIL), flops)
    return Frontier(
        loss=np.exp(stencil[1, 1]),
        params=np.exp(log_params),
        tokens=tokens,
        size_exponent=size_exponent,
        data_exponent=np.log(ahead / tokens) / STENCIL,
        loss_exponent=loss_exponent,
    )


def _scan(loss_at: Callable[[Floats, Floats], Floats], compute: Floats, batch_size: float, flops: FlopsRule) -> Floats:
    """Log size near the optimum at each compute: lowest of a scan from one parameter to a model of a single step."""
    largest = np.log(np.array([_size_for_one_step(c, batch_size, flops) for c in compute]))
    sizes = np.exp(np.arange(0.0, largest.max() + SCAN_STEP, SCAN_STEP))
    # All sizes share the times, so that one renormalised frequency serves every compute.
    steps = tokens_for(compute, sizes[:, None], flops) / batch_size
    losses = np.where(steps >= 1, loss_at(sizes, steps), np.inf)
    lowest = losses.argmin(axis=0)
    last = np.sum(steps >= 1, axis=0) - 1
    for side, bad in (("smallest", lowest == 0), ("largest", lowest >= last)):
        if bad.any():
            raise ConvergenceError(
                f"compute: at {compute[bad][0]:.3g} FLOPs the predicted loss is lowest at the {side} size searched, "
                f"{sizes[lowest[bad][0]]:.3g} parameters: this law has no optimal size there; pass a compute nearer to the runs'"
            )
    return np.asarray(np.log(sizes[lowest]))


def frontier_band(
    values: Mapping[str, float], covariance: Floats | None, compute: Floats, **plan: Any
) -> tuple[Frontier, Frontier]:
    """Frontier at the best fit, and standard errors from the fit's covariance, to first order.

    First order is what the covariance stands for: along directions that the runs do not determine, a common rescaling
    of ``scale``, ``time_scale`` and ``width_scale`` above all, the frontier does not change and no error arises.

    Parameters
    ----------
    values : mapping
        All parameters of the two-point law at the best fit.
    covariance : ndarray, shape (parameter, parameter), or None
        In the order of ``values``; without it the errors are zero.
    compute : ndarray, shape (compute,)
        FLOPs.
    **plan
        Keywords of :func:`frontier`.

    Returns
    -------
    best, stderr : Frontier
        The errors of ``loss``, ``params`` and ``tokens`` are those of their logarithms.

    Examples
    --------
    >>> law = twopoint.complete(dict(alpha=1.5, r=0.3, width_scale=100.0, width_exponent=1.0))
    >>> best, stderr = frontier_band(law, None, np.array([1e12]), reference_params=1e4, learning_rate=0.1,
    ...     batch_size=100.0)
    >>> stderr.loss.tolist()
    [0.0]
    """

    def find(parameters: Mapping[str, float], start: Floats | None) -> Frontier:
        return frontier(parameters, compute, start=start, **plan)

    return propagated(find, values, covariance)


def propagated(
    find: Callable[[Mapping[str, float], Floats | None], Frontier],
    values: Mapping[str, float],
    covariance: Floats | None,
) -> tuple[Frontier, Frontier]:
    """Frontier that ``find(values, start)`` gives, and its standard errors: what :func:`frontier_band` does, for any law.

    Examples
    --------
    >>> def find(values, start):
    ...     losses = np.array([values["E"]])
    ...     return Frontier(losses, *(np.ones(1) for _ in range(5)))
    >>> propagated(find, {"E": 2.0}, np.array([[0.01]]))[1].loss.round(4).tolist()
    [0.05]
    """
    best = find(values, None)
    names = list(values)
    derivative = np.zeros((len(fields(Frontier)), best.loss.size, len(names)))
    for number, name in enumerate(names):
        if covariance is not None and covariance[number, number] > 0:
            step = BAND_STEP * max(abs(values[name]), 1e-3)
            sides = [
                _with_logarithms(find({**values, name: values[name] + sign * step}, best.params)) for sign in (1, -1)
            ]
            derivative[:, :, number] = (sides[0] - sides[1]) / (2 * step)
    matrix = np.zeros((len(names), len(names))) if covariance is None else covariance
    return best, Frontier(*propagate(derivative, matrix))


def _with_logarithms(found: Frontier) -> Floats:
    """Stack (quantity, compute) of log loss, params and tokens, and the exponents."""
    logarithms = (np.log(values) for values in (found.loss, found.params, found.tokens))
    return np.array([*logarithms, found.size_exponent, found.data_exponent, found.loss_exponent])


def _size_for_one_step(compute: float, batch_size: float, flops: FlopsRule) -> float:
    """Largest model that ``compute`` trains for one step."""
    from scipy.optimize import brentq

    def excess(log_params: float) -> float:
        return float(np.log(flops(np.asarray(np.exp(log_params)), np.asarray(batch_size)) / compute))

    if excess(0.0) >= 0:
        raise ParameterError(
            f"compute: {compute:.3g} FLOPs do not pay for one step of a model of one parameter; pass more"
        )
    return float(np.exp(brentq(excess, 0.0, 200.0)))
