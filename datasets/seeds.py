"""The mean of runs that differ in their random seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from scalingeq.errors import DataError, raise_problems

from .cleaning import combined_stderr
from .history import note
from .labels import MEASURED, label
from .rearranging import observations, rearranged
from .schema import SAME_RATE
from .shapes import Layout, find_layout

Floats = NDArray[np.float64]


def average_seeds(ds: xr.Dataset, *, interpolate: bool = False) -> xr.Dataset:
    """Average the losses of runs that are equal but for their seed.

    Parameters
    ----------
    ds : xarray.Dataset
        Measured curves, or a table of final losses, with ``seed`` over runs. Runs belong together where every other
        coordinate of the runs is equal, their name aside.
    interpolate : bool, default False
        Whether runs with different steps are interpolated, linearly in log step, to the steps of the first of them that
        all of them cover; refused otherwise.

    Returns
    -------
    xarray.Dataset
        One run for each group, in the place and with the coordinates of its first, without ``seed``. ``loss`` is the
        mean and ``loss_stderr`` its standard error from the scatter of the seeds, but not less than what the errors
        stated of them leave, and ``offset_stderr``. ``seed_count`` says how many runs went into it; an error from two
        or three seeds is a rough one. Runs alone of their kind keep their loss and error.

    Raises
    ------
    DataError
        If ``seed`` is missing, no two runs differ in it alone, or runs of a group differ in steps or schedules.

    Examples
    --------
    >>> ds = xr.Dataset({"loss": (("run", "step"), [[3.0, 2.0], [3.2, 2.2], [2.5, 1.5]])},
    ...                 {"step": [1, 2], "params": ("run", [10, 10, 20]), "seed": ("run", [0, 1, 0])})
    >>> mean = average_seeds(ds)
    >>> mean.loss.values.round(3).tolist(), mean.loss_stderr.values.round(3).tolist(), mean.seed_count.values
    ([[3.1, 2.1], [2.5, 1.5]], [[0.1, 0.1], [nan, nan]], array([2, 1]))
    """
    ds = label(ds)
    problems = [f"{name}: missing; name the variable: label({name}=...)" for name in ("loss", "seed") if name not in ds]
    raise_problems(problems + ([] if "run" in ds.dims else ["run: there is only one, nothing to average"]), DataError)
    layout = find_layout(ds)
    groups = _groups(ds, layout)
    if all(len(group) == 1 for group in groups):
        apart = ", ".join(map(str, _distinctions(ds)))
        raise DataError(f"seed: no two runs differ in it alone; they are told apart by {apart or 'nothing else'}")
    flat = {"loss": ds["loss"].values, **_table_errors(ds)} if layout.is_table else observations(ds, layout)
    parts = [_averaged(layout, flat, group, interpolate, problems) for group in groups]
    raise_problems(problems, DataError)
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    first = np.array([group[0] for group in groups])
    kept = ds.drop_vars([name for name in flat if name not in values] + ["seed"])
    names = layout.names.astype(object)[first]
    if "run" in ds.variables:
        many = [
            f"{name} (mean of {len(group)})" if len(group) > 1 else name
            for name, group in zip(names, groups, strict=True)
        ]
        labels = np.array(many, dtype=np.str_)
    else:
        labels = None
    if layout.is_table:
        out = kept.isel(run=first).assign(
            {name: ("run", array, ds[name].attrs if name in ds else {}) for name, array in values.items()}
        )
        out = out if labels is None else out.assign_coords(run=("run", labels, ds["run"].attrs))
    else:
        sizes = [part["loss"].size for part in parts]
        out = rearranged(kept, layout, values, np.repeat(np.arange(first.size), sizes), first, labels)
    about = {"long_name": "number of runs with different seeds averaged", "units": "1"}
    out = out.assign_coords(seed_count=("run", np.array([len(group) for group in groups]), about))
    how = ", interpolated in log step where steps differ" if interpolate else ""
    return note(label(out), f"average_seeds: {layout.names.size} runs into {first.size}{how}")


def _distinctions(ds: xr.Dataset) -> list[str]:
    """Coordinates of the runs in which runs of one group must agree."""
    return [
        str(n)
        for n, v in ds.variables.items()
        if v.dims == ("run",) and n not in ("run", "row_size", "seed", *MEASURED, "offset_stderr")
    ]


def _groups(ds: xr.Dataset, layout: Layout) -> list[list[int]]:
    """Runs that are equal but for their seed, in the order of the first of each group."""
    columns = [ds[name].values for name in _distinctions(ds)]
    found: dict[tuple[Any, ...], list[int]] = {}
    for run in range(layout.names.size):
        # Not-a-number is not equal to itself, its text is.
        found.setdefault(tuple(str(column[run]) for column in columns), []).append(run)
    return list(found.values())


def _table_errors(ds: xr.Dataset) -> dict[str, NDArray[Any]]:
    return {name: ds[name].values for name in ("loss_stderr", "offset_stderr", "train_loss") if name in ds}


def _averaged(
    layout: Layout, flat: dict[str, NDArray[Any]], group: Sequence[int], interpolate: bool, problems: list[str]
) -> dict[str, NDArray[Any]]:
    """Mean and standard error of the runs of a group; what is wrong with them goes to ``problems``."""
    rows = [slice(*np.searchsorted(layout.run, [run, run + 1])) for run in group]
    names = [str(layout.names[run]) for run in group]
    numbers = {name: values.astype(np.float64) for name, values in flat.items() if values.dtype.kind in "iuf"}
    out: dict[str, NDArray[Any]] = {name: values[rows[0]] for name, values in flat.items()}
    out.setdefault("loss_stderr", np.full(out["loss"].size, np.nan))
    if len(group) == 1:
        return {name: out[name] for name in (*numbers, "loss_stderr") if name in out}
    if "step" in numbers:
        steps = [numbers["step"][mine] for mine in rows]
        empty = [repr(name) for name, s in zip(names, steps, strict=True) if s.size == 0]
        if empty:
            problems.append(f"step: no observations in run {', '.join(empty[:5])}; leave out with select_runs")
            return out
        bad = [name for name, s in zip(names, steps, strict=True) if (np.diff(s) <= 0).any()]
        problems += [f"step: not ascending in run {name!r}; first call join_restarts(ds)" for name in bad]
        other = [name for name, s in zip(names, steps, strict=True) if not np.array_equal(s, steps[0])]
        if other and not interpolate:
            problems.append(
                f"step: those of run {', '.join(map(repr, other[:5]))} are not those of {names[0]!r}, which differs in "
                f"its seed alone; pass interpolate=True, or thin both"
            )
        if bad or (other and not interpolate):
            return out
        low, high = max(s[0] for s in steps), min(s[-1] for s in steps)
        at = steps[0][(steps[0] >= low) & (steps[0] <= high)]
        if at.size == 0:
            problems.append(f"step: runs {', '.join(map(repr, names[:5]))} have none in common to interpolate to")
            return out
        x = [np.log(np.maximum(s, 0.5)) for s in steps]
        stack = {
            name: np.array([np.interp(np.log(np.maximum(at, 0.5)), x[i], values[mine]) for i, mine in enumerate(rows)])
            for name, values in numbers.items()
        } | {"step": np.array([at])}
    else:
        stack = {name: np.array([values[mine] for mine in rows]) for name, values in numbers.items()}
    if not np.isfinite(stack["loss"]).all():
        problems.append(
            f"loss: NaN or infinite in runs {', '.join(map(repr, names[:5]))}; drop these points, or separate(ds)"
        )
        return out
    for name in ("learning_rate", "batch_size"):
        if name in stack and not np.isclose(stack[name], stack[name][0], rtol=SAME_RATE, atol=0, equal_nan=True).all():
            problems.append(
                f"{name}: differs between runs {', '.join(map(repr, names[:5]))}, which differ in their seed alone otherwise"
            )
    with np.errstate(invalid="ignore"):  # other columns may hold infinities
        out = {name: block.mean(axis=0) for name, block in stack.items()}
    count = len(group)
    shared = np.nan_to_num(out["offset_stderr"]) if "offset_stderr" in out else np.zeros(out["loss"].size)
    own = np.full(out["loss"].size, np.nan)
    if "loss_stderr" in stack:
        own = np.sqrt(np.maximum((stack["loss_stderr"] ** 2).mean(axis=0) - shared**2, 0.0) / count)
    scatter = stack["loss"].std(axis=0, ddof=1) / np.sqrt(count)
    return out | {"loss_stderr": combined_stderr(scatter, own, shared)}
