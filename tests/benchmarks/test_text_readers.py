"""Speed and memory of the reading of text logs of a million lines, beside what ``re`` takes for the same lines.

The yardstick is a compiled pattern, written for just these lines, that is matched against each, and ``float`` of what it
finds; what matching alone takes is recorded too. Times are the processor's, so that others' work does not count.
"""

import re
import subprocess
import sys
import time

import numpy as np
import pytest

from scalingeq.datasets.readers import text

LINES = 1_000_000
#: Least lines in a second, or else least speed in that of ``re``; most bytes held at a time beyond thrice the result's.
SPEED, RATIO, BYTES = 300_000, 0.5, 16e6
NUMBER = rb"([-+.\w]+)"
LOGS = {
    "llm.c": (
        "s:{n} trl:{loss:.4f} lr:{rate:.6f} norm:{norm:.2f}\n",
        rb"s:%b trl:%b lr:%b norm:%b" % ((NUMBER,) * 4),
    ),
    "nanoGPT": (
        "iter {n}: loss {loss:.4f}, time {time:.2f}ms, mfu {norm:.2f}%\n",
        rb"iter %b: loss %b, time ([.0-9]+)ms, mfu ([.0-9]+)%%" % ((NUMBER,) * 2),
    ),
    "modded-nanogpt": (
        "step:{n}/1000000 train_loss:{loss:.4f} train_time:{n}ms step_avg:{time:.2f}ms\n",
        rb"step:%b/%b train_loss:%b train_time:([0-9]+)ms step_avg:([.0-9]+)ms" % ((NUMBER,) * 3),
    ),
    "Megatron-LM": (
        " iteration {n:8d}/ 1000000 | consumed samples: {n:12d} | elapsed time per iteration (ms): {time:.1f} |"
        " learning rate: {rate:.6E} | global batch size:   512 | lm loss: {loss:.6E} | loss scale: 1.0 | grad norm: {norm:.3f} |\n",
        rb" iteration +%b/ +%b \| consumed samples: +%b \| elapsed time per iteration \(ms\): +%b \|"
        rb" learning rate: +%b \| global batch size: +%b \| lm loss: +%b \| loss scale: +%b \| grad norm: +%b \|"
        % ((NUMBER,) * 9),
    ),
}


@pytest.fixture
def log(request, tmp_path):
    line, pattern = LOGS[request.param]
    rng = np.random.default_rng(0)
    loss, rate, norm, times = rng.random((4, 10_000)) + np.array([[3], [0], [1], [200]])
    path = tmp_path / "x.log"
    with open(path, "w") as file:
        for start in range(0, LINES, 10_000):
            values = zip(range(start, start + 10_000), loss, rate, norm, times, strict=True)
            file.writelines(line.format(n=n, loss=a, rate=b, norm=c, time=d) for n, a, b, c, d in values)
    return request.param, path, re.compile(pattern)


def seconds(function):
    start = time.process_time()
    function()
    return time.process_time() - start


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("log", LOGS, indirect=True)
def test_a_million_lines(benchmark, log):
    name, path, pattern = log
    benchmark.pedantic(lambda: next(text.read(path)), rounds=3, warmup_rounds=1)
    lines = path.read_bytes().splitlines()
    matching = seconds(lambda: [pattern.match(line).groups() for line in lines])
    numbers = seconds(lambda: [[*map(float, pattern.match(line).groups())] for line in lines])
    took = benchmark.stats.stats.median
    speed = LINES / took
    benchmark.extra_info.update(
        case=f"{name}, 1,000,000 lines", lines_per_second=speed, ratio_to_re=numbers / took, ratio_to_matching=matching / took,
    )  # fmt: skip
    assert speed >= SPEED or numbers / took >= RATIO


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of a process from /proc")
@pytest.mark.parametrize("log", ["modded-nanogpt"], indirect=True)
def test_memory_is_bounded_by_the_result(record_property, log):
    _, path, _ = log
    code = (
        "import re, sys; from scalingeq.datasets.readers import text\n"
        # The peak of this process alone: that of getrusage is inherited from the one that starts it.
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "before = peak()\n"
        "(log,) = text.read(sys.argv[1])\n"
        "print(1024 * (peak() - before), sum(values.nbytes for values in log.columns.values()))"
    )
    output = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True).stdout
    peak, result = map(int, output.split())
    record_property(
        "memory", {"text log of 1,000,000 lines": {"peak": peak, "result": result, "log": path.stat().st_size}}
    )
    assert peak < 3 * result + BYTES
