"""Which column is what, rows of one step put together, and what a configuration says."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingeq.datasets.readers import configuration
from scalingeq.datasets.readers.assemble import Observer, _bring, unique_names
from scalingeq.datasets.readers.log import Log
from scalingeq.datasets.readers.names import Naming

NAN = np.nan


def observe(columns, config=None, is_tidy=False, **roles):
    log = Log("a", {name: np.array(values, float) for name, values in columns.items()}, source="a.json")
    return Observer(Naming.of(roles)).observe(log, config, is_tidy=is_tidy)


@pytest.mark.parametrize(
    "role, name",
    [
        ("step", "iter"),
        ("step", "Step"),
        ("step", "train/global_step"),
        ("step", "_step"),
        ("loss", "eval_loss"),
        ("loss", "eval/loss"),
        ("loss", "validation loss"),
        ("loss", "eval_c4_loss"),
        ("loss", "val_loss/dataloader_idx_0"),
        ("loss", "tel"),
        ("loss", "lm loss value"),
        ("train_loss", "train/loss"),
        ("train_loss", "loss"),
        ("train_loss", "trl"),
        ("train_loss", "train_loss_step"),
        ("learning_rate", "lr"),
        ("learning_rate", "optim/learning_rate_group0"),
        ("learning_rate", "train/learning_rate"),
        ("learning_rate", "lr-AdamW/pg1"),
        ("learning_rate", "learning rate"),
        ("tokens", "num_input_tokens_seen"),
        ("tokens", "D"),
        ("params", "Model Size"),
        ("params", "N"),
        ("batch_size", "tokens_per_step"),
    ],
)
def test_known_names(role, name):
    assert Naming().is_wanted(name)
    assert Naming().find(role, ["other", name]) == name


@pytest.mark.parametrize(
    "role, name", [("learning_rate", "lr_peak"), ("params", "n"), ("batch_size", "batch_size"), ("loss", "loss")]
)
def test_names_that_can_mean_something_else(role, name):
    assert Naming().find(role, [name]) is None


def test_names_of_the_schema_count_in_a_tidy_table():
    tidy = Naming()
    assert tidy.find("batch_size", ["batch_size"], is_tidy=True) == "batch_size"
    assert tidy.find("loss", ["loss"], is_tidy=True) == "loss"
    assert tidy.find("train_loss", ["loss"], is_tidy=True) is None
    assert tidy.find("train_loss", ["loss", "val_loss"], is_tidy=True) == "loss"
    assert tidy.find("loss", ["loss", "val_loss"], is_tidy=True) == "val_loss"


def test_several_test_sets_are_ambiguous():
    columns = {"step": [1, 2], "eval_c4_loss": [3, 2], "eval_pile_loss": [2, 1]}
    assert observe(columns).problems == ["loss: can be 'eval_c4_loss', 'eval_pile_loss'; pass loss=NAME"]
    assert observe(columns, loss="eval_pile_loss").points["loss"].tolist() == [2, 1]


def test_rows_of_one_step_come_together():
    curve = observe(
        {
            "step": [0, 10, 20, 20, 30, 40, 40],
            "loss": [9, 8, 7, NAN, 6, 5, NAN],
            "eval_loss": [NAN, NAN, NAN, 7.5, NAN, NAN, 5.5],
            "learning_rate": [0, 1, 2, NAN, 3, NAN, NAN],
        }
    )
    assert {role: values.tolist() for role, values in curve.points.items()} == {
        "step": [20, 40],
        "loss": [7.5, 5.5],
        "train_loss": [7, 5],
        "learning_rate": [2, 3],
    }


def test_rates_are_linear_between_the_steps_where_they_are_logged():
    step, logged = np.arange(0.0, 100, 10), np.array([0.0, 40, 80])
    rate = np.where(np.isin(step, logged), np.sin(step), NAN)
    curve = observe({"step": step, "eval_loss": np.ones(10), "lr": rate})
    np.testing.assert_allclose(curve.points["learning_rate"], np.interp(step, logged, np.sin(logged)))
    assert curve.notes == ["learning rate linear between the steps where it is logged"]


def test_steps_that_go_back_start_anew():
    curve = observe(
        {
            "step": [10, 20, 30, 20, 30, 30],
            "eval_loss": [NAN, 3, NAN, 2, 1, NAN],
            "lr": [1, NAN, 3, NAN, NAN, 7],
            "loss": [NAN, NAN, 5, NAN, NAN, 6],
        }
    )
    assert curve.points["step"].tolist() == [20, 20, 30]
    assert curve.points["learning_rate"].tolist() == [2, 7, 7]
    np.testing.assert_array_equal(curve.points["train_loss"], [NAN, NAN, 6])


def bring_one_by_one(column, step, row, between):
    """The definition of `_bring`, a loop for each row."""
    if not np.isnan(column[row]):
        return column[row]

    def nearest(direction):
        k = row
        while 0 <= k + direction < len(step):
            k += direction
            if not np.isnan(step[k]):
                path = [step[j] for j in range(min(k, row), max(k, row) + 1) if not np.isnan(step[j])]
                if any(b < a for a, b in pairwise(path)):
                    return None
                if not np.isnan(column[k]):
                    return k
        return None

    before, after = nearest(-1), nearest(1)
    for k in (before, after):
        if k is not None and step[k] == step[row]:
            return column[k]
    if not between or (before is None and after is None):
        return NAN
    if before is None or after is None:
        return column[after if before is None else before]
    return np.interp(step[row], [step[before], step[after]], [column[before], column[after]])


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([0, 1, 2, 3, 5, NAN]), st.sampled_from([1, 2, 4, NAN, NAN])), min_size=1, max_size=9
    ),
    between=st.booleans(),
)
def test_bring_does_what_its_definition_says(rows, between):
    step, column = (np.array(values, float) for values in zip(*rows, strict=True))
    there = ~np.isnan(step)
    chosen = np.flatnonzero(there)
    expected = [bring_one_by_one(column, step, row, between) for row in chosen]
    np.testing.assert_allclose(_bring(column, step, there, chosen, between=between), expected)


def test_batch_size_is_the_product_of_its_parts():
    parts = {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 8,
        "world_size": 16,
        "model": {"max_seq_length": 2048},
        "batch_size": 7,
    }
    whole = configuration.flatten(parts)
    assert configuration.find_sizes(whole, Naming())["batch_size"] == 4 * 8 * 16 * 2048
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "world_size", "model"):
        less = configuration.flatten({key: value for key, value in parts.items() if key != name})
        assert "batch_size" not in configuration.find_sizes(less, Naming())
    assert configuration.find_sizes({"tokens_per_batch": "1024", **whole}, Naming())["batch_size"] == 1024
    megatron = observe({"step": [1, 2], "eval_loss": [3, 2], "global batch size": [256, 256]}, {"seq_length": 2048})
    assert megatron.sizes["batch_size"] == 256 * 2048


def test_rates_of_a_configuration_count_where_they_are_constant():
    config = {"learning_rate": 1e-3, "lr_scheduler_type": "cosine", "warmup_steps": 0, "warmup_ratio": 0.1}
    assert configuration.find_sizes(config, Naming()) == {}
    constant = configuration.find_sizes(config | {"lr_scheduler_type": "constant", "warmup_ratio": 0}, Naming())
    assert constant == {"learning_rate": 1e-3, "warmup_steps": 0}
    assert configuration.find_sizes({"optimizer/peak": 0.1}, Naming.of({"learning_rate": "optimizer/peak"})) == {
        "learning_rate": 0.1
    }


def test_configurations_that_are_none(tmp_path):
    pytest.importorskip("yaml", reason="YAML needs the extra [logs]")
    log = tmp_path / "log.csv"
    bomb = "a: &a [x, x]\n" + "".join(
        f"{c}: &{c} {{p: *{b}, q: *{b}}}\n" for b, c in zip("abcdefghijklmnopq", "bcdefghijklmnopqr", strict=True)
    )
    for content, message in [
        (bomb, "more than 10,000 entries"),
        ("!!python/object/apply:os.system ['touch pwned']", "not YAML"),
        ("[" * 5000, "not YAML|deeply"),
        ("- a", "not an object"),
        ("x" * (1 << 21), "larger than"),
        ("\0", "not YAML"),
    ]:
        (tmp_path / "config.yaml").write_text(content)
        found, (problem,) = configuration.read_beside(str(log))
        assert found == {}
        assert re.search(message, problem)
    (tmp_path / "config.yaml").write_text("lr: {value: 0.1, desc: null}\nn_params:\n  value: 5\n")
    (tmp_path / "args.json").write_text(json.dumps({"lr": 0.2, "seed": 3}))
    assert configuration.read_beside(str(log)) == ({"lr": 0.1, "n_params": 5, "seed": 3}, [])
    (tmp_path / "args.json").write_text("{" + '"a": {' * 100_000)
    assert "deeply" in configuration.read_beside(str(log))[1][0]


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "a (2)"]), st.sampled_from(["x/f.csv", "y/f.csv", "y/g.csv"])), min_size=1
    )
)
def test_names_become_unique(runs):
    names, sources = zip(*runs, strict=True)
    unique = unique_names(names, sources)
    assert len(set(unique)) == len(runs)
    assert all(name in new for name, new in zip(names, unique, strict=True))
