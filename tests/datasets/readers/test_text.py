"""Text logs: what each program's lines become, and that no text brings another result or another error."""

import math
import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalingeq.datasets.readers import text as reader
from scalingeq.datasets.readers.programs import KINDS, parse
from scalingeq.datasets.readers.templates import template_of
from scalingeq.errors import DataError

nan = math.nan
#: Beside the checkout, or a folder further up.
REAL = next(
    (up / "shared/data/text_logs" for up in Path(__file__).parents if (up / "shared/data/text_logs").exists()), Path()
)
LINES = {
    "nanoGPT": [
        "step 0: train loss 10.9870, val loss 10.9850",
        "iter 0: loss 10.9866, time 41520.11ms, mfu -100.00%",
        "iter 10: loss 9.6321, time 250.02ms, mfu 3.41%",
        "iter 20: loss nan, time 250.12ms, mfu 13.41%",
        "step 20: train loss 9.0110, val loss 9.0230",
    ],
    "llm.c": [
        "s:0 tel:10.9500",
        "s:0 trl:10.9612 lr:0.000001 norm:15.50",
        "s:1 trl:-nan lr:0.000002 norm:inf",
        "s:1 eval:0.2500",
    ],
    "llm.c, standard output": [
        "val loss 11.006021",
        "step    1/21479 | loss 11.007906 (+nanz)| norm 16.3235 (+nanz)| lr 2.86e-06 | 734.7 ms | -100.0% bf16 MFU | 167751 tok/s",
        "step    2/21479 | loss 10.829719 (-1.20z)| norm 15.0101 (+0.31z)| lr 5.71e-06 | 91.5 ms | 45.1% bf16 MFU | 191824 tok/s",
        "val loss 10.700000",
    ],
    "modded-nanogpt": [
        "step:0/6200 val_loss:10.9264 train_time:285ms step_avg:nanms",
        "step:1/6200 train_loss:10.9184 train_time:74701ms step_avg:nanms",
        "step:12/6200 train_loss:6.6519 train_time:428ms step_avg:213.66ms",
        "step:13/6200 train_time:641ms step_avg:213.66ms",
    ],
    "Megatron-LM": [
        " iteration        1/  500000 | consumed samples:          512 | elapsed time per iteration (ms): 7610.1"
        " | learning rate: 1.500E-07 | global batch size:   512 | lm loss: 1.065542E+01 | loss scale: 1.0"
        " | number of nan iterations:   0 |",
        " [2025-04-13 23:41:57] iteration       10/  500000 | consumed samples:         5120"
        " | elapsed time per iteration (ms): 610.1 | learning rate: 1.500E-06 | global batch size:   512"
        " | lm loss: 9.065542E+00 | loss scale: 1.0 | number of nan iterations:   0 |",
        " validation loss at iteration 10 | lm loss value: 8.889540E+00 | lm loss PPL: 7.255679E+03 | ",
        " validation loss at iteration 10 on test set | lm loss value: 8.900000E+00 | lm loss PPL: 7.331974E+03 | ",
        " validation loss at the end of training for val data | lm loss value: 8.100000E+00 | lm loss PPL: 3.294468E+03 | ",
    ],
    "DeepSpeed": [
        "[2023-08-15 06:31:42,452] [INFO] [log_dist] [Rank 0] step=10, skipped=1, lr=[6e-05, 1e-05], mom=[(0.9, 0.95)]",
        "steps: 10 loss: 10.6554 iter time (s): 4.218 samples/sec: 7.586",
        "[2023-08-15 06:31:44,231] [INFO] [log_dist] [Rank 0] step=20, skipped=1, lr=[6.1e-05, 1e-05], mom=[(0.9, 0.95)]",
    ],
}
COLUMNS = {
    "nanoGPT": {
        "step": [0, 0, 10, 20, 20],
        "train loss": [10.987, nan, nan, nan, 9.011],
        "val loss": [10.985, nan, nan, nan, 9.023],
        "loss": [nan, 10.9866, 9.6321, nan, nan],
        "time": [nan, 41520.11, 250.02, 250.12, nan],
        "mfu": [nan, -100.0, 3.41, 13.41, nan],
    },
    "llm.c": {
        "step": [0, 0, 1, 1],
        "tel": [10.95, nan, nan, nan],
        "trl": [nan, 10.9612, nan, nan],
        "lr": [nan, 1e-6, 2e-6, nan],
        "norm": [nan, 15.5, math.inf, nan],
        "eval": [nan, nan, nan, 0.25],
    },
    "llm.c, standard output": {
        "step": [0, 1, 2, 2],
        "val loss": [11.006021, nan, nan, 10.7],
        "loss": [nan, 11.007906, 10.829719, nan],
        "norm": [nan, 16.3235, 15.0101, nan],
        "lr": [nan, 2.86e-6, 5.71e-6, nan],
    },
    "modded-nanogpt": {
        "step": [0, 1, 12, 13],
        "val_loss": [10.9264, nan, nan, nan],
        "train_loss": [nan, 10.9184, 6.6519, nan],
        "train_time": [285, 74701, 428, 641],
        "step_avg": [nan, nan, 213.66, 213.66],
    },
    "Megatron-LM": {
        "step": [1, 10, 10, 10, 10],
        "consumed samples": [512, 5120, nan, nan, nan],
        "elapsed time per iteration (ms)": [7610.1, 610.1, nan, nan, nan],
        "learning rate": [1.5e-7, 1.5e-6, nan, nan, nan],
        "global batch size": [512, 512, nan, nan, nan],
        "lm loss": [10.65542, 9.065542, nan, nan, nan],
        "loss scale": [1, 1, nan, nan, nan],
        "number of nan iterations": [0, 0, nan, nan, nan],
        "lm loss value": [nan, nan, 8.88954, nan, 8.1],
        "lm loss PPL": [nan, nan, 7255.679, nan, 3294.468],
        "lm loss value on test set": [nan, nan, nan, 8.9, nan],
        "lm loss PPL on test set": [nan, nan, nan, 7331.974, nan],
    },
    "DeepSpeed": {
        "step": [10, 10, 20],
        "skipped": [1, nan, 1],
        "lr": [6e-5, nan, 6.1e-5],
        "mom": [0.9, nan, 0.9],
        "loss": [nan, 10.6554, nan],
        "iter time (s)": [nan, 4.218, nan],
        "samples/sec": [nan, 7.586, nan],
    },
}
TOTALS = {"llm.c, standard output": 21479, "modded-nanogpt": 6200, "Megatron-LM": 500000}


def read(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (log,) = reader.read(path)
    return log


def refusal(path, content):
    """Text of the error, where there is one."""
    try:
        read(path, content)
    except DataError as error:
        return str(error)
    return ""


def text_of(program):
    return "\n".join(LINES[program]) + "\n"


def assert_columns(log, expected):
    assert log.columns.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(log.columns[name], values, err_msg=name)


@pytest.mark.parametrize("program", LINES)
def test_lines_of_each_program(program, tmp_path):
    log = read(tmp_path / "a run.log", text_of(program))
    assert_columns(log, COLUMNS[program])
    assert log.config == ({"total_steps": TOTALS[program]} if program in TOTALS else {})
    assert (log.name, log.source) == ("a run", str(tmp_path / "a run.log"))


@pytest.mark.parametrize("program", LINES)
def test_every_line_is_read_alike_by_template_and_alone(program):
    for line in LINES[program]:
        row = parse(line.encode())
        assert re.match(template_of(row), row.text + b"\n").groups() == row.values


def test_examples_in_messages_are_lines_that_are_read():
    for kind in KINDS:
        row = parse(kind.example.encode())
        assert row.kind.program == kind.program
        assert row.has_step == ("end of training" not in kind.example and kind.example != "val loss 10.9")


@pytest.mark.parametrize("name, loss, pattern", [
    ("adamw_llmc_style.log", "tel", r"s:(\d+) tel:(\S+)"), ("llmc_main.log", "tel", r"s:(\d+) tel:(\S+)"),
    ("muon_124M.steps.txt", "val_loss", r"step:(\d+)/6200 val_loss:(\S+)"),
])  # fmt: skip
def test_real_logs(name, loss, pattern):
    if not (REAL / name).exists():
        pytest.skip(f"shared/data/text_logs/{name} is not beside this checkout")
    (log,) = reader.read(REAL / name)
    lines = (REAL / name).read_text().splitlines()
    expected = np.array([match.groups() for line in lines if (match := re.match(pattern, line))], float)
    known = np.isfinite(log.columns[loss])
    np.testing.assert_array_equal(np.column_stack([log.columns["step"][known], log.columns[loss][known]]), expected)
    assert log.columns["step"].size == len(lines)
    assert reader.can_read((REAL / name).read_bytes()[: 1 << 16], name)


PREFIXES = [
    "\x1b[1;32m{}\x1b[0m", "\x1b]0;title\x07{}", "2024-01-02 10:00:00,123 - INFO - {}", "INFO:train:{}", "[rank0]: {}", "0: {}",
    " 10%|\u2588   | 10/100 [00:01<00:09]\r{}", "\t| {}",
]  # fmt: skip


@pytest.mark.parametrize("before", PREFIXES)
@pytest.mark.parametrize("program", ["nanoGPT", "llm.c", "modded-nanogpt", "Megatron-LM", "DeepSpeed"])
def test_what_stands_before_a_line_does_not_matter(before, program, tmp_path):
    text = "\n".join(before.replace("{}", line) for line in LINES[program]) + "\n"
    assert_columns(read(tmp_path / "x.log", text), COLUMNS[program])


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n\n", " \n"])
@pytest.mark.parametrize("program", ["llm.c, standard output", "modded-nanogpt", "Megatron-LM"])
def test_line_ends(end, program, tmp_path):
    assert_columns(read(tmp_path / "x.log", end.join(LINES[program]) + end), COLUMNS[program])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_byte_order_marks(encoding, tmp_path):
    text = ("\ufeff" if encoding == "utf-16-be" else "") + "Läuft …\n" + text_of("nanoGPT")
    data = text.encode(encoding)
    assert reader.can_read(data, "x")
    assert_columns(read(tmp_path / "x.log", data), COLUMNS["nanoGPT"])


@pytest.mark.parametrize("block", [1, 2, 7, 64])
def test_blocks_may_end_anywhere(block, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_BLOCK", block)
    text = "\r\n".join(["noise", *LINES["nanoGPT"][:3], "\rbar\r", *LINES["nanoGPT"][3:]]) + "\r\n"
    assert_columns(read(tmp_path / "x.log", text), COLUMNS["nanoGPT"])


def test_source_code_before_the_log(tmp_path):
    code = 'print(f"step:{step}/{steps} train_loss:{loss:.4f}")\nstep = 3  # iter {n}: loss\n' * 2000
    text = code + text_of("modded-nanogpt")
    assert_columns(read(tmp_path / "x.txt", text), COLUMNS["modded-nanogpt"])
    head = text.encode()[: 1 << 16]
    assert reader.can_read(head, "x.txt")
    assert not reader.can_read(head, "x.csv")


def test_steps_are_kept_as_they_are(tmp_path):
    log = read(tmp_path / "x.log", "".join(f"s:{step} trl:3.1\n" for step in (1, 2, 2, 1, 2, 3)))
    assert log.columns["step"].tolist() == [1, 2, 2, 1, 2, 3]


def test_new_fields_in_the_middle(tmp_path):
    log = read(
        tmp_path / "x.log", "s:1 trl:3.0\ns:2 trl:2.9 lr:0.1\ns:3 lr2:9 trl:2\ns:3 trl:2.8\ns:4 trl:2.7 lr:0.2 new:1\n"
    )
    assert_columns(
        log, {"step": [1, 2, 3, 4], "trl": [3, 2.9, 2.8, 2.7], "lr": [nan, 0.1, nan, 0.2], "new": [nan, nan, nan, 1]}
    )


def test_names_with_digits_are_told_apart(tmp_path):
    log = read(tmp_path / "x.log", "step:1/9 a1:1 a2:2\nstep:2/9 a2:3 a1:4\nstep:3/9 a3:5 a1:6\n")
    assert_columns(log, {"step": [1, 2, 3], "a1": [1, 4, 6], "a2": [2, 3, nan], "a3": [nan, nan, 5]})


def test_the_outer_program_counts(tmp_path):
    log = read(tmp_path / "x.log", text_of("DeepSpeed") + text_of("Megatron-LM") + text_of("DeepSpeed"))
    assert_columns(log, COLUMNS["Megatron-LM"])
    log = read(tmp_path / "x.log", "val loss 9.9\n" + text_of("modded-nanogpt") + "val loss 3.5\n")
    assert_columns(log, COLUMNS["modded-nanogpt"])


def test_output_that_runs_into_each_other(tmp_path):
    """What was cut off, or written by another process, before a whole line."""
    cut = "iter 20: loss 9.5000, time 250.00ms, mfu 3.00%"
    for stop in range(len(cut)):
        log = read(
            tmp_path / "x.log", f"{LINES['nanoGPT'][2]}\n{cut[:stop]}iter 30: loss 9.4, time 251.00ms, mfu 3.20%\n"
        )
        assert_columns(log, {"step": [10, 30], "loss": [9.6321, 9.4], "time": [250.02, 251], "mfu": [3.41, 3.2]})


def test_a_name_that_a_line_has_twice(tmp_path):
    log = read(tmp_path / "x.log", "step:1/9 nan:0 nan:1\nstep:2/9 nan:0 e:1\n")
    assert_columns(log, {"step": [1, 2], "nan": [0, 0], "e": [nan, 1]})


def test_what_is_no_number_and_no_loss_is_left_out(tmp_path):
    lines = [f"s:{n} trl:3.0 lr:{rate} norm:1.0\n" for n, rate in enumerate(("0.1", "0.2", "1-2", "0.3", "e"))]
    log = read(tmp_path / "x.log", "".join(lines))
    assert_columns(log, {"step": [0, 1, 2, 3, 4], "trl": [3] * 5, "lr": [0.1, 0.2, nan, 0.3, nan], "norm": [1] * 5})


@pytest.mark.parametrize("program, end", [*((program, "\n") for program in LINES), ("llm.c", "\r\n")])
def test_a_log_cut_anywhere_gives_its_first_rows(program, end, tmp_path):
    """Never a number of which digits are missing, once a line of the kind has been printed."""
    lines = LINES[program]
    text = end.join([*lines, *lines]) + end
    expected = read(tmp_path / "x.log", text).columns
    for stop in range(len(text) // 2, len(text)):
        columns = read(tmp_path / "x.log", text[:stop]).columns
        rows = columns["step"].size
        assert rows >= text[:stop].count("\n")
        for name, values in columns.items():
            np.testing.assert_array_equal(values, expected[name][:rows], err_msg=f"{name} of {text[:stop][-60:]!r}")


def test_a_last_line_that_is_whole_counts(tmp_path):
    for program, lines in LINES.items():
        assert read(tmp_path / "x.log", "\n".join([*lines, *lines])).columns["step"].size == 2 * len(lines), program


@pytest.mark.parametrize("line, says", [
    ("iter 3: loss abc, time 3.00ms, mfu 1.00%", "loss is 'abc'"), ("s:3 trl:0x1p+1", "trl is '0x1p+1'"),
    ("s:3 trl:3.2.1", "trl is '3.2.1'"), ("step:3/9 val_loss:None train_time:3ms", "loss is 'None'"),
    (" iteration 3/ 9 | lm loss: tensor(3.0) | loss scale: 1.0 |", "loss is 'tensor(3.0)'"),
    (" iteration 3/ 9 | nothing |", "no numbers"), ("steps: 3 loss: 3.5B iter time (s): 1.0", "loss is '3.5B'"),
])  # fmt: skip
def test_a_loss_that_is_no_number_is_named(line, says, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_BLOCK", 1001)
    good = {"i": LINES["nanoGPT"][2], "s": LINES["llm.c"][1], " ": LINES["Megatron-LM"][0]}[line[0]]
    with pytest.raises(DataError, match=r"x\.log, line 402: .*; expected a line such as '") as caught:
        read(tmp_path / "x.log", f"{good}\r\n" * 400 + f"\r\n{line}\r\n" + f"{good}\r\n" * 5)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"step,loss\n1,2\n", bytes(1 << 20), b"\xff\xfe", b"\xff\xfe\n", b"iter x: loss"]
)
def test_a_file_without_lines_of_a_log(content, tmp_path):
    assert not reader.can_read(content[: 1 << 16], "x.log")
    with pytest.raises(DataError, match=r"x\.log: none of its \d+ lines tells of a step; expected lines such as"):
        read(tmp_path / "x.log", content)


def test_more_columns_than_a_log_has(tmp_path):
    with pytest.raises(DataError, match="more than 1000 different fields"):
        read(tmp_path / "x.log", "".join(f"step:{n}/9 name{n}:1\n" for n in range(2000)))


def test_lines_too_long_are_passed_over(tmp_path):
    log = read(tmp_path / "x.log", "x" * (1 << 20) + " s:5 trl:1.0\ns:7 trl:3.5\n" + " " * (1 << 20) + "s:8 trl:1.0\n")
    assert_columns(log, {"step": [7], "trl": [3.5]})


def test_multiples_are_left_out(tmp_path):
    line = " iteration {}/ 9 | consumed tokens: 0.340B | TFLOPs: 1.5/1.4 | lm loss: 3.0 |\n"
    log = read(tmp_path / "x.log", line.format(1) + line.format(2))
    assert_columns(log, {"step": [1, 2], "TFLOPs": [1.5, 1.5], "lm loss": [3, 3]})


N = 60_000
ADVERSARIAL = {
    "one line": b"x" * (10 << 20),
    "one line of heads": b"s:1 trl:" * (10 << 17),
    "digits": b"s:1 trl:" + b"9" * (10 << 20),
    "words": (b"iter 1: loss " + b"a " * (N // 2) + b"\n") * 20,
    "letters": (b"iter 1: loss " + b"a" * N + b"\n") * 20,
    "cells": (b"iteration 1/ 2 |" + b"|" * N + b"\n") * 20,
    "cells of spaces": (b"iteration 1/ 2 |" + b" " * N + b"| lm loss: 2 |\n") * 20,
    "colons": (b"iteration 1/ 2 | a" + b" :" * (N // 2) + b" | lm loss: 2 |\n") * 20,
    "long cell": (b"iteration 1/ 2 | lm loss: 2 | " + b"a b" * (N // 3) + b"\n") * 20,
    "set": (b"validation loss at iteration 1" + b" x" * (N // 2) + b"\n") * 20,
    "pairs": (b"step:1/2 a:" + b"a:" * (N // 2) + b"\n") * 20,
    "numbers": (b"step:1/2 a:1" + b" 1.1e1" * (N // 6) + b"\n") * 20,
    "phrases": (b"steps: 1 loss: 1" + b" a/b" * (N // 4) + b"\n") * 20,
    "heads": (b"step:1/2 a:1 " * (N // 13) + b"\n") * 20,
    "codes": (b"\x1b]" * (N // 2) + b"\x1b[" + b"0" * N + b"\n") * 20,
    "nans": (b"step:1/2 a:" + b"nan" * (N // 3) + b"\n") * 20,
}


@pytest.mark.parametrize("case", ADVERSARIAL)
def test_no_text_takes_long(case, tmp_path):
    start = time.perf_counter()
    assert re.match(r"$|.*x\.log, line 1: ", refusal(tmp_path / "x.log", ADVERSARIAL[case] + b"\ns:7 trl:3.5\n"))
    assert time.perf_counter() - start < 5


number = st.one_of(st.floats(), st.integers(0, 10**9)).map(lambda value: f"{value:.4g}")
field = st.tuples(st.sampled_from(["train_loss", "loss", "lr", "a1", "a2", "nan", "e"]), number)
step, fields = st.integers(0, 99), st.lists(field, min_size=1, max_size=6)
ANY_LINE = st.one_of(
    st.builds(lambda n, pairs: f"step:{n}/9 " + " ".join(f"{name}:{value}" for name, value in pairs), step, fields),
    st.builds(
        lambda n, pairs: f"iter {n}: loss 1, " + ", ".join(f"{name} {value}ms" for name, value in pairs), step, fields
    ),
    st.builds(
        lambda n, pairs: f" iteration {n:4d}/ 9 |" + "".join(f" {name}: {value} |" for name, value in pairs),
        step,
        fields,
    ),
    st.text(max_size=30),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(ANY_LINE, min_size=1, max_size=8))
def test_lines_alike_are_read_as_each_alone(lines, tmp_path):
    """The templates' result, against lines taken apart one by one."""
    text = "\n".join([*lines, *lines, "step:1/9 loss:1"]) + "\n"
    every = [parse(line) for line in reader._plain(text.encode()).split(b"\n") if reader.ANY.search(line)]
    programs = [row.kind.program for row in every]
    program = max((kind.program for kind in KINDS), key=programs.count)
    rows = [dict(zip(row.names, map(float, row.values), strict=True)) for row in every if row.kind.program == program]
    names = {name for row in rows for name in row}
    assert_columns(read(tmp_path / "x.log", text), {name: [row.get(name, nan) for row in rows] for name in names})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_logs_are_read_or_refused(data, tmp_path):
    content = bytearray(
        "".join(map(text_of, data.draw(st.lists(st.sampled_from(sorted(LINES)), min_size=1, max_size=2)))).encode()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    problem = refusal(tmp_path / "x.log", bytes(content))
    assert "x.log" in problem or not problem
    if not problem:
        (log,) = reader.read(tmp_path / "x.log")
        assert len({values.shape for values in log.columns.values()}) == 1
        assert np.isfinite(log.columns["step"]).all()
