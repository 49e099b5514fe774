"""What draws of the parameters, from a bootstrap, a chain or a profile, make of predictions and frontiers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import NamedTuple

import numpy as np

from ..errors import ParameterError, ScalingEqError
from .curves import Floats
from .frontier import Frontier

FAILURES = (ScalingEqError, ValueError, ArithmeticError)  # of a draw outside the theory's domain


class Bands(NamedTuple):
    """Quantiles (quantile, ...) over draws, standard deviation (...), and how many draws gave nothing."""

    quantiles: Floats
    stderr: Floats
    failed: int


def bands(
    draws: Iterable[Mapping[str, float]], quantity: Callable[[Mapping[str, float]], Floats], quantile: Sequence[float]
) -> Bands:
    """Quantiles of a quantity over draws of the parameters.

    Parameters
    ----------
    draws : iterable of mapping
        Values of the parameters; those with NaN stand for draws that failed.
    quantity : callable
        Array (...) for a mapping of all parameters.
    quantile : sequence of float
        Between 0 and 1.

    Raises
    ------
    ParameterError
        If no draw gives the quantity.

    Examples
    --------
    >>> draws = [{"r": value} for value in (1.0, 2.0, np.nan, 3.0)]
    >>> found = bands(draws, lambda law: np.array([2 * law["r"]]), [0.5])
    >>> found.quantiles.tolist(), found.failed
    ([[4.0]], 1)
    """
    found, failed = [], 0
    for law in draws:
        try:
            if any(np.isnan(value) for value in law.values()):
                failed += 1
            else:
                found.append(quantity(law))
        except FAILURES:
            failed += 1
    if not found:
        raise ParameterError("draws: none of the draws gives a prediction; look at their notes and failures")
    stack = np.stack(found)
    return Bands(np.quantile(stack, quantile, axis=0), stack.std(axis=0), failed)


def frontier_over_draws(
    draws: Iterable[Mapping[str, float]], find: Callable[[Mapping[str, float]], Frontier], quantile: Sequence[float]
) -> tuple[Frontier, int]:
    """Quantiles (quantile, compute) of the frontier's quantities over draws, and how many draws have no frontier.

    Parameters
    ----------
    draws, quantile
        As for :func:`bands`.
    find : callable
        Frontier of one draw.

    Examples
    --------
    >>> from . import twopoint
    >>> from .twopoint_frontier import frontier
    >>> law = twopoint.complete(dict(alpha=1.5, r=0.3, width_scale=100.0, width_exponent=1.0))
    >>> plan = dict(reference_params=1e4, learning_rate=0.1, batch_size=100.0)
    >>> draws = [law, law | {"width_exponent": 0.9}]
    >>> found, failed = frontier_over_draws(draws, lambda one: frontier(one, np.array([1e12]), **plan), [0.1, 0.9])
    >>> found.params.shape, failed
    ((2, 1), 0)
    """

    def quantity(law: Mapping[str, float]) -> Floats:
        one = find(law)
        return np.array([getattr(one, field.name) for field in fields(Frontier)])

    found = bands(draws, quantity, quantile)
    return Frontier(*found.quantiles.swapaxes(0, 1)), found.failed


def split_normal_draws(
    values: Mapping[str, float], covariance: Floats, ends: Mapping[str, tuple[float, float]], count: int, seed: int = 0
) -> Floats:
    """Draws (draw, parameter) with the ends of a profile as margins and the covariance's correlations.

    Each margin is normal on either side of the best value, with the distance of the end on that side as its deviation
    (Fechner's two-piece normal, of equal weight on both sides); its normal scores are correlated as the covariance says.

    Parameters
    ----------
    values : mapping
        All parameters at the best fit.
    covariance : ndarray, shape (parameter, parameter)
        In the order of ``values``.
    ends : mapping of str to (float, float)
        Distance of one standard deviation below and above the best value; parameters without have that of the covariance.
    count, seed : int
        Number of draws, and of the random numbers.

    Examples
    --------
    >>> drawn = split_normal_draws({"r": 0.3}, np.array([[1e-4]]), {"r": (0.01, 0.02)}, 4000)
    >>> np.quantile(drawn[:, 0], [0.1587, 0.5, 0.8413]).round(2).tolist()
    [0.29, 0.3, 0.32]
    """
    names, best = list(values), np.array(list(values.values()))
    stderr = np.sqrt(np.diag(covariance))
    uncertain = stderr > 0
    unit = np.where(uncertain, stderr, 1.0)
    correlation = (covariance / np.outer(unit, unit))[np.ix_(uncertain, uncertain)]
    rng = np.random.default_rng(seed)
    scores = np.zeros((count, best.size))
    scores[:, uncertain] = rng.multivariate_normal(np.zeros(correlation.shape[0]), correlation, count, "ignore")
    below, above = (
        np.array([ends.get(n, (s, s))[side] for n, s in zip(names, stderr, strict=True)]) for side in (0, 1)
    )
    return np.asarray(best + np.where(scores < 0, below, above) * scores)
