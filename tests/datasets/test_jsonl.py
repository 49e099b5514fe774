"""JSON lines, beside the standard library's json."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingeq.datasets.readers import jsonl
from scalingeq.errors import DataError

KEYS = st.text(st.characters(exclude_characters="/"), min_size=1, max_size=4)
LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from(["1.5", "nan", "x", ""])
)
ROWS = st.dictionaries(
    KEYS, LEAVES | st.dictionaries(KEYS, LEAVES, max_size=2) | st.lists(LEAVES, max_size=2), max_size=4
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("jsonl") / "history.jsonl"


def expected(text):
    """The columns by the standard library, one row after the other."""
    rows = []
    for line in text.splitlines():
        row = {}
        for key, value in json.loads(line).items():
            for name, leaf in (
                {f"{key}/{inner}": leaf for inner, leaf in value.items()} if isinstance(value, dict) else {key: value}
            ).items():
                try:
                    row[name] = float(leaf)
                except (TypeError, ValueError):
                    row[name] = math.nan
        rows.append(row)
    return {name: np.array([row.get(name, math.nan) for row in rows]) for row in rows for name in row}


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(ROWS, max_size=8),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    bom=st.booleans(),
    chunk=st.integers(1, 99),
)
def test_the_same_as_json(path, rows, end, bom, chunk):
    # Half a pair of surrogates can only be written as an escape.
    escaped = any("\ud800" <= letter <= "\udfff" for letter in json.dumps(rows, ensure_ascii=False))
    text = "".join(json.dumps(row, ensure_ascii=escaped) + "\n" for row in rows)
    path.write_text(("\ufeff" if bom else "") + text.replace("\n", end), encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "CHUNK", chunk)
        table = jsonl.read_table(path)
    columns = expected("".join(json.dumps(row) + "\n" for row in rows))
    assert table.numbers.keys() == columns.keys()
    for name, column in columns.items():
        np.testing.assert_array_equal(table.numbers[name], column)


def test_rows_of_other_keys_late_in_the_file(path):
    rows = [{"step": k, "loss": k / 7} for k in range(20_000)]
    rows[15_000] = {"step": 15_000, "eval": {"loss": 2.5}}
    rows[15_001]["loss"] = math.nan
    path.write_text("\n".join(map(json.dumps, rows)))
    columns = jsonl.read_columns(path)
    assert np.flatnonzero(~np.isnan(columns["eval/loss"])).tolist() == [15_000]
    assert np.flatnonzero(np.isnan(columns["loss"])).tolist() == [15_000, 15_001]
    assert columns["step"].tolist() == list(range(20_000))


def test_words_are_kept_apart_with_their_line(path):
    path.write_text(
        '{"run": 7, "loss": 1}\n\n{"run": "b", "loss": "two"}\n{"run": 7, "loss": "Infinity", "tags": ["x"]}\n'
    )
    table = jsonl.read_table(path, as_text={"run"})
    assert table.words["run"].values == ["7", "b"]
    assert table.words["run"].codes.tolist() == [0, 1, 0]
    assert table.words["loss"].line == 3
    np.testing.assert_array_equal(table.numbers["loss"], [1, math.nan, math.inf])


def test_unwanted_columns_are_skipped(path):
    path.write_text('{"a": 1, "b": "x", "c": {"d": 1, "e": 2}}\n' * 3)
    assert jsonl.read_table(path, is_wanted=lambda name: name == "c/e").numbers.keys() == {"c/e"}


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"a": 1}\n{"a": 2', r"line 2: .*not JSON.*cut off"),
        (b'{"a": 1}\n\n[1]\n', r"line 3: .*not a JSON object"),
        (b'{"a":' * 100_000, r"line 1: nested too deeply"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, r"line 1: nested too deeply"),
        (b'{"a": "\xff\xfe"}', r"line 1: .*not JSON"),
        (b'{"a": 1}\n\0\0\0\0', r"line 2: .*not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"[", r"line 1: .*not JSON"),
    ],
    ids=["cut", "array", "deep", "deep and whole", "not text", "zeros", "digits"],
)
def test_what_is_not_jsonl_is_named(path, content, message):
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"history.jsonl, {message}"):
        jsonl.read_columns(path)


def test_bounds(path, monkeypatch):
    monkeypatch.setattr(jsonl, "CHUNK", 10)
    monkeypatch.setattr(jsonl, "LONGEST_LINE", 100)
    monkeypatch.setattr(jsonl, "MOST_KEYS", 3)
    path.write_text('{"a": 1}\n{"a": "' + 200 * "x" + '"}')
    with pytest.raises(DataError, match="line 2: longer than 100 bytes"):
        jsonl.read_columns(path)
    path.write_text('{"a": 1, "b": 1}\n{"c": 1, "d": 1}')
    with pytest.raises(DataError, match="line 2: more than 3 different keys"):
        jsonl.read_columns(path)
    with pytest.raises(DataError, match="cannot be read"):
        jsonl.read_columns(path.parent)
