"""States of a Trainer in the shapes that public repositories hold, written from the documented keys."""

import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingeq.datasets.readers import trainer_state
from scalingeq.errors import DataError

nan = math.nan


def train(step, loss, **more):
    return {"epoch": step / 10, "grad_norm": 1.5, "learning_rate": 1e-4, "loss": loss, "step": step} | more


def evaluation(step, loss, prefix="eval"):
    return {
        "epoch": step / 10,
        f"{prefix}_loss": loss,
        f"{prefix}_runtime": 2.5,
        f"{prefix}_samples_per_second": 400.0,
        "step": step,
    }


def summary(step):
    return {"epoch": 1.0, "step": step, "total_flos": 1e15, "train_loss": 2.5, "train_runtime": 60.0}


def state(history, **more):
    top = {"best_metric": None, "epoch": 1.0, "global_step": 20, "is_hyper_param_search": False}
    after = {"max_steps": 20, "num_train_epochs": 1, "train_batch_size": 8, "trial_name": None, "trial_params": None}
    return top | {"log_history": history} | after | more


def write(folder, content, name="trainer_state.json", **options):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2, **options), encoding="utf-8")
    return path


def read(folder, history, **more):
    [log] = trainer_state.read(write(folder, state(history, **more)))
    return log


def test_rows_of_training_evaluation_and_summary_are_kept_apart(tmp_path):
    log = read(tmp_path / "wide", [train(10, 3.0), evaluation(10, 3.25), train(20, 2.0), summary(20)])
    assert log.name == "wide"
    assert log.source.endswith("trainer_state.json")
    np.testing.assert_array_equal(log.columns["step"], [10, 10, 20])
    np.testing.assert_array_equal(log.columns["loss"], [3, nan, 2])
    np.testing.assert_array_equal(log.columns["eval_loss"], [nan, 3.25, nan])
    assert "train_loss" not in log.columns  # the mean over the run is no loss at its last step
    assert log.config == {
        "epoch": 1.0,
        "global_step": 20,
        "is_hyper_param_search": False,
        "max_steps": 20,
        "num_train_epochs": 1,
        "train_batch_size": 8,
        "total_flos": 1e15,
        "train_loss": 2.5,
        "train_runtime": 60.0,
    }


def test_several_evaluation_sets(tmp_path):
    history = [train(10, 3.0), evaluation(10, 3.5, "eval_code"), evaluation(10, 3.25, "eval_web")]
    log = read(tmp_path, history)
    np.testing.assert_array_equal(log.columns["eval_code_loss"], [nan, 3.5, nan])
    np.testing.assert_array_equal(log.columns["eval_web_loss"], [nan, nan, 3.25])


def test_tokens_seen_only_sometimes_and_missing_rates(tmp_path):
    bare = {"loss": 2.0, "step": 20}  # without epoch, rate and norm, as the first versions wrote and resumed runs may
    log = read(tmp_path, [train(10, 3.0, num_input_tokens_seen=81920), bare, train(30, 1.5, learning_rate=None)])
    np.testing.assert_array_equal(log.columns["num_input_tokens_seen"], [81920, nan, nan])
    np.testing.assert_array_equal(log.columns["learning_rate"], [1e-4, nan, nan])


def test_not_finite_values_and_numbers_as_texts(tmp_path):
    history = [train(10, nan), train(20, math.inf, grad_norm="nan"), train(30, "2.5", grad_norm="Infinity")]
    history[2]["step"] = "30"
    log = read(tmp_path, history)
    np.testing.assert_array_equal(log.columns["loss"], [nan, math.inf, 2.5])
    np.testing.assert_array_equal(log.columns["grad_norm"], [1.5, nan, math.inf])
    np.testing.assert_array_equal(log.columns["step"], [10, 20, 30])


def test_places_are_those_of_the_file_after_a_summary(tmp_path):
    with pytest.raises(DataError, match="entry 3: 'loss' is 'bad'"):
        read(tmp_path, [train(10, 3.0), summary(10), train(20, "bad")])
    with pytest.raises(DataError, match="no history"):
        read(tmp_path, [summary(10)])


def test_a_loss_that_is_never_a_number_stays_a_column(tmp_path):
    assert np.isnan(read(tmp_path, [train(10, nan), train(20, nan)]).columns["loss"]).all()


def test_steps_of_a_resumed_run_are_left_as_they_are(tmp_path):
    log = read(tmp_path, [train(10, 3.0), train(20, 2.5), train(10, 2.9), train(20, 2.4), train(20, 2.4)])
    np.testing.assert_array_equal(log.columns["step"], [10, 20, 10, 20, 20])


def test_metrics_of_other_trainers(tmp_path):
    # What reinforcement and preference trainers, and callbacks of users, put beside the loss.
    more = {
        "rewards/chosen": 0.5,
        "completions": {"mean_length": 250.0, "clipped": {"ratio": 0.9}},
        "percentage": "50.0%",
        "eval_confusion": [[1, 2], [3, 4]],
        "überraschung": 1,
        "ok": True,
    }
    columns = read(tmp_path, [train(10, 0.0, **more)]).columns
    assert columns["completions/clipped/ratio"] == 0.9
    assert columns["rewards/chosen"] == 0.5
    assert columns["überraschung"] == 1
    assert columns["ok"] == 1
    assert not {"percentage", "eval_confusion"} & set(columns)


def test_history_alone_and_in_any_place(tmp_path):
    alone = write(tmp_path / "a", [train(10, 3.0)], "log_history.json")
    first = write(
        tmp_path / "b", {"log_history": [train(10, 3.0)], "stateful_callbacks": {"a": {"args": {"on": True}}}}
    )
    for path in (alone, first):
        assert trainer_state.can_read(path.read_bytes(), path.name)
        assert trainer_state.read(path)[0].columns["loss"] == 3.0
    assert trainer_state.read(first)[0].config == {"stateful_callbacks/a/args/on": True}
    late = write(tmp_path / "c", {"padding": "x" * 70_000, "log_history": [train(10, 3.0)]})
    assert trainer_state.can_read(late.read_bytes()[: 1 << 16], late.name)
    assert not trainer_state.can_read(b'[{"name": "a"}]', "runs.json")
    assert not trainer_state.can_read(b"step,loss\n", "log.csv")


@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_byte_order_mark_and_line_ends(tmp_path, begin, end):
    text = json.dumps(state([train(10, 3.0)]), indent=2).encode().replace(b"\n", end)
    path = tmp_path / "trainer_state.json"
    path.write_bytes(begin + text)
    assert trainer_state.can_read(path.read_bytes(), "x")
    assert trainer_state.read(path)[0].columns["loss"] == 3.0


def test_huge_numbers(tmp_path):
    text = '{"log_history": [{"step": 1, "loss": 1e999}, {"step": 2, "loss": %s}, {"step": 3, "loss": -%s}]}'
    [log] = trainer_state.read(write(tmp_path, text % ("9" * 400, "9" * 400)))
    np.testing.assert_array_equal(log.columns["loss"], [math.inf, math.inf, -math.inf])
    with pytest.raises(DataError, match="line 1: found"):
        trainer_state.read(write(tmp_path, text % ("9" * 5000, "1")))


def test_the_same_name_twice(tmp_path):
    log = read(tmp_path, [{"a/b": 1, "a": {"b": 2}, "step": 1}, {"a/b": 3, "step": 2}])
    assert log.columns["a/b"][1] == 3
    assert log.columns["a/b"].size == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: found the file's end, expected the JSON object"),
        ("hello", "line 1: found 'hello', expected the JSON object"),
        ('{"log_history": [\n{"step": 1, "loss": 3.0},\n{"step": 2, "lo', "line 3: .*expected entry 2 of the list"),
        ('{"log_history": [{"step": 1}', "line 1: found the file's end, expected ',' or ']'"),
        ('{"log_history": [{"step": 1}]', "line 1: found the file's end, expected ',' or '}'"),
        ('{"log_history": [{"step": 1}]} {', "expected nothing after"),
        ('{"log_history": {"step": 1}}', "expected a list as the value of 'log_history'"),
        ('{"log_history": null}', "expected a list as the value of 'log_history'"),
        ('{"log_history": []}', "no history; expected a list 'log_history'"),
        ('{"epoch": 1.0}', "no history; expected a list 'log_history'"),
        ('{"log_history": [{"step": 1}, 7]}', "entry 2 of 'log_history': 7, expected an object"),
        ('{"log_history": [[1, 2]]}', "entry 1 of 'log_history': a list, expected an object"),
        (
            '{"log_history": [{"step": 1, "loss": 3.0}, {"step": 2, "loss": "bad"}]}',
            "entry 2: 'loss' is 'bad', expected",
        ),
        ("{3: 4}", "expected a text as the key"),
        ("[" * 100_000, "nested less deeply|expected an object"),
        ('{"log_history": [' + '{"a":' * 100_000, "nested less deeply"),
        ('{"a": ' + "[" * 100_000, "nested less deeply"),
    ],
)
def test_what_is_no_state_is_refused_with_its_place(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        trainer_state.read(path)
    assert str(path) in str(caught.value)


def test_files_that_are_no_text(tmp_path):
    path = tmp_path / "trainer_state.json"
    for content in (pickle.dumps({"log_history": []}), b'{"log_history": "\xff"}'):
        path.write_bytes(content)
        with pytest.raises(DataError, match="expected"):
            trainer_state.read(path)
    with pytest.raises(DataError, match="cannot be read"):
        trainer_state.read(tmp_path / "missing.json")
    with pytest.raises(DataError, match="cannot be read"):
        trainer_state.read(tmp_path)


def test_names_that_change_from_entry_to_entry_make_no_table(tmp_path):
    history = [{"step": k, f"sample_{k}": 1.0} for k in range(8000)]
    with pytest.raises(DataError, match="expected entries that share their names"):
        read(tmp_path, history)


def test_memory_is_that_of_the_result(tmp_path):
    import tracemalloc

    path = write(tmp_path, json.dumps(state([train(k, 2.0) for k in range(40_000)]), indent=2))
    tracemalloc.start()
    [log] = trainer_state.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Two times the columns at the end, and a part of the text that does not grow with it; json.load takes 30 MB here.
    assert peak < 2 * sum(column.nbytes for column in log.columns.values()) + 3e6


values = st.one_of(st.floats(), st.integers(), st.none(), st.sampled_from(["nan", "1e-3", "NA", "Infinity"]))
names = st.sampled_from(["loss", "eval_loss", "step", "é/µ", "grad_norm"])


def expected_number(value):
    if value is None or value == "NA":
        return nan
    return float(value)


@settings(max_examples=40, deadline=None)
@given(
    history=st.lists(st.dictionaries(names, values, min_size=1), min_size=1, max_size=12),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
    ascii=st.booleans(),
)
def test_any_history_comes_back(tmp_path_factory, history, chunk, indent, ascii):
    path = tmp_path_factory.mktemp("a") / "trainer_state.json"
    path.write_text(json.dumps({"log_history": history}, indent=indent, ensure_ascii=ascii), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_state._Json, "CHUNK", chunk)  # values end up on both sides of a reading's end
        patch.setattr(trainer_state, "BLOCK", 3)
        [log] = trainer_state.read(path)
    for name in {name for entry in history for name in entry}:
        np.testing.assert_array_equal(log.columns[name], [expected_number(entry.get(name)) for entry in history])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(tmp_path_factory, data):
    whole = json.dumps(state([train(10, 3.0), evaluation(10, nan), summary(10)])).encode()
    at = data.draw(st.integers(0, len(whole)))
    damaged = whole[:at] + data.draw(st.binary(max_size=4)) + whole[data.draw(st.integers(at, len(whole))) :]
    path = tmp_path_factory.mktemp("a") / "trainer_state.json"
    path.write_bytes(damaged)
    trainer_state.can_read(damaged, path.name)
    try:
        [log] = trainer_state.read(path)
    except DataError as error:
        if str(path) not in str(error):
            raise
    else:
        assert len({column.shape for column in log.columns.values()}) == 1


def checkpoints(folder, histories):
    paths = [
        write(folder / f"checkpoint-{step}" if step else folder, state(history, global_step=history[-1]["step"]))
        for step, history in histories
    ]
    return [log for path in paths for log in trainer_state.read(path)]


def test_checkpoints_that_hold_each_other(tmp_path):
    history = [train(step, 4.0 - step / 20) for step in (10, 20, 30)]
    logs = checkpoints(
        tmp_path / "a", [(30, history), (10, history[:1]), (20, history[:2]), (None, [*history, summary(30)])]
    )
    assert {log.name for log in logs} == {"a"}
    [joined] = trainer_state.join_checkpoints(logs)
    np.testing.assert_array_equal(joined.columns["step"], [10, 20, 30])
    assert "train_runtime" in joined.config  # the run's own state says more than the checkpoint of its last step
    assert joined.config["global_step"] == 30


def test_checkpoints_of_a_run_that_was_resumed_without_its_history(tmp_path):
    first = [train(10, 3.0), train(20, 2.5), evaluation(20, 2.6), train(30, 2.25)]
    second = [train(25, 2.375), train(35, 2.0)]
    [joined] = trainer_state.join_checkpoints(checkpoints(tmp_path / "a", [(30, first), (35, second)]))
    np.testing.assert_array_equal(joined.columns["step"], [10, 20, 20, 25, 35])
    np.testing.assert_array_equal(joined.columns["loss"], [3.0, 2.5, nan, 2.375, 2.0])
    np.testing.assert_array_equal(joined.columns["eval_loss"], [nan, nan, 2.6, nan, nan])
    assert joined.source.endswith("checkpoint-35/trainer_state.json")


def test_checkpoints_of_several_runs_stay_apart(tmp_path):
    logs = [
        *checkpoints(tmp_path / "b", [(20, [train(10, 3.0), train(20, 2.0)])]),
        *checkpoints(tmp_path / "a", [(10, [train(10, 3.5)]), (20, [train(10, 3.5), train(20, 2.5)])]),
    ]
    joined = trainer_state.join_checkpoints(logs)
    assert [log.name for log in joined] == ["b", "a"]
    assert [log.columns["step"].size for log in joined] == [2, 2]


def test_checkpoints_without_steps_are_refused(tmp_path):
    logs = checkpoints(tmp_path / "a", [(10, [train(10, 3.0)])])
    logs += trainer_state.read(write(tmp_path / "a", {"log_history": [{"loss": 2.0}]}))
    with pytest.raises(DataError, match="expected a column 'step' to join it"):
        trainer_state.join_checkpoints(logs)


@settings(max_examples=40, deadline=None)
@given(ends=st.lists(st.integers(1, 12), min_size=1, max_size=5), order=st.randoms())
def test_any_set_of_checkpoints_joins_to_the_longest(ends, order):
    whole = np.arange(1.0, max(ends) + 1)
    logs = [
        trainer_state.Log("a", {"step": whole[:end], "loss": 1 / whole[:end]}, source=f"a/checkpoint-{end}/s.json")
        for end in ends
    ]
    order.shuffle(logs)
    [joined] = trainer_state.join_checkpoints(logs)
    np.testing.assert_array_equal(joined.columns["step"], whole)
    np.testing.assert_array_equal(joined.columns["loss"], 1 / whole)
