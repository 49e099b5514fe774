"""The yardstick of the benchmarks, measured in the same run as what it measures."""

import statistics
import time

import numpy as np
import pytest

from scalingeq.theory import compiled

#: A benchmark that misses its target is reported to do so; one that takes this many times as long fails.
GUARD = 3


def measure_unit(repeats: int = 41) -> float:
    """Median seconds of the least arithmetic that one loss curve needs: the sums over its resolvents.

    A curve of 200 times over seven decades takes some 140 complex frequencies times 170 spectral nodes; at each one
    reciprocal, and two sums each of it and of its square.
    """
    rng = np.random.default_rng(0)
    kappa = rng.random((140, 1)) + 1j * rng.random((140, 1))
    eigenvalue = np.geomspace(1, 1e-13, 170)
    weights = np.column_stack([eigenvalue, eigenvalue**1.5]).astype(complex)

    def seconds() -> float:
        start = time.process_time()
        resolvent = 1 / (kappa + eigenvalue)
        resolvent @ weights
        (resolvent * resolvent) @ weights
        return time.process_time() - start

    return statistics.median(seconds() for _ in range(repeats))


@pytest.fixture
def guard() -> float:
    return GUARD


@pytest.fixture
def unit() -> float:
    return measure_unit()


def take_turns(functions, rounds):
    """Processor seconds (function, round) of functions that take turns, after one round that does not count.

    What else the machine does is no matter to it. A short function is run again and again in its turn, for what it
    finds in the caches is not the other's doing: the median counts.
    """
    seconds = np.empty((len(functions), rounds + 1))
    for turn in range(rounds + 1):
        for number, function in enumerate(functions):
            found = []
            while len(found) < 21 and sum(found) < 0.1:
                start = time.process_time()
                function()
                found.append(time.process_time() - start)
            seconds[number, turn] = statistics.median(found)
    return seconds[:, 1:]


@pytest.fixture
def turns(benchmark):
    """The function above, run as a benchmark."""
    return lambda *functions, rounds=15: benchmark.pedantic(take_turns, (functions, rounds), rounds=1)


@pytest.fixture
def compare(turns, unit, record_property):
    """Time two functions in turn; record how many times as long the other takes, and return it.

    Where the other does but a share of the work, ``scale`` is how many times as long all of it takes.
    """

    def run(case, ours, other, *, target=None, most=None, rounds=15, scale=1.0):
        seconds = turns(ours, other, rounds=rounds)
        ratio = scale * seconds[1] / seconds[0]
        low, middle, high = np.quantile(ratio, (0.25, 0.5, 0.75))
        median = float(np.median(seconds[0]))
        row = {"ratio": middle, "low": low, "high": high, "target": target, "units": median / unit, "ms": 1e3 * median}
        record_property("comparisons", {case: row | {"most": most}})
        return middle

    return run


@pytest.fixture(params=["NumPy", "compiled"])
def loops(request, monkeypatch):
    """The innermost loops in NumPy, and compiled."""
    if request.param == "compiled":
        pytest.importorskip("numba", reason="compiled loops need the extra [fast]")
    monkeypatch.setenv("SCALINGEQ_COMPILED", "1" if request.param == "compiled" else "0")
    compiled.loops.cache_clear()
    yield request.param
    compiled.loops.cache_clear()
