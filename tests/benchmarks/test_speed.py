"""Speed of the theory in units of its least arithmetic (conftest), and its memory.

Run with ``pytest tests/benchmarks --benchmark-only``; ``python tests/benchmarks/report.py`` writes the table.
"""

import itertools
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from scalingeq.theory import PowerLaw, flow_loss, loss_curve

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
#: What `loss_curve` is given.
SETTINGS = {
    "one pass": {"batch_size": 8},
    "finite data, full batches": {"samples": 3e4},
    "finite data, small batches": {"samples": 3e4, "batch_size": 8},
}
#: Exponents of spectra that are met for the first time.
ALPHAS = itertools.count(1.5, 1e-6)
# What is aimed at for a value with its derivatives, in units of the value alone.
WITH_DERIVATIVES = 2.5


@pytest.mark.parametrize("name", CASES)
def test_flow_loss(in_units, name, loops):
    arguments, curves, targets = CASES[name]
    spectrum, target = PowerLaw(1.5, 0.4, MODES), targets[loops == "compiled"]
    in_units(f"{name}, {loops}", lambda: flow_loss(TIMES, spectrum, **arguments), curves=curves, target=target)


def test_flow_loss_of_another_spectrum_each_time(in_units, loops):
    """As a fit asks for it: nothing but the times is remembered."""

    def fresh():
        return flow_loss(TIMES, PowerLaw(next(ALPHAS), 0.4, MODES), width=1e4, noise_rate=0.1)

    in_units(f"one pass, another spectrum each time, {loops}", fresh, target=30)


def test_loss_curve(in_units, loops):
    spectrum, settings = PowerLaw(1.5, 0.4, MODES), {"width": 1e4, "batch_size": 8, "learning_rate": 0.5}
    case, target = f"loss_curve with its check of stability, one pass, {loops}", 3 if loops == "compiled" else 25
    in_units(case, lambda: loss_curve(TIMES, spectrum, **settings), target=target)


@pytest.fixture
def with_derivatives(record_property, turns, guard, loops):
    """Time a function with and without derivatives, in turns; record how many times as long it takes with them."""

    def run(case, function):
        seconds = turns(function, lambda: function(jacobian=True))
        ratio = float(np.median(seconds[1] / seconds[0]))
        record_property("ratios", {f"{case}, {loops}: with derivatives over without": (ratio, WITH_DERIVATIVES)})
        assert ratio < guard * WITH_DERIVATIVES

    return run


@pytest.mark.parametrize("name", CASES)
def test_derivatives(with_derivatives, name):
    with_derivatives(name, partial(flow_loss, TIMES, PowerLaw(1.5, 0.4, MODES), **CASES[name][0]))


@pytest.mark.parametrize("name", SETTINGS)
def test_derivatives_of_loss_curve(with_derivatives, name):
    """With respect to learning rate and batch size, among others, in the place of time and noise rate."""
    settings = {"width": 1e4, "learning_rate": 0.5} | SETTINGS[name]
    with_derivatives(f"loss_curve, {name}", partial(loss_curve, TIMES, PowerLaw(1.5, 0.4, MODES), **settings))


@pytest.mark.parametrize("name", CASES)
def test_memory(record_property, name):
    """Peak of what the computation allocates, in MB: in a thread of its own, which finds no room kept from before."""
    spectrum = PowerLaw(1.5, 0.4, MODES)
    tracemalloc.start()
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(flow_loss, TIMES, spectrum, **CASES[name][0]).result()
        peak = tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
    record_property("peak_mb", {name: peak})
    assert peak < 50
