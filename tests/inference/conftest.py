"""A linear fit of runs with correlated noise, whose errors are known exactly."""

import lmfit
import numpy as np
import pytest


class LinearCurves:
    """What a fit minimises, for log losses that are linear in the parameters, with one weak prior around zero."""

    weight_of_points, prior_deviation = 0.5, 3.0

    def __init__(self, noise, seed=0, runs=8, points=40, correlation=0.7):
        rng = np.random.default_rng(seed)
        self.points, self.correlation, self.noise = points, correlation, noise
        self.run = np.repeat(np.arange(runs), points)
        position = np.linspace(-1, 1, points)
        size = np.linspace(-1, 1, runs)
        self.design = np.stack(
            [np.ones(runs * points), np.tile(position, runs), np.repeat(size, points) * np.tile(position**2, runs)], 1
        )
        self.free, self.truth = ["level", "slope", "bend"], np.array([0.3, -0.2, 0.1])
        self.weight = np.full(self.run.size, self.weight_of_points)
        self.spread = np.full(self.run.size, noise)
        self.prior = np.array([[0.0, 1 / self.prior_deviation, 0.0]])
        self.used = type("Used", (), {"params": np.arange(1.0, runs + 1), "run": self.run})()
        self.log_loss = self.design @ self.truth + self.correlated(rng)

    def correlated(self, rng):
        shocks = rng.standard_normal((self.run[-1] + 1, self.points))
        noise = shocks.copy()
        for point in range(1, self.points):
            before = self.correlation * noise[:, point - 1]
            noise[:, point] = before + np.sqrt(1 - self.correlation**2) * shocks[:, point]
        return self.noise * noise.ravel()

    def misfit(self, values):
        return self.design @ np.array([values[name] for name in self.free]) - self.log_loss

    def residuals(self, params):
        values = params.valuesdict()
        prior = self.prior @ np.array([values[name] for name in self.free])
        return np.append(self.weight * self.misfit(values) / self.spread, prior)

    def jacobian(self, params):
        return np.vstack([self.design * (self.weight / self.spread)[:, None], self.prior])

    def with_jacobian(self, params):
        return self.residuals(params), self.jacobian(params)

    def solve(self):
        """Parameters at the minimum."""
        params = lmfit.Parameters()
        for name in self.free:
            params.add(name, value=0.0)
        step = np.linalg.lstsq(self.jacobian(params), -self.residuals(params), rcond=None)[0]
        for name, value in zip(self.free, step, strict=True):
            params[name].set(value=float(value))
        return params

    def correlation_matrix(self, correlation):
        same = self.run[:, None] == self.run
        apart = np.abs(np.arange(self.run.size)[:, None] - np.arange(self.run.size))
        return np.where(same, correlation**apart, 0.0)


@pytest.fixture
def linear_curves():
    """Maker of linear problems."""
    return LinearCurves
