"""Charts of Weights & Biases exported as CSV, and histories as JSON lines, Parquet and CSV."""

import csv
import io
import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingeq.datasets.readers import find_reader, keras, lightning, wandb_export, wandb_history
from scalingeq.datasets.readers.names import Naming
from scalingeq.errors import DataError

nan = math.nan


def chart(columns, axis="Step", bounds=True):
    """Text of an export as the web page writes it: every cell in quotes, blanks where a run has no value."""
    names, cells = [axis], [list(range(len(next(iter(columns.values())))))]
    for name, values in columns.items():
        for bound in ("", "__MIN", "__MAX") if bounds else ("",):
            names.append(name + bound)
            cells.append(["" if value is None else value for value in values])
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*cells, strict=True))
    return text.getvalue()


def export(folder, text, name="wandb_export.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder, *args, **options):
    return wandb_export.read(export(folder, chart(*args, **options)))


def test_runs_of_unequal_length_share_one_table(tmp_path):
    wide, deep = read(tmp_path, {"wide - train/loss": [3.0, 2.5, None], "deep - train/loss": [None, 2.75, 2.0]})
    assert (wide.name, deep.name) == ("wide", "deep")
    np.testing.assert_array_equal(wide.columns["Step"], [0, 1])
    np.testing.assert_array_equal(wide.columns["train/loss"], [3.0, 2.5])
    np.testing.assert_array_equal(deep.columns["Step"], [1, 2])
    np.testing.assert_array_equal(deep.columns["train/loss__MIN"], [2.75, 2.0])
    assert list(deep.columns) == ["Step", "train/loss", "train/loss__MIN", "train/loss__MAX"]


def test_other_axes_and_steps_of_the_runs_own(tmp_path):
    # Charts over an epoch or a time carry each run's step as a column.
    [log] = read(tmp_path, {"haze-15 - _step": [0, 2], "haze-15 - valid_f1": [0.5, 0.75]}, axis="epoch")
    np.testing.assert_array_equal(log.columns["epoch"], [0, 1])
    np.testing.assert_array_equal(log.columns["_step"], [0, 2])
    [log] = read(tmp_path, {"Group: a - loss": [3.0]}, axis="Relative Time (Process)")
    assert log.name == "Group: a"
    assert next(iter(log.columns)) == "Relative Time (Process)"


def test_one_run_without_its_name(tmp_path):
    [log] = read(tmp_path, {"train/loss": [3.0, 2.0]})
    assert log.name == "wandb_export"
    np.testing.assert_array_equal(log.columns["train/loss"], [3.0, 2.0])


@pytest.mark.parametrize(
    ("runs", "metrics"),
    [
        (["lr 1e-3 - seed 0", "lr 1e-3 - seed 1"], ["loss", "val/loss"]),
        (["a", "b"], ["loss", "eval - loss"]),
        (["a - 1", "a - 2", "b"], ["loss, mean", "x - y", "z"]),
        (["baseline", "baseline - wide"], ["loss"]),
        (["7B, width 4096", 'the "good" one', "größer - Ω"], ["loss"]),
        (["only"], ["loss", "lr"]),
    ],
)
def test_names_with_hyphens_commas_and_quotes(tmp_path, runs, metrics):
    columns = {f"{run} - {metric}": [k * 10 + m, 1] for k, run in enumerate(runs) for m, metric in enumerate(metrics)}
    logs = read(tmp_path, columns)
    assert [log.name for log in logs] == runs
    for k, log in enumerate(logs):
        assert [log.columns[metric][0] for metric in metrics] == [k * 10 + m for m in range(len(metrics))]


def test_a_run_that_lacks_a_metric_splits_at_the_last_hyphen(tmp_path):
    one, two = read(tmp_path, {"a - 1 - loss": [1], "a - 1 - acc": [2], "a - 2 - loss": [3]})
    assert (one.name, two.name) == ("a - 1", "a - 2")
    assert "acc" not in two.columns


def test_runs_of_one_name_are_numbered(tmp_path):
    text = chart({"a - loss": [3.0, 2.0]}).splitlines()
    twice = "\n".join(",".join([line, *line.split(",")[1:]]) for line in text).replace('"3.0"', '"4.0"', 1)
    one, two = wandb_export.read(export(tmp_path, twice))
    assert (one.name, two.name) == ("a", "a (2)")
    assert one.columns["loss"][0] == 4.0
    assert two.columns["loss"][0] == 3.0
    assert list(two.columns) == ["Step", "loss", "loss__MIN", "loss__MAX"]


def test_texts_and_not_finite_values(tmp_path):
    columns = {"a - loss": [3.0, "NaN", "Infinity"], "a - note": ["x", "y", "z"], "b - loss": [2.0, 1e300, None]}
    first, second = read(tmp_path, columns)
    np.testing.assert_array_equal(first.columns["loss"], [3.0, math.inf])  # the row without any value is none
    assert "note" not in first.columns
    np.testing.assert_array_equal(second.columns["loss"], [2.0, 1e300])


def test_only_charts_are_taken():
    head = chart({"a - loss": [3.0]}).encode()
    assert wandb_export.can_read(b"\xef\xbb\xbf" + head, "x")
    assert wandb_export.can_read(head[:40], "x")
    assert not keras.can_read(chart({"a - loss": [3.0]}, axis="epoch").encode(), "x")
    assert not lightning.can_read(head, "metrics.csv")
    for other in (b"Step,a - loss\n", b"", b"\0\0\0\0", b'{"Step": 1}', b'"Name","param_count"\n"a - b","1"\n'):
        assert not wandb_export.can_read(other, "wandb_export.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: empty, expected a header"),
        ("\n\n", "line 1: empty, expected a header"),
        ('"Step","a - loss"\n', "line 2: the file's end, expected a row"),
        ('"Step","a - loss"\n"1","2.0","3"\n', "line 2: 3 cells, expected 2"),
        ('"Step","a - loss"\n"1","2.0"\n"2","1.0","3"\n"3","1"\n', "Expected 2 fields in line 3, saw 3"),
        ('"Step","a - loss"\n"1","2.0"\n"2"', "last line: 1 cells, expected 2 as in the header; is it cut short"),
        ('"Step","a - loss"\n"1","2.0"\n"2","1.', "EOF inside string"),
        ('"Step","a - loss"\n"1","2.0"\n"2","low"\n', "line 3: 'a - loss' is 'low', expected a number"),
        ('"Step","a - loss"\n"1",""\n', "no value in any row"),
        ('"Time","a - loss"\n"now","2.0"\n', "line 1: expected an axis of numbers first"),
        ('"Step"\n"1"\n', "line 1: expected an axis of numbers first"),
        (b'"Step","a - \xff"\n"1","2"\n', "expected a text in UTF-8"),
        ('"Step","' + "x" * 200_000, "line 1: field larger than|line 1: unexpected end"),
    ],
)
def test_what_is_no_export_is_refused_with_its_place(tmp_path, content, message):
    path = export(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        wandb_export.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_byte_order_mark_and_line_ends(tmp_path, end):
    text = chart({"a - loss": [3.0, 2.0]}).replace("\n", end)
    [log] = wandb_export.read(export(tmp_path, b"\xef\xbb\xbf" + text.encode()))
    np.testing.assert_array_equal(log.columns["Step"], [0, 1])


def test_two_thousand_runs(tmp_path):
    columns = {f"run {k} - loss": [1.0 + k, None if k % 2 else 0.5] for k in range(2000)}
    logs = read(tmp_path, columns)
    assert [log.columns["loss"].size for log in logs] == [2, 1] * 1000
    assert logs[-1].columns["loss"][0] == 2000


word = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp", "Zs"]), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(
    runs=st.lists(word, min_size=1, max_size=4, unique=True),
    metrics=st.lists(word, min_size=1, max_size=3, unique=True),
    values=st.lists(st.floats(allow_nan=False), min_size=1, max_size=4),
)
def test_any_runs_and_metrics_come_back(tmp_path_factory, runs, metrics, values):
    columns = {f"{run} - {metric}": values for run in runs for metric in metrics}
    logs = read(tmp_path_factory.mktemp("a"), columns)
    assert [log.name for log in logs] == runs
    for log in logs:
        for metric in metrics:
            np.testing.assert_array_equal(log.columns[metric], values)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_exports_are_read_or_refused(tmp_path_factory, data):
    whole = chart({"a - loss": [3.0, 2.0, None], "b - loss": [None, 4.0, "NaN"]}).encode()
    at = data.draw(st.integers(0, len(whole)))
    damaged = whole[:at] + data.draw(st.binary(max_size=4)) + whole[data.draw(st.integers(at, len(whole))) :]
    path = export(tmp_path_factory.mktemp("a"), damaged)
    wandb_export.can_read(damaged, path.name)
    try:
        logs = wandb_export.read(path)
    except DataError as error:
        if str(path) not in str(error):
            raise
    else:
        assert logs


ROWS = [
    {"_step": 0, "_runtime": 1.5, "_timestamp": 1.7e9, "train": {"loss": 3.0}, "optim/learning_rate_group0": 0.1},
    {"_step": 1, "_runtime": 2.5, "_timestamp": 1.7e9, "train": {"loss": nan}, "_wandb": {"runtime": 3}},
    {
        "_step": 1,
        "_runtime": 2.5,
        "_timestamp": 1.7e9,
        "val": {"loss": "Infinity"},
        "image": {"_type": "image", "path": "a"},
    },
    {"_step": 5, "_runtime": 9.5, "_timestamp": 1.7e9, "histogram": {"bins": [0, 1], "values": [3]}, "val": None},
]


def lines(rows, end="\n"):
    return end.join(json.dumps(row) for row in rows) + end


def check_history(log):
    np.testing.assert_array_equal(log.columns["_step"], [0, 1, 1, 5])
    np.testing.assert_array_equal(log.columns["train/loss"], [3, nan, nan, nan])
    np.testing.assert_array_equal(log.columns["val/loss"], [nan, nan, math.inf, nan])
    np.testing.assert_array_equal(log.columns["optim/learning_rate_group0"], [0.1, nan, nan, nan])
    assert "image/path" not in log.columns


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("begin", ["", "\ufeff"])
def test_history_as_json_lines(tmp_path, begin, end):
    path = export(tmp_path, begin + lines(ROWS, end), "wandb-history.jsonl")
    assert find_reader(path) is wandb_history
    [log] = wandb_history.read(path)
    check_history(log)
    assert log.name == tmp_path.name


def test_a_key_that_is_no_unicode_text(tmp_path):
    path = export(tmp_path, '{"_step": 1, "_runtime": 1, "a\\ud800": 2}\n{"_step": 2, "a\\ud800": 3}\n', "a.jsonl")
    [log] = wandb_history.read(path)
    np.testing.assert_array_equal(log.columns["a\ud800"], [2, 3])


def test_history_as_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="Parquet needs the extra [logs]")
    import pyarrow.parquet as pq

    folder = tmp_path / "run-1a2b-history_v0"
    folder.mkdir()
    struct = pa.array([{"loss": 3.0}, {"loss": nan}, None, None])
    columns = {
        "_step": pa.array([0, 1, 1, 5]),
        "_runtime": [1.5, 2.5, 2.5, 9.5],
        "train": struct,
        "val/loss": pa.array([None, None, math.inf, None], pa.float32()),
        "optim/learning_rate_group0": [0.1, None, None, None],
        "image/path": [None, None, "a", None],
        "bins": pa.array([None, None, None, [0, 1]]),
    }
    pq.write_table(pa.table(columns), folder / "0000.parquet")
    assert find_reader(folder / "0000.parquet") is wandb_history
    [log] = wandb_history.read(folder / "0000.parquet", Naming(keep=("_runtime",)))
    check_history(log)
    assert log.name == "run-1a2b-history_v0"


def test_parquet_without_pyarrow_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = export(tmp_path, b"PAR1 _step _runtime", "history.parquet")
    with pytest.raises(DataError, match=r"pip install 'scalingeq\[logs\]'"):
        wandb_history.read(path)


def test_damaged_parquet(tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs the extra [logs]")
    with pytest.raises(DataError, match="cannot be read") as caught:
        wandb_history.read(export(tmp_path, b"PAR1" + b"x" * 100, "history.parquet"))
    assert "history.parquet" in str(caught.value)


def test_history_that_pandas_wrote(tmp_path):
    path = export(tmp_path, ",_step,_runtime,train/loss,note\n0,0,1.5,3.0,a\n1,5,2.5,,b\n", "wide.csv")
    assert find_reader(path) is wandb_history
    [log] = wandb_history.read(path)
    assert log.name == "wide"
    np.testing.assert_array_equal(log.columns["train/loss"], [3.0, nan])
    assert "note" not in log.columns


def test_only_the_wanted_columns_are_read(tmp_path):
    rows = [row | {"system": {"gpu": 3}} for row in ROWS]
    [log] = wandb_history.read(export(tmp_path, lines(rows), "a.jsonl"), Naming())
    assert "system/gpu" in log.left_out
    assert "system/gpu" not in log.columns
    assert "val/loss" in log.columns


def test_names_of_histories(tmp_path):
    for file, name in (
        ("run-7/files/wandb-history.jsonl", "run-7"),
        ("größe 1/history.jsonl", "größe 1"),
        ("sweep/wide.jsonl", "wide"),
    ):
        path = tmp_path / file
        path.parent.mkdir(parents=True)
        path.write_text(lines(ROWS), encoding="utf-8")
        assert wandb_history.read(path)[0].name == name


def test_several_runs_in_one_history_are_a_tidy_table():
    for other in (
        lines([{"_step": 0, "_runtime": 1, "run_name": "a"}]).encode(),
        b"run,_step,_runtime\na,0,1\n",
        lines([{"_step": 0, "loss": 3.0}]).encode(),
        b"",
        b"PAR1",
    ):
        assert not wandb_history.can_read(other, "history.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines(ROWS)[:-8], "line 4"),
        (lines(ROWS) + "[1]\n", "line 5"),
        (lines([*ROWS, {"_step": "later"}]), "line 5: '_step' is 'later', expected a number"),
        (lines(ROWS) + '{"a":' * 100_000, "line 5"),
    ],
)
def test_damaged_histories_are_refused_with_their_place(tmp_path, content, message):
    path = export(tmp_path, content, "history.jsonl")
    with pytest.raises(DataError, match=message) as caught:
        wandb_history.read(path)
    assert str(path) in str(caught.value)
