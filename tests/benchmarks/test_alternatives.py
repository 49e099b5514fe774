"""One curve beside what else computes it: recursion, direct simulation, a Volterra solve in time, finite differences.

``python tests/benchmarks/report.py comparisons`` writes the table. All do the same work in the same run, in turn.
"""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from scalingeq.theory import PowerLaw, flow_loss, forcing, kernel, loss_curve

MODES, WIDTH, BATCH, RATE, LAST = 1000, 400, 8, 0.5, 100_000
SPECTRUM = PowerLaw(1.5, 0.4, MODES)
STEPS = np.unique(np.geomspace(1, LAST, 240).round())
K = np.arange(1.0, MODES + 1)
ROOT, TARGET = K ** (-SPECTRUM.alpha / 2), K ** -(SPECTRUM.alpha * SPECTRUM.r + 0.5)
SHARE = 50  # of the steps of direct simulation one in so many is run: all are the same work


def theory():
    return loss_curve(STEPS, SPECTRUM, width=WIDTH, batch_size=BATCH, learning_rate=RATE)


def draw(rng):
    """Random features (mode, feature) of whitened inputs."""
    return ROOT[:, None] * rng.standard_normal((MODES, WIDTH)) / np.sqrt(WIDTH)


def recursion(rng):
    """Loss (step,) of one draw of features, expected over the samples: the second moments of its eigenmodes, exactly."""
    features = draw(rng)
    eigenvalue, vector = np.linalg.eigh(features.T @ features)
    power = (TARGET @ (features @ vector)) ** 2 / eigenvalue
    unseen = TARGET @ TARGET - power.sum()
    noise = (RATE * eigenvalue) ** 2 / BATCH
    decay, at, losses = (1 - RATE * eigenvalue) ** 2 + noise, STEPS.tolist(), []
    wanted = iter(at)
    following = next(wanted)
    for step in range(1, LAST + 1):
        loss = power.sum() + unseen
        power *= decay
        power += loss * noise
        if step == following:
            losses.append(power.sum() + unseen)
            following = next(wanted, None)
    return np.array(losses)


def direct(rng, steps):
    """Loss after ``steps`` steps of one run of SGD, fresh samples in every batch."""
    features, weight = draw(rng), np.zeros(WIDTH)
    for _ in range(steps):
        z = rng.standard_normal((BATCH, MODES))
        x = z @ features
        weight -= RATE / BATCH * ((x @ weight - z @ TARGET) @ x)
    return float(np.sum((TARGET - features @ weight) ** 2))


def test_eigenvalue_recursion(compare, loops):
    """Drawing the features, diagonalising, and 100,000 steps of the recursion of 400 modes."""
    rng = np.random.default_rng(0)
    mean = np.mean([recursion(rng) for _ in range(4)], axis=0)
    later = STEPS >= 10  # before, flow is not yet what steps are
    np.testing.assert_allclose(theory()[later], mean[later], rtol=0.05)  # the scatter of four draws
    ratio = compare(
        f"eigenvalue recursion of one draw, width 400, 1,000 modes, 100,000 steps; {loops}", theory,
        lambda: recursion(rng), target=100, rounds=7,
    )  # fmt: skip
    assert ratio > 1


def test_direct_simulation(compare, loops):
    """One run; a mean as exact as the theory takes many."""
    rng = np.random.default_rng(0)
    runs = [direct(rng, 300) for _ in range(60)]
    mean, error = np.mean(runs), np.std(runs, ddof=1) / np.sqrt(len(runs))
    at = loss_curve([300], SPECTRUM, width=WIDTH, batch_size=BATCH, learning_rate=RATE)[0]
    assert abs(at - mean) < 4 * error + 0.02 * at  # flow for steps
    ratio = compare(
        f"one direct run of SGD, width 400, batches of 8, 1,000 modes, 100,000 steps (2,000 run, times {SHARE}); {loops}",
        theory, lambda: direct(rng, LAST // SHARE), target=20_000, rounds=7, scale=SHARE,
    )  # fmt: skip
    assert ratio > 1


class TimeDomain:
    """The Volterra equation of one pass on a grid in time that grows in proportion, the loss linear between points.

    With M the second antiderivative of the kernel K, the integral of K(t - u) L(u) is M'(t) L(0) and the sum, over the
    pieces of the grid, of the mean of M'(t - u) there times the change of L. Quadrature that took K at points would
    have to resolve its fastest mode up to the last time.
    """

    def __init__(self, spectrum, width, noise_rate, last):
        self.noise_rate, self.last = noise_rate, last
        table = np.geomspace(1e-8, 2 * last, 6000)
        self.forcing = CubicSpline(np.log(table), np.log(forcing(table, spectrum, width=width)))
        self.start = float(forcing([0.0], spectrum, width=width)[0])
        # Gauss points between the knots; before the first of them the kernel is what it is at zero.
        x, weight = np.polynomial.legendre.leggauss(6)
        middle, half = (table[1:] + table[:-1]) / 2, np.diff(table) / 2
        at = middle[:, None] + half[:, None] * x
        part = kernel(at.ravel(), spectrum, width=width).reshape(at.shape) * weight * half[:, None]
        start = float(kernel(table[:1], spectrum, width=width)[0])
        zeroth = np.append(start * table[0], part.sum(axis=1)).cumsum()
        first = np.append(start * table[0] ** 2 / 2, (part * at).sum(axis=1)).cumsum()
        self.once = CubicSpline(np.log(table), np.log(zeroth))
        self.twice = CubicSpline(np.log(table), np.log(table * zeroth - first))

    def solve(self, per_decade):
        """Times and losses."""
        time = np.append(0.0, np.geomspace(1e-4, self.last, round(np.log10(self.last / 1e-4) * per_decade) + 1))
        log = np.log(time[1:])
        known = np.exp(self.forcing(log)) + self.noise_rate * np.exp(self.once(log)) * self.start
        loss = np.full(time.size, self.start)
        for i in range(1, time.size):
            twice = np.append(np.exp(self.twice(np.log(time[i] - time[:i]))), 0.0)
            mean = -np.diff(twice) / np.diff(time[: i + 1])
            felt = mean[:-1] @ np.diff(loss[:i]) - mean[-1] * loss[i - 1]
            loss[i] = (known[i - 1] + self.noise_rate * felt) / (1 - self.noise_rate * mean[-1])
        return time, loss

    def extrapolated(self, per_decade):
        """Times and losses of a grid and of one twice as fine, whose errors fall as the square of the step."""
        (time, coarse), (_, fine) = self.solve(per_decade), self.solve(2 * per_decade)
        fine = np.append(fine[0], fine[1::2])
        return time, fine + (fine - coarse) / 3


def test_volterra_in_time(compare, record_property, loops):
    """As many points as an error of 1e-6 takes; the tables of forcing and kernel are given and not counted."""
    given = {"width": float(WIDTH), "noise_rate": RATE / BATCH}
    last = RATE * LAST
    solver = TimeDomain(SPECTRUM, given["width"], given["noise_rate"], last)
    at = np.geomspace(RATE, last, 200)
    for per_decade in (10, 20, 40, 80, 160):
        time, loss = solver.extrapolated(per_decade)
        later = time >= RATE
        error = np.abs(loss / np.append(solver.start, flow_loss(time[1:], SPECTRUM, **given)) - 1)[later].max()
        if error < 1e-6:
            break
    assert error < 1e-6
    compare(
        f"Volterra equation solved in time to 1e-6, {2 * time.size} points; {loops}",
        lambda: flow_loss(at, SPECTRUM, **given), lambda: solver.extrapolated(per_decade), rounds=7,
    )  # fmt: skip


BASE = {
    "alpha": 1.5, "r": 0.4, "width": 500.0, "samples": 3e4, "noise_variance": 0.05, "learning_rate": 0.5,
    "batch_size": 8.0, "steps": 1.0,
}  # fmt: skip
SLOPED = np.geomspace(1, 1e6, 200)


def curve(values, jacobian=False):
    rest = {name: value for name, value in values.items() if name not in ("alpha", "r", "steps")}
    spectrum = PowerLaw(values["alpha"], values["r"], 1e9)
    return loss_curve(values["steps"] * SLOPED, spectrum, jacobian=jacobian, **rest)


def quotients(values, step):
    """Central differences (parameter, step) of all eight parameters, each moved by a share."""
    return {
        name: (curve(values | {name: x * (1 + step)}) - curve(values | {name: x * (1 - step)})) / (2 * step * x)
        for name, x in values.items()
        if np.isfinite(x)
    }


@pytest.mark.parametrize("samples", [np.inf, 3e4])
def test_central_differences(compare, record_property, samples, loops):
    """Sixteen evaluations; two more steps of them, extrapolated, agree to 1e-6."""
    values = BASE | {"samples": samples}
    loss, slopes = curve(values, jacobian=True)
    slopes["steps"] = slopes["steps"] * SLOPED
    coarse, fine = quotients(values, 4e-3), quotients(values, 2e-3)
    worst = {"plain": 0.0, "extrapolated": 0.0}
    for name, quotient in fine.items():
        for kind, found in (("plain", quotient), ("extrapolated", quotient + (quotient - coarse[name]) / 3)):
            scale = np.maximum(np.abs(slopes[name]), 0.1 * loss / values[name])
            worst[kind] = max(worst[kind], float(np.abs((found - slopes[name]) / scale).max()))
    case = (
        f"central differences of {'seven parameters, one pass' if np.isinf(samples) else 'eight, finite data'}; {loops}"
    )
    record_property("agreement", {case: worst})
    assert worst["extrapolated"] < 1e-6
    compare(case, lambda: curve(values, jacobian=True), lambda: quotients(values, 2e-3))
