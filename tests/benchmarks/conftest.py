"""The yardstick of the benchmarks, measured in the same run as what it measures."""

import statistics
import time

import numpy as np
import pytest

from scalingeq.theory import compiled

#: A benchmark that misses its target is reported to do so; one that takes this many times as long fails.
GUARD = 3


@pytest.fixture
def unit():
    """The least arithmetic that one loss curve needs, the sums over its resolvents, as a function to be timed.

    A curve of 200 times over seven decades takes some 140 complex frequencies times 170 spectral nodes; at each one
    reciprocal, and two sums each of it and of its square.
    """
    rng = np.random.default_rng(0)
    kappa = rng.random((140, 1)) + 1j * rng.random((140, 1))
    eigenvalue = np.geomspace(1, 1e-13, 170)
    weights = np.column_stack([eigenvalue, eigenvalue**1.5]).astype(complex)

    def work():
        resolvent = 1 / (kappa + eigenvalue)
        return resolvent @ weights, (resolvent * resolvent) @ weights

    return work


@pytest.fixture
def guard() -> float:
    return GUARD


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
def in_units(turns, unit, guard, record_property):
    """Time a function in turn with the least arithmetic of a curve; record how many times as long it takes for each."""

    def run(case, function, *, curves=1, target=None, rounds=15):
        units, seconds = turns(unit, function, rounds=rounds)
        low, middle, high = np.quantile(seconds / units / curves, (0.25, 0.5, 0.75))
        times = {"ms": 1e3 * np.median(seconds) / curves, "unit_ms": 1e3 * np.median(units)}
        record_property("in_units", {case: {"units": middle, "low": low, "high": high, "target": target} | times})
        assert target is None or middle < guard * target

    return run


@pytest.fixture
def compare(turns, unit, record_property):
    """Time two functions in turn; record how many times as long the other takes, and return it.

    Where the other does but a share of the work, ``scale`` is how many times as long all of it takes.
    """

    def run(case, ours, other, *, target=None, most=None, rounds=15, scale=1.0):
        seconds, others, units = turns(ours, other, unit, rounds=rounds)
        low, middle, high = np.quantile(scale * others / seconds, (0.25, 0.5, 0.75))
        row = {"ratio": middle, "low": low, "high": high, "target": target}
        row |= {"units": np.median(seconds / units), "most": most, "ms": 1e3 * np.median(seconds)}
        record_property("comparisons", {case: row})
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
