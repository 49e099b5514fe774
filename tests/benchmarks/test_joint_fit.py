"""A joint fit through lmfit with and without the analytic derivatives, from one start to one tolerance, in turn."""

from dataclasses import replace

import numpy as np
import pytest
from lmfit import minimize

from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.fitting import default_parameters, default_weights
from scalingeq.inference.objective import Objective, moved_parameters
from scalingeq.inference.refining import refine
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


class Differences:
    """An objective without its derivatives: quotients of forward differences, as lmfit takes them."""

    def __init__(self, objective):
        self.free, self.residuals = objective.free, objective.residuals

    def jacobian(self, params):
        here = self.residuals(params)
        moved = moved_parameters(params, self.free)
        return np.stack([(self.residuals(there) - here) / step for there, step in moved], axis=1)

    def with_jacobian(self, params):
        return self.residuals(params), self.jacobian(params)


def by_leastsq(objective, params):
    """lmfit's default method."""
    derivatives = {} if isinstance(objective, Differences) else {"Dfun": objective.jacobian}
    found = minimize(objective.residuals, params, calc_covar=False, ftol=TOLERANCE, xtol=TOLERANCE, **derivatives)
    return found.params


def by_refinement(objective, params):
    """The package's own fits."""
    return refine(objective, params, TOLERANCE, 1000)


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


@pytest.mark.parametrize("fit", [by_leastsq, by_refinement])
def test_joint_fit(compare, loops, fit):
    curves = measured()
    params, _ = default_parameters(curves)
    for name, parameter in params.items():
        parameter.set(vary=name in START, value=START.get(name, TRUTH[name]))
    assert sum(parameter.vary for parameter in params.values()) == 8
    objective = Objective(curves, default_weights(curves), 0.01, params)
    assert np.unique(objective.run).size == RUNS
    without = Differences(objective)
    found, other = fit(objective, params), fit(without, params)
    for name in START:
        assert found[name].value == pytest.approx(other[name].value, rel=1e-3)
        assert found[name].value == pytest.approx(TRUTH[name], rel=0.3)
    cost, other_cost = (np.sum(objective.residuals(one) ** 2) for one in (found, other))
    assert cost <= other_cost * (1 + 1e-6)
    compare(
        f"joint fit of 20 curves of 100 points, 8 parameters, {fit.__name__.replace('_', ' ')}: without analytic "
        f"derivatives; {loops}",
        lambda: fit(objective, params), lambda: fit(without, params), target=2, most=1000, rounds=5,
    )  # fmt: skip
