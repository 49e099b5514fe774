"""Runs on schedules and tests under covariate shift: the law against the theory itself, fits, and the frontier."""

from dataclasses import replace

import numpy as np
import pytest

from scalingeq.errors import DataError, FitError
from scalingeq.inference import twopoint
from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.fitting import default_parameters, default_weights, fit_two_point
from scalingeq.inference.objective import Objective
from scalingeq.inference.twopoint import Settings, complete, effective_schedule
from scalingeq.inference.twopoint_frontier import frontier
from scalingeq.inference.uncertainty import predicted_band
from scalingeq.theory import PowerLaw, Schedule, loss_curve, scheduled_loss

RESOLVED = 1e-6  # error of losses under schedules: a schedule that is scaled keeps the panels of its own
TRUTH = complete(
    dict(
        alpha=1.6, r=0.28, scale=2.0, irreducible=0.8, unlearnable=0.3, unlearnable_exponent=0.4, time_scale=20.0,
        width_scale=80.0, width_exponent=0.7, noise_scale=5000.0, samples_scale=1e-3,
    )
)  # fmt: skip
LAST, PEAK, BATCH, WARM_UP = 20_000.0, 0.01, 512.0, 100.0


def schedules(batch=BATCH):
    """Cosine, stable then decay, and a drop to a second stage, each after a linear warm-up."""
    step = np.concatenate([[0.0], np.linspace(WARM_UP, LAST, 200)])
    rates = (
        0.55 + 0.45 * np.cos(np.pi * (step - WARM_UP) / (LAST - WARM_UP)),
        np.minimum(1.0, 0.1 + (LAST - step) / 4000),
        np.where(step < 0.4 * LAST, 1.0, 0.2),
    )
    rates = [PEAK * np.where(step == 0, 0.0, rate) for rate in rates]
    return [Schedule(step, rate, rate / batch) for rate in rates]


def planned(which, *, sizes=(1e5,), points=40, dataset_size=np.inf):
    """Runs of every size on each of the schedules, ``None`` for a constant rate, without losses."""
    pairs = [(schedule, size) for schedule in which for size in sizes]
    runs = len(pairs)
    run, step = np.repeat(np.arange(runs), points), np.tile(np.geomspace(200, LAST, points).round(), runs)
    unknown = np.full(run.size, np.nan)
    return TrainingCurves(
        run, step, step * BATCH, unknown, unknown, np.array([f"run {n}" for n in range(runs)]),
        params=np.array([size for _, size in pairs]),
        learning_rate=np.full(runs, PEAK),
        batch_size=np.full(runs, BATCH),
        dataset_size=np.full(runs, dataset_size),
        warmup_steps=np.full(runs, WARM_UP),
        schedules={n: schedule for n, (schedule, _) in enumerate(pairs) if schedule is not None},
    )  # fmt: skip


def measured(curves, truth=TRUTH, noise=0.001):
    loss, _ = predicted_band(truth, None, curves, curves.params.min())
    errors = noise * np.random.default_rng(0).standard_normal(loss.size)
    return replace(curves, loss=loss * np.exp(errors))


def by_hand(law, curves, run, **more):
    """The law of one run, spelled out from the theory."""
    mine = curves.run == run
    given = curves.schedules[run]
    scaled = Schedule(given.step, law["time_scale"] * given.rate, law["noise_scale"] * given.noise_rate)
    ratio = curves.params[run] / curves.params.min()
    floor = law["irreducible"] + law["unlearnable"] * ratio ** -law["unlearnable_exponent"]
    return law["scale"] * scheduled_loss(
        curves.step[mine], scaled, PowerLaw(law["alpha"], law["r"]),
        width=law["width_scale"] * ratio ** law["width_exponent"],
        samples=law["samples_scale"] * curves.dataset_size[run],
        noise_variance=floor / law["scale"], **more,
    )  # fmt: skip


@pytest.mark.parametrize("dataset_size", [np.inf, 3e5], ids=["one pass", "repeated data"])
def test_the_law_of_scheduled_runs_is_the_theory(dataset_size):
    """One-pass runs and runs that repeat 300 effective samples, sizes that share a schedule, one constant among them."""
    curves = planned([*schedules()[:2], None], sizes=(1e4, 1e5), points=12, dataset_size=dataset_size)
    loss, _ = predicted_band(TRUTH, None, curves, 1e4)
    for run in curves.schedules:
        np.testing.assert_allclose(loss[curves.run == run], by_hand(TRUTH, curves, run), rtol=RESOLVED)


def test_a_constant_schedule_is_a_constant_rate():
    """The two ways of computation agree; the noise of the warm-up alone, which one leaves out, is seen early."""
    step = np.array([0.0, WARM_UP, LAST])
    warm = Schedule(step, PEAK * np.array([0, 1, 1]), PEAK / BATCH * np.array([0, 1, 1]))
    sharp = Schedule(step[[0, 2]], [PEAK, PEAK], [PEAK / BATCH] * 2)
    for schedule, warmup, tolerance in ((sharp, 0.0, 1e-7), (warm, WARM_UP, 3e-3)):
        curves = replace(planned([schedule, None]), warmup_steps=np.full(2, warmup))
        one, other = np.split(predicted_band(TRUTH, None, curves, 1e5)[0], 2)
        np.testing.assert_allclose(one, other, rtol=tolerance)


def test_observations_left_out_leave_the_schedule_whole():
    curves = planned(schedules()[:1])
    late = curves.step > 5000
    whole, _ = predicted_band(TRUTH, None, curves, 1e5)
    part, _ = predicted_band(TRUTH, None, curves.select(late), 1e5)
    np.testing.assert_allclose(part, whole[late], rtol=1e-6)


def test_a_fit_of_two_schedules_recovers_the_law():
    """Within 4 standard errors, and the schedules left out to 0.3 % after the transient that has no weight."""
    truth = TRUTH | {"width_scale": np.inf, "width_exponent": 0.0, "unlearnable": 0.0, "irreducible": 1.0}
    cosine, decay, drop = schedules()
    fit = fit_two_point(measured(planned([None, drop]), truth))
    for name in ("r", "alpha", "noise_scale", "irreducible"):
        found = fit.params[name]
        assert found.vary
        assert abs(found.value - truth[name]) < 4 * found.stderr, name
        assert found.stderr < 0.3 * truth[name], name
    other = planned([cosine, decay])
    expected, _ = predicted_band(truth, None, other, 1e5)
    loss, _ = predicted_band(fit.params.valuesdict(), fit.covariance, other, 1e5)
    used = other.step > 0.02 * LAST
    np.testing.assert_allclose(loss[used], expected[used], rtol=3e-3)


def test_a_fit_of_three_schedules_recovers_the_exponent_of_the_rate():
    truth = TRUTH | {"width_scale": np.inf, "width_exponent": 0.0, "unlearnable": 0.0, "irreducible": 1.0}
    truth["rate_exponent"] = 0.8
    cosine, _, drop = schedules()
    fit = fit_two_point(measured(planned([None, cosine, drop]), truth))
    found = fit.params["rate_exponent"]
    assert abs(found.value - 0.8) < 4 * found.stderr
    assert found.stderr < 0.2


def test_the_exponent_of_the_rate_acts_on_time_and_noise():
    """A power of a ramp of rates, to which knots are added, against a schedule of every step."""
    law = TRUTH | {"rate_exponent": 0.7, "width_scale": 300.0, "width_exponent": 0.0, "unlearnable": 0.0}
    ramp = np.array([0.0, WARM_UP, LAST])
    rate = np.array([0.0, PEAK, 0.05 * PEAK])
    acting = effective_schedule(Schedule(ramp, rate, rate / BATCH), law)
    step = np.arange(int(LAST)) + 0.5
    dense = 1e-3 * (np.interp(step, ramp, rate) / 1e-3) ** 0.7
    at = np.array([2 * WARM_UP, LAST / 2, LAST])
    expected = loss_curve(
        at, PowerLaw(law["alpha"], law["r"]), learning_rate=law["time_scale"] * dense, width=300,
        batch_size=law["time_scale"] / law["noise_scale"] * BATCH, noise_variance=0.1,
    )  # fmt: skip
    loss = scheduled_loss(at, acting, PowerLaw(law["alpha"], law["r"]), width=300, noise_variance=0.1)
    np.testing.assert_allclose(loss, expected, rtol=2e-4)


@pytest.mark.parametrize(("shift", "sizes"), [(0.0, (1e4, 3e4, 1e5)), (-0.2, (1e5,))])
def test_derivatives_agree_with_central_differences(shift, sizes):
    curves = measured(planned([*schedules()[:2], None], sizes=sizes, points=8))
    params, _ = default_parameters(curves)
    for name, parameter in params.items():
        if parameter.vary:
            parameter.set(value=TRUTH[name])
    params["shift"].set(value=shift, vary=True)
    objective = Objective(curves, default_weights(curves), 0.01, params)
    jacobian = objective.jacobian(params)
    for number, name in enumerate(objective.free):
        step = 3e-4 * max(abs(params[name].value), 0.1)
        sides = []
        for sign in (1, -1):
            moved = params.copy()
            moved[name].set(value=params[name].value + sign * step)
            sides.append(objective.residuals(moved))
        central = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(jacobian[:, number], central, atol=5e-3 * np.abs(central).max(), err_msg=name)


def test_a_ratio_that_changes_along_a_run_frees_the_noise():
    def is_free(schedule, last=LAST):
        curves = measured(planned([schedule]))
        return default_parameters(curves.select(curves.step <= last))[0]["noise_scale"].vary

    cosine, decay, _ = schedules()
    assert is_free(cosine)
    assert is_free(decay)
    # Before the decay, or with batches that shrink as the rate does, all is one ratio.
    assert not is_free(decay, last=15_000)
    assert not is_free(Schedule(cosine.step, cosine.rate, np.minimum(cosine.rate, PEAK / 10) / BATCH), last=15_000)
    # The warm-up is no second ratio.
    assert not is_free(Schedule([0, WARM_UP, LAST], [0, PEAK, 0.9 * PEAK], [0, PEAK / BATCH, PEAK / BATCH]))


def test_noise_that_never_is_stable_is_one_clear_error():
    curves = measured(planned(schedules()[:1]))
    params, _ = default_parameters(curves)
    params["noise_scale"].set(value=1e9, vary=False)
    with pytest.raises(FitError, match="noise_scale"):
        fit_two_point(curves, params)


def test_shift_is_another_test_spectrum():
    """Runs of constant rate and scheduled ones, against ``loss_curve`` and ``scheduled_loss`` with a test spectrum."""
    law = TRUTH | {"shift": -0.25}
    curves = replace(planned([schedules()[0], None], sizes=(1e4, 1e5), points=10), warmup_steps=np.zeros(4))
    loss, _ = predicted_band(law, None, curves, 1e4)
    test = PowerLaw(1.35, 0.28)
    for run in (0, 1):
        np.testing.assert_allclose(
            loss[curves.run == run], by_hand(law, curves, run, test_spectrum=test), rtol=RESOLVED
        )
    ratio = 10.0
    expected = 2 * loss_curve(
        curves.step[curves.run == 3], PowerLaw(1.6, 0.28), learning_rate=20 * PEAK, batch_size=20 * BATCH / 5000,
        width=80 * ratio**0.7, noise_variance=(0.8 + 0.3 * ratio**-0.4) / 2, test_spectrum=test,
    )  # fmt: skip
    np.testing.assert_allclose(loss[curves.run == 3], expected, rtol=1e-6)
    plain, _ = predicted_band(TRUTH, None, curves, 1e4)
    assert np.all(loss > 1.02 * plain)
    without = {name: value for name, value in TRUTH.items() if name != "shift"}  # as an older analysis has them
    np.testing.assert_array_equal(predicted_band(without, None, curves, 1e4)[0], plain)


def test_a_fit_under_shift_recovers_the_law():
    """Held at the truth, the other parameters are found within 4 standard errors; held at none, r is another."""
    truth = TRUTH | {
        "width_scale": np.inf,
        "width_exponent": 0.0,
        "unlearnable": 0.0,
        "noise_scale": 0.0,
        "shift": -0.2,
    }
    curves = measured(planned([None]), truth)
    found = {}
    for shift in (-0.2, 0.0):
        params, _ = default_parameters(curves)
        params["shift"].set(value=shift)
        params["alpha"].set(value=1.6, vary=False)
        found[shift] = fit_two_point(curves, params).params["r"]
    assert abs(found[-0.2].value - truth["r"]) < 4 * found[-0.2].stderr
    assert found[-0.2].stderr < 0.2 * truth["r"]
    # The loss falls as time**-(2 r + shift / alpha), which without the shift is read as another r.
    assert found[0.0].value - found[-0.2].value == pytest.approx(-0.2 / 3.2, abs=0.03)


@pytest.mark.parametrize("shift", [-0.7, -5.0, np.nan, np.inf])
def test_a_shift_outside_the_theory_is_refused(shift):
    with pytest.raises(DataError, match=r"shift: .*pass a"):
        complete(dict(alpha=1.5, r=0.3, shift=shift))


def test_a_shift_that_no_start_can_have_is_one_clear_error():
    curves = measured(planned([None]))
    params, _ = default_parameters(curves)
    params["shift"].set(value=-6.0)
    with pytest.raises(FitError, match="shift nearer to 0"):
        fit_two_point(curves, params)


def test_the_frontier_under_shift_is_the_minimum_over_a_grid():
    law = TRUTH | {"noise_scale": 0.0, "shift": -0.2}
    best = frontier(law, np.array([1e16]), reference_params=1e4, learning_rate=PEAK, batch_size=BATCH)
    sizes = best.params * np.exp(np.linspace(-1, 1, 21))
    one = np.ones(sizes.size)
    steps = 1e16 / (6 * sizes) / BATCH
    losses = twopoint.predict(law, Settings(steps[:, None], sizes, PEAK * one, BATCH * one, np.inf * one), 1e4)[:, 0]
    assert best.loss[0] <= losses.min() * (1 + 1e-7)
    assert losses.argmin() == 10
    plain = frontier(law | {"shift": 0.0}, np.array([1e16]), reference_params=1e4, learning_rate=PEAK, batch_size=BATCH)
    assert abs(np.log(best.params[0] / plain.params[0])) > 0.1
