"""Schedules of measured runs: learning rates and batch sizes over all steps, from those at the logged steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scalingeq.theory.schedule import Schedule

Floats = NDArray[np.float64]


def find_schedule(step: Floats, rate: Floats, batch: Floats, warmup_steps: float) -> Schedule:
    """Learning rate, and learning rate over batch size, of one run against steps.

    Both are linear between logged steps, which is all that a log says. Before the first of them the rate has that
    step's value, after a warm-up from 0 where there is one; a warm-up that the log sees the end of is the log's.

    Parameters
    ----------
    step, rate, batch : ndarray, shape (obs,)
        Logged steps, ascending, with the learning rate and the batch size there.
    warmup_steps : float
        Steps of linear warm-up; 0 for none.

    Examples
    --------
    >>> logged = np.array([100.0, 200.0])
    >>> schedule = find_schedule(logged, np.array([0.5, 0.1]), np.array([8.0, 8.0]), warmup_steps=40.0)
    >>> schedule.step, schedule.rate
    (array([  0.,  40., 100., 200.]), array([0. , 0.5, 0.5, 0.1]))
    """
    if step[0] == 0:
        before, warm = np.zeros(0), np.zeros(0)
    elif warmup_steps == 0:
        before, warm = np.zeros(1), np.ones(1)
    elif warmup_steps < step[0]:
        before, warm = np.array([0.0, warmup_steps]), np.array([0.0, 1.0])
    else:
        before, warm = np.zeros(1), np.zeros(1)
    noise_rate = rate / batch
    return Schedule(
        np.append(before, step), np.append(warm * rate[0], rate), np.append(warm * noise_rate[0], noise_rate)
    )


def tokens_seen(run: NDArray[np.int64], step: Floats, batch: Floats) -> tuple[Floats, Floats]:
    """Integral (obs,) of the batch size over the steps of each run, and how far it can be wrong (obs,).

    Between observations the batch size is taken as linear, and may as well have jumped at either end; before the first
    it is constant.

    Examples
    --------
    >>> tokens_seen(np.zeros(3, int), np.array([1.0, 2.0, 4.0]), np.array([8.0, 8.0, 16.0]))
    (array([ 8., 16., 40.]), array([0., 0., 8.]))
    """
    first = np.append(True, np.diff(run) > 0)
    since = np.where(first, step, step - np.roll(step, 1))
    old = np.where(first, batch, np.roll(batch, 1))
    total, unsure = np.cumsum(since * [(batch + old) / 2, np.abs(batch - old) / 2], axis=1)
    # The sums go on from run to run: what earlier runs add is taken off.
    whose = np.cumsum(first) - 1
    return total - (total - since * batch)[first][whose], unsure - unsure[first][whose]
