"""Choices that a fit leaves to its user, judged inside the fitted parts of the scoreboard's splits.

Which count of parameters stands for size, and whether a rate acts by its ratio to a power of the loss, as it may under
Adam. ``python tests/benchmarks/report.py choices`` writes the table. The records lie in ``shared/data`` beside the checkout.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scalingeq.datasets.cleaning import join_restarts, split_restarts
from scalingeq.datasets.labels import label
from scalingeq.datasets.opening import open_logs
from scalingeq.datasets.schema import select_runs, to_curves
from scalingeq.datasets.splits import SPLITS
from scalingeq.inference.bands import log_loss
from scalingeq.inference.fitting import default_weights, fit_two_point
from scalingeq.inference.leaving_out import left_out
from scalingeq.theory.schedule import Schedule

DATA = next((data for parent in Path(__file__).resolve().parents if (data := parent / "shared/data").is_dir()), None)
pytestmark = pytest.mark.skipif(DATA is None, reason="needs the training records of shared/data beside the checkout")

POWER = 0.5  # of the loss in the rate
PASSES = 4  # rates and losses say each other: so many times in turn for runs that are predicted
GRID = 48  # steps of a run at which its rate is told
ADAM = (
    "stdlib-lm, large sizes", "stdlib-lm, unseen schedules", "mlp, large sizes", "mlp, unseen schedules",
    "gemstones, large sizes", "multipower-law 25M, unseen schedules", "multipower-law 100M, unseen schedules",
)  # fmt: skip


def fitted_part(split):
    curves, held = split.curves(DATA)
    return curves.select(~held)


def misfitting(count):
    """The fitted part of the set, its sizes counted with or without embeddings."""
    [split] = [one for one in SPLITS if one.data == "misfitting"]
    part = fitted_part(split)
    ds = open_logs(
        DATA / "misfitting/scaling_results.csv", run=("model", "total_steps", "peak_lr", "sweep"), params="N",
        learning_rate="peak_lr", keep=("N_no_emb",),
    )  # fmt: skip
    ds = join_restarts(split_restarts(ds))
    counts = dict(zip(ds["params"].values.tolist(), ds[count].values.astype(float).tolist(), strict=True))
    return replace(part, params=np.array([counts[size] for size in part.params.tolist()]))


def porian(count):
    """Runs with the rates of Kaplan et al., their sizes counted with the head of the model or, as there, without."""
    ds = open_logs(
        DATA / "porian_rsld/isoflop_points.csv", params="n", tokens="t", learning_rate=1e-3, batch_size=2**19,
        keep=("file", "hparams", "warmup", "decay", "param_count"),
    )  # fmt: skip
    wanted = {"file": "summary_df", "hparams": "base", "warmup": "long", "decay": "kaplan", "param_count": count}
    keep = np.all([ds[name].values == value for name, value in wanted.items()], axis=0)
    return to_curves(label(select_runs(ds, keep)))


def check(curves, task, power=0.0):
    """RMS log error of default fits on what is left out of the curves."""
    squares = []
    for mask in left_out(curves, task):
        rest, test = curves.select(~mask), curves.select(mask & (default_weights(curves) > 0))
        lowest = rest.loss.min()
        fit = fit_two_point(rated(rest, rest.step, rest.loss, power, lowest) if power else rest)
        values = fit.params.valuesdict()
        asked = test
        for _ in range(PASSES if power else 0):
            dense = on_grid(asked)
            asked = rated(
                test, dense.step, np.exp(log_loss(values, dense, fit.reference_params)), power, lowest, dense.run
            )
        squares.append(np.mean((log_loss(values, asked, fit.reference_params) - np.log(test.loss)) ** 2))
    return float(np.sqrt(np.mean(squares)))


def on_grid(curves):
    """The runs of curves at log-spaced steps up to their last."""
    runs = np.unique(curves.run)
    step = np.concatenate([np.geomspace(1, curves.step[curves.run == run].max(), GRID) for run in runs])
    run, unknown = np.repeat(runs, GRID), np.full(runs.size * GRID, np.nan)
    return replace(curves, run=run, step=step, tokens=step, loss=unknown, loss_stderr=unknown)


def rated(curves, step, loss, power, lowest, run=None):
    """Curves whose rates are divided by a power of the loss, told at steps (obs,) of the runs (obs,)."""
    run = curves.run if run is None else run
    schedules = {}
    for one in np.unique(curves.run).tolist():
        rate, batch, last = curves.learning_rate[one], curves.batch_size[one], curves.step[curves.run == one].max()
        plain = curves.schedules.get(one)
        if plain is None:
            warmup = curves.warmup_steps[one]
            start = [0.0, warmup] if warmup else [0.0]
            knots = np.array([*start, last]), rate * np.array([*[0.0] * int(warmup > 0), 1.0, 1.0])
            plain = Schedule(*knots, knots[1] / batch)
        mine = run == one
        grid = np.unique(np.concatenate([plain.step, np.geomspace(1, plain.last, GRID)]))
        # Two knots at one step, a jump, stay two.
        jumps = plain.step[1:][np.diff(plain.step) == 0]
        steps = np.sort(np.concatenate([grid, jumps]))
        factor = (np.interp(np.log(steps + 1), np.log(step[mine] + 1), loss[mine]) / lowest) ** -power
        old = [at_knots(plain, steps, values) for values in (plain.rate, plain.noise_rate)]
        schedules[one] = Schedule(steps, old[0] * factor, old[1] * factor)
    return replace(curves, schedules=schedules)


def at_knots(schedule, steps, values):
    """Values of a schedule at steps, of which two are a jump: before it, and after."""
    found = np.interp(steps, schedule.step, values)
    for at in np.flatnonzero(np.diff(steps) == 0):
        before, after = values[schedule.step == steps[at]][[0, -1]]
        found[at], found[at + 1] = before, after
    return found


@pytest.mark.parametrize("name", ADAM)
def test_rate_over_power_of_the_loss(benchmark, record_property, name):
    [split] = [one for one in SPLITS if f"{one.data}, {one.name}" == name]
    curves = fitted_part(split)
    errors = benchmark.pedantic(lambda: [check(curves, split.task, power) for power in (0.0, POWER)], rounds=1)
    record_property("choices", {f"{name}: rate over the root of the loss": errors})


@pytest.mark.parametrize(
    ("name", "read", "counts"),
    [("misfitting", misfitting, ("params", "N_no_emb")), ("porian, rates of Kaplan", porian, ("standard", "kaplan"))],
)
def test_count_of_parameters(benchmark, record_property, name, read, counts):
    errors = benchmark.pedantic(lambda: [check(read(count), "size") for count in counts], rounds=1)
    record_property("choices", {f"{name}: parameters without embeddings or head": errors})
