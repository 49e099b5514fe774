"""A joint fit through lmfit with and without the analytic derivatives, from one start to one tolerance, in turn."""

from dataclasses import replace

import numpy as np
import pytest
from lmfit import minimize

from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.fitting import default_parameters, default_weights
from scalingeq.inference.objective import Objective
from scalingeq.inference.twopoint import complete
from scalingeq.inference.uncertainty import predicted_band

RUNS, POINTS = 20, 100
TRUTH = complete(
    dict(alpha=1.6, r=0.3, scale=2.0, irreducible=0.3, time_scale=0.15, width_scale=80.0, width_exponent=0.6, noise_scale=0.3)
)  # fmt: skip
START = dict(
    alpha=1.5, r=0.35, scale=1.5, irreducible=0.2, time_scale=0.25, width_scale=120.0, width_exponent=0.7, noise_scale=0.2
)  # fmt: skip
TOLERANCE = 1e-8
#: lmfit's default, and the one that keeps parameters within their bounds as they are, of the package's own fits.
METHODS = {"leastsq": {}, "least_squares": {"x_scale": "jac"}}


def measured():
    """Twenty runs of a hundred points: five sizes at four ratios of rate to batch, one per cent of noise."""
    size = np.repeat(np.geomspace(1e4, 1e8, 5), 4)
    batch = np.tile([8.0, 32.0, 128.0, 512.0], 5)
    step = np.tile(np.geomspace(100, 1e5, POINTS), RUNS)
    run, one, unknown = np.repeat(np.arange(RUNS), POINTS), np.ones(RUNS), np.full(RUNS * POINTS, np.nan)
    names = np.array([f"run {number}" for number in range(RUNS)])
    curves = TrainingCurves(
        run, step, batch[run] * step, unknown, unknown, names, size, 0.1 * one, batch, np.inf * one, 0 * one
    )
    loss, _ = predicted_band(TRUTH, None, curves, 1e4)
    return replace(curves, loss=loss * np.exp(0.01 * np.random.default_rng(0).standard_normal(loss.size)))


@pytest.mark.parametrize("method", METHODS)
def test_joint_fit(compare, loops, method):
    curves = measured()
    params, _ = default_parameters(curves)
    for name, parameter in params.items():
        parameter.set(vary=name in START, value=START.get(name, TRUTH[name]))
    assert sum(parameter.vary for parameter in params.values()) == 8
    objective = Objective(curves, default_weights(curves), 0.01, params)
    assert np.unique(objective.run).size == RUNS

    def fit(**derivatives):
        options = METHODS[method] | derivatives
        return minimize(
            objective.residuals, params, method=method, calc_covar=False, ftol=TOLERANCE, xtol=TOLERANCE, **options
        )

    with_, without = fit(Dfun=objective.jacobian), fit()
    for name in START:
        assert with_.params[name].value == pytest.approx(without.params[name].value, rel=1e-3)
        assert with_.params[name].value == pytest.approx(TRUTH[name], rel=0.3)
    assert with_.chisqr <= without.chisqr * (1 + 1e-6)
    compare(
        f"joint fit of 20 curves of 100 points, 8 parameters, by {method}: without analytic derivatives; {loops}",
        lambda: fit(Dfun=objective.jacobian), fit, target=2, most=1000, rounds=5,
    )  # fmt: skip
