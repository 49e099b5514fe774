"""Logs of each format in this folder's tests, opened as a user does: one call, and what a log cannot carry."""

import json

import numpy as np
import pytest

from scalingeq.datasets import open_logs
from scalingeq.errors import DataError


def trainer_state(steps):
    history = []
    for step in steps:
        history.append({"step": step, "loss": 4.0 - step / 100, "learning_rate": 0.1, "epoch": step / 100})
        history.append({"step": step, "eval_loss": 4.5 - step / 100, "eval_runtime": 1.0, "epoch": step / 100})
    history.append({"step": steps[-1], "train_loss": 3.0, "train_runtime": 9.0, "epoch": 1.0})
    return json.dumps({"log_history": history, "train_batch_size": 8, "num_input_tokens_seen": 0, "total_flos": 1e9})


def test_trainer_states_and_their_checkpoints(tmp_path):
    for run, steps in {"a": [10, 20, 30], "b": [15, 30]}.items():
        for end in range(1, len(steps) + 1):
            folder = tmp_path / run / f"checkpoint-{steps[end - 1]}"
            folder.mkdir(parents=True)
            (folder / "trainer_state.json").write_text(trainer_state(steps[:end]))
    ds = open_logs(f"{tmp_path}/*/checkpoint-*/trainer_state.json", params={"a": 1e6, "b": 2e6}, batch_size=1024)
    assert ds.run.values.tolist() == ["a", "b"]
    np.testing.assert_array_equal(ds.row_size, [3, 2])
    np.testing.assert_array_equal(ds.step, [10, 20, 30, 15, 30])
    np.testing.assert_allclose(ds.loss, 4.5 - ds.step / 100)
    np.testing.assert_allclose(ds.train_loss, 4.0 - ds.step / 100)


def test_the_batch_size_of_a_trainer_state_is_not_taken_for_tokens(tmp_path):
    path = tmp_path / "trainer_state.json"
    path.write_text(trainer_state([10, 20]))
    with pytest.raises(DataError, match="batch_size"):
        open_logs(path, params=1e6)


def test_an_exported_chart(tmp_path):
    path = tmp_path / "chart.csv"
    path.write_text(
        '"Step","a - val/loss","a - val/loss__MIN","a - val/loss__MAX","b - val/loss","b - val/loss__MIN","b - val/loss__MAX"\n'
        '"10","3.0","3.0","3.0","2.5","2.5","2.5"\n"20","2.0","2.0","2.0","","",""\n'
    )
    ds = open_logs(path, params={"a": 1e6, "b": 2e6}, batch_size=1024, learning_rate=0.1)
    np.testing.assert_array_equal(ds.row_size, [2, 1])
    np.testing.assert_array_equal(ds.loss, [3.0, 2.0, 2.5])


def test_a_history(tmp_path):
    path = tmp_path / "history.jsonl"
    rows = [
        {"_step": k, "_runtime": k, "val/loss": 3.0 - k / 10, "optim/learning_rate_group0": 0.1} for k in range(1, 4)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    ds = open_logs(path, params=1e6, batch_size=1024)
    np.testing.assert_allclose(ds.loss, [2.9, 2.8, 2.7])
    assert ds.learning_rate == 0.1


def test_keras_needs_the_steps_of_an_epoch(tmp_path):
    path = tmp_path / "training.csv"
    path.write_text("epoch;loss;val_loss\n0;3.0;3.5\n1;2.0;2.5\n")
    given = dict(params=1e6, batch_size=1024, learning_rate=0.1)
    with pytest.raises(DataError, match="steps_per_epoch"):
        open_logs(path, **given)
    ds = open_logs(path, steps_per_epoch=100, **given)
    np.testing.assert_array_equal(ds.step, [100, 200])
    np.testing.assert_array_equal(ds.loss, [3.5, 2.5])


def test_lightning(tmp_path):
    path = tmp_path / "wide" / "version_0" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(
        "epoch,lr-AdamW,step,train_loss,val_loss\n,0.1,9,,\n0,,9,2.5,\n0,,9,,2.625\n1,,19,2.25,\n1,,19,,2.5\n"
    )
    ds = open_logs(path, params=1e6, batch_size=1024)
    np.testing.assert_array_equal(ds.step, [9, 19])
    np.testing.assert_array_equal(ds.loss, [2.625, 2.5])
    np.testing.assert_array_equal(ds.train_loss, [2.5, 2.25])


def test_event_files_of_a_resumed_run_are_one_run(tmp_path):
    writers = pytest.importorskip("tensorboardX")
    for attempt, steps in (("1", range(10, 60, 10)), ("2", range(40, 100, 10))):
        with writers.SummaryWriter(str(tmp_path / "a"), filename_suffix=attempt) as writer:
            for step in steps:
                writer.add_scalar("eval_loss", 3.0 if attempt == "1" else 2.0, step)
    ds = open_logs(f"{tmp_path}/*/events.out.tfevents.*", params=1e6, batch_size=64, learning_rate=0.1)
    assert ds.run.values.tolist() == ["a"]
    np.testing.assert_array_equal(ds.step, np.arange(10, 100, 10))
    np.testing.assert_array_equal(ds.loss, [3.0] * 3 + [2.0] * 6)
