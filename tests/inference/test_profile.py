"""Profiles: those of a linear problem are its covariance, those of a law stop where an independent search does."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import ndtri

from scalingeq import ParameterError
from scalingeq.inference.covariance import covariance_of, curvature_inverse
from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.fitting import default_parameters
from scalingeq.inference.objective import Objective
from scalingeq.inference.profile import profile
from scalingeq.inference.refining import FINE, refine
from scalingeq.inference.twopoint import complete
from scalingeq.inference.uncertainty import predicted_band


def test_a_linear_problem_has_the_intervals_of_its_covariance(linear_curves):
    problem = linear_curves(0.01)
    params = problem.solve()
    found = profile(problem, params, problem.free, (0.95, 0.68))
    covariance_of(problem, params)
    for number, name in enumerate(problem.free):
        for level, probability in enumerate((0.95, 0.68)):
            width = ndtri(0.5 + 0.5 * probability) * params[name].stderr
            np.testing.assert_allclose(found.upper[number, level] - params[name].value, width, rtol=2e-3)
            np.testing.assert_allclose(params[name].value - found.lower[number, level], width, rtol=2e-3)


@pytest.fixture(scope="module")
def two_exponents():
    """Two runs with all but alpha and r held."""
    one, step = np.ones(2), np.tile(np.geomspace(100, 1e5, 12), 2)
    curves = TrainingCurves(
        np.repeat([0, 1], 12), step, 8 * step, np.full(24, np.nan), np.full(24, np.nan), np.array(["a", "b"]),
        np.array([1e4, 1e5]), 0.1 * one, 8 * one, np.inf * one, 0 * one,
    )  # fmt: skip
    truth = complete(dict(alpha=1.5, r=0.3, irreducible=0.02, width_scale=40.0, width_exponent=0.7))
    loss, _ = predicted_band(truth, None, curves, 1e4)
    curves = replace(curves, loss=loss * np.exp(0.01 * np.random.default_rng(0).standard_normal(24)))
    params, _ = default_parameters(curves)
    for name in params:
        params[name].set(value=truth[name], vary=name in ("alpha", "r"), min=-np.inf, max=np.inf)
    objective = Objective(curves, np.ones(24), 0.01, params)
    return objective, refine(objective, params, *FINE)


def test_a_combination_stops_where_a_search_of_its_own_does(two_exponents):
    """2 alpha r held at its end and alpha searched by golden section: the misfit has risen as much as the level says."""
    objective, params = two_exponents
    params = params.copy()
    found = profile(objective, params, ["2 alpha r"], (0.68,))
    covariance = covariance_of(objective, params).matrix
    where = [list(params).index(name) for name in ("alpha", "r")]
    gradient = 2 * np.array([params["r"].value, params["alpha"].value])
    naive = curvature_inverse(objective.jacobian(params))
    scale = (gradient @ naive @ gradient) / (gradient @ covariance[np.ix_(where, where)] @ gradient)

    def misfit(alpha, product):
        moved = params.copy()
        moved["alpha"].set(value=alpha)
        moved["r"].set(value=product / (2 * alpha))
        return np.sum(objective.residuals(moved) ** 2)

    lowest = np.sum(objective.residuals(params) ** 2)
    for end in (found.lower, found.upper):
        searched = minimize_scalar(misfit, bracket=(1.45, 1.5), args=(end.item(),), options={"xtol": 1e-4})
        np.testing.assert_allclose(scale * (searched.fun - lowest), ndtri(0.84) ** 2, rtol=5e-3)


def test_what_cannot_be_profiled_is_refused_by_name(two_exponents):
    objective, params = two_exponents
    with pytest.raises(ParameterError, match=r"(?s)levels: 2.*scale: not free.*2 alpha r"):
        profile(objective, params, ["scale"], (2.0,))
