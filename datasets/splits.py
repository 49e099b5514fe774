"""The splits of the scoreboard: which measured runs a law is fitted to, and which it predicts.

They were fixed before any law was fitted to them, by what is natural in each set: the sizes, budgets, schedules or
numbers of passes that its authors made few and large are held out. ``stdlib-lm`` comes with the package; the others are
records made by others, read from a folder that holds them as their authors publish them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.leaving_out import Task

from .catalogue import load
from .cleaning import join_restarts, split_restarts
from .labels import label
from .opening import open_logs
from .schema import is_constant_rate, select_runs, to_curves

POINTS = 16
"""Observations of a run that are kept, half of them evenly in the logarithm of the step, half evenly in the step."""


@dataclass(frozen=True)
class Split:
    """A set of measured runs, and what of it is held out.

    Attributes
    ----------
    data, name : str
        Name of the set, and of what is extrapolated.
    source : str
        Folder of the set in that of the records; empty for what comes with the package.
    read : callable
        Makes a labelled record of that folder.
    holds_out : callable
        Tells, from the record, which of its runs (run,) are predicted; or a number: every run is fitted up to that share
        of its last step, and the rest predicted.
    task : {"size", "horizon", "schedule", "repetition"}
        What grows from the fitted to the held-out part.
    points : int
        Observations of a run that are kept.
    """

    data: str
    name: str
    source: str
    read: Callable[[Path], xr.Dataset]
    holds_out: Callable[[xr.Dataset], Any] | float
    task: Task
    points: int = POINTS

    def is_present(self, folder: Path | None) -> bool:
        """Whether the set is there: it comes with the package, or the folder of the records has it.

        Examples
        --------
        >>> [split.data for split in SPLITS if split.is_present(None)][0]
        'stdlib-lm'
        """
        return not self.source or (folder is not None and (folder / self.source).is_dir())

    def curves(self, folder: Path | None) -> tuple[TrainingCurves, NDArray[np.bool_]]:
        """Observations that are kept, and which (obs,) of them are held out.

        Examples
        --------
        >>> curves, held = SPLITS[0].curves(None)
        >>> sorted(set(curves.params[curves.run[held]].tolist()))
        [332448.0, 590720.0, 1328448.0]
        """
        ds = self.read((folder or Path()) / self.source)
        curves = to_curves(ds)
        if isinstance(self.holds_out, float):
            last = np.zeros(curves.name.size)
            np.maximum.at(last, curves.run, curves.step)
            held = curves.step > self.holds_out * last[curves.run]
        else:
            # Runs are numbered in the order of the record, which the curves keep.
            held = np.asarray(self.holds_out(ds), bool)[curves.run]
        kept = np.zeros(curves.run.size, bool)
        for part in (held, ~held):
            for run in np.unique(curves.run[part]).tolist():
                at = np.flatnonzero(part & (curves.run == run))
                kept[at[chosen_points(curves.step[at], self.points)]] = True
        return curves.select(kept), held[kept]


def chosen_points(step: NDArray[np.float64], points: int) -> NDArray[np.int64]:
    """Positions of at most ``points`` of a run's steps: half evenly spread in log step, half in step, and the last.

    Examples
    --------
    >>> chosen_points(np.arange(1.0, 101.0), 8)
    array([ 0,  4, 21, 33, 66, 99])
    """
    if step.size <= points:
        return np.arange(step.size)
    half, low = points // 2, max(step[0], 1e-3 * step[-1])
    wanted = np.concatenate([np.geomspace(low, step[-1], half), np.linspace(low, step[-1], points - half)])
    after = np.searchsorted(step, wanted).clip(1, step.size - 1)
    return np.unique(np.where(wanted - step[after - 1] < step[after] - wanted, after - 1, after))


def _stdlib(repeats: bool) -> Callable[[Path], xr.Dataset]:
    """Runs of constant rate that see their data once, and those that repeat it if wanted."""

    def read(folder: Path) -> xr.Dataset:
        ds = load("stdlib-lm")
        return select_runs(ds, is_constant_rate(ds) & (np.isinf(ds["dataset_size"]) | repeats))

    return read


def _stdlib_once(folder: Path) -> xr.Dataset:
    ds = load("stdlib-lm")
    return select_runs(ds, np.isinf(ds["dataset_size"]))


def _stdlib_repeats(fewest: float) -> Callable[[Path], xr.Dataset]:
    """Runs of constant rate with at least so many unique bytes, of the sizes and batch of those that repeat theirs."""

    def read(folder: Path) -> xr.Dataset:
        ds = _stdlib(repeats=True)(folder)
        repeating = np.unique(ds["params"].values[np.isfinite(ds["dataset_size"])])
        sizes = np.append(repeating, [9328.0, 590720.0])
        ds = select_runs(ds, np.isin(ds["params"], sizes) & (ds["batch_size"] == 1024) & (ds["seed"] == 0))
        return select_runs(ds, ds["dataset_size"] >= fewest)

    return read


def _with_warmup(ds: xr.Dataset) -> xr.Dataset:
    """Say that the learning rate rises to its peak before it falls: what comes before is a warm-up."""
    curves = to_curves(ds)
    warmup = np.zeros(curves.name.size)
    rate = np.asarray(ds["learning_rate"])
    for run, end in enumerate(np.cumsum(ds["row_size"].values)):
        mine = slice(int(end - ds["row_size"].values[run]), int(end))
        top = int(np.argmax(rate[mine] > 0.999 * rate[mine].max()))
        warmup[run] = ds["step"].values[mine][top] if top else 0.0
    about = {"long_name": "steps before the peak of the learning rate", "units": "1"}
    return ds.assign_coords(warmup_steps=("run", warmup, about))


def _supercollapse(name: str) -> Callable[[Path], xr.Dataset]:
    """Linear decay of muP networks, one seed of each width."""

    def read(folder: Path) -> xr.Dataset:
        ds = open_logs(folder / f"{name}_curves.csv")
        return _with_warmup(select_runs(ds, ds["seed"] == 0))

    return read


FIRST_SCHEDULES = ("const 1.0", "multicosine 1.0")


def _mlp_schedules(folder: Path) -> xr.Dataset:
    """Three widths under five schedules; of the constant rate and the slow multicosine the runs of 1e9 samples alone."""
    ds = open_logs(folder / "mlp_schedules_curves.csv", keep=("schedule", "decay_frac", "horizon_tokens"))
    names = _schedule_names(ds)
    return select_runs(ds, ~np.isin(names, FIRST_SCHEDULES) | (ds["horizon_tokens"].values.astype(float) == 1e9))


def _schedule_names(ds: xr.Dataset) -> NDArray[np.str_]:
    pairs = zip(ds["schedule"].values, ds["decay_frac"].values.astype(float), strict=True)
    return np.array([f"{schedule} {share}" for schedule, share in pairs])


def _multipower(size: str) -> Callable[[Path], xr.Dataset]:
    def read(folder: Path) -> xr.Dataset:
        ds = open_logs(str(folder / f"csv_{size}" / "*.csv"), params=1e6 * float(size), batch_size=2**19)
        return label(ds, warmup_steps=2160)

    return read


MULTIPOWER_FITTED = ("constant_24000", "cosine_24000", "wsdcon_9")


def _gemstones(folder: Path) -> xr.Dataset:
    return open_logs(folder / "wandb_df_for_fitting_hot_100b+.jsonl", learning_rate=1e-3)


def _misfitting(folder: Path) -> xr.Dataset:
    """The runs of each size at the peak rate whose last loss is its lowest; rates relative to that peak."""
    keys = ("model", "total_steps", "peak_lr", "sweep")
    ds = open_logs(folder / "scaling_results.csv", run=keys, params="N", learning_rate="peak_lr")
    ds = join_restarts(split_restarts(ds))
    ds = select_runs(ds, ds["row_size"] > 1)
    curves = to_curves(ds)
    last = curves.loss[np.append(np.flatnonzero(np.diff(curves.run)), curves.run.size - 1)]
    keep = np.zeros(curves.name.size, bool)
    for size in np.unique(curves.params):
        mine = np.flatnonzero(curves.params == size)
        best = mine[np.argmin(last[mine])]
        keep |= (curves.params == size) & (curves.learning_rate == curves.learning_rate[best])
    ds = select_runs(ds, keep)
    return label(ds.drop_vars("learning_rate"), learning_rate=1e-3)


def _xlstm(folder: Path) -> xr.Dataset:
    """Training losses of the runs under 0.22 and over 1.1 billion parameters; rates relative to each run's peak."""
    dense = open_logs(folder / "curves.csv", loss="train_loss")
    dense = select_runs(dense, (dense["params"] < 2.2e8) | (dense["params"] >= 1.1e9))
    rate = dense["learning_rate"].values.astype(float).copy()
    ends = np.cumsum(dense["row_size"].values)
    for start, end in zip(ends - dense["row_size"].values, ends, strict=True):
        rate[start:end] *= 1e-3 / rate[start:end].max()
    return _with_warmup(dense.assign_coords(learning_rate=("obs", rate, dense["learning_rate"].attrs)))


def _porian(file: str, hparams: str, decay: str) -> Callable[[Path], xr.Dataset]:
    """Final losses of one setup.

    The short warm-up of each run takes as many tokens as the model has parameters (arXiv:2406.19146), up to all of its
    tokens. It is told where the rate is constant after it; of runs that decay the record has no schedule, and no part of
    one is told.
    """

    def read(folder: Path) -> xr.Dataset:
        ds = open_logs(
            folder / "isoflop_points.csv", params="n", tokens="t", learning_rate=1e-3, batch_size=2**19,
            keep=("file", "hparams", "warmup", "decay", "param_count"),
        )  # fmt: skip
        wanted = {"file": file, "hparams": hparams, "warmup": "short", "decay": decay, "param_count": "standard"}
        keep = np.ones(ds.sizes["run"], bool)
        for name, value in wanted.items():
            keep &= ds[name].values == value
        ds = select_runs(ds, keep)
        if decay != "const":
            return ds
        about = {"long_name": "steps of linear warm-up", "units": "1"}
        return ds.assign_coords(warmup_steps=("run", ds["params"].values / 2**19, about))

    return read


def _chinchilla(folder: Path) -> xr.Dataset:
    """Without the five highest losses, as their authors fit."""
    ds = open_logs(folder / "svg_extracted_data.csv", flops="6ND", learning_rate=1e-3, batch_size=2**19)
    return select_runs(ds, ds["loss"] < np.sort(ds["loss"].values)[-5])


def _at_least(name: str, value: float) -> Callable[[xr.Dataset], Any]:
    return lambda ds: ds[name].values >= value


def _largest(name: str, count: int) -> Callable[[xr.Dataset], Any]:
    """Runs with the so many largest values of a coordinate."""
    return lambda ds: ds[name].values.astype(float) >= np.unique(ds[name].values.astype(float))[-count]


def _compute_above(flops: float) -> Callable[[xr.Dataset], Any]:
    return lambda ds: 6 * ds["params"].values * ds["tokens"].values > flops


def _porian_split(name: str, *setup: str, above: float) -> Split:
    return Split(name, "large budgets", "porian_rsld", _porian(*setup), _compute_above(above), "size")


def _multipower_split(size: str) -> Split:
    return Split(
        f"multipower-law {size}M", "unseen schedules", "multipower_law", _multipower(size),
        lambda ds: ~np.isin(ds["run"].values.astype(str), MULTIPOWER_FITTED), "schedule", 48,
    )  # fmt: skip


SPLITS = (
    Split("stdlib-lm", "large sizes", "", _stdlib(repeats=False), _largest("params", 3), "size"),
    Split("stdlib-lm", "long horizons", "", _stdlib(repeats=False), 0.25, "horizon"),
    Split("stdlib-lm", "unseen schedules", "", _stdlib_once, lambda ds: ~is_constant_rate(ds).values, "schedule"),
    # 25 passes where 1.6 and 6.3 were seen; and 100 where 25 were.
    Split("stdlib-lm", "25 passes", "", _stdlib_repeats(3e5), lambda ds: ds["dataset_size"].values < 1e6, "repetition"),
    Split("stdlib-lm", "100 passes", "", _stdlib_repeats(0.0), lambda ds: ds["dataset_size"].values < 3e5, "repetition"),
    Split("mlp", "large sizes", "supercollapse", _supercollapse("mlp_linear"), _largest("params", 3), "size"),
    Split("mlp", "long horizons", "supercollapse", _supercollapse("mlp_linear"), 0.5, "horizon"),
    Split(
        "mlp", "unseen schedules", "supercollapse", _mlp_schedules,
        lambda ds: ~np.isin(_schedule_names(ds), FIRST_SCHEDULES), "schedule",
    ),
    Split("c5m", "large sizes", "supercollapse", _supercollapse("c5m_linear"), _largest("params", 3), "size"),
    Split("c5m", "long horizons", "supercollapse", _supercollapse("c5m_linear"), 0.5, "horizon"),
    Split("gemstones", "large sizes", "gemstones", _gemstones, _at_least("params", 4e8), "size"),
    Split("gemstones", "long horizons", "gemstones", _gemstones, 0.25, "horizon"),
    Split("misfitting", "large sizes", "misfitting", _misfitting, _largest("params", 4), "size"),
    Split("xlstm", "large sizes", "xlstm_llama", _xlstm, _at_least("params", 1.1e9), "size", 8),
    _multipower_split("25"),
    _multipower_split("100"),
    _porian_split("porian rw tuned", "summary_df", "tuned", "const", above=2e18),
    _porian_split("porian rw decayed", "summary_df", "base", "chinchilla", above=2e18),
    _porian_split("porian owt2 tuned", "summary_df_owt2", "tuned", "const", above=2e18),
    _porian_split("porian owt2 decayed", "summary_df_owt2", "base", "chinchilla", above=2e18),
    Split("chinchilla", "large budgets", "epoch_chinchilla", _chinchilla, _compute_above(3e20), "size"),
)  # fmt: skip
"""All splits, those of the set that comes with the package first."""
