"""Speed and accuracy of losses under schedules, in units of the least arithmetic that one curve needs (conftest)."""

import time

import numpy as np
import pytest

from scalingeq.theory import PowerLaw, loss_curve, panels

SPECTRUM, STEPS = PowerLaw(1.5, 0.4, 1e9), 20_000
SIZES = {"finite width": {"width": 1e4}, "finite width and data": {"width": 1e4, "samples": 3e4}}
#: Most units of a curve of 20,000 steps at finite width, of one of five times as many, and the relative error allowed.
LIMIT, GROWTH, ACCURACY = 150, 5.0, 1e-5


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
def test_twenty_thousand_steps(benchmark, unit, name, sizes):
    """The loss after every one of the steps."""
    settings = rates(name, STEPS) | SIZES[sizes]
    benchmark.pedantic(loss_curve, (np.arange(1.0, STEPS + 1), SPECTRUM), settings, rounds=15, warmup_rounds=2)
    ratio = benchmark.stats.stats.median / unit
    limit = LIMIT if sizes == "finite width" else None
    benchmark.extra_info.update(
        case=f"{name}, 20,000 steps, {sizes}", unit_ms=unit * 1e3, units_per_curve=ratio,
        milliseconds_per_curve=ratio * unit * 1e3, limit=limit or "",
    )  # fmt: skip
    assert limit is None or ratio < limit


def seconds(steps, name):
    settings, at, times = rates(name, steps) | {"width": 1e4}, np.arange(1.0, steps + 1), []
    for _ in range(9):
        start = time.perf_counter()
        loss_curve(at, SPECTRUM, **settings)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


@pytest.mark.parametrize("name", ["cosine", "plateau and decay"])
def test_time_grows_at_most_linearly(record_property, name):
    growth = seconds(5 * STEPS, name) / seconds(STEPS, name)
    record_property("growth", {name: growth})
    assert growth < GROWTH


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", ["cosine", "warm-up and cosine", "plateau and decay", "sharp drop", "batch ramp"])
def test_accuracy_against_fine_steps(record_property, monkeypatch, name, sizes):
    """Largest relative error beside panels of single steps, each of which is cut where it is long."""
    steps = 2000
    settings, at = rates(name, steps) | SIZES[sizes], np.arange(1.0, steps + 1)
    loss = loss_curve(at, SPECTRUM, **settings)
    monkeypatch.setattr(panels, "RESOLVED", -1.0)
    monkeypatch.setattr(panels, "NOT_FELT", -1.0)
    error = float(np.abs(loss / loss_curve(at, SPECTRUM, **settings) - 1).max())
    record_property("accuracy", {f"{name}, {sizes}": error})
    assert error < ACCURACY
