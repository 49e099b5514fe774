"""Minima of IsoFLOP curves: parabolas in log size through the losses of one compute.

Approach 2 of Hoffmann et al. (arXiv:2203.15556).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .curves import Floats
from .frontier import FLOPS_RULES, FlopsRule
from .measured_losses import Bools, Losses, is_inside, run_draws
from .power_fits import PowerFit, power_fits, spread_of, with_tokens

REACH = 2.0
"""Factor in size around the best one within which a parabola is drawn."""

PARABOLA = 3
"""Coefficients of a parabola."""


@dataclass(frozen=True)
class IsoFLOP:
    """Minima of the parabolas through the losses of one compute over log size, arrays (compute,), NaN where there is none.

    Attributes
    ----------
    loss, params, tokens : ndarray
        At the minimum.
    loss_stderr, params_stderr : ndarray
        Standard errors of the logs of loss and params.
    curvature : ndarray
        Second derivative of the log loss in log size at the minimum.
    used : ndarray of bool, shape (compute, run)
        Runs that each parabola goes through.
    spread : float
        Scatter of the log losses around the parabolas, NaN where none has more than three runs.
    fits : dict of str to PowerFit
        Of ``loss``, ``params`` and ``tokens``.
    drawn : dict of str to ndarray, shape (1 + draw, compute)
        Logarithms of the three for the losses as they are, and for draws of their errors.
    """

    loss: Floats
    loss_stderr: Floats
    params: Floats
    params_stderr: Floats
    tokens: Floats
    curvature: Floats
    used: Bools
    spread: float
    fits: dict[str, PowerFit]
    drawn: dict[str, Floats]


def isoflop_minima(losses: Losses, *, reach: float = REACH, flops: FlopsRule = FLOPS_RULES["6ND"]) -> IsoFLOP:
    """Minimum at each compute of a parabola in log size through the log losses of the runs.

    Parameters
    ----------
    losses : Losses
        From :func:`losses_at`.
    reach : float
        A parabola goes through the runs whose size is within this factor of the best run's, and through the two nearest
        sizes on either side at least: farther off the loss is no parabola.
    flops : callable
        Compute of (params, tokens).

    Returns
    -------
    IsoFLOP
        Without a minimum where it would lie outside the sizes used, or fewer than three sizes were measured. Standard
        errors are the spread over draws in which each run's loss moves as a whole, at all computes alike, by the scatter
        around the parabolas, noise and misfit, or by its own error where that is larger: right on average over records,
        and in one record as uncertain as a scatter known from a few residuals.

    Examples
    --------
    >>> size = np.array([1e3, 1e4, 1e5])
    >>> three = Losses(np.array([1e9]), np.log(size / 2e4)[None] ** 2 / 50, 0.001 * np.ones((1, 3)), size)
    >>> found = isoflop_minima(three)
    >>> print(round(found.params[0]), found.params_stderr[0].round(2))
    20000 0.01
    """
    used = near_the_best(losses, reach)
    log_size = np.log(losses.params)
    spread = parabola_spread(losses, used)
    draws = run_draws(losses.params.size)
    place, level, bend = (np.full((draws.shape[0], losses.compute.size), np.nan) for _ in range(3))
    for row in np.flatnonzero(used.any(axis=1)):
        mine = used[row]
        design = _design(log_size[mine])
        scatter = np.fmax(spread, losses.stderr[row, mine])  # the scatter has the losses' own errors in it
        values = losses.log_loss[row, mine] + scatter * draws[:, mine]
        offset, slope, square = np.linalg.pinv(design) @ values.T
        curved = square > 0
        best = np.where(curved, -slope / (2 * np.where(curved, square, 1.0)), np.nan)
        inside = np.abs(best) <= 1  # sizes are counted from the middle of those used, in halves of their range
        middle, half = _range(log_size[mine])
        place[inside, row] = middle + half * best[inside]
        level[inside, row] = (offset - slope**2 / (4 * np.where(curved, square, 1.0)))[inside]
        bend[inside, row] = 2 * square[inside] / half**2
    drawn = with_tokens(level, place, losses.compute, flops)
    error = {name: spread_of(values[1:]) for name, values in drawn.items()}
    found = np.isfinite(place[0])
    with_error = found & (np.nan_to_num(error["params"]) > 0)
    weight = np.divide(1.0, error["params"], out=np.zeros(found.size), where=with_error)
    return IsoFLOP(
        loss=np.exp(drawn["loss"][0]),
        loss_stderr=error["loss"],
        params=np.exp(drawn["params"][0]),
        params_stderr=error["params"],
        tokens=np.exp(drawn["tokens"][0]),
        curvature=bend[0],
        used=used,
        spread=spread,
        fits=power_fits(drawn, losses.compute, weight if with_error.any() else np.where(found, 1.0, 0.0)),
        drawn=drawn,
    )


def near_the_best(losses: Losses, reach: float) -> Bools:
    """Runs (compute, run) whose size is within a factor of the best one's, and the two nearest sizes on either side.

    Examples
    --------
    >>> loss = np.log([[3.0, 2.0, 1.0, 2.0, 3.0, 4.0]])
    >>> near_the_best(Losses(np.array([1e9]), loss, 0 * loss, np.geomspace(1e3, 1e8, 6)), 2.0).tolist()
    [[True, True, True, True, True, False]]
    """
    there = np.isfinite(losses.log_loss)
    log_size = np.log(losses.params)
    used = np.zeros_like(there)
    for row in np.flatnonzero(is_inside(losses)):
        centre = log_size[np.where(there[row], losses.log_loss[row], np.inf).argmin()]
        sizes = np.unique(log_size[there[row]])
        low = min(centre - np.log(reach), sizes[sizes < centre][-2:][0])
        high = max(centre + np.log(reach), sizes[sizes > centre][:2][-1])
        used[row] = there[row] & (log_size >= low) & (log_size <= high)
    return used


def parabola_spread(losses: Losses, used: Bools) -> float:
    """Scatter of the ``used`` (compute, run) log losses around their parabolas, NaN where nothing is left over.

    Examples
    --------
    >>> loss = np.array([[0.4, 0.1, 0.0, 0.1, 0.4]])
    >>> losses = Losses(np.array([1e9]), loss, 0 * loss, np.geomspace(1e3, 1e7, 5))
    >>> round(parabola_spread(losses, np.ones((1, 5), bool)), 9)
    0.0
    """
    squares, freedom = 0.0, 0
    for row in np.flatnonzero(used.any(axis=1)):
        values, design = losses.log_loss[row, used[row]], _design(np.log(losses.params[used[row]]))
        squares += float(((values - design @ (np.linalg.pinv(design) @ values)) ** 2).sum())
        freedom += values.size - PARABOLA
    return float(np.sqrt(squares / freedom)) if freedom > 0 else np.nan


def _range(log_size: Floats) -> tuple[float, float]:
    """Middle and half of a range of log sizes."""
    low, high = float(log_size.min()), float(log_size.max())
    return (low + high) / 2, (high - low) / 2


def _design(log_size: Floats) -> Floats:
    """Powers (run, 3) of the log size, from -1 to 1 over the range."""
    middle, half = _range(log_size)
    return np.asarray(((log_size - middle) / half)[:, None] ** np.arange(PARABOLA))
