"""Bootstrap and chains on a linear problem, where their covariance is known, and quantiles over draws."""

import numpy as np
import pytest

from scalingeq import ParameterError
from scalingeq.inference.bootstrap import bootstrap_draw, draw_seeds, resampling
from scalingeq.inference.covariance import covariance_of, curvature_inverse
from scalingeq.inference.draws import bands, split_normal_draws
from scalingeq.inference.sampling import sample


def test_a_bootstrap_scatters_as_the_covariance_says(linear_curves):
    """Three hundred draws: a standard deviation is known to 4 %; residuals of one record resemble noise to 25 %."""
    problem = linear_curves(0.01, runs=12, points=60)
    params = problem.solve()
    made = resampling(problem, params)
    draws = np.stack([bootstrap_draw(made, seed)[0] for seed in draw_seeds(0, 300)])
    stderr = np.sqrt(np.diag(covariance_of(problem, params).matrix))
    best = np.array([params[name].value for name in problem.free])
    assert np.all(np.abs(draws.std(axis=0) / stderr - 1) < 0.25)
    assert np.all(np.abs(draws.mean(axis=0) - best) < 4 * stderr / np.sqrt(300))


def test_blocks_come_from_runs_of_the_same_size_where_there_are_several(linear_curves):
    problem = linear_curves(0.01, runs=4, points=20)
    problem.used.params = np.array([1.0, 1.0, 2.0, 3.0])
    made = resampling(problem, problem.solve())
    assert [sorted({int(problem.run[donor[0]]) for donor in donors}) for donors in made.donors] == [
        [0, 1], [0, 1], [0, 1, 2, 3], [0, 1, 2, 3],
    ]  # fmt: skip
    assert made.block.max() <= 10


def test_a_draw_depends_on_its_seed_alone(linear_curves):
    problem = linear_curves(0.01)
    made = resampling(problem, problem.solve())
    one, other = (bootstrap_draw(made, seed)[0] for seed in (7, 8))
    assert np.array_equal(bootstrap_draw(made, 7)[0], one)
    assert not np.array_equal(one, other)


def test_a_draw_that_fails_is_recorded(linear_curves):
    problem = linear_curves(0.01)
    made = resampling(problem, problem.solve())

    def broken(params):
        raise ParameterError("no such law")

    made.objective.jacobian = broken
    values, failure = bootstrap_draw(made, 0)
    assert np.isnan(values).all()
    assert failure == "ParameterError: no such law"


def test_chains_draw_from_the_normal_posterior(linear_curves):
    """Means and standard deviations within 4 standard errors of chains that are as long as they say they are."""
    problem = linear_curves(0.01)
    params = problem.solve()
    chains = sample(problem, params, draws=12000, walkers=24, seed=1)
    expected = np.sqrt(np.diag(curvature_inverse(problem.jacobian(params))))
    independent = 12000 / chains.autocorrelation_time
    best = np.array([params[name].value for name in problem.free])
    assert np.all(np.abs(chains.values.mean(axis=0) - best) < 4 * expected / np.sqrt(independent))
    assert np.all(np.abs(chains.values.std(axis=0) / expected - 1) < 4 / np.sqrt(2 * independent))
    assert np.all((chains.acceptance_fraction > 0.3) & (chains.acceptance_fraction < 0.9))
    lowest = -0.5 * np.sum(problem.residuals(params) ** 2)
    assert np.all(chains.log_probability <= lowest + 1e-9)
    again = sample(problem, params, draws=48, walkers=24, seed=5)
    np.testing.assert_array_equal(again.values, sample(problem, params, draws=48, walkers=24, seed=5).values)


def test_chains_stay_inside_the_bounds_and_start_off_them(linear_curves):
    problem = linear_curves(0.01)
    params = problem.solve()
    params["slope"].set(max=params["slope"].value)
    chains = sample(problem, params, draws=200, walkers=12)
    slope = chains.values[:, 1]
    assert np.all(slope <= params["slope"].max)
    assert np.unique(slope).size > 20


def test_without_emcee_the_remedy_is_named(linear_curves, monkeypatch):
    problem = linear_curves(0.01)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ParameterError, match=r"pip install 'scalingeq\[mcmc\]'"):
        sample(problem, problem.solve())


def test_margins_of_a_profile_keep_the_correlations():
    covariance = np.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.0], [0.0, 0.0, 0.0]])
    drawn = split_normal_draws({"a": 1.0, "b": 2.0, "c": 3.0}, covariance, {"a": (0.5, 2.0)}, 20000)
    low, high = np.quantile(drawn[:, 0], [0.158655, 0.841345])
    assert abs(low - 0.5) < 4 * 0.5 * 0.0107
    assert abs(high - 3.0) < 4 * 2.0 * 0.0107
    assert np.all(drawn[:, 2] == 3.0)
    from scipy.stats import spearmanr

    expected = 6 / np.pi * np.arcsin(0.8 / 2)  # of a normal copula
    assert abs(spearmanr(drawn[:, 0], drawn[:, 1]).statistic - expected) < 0.01


def test_quantiles_leave_failed_draws_out():
    def quantity(law):
        if law["r"] > 9:
            raise ParameterError("outside")
        return np.array([law["r"]])

    found = bands([{"r": value} for value in (1.0, np.nan, 10.0, 3.0)], quantity, [0.5])
    assert found.quantiles.item() == 2.0
    assert found.failed == 2
    with pytest.raises(ParameterError, match="none of the draws"):
        bands([{"r": np.nan}], quantity, [0.5])
