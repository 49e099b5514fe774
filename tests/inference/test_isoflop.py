"""Frontiers read off losses: the exact frontier of a known law, and the published exponents of Porian et al."""

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scalingeq import FitError, ParameterError
from scalingeq.inference.envelope import lower_envelope
from scalingeq.inference.laws import Plan, law
from scalingeq.inference.laws.interface import planned_runs
from scalingeq.inference.measured_losses import budgets, losses_at
from scalingeq.inference.parabolas import isoflop_minima
from scalingeq.inference.power_fits import saturating_power, spread_of

FOLDER = next((found for above in Path(__file__).parents if (found := above / "shared" / "data").is_dir()), None)
TRUTH = {"E": 1.7, "A": 300.0, "B": 900.0, "a": 0.33, "b": 0.35}
SIZE_EXPONENT = TRUTH["b"] / (TRUTH["a"] + TRUTH["b"])
FRONTIERS = ("envelope", "isoflop", "porian")
SETUP = ("dataset", "hparams", "warmup", "decay", "param_count")


def grown(sizes=24, points=150, noise=0.0):
    """Curves of the additive law."""
    params, tokens = np.geomspace(1e6, 1e10, sizes), np.geomspace(1e7, 1e13, points)
    planned = planned_runs(params, np.tile(tokens, (sizes, 1)), Plan())
    one = np.ones(sizes)
    loss = law("chinchilla").loss(TRUTH, planned)
    return replace(
        planned, run=np.repeat(np.arange(sizes), points), name=np.arange(sizes).astype(str), params=params,
        learning_rate=one, batch_size=one, dataset_size=np.inf * one, warmup_steps=0 * one,
        loss=loss * np.exp(noise * np.random.default_rng(0).standard_normal(loss.size)),
    )  # fmt: skip


def isoflop_table(noise=0.0, stderr=np.nan, compute=None):
    """Final losses of 11 sizes at each of six budgets, around the best."""
    compute = np.geomspace(1e18, 1e21, 6) if compute is None else compute
    best = law("chinchilla").frontier(TRUTH, compute, Plan()).params
    params = (best[:, None] * np.geomspace(0.1, 10, 11)).ravel()
    tokens = np.repeat(compute, 11) / (6 * params)
    curves = planned_runs(params, tokens[:, None], Plan())
    loss = law("chinchilla").loss(TRUTH, curves)
    scatter = noise * np.random.default_rng(0).standard_normal(loss.size)
    return replace(curves, loss=loss * np.exp(scatter), loss_stderr=np.full(loss.size, stderr))


@pytest.mark.parametrize("name", FRONTIERS)
def test_the_frontier_of_exact_losses(name):
    curves = grown() if name == "envelope" else isoflop_table(stderr=1e-5)
    fit = law(name).fit(curves, weights=np.ones(curves.run.size))
    compute = np.geomspace(1e19, 1e21, 3)
    found = law(name).frontier(fit.values, compute, Plan())
    exact = law("chinchilla").frontier(TRUTH, compute, Plan())
    # Sizes of an envelope go in steps of 49 %; a parabola through five points is not the law's own shape.
    np.testing.assert_allclose(found.size_exponent, SIZE_EXPONENT, atol=0.02)
    np.testing.assert_allclose(found.size_exponent + found.data_exponent, 1.0, atol=1e-9)
    np.testing.assert_allclose(np.log(found.params / exact.params), 0, atol=0.2)
    np.testing.assert_allclose(6 * found.params * found.tokens, compute, rtol=1e-9)
    np.testing.assert_allclose(found.loss, exact.loss, rtol=2e-3)
    np.testing.assert_allclose(found.loss_exponent, exact.loss_exponent, atol=2e-3)


@pytest.mark.parametrize("name", ["isoflop", "porian"])
def test_standard_errors_are_the_spread_over_records_or_more(name, monkeypatch):
    monkeypatch.setattr("scalingeq.inference.measured_losses.DRAWS", 100)
    exponents, stated = [], []
    for seed in range(60):
        curves = isoflop_table(stderr=0.004)
        noise = 0.004 * np.random.default_rng(seed).standard_normal(curves.run.size)
        fit = law(name).fit(replace(curves, loss=curves.loss * np.exp(noise), loss_stderr=0.004 * curves.loss))
        exponents.append(fit.values["size_exponent"])
        stated.append(fit.params["size_exponent"].stderr)
    # Resamples put noise on noisy losses, whose minima hop more: 120 records find 1.19 (porian) and 1.33 (isoflop).
    # 60 records know a spread to 9 %.
    assert 0.9 < np.mean(stated) / np.std(exponents) < 1.6


def porian_setups():
    if FOLDER is None:
        pytest.skip("the folder shared/data of measured records is not beside this checkout")
    points, published = defaultdict(list), {}
    with open(FOLDER / "porian_rsld" / "isoflop_points.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            points[tuple(row[name] for name in SETUP)].append([float(row[name]) for name in ("n", "t", "loss")])
    with open(FOLDER / "porian_rsld" / "published_fits.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["kind"] == "basic":
                published[tuple(row[name] for name in SETUP)] = float(row["n_exponent"])
    return points, published


def test_published_exponents_of_porian():
    """All 15 exponents; a point of the search's grid is 1.5 % in size, and the published medians are of other noise.

    Over 12 seeds of ours the exponents spread by 0.0002 to 0.0007 (rw) and 0.0006 to 0.0014 (owt2, whose noise is higher).
    """
    points, published = porian_setups()
    headline = {
        ("rw", "base", "long", "kaplan", "kaplan"): 0.8338,
        ("rw", "base", "long", "kaplan", "standard"): 0.7009,
        ("rw", "base", "short", "kaplan", "standard"): 0.6035,
        ("rw", "base", "short", "chinchilla", "standard"): 0.5714,
        ("rw", "tuned", "short", "const", "standard"): 0.4970,
        ("owt2", "tuned", "short", "const", "standard"): 0.5184,
    }
    assert len(points) == len(published) == 15
    for setup, rows in points.items():
        params, tokens, loss = np.array(rows).T
        curves = replace(planned_runs(params, tokens[:, None], Plan()), loss=loss)
        if setup[0] == "owt2":  # whose seeds were measured to scatter more
            curves = replace(curves, loss_stderr=np.full(loss.size, 0.01))
        fit = law("porian").fit(curves)
        exponent, stderr = fit.values["size_exponent"], fit.params["size_exponent"].stderr
        tolerance = 0.002 if setup[0] == "rw" else 0.005
        assert exponent == pytest.approx(published[setup], abs=tolerance)
        assert abs(exponent - published[setup]) < 0.35 * stderr
        if setup in headline:
            assert exponent == pytest.approx(headline[setup], abs=tolerance)


def test_budgets_of_a_table_are_its_computes():
    curves = isoflop_table()
    np.testing.assert_allclose(budgets(curves), np.geomspace(1e18, 1e21, 6), rtol=1e-9)
    assert budgets(grown()).size == 12


def test_budgets_of_a_table_whose_best_size_is_at_an_end_are_kept():
    curves = isoflop_table()
    loss = curves.loss.copy()
    loss[0] = 1.0  # the smallest size of the first budget
    found = budgets(replace(curves, loss=loss))
    np.testing.assert_allclose(found, np.geomspace(1e18, 1e21, 6), rtol=1e-9)
    two_sizes = np.arange(curves.run.size) >= 9  # of the first budget
    np.testing.assert_allclose(budgets(curves.select(two_sizes)), np.geomspace(1e18, 1e21, 6)[1:], rtol=1e-9)


@pytest.mark.parametrize(("name", "read"), [("envelope", lower_envelope), ("isoflop", isoflop_minima)])
def test_laws_go_through_the_measured_frontiers(name, read):
    curves = grown(sizes=12, points=40, noise=0.003)
    optima = law(name).fit(curves, weights=np.ones(curves.run.size)).optima
    found = read(losses_at(curves, optima.compute))
    there = np.isfinite(optima.log_params)
    assert there.sum() > 3
    np.testing.assert_allclose(np.exp(optima.log_params[there]), found.params[there])
    np.testing.assert_allclose(np.exp(optima.log_loss[there]), found.loss[there])
    if name == "isoflop":
        spread = spread_of(optima.drawn_params[:, there])
        np.testing.assert_allclose(spread, found.params_stderr[there])
    else:
        np.testing.assert_array_equal(there, found.is_inside)


@pytest.mark.parametrize("name", FRONTIERS)
def test_what_cannot_be_read_off_is_refused(name):
    curves = grown(sizes=6, points=20)
    with pytest.raises(FitError, match="2 model size"):
        law(name).fit(curves.select(curves.run < 2))
    params, _ = law(name).default_parameters(curves)
    params["best_params"].set(vary=False)
    with pytest.raises(FitError, match="best_params held"):
        law(name).fit(curves, params)
    curves = grown()
    early = curves.select((curves.tokens < 1e8) & (curves.run > 11))  # the smallest size is always the best
    with pytest.raises(FitError, match="of smaller or larger models"):
        law(name).fit(early, weights=np.ones(early.run.size))
    fit = law(name).fit(grown())
    with pytest.raises(ParameterError, match="has a frontier alone"):
        law(name).loss(fit.values, curves)
    own_rule = Plan(flops=lambda params, tokens: 5 * params * tokens)
    assert "pass '6ND'" in law(name).plan_problems(fit.values, own_rule)[0]


def test_an_envelope_needs_curves():
    with pytest.raises(FitError, match="whole curves"):
        law("envelope").fit(isoflop_table())


def test_saturating_powers():
    x = np.geomspace(0.01, 100, 12)
    truth = np.array([[2.0, 0.5, 0.3], [0.0, 1.0, 0.1], [1.0, 3.0, 1.2]])
    y = truth[:, :1] + truth[:, 1:2] * x ** -truth[:, 2:]
    known = np.ones(y.shape, bool)
    known[1, 3], y[1, 3] = False, 7.0
    np.testing.assert_allclose(np.stack(saturating_power(x, y, known), axis=1), truth, rtol=2e-4, atol=2e-4)


def test_draws_without_values_have_no_spread():
    assert np.isnan(spread_of(np.full((8, 2), np.nan))).all()
