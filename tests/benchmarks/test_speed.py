"""Speed of the theory in units of its least arithmetic (conftest), and its memory.

Run with ``pytest tests/benchmarks --benchmark-only``; ``python tests/benchmarks/report.py`` writes the table.
"""

import statistics
import time
import tracemalloc

import numpy as np
import pytest

from scalingeq.theory import PowerLaw, flow_loss, loss_curve

#: Time of this process alone, whatever else the machine does.
pytestmark = pytest.mark.benchmark(timer=time.process_time)

TIMES = np.geomspace(1, 1e7, 200)
MODES = 1e9
WIDTHS = np.geomspace(10, 1e6, 64)

# What is computed: arguments of flow_loss, number of curves, and the units aimed at for a curve, in NumPy and compiled.
CASES = {
    "one pass, width 1e4": ({"width": 1e4, "noise_rate": 0.1}, 1, (22, 1.5)),
    "one pass, 64 widths at once": ({"width": WIDTHS, "noise_rate": 0.1}, 64, (3, 0.5)),
    "one pass, 64 noise rates at once": ({"width": 1e4, "noise_rate": np.linspace(0, 0.5, 64)}, 64, (1, 0.5)),
    "finite data, full batches": ({"width": 1e4, "samples": 3e4}, 1, (60, 20)),
    "finite data, train loss": ({"width": 1e4, "samples": 3e4, "noise_rate": 0.1, "kind": "train"}, 1, (22, 20)),
    "finite data, small batches": ({"width": 1e4, "samples": 3e4, "noise_rate": 0.1}, 1, (60, 20)),
    "finite data, small batches, 64 widths at once": (
        {"width": WIDTHS, "samples": 3e4, "noise_rate": 0.1},
        64,
        (60, 20),
    ),
}
# What is aimed at for a value with its derivatives, in units of the value alone.
WITH_DERIVATIVES = 2.5


@pytest.mark.parametrize("name", CASES)
def test_flow_loss(benchmark, unit, guard, name, loops):
    arguments, curves, targets = CASES[name]
    spectrum = PowerLaw(1.5, 0.4, MODES)
    benchmark.pedantic(flow_loss, (TIMES, spectrum), arguments, rounds=15, warmup_rounds=2)
    record(benchmark, unit, guard, f"{name}, {loops}", curves, targets[loops == "compiled"])


def test_flow_loss_of_another_spectrum_each_time(benchmark, unit, guard, loops):
    """As a fit asks for it: nothing but the times is remembered."""
    alphas = iter(1.5 + 1e-4 * np.arange(1000))

    def fresh():
        return (TIMES, PowerLaw(next(alphas), 0.4, MODES)), {"width": 1e4, "noise_rate": 0.1}

    benchmark.pedantic(flow_loss, setup=fresh, rounds=15, warmup_rounds=2)
    record(benchmark, unit, guard, f"one pass, another spectrum each time, {loops}", 1, 30)


def test_loss_curve(benchmark, unit, guard, loops):
    spectrum = PowerLaw(1.5, 0.4, MODES)
    benchmark.pedantic(
        loss_curve, (TIMES, spectrum), {"width": 1e4, "batch_size": 8, "learning_rate": 0.5}, rounds=15, warmup_rounds=2
    )
    target = 3 if loops == "compiled" else 25
    record(benchmark, unit, guard, f"loss_curve with its check of stability, one pass, {loops}", 1, target)


def interleaved(first, second, rounds=15):
    """Median seconds of two functions that take turns."""
    seconds = ([], [])
    for _ in range(rounds + 2):
        for function, found in zip((first, second), seconds, strict=True):
            start = time.process_time()
            function()
            found.append(time.process_time() - start)
    return [statistics.median(found[2:]) for found in seconds]


@pytest.mark.parametrize("name", CASES)
def test_derivatives(record_property, benchmark, guard, name, loops):
    arguments, spectrum = CASES[name][0], PowerLaw(1.5, 0.4, MODES)
    value, both = benchmark.pedantic(
        interleaved,
        (
            lambda: flow_loss(TIMES, spectrum, **arguments),
            lambda: flow_loss(TIMES, spectrum, **arguments, jacobian=True),
        ),
        rounds=1,
    )
    case = f"{name}, {loops}: with derivatives over without"
    record_property("ratios", {case: (both / value, WITH_DERIVATIVES)})
    assert both < guard * WITH_DERIVATIVES * value


@pytest.mark.parametrize("samples", [np.inf, 3e4])
def test_cost_is_flat_in_the_number_of_modes(record_property, benchmark, samples, loops):
    def curve(modes):
        return lambda: flow_loss(TIMES, PowerLaw(1.5, 0.4, modes), width=500, samples=samples, noise_rate=0.1)

    few, many = benchmark.pedantic(interleaved, (curve(1e3), curve(1e12)), rounds=1)
    record_property("ratios", {f"samples {samples:g}, {loops}: 1e12 modes over 1e3": (many / few, 1.5)})
    assert many < 1.5 * few


@pytest.mark.parametrize("size", ["times", "widths"])
def test_growth(record_property, benchmark, size, loops):
    """From 64 to 1024 times, or widths, the cost grows no faster than their number."""
    spectrum = PowerLaw(1.5, 0.4, MODES)

    def curve(count):
        time = np.geomspace(1, 1e7, count if size == "times" else 200)
        width = np.geomspace(10, 1e6, count if size == "widths" else 1)
        return lambda: flow_loss(time, spectrum, width=width, noise_rate=0.1)

    few, many = benchmark.pedantic(interleaved, (curve(64), curve(1024)), rounds=1)
    exponent = float(np.log(many / few) / np.log(16))
    record_property("ratios", {f"one pass, {loops}: exponent of growth with the {size}": (exponent, 1.1)})
    assert exponent < 1.1


def record(benchmark, unit, guard, name, curves, target):
    ratio = benchmark.stats.stats.median / unit / curves
    benchmark.extra_info.update(
        case=name, unit_ms=unit * 1e3, units_per_curve=ratio, milliseconds_per_curve=ratio * unit * 1e3, target=target
    )
    assert ratio < guard * target


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
