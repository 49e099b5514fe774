"""Label the finished runs of the stdlib-lm recipe: losses, their standard errors by file, and the card.

The evaluation windows of one file are alike, so files, not windows, are the independent draws: errors are clustered
by file. Every run is evaluated on the same windows, so most of this error is one offset that all curves share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from scalingeq.datasets.schema import check, label
from scalingeq.errors import DataError, raise_problems

from .corpus import CONTEXT, HELD_OUT_SHARE, Corpus
from .plan import BASE_WIDTH, COSINE_FLOOR, PEAK_RATE, POINTS_PER_DECADE, WARMUP_STEPS

Floats = NDArray[np.float64]

RECENT = 0.1  # share of the steps before an evaluation over which the training loss is averaged
ARCHITECTURE = (
    f"decoder-only transformer on bytes: 3 blocks of causal attention (head dimension 16, rotary positions) and a "
    f"four-fold GELU perceptron, RMS pre-norm, no biases, untied head, context {CONTEXT}; params counts "
    "blocks and norms"
)
OPTIMISER = (
    f"AdamW, betas 0.9 and 0.95, no weight decay, no clipping; rate {PEAK_RATE:g} for embedding and norms, times "
    f"{BASE_WIDTH}/width for hidden matrices and head, after {WARMUP_STEPS} steps of linear warm-up constant or on a "
    f"cosine to {COSINE_FLOOR:g} of the peak; learning_rate is the rate at width {BASE_WIDTH}"
)
HOW_TO_USE_ERRORS = (
    "All runs are evaluated on the same windows. With one standard normal number z for the whole data set, the log of "
    "a measured loss is off by z * offset_stderr / loss, plus an error of its own with standard deviation "
    "sqrt(loss_stderr**2 - offset_stderr**2) / loss. Compare curves with the latter; give a fit that needs absolute "
    "losses z as a parameter with a unit normal prior. The own errors of neighbouring points "
    "of a run are correlated too."
)
LICENCE = "MIT for the curves, as for the package; the corpus, which is not included, is under the PSF License 2.0"


@dataclass(frozen=True)
class Run:
    """The log of one run, as training leaves it."""

    about: Mapping[str, Any]
    evaluation_step: NDArray[np.int64]
    window_loss: Floats
    train_loss: Floats
    learning_rate: Floats


def read_runs(folder: Path) -> list[Run]:
    """Read every finished run in ``folder``."""
    runs = []
    for path in sorted(folder.glob("*.npz")):
        if path.name.endswith(".tmp.npz"):
            continue  # being written
        with np.load(path) as log:
            runs.append(
                Run(
                    about=json.loads(str(log["about"])),
                    evaluation_step=log["evaluation_step"].astype(np.int64),
                    window_loss=log["window_loss"].astype(np.float64),
                    train_loss=log["train_loss"].astype(np.float64),
                    learning_rate=log["learning_rate"].astype(np.float64),
                )
            )
    return runs


def file_deviations(window_loss: Floats, file: NDArray[np.int64]) -> Floats:
    """Contribution (point, file) of each file to the error of the log of the mean loss.

    ``window_loss`` is (point, window), ``file`` (window,) numbers the file of each window. The sum over files of the
    squares is the clustered variance of the log of the mean, linearised, with the usual factor for few clusters.
    """
    _, cluster = np.unique(file, return_inverse=True)
    files = int(cluster.max()) + 1
    mean = window_loss.mean(axis=1, keepdims=True)
    sums = (window_loss / mean - 1.0) @ (cluster[:, None] == np.arange(files))
    deviations: Floats = sums / file.size * np.sqrt(files / (files - 1))
    return deviations


def split_errors(deviations: Floats) -> tuple[Floats, Floats]:
    """Relative standard error (point,) in all, and the part of it that is one offset common to all points.

    The offset is the pattern over files that explains most of ``deviations`` (point, file), their first singular
    vector; a point that runs against it has no part in it.
    """
    total = np.sqrt((deviations**2).sum(axis=1))
    pattern = np.linalg.svd(deviations, full_matrices=False)[2][0]
    along = deviations @ pattern
    common = np.clip(along * np.sign(along.sum()), 0.0, total)
    return total, common


def recent_mean(train_loss: Floats, step: NDArray[np.int64]) -> Floats:
    """Mean training loss (eval,) over the last tenth of the steps up to each evaluation, one at least."""
    return np.array([train_loss[s - max(1, round(RECENT * s)) : s].mean() for s in step])


def assemble(runs: Sequence[Run], corpus: Corpus, planned: Sequence[str]) -> xr.Dataset:
    """Label finished runs as a padded training record ``(run, obs)``, in the order of ``planned``.

    Raises
    ------
    DataError
        If there is no run, one is not planned or not finite, or was trained on another corpus than ``corpus``.
    """
    problems = [] if runs else ["no finished run (*.npz) to assemble; train some first"]
    for run in runs:
        name = run.about["name"]
        if run.about["corpus_sha256"] != corpus.sha256:
            problems.append(
                f"run {name!r}: trained on a corpus with SHA-256 {run.about['corpus_sha256'][:12]}..., but this "
                f"interpreter's is {corpus.sha256[:12]}...; assemble with Python {run.about['python']}"
            )
        if name not in planned:
            problems.append(f"run {name!r}: not in the plan; move its file away")
        if run.window_loss.shape != (run.evaluation_step.size, corpus.evaluation_file.size):
            problems.append(f"run {name!r}: has windows {run.window_loss.shape}; the corpus has others")
        elif not np.isfinite(run.window_loss).all():
            problems.append(f"run {name!r}: NaN or infinite losses; train it again")
    raise_problems(problems, DataError)
    runs = sorted(runs, key=lambda run: planned.index(run.about["name"]))

    deviations = [file_deviations(run.window_loss, corpus.evaluation_file) for run in runs]
    total, common = split_errors(np.concatenate(deviations))
    loss = np.concatenate([run.window_loss.mean(axis=1) for run in runs])
    counts = [run.evaluation_step.size for run in runs]
    there = np.arange(max(counts)) < np.array(counts)[:, None]

    def padded(values: Floats) -> tuple[tuple[str, str], Floats]:
        out = np.full(there.shape, np.nan)
        out[there] = values
        return ("run", "obs"), out

    step = np.concatenate([run.evaluation_step for run in runs])
    batch = np.array([run.about["batch"] * CONTEXT for run in runs])
    ds = xr.Dataset(
        {
            "loss": padded(loss),
            "train_loss": padded(np.concatenate([recent_mean(run.train_loss, run.evaluation_step) for run in runs])),
            "loss_stderr": padded(total * loss),
            "offset_stderr": padded(common * loss),
        },
        {
            "step": padded(step.astype(float)),
            "tokens": padded((step * np.repeat(batch, counts)).astype(float)),
            "learning_rate": padded(np.concatenate([run.learning_rate[run.evaluation_step - 1] for run in runs])),
        },
    )
    unique = [run.about["unique_bytes"] for run in runs]
    columns: dict[str, tuple[Any, str, str]] = {
        "run": ([run.about["name"] for run in runs], "training run", "1"),
        "params": ([run.about["non_embedding"] for run in runs], "number of parameters of blocks and norms", "1"),
        "params_total": ([run.about["total_parameters"] for run in runs], "number of all parameters", "1"),
        "width": ([run.about["width"] for run in runs], "width of the residual stream", "1"),
        "batch_size": (batch, "bytes in an optimiser step", "bytes"),
        "dataset_size": (
            [np.inf if size is None else float(size // CONTEXT * CONTEXT) for size in unique],
            "unique training bytes (infinite: one pass)",
            "bytes",
        ),
        "warmup_steps": ([WARMUP_STEPS] * len(runs), "steps of linear warm-up of the learning rate", "1"),
        "seed": ([run.about["seed"] for run in runs], "random seed of initial weights and of the order of data", "1"),
        "schedule": ([run.about["schedule"] for run in runs], "learning rate after the warm-up", "1"),
        "wall_seconds": ([run.about["seconds"] for run in runs], "wall time of training and evaluation", "s"),
    }
    ds = ds.assign_coords({name: ("run", values, _about(text, unit)) for name, (values, text, unit) in columns.items()})
    texts = {
        "loss": ("held-out cross-entropy", "nats per byte"),
        "train_loss": (f"mean training cross-entropy over the last {RECENT:.0%} of the steps", "nats per byte"),
        "loss_stderr": ("standard error of the held-out loss, clustered by file", "nats per byte"),
        "offset_stderr": ("part of loss_stderr that is one offset common to all runs and points", "nats per byte"),
        "step": ("optimiser steps done", "1"),
        "tokens": ("training bytes seen", "bytes"),
        "learning_rate": (f"learning rate of the last step, at width {BASE_WIDTH}", "1"),
    }
    for name, (text, unit) in texts.items():
        ds[name].attrs = _about(text, unit)
    ds["offset_stderr"].attrs["comment"] = HOW_TO_USE_ERRORS

    def distinct(key: str) -> str:
        return ", ".join(sorted({str(run.about[key]) for run in runs}))

    missing = [name for name in planned if name not in ds["run"].values]
    ds.attrs = {
        "title": "stdlib-lm: loss curves of byte-level transformers trained on the Python standard library",
        "source": "measured by the recipe scalingeq.datasets.recipes.stdlib_lm",
        "references": "cite the scalingeq package",
        "license": LICENCE,
        "counting": "non-embedding",
        "architecture": ARCHITECTURE,
        "optimiser": OPTIMISER,
        "python": distinct("python"),
        "torch": distinct("torch"),
        "hardware": distinct("hardware"),
        "wall_hours_in_all": sum(run.about["seconds"] for run in runs) / 3600,
        "corpus": "the .py files that come with the interpreter, without pydoc_data and the character-map codecs",
        "corpus_sha256": corpus.sha256,
        "corpus_training_bytes": corpus.training.size,
        "corpus_training_files": corpus.training_files,
        "corpus_held_out_bytes": corpus.held_out.size,
        "corpus_held_out_files": len(corpus.held_out_names),
        "evaluation_windows": corpus.evaluation_file.size,
        "evaluation_files": np.unique(corpus.evaluation_file).size,
        "offset_share_of_variance": float((common**2).sum() / (total**2).sum()),
        "errors": HOW_TO_USE_ERRORS,
        "missing_runs": ", ".join(missing) or "none",
    }
    return check(label(ds, units={"tokens": "bytes", "loss": "nats per byte"}))


def _about(long_name: str, units: str) -> dict[str, str]:
    return {"long_name": long_name, "units": units}


def card(ds: xr.Dataset) -> str:
    """Describe the data set for people, in Markdown; every number comes from ``ds``."""
    a = ds.attrs
    own = (ds["loss_stderr"] ** 2 - ds["offset_stderr"] ** 2) ** 0.5
    last = ds["loss"].notnull().sum("obs") - 1
    final = (ds["loss_stderr"] / ds["loss"]).isel(obs=last).mean()
    final_own = (own / ds["loss"]).isel(obs=last).mean()
    rows = []
    for number in range(ds.sizes["run"]):
        run = ds.assign(own=own).isel(run=number).isel(obs=int(last[number]))
        unique = float(run["dataset_size"])
        cells = [
            str(run["run"].item()),
            str(run["width"].item()),
            f"{run['params'].item():,}",
            str(run["batch_size"].item()),
            "one pass" if np.isinf(unique) else f"{unique / 1e6:.2f} MB",
            str(run["schedule"].item()),
            str(run["seed"].item()),
            f"{run['step'].item():,.0f}",
            f"{run['tokens'].item() / 1e6:.2f} MB",
            f"{run['loss'].item():.4f}",
            f"{run['own'].item():.4f}",
            f"{run['loss_stderr'].item():.4f}",
            f"{run['train_loss'].item():.4f}",
            f"{run['wall_seconds'].item() / 60:.1f}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    share = a["corpus_held_out_bytes"] / (a["corpus_held_out_bytes"] + a["corpus_training_bytes"])
    return f"""# stdlib-lm

{a["title"].removeprefix("stdlib-lm: ").capitalize()}: {ds.sizes["run"]} runs, measured, nothing synthetic.
Written by `python -m scalingeq.datasets.recipes.stdlib_lm assemble`, numbers included.
Open it with `scalingeq.datasets.load("stdlib-lm")`.

## How it was made

- **Corpus**: {a["corpus"]}, Python {a["python"]}. {a["corpus_training_files"]:,} files with
  {a["corpus_training_bytes"]:,} bytes train, {a["corpus_held_out_files"]} files with {a["corpus_held_out_bytes"]:,}
  bytes are held out, chosen by a hash of the relative path. SHA-256 of names and contents: `{a["corpus_sha256"]}`.
- **Model**: {a["architecture"]}.
- **Optimiser**: {a["optimiser"]}.
- **Loss**: mean cross-entropy in nats a byte over the same {a["evaluation_windows"]} windows of {CONTEXT} bytes for
  every run, spread evenly over the held-out bytes and so over {a["evaluation_files"]} files,
  {POINTS_PER_DECADE} times a decade of steps.
- **Training loss**: mean over the minibatches of the last {RECENT:.0%} of the steps before each evaluation.
- **Made with** PyTorch {a["torch"]} on {a["hardware"]}, {a["wall_hours_in_all"]:.1f} hours of one process in all.
- **Runs of the plan that are not in the file**: {a["missing_runs"]}.

## Errors

`loss_stderr` is clustered by file: windows of one file are alike. At the end of the runs it is {float(final):.1%} of
the loss. Most of it ({a["offset_share_of_variance"]:.0%} of the variance over all points) is one offset that all
curves share, as all are measured on the same windows: `offset_stderr`. What remains is {float(final_own):.1%}.

{a["errors"]}

## Runs

Batches in bytes, losses in nats a byte at the end of the run; `own` and `all` are
standard errors without and with the common offset.

| run | width | params | batch | unique | schedule | seed | steps | bytes | loss | own | all | train | minutes |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

## Limits

- The held-out files are {share:.1%} of the bytes (the split takes {HELD_OUT_SHARE:.0%} of the files). Files of one
  package lie on both sides of the split, and code repeats itself: this is a loss on similar, not on unrelated, text.
- The first points of a run, up to the {WARMUP_STEPS} steps of warm-up, are the start of training (every model begins
  at the loss of a uniform guess, log 256 = {np.log(256):.3f}), not yet a power law; their small errors are real.
- Rates were not tuned for each size: they follow 1/width.
- One seed for most runs; the spread between seeds shows in the runs that have several.

## Licence

{a["license"]}.
"""
