"""The compute-optimal frontier: the size, duration and data that give the lowest predicted loss for a given compute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from ..errors import ConvergenceError, ParameterError
from .curves import Floats
from .uncertainty import propagate

FlopsRule = Callable[[Floats, Floats], Floats]

FLOPS_RULES: dict[str, FlopsRule] = {"6ND": lambda params, tokens: np.asarray(6.0 * params * tokens)}
"""Training compute of a model: 6 FLOPs for each parameter and token (Kaplan et al., arXiv:2001.08361)."""

SCAN_STEP = 0.35  # in log size, of the scan whose lowest point starts Newton's method
STENCIL = 0.02  # in log size and log compute, of the derivatives at the optimum
NEWTON_STEPS, NEWTON_REACH, NEWTON_TOLERANCE = 30, 0.7, 1e-5
RULE_STEP = 1e-4  # likewise, of derivatives of the rule of compute
BAND_STEP = 1e-2  # relative, of the difference quotients in a parameter
NODES, NODE_STEP = 5, 1.2  # fewest computes, and their largest distance in log, between which is interpolated


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


class LossSurface(ABC):
    """Loss of runs at a constant rate against size and tokens, with its slopes along a compute.

    Attributes
    ----------
    batch_size : float
        Tokens a step.
    flops : callable
        Compute of (params, tokens).
    least : float
        Loss below which its numerical error would be felt in the optimum.
    """

    batch_size: float
    flops: FlopsRule
    least: float = 0.0

    @abstractmethod
    def loss(self, params: Floats, tokens: Floats) -> Floats:
        """Loss in the shape of tokens: params (size,) at several (size, T), or both alike."""

    def slope(self, log_params: Floats, log_compute: Floats) -> tuple[Floats, Floats]:
        """Log loss (...), and its derivative in log params at a given compute."""
        below, here, above = self._stencil(log_params, log_compute)
        return here, (above - below) / (2 * STENCIL)

    def along(self, log_params: Floats, log_compute: Floats) -> Floats:
        """Derivative (...) of the log loss in log compute at given params."""
        params = np.exp(log_params)[..., None] * np.ones(2)
        tokens = tokens_for(np.exp(log_compute[..., None] + STENCIL * np.array([-1.0, 1.0])), params, self.flops)
        below, above = np.moveaxis(np.log(self.loss(params, tokens)), -1, 0)
        return np.asarray((above - below) / (2 * STENCIL))

    def newton(self, log_params: Floats, log_compute: Floats) -> tuple[Floats, Floats]:
        """First and second derivative (...) of the log loss in log params at a given compute, for a step of Newton's."""
        below, here, above = self._stencil(log_params, log_compute)
        return (above - below) / (2 * STENCIL), (above - 2 * here + below) / STENCIL**2

    def curvature(self, log_params: Floats, log_compute: Floats) -> Floats:
        """Second derivative (...) of the log loss in log params at a given compute."""
        return self.newton(log_params, log_compute)[1]

    def _stencil(self, log_params: Floats, log_compute: Floats) -> Floats:
        """Log losses (3, ...) of smaller, these and larger sizes at a given compute."""
        params = np.exp(log_params[..., None] + STENCIL * np.array([-1.0, 0.0, 1.0]))
        compute = np.broadcast_to(np.exp(log_compute)[..., None], (*log_params.shape, 1))
        return np.moveaxis(np.log(self.loss(params, tokens_for(compute, params, self.flops))), -1, 0)


def optimal_log_params(surface: LossSurface, log_compute: Floats, log_params: Floats) -> Floats:
    """Log size (compute,) of lowest loss at each compute, by Newton's method from sizes nearby.

    Raises
    ------
    ConvergenceError
        If there is no minimum near them.

    Examples
    --------
    >>> class Powers(LossSurface):
    ...     batch_size, flops = 1.0, staticmethod(FLOPS_RULES["6ND"])
    ...     def loss(self, params, tokens):
    ...         return params**-0.5 + tokens**-0.5
    >>> optimal_log_params(Powers(), np.log([6e12]), np.log([3e5])).round(3) == np.log(1e6).round(3)
    array([ True])
    """
    for _ in range(NEWTON_STEPS):
        here, curvature = surface.newton(log_params, log_compute)
        # Where the loss curves the other way, go downhill; near the optimum this is Newton's method.
        step = np.where(curvature > 0, -here / np.where(curvature > 0, curvature, 1.0), -np.sign(here) * NEWTON_REACH)
        step = np.clip(step, -NEWTON_REACH, NEWTON_REACH)
        log_params = log_params + step
        if np.abs(step).max() < NEWTON_TOLERANCE:
            return log_params
    where = float(np.exp(log_compute[np.abs(step).argmax()]))
    raise ConvergenceError(
        f"compute: no optimal size was found at {where:.3g} FLOPs; pass a compute nearer to the runs'"
    )


def optimal_sizes(surface: LossSurface, compute: Floats, start: Floats | None = None) -> Frontier:
    """Minimise a loss over model size at each compute: the frontier that all laws share.

    Parameters
    ----------
    surface : LossSurface
        Loss of the runs.
    compute : ndarray, shape (compute,)
        FLOPs.
    start : ndarray, shape (compute,), optional
        Sizes near the optimum; the default scans all sizes.

    Raises
    ------
    ConvergenceError
        If the loss has no minimum inside the sizes searched: then it says at which compute and on which side.

    Examples
    --------
    >>> class Powers(LossSurface):
    ...     batch_size, flops = 1.0, staticmethod(FLOPS_RULES["6ND"])
    ...     def loss(self, params, tokens):
    ...         return params.reshape(-1, 1)**-0.5 + tokens**-0.5 if params.ndim < tokens.ndim else params**-0.5 + tokens**-0.5
    >>> best = optimal_sizes(Powers(), np.array([6e12]))
    >>> best.params.round(2).item(), best.size_exponent.round(3).item()
    (1000000.0, 0.5)
    """
    log_compute = np.log(compute)
    if start is None:
        start = _start(surface, compute)
    log_params = optimal_log_params(surface, log_compute, np.log(start))
    tokens = tokens_for(compute, np.exp(log_params), surface.flops)
    # Along the optimum d ln L / d ln C is the partial derivative (envelope theorem); the size moves so that the
    # slope in size stays zero.
    log_loss, _ = surface.slope(log_params, log_compute)
    if (low := np.exp(log_loss) < surface.least).any():
        raise ConvergenceError(
            f"compute: at {compute[low][0]:.3g} FLOPs the loss is too near to its numerical error to find the optimal size; "
            "pass a compute nearer to the runs'"
        )
    shifts = STENCIL * np.array([[-1.0], [1.0]])
    around = np.broadcast_to(log_params, (2, log_params.size))
    mixed = np.subtract(*surface.slope(around, log_compute + shifts)[1]) / (-2 * STENCIL)
    size_exponent = -mixed / surface.curvature(log_params, log_compute)
    ahead = tokens_for(np.exp(log_compute + STENCIL), np.exp(log_params + size_exponent * STENCIL), surface.flops)
    return Frontier(
        loss=np.exp(log_loss),
        params=np.exp(log_params),
        tokens=tokens,
        size_exponent=size_exponent,
        data_exponent=np.log(ahead / tokens) / STENCIL,
        loss_exponent=surface.along(log_params, log_compute),
    )


def _start(surface: LossSurface, compute: Floats) -> Floats:
    """Sizes near the optimum: those of a scan, at a few computes where sizes between them do not jump."""
    nodes = spaced(np.log(compute), NODES)
    if nodes.size < compute.size:
        found = _scan(surface, np.exp(nodes))
        if np.all(np.abs(np.diff(found)) < 2 * np.diff(nodes)):  # else the loss has two minima
            return np.asarray(np.exp(np.interp(np.log(compute), nodes, found)))
    return np.asarray(np.exp(_scan(surface, compute)))


def _scan(surface: LossSurface, compute: Floats) -> Floats:
    """Log size near the optimum at each compute: lowest of a scan from one parameter to a model of a single step."""
    largest = np.log(np.array([_size_for_one_step(c, surface) for c in compute]))
    sizes = np.exp(np.arange(0.0, largest.max() + SCAN_STEP, SCAN_STEP))
    # All sizes share the times, so that one renormalised frequency serves every compute.
    tokens = tokens_for(compute, sizes[:, None], surface.flops)
    losses = np.where(tokens >= surface.batch_size, surface.loss(sizes, tokens), np.inf)
    lowest = losses.argmin(axis=0)
    last = np.sum(tokens >= surface.batch_size, axis=0) - 1
    for side, bad in (("smallest", lowest == 0), ("largest", lowest >= last)):
        if bad.any():
            raise ConvergenceError(
                f"compute: at {compute[bad][0]:.3g} FLOPs the predicted loss is lowest at the {side} size searched, "
                f"{sizes[lowest[bad][0]]:.3g} parameters: this law has no optimal size there; pass a compute nearer to the runs'"
            )
    return np.asarray(np.log(sizes[lowest]))


def spaced(log_compute: Floats, fewest: int) -> Floats:
    """Log-spaced computes over the range of those asked for, at least ``fewest`` and two a decade."""
    low, high = float(log_compute.min()), float(log_compute.max())
    if high - low < NODE_STEP:
        middle = (low + high) / 2
        low, high = middle - NODE_STEP / 2, middle + NODE_STEP / 2
    return np.linspace(low, high, max(fewest, int(np.ceil((high - low) / NODE_STEP)) + 1))


def propagated(
    find: Callable[[Mapping[str, float], Floats | None], Frontier],
    values: Mapping[str, float],
    covariance: Floats | None,
) -> tuple[Frontier, Frontier]:
    """Frontier that ``find(values, start)`` gives, and its standard errors: of any law.

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


def _size_for_one_step(compute: float, surface: LossSurface) -> float:
    """Largest model that ``compute`` trains for one step."""
    from scipy.optimize import brentq

    def excess(log_params: float) -> float:
        return float(np.log(surface.flops(np.asarray(np.exp(log_params)), np.asarray(surface.batch_size)) / compute))

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
