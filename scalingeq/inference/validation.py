"""How far a fit can be trusted where it extrapolates: fits to a part of the runs, and what they say of the rest.

Several variants of the two-point fit describe the curves about equally well and extrapolate differently. Each is fitted
to a part of the training data, from which what is to be extrapolated is left out (the largest sizes, the ends of the
runs, a schedule, the smallest data sets), and predicts it. The errors weigh the variants in an average of their
predictions, and how far these scatter says how wide a band has to be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FitError, ScalingEqError
from .bands import AveragedLaw, Prediction, Reach, averaged, log_loss
from .candidates import CANDIDATES, Candidate
from .curves import Floats, TrainingCurves
from .fitting import TwoPointFit, default_weights
from .leaving_out import Bools, Task, left_out, parts_of
from .robust import POINTS_PER_CURVE

if TYPE_CHECKING:
    from lmfit import Parameters


@dataclass(frozen=True)
class AveragedFit:
    """Candidates fitted to the same runs, averaged by how well they predicted what was left out.

    Attributes
    ----------
    fits : mapping of str to TwoPointFit
        By candidate, the heaviest first.
    scores : ndarray, shape (candidate,)
        RMS log error on what was left out.
    failures : mapping of str to str
        Candidates that could not be fitted, and why.
    task : str
        What was left out.
    left_out : ndarray of bool, shape (obs,)
        Observations that were left out and predicted; of several parts the first.
    left_out_prediction : Prediction
        Average for these.
    law : AveragedLaw
        Average of the fits to all training data.
    """

    fits: dict[str, TwoPointFit]
    scores: Floats
    failures: dict[str, str]
    task: Task
    left_out: Bools
    left_out_prediction: Prediction
    law: AveragedLaw

    @property
    def best(self) -> TwoPointFit:
        """The heaviest candidate that has a frontier: its rates do not follow its loss."""
        fits = list(self.fits.values())
        return next((fit for fit in fits if fit.params["loss_exponent"].value == 0), fits[0])


def fit_average(
    curves: TrainingCurves,
    task: Task,
    *,
    fitted: Bools | None = None,
    candidates: Sequence[Candidate] | None = None,
    progress: Callable[[float], object] | None = None,
) -> AveragedFit:
    """Fit every candidate to all runs, and weigh them by how they predict, fitted to a part, what was left out of it.

    Parameters
    ----------
    curves : TrainingCurves
        Observations.
    task : {"size", "horizon", "schedule", "repetition"}
        What the fit is to extrapolate to, and so what :func:`left_out` leaves out.
    fitted : ndarray of bool, shape (obs,), optional
        Training data; the default takes all observations.
    candidates : sequence of Candidate, optional
        Variants of the fit; default :data:`CANDIDATES`.
    progress : callable, optional
        Told the share of the work done, from 0 to 1.

    Returns
    -------
    AveragedFit

    Raises
    ------
    FitError
        If no candidate can be fitted, to a part or to the whole.

    Notes
    -----
    What is left out at once is one test: the sizes, runs or data sets in it share what the fits get wrong, and count alike
    in its mean square error, but not as so many tests. A candidate that missed n tests by the root mean square error e
    weighs e^-4n, its likelihood with an unknown variance where a test counts as 4 points, as curves do in a fit. Bands
    have the scale of the noise, of the candidates' scatter and of :data:`~scalingeq.inference.bands.DRIFT` over the
    distance beyond what was fitted, times :data:`~scalingeq.inference.bands.NEEDED`, and are those of a Student t with
    n + 1 degrees of freedom.

    All this was decided inside the fitted parts of the scoreboard, of which what is largest or last was left out once
    more: 30 problems from 11 sets, with 500 runs. Averages weighed by tests missed by less (1.46 %, geometric mean) than
    those weighed by the parts in them (1.50), the best candidate alone (1.56) or all alike (1.63). Bands were chosen by
    the mean logarithmic score among those that hold numbers of runs consistent with nominal: 2.68 with the numbers
    above, which hold 69.2 and 97.0 % of the runs at 68 and 95 % (70.2 and 94.7 where every problem counts alike). A drift
    taken from what the average itself missed of the tests, over their distance, scored 2.41, and the more of it was
    replaced by a constant the better: of one or two tests, often hardly beyond what was fitted, it foretold little.
    """
    training = np.ones(curves.run.size, bool) if fitted is None else fitted
    part = curves.select(training)
    masks = left_out(part, task)
    candidates = [candidate for candidate in candidates or CANDIDATES if candidate.differs(part)]
    tell = progress or (lambda share: None)
    work, done = len(candidates) * (len(masks) + 1), 0
    optima: dict[tuple[Any, ...], Parameters] = {}
    failures: dict[str, str] = {}
    guesses: dict[str, list[Prediction]] = {}
    fits: dict[str, TwoPointFit] = {}
    # A check is scored where the default fit would look: the transient of a run that was left out is no test.
    scored = [mask & (default_weights(part) > 0) for mask in masks]
    for candidate in candidates:
        try:
            found = []
            for number, mask in enumerate(masks):
                key = (number, *candidate.family)
                fit = candidate.fit(part, ~mask, optima.get(key))
                optima.setdefault(key, fit.params)
                guess = log_loss(fit.params.valuesdict(), part.select(scored[number]), fit.reference_params)
                found.append(Prediction(guess, np.full(guess.size, fit.residual_scale)))
                done += 1
                tell(done / work)
            key = (len(masks), *candidate.family)
            fits[candidate.name] = candidate.fit(curves, training, optima.get(key))
            optima.setdefault(key, fits[candidate.name].params)
            guesses[candidate.name] = found
            done += 1
            tell(done / work)
        except ScalingEqError as error:
            failures[candidate.name] = str(error)
    if not guesses:
        raise FitError("no candidate could be fitted: " + "; ".join(f"{k}: {v}" for k, v in failures.items()))
    return _weighed(part, task, masks, scored, fits, guesses, failures, training)


def _weighed(
    part: TrainingCurves,
    task: Task,
    masks: list[Bools],
    scored: list[Bools],
    fits: dict[str, TwoPointFit],
    guesses: dict[str, list[Prediction]],
    failures: dict[str, str],
    training: Bools,
) -> AveragedFit:
    """Weights from what each candidate predicted for each fold that was left out."""
    names = list(guesses)
    tests = [part.select(mask) for mask in scored]
    units = [parts_of(test, task) for test in tests]
    folds = len(masks)
    scores = np.array(
        [
            np.sqrt(
                np.mean(
                    [
                        np.mean(_by_unit(g.log_loss - np.log(t.loss), u) ** 2)
                        for g, t, u in zip(guesses[name], tests, units, strict=True)
                    ]
                )
            )
            for name in names
        ]
    )
    weights = (scores / scores.min()) ** -(POINTS_PER_CURVE * folds)
    weights /= weights.sum()
    order = np.argsort(-weights, kind="stable")
    noise = float(np.sqrt(weights @ np.array([fits[name].residual_scale for name in names]) ** 2))
    where = np.zeros(training.size, bool)
    where[np.flatnonzero(training)[scored[0]]] = True
    chosen = {names[number]: fits[names[number]] for number in order}
    law = AveragedLaw(
        values=tuple(fit.params.valuesdict() for fit in chosen.values()),
        weights=weights[order],
        reference_params=fits[names[0]].reference_params,
        noise=noise,
        freedom=folds + 1.0,
        reach=Reach.of(part, task),
    )
    first = averaged([guesses[name][0] for name in names], weights)
    return AveragedFit(chosen, scores[order], failures, task, where, first, law)


def _by_unit(misfit: Floats, unit: NDArray[np.int64]) -> Floats:
    """Root mean square (part,) of the errors (obs,) in each part."""
    return np.asarray(np.sqrt(np.bincount(unit, misfit**2) / np.bincount(unit)))
