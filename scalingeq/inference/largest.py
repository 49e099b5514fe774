"""The largest runs left out of a fit and predicted from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .curves import Floats, TrainingCurves
from .fitting import fit_two_point
from .laws.interface import Law, LawFit
from .leaving_out import left_out
from .scoring import Score, score
from .twopoint import LAW_NAME

if TYPE_CHECKING:
    from lmfit import Parameters


class LargestLeftOut(NamedTuple):
    """How a law predicts the largest of what it was fitted to from the rest.

    Attributes
    ----------
    whole_runs : bool
        Whether the runs of the largest sizes were left out; the ends of all runs, where there are too few sizes.
    score : Score
        Errors, and how many runs the bands hold.
    """

    whole_runs: bool
    score: Score


def largest_left_out(
    law: Law, curves: TrainingCurves, params: Parameters, weight: Floats, irreducible_prior: float = np.inf
) -> LargestLeftOut:
    """Fit again without the largest sizes, with the same parameters free, and predict them.

    Parameters
    ----------
    law : Law
        Any law that has losses.
    curves : TrainingCurves
        Observations of the fit.
    params : lmfit.Parameters
        Its optimum, from which the two-point law is refined, without a search: what other optima would predict, a check of
        candidates says (:func:`~scalingeq.inference.validation.fit_average`).
    weight : ndarray, shape (obs,)
        Its weights.
    irreducible_prior : float, default inf
        As in :func:`~scalingeq.inference.fitting.fit_two_point`.

    Raises
    ------
    FitError
        If what is left cannot be fitted.

    Examples
    --------
    >>> from .laws import LAWS
    >>> size, steps = np.geomspace(1e4, 1e6, 5), np.geomspace(100, 1e4, 9)
    >>> run, step, one = np.repeat(np.arange(5), 9), np.tile(steps, 5), np.ones(5)
    >>> loss = 0.5 + 20 * size[run] ** -0.4 + 5 * (8 * step) ** -0.3
    >>> curves = TrainingCurves(run, step, 8 * step, loss, np.full(45, np.nan), np.array(list("abcde")), size, 0.1 * one,
    ...     8 * one, np.inf * one, 0 * one)
    >>> law = LAWS["chinchilla"]
    >>> found = largest_left_out(law, curves, law.fit(curves).params, np.ones(45))
    >>> found.whole_runs, found.score.runs, bool(found.score.error < 1e-3)
    (True, 2, True)
    """
    used = np.flatnonzero(weight > 0)
    chosen = curves.select(weight > 0)
    mask = left_out(chosen, "size")[0]
    rest = np.array(weight, dtype=float)
    rest[used[mask]] = 0.0
    fit: LawFit
    if law.name == LAW_NAME:
        fit = fit_two_point(curves, params, weights=rest, near=params, irreducible_prior=irreducible_prior)
    else:
        fit = law.fit(curves, params, weights=rest)
    test = chosen.select(mask)
    return LargestLeftOut(not np.isin(test.run, chosen.run[~mask]).any(), score(test, *law.prediction(fit, test)))
