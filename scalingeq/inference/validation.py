"""How far a fit can be trusted where it extrapolates: fits to a part of the runs, and what they say of the rest.

Several variants of the two-point fit describe the curves about equally well and extrapolate differently. Each is fitted
to a part of the training data, from which what is to be extrapolated is left out (the largest sizes, the ends of the
runs, a schedule, the smallest data sets), and predicts it. The errors weigh the variants in an average of their
predictions, and say how much wider than its own standard error a band has to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import FitError, ScalingEqError
from .curves import Floats, TrainingCurves
from .fitting import BURN_IN, TwoPointFit, default_parameters, default_weights, fit_two_point
from .robust import POINTS_PER_CURVE
from .uncertainty import predicted_band

if TYPE_CHECKING:
    from lmfit import Parameters

Bools = NDArray[np.bool_]
Task = Literal["size", "horizon", "schedule", "repetition"]

LEFT_OUT_SIZES, LEFT_OUT_STEPS = 0.3, 0.6
"""Share of the model sizes, or of the steps of every run, that a check leaves out."""

LEAST_SIZES = 3
"""Model sizes that must remain: fewer do not determine how size enters."""


@dataclass(frozen=True)
class Candidate:
    """A variant of the default fit.

    Attributes
    ----------
    name : str
        By which tables call it.
    finite_width : bool
        Whether size acts through an effective width, beside what a model of a size cannot learn.
    burn_in : float
        Share of a run's steps that is left out at its beginning.
    irreducible_prior : float
        As for :func:`~scalingeq.inference.fitting.fit_two_point`.
    batch_exponent : float
        0 where a step moves a model as far at every batch size, 1 where a token does.

    Examples
    --------
    >>> Candidate("late", burn_in=0.15).burn_in
    0.15
    """

    name: str
    finite_width: bool = True
    burn_in: float = BURN_IN
    irreducible_prior: float = np.inf
    batch_exponent: float = 0.0

    @property
    def family(self) -> tuple[bool, float]:
        """Candidates of one family have the same parameters: the optimum of one is a start for the others."""
        return self.finite_width, self.batch_exponent

    def differs(self, curves: TrainingCurves) -> bool:
        """Whether this is a variant of its own: at one batch size all exponents of the batch are the same."""
        return self.batch_exponent == 0 or np.unique(curves.batch_size[np.unique(curves.run)]).size > 1

    def fit(self, curves: TrainingCurves, fitted: Bools, near: Parameters | None = None) -> TwoPointFit:
        """Fit to the observations ``fitted`` (obs,), from the optimum ``near`` of a similar fit if there is one."""
        part = curves.select(fitted)
        weights = np.zeros(curves.run.size)
        weights[fitted] = default_weights(part, self.burn_in)
        params, notes = default_parameters(curves.select(weights > 0), self.batch_exponent)
        if not self.finite_width:
            _hold(params, {"width_scale": np.inf, "width_exponent": 0.0})
        fit = fit_two_point(curves, params, weights=weights, irreducible_prior=self.irreducible_prior, near=near)
        return replace(fit, notes=(*notes, *fit.notes))


def _hold(params: Parameters, values: dict[str, float]) -> None:
    for name, value in values.items():
        params[name].set(value=value, vary=False, min=-np.inf, max=np.inf)


CANDIDATES = (
    Candidate("default"),
    Candidate("late", burn_in=0.15),
    Candidate("late, weak floor", burn_in=0.15, irreducible_prior=0.5),
    Candidate("infinite width", finite_width=False),
    Candidate("infinite width, late", finite_width=False, burn_in=0.15),
    Candidate("tokens", batch_exponent=1.0),
    Candidate("tokens, late", batch_exponent=1.0, burn_in=0.15),
)
"""Variants that one or another set of curves prefers, none of them all."""


def left_out(curves: TrainingCurves, task: Task) -> list[Bools]:
    """Parts (obs,) of the observations, each to be predicted from the rest, that are like what a task extrapolates to.

    Parameters
    ----------
    curves : TrainingCurves
        Training data.
    task : {"size", "horizon", "schedule", "repetition"}
        The largest 30 % of the sizes (of a table of final losses: of the compute); the last 60 % of the steps of every
        run; one schedule after the other; the runs of the smallest data sets. Where there are too few schedules or data
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
            followers.setdefault(curves.schedules.get(run), []).append(run)
        if len(followers) > 1:
            return [np.isin(curves.run, mine) for mine in followers.values()]
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


@dataclass(frozen=True)
class Reach:
    """How far the observations of a fit go.

    Attributes
    ----------
    params, tokens, compute : float
        Largest size, number of tokens seen, and product of both.
    dataset_size : float
        Smallest number of unique tokens.
    schedules : bool
        Whether what is extrapolated to is another schedule, of which every point is equally far.
    """

    params: float
    tokens: float
    compute: float
    dataset_size: float
    schedules: bool

    @classmethod
    def of(cls, curves: TrainingCurves, task: Task) -> Reach:
        """Reach of a fit to all of ``curves``."""
        runs = np.unique(curves.run)
        return cls(
            float(curves.params[runs].max()),
            float(curves.tokens.max()),
            float((curves.params[curves.run] * curves.tokens).max()),
            float(curves.dataset_size[runs].min()),
            task == "schedule",
        )

    def beyond(self, curves: TrainingCurves) -> Floats:
        """Log distance (obs,) of observations beyond the reach.

        The sum of those in size and in tokens, or that in compute where it is longer, and that in repetition.

        Examples
        --------
        >>> one = np.ones(1)
        >>> far = TrainingCurves(np.zeros(1, int), 9 * one, 9 * one, one, one, np.array(["a"]), np.e * one, one, one,
        ...     np.inf * one, 0 * one)
        >>> Reach(1.0, 10.0, 10.0, np.inf, False).beyond(far)
        array([1.])
        """
        unique = curves.dataset_size[curves.run]
        repeats = np.isfinite(unique)
        repeats &= np.isfinite(self.dataset_size)
        ratio = np.divide(self.dataset_size, unique, out=np.ones_like(unique), where=repeats)
        size, tokens = curves.params[curves.run], curves.tokens
        distances = [
            np.log(np.maximum(one, 1.0))
            for one in (size / self.params, tokens / self.tokens, size * tokens / self.compute, ratio)
        ]
        distance = np.maximum(distances[0] + distances[1], distances[2]) + distances[3]
        return np.asarray(np.maximum(distance, 1.0) if self.schedules else distance)


@dataclass(frozen=True)
class Prediction:
    """Predicted log losses (obs,), and the scale of the error of each."""

    log_loss: Floats
    stderr: Floats


@dataclass(frozen=True)
class AveragedLaw:
    """Laws that are averaged, and how far the average drifts from the truth beyond what they were fitted to.

    Attributes
    ----------
    values : tuple of mapping
        All parameters of each law, the heaviest first.
    weights : ndarray, shape (law,)
        Weights of the average, which add up to 1.
    reference_params : float
        Model size that amplitudes refer to.
    noise : float
        Spread of the log residuals.
    drift : float
        Error of the average in log loss for each unit of log distance beyond what was fitted, as the check found it.
    freedom : float
        Degrees of freedom of that estimate: bands are those of a Student t.
    reach : Reach
        Of the fits.
    """

    values: tuple[Mapping[str, float], ...]
    weights: Floats
    reference_params: float
    noise: float
    drift: float
    freedom: float
    reach: Reach

    def predict(self, curves: TrainingCurves) -> Prediction:
        """Averaged log losses (obs,) and the scales (obs,) of their bands.

        The square of a scale is the sum of those of the noise, of the scatter between the laws, and of the drift over the
        distance to be bridged. The drift is that of whole predictions, errors of the parameters among them: their own
        standard errors, which know nothing of a law that is wrong, are not counted once more.
        """
        log_losses = [log_loss(values, curves, self.reference_params) for values in self.values]
        inner = averaged([Prediction(one, np.full(one.size, self.noise)) for one in log_losses], self.weights)
        return Prediction(inner.log_loss, np.hypot(inner.stderr, self.drift * self.reach.beyond(curves)))

    def quantiles(self, prediction: Prediction, probabilities: Sequence[float]) -> Floats:
        """Losses (quantile, obs) of the Student-t bands around a prediction."""
        from scipy.stats import t

        shift = np.asarray(t.ppf(np.asarray(probabilities), self.freedom))[:, None]
        return np.asarray(np.exp(prediction.log_loss + shift * prediction.stderr))


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
        """The heaviest candidate."""
        return next(iter(self.fits.values()))


def log_loss(values: Mapping[str, float], curves: TrainingCurves, reference_params: float) -> Floats:
    """Log losses (obs,) of a two-point law."""
    return np.log(predicted_band(values, None, curves, reference_params)[0])


def averaged(predictions: Sequence[Prediction], weights: Floats) -> Prediction:
    """Weighted mean of log losses; its error counts the scatter between the predictions.

    Examples
    --------
    >>> one, two = Prediction(np.array([0.0]), np.array([0.0])), Prediction(np.array([2.0]), np.array([0.0]))
    >>> averaged([one, two], np.array([0.5, 0.5]))
    Prediction(log_loss=array([1.]), stderr=array([1.]))
    """
    log_losses = np.array([one.log_loss for one in predictions])
    mean = weights @ log_losses
    variance = weights @ (np.array([one.stderr for one in predictions]) ** 2 + (log_losses - mean) ** 2)
    return Prediction(mean, np.sqrt(variance))


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
    A candidate that missed n independent parts (sizes, runs of schedules or data sets) by the root mean square error e
    weighs e^-4n, its likelihood with an unknown variance where every part counts as 4 points, as curves do in a fit. The
    average's errors beyond the noise and the scatter of the candidates, over the distance beyond what was fitted, give
    the drift: a mean square over the n parts, and one more that drifts as much as the residuals scatter, so that bands
    are those of a Student t with n + 1 degrees of freedom.
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
    """Weights and drift from what each candidate predicted for each part that was left out."""
    names = list(guesses)
    tests = [part.select(mask) for mask in scored]
    units = [_independent(test, task) for test in tests]
    count = sum(np.unique(unit).size for unit in units)
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
    weights = (scores / scores.min()) ** -(POINTS_PER_CURVE * count)
    weights /= weights.sum()
    order = np.argsort(-weights, kind="stable")
    together = [averaged([guesses[name][number] for name in names], weights) for number in range(len(masks))]
    noise = float(np.sqrt(weights @ np.array([fits[name].residual_scale for name in names]) ** 2))
    misses, distances = [], []
    for number, (test, guess, unit) in enumerate(zip(tests, together, units, strict=True)):
        far = Reach.of(part.select(~masks[number]), task).beyond(test)
        miss = (guess.log_loss - np.log(test.loss)) ** 2 - guess.stderr**2
        for one in np.unique(unit):
            misses.append(float(np.mean(miss[unit == one])))
            distances.append(float(np.mean(far[unit == one] ** 2)))
    # One ratio of sums: parts that lie hardly beyond what was fitted say hardly anything of a drift.
    square = max(sum(misses), 0.0) / sum(distances) if sum(distances) > 0 else 0.0
    drift = float(np.sqrt((count * square + noise**2) / (count + 1)))
    where = np.zeros(training.size, bool)
    where[np.flatnonzero(training)[scored[0]]] = True
    chosen = {names[number]: fits[names[number]] for number in order}
    law = AveragedLaw(
        values=tuple(fit.params.valuesdict() for fit in chosen.values()),
        weights=weights[order],
        reference_params=fits[names[0]].reference_params,
        noise=noise,
        drift=drift,
        freedom=count + 1.0,
        reach=Reach.of(part, task),
    )
    return AveragedFit(chosen, scores[order], failures, task, where, together[0], law)


def _independent(curves: TrainingCurves, task: Task) -> NDArray[np.int64]:
    """Number (obs,) of the part that an observation belongs to, whose errors are independent of those of other parts."""
    of_run = curves.params if task in ("size", "horizon") else np.arange(curves.name.size)
    return np.unique(np.asarray(of_run)[curves.run], return_inverse=True)[1]


def _by_unit(misfit: Floats, unit: NDArray[np.int64]) -> Floats:
    """Root mean square (part,) of the errors (obs,) in each part."""
    return np.asarray(np.sqrt(np.bincount(unit, misfit**2) / np.bincount(unit)))
