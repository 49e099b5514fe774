"""Does the noise of minibatches have a spectrum of its own? A choice, judged inside the fitted parts of the scoreboard.

Gradient noise of SGD on a square loss has the covariance of the inputs, eigenvalue by eigenvalue. Here it falls as that to
a power: the kernel is the sum over modes of ``eigenvalue**(1 + power) exp(-2 eigenvalue t)``, scaled to the same norm, and
the power of 1 is SGD. Runs of one size are fitted at infinite width, by explicit modes. ``python tests/benchmarks/report.py
choices`` writes the table. The records lie in ``shared/data`` beside the checkout.
"""

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import least_squares

from scalingeq.datasets.splits import SPLITS
from scalingeq.inference.fitting import default_weights
from scalingeq.inference.leaving_out import left_out
from scalingeq.inference.loss_rates import schedule_of
from scalingeq.inference.objective import CAPACITY_PRIOR, SOURCE_PRIOR, TIME_PRIOR
from scalingeq.inference.robust import POINTS_PER_CURVE
from scalingeq.theory import PowerLaw, Schedule, scheduled_loss
from scalingeq.theory.collocation import STAGES, at_times, march, to_powers

DATA = next((data for parent in Path(__file__).resolve().parents if (data := parent / "shared/data").is_dir()), None)
#: What misfits in log loss and the logarithm of the power are measured in.
SPREAD, POWER_PRIOR = 3e-3, 0.3
#: Frequency, in units of the largest eigenvalue, down to which the modes are resolved.
SLOWEST = 1e-9


def basis(schedule, step, alpha, r, power):
    """Loss (step, 2) of a unit of target power, and of a unit of label noise, at ascending steps of a schedule."""
    nodes = PowerLaw(alpha, r).nodes(SLOWEST)
    rate, count = nodes.eigenvalue, nodes.modes
    panels = schedule.panels(float(step[-1]), float(rate[0]))
    kernel = count * rate ** (1 + power)
    kernel *= (count * rate).sum() / (kernel / rate).sum()
    fall = np.exp(-2 * panels.nodes[..., None] * rate) @ nodes.target
    forcing = np.stack([fall, np.ones_like(fall)])[None]
    loss, _ = march(
        panels.length[None], panels.noise[None], -2 * rate.astype(complex), forcing, kernel[None].astype(complex), None,
        np.zeros(1, dtype=np.int64),
    )  # fmt: skip
    begin = np.array([nodes.target.sum(), 1.0])
    ends = np.concatenate([begin[:, None], loss[0, :, :-1, -1]], axis=1)
    series = np.concatenate([ends[..., None], loss[0]], axis=-1) @ to_powers(STAGES).T
    return at_times(panels.time, series, schedule.time(step)).T


class Fit:
    """A fit, with the weak priors of default fits, of runs of one size; ``power`` is free where it is None."""

    def __init__(self, curves, power):
        self.power = power
        own = [(schedule_of(curves, one), curves.step[curves.run == one]) for one in np.unique(curves.run).tolist()]
        longest = max(float(schedule.time(step[-1])) for schedule, step in own)
        self.loudest = max(schedule.highest_noise(float(step[-1])) for schedule, step in own)
        self.first = float(np.median([schedule.time(step[0]) for schedule, step in own]))
        lowest, highest = curves.loss.min(), curves.loss.max()
        # Logarithms of alpha - 1, r, the scale of time, the share of the largest stable noise, the scale of the loss and
        # the power; the irreducible loss itself.
        low = np.array([-4, -4, -20, -12, np.log(highest) - 5, 0, -1.5])
        high = np.array([2, 1, 25, -0.05, np.log(highest) + 8, 0.999 * lowest, 1.5])
        guesses = [
            np.array(
                [np.log(0.6), np.log(0.25), np.log(time / longest), np.log(0.1), np.log(highest), share * lowest, 0]
            )
            for time in (1e3, 1e5)
            for share in (0.5, 0.9)
        ]
        free = 7 if power is None else 6
        found = [
            least_squares(
                self.residuals,
                guess[:free],
                bounds=(low[:free], high[:free]),
                args=(curves,),
                x_scale="jac",
                max_nfev=60,
            )
            for guess in guesses
        ]
        self.values = min(found, key=lambda one: one.cost).x

    def log_loss(self, values, curves):
        capacity, r, time, share, scale = np.exp(values[:5])
        power = np.exp(values[6]) if self.power is None else self.power
        trace = PowerLaw(1 + capacity, r).nodes(1.0).trace
        noise = share * 2 / trace / self.loudest
        loss = np.empty(curves.run.size)
        for one in np.unique(curves.run).tolist():
            mine = curves.run == one
            columns = basis(schedule_of(curves, one).scaled(time, noise), curves.step[mine], 1 + capacity, r, power)
            loss[mine] = columns @ np.array([scale, values[5]])
        return np.log(np.maximum(loss, 1e-6 * curves.loss.min()))

    def residuals(self, values, curves):
        count = np.bincount(curves.run)[curves.run]
        misfit = (self.log_loss(values, curves) - np.log(curves.loss)) / SPREAD * np.sqrt(POINTS_PER_CURVE / count)
        capacity, r, time = np.exp(values[:3])
        priors = [
            np.log(2 * (1 + capacity) * r) / SOURCE_PRIOR,
            np.log(capacity / CAPACITY_PRIOR[0]) / CAPACITY_PRIOR[1],
            np.log(time * self.first / TIME_PRIOR[0]) / TIME_PRIOR[1],
        ]
        if self.power is None:
            priors.append(values[6] / POWER_PRIOR)
        return np.concatenate([misfit, priors])


def test_modes_of_noise_are_those_of_the_theory():
    """With the power of 1 explicit modes give the theory's losses, of the target and of label noise."""
    step, spectrum = np.geomspace(1, 2e4, 30), PowerLaw(1.5, 0.4)
    schedule = Schedule([0, 500, 2e4], [0, 0.5, 0.05], [0, 0.06, 0.006])
    signal, both = (scheduled_loss(step, schedule, spectrum, noise_variance=noise) for noise in (0.0, 1.0))
    found = basis(schedule, step, 1.5, 0.4, power=1.0)
    np.testing.assert_allclose(found, np.stack([signal, both - signal], axis=1), rtol=1e-6)


@pytest.mark.skipif(DATA is None, reason="needs the training records of shared/data beside the checkout")
@pytest.mark.parametrize("data", ["multipower-law 25M", "multipower-law 100M"])
def test_spectrum_of_the_noise(benchmark, record_property, data):
    [split] = [one for one in SPLITS if one.data == data]
    curves, held = split.curves(DATA)
    curves = curves.select(~held)
    curves = curves.select(default_weights(curves) > 0)

    def error(power):
        squares = []
        for mask in left_out(curves, split.task):
            fit, test = Fit(curves.select(~mask), power), curves.select(mask)
            squares.append(np.mean((fit.log_loss(fit.values, test) - np.log(test.loss)) ** 2))
        return float(np.sqrt(np.mean(squares)))

    errors = benchmark.pedantic(lambda: [error(power) for power in (1.0, None)], rounds=1)
    record_property("choices", {f"{data}, {split.name}, at infinite width: noise with a spectrum of its own": errors})
