"""Choices that a fit leaves to its user, judged inside the fitted parts of the scoreboard's splits.

Which count of parameters stands for size, and whether a rate acts by its ratio to a power of the loss, as it may under
Adam. ``python tests/benchmarks/report.py choices`` writes the table. The records lie in ``shared/data`` beside the checkout.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scalingeq.datasets.cleaning import join_restarts, split_restarts
from scalingeq.datasets.opening import open_logs
from scalingeq.datasets.schema import select_runs, to_curves
from scalingeq.datasets.splits import SPLITS
from scalingeq.inference.bands import log_loss
from scalingeq.inference.fitting import default_parameters, default_weights, fit_two_point
from scalingeq.inference.leaving_out import left_out

DATA = next((data for parent in Path(__file__).resolve().parents if (data := parent / "shared/data").is_dir()), None)
pytestmark = pytest.mark.skipif(DATA is None, reason="needs the training records of shared/data beside the checkout")

LOSS_EXPONENT = 0.5
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
    return to_curves(select_runs(ds, keep))


def check(curves, task, loss_exponent=0.0):
    """RMS log error of default fits on what is left out of the curves."""
    squares = []
    for mask in left_out(curves, task):
        rest, test = curves.select(~mask), curves.select(mask & (default_weights(curves) > 0))
        params, _ = default_parameters(rest.select(default_weights(rest) > 0))
        params["loss_exponent"].set(value=loss_exponent)
        fit = fit_two_point(rest, params)
        squares.append(
            np.mean((log_loss(fit.params.valuesdict(), test, fit.reference_params) - np.log(test.loss)) ** 2)
        )
    return float(np.sqrt(np.mean(squares)))


@pytest.mark.parametrize("name", ADAM)
def test_rate_over_power_of_the_loss(benchmark, record_property, name):
    [split] = [one for one in SPLITS if f"{one.data}, {one.name}" == name]
    curves = fitted_part(split)
    errors = benchmark.pedantic(
        lambda: [check(curves, split.task, exponent) for exponent in (0.0, LOSS_EXPONENT)], rounds=1
    )
    record_property("choices", {f"{name}: rates over the root of the loss": errors})


@pytest.mark.parametrize(
    ("name", "read", "counts"),
    [("misfitting", misfitting, ("params", "N_no_emb")), ("porian, rates of Kaplan", porian, ("standard", "kaplan"))],
)
def test_count_of_parameters(benchmark, record_property, name, read, counts):
    errors = benchmark.pedantic(lambda: [check(read(count), "size") for count in counts], rounds=1)
    record_property("choices", {f"{name}: parameters without embeddings or head": errors})
