"""The frontier: a true minimum at every compute, exponents equal to the slopes along it, and the law's own limits."""

import numpy as np
import pytest

from scalingeq import ConvergenceError, ParameterError
from scalingeq.inference import twopoint
from scalingeq.inference.frontier import FLOPS_RULES, compute_of_cost, tokens_for
from scalingeq.inference.twopoint import Settings, complete
from scalingeq.inference.twopoint_frontier import frontier, frontier_band

LAW = complete(
    dict(alpha=1.5, r=0.3, scale=2.0, irreducible=0.5, unlearnable=0.4, unlearnable_exponent=0.4, width_scale=60.0,
         width_exponent=0.6, time_scale=10.0, noise_scale=20.0)
)  # fmt: skip
PLAN = dict(reference_params=1e4, learning_rate=0.01, batch_size=1000.0)


def loss_of(law, params, compute):
    params = np.atleast_1d(params)
    one = np.ones(params.size)
    steps = compute / (6 * params) / PLAN["batch_size"]
    settings = Settings(steps[:, None], params, 0.01 * one, 1000.0 * one, np.inf * one)
    return twopoint.predict(law, settings, 1e4)[:, 0]


def test_it_is_the_minimum_over_a_fine_grid():
    compute = np.array([1e15, 1e17, 1e19])
    best = frontier(LAW, compute, **PLAN)
    for number, budget in enumerate(compute):
        sizes = best.params[number] * np.exp(np.linspace(-3, 3, 401))
        losses = loss_of(LAW, sizes, budget)
        assert best.loss[number] <= losses.min() * (1 + 1e-8)
        assert abs(np.log(sizes[losses.argmin()] / best.params[number])) < 0.05
        np.testing.assert_allclose(loss_of(LAW, best.params[number], budget), best.loss[number], rtol=1e-8)
    np.testing.assert_allclose(6 * best.params * best.tokens, compute, rtol=1e-9)


def test_exponents_are_the_slopes_along_the_frontier():
    compute = 1e17 * np.exp(np.array([-0.1, 0.0, 0.1]))
    best = frontier(LAW, compute, **PLAN)
    for values, exponent in (
        (best.loss, best.loss_exponent),
        (best.params, best.size_exponent),
        (best.tokens, best.data_exponent),
    ):
        slope = np.log(values[2] / values[0]) / 0.2
        assert exponent[1] == pytest.approx(slope, abs=5e-3)
    np.testing.assert_allclose(best.size_exponent + best.data_exponent, 1.0, atol=1e-3)  # compute = 6 N D


def test_the_frontier_falls_and_grows():
    best = frontier(LAW, np.geomspace(1e14, 1e20, 13), **PLAN)
    assert np.all(np.diff(best.loss) < 0)
    assert np.all(np.diff(best.params) > 0)
    assert np.all(np.diff(best.tokens) > 0)


def test_errors_are_the_spread_over_draws_of_the_covariance():
    """Small errors of four correlated parameters: first order and 200 draws agree within 4 standard errors (20 %)."""
    names = list(LAW)
    chosen = ["r", "alpha", "width_exponent", "irreducible"]
    generator = np.random.default_rng(0)
    root = np.diag([1e-3, 4e-3, 2e-3, 3e-3]) @ generator.standard_normal((4, 4))
    covariance = np.zeros((len(names), len(names)))
    position = [names.index(name) for name in chosen]
    covariance[np.ix_(position, position)] = root @ root.T
    compute = np.array([1e17])
    _, stderr = frontier_band(LAW, covariance, compute, **PLAN)
    draws = []
    for step in generator.standard_normal((200, 4)) @ root.T:
        found = frontier(LAW | {n: LAW[n] + d for n, d in zip(chosen, step, strict=True)}, compute, **PLAN)
        draws.append([np.log(found.loss[0]), np.log(found.params[0]), found.size_exponent[0], found.loss_exponent[0]])
    expected = [stderr.loss[0], stderr.params[0], stderr.size_exponent[0], stderr.loss_exponent[0]]
    np.testing.assert_allclose(np.std(draws, axis=0), expected, rtol=0.2)


def test_a_common_rescaling_costs_no_error():
    """Deep in the power law (scale, time_scale, width_scale) move together without effect: no error in the frontier."""
    law = LAW | {"time_scale": 1e4, "width_scale": 5e3, "noise_scale": 0.0}
    moved = law | {"time_scale": 2e4, "scale": 2.0 * 2**0.6, "width_scale": 5e3 * 2 ** (1 / 1.5)}
    plain, other = (frontier(one, np.array([1e17]), **PLAN) for one in (law, moved))
    np.testing.assert_allclose(other.loss, plain.loss, rtol=2e-3)
    np.testing.assert_allclose(other.params, plain.params, rtol=2e-2)


def test_a_data_limit_costs_loss_and_favours_smaller_data():
    law = LAW | {"samples_scale": 1e-3}
    free = frontier(law, np.array([1e18]), **PLAN)
    limited = frontier(law, np.array([1e18]), dataset_size=float(free.tokens[0] / 30), **PLAN)
    assert limited.loss[0] > free.loss[0]


def test_slopes_are_those_of_the_loss():
    """Analytic derivatives in params and steps beside central differences, with one pass and with limited data."""
    law = LAW | {"samples_scale": 1e-3}
    for dataset_size in (np.inf, 3e8):
        settings = [
            Settings(
                np.array([[1e5 * t]]),
                np.array([1e7 * n]),
                np.full(1, 0.01),
                np.full(1, 1000.0),
                np.full(1, dataset_size),
            )
            for n, t in ((1, 1), (1.01, 1), (1 / 1.01, 1), (1, 1.01), (1, 1 / 1.01))
        ]
        here, *moved = (np.log(twopoint.predict(law, each, 1e4)[0, 0]) for each in settings)
        log_loss, by_params, by_steps = (each[0, 0] for each in twopoint.log_loss_slopes(law, settings[0], 1e4))
        assert log_loss == pytest.approx(here, abs=1e-9)
        assert by_params == pytest.approx((moved[0] - moved[1]) / (2 * np.log(1.01)), rel=1e-3)
        assert by_steps == pytest.approx((moved[2] - moved[3]) / (2 * np.log(1.01)), rel=1e-3)


def test_the_optimum_is_a_root_of_the_slope():
    best = frontier(LAW, np.array([1e17]), **PLAN)
    settings = Settings(
        best.tokens[:, None] / 1000, best.params, np.full(1, 0.01), np.full(1, 1000.0), np.full(1, np.inf)
    )
    _, by_params, by_steps = twopoint.log_loss_slopes(LAW, settings, 1e4)
    assert by_params[0, 0] == pytest.approx(
        by_steps[0, 0], abs=1e-6 * abs(by_params[0, 0])
    )  # tokens fall as params grow


def test_many_computes_are_the_same_as_few():
    many = np.geomspace(1e14, 1e19, 40)
    best = frontier(LAW, many, **PLAN)
    alone = frontier(LAW, many[[0, 17, 39]], **PLAN)
    np.testing.assert_allclose(best.params[[0, 17, 39]], alone.params, rtol=1e-6)


def test_bands_hold_with_limited_data_and_between_their_nodes():
    """First-order errors of many computes beside plain differences of whole frontiers at one of them."""
    law = LAW | {"samples_scale": 1e-3}
    plan = PLAN | {"dataset_size": 3e8}
    names = list(law)
    covariance = np.zeros((len(names),) * 2)
    covariance[names.index("r"), names.index("r")] = 1e-3**2
    compute = np.geomspace(1e15, 1e18, 8)
    _, stderr = frontier_band(law, covariance, compute, **plan)
    low, high = (frontier(law | {"r": 0.3 + sign * 1e-3}, compute[[3]], **plan) for sign in (-1, 1))
    for name in ("loss", "params", "tokens"):
        expected = abs(np.log(getattr(high, name)[0] / getattr(low, name)[0])) / 2
        assert getattr(stderr, name)[3] == pytest.approx(expected, rel=0.02)
    for name in ("size_exponent", "loss_exponent"):
        expected = abs(getattr(high, name)[0] - getattr(low, name)[0]) / 2
        assert getattr(stderr, name)[3] == pytest.approx(expected, rel=0.1)


def test_the_compute_of_a_cost_is_where_it_is_passed():
    found = compute_of_cost(np.array([1e3, 1e4, 1e5]), np.array([0.0, 0.1, 0.1]), np.array([0.05, 0.1, 0.2, -1.0]))
    assert found[0] == pytest.approx(10**3.5)
    assert np.isnan(found[1:]).all()


def test_a_law_without_size_effect_has_no_frontier():
    law = complete({"alpha": 1.5, "r": 0.3})
    with pytest.raises(ParameterError, match="three or more sizes"):
        frontier(law, np.array([1e15]), **PLAN)


def test_compute_too_small_for_an_optimum_is_refused():
    with pytest.raises(ConvergenceError, match="nearer"):
        frontier(LAW, np.array([2e4]), **PLAN)


def test_losses_within_the_numerical_error_are_refused():
    law = complete(dict(alpha=1.6, r=0.3, width_scale=200.0, width_exponent=1.4))
    with pytest.raises(ConvergenceError, match="numerical error"):
        frontier(law, np.array([1e22]), reference_params=1e4, learning_rate=0.1, batch_size=1.0)


def test_compute_that_pays_for_nothing_is_refused():
    with pytest.raises(ParameterError, match="one step"):
        frontier(LAW, np.array([10.0]), **PLAN)


def test_tokens_solve_any_growing_rule():
    def with_attention(params, tokens):
        return 6 * params * tokens + 1e3 * tokens

    params = np.array([1e4, 1e6])
    tokens = tokens_for(np.array(1e15), params, with_attention)
    np.testing.assert_allclose(with_attention(params, tokens), 1e15, rtol=1e-10)
    np.testing.assert_allclose(tokens_for(np.array(1e15), params, FLOPS_RULES["6ND"]), 1e15 / 6 / params, rtol=1e-12)
    with pytest.raises(ParameterError, match="does not grow"):
        tokens_for(np.array(1e15), params, lambda params, tokens: params * np.ones_like(tokens))
