"""Rates that act by their ratio to a power of the loss, as those of an adaptive optimiser may.

Adam divides a step by the size of the gradient, and where that falls as the root of the loss the same learning rate moves
a model the farther the lower its loss. A fit knows the losses that it is fitted to; a prediction finds rates and losses that
agree with each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..theory.schedule import Schedule
from . import twopoint
from .curves import Floats, TrainingCurves
from .twopoint import constant_schedule

GRID = 48  # steps of a run, evenly spread in the logarithm, at which its rate is told
AGREED, MOST_PASSES = 1e-6, 30  # change of log losses at which rates and losses agree, and passes that may take


def rates_over_loss(curves: TrainingCurves, told: TrainingCurves, exponent: float) -> TrainingCurves:
    """Curves whose learning and noise rates are divided by the loss to a power, as ``told`` tells it for each run.

    Losses are in the units of the record; another unit is another time scale.

    Examples
    --------
    >>> one, step = np.ones(1), np.array([1.0, 10.0])
    >>> curves = TrainingCurves(np.zeros(2, int), step, 8 * step, np.full(2, 4.0), step, np.array(["a"]), one,
    ...     0.1 * one, 8 * one, np.inf * one, 0 * one)
    >>> rates_over_loss(curves, curves, 0.5).schedules[0].rate.round(6).max()
    np.float64(0.05)
    """
    schedules = dict(curves.schedules)
    for run in np.unique(curves.run).tolist():
        plain = schedule_of(curves, run)
        grid = np.geomspace(1, plain.last, GRID)
        grid = grid[~np.isin(grid, plain.step)]
        # Two knots at one step are a jump and stay in their order.
        order = np.argsort(np.concatenate([plain.step, grid]), kind="stable")
        step, rate, noise_rate = (
            np.concatenate([knots, np.interp(grid, plain.step, knots)])[order] for knots in plain.knots
        )
        mine = told.run == run
        log_loss = np.interp(np.log1p(step), np.log1p(told.step[mine]), np.log(told.loss[mine]))
        factor = np.exp(-exponent * log_loss)
        schedules[run] = Schedule(step, rate * factor, noise_rate * factor)
    return replace(curves, schedules=schedules)


def rates_over_own_loss(
    parameters: Mapping[str, float], curves: TrainingCurves, reference_params: float
) -> TrainingCurves:
    """Curves whose rates are divided by the power ``loss_exponent`` of the loss that the law itself predicts with them.

    Rates give losses, and these rates, in turn: the loss falls as a small power of time, so that each pass shrinks what is
    amiss several times.

    Examples
    --------
    >>> one, step = np.ones(1), np.array([10.0, 100.0])
    >>> curves = TrainingCurves(np.zeros(2, int), step, 8 * step, step, step, np.array(["a"]), 1e4 * one, 0.1 * one,
    ...     8 * one, np.inf * one, 0 * one)
    >>> law = twopoint.complete(dict(alpha=1.5, r=0.4, loss_exponent=0.5))
    >>> rates_over_own_loss(law, curves, 1e4).schedules[0].rate[:2].round(3).tolist()
    [0.087, 0.087]
    """
    exponent = twopoint.value_of(parameters, "loss_exponent")
    runs = np.unique(curves.run)
    step = np.concatenate([np.geomspace(1, schedule_of(curves, run).last, GRID) for run in runs.tolist()])
    unknown = np.full(step.size, np.nan)
    grid = replace(curves, run=np.repeat(runs, GRID), step=step, tokens=step, loss=unknown, loss_stderr=unknown)
    told, before = grid, np.zeros(step.size)
    for _ in range(MOST_PASSES):
        told = replace(grid, loss=_loss(parameters, told, reference_params))
        change, before = np.abs(np.log(told.loss) - before).max(), np.log(told.loss)
        if change < AGREED:
            break
        told = replace(rates_over_loss(grid, told, exponent), loss=told.loss)
    return rates_over_loss(curves, told, exponent)


def schedule_of(curves: TrainingCurves, run: int) -> Schedule:
    """Schedule of the record for a run, of those at a constant rate too."""
    return curves.schedules.get(run) or constant_schedule(
        float(curves.learning_rate[run]), float(curves.batch_size[run]), float(curves.warmup_steps[run]),
        float(curves.step[curves.run == run].max()),
    )  # fmt: skip


def _loss(parameters: Mapping[str, float], curves: TrainingCurves, reference_params: float) -> Floats:
    settings, index = twopoint.settings_of(curves)
    return np.asarray(twopoint.predict(parameters, settings, reference_params)[index])
