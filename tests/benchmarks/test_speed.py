"""Speed of the theory in units of its least arithmetic (conftest), and its memory.

Run with ``pytest tests/benchmarks --benchmark-only``; ``python tests/benchmarks/report.py`` writes the table.
"""

import tracemalloc

import numpy as np
import pytest

from scalingeq.theory import PowerLaw, flow_loss, loss_curve

TIMES = np.geomspace(1, 1e7, 200)
MODES = 1e9

# What is computed: arguments of flow_loss, number of curves, and the most units that a curve may take.
CASES = {
    "one pass, width 1e4": ({"width": 1e4, "noise_rate": 0.1}, 1, 50),
    "one pass, 64 widths at once": ({"width": np.geomspace(10, 1e6, 64), "noise_rate": 0.1}, 64, 50),
    "one pass, 64 noise rates at once": ({"width": 1e4, "noise_rate": np.linspace(0, 0.5, 64)}, 64, 50),
    "finite data, full batches": ({"width": 1e4, "samples": 3e4}, 1, 150),
    "finite data, train loss": ({"width": 1e4, "samples": 3e4, "noise_rate": 0.1, "kind": "train"}, 1, 150),
    "finite data, small batches": ({"width": 1e4, "samples": 3e4, "noise_rate": 0.1}, 1, 150),
}


@pytest.mark.parametrize("name", CASES)
def test_flow_loss(benchmark, unit, name):
    arguments, curves, limit = CASES[name]
    spectrum = PowerLaw(1.5, 0.4, MODES)
    benchmark.pedantic(flow_loss, (TIMES, spectrum), arguments, rounds=15, warmup_rounds=2)
    record(benchmark, unit, name, curves, limit)


def test_loss_curve(benchmark, unit):
    spectrum = PowerLaw(1.5, 0.4, MODES)
    benchmark.pedantic(
        loss_curve, (TIMES, spectrum), {"width": 1e4, "batch_size": 8, "learning_rate": 0.5}, rounds=15, warmup_rounds=2
    )
    record(benchmark, unit, "loss_curve with its check of stability, one pass", 1, 50)


def record(benchmark, unit, name, curves, limit):
    ratio = benchmark.stats.stats.median / unit / curves
    benchmark.extra_info.update(
        case=name, unit_ms=unit * 1e3, units_per_curve=ratio, milliseconds_per_curve=ratio * unit * 1e3, limit=limit
    )
    assert ratio < limit


@pytest.mark.parametrize("name", CASES)
def test_memory(record_property, name):
    """Peak of what the computation allocates, in MB."""
    spectrum = PowerLaw(1.5, 0.4, MODES)
    tracemalloc.start()
    try:
        flow_loss(TIMES, spectrum, **CASES[name][0])
        peak = tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
    record_property("peak_mb", {name: peak})
    assert peak < 50
