"""From logs to a labelled record: which column is what, rows of one step put together, and the runs joined."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from scalingeq.errors import DataError, raise_problems

from ..history import note
from ..labels import MEASURED, label
from ..schema import SAME_RATE
from .columns import Floats
from .configuration import GLOBAL, find_sizes
from .log import Log
from .names import Naming, plain

AT_STEPS = ("step", "loss", "train_loss", "loss_stderr", "learning_rate", "batch_size", "tokens", "flops", "epoch")
OF_RUNS = ("params", "width", "dataset_size", "warmup_steps", "seed")
NEEDED = ("step", "loss", "params", "learning_rate", "batch_size")  # where two columns can be one of these: refused
BETWEEN = ("learning_rate", "batch_size", "tokens", "flops")  # linear between the steps where they are logged
NAMED_RUNS = 5
ADVICE = {
    "step": "pass step=COLUMN; of a log of epochs, steps_per_epoch=NUMBER",
    "loss": "pass loss=COLUMN, a test loss; in one pass over the data the training loss can stand for it",
    "tokens": "a table of final losses needs them: pass tokens=COLUMN, or flops='6ND' where its FLOPs are 6 params tokens",
    "params": "pass params=NUMBER, =COLUMN or ={run: number}",
    "learning_rate": "pass learning_rate=NUMBER, =COLUMN or ={run: number}",
    "batch_size": "pass batch_size=TOKENS PER STEP, =COLUMN or ={run: number}, or tokens=COLUMN",
}


@dataclass
class Curve:
    """One run with its quantities under the names of the schema.

    Attributes
    ----------
    name, source : str
        Run and file.
    points : dict of str to ndarray, shape (obs,)
        Quantities at the steps of the test loss.
    sizes : dict of str to float
        Quantities of the run.
    kept : dict of str to ndarray, shape (obs,), or text
        What is kept under its own name.
    problems, notes : list of str
        What cannot be used, and what was done.
    """

    name: str
    source: str
    points: dict[str, Floats]
    sizes: dict[str, float]
    kept: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Observer:
    """Turns logs into curves by the names that the caller gave and those known.

    Parameters
    ----------
    naming : Naming
        What the caller said of the columns.

    Examples
    --------
    >>> nan = np.nan
    >>> log = Log("a", {"step": np.array([1.0, 2, 2]), "loss": np.array([3, 2, nan]), "eval_loss": np.array([nan, nan, 2.5]),
    ...                 "learning_rate": np.array([0.2, 0.1, nan])})
    >>> curve = Observer(Naming()).observe(log, is_tidy=False)
    >>> {name: values.tolist() for name, values in curve.points.items()}, curve.sizes
    ({'step': [2.0], 'loss': [2.5], 'train_loss': [2.0]}, {'learning_rate': 0.1})
    """

    def __init__(self, naming: Naming) -> None:
        self.naming = naming
        self._found: dict[tuple[bool, tuple[str, ...]], tuple[dict[str, str], dict[str, str]]] = {}

    def observe(self, log: Log, config: Mapping[str, Any] | None = None, *, is_tidy: bool) -> Curve:
        """Choose the rows with a test loss, and bring the other quantities to their steps.

        Parameters
        ----------
        log : Log
            A run as its reader gives it.
        config : mapping, optional
            Configuration beside it; what the log itself says goes before.
        is_tidy : bool
            Whether the log is a table that may use the names of the schema.

        Returns
        -------
        Curve
            Values of another row of the same step are taken over; learning rate, batch size and tokens are linear
            between the rows where they are logged, and constant before and after. Steps that go back start anew.
        """
        config = {**(config or {}), **log.config}
        for name, column in log.columns.items():
            if plain(name) in GLOBAL and column.size and (column == column[0]).all():
                config[name] = column[0]  # sequences of a step, which a sequence's tokens turn into a batch size
        named = self.naming.columns.values()
        columns = {name: column for name, column in log.columns.items() if name in named or not np.isnan(column).all()}
        found, problems = self._resolve(is_tidy, tuple(columns), log.left_out)
        sizes = {role: size for role, size in find_sizes(config, self.naming).items() if role not in self.naming.values}
        # A column that is not there may be an entry of the configuration.
        curve = Curve(log.name, log.source, {}, sizes, problems=[p for r, p in problems.items() if r not in sizes])
        absent = [name for name in self.naming.run or () if name not in config]
        if absent:
            curve.problems.append(f"run: neither a column nor an entry of the configuration is called {absent[0]!r}")
        elif self.naming.run:
            curve.name = ", ".join(str(config[name]) for name in self.naming.run)
        roles = {role: columns[name] for role, name in found.items()}
        position = next((roles[role] for role in ("step", "tokens", "epoch") if role in roles), None)
        there = np.isfinite(position) if position is not None else np.ones(_rows(columns), bool)
        rows = np.flatnonzero(there & ~np.isnan(roles["loss"]) if "loss" in roles else there)
        where = np.arange(there.size, dtype=np.float64) if position is None else position
        for role in AT_STEPS:
            if role in roles:
                curve.points[role] = _bring(roles[role], where, there, rows, between=role in BETWEEN)
                if role == "learning_rate":
                    _lift_rounding(curve)
                if role == "learning_rate" and np.isnan(roles[role][rows]).any():
                    curve.notes.append("learning rate linear between the steps where it is logged")
        for role in OF_RUNS:
            if role in roles:
                values = np.unique(roles[role][~np.isnan(roles[role])])
                if values.size == 1:
                    curve.sizes[role] = float(values[0])
                else:
                    curve.problems.append(
                        f"{role}: changes within a run, from {values[0]:g} to {values[-1]:g}; give one value a run, and "
                        f"pass run=COLUMN, or several, where the file holds several runs"
                    )
        for name in self.naming.keep:
            if name in columns:
                curve.kept[name] = _bring(columns[name], where, there, rows, between=False)
            else:
                curve.kept[name] = config.get(name, "")
        for role in ("learning_rate", "batch_size"):
            points = curve.points.get(role, np.zeros(0))
            if points.size and (points == points[0]).all():
                curve.sizes[role] = float(curve.points.pop(role)[0])
        return curve

    def _resolve(
        self, is_tidy: bool, columns: tuple[str, ...], left_out: Sequence[str]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Column of each role, and what is wrong with some; runs of one log have the same, so it is done once."""
        if (is_tidy, columns) not in self._found:
            found, problems = {}, {}
            for role in (*AT_STEPS, *OF_RUNS):
                try:
                    name = self.naming.find(role, columns, is_tidy=is_tidy, left_out=left_out)
                except DataError as error:
                    if role in NEEDED or role in self.naming.columns:
                        problems[role] = error.problems[0]
                else:
                    if name is not None:
                        found[role] = name
            self._found[is_tidy, columns] = found, problems
        return self._found[is_tidy, columns]


def _lift_rounding(curve: Curve) -> None:
    """Take as 0 the rates that rounding, in a schedule that ends there, brought below it."""
    rate = curve.points["learning_rate"]
    below = (rate < 0) & (rate >= -SAME_RATE * np.max(rate, initial=0.0, where=~np.isnan(rate)))
    if below.any():
        curve.points["learning_rate"] = np.where(below, 0.0, rate)
        curve.notes.append("learning rates that rounding left below 0 taken as 0")


def _rows(columns: Mapping[str, Floats]) -> int:
    return max((column.size for column in columns.values()), default=0)


def _bring(column: Floats, step: Floats, there: NDArray[np.bool_], rows: NDArray[np.int64], *, between: bool) -> Floats:
    """Values of a column at chosen rows: their own, else of another row of that step, else linear between steps."""
    out = column[rows] if rows.size < column.size else column
    lacking = np.flatnonzero(np.isnan(out))
    known = np.flatnonzero(~np.isnan(column) & there)
    if not lacking.size or not known.size:
        return out
    out = out.copy()
    at = rows[lacking]
    # The nearest rows before and after that have a value, as far as the steps do not go back in between.
    k = np.searchsorted(known, at)
    before, after = known[np.maximum(k - 1, 0)], known[np.minimum(k, known.size - 1)]
    inside = np.flatnonzero(there) if not there.all() else None
    steps = step if inside is None else step[inside]
    back = np.flatnonzero(steps[1:] < steps[:-1]) + 1
    back = back if inside is None else inside[back]
    part = np.searchsorted(back, at, side="right")
    has_before = (k > 0) & (np.searchsorted(back, before, side="right") == part)
    has_after = (k < known.size) & (np.searchsorted(back, after, side="right") == part)
    before, after = np.where(has_before, before, after), np.where(has_after, after, before)
    with np.errstate(all="ignore"):  # infinite or huge numbers give such results, or NaN, and are found by the check
        width = step[after] - step[before]
        share = np.where(width > 0, (step[at] - step[before]) / np.where(width > 0, width, 1.0), 0.0)
        values = np.where(share == 1, column[after], column[before] + share * (column[after] - column[before]))
    same = (step[before] == step[at]) | (step[after] == step[at])
    out[lacking] = np.where((has_before | has_after) & (same | between), values, np.nan)
    return out


def join(
    curves: Sequence[Curve],
    naming: Naming,
    *,
    units: Mapping[str, str] | None = None,
    flops: str | None = None,
    steps_per_epoch: float | None = None,
    hints: Sequence[str] = (),
) -> xr.Dataset:
    """Join the curves of several runs into one labelled record.

    Parameters
    ----------
    curves : sequence of Curve
        One a run, in the order wanted; their points are given up on the way.
    naming : Naming
        What the caller gave, the values among it.
    units : mapping of str to str, optional
        As for :func:`scalingeq.datasets.label`.
    flops : {"6ND"}, optional
        What the FLOPs of a table count, where tokens are to be found from them.
    steps_per_epoch : float, optional
        Steps of an epoch, where a log counts epochs from 0 and no steps.
    hints : sequence of str
        Said in a refusal: files that could have had what is missing.

    Returns
    -------
    xarray.Dataset
        Ragged ``(obs)`` with ``row_size(run)``; ``(run)`` where each run has its final loss alone.

    Raises
    ------
    DataError
        With all that is missing or ambiguous in all runs, and which argument to pass.

    Examples
    --------
    >>> steps = {"step": np.array([1.0, 2.0]), "loss": np.array([3.0, 2.5])}
    >>> join([Curve("a", "a.csv", steps, {"params": 1e6})], Naming.of({"batch_size": 64}))
    Traceback (most recent call last):
        ...
    scalingeq.errors.DataError: learning_rate: missing in run 'a'; pass learning_rate=NUMBER, =COLUMN or ={run: number}
    """
    problems: dict[str, list[str]] = {}
    for curve in curves:
        for problem in curve.problems:
            problems.setdefault(problem, []).append(curve.name)
    raise_problems([f"{text} (in {_listed(runs)})" for text, runs in problems.items()], DataError)
    if flops not in (None, "6ND"):
        raise DataError(f"flops: {flops!r} is not known; pass '6ND', or tokens=COLUMN")
    names = unique_names([curve.name for curve in curves], [curve.source for curve in curves])
    sizes = np.array([_rows(curve.points) for curve in curves], np.int64)
    empty = [name for name, size in zip(names, sizes.tolist(), strict=True) if not size]
    if empty:
        raise DataError(f"loss: no values at any step in {_listed(empty)}; leave out these logs, or pass loss=COLUMN")
    notes = list(dict.fromkeys(note for curve in curves for note in curve.notes))
    flat = _flat(curves, sizes)
    ds = _labelled(flat, names, sizes, naming, units)
    ds = _keep(ds, curves, sizes, naming)
    with np.errstate(all="ignore"):  # quotients of numbers that the check refuses
        ds = _derive(ds, flops, steps_per_epoch, notes)
    _refuse_missing(ds, curves, hints)
    # Sizes that the runs do not all have say nothing of the others.
    partial = [role for role in ("width", "seed", "tokens") if role in ds and ds[role].isnull().any()]
    ds = ds.drop_vars([*partial, *(role for role in ("flops", "epoch") if role in ds)])
    if "step" in ds and all(_are_counts(part) for part in np.array_split(ds["step"].values, 16)):
        ds["step"] = ds["step"].astype(np.int64, keep_attrs=True)
    return note(ds, f"open_logs: {len(curves)} runs" + "".join(f"; {text}" for text in notes))


def _are_counts(values: NDArray[np.float64]) -> bool:
    return bool(((values == np.floor(values)) & (np.abs(values) < 2**53)).all())


def _flat(curves: Sequence[Curve], sizes: NDArray[np.int64]) -> dict[str, tuple[str, Floats]]:
    """Quantities of all runs end to end, with their dimension; NaN where a run has none."""
    flat: dict[str, tuple[str, Floats]] = {}
    for role in dict.fromkeys(role for curve in curves for role in (*curve.points, *curve.sizes)):
        if len(curves) == 1 and role in curves[0].points:
            flat[role] = ("obs", curves[0].points.pop(role))
        elif any(role in curve.points for curve in curves):
            out = np.full(int(sizes.sum()), np.nan)
            start = 0
            for curve, size in zip(curves, sizes.tolist(), strict=True):
                out[start : start + size] = curve.points.pop(role, curve.sizes.get(role, np.nan))
                start += size
            flat[role] = ("obs", out)
        else:
            flat[role] = ("run", np.array([curve.sizes.get(role, np.nan) for curve in curves]))
    return flat


def _labelled(
    flat: Mapping[str, tuple[str, Floats]],
    names: list[str],
    sizes: NDArray[np.int64],
    naming: Naming,
    units: Mapping[str, str] | None,
) -> xr.Dataset:
    is_table = bool((sizes == 1).all())
    data = {role: ("run" if is_table else dim, values) for role, (dim, values) in flat.items()}
    coords: dict[str, Any] = {"run": np.array(names, dtype=np.str_)}
    if not is_table:
        coords["row_size"] = ("run", sizes)
    ds = xr.Dataset({role: one for role, one in data.items() if role in MEASURED})
    ds = ds.assign_coords({role: one for role, one in data.items() if role not in MEASURED} | coords)
    values = {}
    for role, value in naming.values.items():
        if isinstance(value, Mapping):
            lacking = [name for name in names if name not in value]
            if lacking:
                raise DataError(f"{role}: no value for {_listed(lacking)}; the values are for {_listed([*value])}")
            value = xr.DataArray([value[name] for name in names], dims="run")
        values[role] = value
    return label(ds, units=units, **values)


def _keep(ds: xr.Dataset, curves: Sequence[Curve], sizes: NDArray[np.int64], naming: Naming) -> xr.Dataset:
    """Add what the caller wants kept: one value a run where it is one, else at each step."""
    for name in naming.keep:
        values = [curve.kept[name] for curve in curves]
        label_name = name.replace("/", "_")  # a file has no other place for "/" than between groups
        if all(not isinstance(value, np.ndarray) or (value == value[:1]).all() for value in values):
            ones = [value[0] if isinstance(value, np.ndarray) and value.size else value for value in values]
            kinds = {isinstance(value, str) for value in ones}
            ones = [str(value) for value in ones] if True in kinds else [float(value) for value in ones]
            ds = ds.assign_coords({label_name: ("run", ones)})
        else:
            parts = [np.broadcast_to(v, n) for v, n in zip(values, sizes.tolist(), strict=True)]
            ds[label_name] = ("obs", np.concatenate(parts).astype(np.float64))
    return ds


def _derive(ds: xr.Dataset, flops: str | None, steps_per_epoch: float | None, notes: list[str]) -> xr.Dataset:
    """Find what follows from what is there: tokens from FLOPs, steps from epochs or tokens, batch size from tokens."""

    def at(role: str) -> Floats:
        values = np.asarray(ds[role].values, np.float64)
        if ds[role].dims == ("run",) and "row_size" in ds:
            values = np.repeat(values, ds["row_size"].values)
        return values

    dim = "obs" if "row_size" in ds else "run"
    if "tokens" not in ds and flops is not None and {"flops", "params"} <= set(ds.variables):
        ds = label(ds.assign_coords(tokens=(dim, at("flops") / (6 * at("params")))))
        notes.append("tokens from FLOPs / (6 params)")
    if "step" not in ds and "epoch" in ds and steps_per_epoch is not None:
        ds = label(ds.assign_coords(step=(dim, (at("epoch") + 1) * steps_per_epoch)))
        notes.append(f"step from epochs of {steps_per_epoch} steps")
    batch = at("batch_size") if "batch_size" in ds else np.full(ds.sizes[dim], np.nan)
    if "step" not in ds and "tokens" in ds and "row_size" in ds and not np.isnan(batch).any():
        ds = label(ds.assign_coords(step=(dim, at("tokens") / batch)))
        notes.append("step from tokens / batch_size")
    elif {"step", "tokens"} <= set(ds.variables) and np.isnan(batch).any():
        ds = label(ds.assign_coords(batch_size=_batch_size(ds, at("step"), at("tokens"), batch)))
        notes.append("batch_size from tokens / step")
    return ds


def _batch_size(ds: xr.Dataset, step: Floats, tokens: Floats, batch: Floats) -> tuple[str, Floats]:
    """Tokens in a step of each run whose tokens are proportional to its steps; NaN where they are not."""
    sizes = ds["row_size"].values if "row_size" in ds else np.ones(ds.sizes["run"], np.int64)
    run = np.repeat(np.arange(sizes.size), sizes)
    last = np.zeros(sizes.size, np.int64)
    order = np.argsort(np.where(np.isfinite(step) & np.isfinite(tokens), step, -1), kind="stable")
    last[run[order]] = order  # the largest step of a run stays
    found = tokens[last] / step[last]
    apart = ~(np.abs(tokens - found[run] * step) <= 0.01 * tokens + found[run])
    found[np.bincount(run, apart | ~np.isfinite(tokens), sizes.size) > 0] = np.nan
    given = np.full(sizes.size, np.nan)
    given[run] = batch
    return "run", np.where(np.isnan(given), found, given)


def _refuse_missing(ds: xr.Dataset, curves: Sequence[Curve], hints: Sequence[str]) -> None:
    is_table = "row_size" not in ds
    needed = ["loss", "tokens" if is_table and "step" not in ds else "step", "params", "learning_rate", "batch_size"]
    problems = []
    of_obs = (
        np.repeat(np.arange(ds.sizes["run"]), ds["row_size"].values) if not is_table else np.arange(ds.sizes["run"])
    )
    for role in needed:
        if role not in ds:
            lacking = np.ones(ds.sizes["run"], bool)
        else:
            gone = np.broadcast_to(np.isnan(np.asarray(ds[role].values, np.float64)), ds[role].shape)
            run = of_obs if "obs" in ds[role].dims else np.arange(ds.sizes["run"])
            lacking = np.bincount(run, gone, ds.sizes["run"]) > 0 if gone.ndim else np.full(ds.sizes["run"], bool(gone))
        if lacking.any():
            problems.append(f"{role}: missing in {_listed(ds['run'].values[lacking].tolist())}; {ADVICE[role]}")
    for role in ("warmup_steps", "dataset_size"):
        if role in ds and ds[role].isnull().any():
            runs = _listed(ds["run"].values[np.atleast_1d(ds[role].isnull().values)].tolist())
            problems.append(
                f"{role}: known of other runs and missing in {runs}; pass {role}=NUMBER or ={{run: number}}"
            )
    if problems:
        problems += hints
    raise_problems(problems, DataError)


def unique_names(names: Sequence[str], sources: Sequence[str]) -> list[str]:
    """Make the names of runs unique: those that occur twice get the folders of their files, or else a number.

    Examples
    --------
    >>> unique_names(["log", "log", "b", "b"], ["runs/x/log.csv", "runs/y/log.csv", "c.csv", "c.csv"])
    ['x/log', 'y/log', 'b', 'b (2)']
    >>> unique_names(["0", "0"], ["mlp.csv", "cifar.csv"])
    ['mlp/0', 'cifar/0']
    """
    out = list(names)
    groups: dict[str, list[int]] = {}
    for k, name in enumerate(names):
        groups.setdefault(name, []).append(k)
    for name, group in groups.items():
        paths = [os.path.abspath(sources[k]) for k in group]
        places = [os.path.dirname(path) for path in paths]
        if len(set(places)) < len(set(paths)):  # files of one folder
            places = [os.path.splitext(path)[0] for path in paths]
        if len(set(places)) > 1:
            above = os.path.commonpath(places)
            for k, place in zip(group, places, strict=True):
                parts = [part for part in os.path.relpath(place, above).split(os.sep) if part != "."]
                out[k] = "/".join([*parts, name] if not parts or parts[-1] != name else parts)
    seen: dict[str, int] = {}
    for k, name in enumerate(out):
        count = seen[name] = seen.get(name, 0) + 1
        if count > 1:
            while (numbered := f"{name} ({count})") in seen or numbered in names:
                count += 1
            seen[name], seen[numbered] = count, 1
            out[k] = numbered
    return out


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - NAMED_RUNS} more runs" if len(names) > NAMED_RUNS else ""
    return ", ".join(f"run {name!r}" for name in names[:NAMED_RUNS]) + rest
