"""Speed and memory of the readers: JSON lines beside the standard library's json, peak memory beside the size of the log."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from scalingeq.datasets import open_logs
from scalingeq.datasets.readers import jsonl

ROWS = 270_000  # 103 MB
#: Least speed beside json on the same core; most megabytes that 1 GB of log may take at its peak, the imports included.
FASTER, LIMIT = 4, 300
OPEN = """
import sys
import numpy, xarray, scalingeq.datasets as data

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))

before = peak()
ds = data.open_logs(sys.argv[1], loss="train/loss", params=1e9, batch_size=524288)
print(before, peak())
"""


def row(k, rng):
    """A row as Weights & Biases keeps it."""
    noise = rng.random(4).tolist()
    values = {
        "_step": k,
        "_runtime": k * 0.371,
        "_timestamp": 1.7e9 + k * 0.371,
        "train/loss": 3 + noise[0],
        "optim/learning_rate_group0": 3e-4 * (1 - k / 1e7),
        "optim/grad_norm": noise[1],
        "throughput/total_tokens": k * 524288,
        "throughput/device/tokens_per_second": 1e5 + noise[2],
        "train/perplexity": 20 + noise[3],
        "System/Peak GPU Memory (MB)": 31000.5,
    }
    return values | ({"eval/c4/loss": 3 + noise[0]} if k % 100 == 0 else {})


def write(path, rows):
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        file.writelines(json.dumps(row(k, rng)) + "\n" for k in range(rows))


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    path = tmp_path_factory.mktemp("history") / "history.jsonl"
    write(path, ROWS)
    return path


def seconds(do, repeats=3):
    """Least time of a few: what disturbs only adds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        do()
        times.append(time.perf_counter() - start)
    return min(times)


def test_history_beside_json(benchmark, history):
    def by_json():
        with history.open("rb") as file:
            for line in file:
                json.loads(line)

    columns = benchmark(jsonl.read_columns, history)
    assert columns["train/loss"].size == ROWS
    ratio = seconds(by_json) / seconds(lambda: jsonl.read_columns(history))
    benchmark.extra_info["times as fast as json"] = ratio
    assert ratio > FASTER


def test_record_beside_json(benchmark, history):
    ds = benchmark(open_logs, history, loss="train/loss", params=1e9, batch_size=524288)
    assert ds.sizes["obs"] == ROWS


def test_history_with_nan_beside_json(benchmark, history, tmp_path):
    """A run that diverged: its rows are decoded one by one, half of them by json."""
    path = tmp_path / "diverged.jsonl"
    with history.open() as file, path.open("w") as out:
        for k, line in enumerate(file):
            if k == 20_000:
                break
            out.write(line.replace('"train/loss": ', '"train/loss": NaN, "x": ') if k % 2 else line)
    columns = benchmark(jsonl.read_columns, path)
    assert np.isnan(columns["train/loss"]).sum() == 10_000
    benchmark.extra_info["rows a second"] = 20_000 / benchmark.stats.stats.min


def measure_memory(path, rows):
    """Megabytes of a log of so many rows, of the imports, and at the peak."""
    write(path, rows)
    out = subprocess.run([sys.executable, "-c", OPEN, str(path)], capture_output=True, check=True).stdout
    before, peak = (float(word) for word in out.split())
    return path.stat().st_size / 1e6, before, peak


LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of a process from /proc")


@LINUX
def test_memory_of_a_gigabyte_by_smaller_logs(benchmark, tmp_path):
    short, _, low = measure_memory(tmp_path / "short.jsonl", ROWS // 4)
    long, before, high = benchmark.pedantic(measure_memory, (tmp_path / "long.jsonl", ROWS), rounds=1)
    expected = high + (high - low) / (long - short) * (1000 - long)
    benchmark.extra_info |= {"imports, MB": before, "peak, MB": high, "log, MB": long, "expected of 1 GB, MB": expected}
    assert expected < LIMIT


@LINUX
@pytest.mark.exhaustive
def test_memory_of_a_gigabyte(benchmark, tmp_path):
    size, before, peak = benchmark.pedantic(measure_memory, (tmp_path / "history.jsonl", 10 * ROWS), rounds=1)
    benchmark.extra_info |= {"imports, MB": before, "peak, MB": peak, "log, MB": size}
    assert size > 1000
    assert peak < LIMIT
