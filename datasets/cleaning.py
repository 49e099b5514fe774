"""Clean-up of training records before a fit: what a log holds that a loss curve does not.

Each function takes a labelled record of any accepted shape, also one that :func:`~scalingeq.datasets.check` would refuse
for repeated steps or losses that are NaN, and gives a new one in that shape, with a line in ``attrs["history"]`` that
says what was done. A grid whose runs no longer share their steps comes back ragged, ``(obs)`` with ``row_size(run)``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from scalingeq.errors import DataError, ParameterError, raise_problems

from .history import note
from .labels import MEASURED, label
from .rearranging import observations, rearranged
from .schedules import find_schedule
from .schema import SAME_RATE
from .shapes import Layout, find_layout

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SAME_TIME = 0.05  # relative error of the integral of the rate that a shorter record may carry, where it begins
NAMED_RUNS = 5  # a message names this many runs, and counts the others


def drop_burn_in(ds: xr.Dataset, *, share: float = 0.02, steps: float | None = None) -> xr.Dataset:
    """Drop the beginning of each run, the transient that no power law describes.

    Parameters
    ----------
    ds : xarray.Dataset
        Measured curves.
    share : float, default 0.02
        Share of the last step of the run; what is before it goes. The default is what a fit leaves out anyway.
    steps : float, optional
        Steps to drop, in place of a share.

    Returns
    -------
    xarray.Dataset
        The observations from there on. A warm-up among those dropped is remembered as ``warmup_steps``, so that the
        integral of the learning rate stays what it was.

    Raises
    ------
    ParameterError
        If the share is not in [0, 1), or ``steps`` not a number >= 0.
    DataError
        If less than two observations of a run would stay, or the rate in the part dropped was such that no linear
        warm-up has its integral within 5 %; says for which runs. (Dropping the first 2 % of a rate that falls linearly to
        0 leaves it 1 % short, where the record begins.)

    Examples
    --------
    >>> ds = xr.Dataset({"loss": ("step", [9.0, 4.0, 3.0, 2.5])}, {"step": [1, 10, 100, 1000]})
    >>> drop_burn_in(ds).step.values
    array([ 100, 1000])
    >>> drop_burn_in(ds, steps=10).step.values
    array([  10,  100, 1000])
    """
    problems = [] if 0 <= share < 1 else [f"share: {share} is not in [0, 1); pass the part of each run to drop"]
    if steps is not None and not (np.isfinite(steps) and steps >= 0):
        problems.append(f"steps: {steps} is not a number >= 0; pass the steps to drop")
    raise_problems(problems, ParameterError)
    ds, layout, step = curves_to_clean(ds)
    last = np.zeros(layout.names.size)
    np.maximum.at(last, layout.run, step)
    cut = share * last if steps is None else np.full(last.size, float(steps))
    what = f"the first {share:.3g} of each run" if steps is None else f"what is before step {steps:g}"
    return _without_beginning(ds, layout, step, cut, f"drop_burn_in: {what}")


def drop_warmup(ds: xr.Dataset) -> xr.Dataset:
    """Drop the warm-up of the learning rate, and remember it.

    The warm-up ends at ``warmup_steps`` where the record has them, else where a learning rate that rises from the first
    observation on reaches the level that it keeps or falls from.

    Parameters
    ----------
    ds : xarray.Dataset
        Measured curves with ``warmup_steps``, or with a learning rate over observations.

    Returns
    -------
    xarray.Dataset
        The observations from the end of the warm-up on. ``warmup_steps`` is that of the linear warm-up seen, or of one
        with the same integral of the rate; which of both is in the history. Runs without a warm-up stay whole.

    Raises
    ------
    DataError
        If the record says nothing of a warm-up, or less than two observations of a run would stay.

    Examples
    --------
    >>> rate = ("step", [0.25, 0.5, 1.0, 1.0, 0.5])
    >>> ds = xr.Dataset({"loss": ("step", [9.0, 7.0, 4.0, 3.5, 3.0])},
    ...                 {"step": [10, 20, 40, 50, 60], "learning_rate": rate})
    >>> clean = drop_warmup(ds)
    >>> clean.step.values, float(clean.warmup_steps)
    (array([40, 50, 60]), 40.0)
    """
    ds, layout, step = curves_to_clean(ds)
    runs = layout.names.size
    cut = np.nan_to_num(_per_run(ds, layout, "warmup_steps", 0.0))
    if "learning_rate" in ds and _varies(ds, "learning_rate"):
        rate = layout.spread(ds["learning_rate"]).astype(np.float64)
        for mine in stretches(layout.run):
            run = layout.run[mine.start]
            cut[run] = cut[run] or _end_of_rise(*_trace(step[mine], rate[mine]))
    elif "warmup_steps" not in ds:
        raise DataError(
            "warmup_steps: missing, and no learning rate over observations shows a warm-up; pass "
            "label(ds, warmup_steps=...), 0 for none"
        )
    found = np.flatnonzero(cut > 0)
    text = f"drop_warmup: {found.size} of {runs} runs have one"
    return _without_beginning(ds, layout, step, cut, text)


def split_restarts(ds: xr.Dataset) -> xr.Dataset:
    """Make runs of their own of what was logged into one: a step below the one before it begins a new run.

    For a run that was resumed from a checkpoint, see :func:`join_restarts`.

    Parameters
    ----------
    ds : xarray.Dataset
        Measured curves in the order of the log.

    Returns
    -------
    xarray.Dataset
        More runs, named ``NAME``, ``NAME#2``, ``NAME#3``; each with the coordinates of the run that it was logged in.

    Raises
    ------
    DataError
        If a new name is that of another run.

    Examples
    --------
    >>> ds = xr.Dataset({"loss": ("obs", [3.0, 2.0, 3.1, 2.1])}, {"step": ("obs", [1, 2, 1, 2]), "run": "a"})
    >>> split_restarts(ds).run.values, split_restarts(ds).row_size.values
    (array(['a', 'a#2'], dtype='<U3'), array([2, 2]))
    """
    ds, layout, step = curves_to_clean(ds)
    begins = np.append(True, (np.diff(layout.run) > 0) | (np.diff(step) < 0))
    new = np.cumsum(begins) - 1
    parents = layout.run[begins]
    first = np.append(True, np.diff(parents) > 0)
    turn = np.arange(parents.size) - np.flatnonzero(first)[np.cumsum(first) - 1]
    pairs = zip(layout.names[parents].tolist(), turn.tolist(), strict=True)
    names = np.array([name if nth == 0 else f"{name}#{nth + 1}" for name, nth in pairs], dtype=np.str_)
    again, counts = np.unique(names, return_counts=True)
    raise_problems(
        [f"run: two runs would be called {str(name)!r}; rename one" for name in again[counts > 1]], DataError
    )
    text = f"split_restarts: {layout.names.size} logs into {names.size} runs"
    if parents.size == layout.names.size:
        return note(ds, text)
    return note(label(rearranged(ds, layout, observations(ds, layout), new, parents, names)), text)


def join_restarts(ds: xr.Dataset, *, keep: Literal["last", "first"] = "last") -> xr.Dataset:
    """Keep each step of a run once: a resumed run logs the steps after its checkpoint twice.

    Parameters
    ----------
    ds : xarray.Dataset
        Measured curves in the order of the log.
    keep : {"last", "first"}
        What was logged last, which is what the run went on from (an observation goes where a later one has its step or
        an earlier step); or what was logged first.

    Returns
    -------
    xarray.Dataset
        Runs with ascending steps. Rows that hold different losses, ``loss`` and ``train_loss``, do not replace each
        other: :func:`separate` parts them.

    Raises
    ------
    ParameterError
        If ``keep`` is neither.

    Examples
    --------
    >>> ds = xr.Dataset({"loss": ("obs", [3.0, 2.0, 1.9, 2.1, 1.8])}, {"step": ("obs", [10, 20, 30, 20, 30])})
    >>> join_restarts(ds).loss.values, join_restarts(ds, keep="first").loss.values
    (array([3. , 2.1, 1.8]), array([3. , 2. , 1.9]))
    """
    if keep not in ("last", "first"):
        raise ParameterError(f"keep: {keep!r} is neither 'last' nor 'first'")
    ds, layout, step = curves_to_clean(ds)
    kept = np.zeros(step.size, bool)
    kind = _what_is_measured(ds, layout)
    group = layout.run * (kind.max(initial=0) + 1) + kind
    by_group = np.argsort(group, kind="stable")
    for rows in np.split(by_group, np.flatnonzero(np.diff(group[by_group])) + 1):
        s = step[rows]
        if keep == "last":
            later = np.append(np.minimum.accumulate(s[::-1])[::-1][1:], np.inf)
            kept[rows] = s < later
        else:
            earlier = np.append(-np.inf, np.maximum.accumulate(s)[:-1])
            kept[rows] = s > earlier
    # Rows of different kinds were logged in turn, so that only a sort brings a resumed run in order.
    rows = np.flatnonzero(kept)
    rows = rows[np.lexsort((step[rows], layout.run[rows]))]
    dropped = step.size - rows.size
    text = f"join_restarts: {dropped} of {step.size} observations had their step logged again, the {keep} kept"
    return note(_taken(ds, layout, rows), text)


def separate(ds: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Part a log that holds test and training losses on one axis, NaN where a row has only the other.

    Parameters
    ----------
    ds : xarray.Dataset
        Measured curves with ``loss`` and ``train_loss``.

    Returns
    -------
    test, train : xarray.Dataset
        The observations that have a test loss, and those that have a training loss, which is ``loss`` there (with the
        ``long_name`` "training loss"), so that it can be cleaned, drawn and fitted like any other.

    Raises
    ------
    DataError
        If there are not both losses.

    Examples
    --------
    >>> nan = np.nan
    >>> ds = xr.Dataset({"loss": ("step", [nan, 2.5, nan]), "train_loss": ("step", [3.0, nan, 2.0])}, {"step": [1, 2, 3]})
    >>> test, train = separate(ds)
    >>> test.loss.values, train.loss.values, train.loss.long_name
    (array([2.5]), array([3., 2.]), 'training loss')
    """
    ds, layout, _ = curves_to_clean(ds)
    there = {name: name in ds and bool(ds[name].notnull().any()) for name in ("loss", "train_loss")}
    raise_problems(
        [
            f"{name}: {'holds no value' if name in ds else 'missing'}; nothing to separate"
            for name in there
            if not there[name]
        ],
        DataError,
    )
    has = {name: ~np.isnan(layout.spread(ds[name]).astype(np.float64)) for name in there}
    text = f"separate: {has['loss'].sum()} test and {has['train_loss'].sum()} training losses"
    test = _taken(ds, layout, np.flatnonzero(has["loss"]), drop_empty=True)
    test = test.drop_vars("train_loss", errors="ignore")
    train = _taken(
        ds.drop_vars(["loss", "loss_stderr"], errors="ignore"), layout, np.flatnonzero(has["train_loss"]), True
    )
    train = train.rename(train_loss="loss")
    return note(label(test), text), note(label(train), text)


def curves_to_clean(ds: xr.Dataset) -> tuple[xr.Dataset, Layout, Floats]:
    """Label a record, and find its shape and its steps (obs,).

    Raises
    ------
    DataError
        If it is no record of curves, or steps are not numbers.

    Examples
    --------
    >>> curves_to_clean(xr.Dataset({"loss": ("step", [3.0, 2.0])}, {"step": [1, 2]}))[2]
    array([1., 2.])
    """
    if not isinstance(ds, xr.Dataset):
        raise DataError(f"a training record is an xarray.Dataset, not {type(ds).__name__}")
    ds = label(ds)
    layout = find_layout(ds)
    if layout.is_table:
        raise DataError("step: missing; a table of final losses has no curves to clean up")
    step = layout.spread(ds["step"]).astype(np.float64)
    if step.size == 0:
        raise DataError("the dataset is empty: it has no observations")
    if not np.isfinite(step).all():
        raise DataError(f"step: {np.sum(~np.isfinite(step))} values are not numbers; correct or drop these points")
    return ds, layout, step


def stretches(run: NDArray[np.int64]) -> list[slice]:
    """Where the observations of each run lie, given the run (obs,) of each, ascending.

    Examples
    --------
    >>> stretches(np.array([0, 0, 2]))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    bounds = [*np.flatnonzero(np.append(run.size > 0, np.diff(run) > 0)).tolist(), run.size]
    return [slice(begin, end) for begin, end in pairwise(bounds)]


def _varies(ds: xr.Dataset, name: str) -> bool:
    """Whether a variable has the dimension of the observations."""
    return bool(set(ds[name].dims) - {"run"})


def _per_run(ds: xr.Dataset, layout: Layout, name: str, default: float) -> Floats:
    values = ds[name].values if name in ds else default
    return np.broadcast_to(np.asarray(values, np.float64), layout.names.shape).copy()


def _what_is_measured(ds: xr.Dataset, layout: Layout) -> NDArray[np.int64]:
    """A number (obs,) for which of the losses an observation has."""
    kind = np.zeros(layout.run.size, np.int64)
    for bit, name in enumerate(name for name in MEASURED[:2] if name in ds):
        kind += (~np.isnan(layout.spread(ds[name]).astype(np.float64))) << bit
    return kind


def _taken(ds: xr.Dataset, layout: Layout, rows: NDArray[np.int64], drop_empty: bool = False) -> xr.Dataset:
    """The record with these observations alone; runs without any are kept unless they are to go."""
    values = {name: flat[rows] for name, flat in observations(ds, layout).items()}
    run, parents = layout.run[rows], np.arange(layout.names.size)
    if drop_empty:
        parents, run = np.unique(run, return_inverse=True)
    return label(rearranged(ds, layout, values, run, parents))


def _without_beginning(ds: xr.Dataset, layout: Layout, step: Floats, cut: Floats, text: str) -> xr.Dataset:
    """Drop what is before ``cut`` (run,), and keep the integral of the learning rate."""
    kept = step >= cut[layout.run]
    left = np.bincount(layout.run, kept, layout.names.size)
    total = np.bincount(layout.run, minlength=layout.names.size)
    problems = [
        f"step: run {str(layout.names[run])!r} would keep {int(left[run])} of {total[run]} observations, "
        f"those from step {cut[run]:g} on; drop less, or leave the run out with select_runs"
        for run in np.flatnonzero(left < np.minimum(2, total))[:NAMED_RUNS].tolist()
    ]
    raise_problems(problems, DataError)
    warmup = _per_run(ds, layout, "warmup_steps", 0.0)
    if "learning_rate" in ds and _varies(ds, "learning_rate"):
        rate = layout.spread(ds["learning_rate"]).astype(np.float64)
        bent = []
        for mine in stretches(layout.run):
            run = layout.run[mine.start]
            at, rates = _trace(step[mine], rate[mine])
            first = at.min(where=at >= cut[run], initial=np.inf)
            if left[run] == total[run] or not np.isfinite(first):
                continue
            warmup[run], trouble, linear = _equivalent_warmup(at, rates, first, warmup[run])
            problems += [f"learning_rate: {trouble} in run {str(layout.names[run])!r}; drop less"] if trouble else []
            bent += [] if linear else [str(layout.names[run])]
        raise_problems(problems, DataError)
        if bent:
            more = f" and {len(bent) - NAMED_RUNS} more" if len(bent) > NAMED_RUNS else ""
            text += (
                f"; the rate of {', '.join(bent[:NAMED_RUNS])}{more} did not rise linearly: warmup_steps is that of a "
                f"linear warm-up with the same integral"
            )
    dropped = np.flatnonzero(~kept).size
    out = _taken(ds, layout, np.flatnonzero(kept))
    if warmup.any() and not np.array_equal(warmup, _per_run(ds, layout, "warmup_steps", 0.0)):
        out = label(out.assign_coords(warmup_steps=("run", warmup) if "run" in out.dims else warmup[0]))
        text += f"; remembered as warmup_steps, {warmup.min():g} to {warmup.max():g}"
    return note(out, f"{text}; {dropped} of {step.size} observations dropped")


def _trace(step: Floats, rate: Floats) -> tuple[Floats, Floats]:
    """Steps with a rate that can be, ascending, each once: as the run that a log ends with had it."""
    known = np.isfinite(rate) & (rate >= 0)
    step, last = np.unique(step[known][::-1], return_index=True)
    return step, rate[known][::-1][last]


def _end_of_rise(step: Floats, rate: Floats) -> float:
    """Step at which a rate that rises from the first observation on has risen; 0 where it does not."""
    if rate.size < 2:
        return 0.0
    falls = np.flatnonzero(np.diff(rate) < -SAME_RATE * rate[:-1])
    rising = rate[: falls[0] + 1] if falls.size else rate
    top = rising.max()
    if not rising[0] < (1 - SAME_RATE) * top:
        return 0.0
    return float(step[np.flatnonzero(rising >= (1 - SAME_RATE) * top)[0]])


def _equivalent_warmup(step: Floats, rate: Floats, first: float, stated: float) -> tuple[float, str, bool]:
    """Steps of linear warm-up that stand for the rate before the step ``first``, what forbids it, whether it was linear.

    A record that begins at ``first`` with the rate there says: linear from 0 over the warm-up, then constant.
    """
    rate_there = float(rate[step == first][0])
    seen = step <= first
    if 0 < stated <= first and np.all(np.abs(rate[seen & (step > stated)] - rate_there) <= SAME_RATE * rate_there):
        return stated, "", True
    if rate_there > 0 and stated == 0:
        rising = seen & (rate < (1 - SAME_RATE) * rate_there)
        if rising.any() and np.sum(step[rising] * rate[rising]) > 0:
            steps = float(rate_there * np.sum(step[rising] ** 2) / np.sum(step[rising] * rate[rising]))
            expected = rate_there * np.minimum(step[seen] / steps, 1.0)
            # A log may give the rate before or after the update.
            if np.all(np.abs(rate[seen] - expected) <= 0.02 * rate_there + 1.5 * rate_there / steps):
                return min(steps, first), "", True
    schedule = find_schedule(step, rate, np.ones(step.size), stated)
    time = float(schedule.time(first))
    constant = rate_there * first
    if time <= SAME_TIME * constant or abs(time - (constant - rate_there * min(stated, first) / 2)) <= 1e-3 * time:
        return stated, "", True
    if constant == 0:
        return stated, f"zero at step {first:g}, which hides how it was before", True
    steps = float(np.clip(2 * (first - time / rate_there), 0.0, first))
    error = (constant - rate_there * steps / 2) / time - 1
    trouble = f"its integral up to step {first:g} would be off by {error:.0%}" if abs(error) > SAME_TIME else ""
    return steps, trouble, False


def combined_stderr(scatter: Any, own: Floats, shared: Floats) -> Floats:
    """Standard error of an average: its scatter, at least the errors stated of what is averaged, and what all share.

    Parameters
    ----------
    scatter : ndarray, shape (obs,)
        From the scatter of the averaged values; NaN where unknown.
    own, shared : ndarray, shape (obs,)
        Stated errors of the average from independent errors of the values, and from an offset that they share.

    Examples
    --------
    >>> combined_stderr(np.array([0.3, np.nan]), np.array([0.1, 0.1]), np.array([0.4, 0.0]))
    array([0.5, 0.1])
    """
    return np.hypot(np.fmax(np.asarray(scatter, np.float64), own), shared)
