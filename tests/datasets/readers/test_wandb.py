"""Exports of Weights & Biases: charts as CSV."""

import csv
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingeq.datasets.readers import keras, lightning, wandb_export
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
