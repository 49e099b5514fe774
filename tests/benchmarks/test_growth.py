"""How the cost grows with each size: the slope of the logarithm of the median time, and its standard error."""

from dataclasses import replace

import numpy as np
import pytest
from lmfit import minimize
from scipy.stats import linregress

from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.fitting import default_parameters, default_weights
from scalingeq.inference.objective import Objective
from scalingeq.inference.twopoint import complete
from scalingeq.inference.uncertainty import predicted_band
from scalingeq.theory import PowerLaw, flow_loss, loss_curve

SPECTRUM = PowerLaw(1.5, 0.4, 1e9)


def curve(modes=1e9, times=200, widths=1, samples=np.inf, noise_rate=0.1):
    """A function that computes losses of so many modes, times and widths."""
    time, spectrum = np.geomspace(1, 1e7, times), PowerLaw(1.5, 0.4, modes)
    width = np.geomspace(100, 1e6, widths) if widths > 1 else 1e4
    return lambda: flow_loss(time, spectrum, width=width, samples=samples, noise_rate=noise_rate)


def scheduled(steps):
    rate = 0.25 * (1 + np.cos(np.pi * (np.arange(steps) + 0.5) / steps))
    at = np.arange(1.0, steps + 1)
    return lambda: loss_curve(at, SPECTRUM, width=1e4, batch_size=8, learning_rate=rate)


def joint_fit(runs):
    """Ten evaluations of a joint fit of so many runs of 50 points: residuals and derivatives."""
    one, run = np.ones(runs), np.repeat(np.arange(runs), 50)
    step, unknown = np.tile(np.geomspace(100, 1e5, 50), runs), np.full(50 * runs, np.nan)
    size, names = np.geomspace(1e4, 1e8, runs), np.array([f"run {number}" for number in range(runs)])
    curves = TrainingCurves(
        run, step, 8 * step, unknown, unknown, names, size, 0.1 * one, 8 * one, np.inf * one, 0 * one
    )
    truth = complete(dict(alpha=1.6, r=0.3, irreducible=0.3, time_scale=0.15, width_scale=80.0, width_exponent=0.6))
    loss, _ = predicted_band(truth, None, curves, 1e4)
    curves = replace(curves, loss=loss * np.exp(0.01 * np.random.default_rng(0).standard_normal(loss.size)))
    params, _ = default_parameters(curves)
    objective = Objective(curves, default_weights(curves), 0.01, params)
    return lambda: minimize(
        objective.residuals, params, method="least_squares", max_nfev=10, calc_covar=False, Dfun=objective.jacobian
    )


#: Function of a size, the sizes, the largest exponent of growth, and how many times as long the largest may take.
CASES = {
    "modes, one pass": (lambda n: curve(modes=n), 10.0 ** np.arange(3, 13, 3), None, 1.5),
    "modes, finite data": (lambda n: curve(modes=n, samples=3e4), 10.0 ** np.arange(3, 13, 3), None, 1.5),
    "times, one pass": (lambda n: curve(times=n), (64, 256, 1024, 4096), 1.1, None),
    "widths, one pass": (lambda n: curve(widths=n), (16, 64, 256, 1024), 1.1, None),
    "widths, finite data": (lambda n: curve(widths=n, samples=3e4, noise_rate=0.0), (4, 16, 64), 1.1, None),
    "samples (their number)": (lambda n: curve(samples=n), (1e3, 1e5, 1e7), None, None),
    "steps of a cosine schedule": (scheduled, (5_000, 20_000, 100_000), 1.1, None),
    "curves in a joint fit, ten evaluations": (joint_fit, (5, 20, 80), 1.1, None),
}


@pytest.mark.parametrize("case", CASES)
def test_growth(turns, record_property, case, loops):
    function, sizes, limit, most = CASES[case]
    seconds = np.median(turns(*(function(int(size)) for size in sizes), rounds=5), axis=1)
    line = linregress(np.log(sizes), np.log(seconds))
    row = {"first": float(sizes[0]), "last": float(sizes[-1]), "exponent": line.slope, "stderr": line.stderr}
    record_property(
        "growth_exponents",
        {f"{case}; {loops}": row | {"limit": limit, "ratio": seconds[-1] / seconds[0], "most": most}},
    )
    assert line.slope < 2
    assert most is None or seconds[-1] < most * seconds[0]
