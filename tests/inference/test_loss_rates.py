"""Rates over a power of the loss: against an integration in time of its own, in fits, and where they cannot be had."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline

from scalingeq import FitError, ParameterError
from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.fitting import default_parameters, default_weights, fit_two_point
from scalingeq.inference.loss_rates import rates_over_loss
from scalingeq.inference.planning import Limits, Planner
from scalingeq.inference.twopoint import complete
from scalingeq.inference.twopoint_frontier import frontier
from scalingeq.inference.uncertainty import predicted_band
from scalingeq.theory.schedule import Schedule

LAW = complete(dict(alpha=1.5, r=0.35, irreducible=0.05, time_scale=0.5, width_scale=100.0, width_exponent=0.6))


def planned(sizes=(1e4,), points=40, schedules=None):
    count = len(sizes)
    step, run, one = np.tile(np.geomspace(30, 1e5, points), count), np.repeat(np.arange(count), points), np.ones(count)
    unknown = np.full(step.size, np.nan)
    names = np.array([f"run {number}" for number in range(count)])
    return TrainingCurves(
        run, step, 8 * step, unknown, unknown, names, np.array(sizes), 0.1 * one, 8 * one, np.inf * one, 0 * one,
        schedules or {},
    )  # fmt: skip


@pytest.mark.parametrize("exponent", [0.25, 0.5])
@pytest.mark.parametrize("decay", [False, True])
def test_rates_and_losses_agree(exponent, decay):
    """dt/dstep = time_scale rate / L(t)^exponent, solved step by step with the loss of gradient flow in t."""
    schedule = (
        Schedule([0, 5e4, 1e5], [0.1, 0.1, 0.01], np.zeros(3)) if decay else Schedule([0, 1e5], [0.1, 0.1], [0, 0])
    )
    time = np.geomspace(1e-3, 1e6, 400)
    curves = planned(schedules={0: schedule} if decay else None)
    law = LAW | {"loss_exponent": exponent}
    # The plain law at a rate of one tells the loss at any intrinsic time.
    clock = replace(
        curves, run=np.zeros(time.size, int), step=time, tokens=time, loss=time, loss_stderr=time, schedules={}
    )
    clock = replace(clock, learning_rate=np.ones(1), batch_size=np.full(1, np.inf))
    loss_at = CubicSpline(np.log(time), np.log(predicted_band(LAW | {"time_scale": 1.0}, None, clock, 1e4)[0]))

    def rate(step):
        return np.interp(step, schedule.step, schedule.rate)

    found = solve_ivp(
        lambda step, t: 0.5 * rate(step) * np.exp(-exponent * loss_at(np.log(np.maximum(t, 1e-3)))),
        (0, 1e5), [0.0], t_eval=curves.step, rtol=1e-8, atol=1e-8,
    )  # fmt: skip
    expected = np.exp(loss_at(np.log(found.y[0])))
    loss, _ = predicted_band(law, None, curves, 1e4)
    np.testing.assert_allclose(loss, expected, rtol=1e-3)


def test_a_jump_stays_one():
    curves = replace(
        planned(schedules={0: Schedule([0, 10, 10, 1e5], [0.1, 0.1, 0.01, 0.01], np.zeros(4))}), loss=np.full(40, 4.0)
    )
    schedule = rates_over_loss(curves, curves, 0.5).schedules[0]
    np.testing.assert_allclose(schedule.rate[schedule.step == 10], [0.05, 0.005])
    np.testing.assert_allclose(schedule.time(1e4), 0.05 * 10 + 0.005 * (1e4 - 10))


def test_a_fit_finds_the_law_behind_such_rates():
    """Losses of the law with 0.2 % of noise: held at its exponent the fit finds r, and at 0 another."""
    curves = planned(sizes=(1e4, 1e5, 1e6, 1e7))
    loss, _ = predicted_band(LAW | {"loss_exponent": 0.5}, None, curves, 1e4)
    curves = replace(curves, loss=loss * np.exp(0.002 * np.random.default_rng(0).standard_normal(loss.size)))
    fits = []
    for exponent in (0.5, 0.0):
        params, _ = default_parameters(curves)
        params["loss_exponent"].set(value=exponent)
        fits.append(fit_two_point(curves, params))
    right, wrong = fits
    assert abs(right.params["r"].value - LAW["r"]) < 3 * right.params["r"].stderr
    assert abs(wrong.params["r"].value - LAW["r"]) > 3 * wrong.params["r"].stderr
    predicted, _ = predicted_band(right.params.valuesdict(), right.covariance, curves, right.reference_params)
    fitted = default_weights(curves) > 0
    np.testing.assert_allclose(predicted[fitted], loss[fitted], rtol=0.005)


def test_what_is_not_there_is_refused():
    law = LAW | {"loss_exponent": 0.5}
    with pytest.raises(ParameterError, match=r"loss_exponent: 0\.5 makes rates depend on the loss"):
        frontier(law, np.array([1e14]), reference_params=1e4, learning_rate=0.1, batch_size=8.0)
    with pytest.raises(ParameterError, match=r"loss_exponent: 0\.5 makes rates depend on the loss"):
        Planner(law, None, 1e14, 1e4, Limits((1e-3, 1e-2), (100.0, 1e5)))
    curves = replace(planned(sizes=(1e4, 1e5, 1e6)), loss=np.ones(120))
    params, _ = default_parameters(curves)
    params["loss_exponent"].set(value=0.5, vary=True)
    with pytest.raises(FitError, match="loss_exponent: cannot be fitted"):
        fit_two_point(curves, params)
