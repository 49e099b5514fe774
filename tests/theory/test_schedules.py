"""Losses of gradient flow under schedules against constant rates, exact propagators and the Volterra equation in time."""

import math

import numpy as np
import pytest
from scipy.linalg import expm

from scalingeq.errors import InstabilityError, ParameterError
from scalingeq.theory import PowerLaw, Schedule, compiled, flow_loss, forcing, kernel, loss_curve, scheduled_loss
from scalingeq.theory.collocation import interpolation, radau
from scalingeq.theory.panels import cut
from scalingeq.theory.rates import StepRates

STEPS = np.array([0, 1, 2, 5, 10, 30, 100, 300, 999, 1000])


def cosine(steps, low=0.0):
    return low + (1 - low) * (1 + np.cos(np.pi * (np.arange(steps) + 0.5) / steps)) / 2


def schedules(steps):
    """Rates (step,) of the shapes that real runs have, and batch sizes of two."""
    at = np.arange(steps)
    return {
        "cosine": (cosine(steps), 4.0),
        "warm-up and cosine": (np.minimum(1, (at + 1) / (steps // 10)) * cosine(steps), 4.0),
        "sharp drop": (np.where(at < 0.6 * steps, 1.0, 0.1), 4.0),
        "warm-up, plateau and decay": (
            np.minimum(np.minimum(1, (at + 1) / (steps // 20)), np.minimum(1, (steps - at) / (steps // 5))), 4.0,
        ),
        "restarts": (np.tile(cosine(steps // 4), 4), 4.0),
        "batch ramp": (np.ones(steps), np.where(at < steps // 2, 4.0, 64.0)),
        "rate and batch": (cosine(steps), np.geomspace(2, 64, steps).round()),
    }  # fmt: skip


def modes(alpha, r, dim):
    k = np.arange(1.0, dim + 1)
    return k**-alpha, k ** -(2 * alpha * r + 1)


@pytest.mark.parametrize("stages", [2, 5, 7])
def test_radau_is_exact_for_polynomials(stages):
    nodes, matrix = radau(stages)
    for degree in range(stages):
        np.testing.assert_allclose(matrix @ nodes**degree, nodes ** (degree + 1) / (degree + 1), atol=1e-14)
    # Twice as exact at the end of the step.
    for degree in range(2 * stages - 1):
        np.testing.assert_allclose(matrix[-1] @ nodes**degree, 1 / (degree + 1), atol=1e-13)
    places, to_between = interpolation(stages)
    np.testing.assert_array_equal(places[2::2], nodes)
    np.testing.assert_allclose(to_between @ places[::2] ** stages, places[1::2] ** stages, atol=1e-13)


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"width": 1e4},
        {"samples": 300, "width": 200},
        {"samples": 300, "width": 200, "kind": "train"},
        {"width": [100, 1e4], "samples": [math.inf, 1e3]},
    ],
)
@pytest.mark.parametrize("noise_rate", [0.0, 0.1])
def test_constant_rate_as_an_array_is_that_rate(sizes, noise_rate):
    spectrum, rate = PowerLaw(1.5, 0.4, 1e9), 0.5
    batch = rate / noise_rate if noise_rate else math.inf
    arguments = {"noise_variance": 0.1, **sizes}
    scalar = loss_curve(STEPS, spectrum, learning_rate=rate, batch_size=batch, **arguments)
    array = loss_curve(STEPS, spectrum, learning_rate=np.full(1000, rate), batch_size=np.full(1000, batch), **arguments)
    np.testing.assert_allclose(array, scalar, rtol=1e-8)
    long = np.geomspace(1, 1e7, 50)
    schedule = Schedule([0, 1e7], [rate] * 2, [noise_rate] * 2)
    np.testing.assert_allclose(
        scheduled_loss(long, schedule, spectrum, **arguments),
        flow_loss(rate * long, spectrum, noise_rate=noise_rate, **arguments),
        rtol=1e-8,
    )


@pytest.mark.parametrize("name", schedules(1000))
def test_both_forms_cut_the_same_panels(name, monkeypatch):
    pytest.importorskip("numba", reason="compiled loops need the extra [fast]")
    shape, batch = schedules(1000)[name]
    rate = 0.8 * shape
    noise_rate = np.array(np.broadcast_to(rate / batch, 1000))
    found = []
    for flag in ("0", "1"):
        monkeypatch.setenv("SCALINGEQ_COMPILED", flag)
        compiled.loops.cache_clear()
        assert (compiled.loops() is None) == (flag == "0")
        rates = StepRates(rate, noise_rate)
        times = rates.time(np.array([[0.0, 0.5], [17.0, 999.25]]))
        found.append((times, rates.breaks(), cut(rates, 1000.0, 1.5)))
    compiled.loops.cache_clear()
    (times, breaks, panels), (other_times, other_breaks, other_panels) = found
    np.testing.assert_allclose(times, other_times, rtol=1e-14)
    np.testing.assert_array_equal(breaks, other_breaks)
    for one, other in zip(panels, other_panels, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def exact_flow(at, rate, noise_rate, eigenvalue, power, noise_variance):
    """Loss of gradient flow with minibatch noise at infinite width, with the exact propagator of every step."""
    size = eigenvalue.size
    generator = np.zeros((size + 1, size + 1))
    state, losses, known = np.append(power / eigenvalue, 1.0), [], {}
    for step in range(at[-1] + 1):
        if step in at:
            losses.append(eigenvalue @ state[:-1] + noise_variance)
        if step == at[-1]:
            return np.array(losses)
        key = (rate[step], noise_rate[step])
        if key not in known:
            # d m/dt = -2 lambda m + (rate/batch) lambda L for the second moments m, L = lambda m + noise variance.
            generator[:-1, :-1] = -2 * np.diag(eigenvalue) + key[1] * np.outer(eigenvalue, eigenvalue)
            generator[:-1, -1] = key[1] * eigenvalue * noise_variance
            known[key] = expm(key[0] * generator)
        state = known[key] @ state
    return None


@pytest.mark.parametrize("name", schedules(1000))
def test_schedules_against_exact_propagators(name):
    shape, batch = schedules(1000)[name]
    rate = 0.8 * shape
    eigenvalue, power = modes(1.5, 0.4, 25)
    expected = exact_flow(STEPS, rate, np.broadcast_to(rate / batch, 1000), eigenvalue, power, 0.01)
    loss = loss_curve(STEPS, PowerLaw(1.5, 0.4, 25), learning_rate=rate, batch_size=batch, noise_variance=0.01)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def volterra_in_time(time, noise_rate, train, test_kernel, train_kernel):
    """Noise in the train and test loss at ascending even times, by the trapezoidal rule."""
    step, loss, noise = time[1], train.copy(), np.zeros_like(train)
    share = np.full(time.size, step)
    for i in range(time.size):
        weight = share[: i + 1].copy()
        weight[[0, -1]] /= 2 if i else np.inf
        source = weight * noise_rate[: i + 1]
        if i:
            loss[i] = (train[i] + (source[:-1] * train_kernel[i:0:-1]) @ loss[:i]) / (1 - source[-1] * train_kernel[0])
        noise[i] = source @ (test_kernel[i::-1] * loss[: i + 1])
    return loss - train, noise


@pytest.mark.parametrize("sizes", [{"width": 80}, {"width": 60, "samples": 90}, {"samples": 80}])
@pytest.mark.parametrize("kind", ["test", "train"])
def test_schedules_against_the_volterra_equation_in_time(sizes, kind):
    # Rate 1 throughout, so that steps are times; the noise rate falls, then rises, as growing and shrinking batches do.
    spectrum, last, arguments = PowerLaw(1.5, 0.4), 20.0, {"noise_variance": 0.05, **sizes}
    knots, noise_rates = np.array([0.0, 8.0, 8.0, 20.0]), np.array([0.5, 0.1, 0.4, 0.05])
    answers = []
    for points in (801, 1601):
        time = np.linspace(0, last, points)
        noise_rate = np.interp(time, [0, 8 - 1e-9, 8 + 1e-9, 20], noise_rates)
        noise_rate[points * 2 // 5] = (0.1 + 0.4) / 2
        kernels = [kernel(np.maximum(time, 1e-9), spectrum, kind=which, **sizes) for which in ("test", "train")]
        forced = forcing(time, spectrum, kind="train", **arguments)
        added = volterra_in_time(time, noise_rate, forced, *kernels)
        answers.append(added[kind == "test"][:: (points - 1) // 20])
    expected = (4 * answers[1] - answers[0]) / 3 + forcing(np.linspace(0, last, 21), spectrum, kind=kind, **arguments)
    schedule = Schedule(knots, np.ones(4), noise_rates)
    loss = scheduled_loss(np.linspace(0, last, 21), schedule, spectrum, kind=kind, **arguments)
    # At the jump itself the trapezoidal rule has the mean of the two rates.
    np.testing.assert_allclose(np.delete(loss, 8), np.delete(expected, 8), rtol=2e-6)


@pytest.mark.parametrize("name", schedules(20_000))
def test_panels_resolve_schedules_of_real_length(name, monkeypatch):
    from scalingeq.theory import panels as module

    shape, batch = schedules(20_000)[name]
    arguments = {"learning_rate": 0.5 * shape, "batch_size": batch, "width": 1e4}
    at = np.unique(np.geomspace(1, 20_000, 300).astype(int))
    loss = loss_curve(at, PowerLaw(1.5, 0.4, 1e9), **arguments)
    for constant, fine in {"GROWTH": 0.15, "FIRST": 0.1, "CHANGE": 0.2, "RESOLVED": 3e-8, "NOT_FELT": 1e-7}.items():
        monkeypatch.setattr(module, constant, fine)
    np.testing.assert_allclose(loss, loss_curve(at, PowerLaw(1.5, 0.4, 1e9), **arguments), rtol=5e-6)


@pytest.mark.parametrize("name", ["cosine", "warm-up, plateau and decay", "rate and batch"])
@pytest.mark.parametrize("samples", [math.inf, 500.0])
def test_panels_of_many_steps_are_as_good_as_single_steps(name, samples, monkeypatch):
    """Stairs of single steps are smoothed: beside panels of one step each, where they are not."""
    from scalingeq.theory import panels as module

    shape, batch = schedules(600)[name]
    settings = {"learning_rate": 0.5 * shape, "batch_size": batch, "width": 300, "samples": samples}
    at = np.arange(601.0)
    loss = loss_curve(at, PowerLaw(1.5, 0.4), noise_variance=0.1, **settings)
    for constant, exact in {"RESOLVED": -1.0, "NOT_FELT": -1.0, "STAIRS": 0.0}.items():
        monkeypatch.setattr(module, constant, exact)
    np.testing.assert_allclose(loss, loss_curve(at, PowerLaw(1.5, 0.4), noise_variance=0.1, **settings), rtol=1e-6)


def test_only_the_integrals_of_a_schedule_count_without_noise():
    rng = np.random.default_rng(0)
    rate = rng.random(1000)
    for sizes in ({"width": 50}, {"samples": 50}, {"width": 50, "samples": 70, "kind": "train"}):
        loss = loss_curve(STEPS, PowerLaw(1.5, 0.4), learning_rate=rate, noise_variance=0.1, **sizes)
        time = np.append(0, np.cumsum(rate))[STEPS]
        expected = flow_loss(time, PowerLaw(1.5, 0.4), noise_variance=0.1, **sizes)
        np.testing.assert_allclose(loss, expected, rtol=1e-8)


def test_rates_that_jump_at_every_step():
    rng = np.random.default_rng(1)
    rate = 0.3 * np.exp(0.5 * rng.standard_normal(300))
    at = np.array([1, 10, 100, 300])
    eigenvalue, power = modes(1.5, 0.4, 25)
    expected = exact_flow(at, rate, rate / 8, eigenvalue, power, 0.0)
    np.testing.assert_allclose(
        loss_curve(at, PowerLaw(1.5, 0.4, 25), learning_rate=rate, batch_size=8), expected, rtol=1e-6
    )


def test_a_step_longer_than_the_fastest_mode_relaxes():
    # A fit may try any time scale: rates far above 1/eigenvalue in gradient flow, where a drop relaxes within a step.
    schedule = Schedule([0, 50, 50, 60], [40.0, 40.0, 4.0, 4.0], [0.3, 0.3, 0.03, 0.03])
    at, scale = np.array([1, 49, 50, 51, 52, 60]), np.ones(60)
    eigenvalue, power = modes(1.5, 0.4, 25)
    rate, noise = np.where(np.arange(60) < 50, 40.0, 4.0), np.where(np.arange(60) < 50, 0.3, 0.03)
    expected = exact_flow(at, rate * scale, noise, eigenvalue, power, 0.1)
    np.testing.assert_allclose(
        scheduled_loss(at, schedule, PowerLaw(1.5, 0.4, 25), noise_variance=0.1), expected, rtol=1e-6
    )


def test_a_rate_of_zero_changes_nothing():
    rate = np.concatenate([np.full(100, 0.5), np.zeros(100)])
    loss = loss_curve([100, 150, 200], PowerLaw(1.5, 0.4), learning_rate=rate, batch_size=4, width=60)
    np.testing.assert_allclose(loss, loss[0], rtol=1e-12)
    start = loss_curve([0, 50, 100], PowerLaw(1.5, 0.4), learning_rate=np.zeros(100), noise_variance=0.1)
    np.testing.assert_allclose(start, PowerLaw(1.5, 0.4).nodes(1.0).power + 0.1, rtol=1e-12)


def test_schedule_refuses():
    schedule = Schedule([0, 10], [0.1, 0.1], [0.0, 0.0])
    with pytest.raises(ParameterError, match="ends at step 10, before the last of the steps, 11"):
        scheduled_loss([5.0, 11.0], schedule, PowerLaw(1.5, 0.4))
    with pytest.raises(ParameterError, match="3 problems"):
        scheduled_loss([5.0], schedule, PowerLaw(1.5, 0.4), ridge=-1, width=0, noise_variance=-1)
    with pytest.raises(InstabilityError, match="noise_rate"):
        scheduled_loss([5.0], Schedule([0, 10], [0.1, 0.1], [0.1, 2.0]), PowerLaw(1.5, 0.4))
    for arguments, text in (
        (([0, 10], [0.1], [0.0, 0.0]), "rate has shape"),
        (([5, 10], [0.1, 0.1], [0.0, 0.0]), "begins at 5"),
        (([0, 10, 5], [0.1] * 3, [0.0] * 3), "not ascending"),
        (([0, 10], [0.1, -0.1], [np.nan, 0.0]), "2 problems"),
        (([0], [0.1], [0.1]), "two knots"),
    ):
        with pytest.raises(ParameterError, match=text):
            Schedule(*arguments)
