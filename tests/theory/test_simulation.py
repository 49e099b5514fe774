"""The theory against direct simulation of the model, test and train loss."""

import math

import numpy as np
import pytest

from scalingeq.errors import InstabilityError, ParameterError
from scalingeq.theory import PowerLaw, Spectrum, largest_learning_rate, loss_curve, simulate

STEPS = np.array([20, 60, 200, 600, 1500])
SETTINGS = {
    "one pass": {"batch_size": 4},
    "one pass, small batches, label noise": {"batch_size": 1, "noise_variance": 0.1, "learning_rate": 0.02},
    "finite width, full batches": {"width": 120},
    "finite width, one pass": {"width": 120, "batch_size": 2, "learning_rate": 0.05},
    "finite data": {"samples": 150},
    "finite data, label noise": {"samples": 150, "noise_variance": 0.1},
    "fewer features than samples": {"width": 100, "samples": 200, "noise_variance": 0.05},
    "more features than samples": {"width": 250, "samples": 120, "noise_variance": 0.05},
    "both finite, small batches": {"width": 100, "samples": 200, "batch_size": 2, "noise_variance": 0.05},
    "finite data, small batches": {"samples": 120, "batch_size": 2, "learning_rate": 0.05},
    "more features than samples, small batches": {"width": 200, "samples": 100, "batch_size": 2, "learning_rate": 0.05},
}


def compare(spectrum, settings, steps, repetitions):
    """Every point within 4 standard errors or 3 %."""
    settings = {"learning_rate": 0.1, **settings}
    runs = simulate(steps, spectrum, repetitions=repetitions, seed=7, **settings)
    for kind, mean, error in (("test", runs.test, runs.test_stderr), ("train", runs.train, runs.train_stderr)):
        theory = loss_curve(steps, spectrum, kind=kind, **settings)
        assert np.all(np.abs(mean - theory) < np.maximum(4 * error, 0.03 * theory)), (
            kind,
            mean / theory - 1,
            error / mean,
        )


@pytest.mark.parametrize("name", SETTINGS)
def test_theory_agrees_with_simulation(name):
    compare(PowerLaw(1.5, 0.4, 300), SETTINGS[name], STEPS, 24)


def test_measured_spectrum_agrees_with_simulation():
    rng = np.random.default_rng(0)
    eigenvalue = np.exp(-5 * rng.random(250))
    spectrum = Spectrum(eigenvalue, eigenvalue * rng.random(250))
    compare(spectrum, {"width": 150, "samples": 100, "noise_variance": 0.1}, STEPS, 24)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("alpha, r", [(0.8, 0.5), (1.2, 0.3), (1.5, 0.4), (2.0, 0.8)])
def test_theory_agrees_with_larger_simulations(name, alpha, r):
    spectrum, settings = PowerLaw(alpha, r, 400), {"learning_rate": 0.1, **SETTINGS[name]}
    largest = largest_learning_rate(
        spectrum, **{key: settings[key] for key in ("batch_size", "width", "samples") if key in settings}
    )
    settings["learning_rate"] = min(settings["learning_rate"], 0.05 * largest)
    compare(spectrum, settings, np.array([50, 200, 1000, 5000]), 60)


def test_simulation_starts_from_the_whole_target_and_repeats_with_its_seed():
    spectrum = PowerLaw(1.5, 0.4, 50)
    arguments = {"width": 20, "samples": 30, "batch_size": 2, "learning_rate": 0.1, "noise_variance": 0.5}
    first, again, other = (simulate([0, 5], spectrum, seed=seed, **arguments) for seed in (1, 1, 2))
    np.testing.assert_allclose(first.test[0], spectrum.nodes(1.0).power + 0.5)
    np.testing.assert_array_equal(first.test, again.test)
    assert first.test[1] != other.test[1]


def test_full_batches_of_one_pass_are_exact():
    eigenvalue = np.arange(1.0, 51) ** -1.5
    runs = simulate([0, 7], PowerLaw(1.5, 0.4, 50), learning_rate=0.5)
    power = np.arange(1.0, 51) ** -2.2
    np.testing.assert_allclose(runs.test, [power.sum(), power @ (1 - 0.5 * eigenvalue) ** 14], rtol=1e-12)
    np.testing.assert_array_equal(runs.test, runs.train)


def test_divergence_is_an_error():
    with pytest.raises(InstabilityError, match="diverged"):
        simulate([5000], PowerLaw(1.5, 0.4, 20), learning_rate=5.0)


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"steps": [2, 1]}, "ascending"),
        ({"steps": [0.5]}, "whole numbers"),
        ({"width": 1.5}, "width is 1.5"),
        ({"samples": 0}, "samples is"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"repetitions": 1}, "repetitions"),
        ({"noise_variance": -1}, "noise_variance"),
        ({"spectrum": PowerLaw(1.5, 0.4, math.inf)}, "finite dim"),
        ({"spectrum": Spectrum([1.0], [1.0], [2.0])}, "several modes"),
    ],
)
def test_simulate_refuses(arguments, text):
    arguments = {"steps": [1], "spectrum": PowerLaw(1.5, 0.4, 10), **arguments}
    with pytest.raises(ParameterError, match=text):
        simulate(**arguments)
