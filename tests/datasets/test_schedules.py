"""Schedules from logs: what the rate was between and before the logged steps, and what that is worth in the loss."""

import numpy as np
import pytest
import xarray as xr

from scalingeq.datasets import check, is_constant_rate, to_curves
from scalingeq.datasets.schedules import find_schedule, tokens_seen
from scalingeq.errors import DataError
from scalingeq.theory import PowerLaw, Schedule, scheduled_loss

LAST, WARM_UP, PEAK = 10_000, 500, 0.5


def cosine(step):
    return PEAK * (0.55 + 0.45 * np.cos(np.pi * (step - WARM_UP) / (LAST - WARM_UP)))


def warmup_stable_decay(step):
    return PEAK * np.minimum(1.0, (LAST - step) / 2000)


SCHEDULES = {"cosine": cosine, "warm-up, stable, decay": warmup_stable_decay}


def rate_at(after, step):
    return np.where(step < WARM_UP, PEAK * step / WARM_UP, after(np.maximum(step, WARM_UP)))


def record(rate, step, batch=8.0, **more):
    """Two runs of different sizes on one schedule."""
    coords = {
        "run": ["small", "large"], "step": step, "params": ("run", [1e4, 1e5]), "learning_rate": ("step", rate),
        "batch_size": ("step", np.broadcast_to(batch, np.shape(step))),
    }  # fmt: skip
    return xr.Dataset({"loss": (("run", "step"), np.ones((2, len(step))))}, coords | more)


@pytest.mark.parametrize("first", [100, 600], ids=["log from within the warm-up", "log from after the warm-up"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_log_of_every_hundredth_step_gives_the_losses_of_the_whole_schedule(name, first):
    """Against the sum over all optimiser steps: within 1e-4 of the loss at every logged step after the warm-up."""
    every = np.arange(LAST) + 0.5
    dense = Schedule.of_steps(rate_at(SCHEDULES[name], every), 0.3 * rate_at(SCHEDULES[name], every))
    logged = np.arange(first, LAST + 1, 100.0)
    found = to_curves(record(rate_at(SCHEDULES[name], logged), logged, 1 / 0.3, warmup_steps=WARM_UP)).schedules[0]
    asked = logged[logged > WARM_UP]
    losses = [scheduled_loss(asked, schedule, PowerLaw(1.5, 0.3), width=300) for schedule in (dense, found)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_without_the_warm_up_the_loss_would_be_another():
    """What the test above can see: leaving out ``warmup_steps`` moves the first losses by more than a tenth."""
    logged = np.arange(600, LAST + 1, 100.0)
    losses = [
        scheduled_loss(
            logged, to_curves(record(rate_at(cosine, logged), logged, **more)).schedules[0], PowerLaw(1.5, 0.3)
        )
        for more in ({}, {"warmup_steps": WARM_UP})
    ]
    assert losses[0][0] < 0.9 * losses[1][0]


@pytest.mark.parametrize(
    ("first", "warmup", "knots", "rates"),
    [
        (10.0, 0.0, [0, 10, 20], [4, 4, 2]),
        (10.0, 6.0, [0, 6, 10, 20], [0, 4, 4, 2]),
        (10.0, 10.0, [0, 10, 20], [0, 4, 2]),
        (10.0, 15.0, [0, 10, 20], [0, 4, 2]),
        (0.0, 6.0, [0, 20], [4, 2]),
        (0.0, 0.0, [0, 20], [4, 2]),
    ],
)
def test_before_the_log(first, warmup, knots, rates):
    schedule = find_schedule(np.array([first, 20.0]), np.array([4.0, 2.0]), np.array([8.0, 4.0]), warmup)
    assert schedule.step.tolist() == knots
    assert schedule.rate.tolist() == rates
    batch = np.append(np.full(len(knots) - 1, 8.0), 4.0)
    np.testing.assert_array_equal(schedule.noise_rate, schedule.rate / batch)


def test_runs_of_one_schedule_share_it():
    step = np.array([100.0, 200.0, 300.0])
    curves = to_curves(record([0.5, 0.3, 0.1], step))
    assert curves.schedules[0] is curves.schedules[1]
    assert curves.learning_rate.tolist() == [0.5, 0.5]
    own = record([0.5, 0.3, 0.1], step)
    own = own.assign_coords(learning_rate=own.learning_rate * xr.DataArray([1.0, 2.0], dims="run"))
    other = to_curves(own).schedules
    assert other[0] is not other[1]
    np.testing.assert_array_equal(other[1].rate, 2 * other[0].rate)


def test_every_shape_gives_the_same_schedules():
    step, rate = np.array([100.0, 200.0, 300.0]), np.array([0.5, 0.3, 0.1])
    grid = record(rate, step)
    fixed = {"run": grid.run, "params": grid.params, "batch_size": 8.0}
    padded = xr.Dataset(
        {"loss": (("run", "obs"), np.ones((2, 4)))},
        {name: (("run", "obs"), np.tile(np.append(values, np.nan), (2, 1))) for name, values in
         (("step", step), ("learning_rate", rate))} | fixed,
    )  # fmt: skip
    padded["loss"] = padded.loss.where(padded.step.notnull())
    ragged = xr.Dataset(
        {"loss": ("obs", np.ones(6))},
        {"step": ("obs", np.tile(step, 2)), "learning_rate": ("obs", np.tile(rate, 2)), "row_size": ("run", [3, 3])}
        | fixed,
    )
    single = grid.isel(run=0, drop=True).assign_coords(params=1e4)
    for ds in (padded, ragged, single):
        for found, expected in zip(to_curves(ds).schedules[0].knots, to_curves(grid).schedules[0].knots, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_a_constant_rate_over_the_steps_is_a_constant_rate():
    step = np.array([100.0, 200.0, 300.0])
    arrays = to_curves(record([0.5, 0.5, 0.5], step))
    numbers = to_curves(record([0.5, 0.5, 0.5], step).assign_coords(learning_rate=0.5, batch_size=8.0))
    assert not arrays.schedules
    for name in ("learning_rate", "batch_size", "tokens"):
        np.testing.assert_array_equal(getattr(arrays, name), getattr(numbers, name))
    # A warm-up that the log sees is no schedule either.
    assert not to_curves(record([0.1, 0.5, 0.5], step, warmup_steps=150.0)).schedules


def test_tokens_are_the_sum_of_the_batch_size():
    step = np.arange(100.0, 1001.0, 100.0)
    batch = np.where(step <= 500, 8.0, 16.0)
    curves = to_curves(record(np.full(10, 0.5), step, batch))
    np.testing.assert_allclose(
        curves.tokens[curves.run == 1], np.cumsum(np.append(800.0, 50 * (batch[1:] + batch[:-1])))
    )
    assert curves.batch_size.tolist() == [curves.tokens[-1] / 1000] * 2
    np.testing.assert_allclose(curves.schedules[0].noise_rate[1:], 0.5 / batch)
    # Where between the two logged steps it rose is not known: both ends are believed, more is not.
    for early in (0.0, 1.0):
        exact = 8.0 * step + 8.0 * np.clip(step - (600 - 100 * early), 0, None)
        check(record(np.full(10, 0.5), step, batch, tokens=("step", exact)))
    with pytest.raises(DataError, match="tokens: not the sum of batch_size over the steps in run 'small'"):
        check(record(np.full(10, 0.5), step, batch, tokens=("step", 8.0 * step)))
    run = np.array([0, 0, 1, 1])
    seen, unsure = tokens_seen(run, np.array([2.0, 4.0, 3.0, 5.0]), np.array([1.0, 3.0, 2.0, 2.0]))
    assert seen.tolist() == [2, 6, 6, 10]
    assert unsure.tolist() == [0, 2, 0, 0]


@pytest.mark.parametrize("value", [np.nan, -0.1, np.inf])
def test_bad_rates_are_named_with_run_and_step(value):
    ds = record([0.5, 0.3, 0.1], np.array([100.0, 200.0, 300.0]))
    rate = np.tile([0.5, 0.3, 0.1], (2, 1))
    rate[1, 1] = value
    with pytest.raises(DataError, match=r"learning_rate: not a positive number in run 'large' \(1 value.*at step 200"):
        check(ds.assign_coords(learning_rate=(("run", "step"), rate)))


def test_a_rate_may_end_at_zero_but_not_be_zero():
    step = np.array([100.0, 200.0, 300.0])
    ds = record([0.5, 0.3, 0.0], step)
    assert to_curves(ds).schedules[0].rate.tolist() == [0.5, 0.5, 0.3, 0.0]
    assert not is_constant_rate(ds).any()
    with pytest.raises(DataError, match="learning_rate: not a positive number"):
        check(record([0.0, 0.0, 0.0], step))
