"""Measured loss curves as plain arrays: the flat form in which every law and every fit sees a training record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from ..theory.schedule import Schedule

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrainingCurves:
    """Observations of several runs, one after the other, and what is known of each run.

    Attributes
    ----------
    run : ndarray of int, shape (obs,)
        Number of the run that each observation belongs to; runs are contiguous and steps ascend within one.
    step, tokens : ndarray, shape (obs,)
        Optimiser steps done and tokens (or samples) seen when the loss was measured.
    loss, loss_stderr : ndarray, shape (obs,)
        Loss and its standard error (NaN where it is not known).
    name : ndarray of str, shape (run,)
        Label of each run.
    params, learning_rate, batch_size, dataset_size, warmup_steps : ndarray, shape (run,)
        Model size, learning rate after the warm-up, tokens a step, unique tokens (inf: one pass), steps of linear
        warm-up.
    schedules : mapping of int to Schedule
        By number of run, for those whose learning rate or batch size changes after the warm-up: the learning rate, and
        learning rate over tokens a step as noise rate, from step 0 to the last observation. Their ``learning_rate`` is
        the highest, ``batch_size`` the mean, and ``warmup_steps`` part of the schedule. Runs of one schedule share the
        object.
    test_eigenvalues : ndarray, shape (mode,), or None
        Variance of the test inputs along the modes of the training inputs, where it was measured and is another one.

    Examples
    --------
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(run=np.zeros(2, int), step=np.array([1.0, 2.0]), tokens=np.array([8.0, 16.0]),
    ...     loss=np.array([2.0, 1.0]), loss_stderr=np.full(2, np.nan), name=np.array(["a"]), params=one,
    ...     learning_rate=one, batch_size=8 * one, dataset_size=np.inf * one, warmup_steps=0 * one)
    >>> curves.select(np.array([False, True])).loss
    array([1.])
    """

    run: NDArray[np.int64]
    step: Floats
    tokens: Floats
    loss: Floats
    loss_stderr: Floats
    name: NDArray[np.str_]
    params: Floats
    learning_rate: Floats
    batch_size: Floats
    dataset_size: Floats
    warmup_steps: Floats
    schedules: Mapping[int, Schedule] = field(default_factory=dict)
    test_eigenvalues: Floats | None = None

    def select(self, keep: NDArray[np.bool_]) -> TrainingCurves:
        """Return the observations where ``keep`` (obs,) is true; every run keeps its number."""
        per_obs = {"run", "step", "tokens", "loss", "loss_stderr"}
        return TrainingCurves(
            **{
                f.name: getattr(self, f.name)[keep] if f.name in per_obs else getattr(self, f.name)
                for f in fields(self)
            }
        )
