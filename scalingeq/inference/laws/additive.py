"""The additive law: its fast fit under Huber's penalty, one or many at once, and the form that others are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..curves import Floats, TrainingCurves
from ..robust import HUBER_THRESHOLD, point_weights

EXPONENT_GRID = np.geomspace(0.05, 2.0, 12)
EXPONENTS = (1e-3, 10.0)
"""Bounds of both exponents."""

STARTS = 3  # of the grid, that are refined
DAMPING, DAMPING_DOWN, DAMPING_UP, LARGEST_DAMPING = 1e-2, 0.2, 5.0, 1e12
TOLERANCE, LARGEST_STEPS = 1e-13, 300  # relative decrease that the next step can bring, at which a fit ends
CHUNK = 64  # fits at once: as many as stay in the processor's cache


@dataclass(frozen=True)
class AdditiveLaw:
    """Loss E + A (params/params₀)^-a + B (tokens/tokens₀)^-b (Hoffmann et al., arXiv:2203.15556, approach 3).

    Attributes
    ----------
    irreducible, size_amplitude, data_amplitude : float
        E, A and B, in units of the loss; the amplitudes refer to ``reference_params`` and ``reference_tokens``.
    size_exponent, data_exponent : float
        a and b.

    Examples
    --------
    >>> law = AdditiveLaw(1.0, 0.5, 0.5, 0.4, 0.5, 100.0, 100.0)
    >>> float(law.loss(np.array(100.0), np.array(1e4)))
    1.55
    """

    irreducible: float
    size_amplitude: float
    data_amplitude: float
    size_exponent: float
    data_exponent: float
    reference_params: float
    reference_tokens: float

    def loss(self, params: Floats, tokens: Floats) -> Floats:
        """Loss for model sizes and tokens seen, arrays that broadcast."""
        size = self.size_amplitude * (params / self.reference_params) ** -self.size_exponent
        with np.errstate(divide="ignore"):  # before the first token the law is infinite
            data = self.data_amplitude * (tokens / self.reference_tokens) ** -self.data_exponent
        return np.asarray(self.irreducible + size + data)


@dataclass(frozen=True)
class AdditiveProblem:
    """Log losses to be met by log(E + A params^-a + B tokens^-b), under Huber's penalty.

    Points are (log E, log A, log B, a, b): in these the log loss is a log-sum-exp of linear functions, whose first and
    second derivatives are those of a softmax.

    Attributes
    ----------
    log_params, log_tokens, log_loss : ndarray, shape (obs,)
        Sizes and tokens relative to whatever A and B refer to.
    factor : ndarray, shape (obs,)
        By which residuals in log loss are multiplied before the penalty.
    low, high : ndarray, shape (5,)
        Bounds of a point.
    free : ndarray of bool, shape (5,)
        What a fit moves.
    """

    log_params: Floats
    log_tokens: Floats
    log_loss: Floats
    factor: Floats
    low: Floats
    high: Floats
    free: NDArray[np.bool_]

    def cost(self, points: Floats, counts: Floats) -> Floats:
        """Sum (fit,) of the penalties at points (fit, 5), each observation counted (fit, obs) times."""
        size = np.abs(self._misfit(points)[0])
        penalty = np.where(size <= HUBER_THRESHOLD, 0.5 * size**2, HUBER_THRESHOLD * size - 0.5 * HUBER_THRESHOLD**2)
        return np.asarray(np.einsum("fo,fo->f", counts, penalty))

    def _misfit(self, points: Floats) -> tuple[Floats, Floats]:
        """Scaled residuals (fit, obs) and shares (fit, obs, 3) of the three terms in the loss."""
        logs = np.empty((len(points), self.log_loss.size, 3))
        logs[..., 0] = points[:, 0, None]
        logs[..., 1] = points[:, 1, None] - points[:, 3, None] * self.log_params
        logs[..., 2] = points[:, 2, None] - points[:, 4, None] * self.log_tokens
        largest = logs.max(axis=2)
        terms = np.exp(logs - largest[..., None])
        total = terms.sum(axis=2)
        return self.factor * (largest + np.log(total) - self.log_loss), terms / total[..., None]

    def _derivatives(self, points: Floats, counts: Floats) -> tuple[Floats, Floats, Floats]:
        """Gradient (fit, 5), Hessian (fit, 5, 5), and the Hessian of the quadratic that majorises the penalty."""
        residual, share = self._misfit(points)
        size = np.abs(residual)
        inside = size <= HUBER_THRESHOLD
        pull = np.clip(residual, -HUBER_THRESHOLD, HUBER_THRESHOLD) * self.factor * counts
        squared = self.factor**2 * counts
        slope = np.concatenate(
            [share, -share[..., 1:2] * self.log_params[:, None], -share[..., 2:] * self.log_tokens[:, None]], axis=2
        )
        across = slope.swapaxes(1, 2)
        gradient = np.einsum("fko,fo->fk", across, pull)
        hessian = across @ (slope * (np.where(inside, squared, 0.0) - pull)[..., None])
        for term, exponent, log in ((1, 3, self.log_params), (2, 4, self.log_tokens)):
            moments = (pull * share[..., term]) @ np.stack([np.ones_like(log), -log, log**2], axis=1)
            hessian[:, term, term] += moments[:, 0]
            hessian[:, term, exponent] += moments[:, 1]
            hessian[:, exponent, term] += moments[:, 1]
            hessian[:, exponent, exponent] += moments[:, 2]
        hessian[:, 0, 0] += np.einsum("fo,fo->f", pull, share[..., 0])
        # The least curvature of a parabola above the penalty that touches it here (Huber 1981, section 7.8).
        majorant = squared * np.where(inside, 1.0, HUBER_THRESHOLD / np.maximum(size, HUBER_THRESHOLD))
        return gradient, hessian, across @ (slope * majorant[..., None])

    def minimise(self, points: Floats, counts: Floats | None = None) -> tuple[Floats, Floats]:
        """Newton steps from each of points (fit, 5), damped by the majorising parabola, inside the bounds.

        Parameters
        ----------
        points : ndarray, shape (fit, 5)
            Starts.
        counts : ndarray, shape (fit, obs), optional
            How often each observation counts; default once.

        Returns
        -------
        points, cost : ndarray, shape (fit, 5) and (fit,)
            The optima.
        """
        points = np.clip(points, self.low, self.high)
        weight = np.ones((len(points), self.log_loss.size)) if counts is None else counts
        if not self.free.any():
            return points, self.cost(points, weight)
        cost = np.empty(len(points))
        for first in range(0, len(points), CHUNK):
            some = slice(first, first + CHUNK)
            points[some], cost[some] = self._minimise_some(points[some], weight[some])
        return points, cost

    def _minimise_some(self, points: Floats, counts: Floats) -> tuple[Floats, Floats]:
        points, cost = points.copy(), self.cost(points, counts)
        damping = np.full(len(points), DAMPING)
        active = np.arange(len(points))
        gradient, hessian, majorant = self._derivatives(points, counts)
        for _ in range(LARGEST_STEPS):
            here = points[active]
            # At a bound, with the gradient pointing out of it, a parameter stays.
            stays = ~self.free | ((here <= self.low) & (gradient > 0)) | ((here >= self.high) & (gradient < 0))
            matrix = hessian + damping[active, None, None] * majorant
            step = _solve(matrix, majorant, np.where(stays, 0.0, -gradient), stays)
            there = np.clip(here + step, self.low, self.high)
            new = self.cost(there, counts[active])
            better = new <= cost[active]
            promised = np.abs(np.einsum("fk,fk->f", gradient, step))
            done = better & (cost[active] - new <= TOLERANCE * new) & (promised <= 1e2 * TOLERANCE * new)
            moved = active[better]
            points[moved], cost[moved] = there[better], new[better]
            damping[active] = np.where(better, damping[active] * DAMPING_DOWN, damping[active] * DAMPING_UP)
            keep = ~done & (damping[active] < LARGEST_DAMPING)
            better, active = better[keep], active[keep]
            if not active.size:
                break
            gradient, hessian, majorant = gradient[keep], hessian[keep], majorant[keep]
            moved = active[better]
            if moved.size:
                gradient[better], hessian[better], majorant[better] = self._derivatives(points[moved], counts[moved])
        return points, cost


def _solve(matrix: Floats, scale: Floats, target: Floats, stays: NDArray[np.bool_]) -> Floats:
    """Solve for steps (fit, 5), zero where a parameter stays; in units of the diagonal of ``scale``."""
    unit = 1 / np.sqrt(np.maximum(np.einsum("fkk->fk", scale), 1e-300))
    unit = np.where(stays, 1.0, unit)
    matrix = matrix * (unit[:, :, None] * unit[:, None, :])
    matrix = np.where(stays[:, :, None] | stays[:, None, :], np.eye(5), matrix)
    # A direction that no observation determines has no curvature: the smallest keeps the matrix regular.
    matrix = matrix + 1e-14 * np.eye(5)
    right = (unit * target)[..., None]
    try:
        return np.asarray(unit * np.linalg.solve(matrix, right)[..., 0])
    except np.linalg.LinAlgError:  # curvatures of both signs may cancel to the last digit
        return np.asarray(unit * (np.linalg.pinv(matrix, hermitian=True) @ right)[..., 0])


def grid_starts(problem: AdditiveProblem, weight: Floats, starts: int = STARTS) -> tuple[Floats, float]:
    """Best points (start, 5) of a grid of exponents, the amplitudes solved for, and the spread of the best's residuals.

    Given the two exponents the law is linear; dividing by the loss turns its residual into the one in log loss, to
    first order.

    Parameters
    ----------
    problem : AdditiveProblem
        Where A is held, it is held at nothing.
    weight : ndarray, shape (obs,)
        Weight of each residual in log loss.
    starts : int
        Number of points to return.

    Examples
    --------
    >>> log_size, log_tokens = (axis.ravel() for axis in np.meshgrid(np.linspace(-2, 2, 5), np.linspace(-3, 3, 5)))
    >>> loss, one = 1.0 + np.exp(-0.4 * log_size) + np.exp(-0.5 * log_tokens), np.ones(25)
    >>> everywhere = np.full(5, -np.inf), np.full(5, np.inf), np.ones(5, bool)
    >>> problem = AdditiveProblem(log_size, log_tokens, np.log(loss), one, *everywhere)
    >>> points, spread = grid_starts(problem, one)
    >>> problem.minimise(points)[0][0, 3:].round(6).tolist()
    [0.4, 0.5]
    """
    from scipy.optimize import nnls

    one_size = not problem.free[1]
    loss = np.exp(problem.log_loss)
    row = weight / loss
    size = [np.exp(-a * problem.log_params) * row for a in EXPONENT_GRID]
    data = [np.exp(-b * problem.log_tokens) * row for b in EXPONENT_GRID]
    # With one size its term is the constant's.
    sizes = [(EXPONENT_GRID[0], np.zeros_like(row))] if one_size else list(zip(EXPONENT_GRID, size, strict=True))
    found = []
    for a, size_column in sizes:
        for b, data_column in zip(EXPONENT_GRID, data, strict=True):
            amplitudes, residual = nnls(np.stack([row, size_column, data_column], axis=1), weight)
            found.append((residual, (*amplitudes, a, b)))
    found.sort()
    points = np.array([point for _, point in found[:starts]])
    # Refinements start inside the bounds: a little above zero.
    faint = 2e-9 * loss.min()
    points[:, :3] = np.log(np.maximum(points[:, :3], faint))
    if one_size:
        points[:, 1] = -np.inf
    return points, max(float(found[0][0] / np.sqrt(np.sum(weight**2))), 1e-6)


def fit_additive(curves: TrainingCurves, huber_scale: float | None = None) -> AdditiveLaw:
    """Fit the additive law to all observations, residuals in log loss.

    A grid of exponents with non-negative linear solves finds the basin and robust refinements the optimum.

    Parameters
    ----------
    curves : TrainingCurves
        Observations; every curve weighs as :data:`~scalingeq.inference.robust.POINTS_PER_CURVE` points.
    huber_scale : float, optional
        Residual in log loss beyond which the penalty is linear; the default takes the spread of the grid's best fit.

    Returns
    -------
    AdditiveLaw
        The law at the optimum. Where all runs have one size, the size term is zero.

    Examples
    --------
    >>> run = np.repeat(np.arange(3), 20)
    >>> params, step = np.array([1e4, 1e5, 1e6]), np.tile(np.geomspace(10, 1e4, 20), 3)
    >>> one = np.ones(3)
    >>> truth = AdditiveLaw(1.0, 0.5, 2.0, 0.4, 0.5, 1e5, 1e4)
    >>> curves = TrainingCurves(run, step, 100 * step, truth.loss(params[run], 100 * step), np.full(60, np.nan),
    ...     np.array(["a", "b", "c"]), params, one, 100 * one, np.inf * one, 0 * one)
    >>> round(fit_additive(curves).data_exponent, 4)
    0.5
    """
    from dataclasses import replace

    params = curves.params[curves.run]
    reference_params, reference_tokens = (float(np.exp(np.log(x).mean())) for x in (params, curves.tokens))
    weight = point_weights(curves)
    one_size = bool(np.ptp(params) == 0)
    floor = np.log(1e-9 * float(curves.loss.min()))
    problem = AdditiveProblem(
        log_params=np.log(params / reference_params),
        log_tokens=np.log(curves.tokens / reference_tokens),
        log_loss=np.log(curves.loss),
        factor=weight,
        # The exponents stay positive and the amplitudes inside what a loss can be: bounds that cannot bind silently.
        low=np.array([floor, -np.inf if one_size else floor, floor, EXPONENTS[0], EXPONENTS[0]]),
        high=np.array([np.inf, np.inf, np.inf, EXPONENTS[1], EXPONENTS[1]]),
        free=np.array([True, not one_size, True, not one_size, True]),
    )
    starts, spread = grid_starts(problem, weight)
    points, cost = replace(problem, factor=weight / (huber_scale or spread)).minimise(starts)
    best = points[cost.argmin()]
    irreducible, size_amplitude, data_amplitude = np.exp(best[:3]).tolist()
    return AdditiveLaw(
        irreducible=irreducible,
        size_amplitude=size_amplitude,
        data_amplitude=data_amplitude,
        size_exponent=float(best[3]),
        data_exponent=float(best[4]),
        reference_params=reference_params,
        reference_tokens=reference_tokens,
    )
