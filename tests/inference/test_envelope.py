"""Measured frontiers: interpolation alone, minima where a known law has them, errors that cover, and edges that are told."""

import numpy as np
import pytest

from scalingeq import DataError
from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.envelope import lower_envelope
from scalingeq.inference.laws.additive import AdditiveLaw
from scalingeq.inference.measured_losses import Losses, budgets, losses_at
from scalingeq.inference.parabolas import isoflop_minima

LAW = AdditiveLaw(1.0, 0.5, 0.5, 0.35, 0.45, 1e5, 1e7)
SIZES = np.geomspace(1e4, 1e7, 13)
EXPONENT = 0.45 / 0.8  # of the optimal size of the additive law, exactly


def record(run, params, tokens, loss):
    one = np.ones(params.size)
    return TrainingCurves(
        run, tokens, tokens, loss, np.full(run.size, np.nan), np.array([f"run {n}" for n in range(params.size)]), params,
        one, one, np.inf * one, 0 * one,
    )  # fmt: skip


def grid(noise=0.0, points=80):
    run, tokens = np.repeat(np.arange(SIZES.size), points), np.tile(np.geomspace(1e5, 1e10, points), SIZES.size)
    return record(run, SIZES, tokens, LAW.loss(SIZES[run], tokens) * np.exp(noise))


def optimum(compute):
    """Size, tokens and loss of the additive law at a compute, from the condition that both slopes are equal."""
    a, b = LAW.size_exponent, LAW.data_exponent
    scale = LAW.size_amplitude * a * 1e5**a / (LAW.data_amplitude * b * 1e7**b)
    params = (scale * (compute / 6) ** b) ** (1 / (a + b))
    return params, compute / 6 / params, LAW.loss(params, compute / 6 / params)


def test_losses_between_points_are_interpolated_and_none_is_extrapolated():
    curves = grid()
    found = losses_at(curves, np.array([1e3, 3e13, 1e18]))
    assert np.isnan(found.log_loss[[0, 2]]).all()
    there = np.isfinite(found.log_loss[1])
    truth = LAW.loss(SIZES, 3e13 / 6 / SIZES)
    reached = (6 * SIZES * 1e5 <= 3e13) & (6 * SIZES * 1e10 >= 3e13)
    np.testing.assert_array_equal(there, reached)
    error = np.abs(found.log_loss[1] - np.log(truth))[there]
    assert (error <= found.stderr[1, there]).all()  # it is said to be larger than it is, without noise
    assert found.stderr[1, there].max() < 2e-3


def test_the_error_of_interpolation_knows_the_noise():
    """Independent noise of 1 %: a point is missed by sqrt(1.5) of it from its neighbours, within 4 standard errors."""
    noise = 0.01 * np.random.default_rng(0).standard_normal(13 * 400)
    found = losses_at(grid(noise, 400), np.array([1e14]))
    np.testing.assert_allclose(np.sqrt(np.nanmean(found.stderr**2)) / 0.01, np.sqrt(1.5), rtol=0.3)


def test_minima_are_those_of_the_law():
    compute = np.geomspace(1e13, 1e16, 7)
    found = isoflop_minima(losses_at(grid(points=400), compute))
    params, tokens, loss = optimum(compute)
    np.testing.assert_allclose(found.params, params, rtol=0.03)
    np.testing.assert_allclose(found.tokens, tokens, rtol=0.03)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-3)
    assert found.fits["params"].exponent == pytest.approx(EXPONENT, abs=0.01)
    assert found.fits["params"].exponent + found.fits["tokens"].exponent == pytest.approx(1.0, abs=1e-9)


def test_errors_of_the_exponent_are_right_on_average():
    """100 draws of runs moved by 0.3 % as a whole; their spread is known to 7 %, and agrees within 4 times that."""
    fits = []
    for seed in range(100):
        noise = 0.003 * np.random.default_rng(seed).standard_normal(SIZES.size)
        losses = losses_at(grid(np.repeat(noise, 80)), np.geomspace(1e13, 1e16, 8))
        fits.append(isoflop_minima(losses).fits["params"])
    exponents, errors = np.array(fits)[:, 1:].T
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(np.std(exponents), rel=0.28)
    assert np.mean(exponents) == pytest.approx(EXPONENT, abs=4 * np.std(exponents) / np.sqrt(100))


def test_the_envelope_is_the_best_run_and_runs_along_the_law():
    compute = np.geomspace(1e13, 1e16, 50)
    curves = grid(points=400)
    best = lower_envelope(losses_at(curves, compute))
    reached = [SIZES[(c >= 6e5 * SIZES) & (c <= 6e10 * SIZES)] for c in compute]
    brute = np.array([LAW.loss(sizes, c / 6 / sizes).min() for c, sizes in zip(compute, reached, strict=True)])
    np.testing.assert_allclose(best.loss, brute, rtol=1e-4)
    np.testing.assert_allclose(best.params, SIZES[best.run])
    np.testing.assert_allclose(6 * best.params * best.tokens, compute, rtol=1e-9)
    assert best.is_inside.all()
    assert ((best.params_low <= best.params) & (best.params <= best.params_high)).all()
    assert best.fits["params"].exponent == pytest.approx(EXPONENT, abs=0.04)  # the stairs of 13 sizes


def test_sizes_within_the_errors_are_named():
    losses = Losses(
        np.array([1e9]), np.log([[1.5, 1.02, 1.0, 1.01, 1.4]]), np.full((1, 5), 0.01), np.geomspace(1e3, 1e7, 5)
    )
    best = lower_envelope(losses)
    assert (best.params_low[0], best.params_high[0]) == (1e4, 1e6)


def test_edges_are_no_frontier():
    compute = np.array([1e10, 1e14, 1e17])
    losses = losses_at(grid(), compute)
    assert lower_envelope(losses).is_inside.tolist() == [False, True, False]
    found = isoflop_minima(losses)
    assert np.isfinite(found.params).tolist() == [False, True, False]
    assert np.isnan(found.fits["params"].exponent)  # one compute gives no power law


def test_a_table_of_final_losses_gives_its_own_budgets():
    compute = np.repeat([1e13, 1e14, 1e15], SIZES.size)
    params = np.tile(SIZES, 3)
    tokens = compute * np.exp(np.random.default_rng(0).uniform(-5e-3, 5e-3, compute.size)) / 6 / params
    curves = record(np.arange(params.size), params, tokens, LAW.loss(params, tokens))
    found = budgets(curves)
    np.testing.assert_allclose(found, [1e13, 1e14, 1e15], rtol=0.01)
    minima = isoflop_minima(losses_at(curves, found))
    np.testing.assert_allclose(minima.params, optimum(found)[0], rtol=0.1)
    assert minima.fits["params"].exponent == pytest.approx(EXPONENT, abs=0.01)


def test_two_sizes_have_no_frontier():
    tokens = np.tile(np.geomspace(1e5, 1e8, 9), 2)
    run = np.repeat([0, 1], 9)
    with pytest.raises(DataError, match="smaller or larger models"):
        budgets(record(run, np.array([1e4, 1e5]), tokens, LAW.loss(np.array([1e4, 1e5])[run], tokens)))
