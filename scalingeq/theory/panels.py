"""Panels of intrinsic time on which a schedule and its losses are smooth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalingeq.theory.collocation import STAGES, from_integrals, interpolation, radau
from scalingeq.theory.compiled import loops
from scalingeq.theory.curves import IntArray
from scalingeq.theory.rates import LinearRates, Rates, StepRates
from scalingeq.theory.spectrum import FloatArray

#: A panel ends before its intrinsic time grows by this share since the start or the last jump of the schedule, where
#: it is longer than FIRST in units of the fastest mode's time.
GROWTH, FIRST = 0.35, 0.3
#: Nor is a panel more than LONGER times as long as the one before where the noise rates, over one part in LONGER of it
#: before and after its beginning, differ by the share SUDDEN of their sum.
LONGER, SUDDEN = 3.0, 0.005
#: Nor does the noise rate change within a panel by more than the share CHANGE, unless the panel is shorter than SHORT.
CHANGE, SHORT = 0.5, 0.01
#: A panel is cut until a polynomial gives the integral of its noise to the share RESOLVED, or so well that the losses
#: do not feel the rest.
RESOLVED, NOT_FELT = 3e-7, 5e-7
#: Stairs of single steps are smoothed where they are this small, in the same units, and two in a row alike to this share.
STAIRS, ALIKE = 3e-5, 0.1
#: What is too long is cut into so many pieces.
PIECES = 3


class Panels(NamedTuple):
    """Consecutive panels of intrinsic time, with the noise at their nodes, of one schedule or of several.

    Attributes
    ----------
    step, time : ndarray, shape (..., panel, 2)
        Steps, and intrinsic times, between which each panel lies.
    noise : ndarray, shape (..., panel, stage)
        Noise rate at the nodes, times the length of the panel.
    stairs : ndarray, shape (..., panel, stage)
        Noise at the nodes that, by the smoothed rates, comes before a step ends, and by those of single steps after.
    """

    step: FloatArray
    time: FloatArray
    noise: FloatArray
    stairs: FloatArray

    @property
    def last(self) -> float:
        """Time at which the panels end."""
        return float(self.time.max(initial=0.0))

    @property
    def nodes(self) -> FloatArray:
        """Intrinsic time (..., panel, stage) at the nodes."""
        return np.asarray(self.time[..., :1] + np.diff(self.time) * radau(STAGES)[0])

    @property
    def length(self) -> FloatArray:
        """Intrinsic time (..., panel) that each panel lasts."""
        return np.asarray(self.time[..., 1] - self.time[..., 0])

    def of(self, schedule: int) -> Panels:
        """Panels of one of several schedules."""
        used = np.count_nonzero(self.length[schedule])
        return Panels(*(part[schedule, :used] for part in self))


def stacked(panels: Sequence[Panels]) -> Panels:
    """Panels of several schedules; those of no length, at their ends, fill up what some have fewer of."""
    most = max(len(one.noise) for one in panels)
    if len(panels) == 1:
        return Panels(*(part[None] for part in panels[0]))
    found = Panels(*(np.zeros((len(panels), most, width)) for width in (2, 2, STAGES, STAGES)))
    for number, one in enumerate(panels):
        if used := len(one.noise):
            for part, own in zip(found, one, strict=True):
                part[number, :used] = own
            found.step[number, used:], found.time[number, used:] = one.step[-1, 1], one.time[-1, 1]
    return found


def refilled(rates: LinearRates, step: FloatArray) -> Panels:
    """Panels of rates that end at steps (panel, 2) which others, near them, were cut at."""
    time = rates.time(step)
    nodes = np.append(0.0, radau(STAGES)[0])
    noise = rates.noise_at(time[:, :1] + np.diff(time) * nodes)
    noise = (noise[:, 1:] - noise[:, :1]) @ from_integrals(STAGES).T
    return Panels(step, time, noise, np.zeros_like(noise))


def cut(rates: Rates, last: float, edge: float, noise_scale: float = 1.0) -> Panels:
    """Panels up to a step, on each of which the rates and their losses are smooth.

    Parameters
    ----------
    rates : Rates
        Rates against steps.
    last : float
        Step at which the panels end.
    edge : float
        Largest eigenvalue, whose mode relaxes fastest.
    noise_scale : float
        What the noise rates are multiplied by in use.

    Returns
    -------
    Panels
        Panels without those in which no time passes; their ends are whole steps but where a single step is long.

    Examples
    --------
    >>> from scalingeq.theory.rates import Knots, LinearRates
    >>> rates = LinearRates(Knots(np.array([0.0, 100.0]), np.full(2, 0.5), np.full(2, 0.1)))
    >>> panels = cut(rates, 100.0, edge=1.0)
    >>> print(panels.step[-1, 1], panels.time[-1, 1], panels.noise.shape[1])
    100.0 50.0 7
    """
    not_felt = NOT_FELT / edge**2 / noise_scale if noise_scale else np.inf
    total = float(rates.time(np.array([last]))[0])
    if total == 0:
        return Panels(*(np.empty((0, width)) for width in (2, 2, STAGES, STAGES)))
    step, starts = _graded(rates, last, edge)
    origin, goals = rates.time(starts[:-1]), starts[1:]
    time = rates.time(step)
    ends = np.stack([step[:-1], step[1:], time[:-1], time[1:]], axis=1)
    done = []
    while True:
        low, high, begin, end = ends.T
        spent = end - begin
        noise, stairs, too_long = _noise_in(rates, begin, spent, edge, not_felt)
        too_long &= high - low > 1
        since = begin - origin[np.searchsorted(origin, begin, side="right") - 1]
        too_long |= spent > 1.2 * np.maximum(GROWTH * since, FIRST / edge)
        whole = ~too_long & (spent > 0)
        done.append(np.concatenate([ends, noise, stairs], axis=1)[whole])
        ends = ends[too_long]
        if not ends.size:
            panels = np.concatenate(done)
            panels = panels[np.argsort(panels[:, 2])]
            abrupt = _after_jumps(panels[:, :4], rates, FIRST / edge)
            if not abrupt.size:
                break
            ends, done = panels[abrupt, :4], [np.delete(panels, abrupt, axis=0)]
        ends = _pieces(ends, goals, rates)
    noise = panels[:, 4:-STAGES] @ from_integrals(STAGES).T
    return Panels(panels[:, :2], panels[:, 2:4], noise, panels[:, -STAGES:])


def _noise_in(
    rates: Rates, begin: FloatArray, spent: FloatArray, edge: float, not_felt: float
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Integrals (panel, stage) of rate times noise rate up to the nodes, the stairs there, and which panels want cutting.

    Those want it on which a polynomial misses the integral, or the noise rate changes too much. ``begin`` and ``spent``
    (panel,) are the times at which panels begin and that they last.
    """
    places, to_between = interpolation(STAGES)
    most = STAIRS / NOT_FELT * not_felt
    time = begin[:, None] + spent[:, None] * places
    long = spent > SHORT / edge
    compiled = loops()
    if compiled is not None and isinstance(rates, StepRates):
        noise, stairs = np.empty((2, begin.size, STAGES))
        too_long = np.empty(begin.size, dtype=np.bool_)
        compiled.noise_in(
            rates.rate, rates.noise_rate, *rates.totals, places, to_between, time, long, ALIKE, most, RESOLVED,
            not_felt, CHANGE, noise, stairs, too_long,
        )  # fmt: skip
        return noise, stairs, too_long
    total, ahead = _smoothed(rates, time, most)
    total -= total[:, :1].copy()
    noise, inside = total[:, ::2], total[:, 1::2]
    missed = np.abs(noise @ to_between.T - inside).max(axis=1) > np.maximum(RESOLVED * noise[:, -1], not_felt)
    slope = np.diff(noise) / np.diff(places[::2])
    highest = slope.max(axis=1)
    return noise[:, 1:], ahead[:, 2::2], missed | ((highest - slope.min(axis=1) > CHANGE * highest) & long)


def _smoothed(rates: Rates, time: FloatArray, most: float) -> tuple[FloatArray, FloatArray]:
    """Integral (...) of rate times noise rate up to ``time`` (...), smoothed, and what it is ahead by when steps end.

    Within a step the integral of stairs is a straight line, where that of smooth rates is a parabola. The losses feel the
    mean of the difference over a step, which is nothing here, and at once, by what the kernel is at time 0, the value
    when the step ends. ``most`` is by how much it may be ahead.
    """
    if not isinstance(rates, StepRates):
        return rates.noise_at(time), np.zeros_like(time)
    step = rates.step_at(time)
    last = rates.rate.size - 1
    whole = np.minimum(step.astype(np.int64), last)
    here = rates.noise_rate[whole]
    up = rates.noise_rate[np.minimum(whole + 1, last)] - here
    down = here - rates.noise_rate[np.maximum(whole - 1, 0)]
    ahead = (up + down) * rates.rate[whole] / 24
    ahead[(np.abs(up - down) > ALIKE * np.abs(up + down)) | (np.abs(ahead) > most)] = 0.0
    since = step - whole
    return rates.noise_at(time) + ahead * (1 - 6 * since * (1 - since)), ahead


def _after_jumps(ends: FloatArray, rates: Rates, first: float) -> IntArray:
    """Which of consecutive panels (panel, 4) are long where the noise rate jumps a little before they begin."""
    spent = ends[:, 3] - ends[:, 2]
    long = 1 + np.flatnonzero(spent[1:] > np.maximum(LONGER * spent[:-1], first))
    long = long[ends[long, 1] - ends[long, 0] > 1]
    begin, reach = ends[long, 2], spent[long] / LONGER
    before, after = (np.abs(rates.noise_at(begin) - rates.noise_at(begin + way * reach)) for way in (-1, 1))
    return np.asarray(long[np.abs(after - before) > SUDDEN * (after + before)])


def _pieces(ends: FloatArray, goals: FloatArray, rates: Rates) -> FloatArray:
    """Cut panels (panel, 4), each from step to step and from time to time, at whole steps if they have some.

    There are PIECES of each, but of those that end at one of the steps ``goals``, where rates often go to zero, pieces
    that are half as long as the one before.
    """
    low, high, _, until = ends.T
    inner = low[:, None] + (high - low)[:, None] * (np.arange(1, PIECES) / PIECES)
    whole = np.rint(inner)
    if isinstance(rates, LinearRates):
        # Kinks are where the knots are.
        knots = rates.knots.step
        after = np.searchsorted(knots, inner).clip(1, knots.size - 1)
        nearest = np.where(inner - knots[after - 1] < knots[after] - inner, knots[after - 1], knots[after])
        whole = np.where((nearest > low[:, None]) & (nearest < high[:, None]), nearest, whole)
    cuts = [low, np.where((high - low > 1)[:, None], whole.clip(low[:, None], high[:, None]), inner).ravel()]
    for i in np.flatnonzero((high - low > 4) & (high[:, None] == goals).any(axis=1)):
        shares = 0.5 ** np.arange(2, int(np.log2(high[i] - low[i])) + 1)
        cuts.append(np.ceil(high[i] - shares * (high[i] - low[i])))
    begin = _distinct(np.concatenate(cuts))
    # Each piece ends where the next one of its panel begins, or where this does.
    time, of = rates.time(begin), np.searchsorted(low, begin, side="right") - 1
    pieces = np.stack([begin, high[of], time, until[of]], axis=1)
    followed = np.flatnonzero(begin[1:] < pieces[:-1, 1])
    pieces[followed, 1], pieces[followed, 3] = begin[followed + 1], time[followed + 1]
    return pieces


def _graded(rates: Rates, last: float, edge: float) -> tuple[FloatArray, FloatArray]:
    """Steps at which panels end that grow since the last jump, and those of the start, the jumps and the end."""
    # To find kinks by cutting takes longer.
    breaks = rates.breaks()
    starts = np.concatenate([[0.0], breaks[breaks < last], [last]])
    time = rates.time(starts)
    spans = np.diff(time)
    first = FIRST / edge
    most = int(np.log(max(float(spans.max()) / first, 1.0)) / np.log(1 + GROWTH)) + 2
    ladder = first * (1 + GROWTH) ** np.arange(most)
    inside = ladder < spans[:, None]
    step = rates.step_at((time[:-1, None] + ladder)[inside])
    step = _distinct(np.concatenate([step, starts]))
    # A panel of more than one step ends at a whole step, and none other reaches from one step into the next.
    long = np.diff(step) > 1
    end = np.where(long & (step[1:] < last), np.ceil(step[1:]), step[1:])
    return _distinct(np.concatenate([step[:1], end, np.floor(end[~long])])), starts


def _distinct(values: FloatArray) -> FloatArray:
    """Distinct values, ascending."""
    values.sort()
    first = np.ones(values.size, dtype=np.bool_)
    np.greater(values[1:], values[:-1], out=first[1:])
    return values[first]
