"""How well a law predicted runs that it was not fitted to: errors, and whether they lie in the stated bands."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .curves import Floats, TrainingCurves

LEVELS = (0.68, 0.95)
"""Probabilities of the bands that are scored."""

SIGNIFICANCE = 0.01
"""Level of the test that coverage is nominal."""


class Score(NamedTuple):
    """Of a prediction of held-out observations.

    Attributes
    ----------
    error : float
        RMS log error over all observations.
    end_error : float
        Log of predicted over measured loss at the end of the run of the most tokens.
    runs : int
        Held-out runs.
    inside : tuple of float
        For each of :data:`LEVELS`, how many runs lie in the band, each counted by the share of its observations.
    """

    error: float
    end_error: float
    runs: int
    inside: tuple[float, ...]


def score(curves: TrainingCurves, log_loss: Floats, stderr: Floats, freedom: float = np.inf) -> Score:
    """Score predicted log losses (obs,) with Student-t bands of scale ``stderr`` (obs,) beside the measured losses.

    Examples
    --------
    >>> one = np.ones(2)
    >>> curves = TrainingCurves(np.array([0, 0, 1]), np.array([1.0, 2.0, 1.0]), np.array([1.0, 2.0, 1.0]),
    ...     np.exp([0.0, 0.3, 0.0]), np.ones(3), np.array(["a", "b"]), one, one, one, np.inf * one, 0 * one)
    >>> found = score(curves, np.zeros(3), np.full(3, 0.1))
    >>> round(found.error, 3), found.end_error.__round__(3), found.runs, found.inside
    (0.173, -0.3, 2, (1.5, 1.5))
    """
    from scipy.stats import t

    misfit = log_loss - np.log(curves.loss)
    runs, number, count = np.unique(curves.run, return_inverse=True, return_counts=True)
    inside = []
    for level in LEVELS:
        half = float(t.ppf(0.5 + level / 2, freedom)) * stderr
        inside.append(float(np.sum(np.bincount(number, np.abs(misfit) <= half) / count)))
    return Score(float(np.sqrt(np.mean(misfit**2))), float(misfit[np.argmax(curves.tokens)]), runs.size, tuple(inside))


def nominal_range(runs: int, level: float) -> tuple[int, int]:
    """Smallest and largest number of runs inside a band of this level that is consistent with it.

    Of the two-sided binomial test at the 1 % level, runs counted as independent.

    Examples
    --------
    >>> nominal_range(100, 0.68)
    (56, 80)
    """
    from scipy.stats import binom

    counts: NDArray[np.int64] = np.arange(runs + 1)
    fine = (binom.cdf(counts, runs, level) >= SIGNIFICANCE / 2) & (
        binom.sf(counts - 1, runs, level) >= SIGNIFICANCE / 2
    )
    return int(counts[fine].min()), int(counts[fine].max())
