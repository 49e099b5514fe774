"""What the laws of learning-rate schedules need of them: areas under the rate, and its decays piece by piece."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...theory.schedule import Schedule
from ..curves import Floats, TrainingCurves
from ..twopoint import constant_schedule

Ints = NDArray[np.int64]
Result = TypeVar("Result")

TOLERANCE = 2e-4  # of the highest rate: how far a schedule may lie from the straight pieces that stand for it
JUMP = 0.02  # of the highest rate: smaller falls at once are stairs
# Gauss points on a piece, and on one that ended longer ago than it took: losses keep to 3e-5 of sums over single steps.
NODES, FAR_NODES = 6, 4


def remembered(function: Callable[[TrainingCurves], Result]) -> Callable[[TrainingCurves], Result]:
    """Keep the result for the last curves: fits ask for the same again and again."""
    last: list[tuple[weakref.ref[TrainingCurves], Result]] = []

    def of_curves(curves: TrainingCurves) -> Result:
        known = last[:]
        if known and known[0][0]() is curves:
            return known[0][1]
        result = function(curves)
        last[:] = [(weakref.ref(curves), result)]
        return result

    of_curves.__doc__, of_curves.__name__ = function.__doc__, function.__name__
    return of_curves


def schedules_of(curves: TrainingCurves) -> Iterator[tuple[Schedule, Ints]]:
    """Each schedule that runs follow, warm-up included, and the observations (some obs,) of these runs.

    Examples
    --------
    >>> one = np.ones(2)
    >>> curves = TrainingCurves(np.array([0, 1]), 9 * one, one, one, one, np.array(["a", "b"]), one, one, one, one, 4 * one)
    >>> [(schedule.time(9.0).item(), at.tolist()) for schedule, at in schedules_of(curves)]
    [(7.0, [0, 1])]
    """
    numbers, run = np.unique(curves.run, return_inverse=True)
    followed: dict[Schedule | tuple[float, float], list[int]] = {}
    for position, number in enumerate(numbers.tolist()):
        steady = (float(curves.learning_rate[number]), float(curves.warmup_steps[number]))
        followed.setdefault(curves.schedules.get(number, steady), []).append(position)
    for key, positions in followed.items():
        mine = np.zeros(numbers.size, dtype=np.bool_)
        mine[positions] = True
        at = np.flatnonzero(mine[run])
        if isinstance(key, Schedule):
            yield key, at
        else:
            yield constant_schedule(key[0], 1.0, key[1], float(curves.step[at].max())), at


@remembered
def areas(curves: TrainingCurves) -> Floats:
    """Integral (obs,) of the learning rate over the steps, warm-up included.

    Examples
    --------
    >>> one = np.ones(1)
    >>> areas(TrainingCurves(np.zeros(1, int), 9 * one, one, one, one, np.array(["a"]), one, 0.5 * one, one, one, 4 * one))
    array([3.5])
    """
    area = np.empty(curves.run.size)
    for schedule, at in schedules_of(curves):
        area[at] = schedule.time(curves.step[at])
    return area


@remembered
def rates_now(curves: TrainingCurves) -> Floats:
    """Learning rate (obs,) of the last step before each observation.

    Examples
    --------
    >>> one = np.ones(1)
    >>> rates_now(TrainingCurves(np.zeros(1, int), one, one, one, one, np.array(["a"]), one, one, one, one, 4 * one))
    array([0.25])
    """
    now = np.empty(curves.run.size)
    for schedule, at in schedules_of(curves):
        knot, rate, _ = schedule.knots
        after = np.clip(np.searchsorted(knot, curves.step[at], side="left"), 1, knot.size - 1)
        length = knot[after] - knot[after - 1]
        share = np.divide(curves.step[at] - knot[after - 1], length, out=np.ones(at.size), where=length > 0)
        now[at] = rate[after - 1] + np.clip(share, 0.0, 1.0) * (rate[after] - rate[after - 1])
    return now


@dataclass(frozen=True)
class Pieces:
    """Straight pieces of the schedule before each observation, on which the rate changes: pairs of the two.

    Attributes
    ----------
    schedule : Schedule
        That these observations follow.
    obs : ndarray of int, shape (pair,)
        Observation, in order.
    step, begin, last : ndarray, shape (pair,)
        Step of the observation, first step of the piece, and its last one so far; equal for a jump.
    high, fall : ndarray, shape (pair,)
        Rate at the first step, and by how much it falls up to the last: negative where it rises.
    """

    schedule: Schedule
    obs: Ints
    step: Floats
    begin: Floats
    last: Floats
    high: Floats
    fall: Floats


def pieces(curves: TrainingCurves) -> Iterator[Pieces]:
    """Pairs of observations and pieces for each schedule."""
    for schedule, at in schedules_of(curves):
        step, rate = straight_pieces(*schedule.knots[:2], TOLERANCE)
        changes = np.flatnonzero(np.diff(rate) != 0)
        begin, end, high, low = step[:-1][changes], step[1:][changes], rate[:-1][changes], rate[1:][changes]
        obs, piece = np.nonzero(begin < curves.step[at][:, None])
        now, begin, end = curves.step[at][obs], begin[piece], end[piece]
        last = np.minimum(now, end)
        passed = np.divide(last - begin, end - begin, out=np.ones(last.size), where=end > begin)
        yield Pieces(schedule, at[obs], now, begin, last, high[piece], (high - low)[piece] * passed)


@dataclass(frozen=True)
class Decays:
    """Decays of the learning rate before each observation, as weights on nodes: integrals -dη become sums.

    Attributes
    ----------
    start : ndarray of int, shape (obs + 1,)
        Where the nodes of each observation begin in the other arrays, and their number.
    weight : ndarray, shape (node,)
        By how much the rate falls there, negative where it rises.
    log_rate : ndarray, shape (node,)
        Logarithm of the rate after that fall.
    area : ndarray, shape (node,)
        Integral of the rate over the steps from the node to the observation.
    """

    start: Ints
    weight: Floats
    log_rate: Floats
    area: Floats

    def sum(self, values: Floats) -> Floats:
        """Sum (obs,) over each observation's nodes of values (node,)."""
        total = np.zeros(self.start.size - 1)
        filled = np.flatnonzero(np.diff(self.start))
        if filled.size:
            total[filled] = np.add.reduceat(values, self.start[filled])
        return total


@remembered
def decays(curves: TrainingCurves) -> Decays:
    """Decays before each observation, for sums ∫₀ᵗ -dη(s) f(η(s), ∫ₛᵗ η).

    Examples
    --------
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(np.zeros(1, int), 20 * one, one, one, one, np.array(["a"]), one, one, one, one, 0 * one,
    ...     {0: Schedule([0, 10, 10, 20], [1.0, 1.0, 0.5, 0.5], [0.0] * 4)})
    >>> drop = decays(curves)
    >>> drop.sum(drop.weight).round(9), drop.area.max().item()
    (array([0.5]), 5.0)
    """
    found = [np.zeros((4, 0))]
    for one in pieces(curves):
        total = one.schedule.time(one.step)
        length = one.last - one.begin
        far = one.step - one.last > length
        for pairs, nodes in ((np.flatnonzero(~far), NODES), (np.flatnonzero(far), FAR_NODES)):
            # The summand bends most just before the observation: the square of a Gauss point lies close to the end.
            point, weight = np.polynomial.legendre.leggauss(nodes)
            point, weight = (1 + point) / 2, weight * (1 + point) / 2
            fall, span = one.fall[pairs, None], length[pairs, None]
            node = one.last[pairs, None] - span * point**2
            rate = one.high[pairs, None] - fall * np.where(span > 0, 1 - point**2, 1.0)
            # A rate of zero has no logarithm; nothing is learned after it either, and the area is zero.
            log_rate = np.log(np.maximum(rate, 1e-12 * one.schedule.knots[1].max()))
            area = np.maximum(total[pairs, None] - one.schedule.time(node), 0.0)
            obs = np.broadcast_to(one.obs[pairs, None], node.shape)
            found.append(np.stack([obs, fall * weight, log_rate, area]).reshape(4, -1))
    obs, falls, log_rate, area = np.concatenate(found, axis=1)
    order = np.argsort(obs, kind="stable")
    start = np.searchsorted(obs[order], np.arange(curves.run.size + 1))
    return Decays(start, falls[order], log_rate[order], area[order])


def straight_pieces(step: Floats, rate: Floats, tolerance: float) -> tuple[Floats, Floats]:
    """Fewer knots (piece + 1,) whose straight lines keep to a schedule within ``tolerance`` of its highest rate.

    The knot furthest from the lines drawn so far is added, piece by piece (Ramer, Douglas and Peucker).

    Examples
    --------
    >>> straight_pieces(np.arange(5.0), np.array([0.0, 1.0, 2.0, 2.0, 2.0]), 1e-3)[0]
    array([0., 2., 4.])
    """
    allowed, at_once = tolerance * rate.max(), np.abs(np.diff(rate))
    at_once[np.diff(step) > 0] = 0.0
    # The stairs of single steps stand for a slope through their middles.
    stairs = np.flatnonzero((at_once > 0) & (at_once <= JUMP * rate.max()))
    rate = rate.copy()
    rate[stairs] = (rate[stairs] + rate[stairs + 1]) / 2
    step, rate, at_once = (np.delete(x, stairs + 1) for x in (step, rate, np.append(0.0, at_once)))
    jumps = at_once[1:] > JUMP * rate.max()
    keep = np.zeros(step.size, dtype=np.bool_)
    keep[[0, -1]] = True
    keep[:-1] |= jumps
    keep[1:] |= jumps
    kept = np.flatnonzero(keep)
    stack = list(zip(kept[:-1].tolist(), kept[1:].tolist(), strict=True))
    while stack:
        first, last = stack.pop()
        if last - first < 2 or step[last] == step[first]:
            continue
        inside = slice(first + 1, last)
        slope = (rate[last] - rate[first]) / (step[last] - step[first])
        off = np.abs(rate[inside] - rate[first] - slope * (step[inside] - step[first]))
        worst = int(off.argmax())
        if off[worst] > allowed:
            keep[middle := first + 1 + worst] = True
            stack += [(first, middle), (middle, last)]
    return step[keep], rate[keep]
