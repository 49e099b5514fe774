"""The two-point fit: recovery of known parameters, derivatives, robustness and what it says of itself."""

import lmfit
import numpy as np
import pytest

from scalingeq import FitError
from scalingeq.inference import twopoint
from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.fitting import default_parameters, default_weights, fit_two_point
from scalingeq.inference.objective import Objective
from scalingeq.inference.twopoint import complete, settings_of
from scalingeq.inference.uncertainty import identified_combinations, predicted_band

TRUTH = complete(
    dict(
        alpha=1.6, r=0.28, scale=2.0, irreducible=0.8, unlearnable=0.3, unlearnable_exponent=0.4, time_scale=20.0,
        width_scale=80.0, width_exponent=0.7, noise_scale=200.0,
    )
)  # fmt: skip


def planned(sizes=(1e4, 3e4, 1e5, 3e5, 1e6), batches=(512.0, 2048.0), steps=14):
    """Runs of every size at every batch, without losses."""
    params = np.repeat(sizes, len(batches))
    batch = np.tile(batches, len(sizes))
    run = np.repeat(np.arange(params.size), steps)
    step = np.tile(np.geomspace(30, 2e4, steps).round(), params.size)
    return TrainingCurves(
        run=run,
        step=step,
        tokens=step * batch[run],
        loss=np.full(run.size, np.nan),
        loss_stderr=np.full(run.size, np.nan),
        name=np.array([f"run {n}" for n in range(params.size)]),
        params=params,
        learning_rate=np.full(params.size, 0.01),
        batch_size=batch,
        dataset_size=np.full(params.size, np.inf),
        warmup_steps=np.zeros(params.size),
    )


def measured(truth=TRUTH, noise=0.002, seed=0, **plan):
    """Losses of the law itself with a known parameter set and multiplicative noise."""
    from dataclasses import replace

    curves = planned(**plan)
    loss, _ = predicted_band(truth, None, curves, curves.params.min())
    return replace(curves, loss=loss * np.exp(noise * np.random.default_rng(seed).standard_normal(loss.size)))


@pytest.fixture(scope="module")
def fitted():
    curves = measured()
    return curves, fit_two_point(curves)


def test_the_fit_predicts_what_it_has_not_seen(fitted):
    """Ten times the size and steps: within 4 of its own standard errors, and within 3 %."""
    _, fit = fitted
    curves = planned(sizes=(1e7,), batches=(1024.0,))
    truth, _ = predicted_band(TRUTH, None, curves, 1e4)
    loss, stderr = predicted_band(fit.params.valuesdict(), fit.covariance, curves, fit.reference_params)
    assert np.all(np.abs(loss - truth) < 4 * stderr + 1e-4)
    assert np.all(np.abs(np.log(loss / truth)) < 0.03)


def test_identified_combinations_are_recovered(fitted):
    _, fit = fitted
    found = identified_combinations(fit.params.valuesdict(), fit.covariance)
    expected = identified_combinations(TRUTH, np.zeros_like(fit.covariance))
    for name in ("2 r", "2 alpha r"):
        value, stderr = found[name]
        assert abs(value - expected[name][0]) < 4 * stderr, name
        assert stderr < 0.5 * value, name


def test_residual_scale_is_the_noise(fitted):
    _, fit = fitted
    assert 0.5 * 0.002 < fit.residual_scale < 2 * 0.002


@pytest.mark.parametrize("tied", ["", "2 * alpha * r * width_exponent"])
def test_derivatives_agree_with_central_differences(tied):
    curves = measured()
    params, _ = default_parameters(curves)
    for name in params:
        if params[name].vary:
            params[name].set(value=TRUTH[name])
    if tied:
        params["unlearnable_exponent"].set(expr=tied)
    objective = Objective(curves, default_weights(curves), 0.01, params)
    jacobian = objective.jacobian(params)
    free = [name for name in params if params[name].vary]
    for number, name in enumerate(free):
        step = 1e-4 * TRUTH[name]
        sides = []
        for sign in (1, -1):
            moved = params.copy()
            moved[name].set(value=TRUTH[name] + sign * step)
            moved.update_constraints()
            sides.append(objective.residuals(moved))
        central = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(jacobian[:, number], central, atol=2e-3 * np.abs(central).max(), err_msg=name)


def test_repeated_data_determine_the_samples():
    """One run sees its data once, two repeat theirs: the scale of the samples is found within 4 standard errors.

    Relative ones: a scale is positive, and the runs of one size know it to a factor, along with the scale of time.
    """
    from dataclasses import replace

    truth = TRUTH | {"samples_scale": 1e-3, "unlearnable": 0.0, "noise_scale": 0.0, "width_scale": np.inf}
    truth["width_exponent"] = 0.0
    plan = replace(planned(sizes=(1e5,), batches=(512.0, 512.0, 512.0)), dataset_size=np.array([np.inf, 1e5, 1e6]))
    loss, _ = predicted_band(truth, None, plan, 1e5)
    noise = np.random.default_rng(0).standard_normal(loss.size)
    fit = fit_two_point(replace(plan, loss=loss * np.exp(0.002 * noise)))
    found = fit.params["samples_scale"]
    assert found.vary
    assert abs(np.log(found.value / 1e-3)) < 4 * found.stderr / found.value
    assert found.stderr < 0.5 * found.value


def test_a_law_that_falls_to_zero_is_no_accident():
    """Without irreducible loss and with a steep source the theory's loss reaches zero: residuals stay finite."""
    curves = measured(sizes=(1e5,), batches=(512.0,))
    params, _ = default_parameters(curves)
    params["irreducible"].set(value=0.0, vary=False)
    params["alpha"].set(value=4.0)
    params["r"].set(value=3.0)
    params["time_scale"].set(value=1e6)
    objective = Objective(curves, default_weights(curves), 0.01, params)
    assert np.isfinite(objective.residuals(params)).all()
    assert np.isfinite(objective.jacobian(params)).all()


def test_noise_that_never_is_stable_is_one_clear_error():
    curves = measured(sizes=(1e5,), batches=(512.0, 1024.0))
    params, _ = default_parameters(curves)
    params["noise_scale"].set(value=1e9, vary=False)
    with pytest.raises(FitError, match="noise_scale"):
        fit_two_point(curves, params)


def test_held_parameters_stay_and_have_no_error():
    curves = measured(sizes=(1e4, 1e5, 1e6))
    params, _ = default_parameters(curves)
    params["alpha"].set(value=1.6, vary=False)
    fit = fit_two_point(curves, params)
    assert fit.params["alpha"].value == 1.6
    position = list(fit.params).index("alpha")
    assert not fit.covariance[position].any()


def test_constraints_of_lmfit_hold():
    curves = measured(sizes=(1e4, 1e5, 1e6), batches=(512.0,))
    params, _ = default_parameters(curves)
    params["unlearnable_exponent"].set(expr="width_exponent")
    fit = fit_two_point(curves, params)
    assert fit.params["unlearnable_exponent"].value == pytest.approx(fit.params["width_exponent"].value)
    # A tied parameter has the error of the one it is tied to, and moves with it.
    assert fit.params["unlearnable_exponent"].stderr == pytest.approx(fit.params["width_exponent"].stderr)
    tied, free = (list(fit.params).index(name) for name in ("unlearnable_exponent", "width_exponent"))
    assert fit.covariance[tied, free] == pytest.approx(fit.covariance[free, free])


def test_what_runs_cannot_determine_is_held_and_said():
    params, notes = default_parameters(measured(sizes=(1e4, 1e5), batches=(512.0,)))
    assert not params["width_scale"].vary
    assert not params["noise_scale"].vary
    assert any("3 or more" in note for note in notes)
    assert any("noise_scale" in note for note in notes)


def test_one_size_is_fitted_as_infinite_width():
    curves = measured(sizes=(1e5,), batches=(512.0, 2048.0))
    fit = fit_two_point(curves)
    loss, _ = predicted_band(fit.params.valuesdict(), None, curves, fit.reference_params)
    assert np.sqrt(np.mean(np.log(loss / curves.loss)[fit.used] ** 2)) < 0.003  # the noise has 0.002


def test_outliers_move_the_fit_little(fitted):
    from dataclasses import replace

    curves, clean = fitted
    loss = curves.loss.copy()
    loss[20] *= 1.5
    fit = fit_two_point(replace(curves, loss=loss))
    assert fit.params["r"].value == pytest.approx(clean.params["r"].value, abs=4 * clean.params["r"].stderr)


def test_a_run_that_the_law_misses_is_named():
    from dataclasses import replace

    curves = measured()
    odd = curves.run == 4
    fit = fit_two_point(replace(curves, loss=np.where(odd, curves.loss * 1.1, curves.loss)))
    (note,) = [note for note in fit.notes if "misses" in note]
    assert "run 4 (" in note
    assert "run 0 (" not in note


def test_too_few_observations_are_refused():
    curves = measured(sizes=(1e4, 1e5, 1e6), batches=(512.0, 1024.0), steps=2)
    with pytest.raises(FitError, match="start from"):
        fit_two_point(curves, lmfit.Parameters())
    with pytest.raises(FitError, match="observations"):
        fit_two_point(curves, weights=(curves.run < 2).astype(float))


def test_all_amplitudes_may_be_held():
    curves = measured(sizes=(1e5,), batches=(512.0, 2048.0))
    params, _ = default_parameters(curves)
    for name in ("scale", "irreducible"):
        params[name].set(value=TRUTH[name], vary=False)
    assert fit_two_point(curves, params).params["r"].stderr > 0


def test_progress_ends_at_one():
    told = []
    fit_two_point(measured(sizes=(1e5,), batches=(512.0,)), progress=told.append)
    assert told[-1] == pytest.approx(1.0)
    assert np.all(np.diff(told) >= 0)


def test_warm_up_counts_the_integral_of_the_rate():
    step = np.arange(1.0, 301.0)
    rate = np.minimum(step / 100, 1.0)
    # The sum over steps of a linear warm-up exceeds the integral by half a step.
    np.testing.assert_allclose(twopoint.intrinsic_steps(step, np.array(100.0)), np.cumsum(rate), atol=0.51)


def test_padding_goes_there_and_back():
    curves = measured(sizes=(1e4, 1e6))
    ragged = curves.select((curves.run != 1) | (curves.step < 1000))
    settings, index = settings_of(ragged)
    np.testing.assert_array_equal(settings.step[index], ragged.step)


def test_effective_width_and_limits():
    assert complete({"alpha": 1.5, "r": 0.3})["width_scale"] == np.inf
    with pytest.raises(ValueError, match=r"alpha: 0\.5 is outside"):
        complete({"alpha": 0.5, "r": 0.3})
    with pytest.raises(ValueError, match="r: missing"):
        complete({"alpha": 1.5})
    with pytest.raises(ValueError, match="capacity: no such parameter"):
        complete({"alpha": 1.5, "r": 0.3, "capacity": 1.0})
