"""What all laws share: names, problems in words, fits against independent optimisers, predictions, bands, frontiers."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from scalingeq import FitError, ParameterError
from scalingeq.datasets import load, select_runs, to_curves
from scalingeq.inference.fitting import default_weights, fit_two_point
from scalingeq.inference.frontier import FLOPS_RULES
from scalingeq.inference.laws import LAWS, Plan, law
from scalingeq.inference.laws.interface import Law, planned_runs
from scalingeq.inference.robust import huber_residual

CHINCHILLA = {"E": 1.7, "A": 300.0, "B": 900.0, "a": 0.33, "b": 0.35}
KAPLAN = {"Nc": 6.4e13, "Dc": 1.8e13, "aN": 0.076, "aD": 0.103}
LOSS_LAWS = {"chinchilla": CHINCHILLA, "chinchilla-huber": CHINCHILLA, "kaplan": KAPLAN}


def curves_of(name, values, noise=0.0, sizes=8, points=12):
    """Noisy curves of several sizes, as the law has them."""
    planned = planned_runs(np.geomspace(1e7, 1e10, sizes), np.tile(np.geomspace(1e8, 1e12, points), (sizes, 1)), Plan())
    one, run = np.ones(sizes), np.repeat(np.arange(sizes), points)
    exact = law(name).loss(values, planned)
    return replace(
        planned, run=run, name=np.arange(sizes).astype(str), params=planned.params[::points], learning_rate=one,
        batch_size=one, dataset_size=np.inf * one, warmup_steps=0 * one,
        loss=exact * np.exp(noise * np.random.default_rng(0).standard_normal(exact.size)),
    )  # fmt: skip


def test_names_and_parameters():
    for name, one in LAWS.items():
        assert one.name == name
        assert law(name) is one
        for text in (one.title, one.citation, one.version):
            assert text
    with pytest.raises(ParameterError, match=r"no law 'x'; known are twopoint, chinchilla"):
        law("x")


@pytest.mark.parametrize("name", LOSS_LAWS)
def test_the_fit_is_the_optimum_of_independent_starts(name):
    curves = curves_of(name, LOSS_LAWS[name], noise=0.02)
    fit = law(name).fit(curves)
    names = list(fit.values)
    weight = law(name).default_weights(curves)
    used = weight > 0
    np.testing.assert_array_equal(fit.used, used)
    # Without one of the law's own, the penalty's scale is the spread of a first fit.
    misfit = np.log(law(name).loss(fit.values, curves) / curves.loss)
    scale = law(name).huber_scale or float(np.sqrt(np.sum((weight * misfit) ** 2) / np.sum(weight**2)))

    def cost(theta, scale):
        values = dict(zip(names, np.exp(theta), strict=True))
        misfit = np.log(law(name).loss(values, curves) / curves.loss)
        return float(np.sum(huber_residual(weight[used] * misfit[used] / scale) ** 2))

    here = np.log([fit.values[parameter] for parameter in names])
    rng = np.random.default_rng(0)
    starts = here + rng.normal(0, 0.02, (4, here.size))
    options = {"maxiter": 4000, "maxfev": 8000, "xatol": 1e-9, "fatol": 1e-12}
    best = min(minimize(cost, start, (scale,), method="Nelder-Mead", options=options).fun for start in starts)
    assert cost(here, scale) <= best * (1 + 1e-7)


@pytest.mark.parametrize("name", LOSS_LAWS)
def test_exact_losses_give_the_law_back_and_derivatives_are_those_of_the_loss(name):
    values = LOSS_LAWS[name]
    curves = curves_of(name, values)
    fit = law(name).fit(curves)
    for parameter, value in values.items():
        assert fit.values[parameter] == pytest.approx(value, rel=1e-5)
    names = list(values)
    closed = law(name).log_jacobian(values, curves, names)
    np.testing.assert_allclose(closed, Law.log_jacobian(law(name), values, curves, names), rtol=1e-6)


@pytest.mark.parametrize("name", ["chinchilla", "kaplan"])
def test_bands_are_the_spread_over_draws_of_the_covariance(name):
    one = law(name)
    fit = one.fit(curves_of(name, LOSS_LAWS[name], noise=0.002))
    names, values = list(fit.values), np.array(list(fit.values.values()))
    ahead = planned_runs(np.array([3e10]), np.array([[1e12, 1e13]]), Plan())
    loss, stderr = one.loss_band(fit.values, fit.covariance, ahead)
    np.testing.assert_allclose(loss, one.loss(fit.values, ahead))
    # Small errors, so that first order holds: a hundredth of the covariance.
    unit = np.sqrt(np.diag(fit.covariance))
    correlation = fit.covariance / np.outer(unit, unit)
    normal = np.random.default_rng(0).multivariate_normal(np.zeros(unit.size), correlation, 2000, method="svd")
    draws = values + 0.01 * unit * normal
    losses = np.array([one.loss(dict(zip(names, draw, strict=True)), ahead) for draw in draws])
    np.testing.assert_allclose(100 * losses.std(axis=0), stderr, rtol=0.07)  # 4 standard errors of 2,000 draws
    compute = np.array([1e22])
    best, error = one.frontier_band(fit.values, fit.covariance, compute, Plan())
    fronts = [one.frontier(dict(zip(names, d, strict=True)), compute, Plan(), start=best.params) for d in draws[:400]]
    for quantity in ("params", "tokens", "loss"):
        spread = np.std([np.log(getattr(front, quantity)[0]) for front in fronts])
        assert 100 * spread == pytest.approx(getattr(error, quantity)[0], rel=0.15)
    exponents = np.std([front.size_exponent[0] for front in fronts])
    assert 100 * exponents == pytest.approx(error.size_exponent[0], rel=0.25)


def test_the_frontier_of_the_additive_law_is_the_closed_form():
    E, A, B, a, b = CHINCHILLA.values()
    compute = np.array([1e20, 1e22, 1e24])
    found = law("chinchilla").frontier(CHINCHILLA, compute, Plan())
    size = (a * A / (b * B)) ** (1 / (a + b)) * (compute / 6) ** (b / (a + b))
    np.testing.assert_allclose(found.params, size, rtol=1e-5)
    np.testing.assert_allclose(found.loss, E + A * size**-a + B * (compute / 6 / size) ** -b, rtol=1e-9)
    np.testing.assert_allclose(found.size_exponent, b / (a + b), rtol=1e-4)
    np.testing.assert_allclose(found.data_exponent, a / (a + b), rtol=1e-4)


def test_the_frontier_of_kaplan_s_law_is_the_closed_form():
    """d/dN of (Nc/N)^q + 6 N Dc/C is zero where q (Nc/N)^q = Dc/D."""
    compute = np.array([1e20, 1e22])
    found = law("kaplan").frontier(KAPLAN, compute, Plan())
    q = KAPLAN["aN"] / KAPLAN["aD"]
    np.testing.assert_allclose(q * (KAPLAN["Nc"] / found.params) ** q, KAPLAN["Dc"] / found.tokens, rtol=1e-4)
    np.testing.assert_allclose(found.size_exponent, 1 / (1 + q), rtol=1e-4)


def test_problems_are_told_in_words():
    curves = curves_of("chinchilla", CHINCHILLA)
    one_size = curves.select(curves.run == 0)
    with pytest.raises(FitError, match="one model size"):
        law("kaplan").fit(one_size)
    started = replace(curves, tokens=np.where(curves.step == curves.step.min(), 0.0, curves.tokens))
    for name in LOSS_LAWS:
        with pytest.raises(FitError, match="8 observations before the first token; give them the weight 0"):
            law(name).fit(started, weights=np.ones(curves.run.size))
    few = np.zeros(curves.run.size)
    few[::30] = 1.0
    with pytest.raises(FitError, match="observations with weight above zero for 5 free parameters"):
        law("chinchilla").fit(curves, weights=few)
    params, _ = law("chinchilla").default_parameters(curves)
    del params["a"]
    with pytest.raises(FitError, match="params: a missing"):
        law("chinchilla").fit(curves, params)
    for name in ("chinchilla", "kaplan", "envelope"):
        values = dict.fromkeys(law(name).parameters, 1.0)
        assert "does not know repeated data" in law(name).plan_problems(values, Plan(dataset_size=1e9))[0]


def test_the_two_point_law_is_one_of_them():
    curves = to_curves(select_runs(load("stdlib-lm"), [0, 1]))
    params, _ = law("twopoint").default_parameters(curves)
    for name, value in {"alpha": 1.6, "r": 0.15}.items():
        params[name].set(value=value, vary=False)
    fit, direct = law("twopoint").fit(curves, params), fit_two_point(curves, params)
    assert fit.values == {**direct.params.valuesdict(), "reference_params": direct.reference_params}
    assert fit.values["reference_params"] == curves.params.min()
    np.testing.assert_array_equal(law("twopoint").default_weights(curves), default_weights(curves))
    loss, stderr = law("twopoint").loss_band(fit.values, fit.covariance, curves)
    np.testing.assert_array_equal(loss, law("twopoint").loss(fit.values, curves))
    assert (stderr > 0).all()
    assert "samples_scale" in law("twopoint").plan_problems(fit.values, Plan(dataset_size=1e9))[0]


def test_a_plan_counts_compute_by_its_own_rule():
    doubled = Plan(flops=lambda params, tokens: 12.0 * params * tokens)
    compute = np.array([1e21])
    twice, once = (
        law("chinchilla").frontier(CHINCHILLA, 2 * compute, doubled),
        law("chinchilla").frontier(CHINCHILLA, compute, Plan(flops=FLOPS_RULES["6ND"])),
    )
    np.testing.assert_allclose(twice.params, once.params, rtol=1e-5)
