"""What a check leaves out of the training data: parts that are like what a fit is to extrapolate to."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .curves import TrainingCurves

Bools = NDArray[np.bool_]
Task = Literal["size", "horizon", "schedule", "repetition"]

LEFT_OUT_SIZES, LEFT_OUT_STEPS = 0.3, 0.6
"""Share of the model sizes, or of the steps of every run, that a check leaves out."""

LEAST_SIZES = 3
"""Model sizes that must remain: fewer do not determine how size enters."""


def left_out(curves: TrainingCurves, task: Task) -> list[Bools]:
    """Parts (obs,) of the observations, each to be predicted from the rest, that are like what a task extrapolates to.

    Parameters
    ----------
    curves : TrainingCurves
        Training data.
    task : {"size", "horizon", "schedule", "repetition"}
        The largest 30 % of the sizes (of a table of final losses: of the compute); the last 60 % of the steps of every
        run; one schedule after the other, as long as enough sizes remain (other values of a constant rate or of the
        batch size are other schedules); the runs of the smallest data sets. Where there are too few schedules or data
        sets sizes stand for them, and where there are too few sizes steps do.

    Examples
    --------
    >>> one = np.ones(4)
    >>> curves = TrainingCurves(np.repeat(np.arange(4), 2), np.tile([1.0, 2.0], 4), np.tile([1.0, 2.0], 4), np.ones(8),
    ...     np.ones(8), np.array(list("abcd")), np.array([1.0, 2.0, 3.0, 4.0]), one, one, np.inf * one, 0 * one)
    >>> np.flatnonzero(left_out(curves, "size")[0])
    array([6, 7])
    """
    runs = np.unique(curves.run)
    size = curves.params[curves.run]
    if task == "repetition":
        unique = np.unique(curves.dataset_size[runs])
        unique = unique[np.isfinite(unique)]
        if unique.size > 1:
            return [curves.dataset_size[curves.run] == unique[0]]
    if task == "schedule":
        followers: dict[object, list[int]] = {}
        for run in runs.tolist():
            constant = float(curves.learning_rate[run]), float(curves.batch_size[run])
            followers.setdefault(curves.schedules.get(run, constant), []).append(run)
        masks = [np.isin(curves.run, mine) for mine in followers.values()]
        least = min(LEAST_SIZES, np.unique(size).size)
        masks = [mask for mask in masks if np.unique(size[~mask]).size >= least]
        if masks:
            return masks
    if runs.size == curves.run.size:
        compute = size * curves.tokens
        return [compute >= np.quantile(compute, 1 - LEFT_OUT_SIZES)]
    if task != "horizon":
        sizes = np.unique(size)
        count = max(1, round(LEFT_OUT_SIZES * sizes.size))
        if sizes.size - count >= LEAST_SIZES:
            return [size >= sizes[-count]]
    last = np.zeros(curves.name.size)
    np.maximum.at(last, curves.run, curves.step)
    return [curves.step > (1 - LEFT_OUT_STEPS) * last[curves.run]]


def parts_of(curves: TrainingCurves, task: Task) -> NDArray[np.int64]:
    """Number (obs,) of the part that an observation belongs to: parts count alike, however many observations they have.

    Examples
    --------
    >>> one = np.ones(3)
    >>> curves = TrainingCurves(np.array([0, 0, 1, 2]), np.arange(1.0, 5.0), np.arange(1.0, 5.0), np.ones(4), np.ones(4),
    ...     np.array(list("abc")), np.array([8.0, 8.0, 9.0]), one, one, np.inf * one, 0 * one)
    >>> parts_of(curves, "size").tolist(), parts_of(curves, "schedule").tolist()
    ([0, 0, 0, 1], [0, 0, 1, 2])
    """
    of_run = curves.params if task in ("size", "horizon") else np.arange(curves.name.size)
    return np.unique(np.asarray(of_run)[curves.run], return_inverse=True)[1]
