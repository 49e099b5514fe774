"""Phases of fits: exponents beside the table of phases and beside frontiers at huge compute; probabilities beside draws."""

import numpy as np
import pytest

from scalingeq.inference import twopoint
from scalingeq.inference.asymptote import asymptote, boundary_distances, loss_floor, phase_probabilities
from scalingeq.inference.twopoint import Settings, complete
from scalingeq.inference.twopoint_frontier import frontier
from scalingeq.theory.phases import phase

COMPUTE = 1e16  # far into the power laws, and losses still far above numerical error


@pytest.mark.parametrize(
    ("alpha", "r"), [(1.5, 0.2), (1.5, 0.4), (3.0, 0.1), (3.0, 0.7), (1.5, 0.55), (1.5, 0.9), (2.0, 2.0)]
)
def test_a_plain_law_has_the_exponents_of_its_phase(alpha, r):
    """Minimising the largest of all terms finds the pair and the exponents of the table of arXiv:2405.15074."""
    law = complete(dict(alpha=alpha, r=r, width_scale=100.0, width_exponent=1.0, noise_scale=1.0))
    found, table = asymptote(law), phase(alpha, r)
    assert set(found.balance) == set(table.balance)
    assert found.size_exponent == pytest.approx(table.size_exponent, abs=1e-12)
    assert found.loss_exponent == pytest.approx(table.loss_exponent, abs=1e-12)


@pytest.mark.parametrize(
    "parts",
    [
        dict(alpha=1.6, r=0.3, width_scale=200.0, width_exponent=0.6),
        dict(alpha=1.6, r=0.3, width_scale=200.0, width_exponent=1.4, noise_scale=0.1),
        dict(alpha=1.6, r=0.3, unlearnable=0.5, unlearnable_exponent=0.3),
        dict(alpha=2.5, r=0.4, width_scale=200.0, width_exponent=0.8, unlearnable=1e-3, unlearnable_exponent=0.5),
    ],
)
def test_frontiers_at_huge_compute_have_these_exponents(parts):
    law = complete(parts)
    plan = dict(reference_params=1e4, learning_rate=0.1, batch_size=1.0)
    best = frontier(law, np.array([COMPUTE]), **plan)
    found = asymptote(law)
    assert best.size_exponent[0] == pytest.approx(found.size_exponent, abs=0.002)
    assert best.loss_exponent[0] == pytest.approx(found.loss_exponent, abs=0.002)


def test_the_floor_is_the_loss_of_huge_models_after_a_long_time():
    law = complete(dict(alpha=2.0, r=0.3, irreducible=0.8, noise_scale=20.0, width_scale=1e9, width_exponent=1.0))
    settings = Settings(np.array([[1e13]]), np.array([1e9]), np.array([0.1]), np.array([8.0]), np.array([np.inf]))
    loss = twopoint.predict(law, settings, 1.0)[0, 0]
    assert loss_floor(law, 0.1, 8.0) == pytest.approx(loss, rel=1e-5)
    assert loss > 0.85


@pytest.mark.parametrize("correlation", [0.0, -0.9])
def test_probabilities_are_shares_of_draws(correlation):
    """Among 100,000 normal draws inside the bounds of a fit, within 4 standard errors of a share (0.0064)."""
    errors = np.array([0.4, 0.15])
    covariance = np.outer(errors, errors) * np.array([[1, correlation], [correlation, 1]])
    draws = np.random.default_rng(0).multivariate_normal([1.6, 0.55], covariance, 100_000)
    draws = draws[(draws[:, 0] >= 1.02) & (draws[:, 1] >= 0.02)]
    expected = {"Ia": draws[:, 1] <= 0.5, "III": draws[:, 1] > 1 - 1 / (2 * draws[:, 0])}
    expected["II"] = ~expected["Ia"] & ~expected["III"]
    found = phase_probabilities(1.6, 0.55, covariance)
    for name, share in expected.items():
        assert found[name] == pytest.approx(share.mean(), abs=0.0064)
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-12)


def test_without_errors_the_phase_is_certain():
    assert phase_probabilities(1.5, 0.4, np.zeros((2, 2)))["Ia"] == 1.0
    assert boundary_distances(1.5, 0.4, np.zeros((2, 2)))["Ia|II"] == (pytest.approx(-0.1), np.inf)


def test_the_nearest_boundary_is_found_along_a_correlation():
    """alpha and r that move together along r - 0.4 = (alpha - 2) / 4 reach r = 1/2 at alpha = 2.4, two errors away."""
    covariance = np.outer([0.2, 0.05], [0.2, 0.05])
    assert boundary_distances(2.0, 0.4, covariance)["Ia|II"][1] == pytest.approx(2.0, abs=0.01)
