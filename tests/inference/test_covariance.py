"""The sandwich covariance beside dense algebra, beside the textbook and beside repeated draws."""

import numpy as np

from scalingeq.inference.covariance import _Share, covariance_of, curvature_inverse, sandwich


def test_expected_sums_agree_with_dense_matrices(linear_curves):
    """Sums of squares, of products of neighbours, and run scores of what a weighted fit leaves of correlated noise."""
    problem = linear_curves(0.01, runs=4, points=9)
    weight = np.linspace(0.3, 1.0, problem.run.size)
    rows = problem.design * weight[:, None]
    inverse = np.linalg.inv(rows.T @ rows + problem.prior.T @ problem.prior)
    share = _Share(rows / weight[:, None], rows * weight[:, None], inverse, problem.run)
    remains = np.eye(weight.size) - (rows / weight[:, None]) @ inverse @ (rows * weight[:, None]).T
    for correlation in (0.0, 0.6):
        left = remains @ problem.correlation_matrix(correlation) @ remains.T
        neighbours = np.where(problem.run[1:] == problem.run[:-1], np.diag(left, 1), 0.0)
        np.testing.assert_allclose(share.moments(correlation), (np.trace(left), neighbours.sum()), rtol=1e-10)
        weighted = rows * weight[:, None]
        scores = [weighted[problem.run == run].T @ left[np.ix_(problem.run == run, problem.run == run)]
                  @ weighted[problem.run == run] for run in range(4)]  # fmt: skip
        np.testing.assert_allclose(share.remaining_scores(correlation), scores, rtol=1e-9, atol=1e-12)


def test_independent_points_have_the_textbook_covariance():
    """A table of final losses, one point a run: s² (XᵀX)⁻¹ of ordinary least squares, with Student's variance."""
    rng = np.random.default_rng(1)
    design = np.stack([np.ones(30), rng.standard_normal(30)], axis=1)
    observed = design @ [1.0, 2.0] + 0.3 * rng.standard_normal(30)
    residual = observed - design @ np.linalg.lstsq(design, observed, rcond=None)[0]
    covariance, noise = sandwich(-design, residual, np.ones(30), np.arange(30))
    assert noise.freedom == 28
    expected = residual @ residual / 28 * np.linalg.inv(design.T @ design) * 28 / 26
    np.testing.assert_allclose(covariance, expected, rtol=1e-9)


def test_errors_cover_the_truth_as_often_as_they_say(linear_curves):
    """Four hundred draws: 68 % and 95 % within 4 binomial standard errors; the spread is that of the estimates."""
    errors, stderr, correlations = [], [], []
    for seed in range(400):
        problem = linear_curves(0.01, seed=seed)
        params = problem.solve()
        found = covariance_of(problem, params)
        errors.append([params[name].value for name in problem.free] - problem.truth)
        stderr.append(np.sqrt(np.diag(found.matrix)))
        correlations.append(found.noise.correlation)
    size = np.abs(np.array(errors) / np.array(stderr))
    for width, nominal in ((1.0, 0.6827), (1.96, 0.95)):
        tolerance = 4 * np.sqrt(nominal * (1 - nominal) / 400)
        assert np.all(np.abs(np.mean(size < width, axis=0) - nominal) < tolerance), width
    assert abs(np.mean(correlations) - 0.7) < 0.01


def test_counting_points_as_independent_would_be_wrong_by_more_than_half(linear_curves):
    """The correlation matters: naive errors of the same problem cover the truth in far fewer than 68 % of draws."""
    inside = []
    for seed in range(200):
        problem = linear_curves(0.01, seed=seed)
        params = problem.solve()
        naive = np.sqrt(np.diag(curvature_inverse(problem.jacobian(params)))) * problem.weight_of_points
        inside.append(np.abs([params[n].value for n in problem.free] - problem.truth) < naive)
    assert np.all(np.mean(inside, axis=0) < 0.5)


def test_the_balance_makes_the_curvature_that_of_the_likelihood(linear_curves):
    """Data reweighted by the balance have, on average over directions, the curvature of their covariance."""
    problem = linear_curves(0.01)
    balance = covariance_of(problem, problem.solve()).noise.balance
    problem.weight = problem.weight * np.sqrt(balance)
    params = problem.solve()
    again = covariance_of(problem, params)
    assert abs(again.noise.balance - 1) < 1e-3
    ratio = np.diag(again.matrix) / np.diag(curvature_inverse(problem.jacobian(params)))
    assert abs(ratio.mean() - 1) < 0.2


def test_a_prior_that_says_it_all_has_the_whole_variance(linear_curves):
    problem = linear_curves(0.01)
    problem.prior = np.array([[0.0, 1e6, 0.0]])
    params = problem.solve()
    found = covariance_of(problem, params)
    assert found.prior_share[1] > 0.99
    np.testing.assert_allclose(params["slope"].stderr, 1e-6, rtol=1e-3)
    assert found.prior_share[0] < 1e-6
