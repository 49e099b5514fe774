"""Averages of laws, and bands that widen with the distance from what the laws were fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .curves import Floats, TrainingCurves
from .leaving_out import Task
from .uncertainty import predicted_band

NEEDED, DRIFT = 0.8, 0.003
"""Share of their scale that bands need to hold what they say, and error of an average in log loss for each unit of log
distance beyond what was fitted, inside the fitted parts of the scoreboard: see
:func:`~scalingeq.inference.validation.fit_average`."""


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
    """Laws that are averaged, and what the bands around the average need.

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
    freedom : float
        Degrees of freedom: bands are those of a Student t.
    reach : Reach
        Of the fits.
    """

    values: tuple[Mapping[str, float], ...]
    weights: Floats
    reference_params: float
    noise: float
    freedom: float
    reach: Reach

    def predict(self, curves: TrainingCurves) -> Prediction:
        """Averaged log losses (obs,) and the scales (obs,) of their bands.

        The square of a scale is, but for the share NEEDED, the sum of those of the noise, of the scatter between the laws,
        and of DRIFT over the distance to be bridged. Both are errors of whole predictions, those of the parameters among
        them: their own standard errors, which know nothing of a law that is wrong, are not counted once more.
        """
        log_losses = [log_loss(values, curves, self.reference_params) for values in self.values]
        inner = averaged([Prediction(one, np.full(one.size, self.noise)) for one in log_losses], self.weights)
        stderr = np.hypot(inner.stderr, DRIFT * self.reach.beyond(curves))
        return Prediction(inner.log_loss, NEEDED * stderr)

    def quantiles(self, prediction: Prediction, probabilities: Sequence[float]) -> Floats:
        """Losses (quantile, obs) of the Student-t bands around a prediction."""
        from scipy.stats import t

        shift = np.asarray(t.ppf(np.asarray(probabilities), self.freedom))[:, None]
        return np.asarray(np.exp(prediction.log_loss + shift * prediction.stderr))


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
