"""Speed of the theory in units of its least arithmetic (conftest), and its memory.

Run with ``pytest tests/benchmarks --benchmark-only``; ``python tests/benchmarks/report.py`` writes the table.
"""

import itertools
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

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


@pytest.mark.parametrize("name", CASES)
def test_derivatives(record_property, turns, guard, name, loops):
    arguments, spectrum = CASES[name][0], PowerLaw(1.5, 0.4, MODES)
    seconds = turns(
        lambda: flow_loss(TIMES, spectrum, **arguments),
        lambda: flow_loss(TIMES, spectrum, **arguments, jacobian=True),
    )
    ratio = float(np.median(seconds[1] / seconds[0]))
    record_property("ratios", {f"{name}, {loops}: with derivatives over without": (ratio, WITH_DERIVATIVES)})
    assert ratio < guard * WITH_DERIVATIVES


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
