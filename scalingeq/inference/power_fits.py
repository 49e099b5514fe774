"""Power laws in compute through measured frontiers, with standard errors from draws of the losses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .curves import Floats
from .frontier import FlopsRule, tokens_for
from .measured_losses import Bools

EXPONENTS = np.geomspace(5e-3, 2.0, 400)
"""Among which the exponent of a saturating power law is searched for first."""


class PowerFit(NamedTuple):
    """Power law ``coefficient * compute**exponent`` through a frontier, and the standard error of the exponent.

    All are NaN where fewer than two computes have a frontier; the error is where the data tell no spread.
    """

    coefficient: float
    exponent: float
    stderr: float


def with_tokens(log_loss: Floats, log_params: Floats, compute: Floats, flops: FlopsRule) -> dict[str, Floats]:
    """Logarithms (draw, compute) of loss, params and tokens.

    Examples
    --------
    >>> from .frontier import FLOPS_RULES
    >>> with_tokens(np.zeros((1, 1)), np.log([[10.0]]), np.array([6e3]), FLOPS_RULES["6ND"])["tokens"].round(9).tolist()
    [[4.605170186]]
    """
    found = np.isfinite(log_params)
    log_tokens = np.full(found.shape, np.nan)
    if found.any():
        spent = np.broadcast_to(compute, found.shape)[found]
        log_tokens[found] = np.log(tokens_for(spent, np.exp(log_params[found]), flops))
    return {"loss": log_loss, "params": log_params, "tokens": log_tokens}


def spread_of(values: Floats) -> Floats:
    """Standard deviation (...) over the draws (draw, ...) from their quantiles.

    NaN where a quarter of the draws or more have no value: what they would have been lies beyond the sizes measured.

    Examples
    --------
    >>> spread_of(np.linspace(0, 1, 101)[:, None]).round(2).tolist()
    [0.34]
    """
    known = np.isfinite(values).mean(axis=0) > 0.75
    result = np.full(values.shape[1:], np.nan)
    if known.any():
        low, high = np.nanquantile(values[:, known], [0.16, 0.84], axis=0)
        result[known] = (high - low) / 2
    return result


def power_fits(drawn: dict[str, Floats], compute: Floats, weight: Floats) -> dict[str, PowerFit]:
    """Power laws through logarithms (draw, compute), weighted; the first draw is the best, the others give the error.

    Examples
    --------
    >>> compute = np.array([1e9, 1e10, 1e11])
    >>> found = power_fits({"params": 0.5 * np.log(compute)[None].repeat(9, axis=0)}, compute, np.ones(3))
    >>> round(found["params"].exponent, 9)
    0.5
    """
    fits = {}
    for name, values in drawn.items():
        weights = np.where(np.isfinite(values), weight**2, 0.0)
        fits[name] = _power_fit(np.log(compute), np.where(weights > 0, values, 0.0), weights)
    return fits


def lines(x: Floats, y: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Values at x = 0 and slopes (draw,) of straight lines of least squares through the weighted y (draw, x).

    Examples
    --------
    >>> [found.round(9).tolist() for found in lines(np.arange(3.0), np.array([[1.0, 3.0, 0.0]]), np.array([[1, 1, 0]]))]
    [[1.0], [2.0]]
    """
    total = weight.sum(axis=1)
    centre, mean = (weight @ x) / total, (weight * y).sum(axis=1) / total
    away = x - centre[:, None]
    slope = (weight * away * y).sum(axis=1) / (weight * away**2).sum(axis=1)
    return mean - slope * centre, slope


def _power_fit(x: Floats, y: Floats, weight: Floats) -> PowerFit:
    """Weighted lines through y (draw, compute)."""
    if np.count_nonzero(weight[0]) < 2:
        return PowerFit(np.nan, np.nan, np.nan)
    enough = np.count_nonzero(weight, axis=1) >= 2
    level, slope = lines(x, y[enough], weight[enough])
    error = spread_of(slope[1:, None])[0] if slope.size > 0.75 * enough.size else np.nan
    return PowerFit(float(np.exp(level[0])), float(slope[0]), float(error) if error > 0 else np.nan)


def saturating_power(x: Floats, y: Floats, known: Bools) -> tuple[Floats, Floats, Floats]:
    """Best c0, c1, p >= 0, arrays (draw,), of y = c0 + c1 x^-p through the ``known`` y (draw, x), in relative error.

    Examples
    --------
    >>> x = np.geomspace(0.1, 10, 9)
    >>> [value.round(3).item() for value in saturating_power(x, (2 + 0.5 * x**-0.3)[None], np.ones((1, 9), bool))]
    [2.0, 0.5, 0.3]
    """

    def search(exponents: Floats) -> tuple[Floats, Floats, Floats]:
        """Misfit (exponent, draw) and the two coefficients, the exponents (exponent, draw)."""
        powers = x ** -exponents[..., None]
        one, power = known / y, powers * known / y  # columns in units of what they are to meet
        aa, ab, bb = (np.sum(left * right, axis=-1) for left, right in ((one, one), (one, power), (power, power)))
        a, b = one.sum(axis=-1), power.sum(axis=-1)
        level = np.clip((a * bb - b * ab) / (aa * bb - ab**2), 0.0, a / aa)
        rest = (b - level * ab) / bb
        misfit = np.sum((known - level[..., None] * one - rest[..., None] * power) ** 2, axis=-1)
        return misfit, level, rest

    exponents = np.broadcast_to(EXPONENTS[:, None], (EXPONENTS.size, len(y)))
    step = np.log(EXPONENTS[1] / EXPONENTS[0])
    for _ in range(4):
        misfit, level, rest = search(exponents)
        best, draw = misfit.argmin(axis=0), np.arange(len(y))
        found = level[best, draw], rest[best, draw], exponents[best, draw]
        exponents = found[2] * np.exp(step * np.linspace(-1, 1, 41))[:, None]
        step /= 20
    return found
