"""Measured frontiers: the lower envelope of measured curves, and the minima of IsoFLOP curves, against compute.

Hoffmann et al. (arXiv:2203.15556) call these their approaches 1 and 2. No law is assumed: losses between two measured
points of a run are interpolated, none is extrapolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .curves import Floats, TrainingCurves
from .frontier import FLOPS_RULES, FlopsRule, tokens_for

Bools = NDArray[np.bool_]

SAME_COMPUTE = 0.02
"""In log compute: a run of one point belongs to the budgets within this distance."""

NEIGHBOURHOOD = 5
"""Points before and after one, whose errors of interpolation are averaged to give its own."""

NOT_TOLD_APART = 2.0
"""Standard errors of a difference of losses within which two sizes are equally good."""

DRAWS, SEED = 400, 0
"""Draws of the runs' errors that give standard errors, and the seed of their random numbers."""

REACH = 2.0
"""Factor in size around the best one within which a parabola is drawn."""

PARABOLA = 3
"""Coefficients of a parabola."""


class PowerFit(NamedTuple):
    """Power law ``coefficient * compute**exponent`` through a frontier, and the standard error of the exponent.

    All are NaN where fewer than two computes have a frontier; the error is where the data tell no spread.
    """

    coefficient: float
    exponent: float
    stderr: float


@dataclass(frozen=True)
class Losses:
    """Losses of the runs at each compute, interpolated between their points.

    Attributes
    ----------
    compute : ndarray, shape (compute,)
        FLOPs.
    log_loss, stderr : ndarray, shape (compute, run)
        Log loss, NaN where a run has not been measured on both sides of the compute, and its standard error.
    params : ndarray, shape (run,)
        Model sizes.
    """

    compute: Floats
    log_loss: Floats
    stderr: Floats
    params: Floats


@dataclass(frozen=True)
class Envelope:
    """Lowest measured loss at each compute, arrays (compute,), NaN where no run has been measured.

    Attributes
    ----------
    loss, params, tokens : ndarray
        Of the best run.
    loss_stderr : ndarray
        Standard error of the log of its loss.
    run : ndarray of int
        Number of the best run, -1 for none.
    params_low, params_high : ndarray
        Smallest and largest size whose loss the errors do not tell from the lowest.
    is_inside : ndarray of bool
        Whether smaller and larger models were measured at this compute as well: where not, the envelope is only the best
        of what was tried.
    fits : dict of str to PowerFit
        Of ``loss``, ``params`` and ``tokens``, through the computes that are inside.
    """

    loss: Floats
    loss_stderr: Floats
    params: Floats
    tokens: Floats
    run: NDArray[np.int64]
    params_low: Floats
    params_high: Floats
    is_inside: Bools
    fits: dict[str, PowerFit]


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


def measured_compute(curves: TrainingCurves, flops: FlopsRule = FLOPS_RULES["6ND"]) -> Floats:
    """Compute (obs,) spent when each loss was measured.

    Examples
    --------
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(np.zeros(2, int), np.array([1.0, 2.0]), np.array([8.0, 16.0]), np.ones(2), np.ones(2),
    ...     np.array(["a"]), 100 * one, one, 8 * one, np.inf * one, 0 * one)
    >>> measured_compute(curves).tolist()
    [4800.0, 9600.0]
    """
    return np.asarray(flops(curves.params[curves.run], curves.tokens), float)


def last_points(curves: TrainingCurves) -> TrainingCurves:
    """The last observation of each run alone.

    Examples
    --------
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(np.zeros(2, int), np.array([1.0, 2.0]), np.array([8.0, 16.0]), np.ones(2), np.ones(2),
    ...     np.array(["a"]), one, one, 8 * one, np.inf * one, 0 * one)
    >>> last_points(curves).step.tolist()
    [2.0]
    """
    return curves.select(np.append(np.diff(curves.run) != 0, True))


def budgets(curves: TrainingCurves, flops: FlopsRule = FLOPS_RULES["6ND"], number: int = 12) -> Floats:
    """Computes at which the best measured size has smaller and larger ones beside it.

    Those of a table of final losses, else ``number`` log-spaced ones.

    Raises
    ------
    DataError
        If there is no such compute.

    Examples
    --------
    >>> from .laws.additive import AdditiveLaw
    >>> law, run, tokens = AdditiveLaw(1.0, 0.5, 0.5, 0.4, 0.5, 1e3, 1e5), np.repeat(np.arange(4), 50), np.geomspace(1e3, 1e8, 50)
    >>> params, one = np.array([1e3, 1e4, 1e5, 1e6]), np.ones(4)
    >>> curves = TrainingCurves(run, np.tile(tokens, 4), np.tile(tokens, 4), law.loss(params[run], np.tile(tokens, 4)),
    ...     np.full(200, np.nan), np.array(list("abcd")), params, one, one, np.inf * one, 0 * one)
    >>> print(["%.0e" % compute for compute in budgets(curves, number=3)])
    ['8e+09', '2e+11', '6e+12']
    """
    compute = measured_compute(curves, flops)
    compute = np.sort(compute[compute > 0])
    is_table = np.bincount(curves.run).max() == 1
    tried = compute[np.append(True, np.diff(np.log(compute)) > SAME_COMPUTE)]
    if not is_table:
        tried = np.geomspace(compute[0], compute[-1], 1000)
    inside = tried[_is_inside(losses_at(curves, tried, flops))]
    if inside.size == 0:
        raise DataError(
            "params: at no compute was the best of the measured sizes between others, so that no frontier is inside; "
            "add runs of smaller or larger models at the same compute"
        )
    return inside if is_table else np.geomspace(inside[0], inside[-1], number)


def losses_at(curves: TrainingCurves, compute: Floats, flops: FlopsRule = FLOPS_RULES["6ND"]) -> Losses:
    """Losses of all runs at each compute, linear in the logarithms between the points of a run.

    A run of one point counts where its compute is within 2 %. The standard error joins that of the measurement, where the
    record has one, and what a measured point of the run is missed by when it is interpolated from the two beside it, an
    average over the points nearby: noise and the curve's bend together, at twice the distance that is really bridged.
    Errors that neighbours share, those of a seed above all, it does not see.

    Examples
    --------
    >>> one, step = np.ones(1), np.geomspace(1, 1e3, 10)
    >>> curves = TrainingCurves(np.zeros(10, int), step, step, step**-0.5, np.full(10, np.nan), np.array(["a"]), one, one,
    ...     one, np.inf * one, 0 * one)
    >>> found = losses_at(curves, np.array([600.0, 6e5]))
    >>> np.exp(found.log_loss).round(3).tolist(), found.stderr.round(9).tolist()
    ([[0.1], [nan]], [[0.0], [nan]])
    """
    spent, log_compute = measured_compute(curves, flops), np.log(compute)
    log_loss = np.full((compute.size, curves.name.size), np.nan)
    stderr = log_loss.copy()
    for number in np.unique(curves.run).tolist():
        mine = (curves.run == number) & (spent > 0)
        if not mine.any():
            continue
        x, y = np.log(spent[mine]), np.log(curves.loss[mine])
        own = np.nan_to_num(curves.loss_stderr[mine] / curves.loss[mine])
        if x.size == 1:
            near = np.abs(log_compute - x) <= SAME_COMPUTE
            log_loss[near, number], stderr[near, number] = y, own
            continue
        reach = SAME_COMPUTE / 100  # budgets are rounded numbers
        inside = (log_compute >= x[0] - reach) & (log_compute <= x[-1] + reach)
        log_loss[inside, number] = np.interp(log_compute[inside], x, y)
        stderr[inside, number] = np.interp(log_compute[inside], x, np.hypot(own, _interpolation_error(x, y)))
    return Losses(np.asarray(compute, float), log_loss, stderr, curves.params)


def _interpolation_error(x: Floats, y: Floats) -> Floats:
    """Root mean square (point,), over the points nearby, of what interpolation from both neighbours misses one by."""
    if x.size < 3:
        return np.zeros_like(x)
    share = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
    missed = (y[1:-1] - (1 - share) * y[:-2] - share * y[2:]) ** 2
    total = np.append(0.0, np.cumsum(missed))
    centre = np.clip(np.arange(x.size) - 1, 0, missed.size - 1)
    low, high = np.maximum(centre - NEIGHBOURHOOD, 0), np.minimum(centre + NEIGHBOURHOOD + 1, missed.size)
    return np.asarray(np.sqrt(np.maximum(total[high] - total[low], 0.0) / (high - low)))


def lower_envelope(losses: Losses, flops: FlopsRule = FLOPS_RULES["6ND"]) -> Envelope:
    """Lowest measured loss at each compute, with the size and tokens of its run.

    Standard errors join that of each loss and the scatter of the runs around parabolas in log size, a run moving as a
    whole. The lowest of several noisy losses is lower than the loss of the best model by about their standard error. Sizes move
    in steps along an envelope, from one measured size to the next: the power laws run through the stairs.

    Parameters
    ----------
    losses : Losses
        From :func:`losses_at`.
    flops : callable
        Compute of (params, tokens).

    Returns
    -------
    Envelope

    Examples
    --------
    >>> three = Losses(np.array([1e9]), np.log([[2.0, 1.0, 1.5]]), 0.01 * np.ones((1, 3)), np.array([1e3, 1e4, 1e5]))
    >>> best = lower_envelope(three)
    >>> best.loss.round(9).tolist(), best.params.round(6).tolist(), best.is_inside.tolist()
    ([1.0], [10000.0], [True])
    """
    there = np.isfinite(losses.log_loss)
    any_run = there.any(axis=1)
    row = np.arange(any_run.size)
    log_loss = np.where(there, losses.log_loss, np.inf)
    spread = np.nan_to_num(_parabola_spread(losses, _chosen(losses, REACH)))
    stderr = np.where(there, np.hypot(losses.stderr, spread), 0.0)
    best = log_loss.argmin(axis=1)
    lowest, error = log_loss[row, best], stderr[row, best]
    close = log_loss <= (lowest + NOT_TOLD_APART * np.hypot(stderr.T, error)).T
    low = np.where(close & there, losses.params, np.inf).min(axis=1)
    high = np.where(close & there, losses.params, -np.inf).max(axis=1)
    inside = _is_inside(losses)

    moved = np.where(there, log_loss + stderr * _draws(losses)[:, None], np.inf)
    sizes = np.log(losses.params)[moved.argmin(axis=2)]
    sizes, levels = (np.where(any_run, values, np.nan) for values in (sizes, moved.min(axis=2)))
    drawn = _with_tokens(levels, sizes, losses.compute, flops)
    return Envelope(
        loss=np.exp(drawn["loss"][0]),
        loss_stderr=np.where(any_run, error, np.nan),
        params=np.where(any_run, losses.params[best], np.nan),
        tokens=np.exp(drawn["tokens"][0]),
        run=np.where(any_run, best, -1),
        params_low=np.where(any_run, low, np.nan),
        params_high=np.where(any_run, high, np.nan),
        is_inside=inside,
        fits=_power_fits(drawn, losses.compute, np.where(inside, 1.0, 0.0)),
    )


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
        around the parabolas, noise and misfit, and by its own error: right on average over records, and in one record as
        uncertain as a scatter known from a few residuals.

    Examples
    --------
    >>> size = np.array([1e3, 1e4, 1e5])
    >>> three = Losses(np.array([1e9]), np.log(size / 2e4)[None] ** 2 / 50, 0.001 * np.ones((1, 3)), size)
    >>> found = isoflop_minima(three)
    >>> print(round(found.params[0]), found.params_stderr[0].round(2))
    20000 0.01
    """
    used = _chosen(losses, reach)
    log_size = np.log(losses.params)
    spread = _parabola_spread(losses, used)
    draws = _draws(losses)
    place, level, bend = (np.full((draws.shape[0], losses.compute.size), np.nan) for _ in range(3))
    for row in np.flatnonzero(used.any(axis=1)):
        mine = used[row]
        design = _design(log_size[mine])
        scatter = np.hypot(np.nan_to_num(spread), losses.stderr[row, mine])
        values = losses.log_loss[row, mine] + scatter * draws[:, mine]
        offset, slope, square = np.linalg.pinv(design) @ values.T
        curved = square > 0
        best = np.where(curved, -slope / (2 * np.where(curved, square, 1.0)), np.nan)
        inside = np.abs(best) <= 1  # sizes are counted from the middle of those used, in halves of their range
        middle, half = _range(log_size[mine])
        place[inside, row] = middle + half * best[inside]
        level[inside, row] = (offset - slope**2 / (4 * np.where(curved, square, 1.0)))[inside]
        bend[inside, row] = 2 * square[inside] / half**2
    drawn = _with_tokens(level, place, losses.compute, flops)
    error = {name: _spread(values[1:]) for name, values in drawn.items()}
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
        fits=_power_fits(drawn, losses.compute, weight if with_error.any() else np.where(found, 1.0, 0.0)),
    )


def _is_inside(losses: Losses) -> Bools:
    """Whether (compute,) smaller and larger sizes than that of the lowest loss have one."""
    there = np.isfinite(losses.log_loss)
    best = losses.params[np.where(there, losses.log_loss, np.inf).argmin(axis=1)]
    smaller, larger = losses.params < best[:, None], losses.params > best[:, None]
    return np.asarray((there & smaller).any(axis=1) & (there & larger).any(axis=1))


def _chosen(losses: Losses, reach: float) -> Bools:
    """Runs (compute, run) near enough in size to the best one."""
    there = np.isfinite(losses.log_loss)
    log_size = np.log(losses.params)
    used = np.zeros_like(there)
    for row in np.flatnonzero(_is_inside(losses)):
        centre = log_size[np.where(there[row], losses.log_loss[row], np.inf).argmin()]
        sizes = np.unique(log_size[there[row]])
        low = min(centre - np.log(reach), sizes[sizes < centre][-2:][0])
        high = max(centre + np.log(reach), sizes[sizes > centre][:2][-1])
        used[row] = there[row] & (log_size >= low) & (log_size <= high)
    return used


def _parabola_spread(losses: Losses, used: Bools) -> float:
    """Scatter of the ``used`` (compute, run) log losses around their parabolas, NaN where nothing is left over."""
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


def _draws(losses: Losses) -> Floats:
    """Standard normal numbers (draw, run), the first draw zero: the losses as they are."""
    normal = np.random.default_rng(SEED).standard_normal((DRAWS, losses.params.size))
    return np.concatenate([np.zeros((1, losses.params.size)), normal])


def _with_tokens(log_loss: Floats, log_params: Floats, compute: Floats, flops: FlopsRule) -> dict[str, Floats]:
    """Logarithms (draw, compute) of loss, params and tokens."""
    found = np.isfinite(log_params)
    log_tokens = np.full(found.shape, np.nan)
    if found.any():
        spent = np.broadcast_to(compute, found.shape)[found]
        log_tokens[found] = np.log(tokens_for(spent, np.exp(log_params[found]), flops))
    return {"loss": log_loss, "params": log_params, "tokens": log_tokens}


def _spread(values: Floats) -> Floats:
    """Standard deviation (...) over the draws (draw, ...) from their quantiles.

    NaN where a quarter of the draws or more have no value: what they would have been lies beyond the sizes measured.
    """
    known = np.isfinite(values).mean(axis=0) > 0.75
    result = np.full(values.shape[1:], np.nan)
    low, high = np.nanquantile(values[:, known], [0.16, 0.84], axis=0)
    result[known] = (high - low) / 2
    return result


def _power_fits(drawn: dict[str, Floats], compute: Floats, weight: Floats) -> dict[str, PowerFit]:
    """Power laws through logarithms (draw, compute), weighted; the first draw is the best, the others give the error."""
    fits = {}
    for name, values in drawn.items():
        weights = np.where(np.isfinite(values), weight**2, 0.0)
        fits[name] = _power_fit(np.log(compute), np.where(weights > 0, values, 0.0), weights)
    return fits


def _power_fit(x: Floats, y: Floats, weight: Floats) -> PowerFit:
    """Weighted lines through y (draw, compute)."""
    if np.count_nonzero(weight[0]) < 2:
        return PowerFit(np.nan, np.nan, np.nan)
    enough = np.count_nonzero(weight, axis=1) >= 2
    y, weight = y[enough], weight[enough]
    total = weight.sum(axis=1)
    centre, mean = (weight @ x) / total, (weight * y).sum(axis=1) / total
    away = x - centre[:, None]
    slope = (weight * away * y).sum(axis=1) / (weight * away**2).sum(axis=1)
    error = _spread(slope[1:, None])[0] if slope.size > 0.75 * enough.size else np.nan
    return PowerFit(
        float(np.exp(mean[0] - slope[0] * centre[0])), float(slope[0]), float(error) if error > 0 else np.nan
    )
