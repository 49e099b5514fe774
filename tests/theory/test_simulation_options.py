"""Schedules, momentum, ridge, covariate shift and ensembles of the simulation, against exact and independent ones."""

import math

import numpy as np
import pytest

from scalingeq.errors import ParameterError
from scalingeq.theory import PowerLaw, Spectrum, simulate

K = np.arange(1.0, 61)
EIGENVALUES, POWER = K**-1.5, K**-2.2
STEPS = np.array([0, 1, 5, 20, 80, 199, 205, 300, 400])
UPDATES = np.arange(400)
PLAIN = {"learning_rate": 0.3, "batch_size": 2, "noise_variance": 0.05}
OPTIONS = {
    "plain": {},
    "cosine": {"learning_rate": 0.2 * (1 + np.cos(np.pi * UPDATES / 400))},
    "warm-up from zero": {"learning_rate": 0.3 * np.minimum(1, UPDATES / 100)},
    "sharp drop": {"learning_rate": np.where(UPDATES < 200, 0.3, 0.03)},
    "batch ramp": {"batch_size": 1 + UPDATES // 100},
    "batches that become full": {"batch_size": np.where(UPDATES < 200, 2, math.inf)},
    "momentum": {"momentum": 0.9, "learning_rate": 0.04},
    "ridge": {"ridge": 0.05},
    "momentum and ridge": {"momentum": 0.9, "ridge": 0.05, "learning_rate": 0.04},
    "covariate shift": {"test_eigenvalues": K**-1.0},
    "all together": {
        "learning_rate": 0.04 * np.minimum(1, UPDATES / 100),
        "batch_size": 1 + UPDATES // 100,
        "momentum": 0.8,
        "ridge": 0.02,
        "test_eigenvalues": K[::-1] ** -1.0,
    },
}


@pytest.mark.parametrize("name", OPTIONS)
def test_simulation_agrees_with_exact_recursion(exact_one_pass, name):
    options = {**PLAIN, **OPTIONS[name]}
    test = exact_one_pass(STEPS, EIGENVALUES, POWER, **options)
    shifted = options.pop("test_eigenvalues", EIGENVALUES)
    train = exact_one_pass(STEPS, EIGENVALUES, POWER, **options)
    # The target of the test spectrum must not matter.
    runs = simulate(STEPS, PowerLaw(1.5, 0.4, 60), test_spectrum=Spectrum(shifted, K), repetitions=600, **options)
    for mean, error, expected in ((runs.test, runs.test_stderr, test), (runs.train, runs.train_stderr, train)):
        assert np.all(np.abs(mean - expected) <= 4 * error + 1e-12), (mean / expected - 1, error / expected)
        assert np.median(error / expected) < 0.01
    if name != "plain":  # the errors are small beside what the option does
        plain = exact_one_pass(STEPS, EIGENVALUES, POWER, **PLAIN)
        assert np.max(np.abs(test - plain) / (runs.test_stderr + 1e-12)) > 30


def loop(root, target, shift, generator, settings):
    """Losses (step,) of one repetition, written model by model without any of the package's code."""
    dim, (draws, sets) = target.size, settings["ensemble"]
    features = [generator.normal(size=(dim, settings["width"])) / math.sqrt(settings["width"]) for _ in range(draws)]
    data = []
    for _ in range(sets):
        x = generator.normal(size=(settings["samples"], dim)) * root
        label = x @ (target / root) + math.sqrt(settings["noise_variance"]) * generator.normal(size=len(x))
        data.append((x, label))
    weights, train = [], []
    for feature in features:
        for x, label in data:
            path = [np.zeros(settings["width"])] * 2
            for rate, batch in zip(settings["learning_rate"], settings["batch_size"], strict=True):
                rows = generator.integers(len(x), size=int(batch)) if np.isfinite(batch) else np.arange(len(x))
                seen = x[rows] @ feature
                gradient = seen.T @ (seen @ path[-1] - label[rows]) / len(rows) + settings["ridge"] * path[-1]
                change = settings["momentum"] * (path[-1] - path[-2])
                path.append(path[-1] - rate * gradient + change)
            weights.append([feature @ path[step + 1] for step in LOOP_STEPS])
            train.append([np.mean((x @ w - label) ** 2) for w in weights[-1]])
    miss = target / root - np.mean(weights, axis=0)
    return miss**2 @ shift + settings["noise_variance"], np.mean(train, axis=0)


LOOP_STEPS = (0, 3, 10, 25)
LOOPS = {
    "everything": {"ensemble": (2, 3), "momentum": 0.7, "ridge": 0.1, "full": 20},
    "ensemble of features": {"ensemble": (3, 1), "momentum": 0.0, "ridge": 0.0, "full": 0},
    "bagging": {"ensemble": (1, 3), "momentum": 0.0, "ridge": 0.0, "full": 25},
    "full batches": {"ensemble": (1, 1), "momentum": 0.7, "ridge": 0.1, "full": 0},
}


@pytest.mark.parametrize("name", LOOPS)
def test_finite_sizes_agree_with_a_plain_loop(name):
    """Rates that change, minibatches of 3 up to step ``full`` and full batches from there, another test covariance."""
    k = np.arange(1.0, 13)
    settings = {**LOOPS[name], "width": 6, "samples": 9, "noise_variance": 0.2}
    updates = np.arange(LOOP_STEPS[-1])
    settings["learning_rate"] = 0.15 - 0.005 * updates
    settings["batch_size"] = np.where(updates < settings.pop("full"), 3, math.inf)
    generator = np.random.default_rng(3)
    plain = np.array([loop(k**-0.6, k**-1.1, k**-0.5, generator, settings) for _ in range(400)])
    runs = simulate(
        LOOP_STEPS, PowerLaw(1.2, 0.5, 12), test_spectrum=Spectrum(k**-0.5, k), repetitions=3000, seed=5, **settings
    )
    mean, error = plain.mean(axis=0), plain.std(axis=0, ddof=1) / math.sqrt(len(plain))
    for i, (loss, stderr) in enumerate(((runs.test, runs.test_stderr), (runs.train, runs.train_stderr))):
        assert np.all(np.abs(loss - mean[i]) <= 4 * np.hypot(error[i], stderr) + 1e-12), (loss / mean[i] - 1, error[i])
        assert np.median(error[i] / mean[i]) < 0.03


def test_members_of_an_ensemble_have_minibatches_of_their_own(exact_one_pass):
    """With neither features nor data to differ in, the average of E models keeps 1/E of their noise."""
    steps, options = [10, 50], {"learning_rate": 0.2, "batch_size": 3}
    one = exact_one_pass(steps, EIGENVALUES, POWER, **options)
    noiseless = exact_one_pass(steps, EIGENVALUES, POWER, **{**options, "batch_size": math.inf})
    runs = simulate(steps, PowerLaw(1.5, 0.4, 60), ensemble=(2, 3), repetitions=300, **options)
    expected = noiseless + (one - noiseless) / 6
    assert np.all(np.abs(runs.test - expected) < 4 * runs.test_stderr)
    assert np.all(np.abs(runs.train - one) < 4 * runs.train_stderr)


def test_members_of_an_ensemble_draw_from_the_same_samples_in_orders_of_their_own():
    """Given the samples the mean path is that of full batches, and the average of E models keeps 1/E of the noise."""
    spectrum, options = PowerLaw(1.5, 0.4, 60), {"samples": 30, "learning_rate": 0.4, "repetitions": 500}
    full = simulate([10, 50], spectrum, seed=1, **options)
    one = simulate([10, 50], spectrum, seed=2, batch_size=2, **options)
    runs = simulate([10, 50], spectrum, seed=3, batch_size=2, ensemble=(6, 1), **options)
    expected, error = full.test + (one.test - full.test) / 6, np.hypot(5 / 6 * full.test_stderr, one.test_stderr / 6)
    assert np.all(np.abs(runs.test - expected) < 4 * np.hypot(error, runs.test_stderr))
    assert np.all(np.abs(runs.train - one.train) < 4 * np.hypot(one.train_stderr, runs.train_stderr))
    assert np.all(one.test - expected > 10 * error)  # members that shared an order would be seen


def test_constant_schedules_and_values_after_the_last_step_change_nothing():
    options = {"width": 20, "samples": 30, "noise_variance": 0.1}
    number = simulate([0, 5], PowerLaw(1.5, 0.4, 50), learning_rate=0.2, batch_size=2, **options)
    schedule = {"learning_rate": [0.2] * 5 + [9.0], "batch_size": [2] * 5 + [math.inf]}
    np.testing.assert_array_equal(number, simulate([0, 5], PowerLaw(1.5, 0.4, 50), **schedule, **options))


def test_modes_without_variance_are_label_noise_under_covariate_shift():
    spectrum = Spectrum([1.0, 0.5, 0.0], [1.0, 1.0, 0.3])
    runs = simulate([0], spectrum, test_spectrum=Spectrum([2.0, 0.0, 0.0], [1.0, 0.0, 0.0]))
    np.testing.assert_allclose([runs.test[0], runs.train[0]], [2.3, 2.3])


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"learning_rate": [0.1, 0.2]}, "learning_rate has 2 values and ends before the steps"),
        ({"learning_rate": [0.1, math.nan, 0.1]}, "learning_rate is nan"),
        ({"learning_rate": [0.1, 0.1, -0.5]}, "learning_rate is -0.5"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"learning_rate": np.ones((3, 1))}, "learning_rate has 2 dimensions"),
        ({"batch_size": [1, 2]}, "batch_size has 2 values and ends before the steps"),
        ({"batch_size": [1, 2, 2.5]}, "batch_size is 2.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"momentum": 1.0}, "momentum is 1"),
        ({"momentum": -0.1}, "momentum is -0.1"),
        ({"ridge": -1.0}, "ridge is -1"),
        ({"test_spectrum": PowerLaw(1.5, 0.4, 9)}, "test_spectrum has 9 modes, spectrum 10"),
        ({"test_spectrum": PowerLaw(1.5, 0.4)}, "test_spectrum has inf modes, spectrum 10"),
        (
            {"spectrum": Spectrum([1, 0], [1, 1]), "test_spectrum": Spectrum([1, 1], [1, 1])},
            "test_spectrum is positive in 1 mode",
        ),
        ({"ensemble": (0, 1)}, "ensemble is"),
        ({"ensemble": (2,)}, "ensemble is"),
        ({"ensemble": (1.5, 1)}, "ensemble is"),
        ({"ensemble": 2, "ridge": -1, "momentum": 2}, "3 problems"),
    ],
)
def test_simulate_refuses(arguments, text):
    arguments = {"steps": [3], "spectrum": PowerLaw(1.5, 0.4, 10), **arguments}
    with pytest.raises(ParameterError, match=text):
        simulate(**arguments)
