"""Losses of measured runs at equal compute: interpolated between two points of a run, and nowhere extrapolated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .curves import Floats, TrainingCurves
from .frontier import FLOPS_RULES, FlopsRule

Bools = NDArray[np.bool_]

SAME_COMPUTE = 0.02
"""In log compute: a run of one point belongs to the budgets within this distance."""

NEIGHBOURHOOD = 5
"""Points before and after one, whose errors of interpolation are averaged to give its own."""

DRAWS, SEED = 400, 0
"""Draws of the runs' errors that give standard errors, and the seed of their random numbers."""


@dataclass(frozen=True)
class Losses:
    """Losses of the runs at each compute, interpolated between their points.

    Attributes
    ----------
    compute : ndarray, shape (compute,)
        FLOPs.
    log_loss, stderr : ndarray, shape (compute, run)
        Log loss, NaN where a run has not been measured on both sides of the compute, and its standard error.
    params : ndarray, shape (run,)
        Model sizes.
    """

    compute: Floats
    log_loss: Floats
    stderr: Floats
    params: Floats


def measured_compute(curves: TrainingCurves, flops: FlopsRule = FLOPS_RULES["6ND"]) -> Floats:
    """Compute (obs,) spent when each loss was measured.

    Examples
    --------
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(np.zeros(2, int), np.array([1.0, 2.0]), np.array([8.0, 16.0]), np.ones(2), np.ones(2),
    ...     np.array(["a"]), 100 * one, one, 8 * one, np.inf * one, 0 * one)
    >>> measured_compute(curves).tolist()
    [4800.0, 9600.0]
    """
    return np.asarray(flops(curves.params[curves.run], curves.tokens), float)


def last_points(curves: TrainingCurves) -> TrainingCurves:
    """The last observation of each run alone.

    Examples
    --------
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(np.zeros(2, int), np.array([1.0, 2.0]), np.array([8.0, 16.0]), np.ones(2), np.ones(2),
    ...     np.array(["a"]), one, one, 8 * one, np.inf * one, 0 * one)
    >>> last_points(curves).step.tolist()
    [2.0]
    """
    return curves.select(np.append(np.diff(curves.run) != 0, True))


def is_table(curves: TrainingCurves) -> bool:
    """Whether no run has more than one point: a table of final losses.

    Examples
    --------
    >>> from .laws.interface import Plan, planned_runs
    >>> is_table(planned_runs(np.ones(2), np.ones((2, 1)), Plan()))
    True
    """
    return bool(np.unique(curves.run).size == curves.run.size)


def budgets(curves: TrainingCurves, flops: FlopsRule = FLOPS_RULES["6ND"], number: int = 12) -> Floats:
    """Computes of a measured frontier.

    Those of a table of final losses at which three sizes or more were measured, else ``number`` log-spaced ones, from the
    lowest to the highest at which the best size has smaller and larger ones beside it.

    Raises
    ------
    DataError
        If the best size nowhere has smaller and larger ones beside it.

    Examples
    --------
    >>> from .laws.additive import AdditiveLaw
    >>> law, run, tokens = AdditiveLaw(1.0, 0.5, 0.5, 0.4, 0.5, 1e3, 1e5), np.repeat(np.arange(4), 50), np.geomspace(1e3, 1e8, 50)
    >>> params, one = np.array([1e3, 1e4, 1e5, 1e6]), np.ones(4)
    >>> curves = TrainingCurves(run, np.tile(tokens, 4), np.tile(tokens, 4), law.loss(params[run], np.tile(tokens, 4)),
    ...     np.full(200, np.nan), np.array(list("abcd")), params, one, one, np.inf * one, 0 * one)
    >>> print(["%.0e" % compute for compute in budgets(curves, number=3)])
    ['8e+09', '2e+11', '6e+12']
    """
    compute = measured_compute(curves, flops)
    compute = np.sort(compute[compute > 0])
    table = is_table(curves)
    groups = compute[np.append(True, np.diff(np.log(compute)) > SAME_COMPUTE)]
    tried = groups if table else np.geomspace(compute[0], compute[-1], 1000)
    losses = losses_at(curves, tried, flops)
    inside = tried[is_inside(losses)]
    if inside.size == 0:
        raise DataError(
            "params: at no compute was the best of the measured sizes between others, so that no frontier is inside; "
            "add runs of smaller or larger models at the same compute"
        )
    if not table:
        return np.geomspace(inside[0], inside[-1], number)
    # Where the lowest of noisy losses is at an end, resamples may still have their minimum between the sizes.
    return tried[[np.unique(losses.params[there]).size >= 3 for there in np.isfinite(losses.log_loss)]]


def losses_at(curves: TrainingCurves, compute: Floats, flops: FlopsRule = FLOPS_RULES["6ND"]) -> Losses:
    """Losses of all runs at each compute, linear in the logarithms between the points of a run.

    A run of one point counts where its compute is within 2 %. The standard error joins that of the measurement, where the
    record has one, and what a measured point of the run is missed by when it is interpolated from the two beside it, an
    average over the points nearby: noise and the curve's bend together, at twice the distance that is really bridged.
    Errors that neighbours share, those of a seed above all, it does not see.

    Examples
    --------
    >>> one, step = np.ones(1), np.geomspace(1, 1e3, 10)
    >>> curves = TrainingCurves(np.zeros(10, int), step, step, step**-0.5, np.full(10, np.nan), np.array(["a"]), one, one,
    ...     one, np.inf * one, 0 * one)
    >>> found = losses_at(curves, np.array([600.0, 6e5]))
    >>> np.exp(found.log_loss).round(3).tolist(), found.stderr.round(9).tolist()
    ([[0.1], [nan]], [[0.0], [nan]])
    """
    spent, log_compute = measured_compute(curves, flops), np.log(compute)
    log_loss = np.full((compute.size, curves.name.size), np.nan)
    stderr = log_loss.copy()
    for number in np.unique(curves.run).tolist():
        mine = (curves.run == number) & (spent > 0)
        if not mine.any():
            continue
        x, y = np.log(spent[mine]), np.log(curves.loss[mine])
        own = np.nan_to_num(curves.loss_stderr[mine] / curves.loss[mine])
        if x.size == 1:
            near = np.abs(log_compute - x) <= SAME_COMPUTE
            log_loss[near, number], stderr[near, number] = y, own
            continue
        reach = SAME_COMPUTE / 100  # budgets are rounded numbers
        inside = (log_compute >= x[0] - reach) & (log_compute <= x[-1] + reach)
        log_loss[inside, number] = np.interp(log_compute[inside], x, y)
        stderr[inside, number] = np.interp(log_compute[inside], x, np.hypot(own, _interpolation_error(x, y)))
    return Losses(np.asarray(compute, float), log_loss, stderr, curves.params)


def _interpolation_error(x: Floats, y: Floats) -> Floats:
    """Root mean square (point,), over the points nearby, of what interpolation from both neighbours misses one by."""
    if x.size < 3:
        return np.zeros_like(x)
    share = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
    missed = (y[1:-1] - (1 - share) * y[:-2] - share * y[2:]) ** 2
    total = np.append(0.0, np.cumsum(missed))
    centre = np.clip(np.arange(x.size) - 1, 0, missed.size - 1)
    low, high = np.maximum(centre - NEIGHBOURHOOD, 0), np.minimum(centre + NEIGHBOURHOOD + 1, missed.size)
    return np.asarray(np.sqrt(np.maximum(total[high] - total[low], 0.0) / (high - low)))


def is_inside(losses: Losses) -> Bools:
    """Whether (compute,) smaller and larger sizes than that of the lowest loss have one.

    Examples
    --------
    >>> loss = np.log([[3.0, 1.0, 2.0], [3.0, 2.0, 1.0]])
    >>> is_inside(Losses(np.array([1e9, 1e10]), loss, 0 * loss, np.array([1e3, 1e4, 1e5]))).tolist()
    [True, False]
    """
    there = np.isfinite(losses.log_loss)
    best = losses.params[np.where(there, losses.log_loss, np.inf).argmin(axis=1)]
    smaller, larger = losses.params < best[:, None], losses.params > best[:, None]
    return np.asarray((there & smaller).any(axis=1) & (there & larger).any(axis=1))


def run_draws(number: int) -> Floats:
    """Standard normal numbers (1 + draw, run), the first draw zero: the losses as they are.

    Examples
    --------
    >>> run_draws(3).shape, run_draws(3)[0].tolist()
    ((401, 3), [0.0, 0.0, 0.0])
    """
    normal = np.random.default_rng(SEED).standard_normal((DRAWS, number))
    return np.concatenate([np.zeros((1, number)), normal])
