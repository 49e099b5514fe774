"""Derivatives of losses under schedules against central differences, and the loops of schedules in both forms."""

import math

import numpy as np
import pytest

from scalingeq.errors import ParameterError
from scalingeq.theory import PowerLaw, Schedule, Spectrum, compiled, loss_curve, panels, scheduled_loss
from scalingeq.theory.scheduled import Assigned
from scalingeq.theory.scheduled_runs import losses_of_runs, slopes_of_runs

DROP = Schedule([0, 200, 1200, 1200, 2000], [0.05, 0.5, 0.5, 0.3, 0.0], [0.01, 0.1, 0.1, 0.06, 0.02])
STEPS = np.array([0.0, 1.0, 10.5, 55.0, 300.0, 1000.0, 1300.0, 1990.0])
#: The innermost loops in NumPy, and compiled.
pytestmark = pytest.mark.usefixtures("loops")
VALUES = {"alpha": 1.5, "r": 0.4, "width": 300.0, "samples": 800.0, "noise_variance": 0.1}


def central(function, step):
    """Derivative at 0 by central differences of the fourth order."""
    near, far = (function(h) - function(-h) for h in (step, 2 * step))
    return (8 * near - far) / (12 * step)


def loss(schedule=DROP, steps=STEPS, kind="test", ridge=0.0, jacobian=False, direction=None, **changed):
    values = VALUES | changed
    spectrum = PowerLaw(values.pop("alpha"), values.pop("r"), 1e9)
    more = {"jacobian": True, "direction": direction} if jacobian else {}
    return scheduled_loss(steps, schedule, spectrum, kind=kind, ridge=ridge, **values, **more)


@pytest.mark.parametrize(
    "case",
    [
        {"samples": math.inf},
        {"samples": math.inf, "width": math.inf, "ridge": 1e-3},
        {},
        {"width": math.inf, "noise_variance": 0.0},
        {"kind": "train", "ridge": 1e-3},
    ],
)
def test_slopes_are_central_differences(case):
    rng = np.random.default_rng(0)
    rate, noise_rate = (0.1 * rng.standard_normal(5) * values + 0.002 for values in (DROP.rate, DROP.noise_rate))
    rate[-1] = 0.0
    value, slopes = loss(**case, jacobian=True, direction=(rate, noise_rate))
    np.testing.assert_allclose(value, loss(**case), rtol=1e-9)
    at = VALUES | case
    expected = {
        name: central(lambda h, name=name: loss(**(case | {name: at[name] * (1 + h)})), 2e-3) / at[name]
        for name in VALUES
        if math.isfinite(at[name]) and at[name]
    }
    if not at["noise_variance"]:
        expected["noise_variance"] = loss(**(case | {"noise_variance": 1.0})) - value
    # Panels change where a schedule is made anew, but not in multiples of one and the same.
    expected["rate"] = central(lambda h: loss(DROP.scaled(1 + h, 1.0), **case), 2e-3)
    expected["noise_rate"] = central(lambda h: loss(DROP.scaled(1.0, 1 + h), **case), 2e-3)
    moved = [Schedule(DROP.step, DROP.rate + h * rate, DROP.noise_rate + h * noise_rate) for h in (-0.01, 0.01)]
    for name, slope in expected.items():
        np.testing.assert_allclose(slopes[name], slope, rtol=1e-6, atol=1e-6 * np.abs(slope).max(), err_msg=name)
    for name in {"width", "samples"} - set(expected):
        np.testing.assert_array_equal(slopes[name], 0.0)
    along = np.subtract(*(loss(schedule, **case) for schedule in moved[::-1])) / 0.02
    np.testing.assert_allclose(slopes["direction"], along, rtol=2e-4, atol=1e-4 * np.abs(along).max())
    inner = STEPS[1:-1] + 0.2
    by_steps = central(lambda h: loss(steps=np.append(inner + h, STEPS[-1]), **case)[:-1], 5e-3)
    slope = loss(steps=np.append(inner, STEPS[-1]), **case, jacobian=True)[1]["steps"][:-1]
    np.testing.assert_allclose(slope, by_steps, rtol=2e-5)


def test_a_direction_along_the_schedule_is_a_factor_of_it():
    for rates, name in (((DROP.rate, 0 * DROP.rate), "rate"), ((0 * DROP.rate, DROP.noise_rate), "noise_rate")):
        slopes = loss(jacobian=True, direction=rates)[1]
        np.testing.assert_allclose(slopes["direction"], slopes[name], rtol=1e-9, atol=1e-13)


def test_rates_of_every_step_and_many_curves():
    spectrum, steps = PowerLaw(1.4, 0.5, 1e6), np.array([1, 10, 100, 400])
    cosine = 0.4 * (1 + np.cos(np.pi * (np.arange(400) + 0.5) / 400)) / 2
    settings = {"batch_size": 4.0, "width": [50, math.inf], "samples": [math.inf, 70], "momentum": 0.5}

    def of(rate=1.0, batch=1.0):
        return loss_curve(steps, spectrum, learning_rate=rate * cosine, **(settings | {"batch_size": 4.0 * batch}))

    value, slopes = loss_curve(steps, spectrum, learning_rate=cosine, **settings, jacobian=True)
    assert list(slopes) == [
        "alpha", "r", "width", "samples", "noise_variance", "learning_rate", "batch_size", "steps",
    ]  # fmt: skip
    np.testing.assert_allclose(value, of(), rtol=1e-9)
    for name, expected in (
        ("learning_rate", central(lambda h: of(rate=1 + h), 1e-2)),
        ("batch_size", central(lambda h: of(batch=1 + h), 1e-2) / 4.0),
    ):
        np.testing.assert_allclose(slopes[name], expected, rtol=2e-6, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("samples", [math.inf, 500.0])
def test_constant_rates_as_arrays_have_the_slopes_of_these_rates(samples):
    spectrum, steps = PowerLaw(1.5, 0.4, 1e9), np.array([1, 10, 100, 1000])
    settings = {"width": 300, "samples": samples, "noise_variance": 0.1, "jacobian": True}
    arrays = loss_curve(steps, spectrum, learning_rate=np.full(1000, 0.4), batch_size=np.full(1000, 5.0), **settings)
    numbers = loss_curve(steps, spectrum, learning_rate=0.4, batch_size=5.0, **settings)
    for name, slope in arrays[1].items():
        expected = numbers[1][name] * {"learning_rate": 0.4, "batch_size": 5.0}.get(name, 1.0)
        np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max(), err_msg=name)


def test_a_measured_spectrum_has_slopes_of_its_sizes_alone():
    spectrum = Spectrum([1.0, 0.5, 0.1], [1.0, 0.3, 0.2])
    _, slopes = scheduled_loss([10.0, 100.0], DROP, spectrum, width=20, jacobian=True)
    assert list(slopes) == ["width", "samples", "noise_variance", "rate", "noise_rate", "steps"]


def test_slopes_refuse():
    spectrum = PowerLaw(1.5, 0.4)
    for options, text in (
        ({"dynamics": "discrete"}, "gradient flow"),
        ({"ensemble": (2, 1)}, "gradient flow"),
        ({"samples": 50, "ridge": 0.1}, "ridge"),
    ):
        with pytest.raises(ParameterError, match=text):
            loss_curve([10], spectrum, learning_rate=np.full(20, 0.1), jacobian=True, **options)
    with pytest.raises(ParameterError, match="direction has shapes"):
        scheduled_loss([10.0], DROP, spectrum, jacobian=True, direction=([0.1], [0.1]))


def test_no_steps_and_no_rates():
    still = Schedule([0, 10], [0.0, 0.0], [0.1, 0.1])
    value, slopes = scheduled_loss([0.0, 5.0], still, PowerLaw(1.5, 0.4), width=30, jacobian=True)
    np.testing.assert_array_equal(value, value[0])
    np.testing.assert_allclose(slopes["noise_variance"], 1.0)
    for name in ("width", "rate", "noise_rate", "steps"):
        np.testing.assert_allclose(slopes[name], 0.0, atol=1e-7)


@pytest.mark.parametrize("loops", ["compiled"], indirect=True)
@pytest.mark.parametrize("samples", [math.inf, 300.0])
def test_both_forms_give_the_same_numbers(loops, samples, monkeypatch):
    rate = 0.5 * (1 + np.cos(np.pi * np.arange(3000) / 3000)) / 2
    settings = {"learning_rate": rate, "batch_size": 8, "width": 200, "samples": samples, "noise_variance": 0.1}
    steps = np.array([1, 2, 5, 100, 1000, 2999, 3000])
    fast = loss_curve(steps, PowerLaw(1.5, 0.4), **settings, jacobian=True)
    monkeypatch.setenv("SCALINGEQ_COMPILED", "0")
    compiled.loops.cache_clear()
    slow = loss_curve(steps, PowerLaw(1.5, 0.4), **settings, jacobian=True)
    np.testing.assert_allclose(fast[0], slow[0], rtol=1e-12)
    for name, slope in slow[1].items():
        np.testing.assert_allclose(fast[1][name], slope, rtol=1e-9, atol=1e-11 * np.abs(slope).max(), err_msg=name)


@pytest.mark.parametrize("samples", [math.inf, 800.0])
def test_slopes_where_stairs_of_single_steps_are_smoothed(samples):
    rate = 0.5 * np.minimum(1, (400 - np.arange(400)) / 80)
    # Its multiples share their panels.
    steps = Schedule.of_steps(rate, rate / 6).scaled(0.95, 0.7)
    at = np.array([1.0, 200.0, 320.0, 322.0, 330.0, 360.0, 400.0])

    def of(rate_factor=1.0, noise_factor=1.0, **changed):
        return loss(steps.scaled(rate_factor, noise_factor), at, samples=samples, **changed)

    _, slopes = of(jacobian=True)
    for name, change in (
        ("rate", "rate_factor"),
        ("noise_rate", "noise_factor"),
        ("alpha", "alpha"),
        ("width", "width"),
    ):
        value = VALUES.get(change, 1.0)
        expected = central(lambda h, change=change, value=value: of(**{change: value * (1 + h)}), 2e-3) / value
        np.testing.assert_allclose(slopes[name], expected, rtol=1e-6, err_msg=name)


def test_runs_at_once_are_the_runs_one_by_one(loops, monkeypatch):
    """Runs of several schedules, sizes and label noises, with panels so fine that they do not matter."""
    fine = {"GROWTH": 0.15, "FIRST": 0.1, "RESOLVED": 1e-10, "NOT_FELT": 1e-10}
    for constant, value in fine.items():
        monkeypatch.setattr(panels, constant, value)
    short = Schedule([0, 40, 60], [0.4, 0.4, 0.1], [0.05, 0.2, 0.1])
    still = Schedule([0, 10], [0.0, 0.0], [0.1, 0.1])
    schedules, which = [DROP, short, still], np.array([1, 0, 0, 2, 1, 0])
    steps = np.array([[0.0, 7.0, 60.0], [60.0, 900.0, 1999.0], [1.0, 2.0, 2000.0], [0.0, 4.0, 10.0]])[
        [0, 1, 1, 3, 0, 2]
    ]
    width, samples = np.array([50.0, math.inf, 200.0, 50.0, 80.0, 200.0]), np.array([math.inf] * 4 + [90.0, 400.0])
    noise = np.array([0.1, 0.0, 0.3, 0.1, 0.2, 0.1])
    directions = {"push": [tuple(0.1 * values for values in schedule.knots[1:]) for schedule in schedules]}
    runs = Assigned(schedules, which)
    sizes = {"width": width, "samples": samples, "noise_variance": noise}
    loss, slopes = slopes_of_runs(steps, runs, PowerLaw(1.5, 0.4), directions=directions, **sizes)
    np.testing.assert_allclose(losses_of_runs(steps, runs, PowerLaw(1.5, 0.4), **sizes), loss, rtol=1e-9)
    for run, schedule in enumerate(which):
        own = {name: value[run] for name, value in sizes.items()}
        one, expected = scheduled_loss(
            steps[run], schedules[schedule], PowerLaw(1.5, 0.4), **own, jacobian=True,
            direction=directions["push"][schedule],
        )  # fmt: skip
        np.testing.assert_allclose(loss[run], one, rtol=1e-8)
        expected["push"] = expected.pop("direction")
        assert set(slopes) == set(expected)
        for name, slope in expected.items():
            scale = np.abs(slope).max()
            np.testing.assert_allclose(slopes[name][run], slope, rtol=1e-6, atol=1e-7 * scale + 1e-20, err_msg=name)
    with pytest.raises(ParameterError, match="ends at step 10, before the last of its run's steps, 60"):
        losses_of_runs(steps[:1], Assigned(schedules, np.array([2])), PowerLaw(1.5, 0.4))


def test_a_varied_schedule_makes_do_with_the_panels_of_one_nearby():
    knots = np.linspace(0, 2000, 41)
    rate = 1e-3 + 0.5 * (1 + np.cos(np.pi * knots / 2000)) / 2
    near = Schedule(knots, rate, rate / 8).scaled(1.5, 0.8)
    powers = [values**1.03 for values in near.knots[1:]]
    varied, fresh = near.varied(*powers), Schedule(knots, *powers)
    for mine, expected in zip(varied.knots, fresh.knots, strict=True):
        np.testing.assert_allclose(mine, expected)
    np.testing.assert_array_equal(varied.panels(2000.0, 1.0).step, near.panels(2000.0, 1.0).step)
    at = np.array([1.0, 10.0, 500.0, 1500.0, 2000.0])
    losses = [scheduled_loss(at, schedule, PowerLaw(1.5, 0.4), width=100) for schedule in (varied, fresh)]
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_multiples_of_a_schedule_share_its_panels():
    schedule = DROP.scaled()
    once = schedule.panels(2000.0, 1.0)
    for factor in (0.9, 0.8):
        other = schedule.scaled(factor, 0.75)
        again = other.panels(2000.0, 1.0)
        np.testing.assert_array_equal(again.step, once.step)
        np.testing.assert_allclose(again.time, factor * once.time)
        np.testing.assert_allclose(again.noise, factor * 0.75 * once.noise)
