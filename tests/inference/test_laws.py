"""The additive law's fit against an independent optimiser, and the robust penalty against its definition."""

import numpy as np
import pytest

from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.laws.additive import AdditiveLaw, fit_additive
from scalingeq.inference.robust import HUBER_THRESHOLD, huber_residual, huber_slope, point_weights


def curves_of(loss, params, step, batch=100.0):
    """Grid (run, step) of losses as flat curves."""
    runs = params.size
    run = np.repeat(np.arange(runs), step.size)
    one = np.ones(runs)
    return TrainingCurves(
        run=run,
        step=np.tile(step, runs),
        tokens=batch * np.tile(step, runs),
        loss=loss.ravel(),
        loss_stderr=np.full(run.size, np.nan),
        name=np.array([f"run {n}" for n in range(runs)]),
        params=params,
        learning_rate=0.1 * one,
        batch_size=batch * one,
        dataset_size=np.inf * one,
        warmup_steps=0 * one,
    )


def noisy_curves(seed=0, noise=0.01):
    params, step = np.geomspace(1e4, 1e6, 5), np.geomspace(100, 1e4, 12)
    truth = AdditiveLaw(1.2, 0.6, 0.8, 0.35, 0.45, 1e5, 1e5)
    exact = truth.loss(params[:, None], 100.0 * step)
    loss = exact * np.exp(noise * np.random.default_rng(seed).standard_normal(exact.shape))
    return truth, curves_of(loss, params, step)


def huber_cost(law, curves, scale):
    residual = np.log(law.loss(curves.params[curves.run], curves.tokens) / curves.loss)
    return float(np.sum(huber_residual(point_weights(curves) * residual / scale) ** 2))


def test_exact_data_give_the_law_back():
    truth, _ = noisy_curves()
    params, step = np.geomspace(1e4, 1e6, 5), np.geomspace(100, 1e4, 12)
    curves = curves_of(truth.loss(params[:, None], 100.0 * step), params, step)
    law = fit_additive(curves)
    np.testing.assert_allclose(
        law.loss(params[:, None] * 10, 1e6 * np.ones((5, 1))),
        truth.loss(params[:, None] * 10, 1e6 * np.ones((5, 1))),
        rtol=1e-5,
    )
    assert law.size_exponent == pytest.approx(0.35, rel=1e-4)
    assert law.data_exponent == pytest.approx(0.45, rel=1e-4)


def test_the_optimum_is_that_of_many_independent_starts():
    from scipy.optimize import minimize

    _, curves = noisy_curves(noise=0.03)
    scale = 0.01
    fitted = fit_additive(curves, huber_scale=scale)

    def cost(theta):
        law = AdditiveLaw(*np.exp(theta), fitted.reference_params, fitted.reference_tokens)
        return huber_cost(law, curves, scale)

    generator = np.random.default_rng(1)
    starts = np.log([1.0, 0.5, 0.5, 0.4, 0.4]) + generator.normal(0, 0.7, (40, 5))
    bounds = [(value - 3, value + 3) for value in np.log([1.0, 0.5, 0.5, 0.4, 0.4])]
    best = min(minimize(cost, start, method="L-BFGS-B", bounds=bounds).fun for start in starts)
    assert huber_cost(fitted, curves, scale) <= best * (1 + 1e-6)


def test_one_size_has_no_size_term():
    truth, _ = noisy_curves()
    step = np.geomspace(100, 1e4, 12)
    curves = curves_of(truth.loss(np.full((1, 1), 1e5), 100.0 * step), np.array([1e5]), step)
    law = fit_additive(curves)
    assert law.size_amplitude == 0.0
    np.testing.assert_allclose(law.loss(np.array(1e5), curves.tokens), curves.loss, rtol=1e-5)


def test_huber_residual_squares_to_twice_the_penalty():
    residual = np.linspace(-6, 6, 101)
    size = np.abs(residual)
    penalty = np.where(size <= HUBER_THRESHOLD, residual**2 / 2, HUBER_THRESHOLD * (size - HUBER_THRESHOLD / 2))
    np.testing.assert_allclose(huber_residual(residual) ** 2 / 2, penalty, rtol=1e-13)
    step = 1e-6
    slope = (huber_residual(residual + step) - huber_residual(residual - step)) / (2 * step)
    np.testing.assert_allclose(huber_slope(residual), slope, rtol=1e-5)
