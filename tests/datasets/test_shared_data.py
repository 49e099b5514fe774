"""Real training records, read where they lie: each folder opens with one call, and what it lacks is asked for."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import scalingeq.datasets as data
from scalingeq.errors import DataError

FOLDER = next((found for above in Path(__file__).parents if (found := above / "shared" / "data").is_dir()), None)
pytestmark = pytest.mark.skipif(
    FOLDER is None, reason="the folder shared/data of measured records is not beside this checkout"
)

MISFITTING_RUN = ("model", "total_steps", "peak_lr", "sweep")
TOKENS = 2**19
#: Files, what has to be passed, what is asked for without, and (runs, observations).
RECORDS = {
    "supercollapse c5m": ("supercollapse/c5m_linear_curves.csv", {}, [], (40, 31180)),
    "supercollapse mlp": ("supercollapse/mlp_linear_curves.csv", {}, [], (56, 49546)),
    "supercollapse schedules": ("supercollapse/mlp_schedules_curves.csv", {}, [], (29, 25709)),
    "xlstm_llama": ("xlstm_llama/curves.csv", {}, [], (162, 1470)),
    "xlstm_llama, training loss": ("xlstm_llama/curves.csv", {"loss": "train_loss"}, [], (162, None)),
    "multipower_law 25M": (
        "multipower_law/csv_25/*.csv",
        {"params": 25e6, "batch_size": TOKENS},
        ["params", "batch_size"],
        (9, None),
    ),
    "multipower_law, both": (
        "multipower_law/csv_*/*.csv",
        {"params": 25e6, "batch_size": TOKENS},
        ["params", "batch_size"],
        (18, None),
    ),
    "gemstones hot": (
        "gemstones/wandb_df_for_fitting_hot.jsonl",
        {"learning_rate": 1e-3},
        ["learning_rate"],
        (22, 220),
    ),
    "gemstones cool end": (
        "gemstones/wandb_df_for_fitting_cool_end.jsonl",
        {"learning_rate": 1e-3},
        ["learning_rate"],
        (22, None),
    ),
    "gemstones 100b+": (
        "gemstones/wandb_df_for_fitting_hot_100b+.jsonl",
        {"learning_rate": 1e-3},
        ["learning_rate"],
        (22, 770),
    ),
    "misfitting": (
        "misfitting/scaling_results.csv",
        {"run": MISFITTING_RUN, "learning_rate": "peak_lr"},
        ["params"],
        (240, 4852),
    ),
    "misfitting, last": (
        "misfitting/scaling_results_last_ckpt_only.csv",
        {"run": None, "learning_rate": "peak_lr"},
        ["params"],
        (261, 261),
    ),
    "porian_rsld": (
        "porian_rsld/isoflop_points.csv",
        {"params": "n", "tokens": "t", "learning_rate": 1e-3, "batch_size": TOKENS, "keep": ("hparams", "dataset")},
        ["tokens", "params", "learning_rate", "batch_size"],
        (1745, 1745),
    ),
    "epoch_chinchilla": (
        "epoch_chinchilla/svg_extracted_data.csv",
        {"flops": "6ND", "learning_rate": 1e-3, "batch_size": TOKENS},
        ["tokens", "learning_rate", "batch_size"],
        (245, 245),
    ),
    "text_logs llm.c": (
        "text_logs/adamw_llmc_style.log",
        {"params": 124e6, "batch_size": TOKENS, "learning_rate": 1.8e-3},
        ["params", "learning_rate", "batch_size"],
        (1, None),
    ),
    "text_logs modded-nanogpt": (
        "text_logs/muon_124M.steps.txt",
        {"params": 124e6, "batch_size": TOKENS, "learning_rate": 3.6e-4},
        ["params", "learning_rate", "batch_size"],
        (1, None),
    ),
}
#: Records that hold runs of one observation, or steps that were logged twice: these open, and are cleaned before a fit.
UNCLEAN = {"misfitting"}


def open_record(name):
    pattern, options, _, _ = RECORDS[name]
    return data.open_logs(FOLDER / pattern, **options)


@pytest.mark.parametrize("name", RECORDS)
def test_opens_to_the_schema(name):
    runs, points = RECORDS[name][3]
    ds = open_record(name)
    assert ds.sizes["run"] == runs
    assert points is None or ds.loss.size == points
    assert all(
        {"units", "long_name"} <= ds[role].attrs.keys() for role in ("loss", "params", "learning_rate", "batch_size")
    )
    if name in UNCLEAN:
        once = ~(np.diff(ds.step, prepend=-1) <= 0) | np.isin(
            np.arange(ds.sizes["obs"]), np.cumsum(ds.row_size) - ds.row_size
        )
        odd = np.bincount(np.repeat(np.arange(runs), ds.row_size), ~once, runs) > 0
        ds = data.select_runs(ds, ~odd & (ds.row_size.values > 1))
        assert ds.sizes["run"] > 200
    curves = data.to_curves(ds)
    assert np.all((curves.loss > 0) & (curves.loss < 20))


@pytest.mark.parametrize("name", [name for name, (_, _, lacking, _) in RECORDS.items() if lacking])
def test_asks_for_what_is_lacking(name):
    pattern, _, lacking, _ = RECORDS[name]
    with pytest.raises(DataError) as caught:
        data.open_logs(FOLDER / pattern)
    assert [problem.split(":")[0] for problem in caught.value.problems] == lacking


def rows(path):
    with open(FOLDER / path, newline="") as file:
        return list(csv.DictReader(file))


def test_supercollapse_against_its_rows():
    ds = open_record("supercollapse mlp")
    table, runs = rows("supercollapse/mlp_linear_curves.csv"), rows("supercollapse/mlp_linear_runs.csv")
    assert ds.loss.values.tolist() == [float(row["test_loss"]) for row in table]
    assert ds.step.values.tolist() == [int(row["step"]) for row in table]
    assert ds.run.values.tolist() == [row["run"] for row in runs]
    for role, column in (("params", "params"), ("batch_size", "tokens_per_step"), ("width", "width"), ("seed", "seed")):
        assert ds[role].values.tolist() == [float(row[column]) for row in runs]


def test_xlstm_against_its_rows():
    ds = open_record("xlstm_llama")
    table = [row for row in rows("xlstm_llama/curves.csv") if row["val_loss"]]
    assert ds.loss.values.tolist() == [float(row["val_loss"]) for row in table]
    assert ds.train_loss.values.tolist() == [float(row["train_loss"] or "nan") for row in table]
    assert ds.row_size.sum() == len(table)
    every = [row for row in rows("xlstm_llama/curves.csv") if row["train_loss"]]
    assert open_record("xlstm_llama, training loss").loss.values.tolist() == [float(row["train_loss"]) for row in every]


def test_gemstones_against_its_rows():
    ds = open_record("gemstones 100b+")
    with open(FOLDER / "gemstones/wandb_df_for_fitting_hot_100b+.jsonl") as file:
        table = [json.loads(line) for line in file]
    names = list(dict.fromkeys(row["run_name"] for row in table))
    table.sort(key=lambda row: names.index(row["run_name"]))
    assert ds.run.values.tolist() == names
    for role, column in (("loss", "final_loss"), ("tokens", "tokens"), ("step", "step")):
        assert ds[role].values.tolist() == [row[column] for row in table]


def test_chinchilla_tokens_are_flops_over_six_params():
    ds = open_record("epoch_chinchilla")
    table = rows("epoch_chinchilla/svg_extracted_data.csv")
    tokens = [float(row["Training FLOP"]) / 6 / float(row["Model Size"]) for row in table]
    np.testing.assert_allclose(ds.tokens, tokens, rtol=1e-15)


def test_porian_setups_can_be_selected():
    ds = open_record("porian_rsld")
    table = [
        row for row in rows("porian_rsld/isoflop_points.csv") if row["hparams"] == "tuned" and row["dataset"] == "owt2"
    ]
    tuned = data.select_runs(ds, (ds.hparams == "tuned") & (ds.dataset == "owt2"))
    assert tuned.loss.values.tolist() == [float(row["loss"]) for row in table]
