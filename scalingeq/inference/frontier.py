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
LEAST_LOSS = 1e-6  # of the target power: below it the numerical error of the slopes, 2e-10 of that, would be felt
RULE_STEP = 1e-4  # likewise, of derivatives of the rule of compute
BAND_STEP = 1e-2  # relative, of the difference quotients in a parameter
BAND_NODES, NODE_STEP = (
    5,
    1.2,
)  # fewest computes, and their largest distance in log, between which errors are interpolated


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

    law = _Law(reference_params, learning_rate, batch_size, dataset_size, test_eigenvalues, flops)
    log_compute = np.log(compute)
    if start is None:
        start = _start(lambda params, tokens: law.loss(parameters, params, tokens), compute, batch_size, flops)
    log_params = np.log(start)
    for _ in range(NEWTON_STEPS):
        here, ahead = law.slope(parameters, log_params + STENCIL * np.array([[0.0], [1.0]]), log_compute)[1]
        curvature = (ahead - here) / STENCIL
        # Where the loss curves the other way, go downhill; near the optimum this is Newton's method.
        step = np.where(curvature > 0, -here / np.where(curvature > 0, curvature, 1.0), -np.sign(here) * NEWTON_REACH)
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
    log_loss, _, loss_exponent = law.slope(parameters, log_params, log_compute)
    if (low := np.exp(log_loss) < LEAST_LOSS * parameters["scale"]).any():
        raise ConvergenceError(
            f"compute: at {compute[low][0]:.3g} FLOPs the loss is too near to its numerical error to find the optimal size; "
            "pass a compute nearer to the runs'"
        )
    shifts = STENCIL * np.array([[-1.0], [1.0]])
    mixed = np.subtract(*law.slope(parameters, log_params, log_compute + shifts)[1]) / (-2 * STENCIL)
    size_exponent = -mixed / law.curvature(parameters, log_params, log_compute)
    ahead = tokens_for(np.exp(log_compute + STENCIL), np.exp(log_params + size_exponent * STENCIL), flops)
    return Frontier(
        loss=np.exp(log_loss),
        params=np.exp(log_params),
        tokens=tokens,
        size_exponent=size_exponent,
        data_exponent=np.log(ahead / tokens) / STENCIL,
        loss_exponent=loss_exponent,
    )


def _start(loss_at: Callable[[Floats, Floats], Floats], compute: Floats, batch_size: float, flops: FlopsRule) -> Floats:
    """Sizes near the optimum: those of a scan, at a few computes where sizes between them do not jump."""
    nodes = _nodes(np.log(compute), BAND_NODES)
    if nodes.size < compute.size:
        found = _scan(loss_at, np.exp(nodes), batch_size, flops)
        if np.all(np.abs(np.diff(found)) < 2 * np.diff(nodes)):  # else the loss has two minima
            return np.asarray(np.exp(np.interp(np.log(compute), nodes, found)))
    return np.asarray(np.exp(_scan(loss_at, compute, batch_size, flops)))


def _scan(loss_at: Callable[[Floats, Floats], Floats], compute: Floats, batch_size: float, flops: FlopsRule) -> Floats:
    """Log size near the optimum at each compute: lowest of a scan from one parameter to a model of a single step."""
    largest = np.log(np.array([_size_for_one_step(c, batch_size, flops) for c in compute]))
    sizes = np.exp(np.arange(0.0, largest.max() + SCAN_STEP, SCAN_STEP))
    # All sizes share the times, so that one renormalised frequency serves every compute.
    tokens = tokens_for(compute, sizes[:, None], flops)
    losses = np.where(tokens >= batch_size, loss_at(sizes, tokens), np.inf)
    lowest = losses.argmin(axis=0)
    last = np.sum(tokens >= batch_size, axis=0) - 1
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

    Notes
    -----
    At the optimum the loss has no slope in size, so that in a parameter d ln L is the partial derivative, and
    d ln params = -(mixed second derivative) / (second derivative in size). Errors are smooth in compute: they are found at
    half a dozen computes or more, and interpolated; the derivative along compute is that of the exponent.

    Examples
    --------
    >>> law = twopoint.complete(dict(alpha=1.5, r=0.3, width_scale=100.0, width_exponent=1.0))
    >>> best, stderr = frontier_band(law, None, np.array([1e12]), reference_params=1e4, learning_rate=0.1,
    ...     batch_size=100.0)
    >>> stderr.loss.tolist()
    [0.0]
    """
    from scipy.interpolate import CubicSpline

    best = frontier(values, compute, **plan)
    names = list(values)
    uncertain = [] if covariance is None else [n for n, v in zip(names, np.diag(covariance), strict=True) if v > 0]
    derivative = np.zeros((len(fields(Frontier)), compute.size, len(names)))
    if uncertain:
        nodes = _nodes(np.log(compute), BAND_NODES)
        law = _Law(**{name: value for name, value in plan.items() if name != "start"})
        order = np.argsort(compute)
        start = np.exp(np.interp(nodes, np.log(compute[order]), np.log(best.params[order])))
        sizes = np.log(frontier(values, np.exp(nodes), **{**plan, "start": start}).params)
        curvature = law.curvature(values, sizes, nodes)
        log_compute, log_params = np.log(compute), np.log(best.params)
        # Slope of tokens in size at fixed compute and, along the frontier, in compute.
        shift = np.log(tokens_for(compute, np.exp(log_params + RULE_STEP), law.flops) / best.tokens) / RULE_STEP
        for name in uncertain:
            step = BAND_STEP * max(abs(values[name]), 1e-3)
            above, below = (
                np.stack(law.slope({**values, name: values[name] + sign * step}, sizes, nodes)) for sign in (1, -1)
            )
            change, mixed, _ = (above - below) / (2 * step)
            moves = CubicSpline(nodes, np.stack([change, -mixed / curvature], axis=1))
            of_loss, of_params = moves(log_compute).T
            of_loss_exponent, of_size_exponent = moves(log_compute, 1).T
            derivative[:, :, names.index(name)] = [
                of_loss, of_params, shift * of_params, of_size_exponent, shift * of_size_exponent, of_loss_exponent,
            ]  # fmt: skip
    matrix = np.zeros((len(names), len(names))) if covariance is None else covariance
    return best, Frontier(*propagate(derivative, matrix))


def _nodes(log_compute: Floats, fewest: int) -> Floats:
    """Log-spaced computes over the range of those asked for, at least ``fewest`` and two a decade."""
    low, high = float(log_compute.min()), float(log_compute.max())
    if high - low < NODE_STEP:
        middle = (low + high) / 2
        low, high = middle - NODE_STEP / 2, middle + NODE_STEP / 2
    return np.linspace(low, high, max(fewest, int(np.ceil((high - low) / NODE_STEP)) + 1))


@dataclass(frozen=True)
class _Law:
    """Runs at a constant rate, and the slopes of their loss along a compute."""

    reference_params: float
    learning_rate: float
    batch_size: float
    dataset_size: float = np.inf
    test_eigenvalues: Floats | None = None
    flops: FlopsRule = FLOPS_RULES["6ND"]

    def _settings(self, params: Floats, tokens: Floats) -> Settings:
        size = params.ravel()
        one = np.ones(size.size)
        return Settings(
            tokens.reshape(size.size, -1) / self.batch_size, size, self.learning_rate * one, self.batch_size * one,
            self.dataset_size * one, test_eigenvalues=self.test_eigenvalues,
        )  # fmt: skip

    def loss(self, parameters: Mapping[str, float], params: Floats, tokens: Floats) -> Floats:
        """Loss in the shape of tokens: params (size,) at several (size, T), or both alike."""
        losses = twopoint.predict(parameters, self._settings(params, tokens), self.reference_params)
        return losses.reshape(tokens.shape)

    def slope(
        self, parameters: Mapping[str, float], log_params: Floats, log_compute: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Log loss (...), and its derivatives in log params at a given compute and in log compute at given params."""
        log_params, log_compute = np.broadcast_arrays(log_params, log_compute)
        # Tokens against params and against compute, from the rule alone.
        log_tokens, of_params, of_compute = (
            np.log(tokens_for(np.exp(log_compute + in_compute), np.exp(log_params + in_params), self.flops))
            for in_params, in_compute in ((0.0, 0.0), (RULE_STEP, 0.0), (0.0, RULE_STEP))
        )
        log_loss, by_params, by_tokens = self._partial(parameters, log_params, log_tokens)
        along, across = ((moved - log_tokens) / RULE_STEP for moved in (of_params, of_compute))
        return log_loss, by_params + by_tokens * along, by_tokens * across

    def _partial(
        self, parameters: Mapping[str, float], log_params: Floats, log_tokens: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Log loss (...) and its derivatives in log params and log tokens."""
        if twopoint.spectrum_of_test(parameters, self.test_eigenvalues) is None:
            settings = self._settings(np.exp(log_params), np.exp(log_tokens))
            found = twopoint.log_loss_slopes(parameters, settings, self.reference_params)
            return (
                found[0].reshape(log_params.shape),
                found[1].reshape(log_params.shape),
                found[2].reshape(log_params.shape),
            )
        # Under covariate shift the theory has no derivatives: central differences.
        in_params, in_tokens = STENCIL * np.array([[0, 1, -1, 0, 0], [0, 0, 0, 1, -1]])
        params = np.exp(log_params[..., None] + in_params)
        log_loss = np.log(self.loss(parameters, params, np.exp(log_tokens[..., None] + in_tokens)))
        here, *moved = np.moveaxis(log_loss, -1, 0)
        return here, (moved[0] - moved[1]) / (2 * STENCIL), (moved[2] - moved[3]) / (2 * STENCIL)

    def curvature(self, parameters: Mapping[str, float], log_params: Floats, log_compute: Floats) -> Floats:
        """Second derivative (...) of the log loss in log params at a given compute."""
        shifts = STENCIL * np.array([[-1.0], [1.0]])
        low, high = self.slope(parameters, log_params + shifts, log_compute)[1]
        return np.asarray((high - low) / (2 * STENCIL))


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


def compute_of_cost(compute: Floats, cost: Floats, levels: Floats) -> Floats:
    """Compute (level,) from which on a cost (compute,) is above each level, log-linear in between; NaN where it is not seen.

    Examples
    --------
    >>> compute_of_cost(np.array([1e3, 1e5]), np.array([0.0, 0.2]), np.array([0.1, 0.5])).round(3).tolist()
    [10000.0, nan]
    """
    found = np.full(levels.size, np.nan)
    for number, level in enumerate(levels):
        below = np.flatnonzero(cost <= level)
        if below.size and below[-1] + 1 < compute.size:
            low, high = below[-1], below[-1] + 1
            share = (level - cost[low]) / (cost[high] - cost[low])
            found[number] = np.exp((1 - share) * np.log(compute[low]) + share * np.log(compute[high]))
    return found
