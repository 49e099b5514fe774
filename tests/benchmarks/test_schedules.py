"""Speed and accuracy of losses under schedules, in units of the least arithmetic that one curve needs (conftest)."""

import numpy as np
import pytest

from scalingeq.theory import PowerLaw, loss_curve, panels

SPECTRUM, STEPS = PowerLaw(1.5, 0.4, 1e9), 20_000
SIZES = {"finite width": {"width": 1e4}, "finite width and data": {"width": 1e4, "samples": 3e4}}
#: What is aimed at: units of a curve of 20,000 steps at finite width in NumPy and compiled, how many times as long five
#: times as many steps take, and how many times as long all derivatives.
TARGETS, GROWTH, SLOPES = {"NumPy": 100, "compiled": 12}, 2.0, 2.5
#: Largest relative error.
ACCURACY = 1e-6


def rates(name, steps):
    """Learning rate of each step, and batch size."""
    at = np.arange(steps)
    cosine = (1 + np.cos(np.pi * (at + 0.5) / steps)) / 2
    shape, batch = {
        "cosine": (cosine, 8.0),
        "warm-up and cosine": (np.minimum(1, (at + 1) / (steps // 20)) * cosine, 8.0),
        "plateau and decay": (np.minimum(1, (steps - at) / (steps // 5)), 8.0),
        "sharp drop": (np.where(at < 0.6 * steps, 1.0, 0.1), 8.0),
        "batch ramp": (np.ones(steps), np.where(at < steps // 2, 8.0, 64.0)),
    }[name]
    return {"learning_rate": 0.5 * shape, "batch_size": batch}


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", ["cosine", "plateau and decay"])
def test_twenty_thousand_steps(in_units, loops, name, sizes):
    """The loss after every one of the steps."""
    target = TARGETS[loops] if sizes == "finite width" else None
    in_units(f"{name}, 20,000 steps, {sizes}, {loops}", curve(rates(name, STEPS) | SIZES[sizes]), target=target)


def curve(settings):
    """One curve, to be timed."""
    at = np.arange(1.0, settings["learning_rate"].size + 1)
    return lambda: loss_curve(at, SPECTRUM, **settings)


@pytest.mark.parametrize("name", ["cosine", "plateau and decay"])
def test_five_times_the_steps_take_about_twice_the_time(record_property, turns, guard, loops, name):
    longer, shorter = turns(*(curve(rates(name, steps) | {"width": 1e4}) for steps in (5 * STEPS, STEPS)))
    growth = float(np.median(longer / shorter))
    record_property("growth", {f"{name}, {loops}": (growth, GROWTH)})
    assert growth < guard * GROWTH


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", ["cosine", "plateau and decay"])
def test_all_derivatives_cost_a_few_values(record_property, turns, guard, loops, name, sizes):
    settings = rates(name, STEPS) | SIZES[sizes]
    both, value = turns(curve(settings | {"jacobian": True}), curve(settings))
    cost = float(np.median(both / value))
    record_property("derivatives", {f"{name}, {sizes}, {loops}": (cost, SLOPES)})
    assert cost < guard * SLOPES


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", ["cosine", "warm-up and cosine", "plateau and decay", "sharp drop", "batch ramp"])
def test_accuracy_against_fine_steps(record_property, monkeypatch, name, sizes):
    """Largest relative error beside panels of single steps, each with its own rates: that of the panels alone.

    Both are gradient flow; what flow and discrete steps differ by is no error of the panels.
    """
    steps = 2000
    settings, at = rates(name, steps) | SIZES[sizes], np.arange(1.0, steps + 1)
    loss = loss_curve(at, SPECTRUM, **settings)
    monkeypatch.setattr(panels, "RESOLVED", -1.0)
    monkeypatch.setattr(panels, "NOT_FELT", -1.0)
    monkeypatch.setattr(panels, "STAIRS", 0.0)
    error = float(np.abs(loss / loss_curve(at, SPECTRUM, **settings) - 1).max())
    record_property("accuracy", {f"{name}, {sizes}": error})
    assert error < ACCURACY
