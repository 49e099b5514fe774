"""Phases against the formulas of the paper, a brute-force balance of all terms, and the theory's own optimisation."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import scalingeq
from scalingeq.errors import ConvergenceError, ParameterError
from scalingeq.theory import PowerLaw, flow_loss, local_exponents, phase
from scalingeq.theory.phases import REGIONS, _crossing

#: One pair of exponents in each phase.
POINTS = {
    "Ia": (1.5, 0.4),
    "Ib": (0.7, 0.3),
    "Ic": (0.4, 0.8),
    "II": (1.5, 0.6),
    "III": (1.5, 1.0),
    "IVa": (0.8, 1.0),
    "IVb": (0.56, 2.0),
}


def published(a, b):
    """Phase, size and loss exponent as arXiv:2405.15074 states them, in its own exponents."""
    if 2 * a > 1 and 2 * b < 1:
        return "Ia", 1 / (2 * a + 1), (1 / (2 * a + 1) - 1) * (1 + b / a - 1 / (2 * a))
    if 2 * a < 1 and 2 * b < 1:
        return "Ib", 1 / 2, 1 / 2 - a - b
    if 2 * a > 1 and b < a:
        return "II", (b / a) / (1 + b / a), -(2 * a + 2 * b - 1) / (2 * (a + b))
    if 2 * a > 1:
        return "III", 1 / 2, (1 - 4 * a) / (4 * a)
    if a < 1 / 4:
        d = a * (2 * b - 3) - 2 * b + 1
        return "Ic", (1 - 2 * (a + b)) / (2 * d), a * (2 * a + 2 * b - 1) / d
    if a > 1 - 1 / math.sqrt(2):
        return "IVa", 1 / 2, -a
    d = 2 * a * b + a - 2 * b
    return "IVb", (a - b) / d, (1 - 2 * a) * (2 * a + 2 * b - 1) / (2 * d)


def test_exponents_are_those_of_the_paper():
    rng = np.random.default_rng(1)
    seen = set()
    for alpha, r in rng.uniform((0.02, 0.02), (2.5, 2.0), (2000, 2)):
        found = phase(alpha, r)
        a, b = found.paquette
        name, size, loss = published(a, b)
        assert found.name == name
        np.testing.assert_allclose((found.size_exponent, found.loss_exponent), (size, loss), rtol=1e-9)
        seen.add(name)
    assert seen == set(POINTS)


def test_exponents_minimise_the_largest_term():
    # All terms that exist (arXiv:2405.15074: F_ac for alpha > 1, and noise apart from F_pp, for r > 1/2 only).
    rng = np.random.default_rng(2)
    x = np.linspace(0, 1, 20001)
    for alpha, r in rng.uniform((0.1, 0.1), (2.5, 2.0), (300, 2)):
        cooling = max(0, 1 - alpha)
        log_time = 1 - (1 + cooling) * x
        terms = [-alpha * min(1, 2 * r) * x, -2 * r * log_time]
        if r > 0.5:
            terms.append(-cooling * x - (2 - 1 / alpha) * log_time)
            if alpha > 1:
                terms.append(-x - (1 - 1 / alpha) * log_time)
        # Time grows from 1 on: fewer steps do not train.
        largest = np.where(log_time >= 0, np.max(terms, axis=0), 0)
        best = largest.argmin()
        found = phase(alpha, r)
        np.testing.assert_allclose(largest[best], found.loss_exponent, atol=3e-4)
        flat = np.ptp(x[largest < largest[best] + 1e-9]) > 1e-3
        if not flat:
            np.testing.assert_allclose(x[best], found.size_exponent, atol=2e-4)


def boundary_points():
    edge = 2 - math.sqrt(2)
    for name, alphas, rs in (
        ("Ia Ib", [1.0], [0.1, 0.3]),
        ("Ia II", [1.2, 2.0], [0.5]),
        ("Ib Ic", [0.1, 0.4], [0.5]),
        ("Ib IVb", [0.55], [0.5]),
        ("Ib IVa", [0.8], [0.5]),
        ("Ic IVb", [0.5], [0.7, 3.0]),
        ("III IVa", [1.0], [0.7, 3.0]),
        ("IVa IVb", [edge], [0.7, 3.0]),
    ):
        for alpha in alphas:
            for r in rs:
                yield pytest.param(name.split(), alpha, r, id=f"{name} {alpha:.3g} {r:.3g}")
    for alpha in (1.3, 2.2):
        yield pytest.param(["II", "III"], alpha, 1 - 1 / (2 * alpha), id=f"II III {alpha}")


@pytest.mark.parametrize("names, alpha, r", list(boundary_points()))
def test_exponents_are_continuous_except_for_one_jump_of_the_size(names, alpha, r):
    around = [phase(alpha + i * 1e-9, r + j * 1e-9) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    assert {found.name for found in around} == set(names)
    # On the boundary itself the first in the table is named.
    assert around[4].name == min(names, key=[region.name for region in REGIONS].index)
    np.testing.assert_allclose([found.loss_exponent for found in around], around[4].loss_exponent, atol=1e-7)
    sizes = np.array([found.size_exponent for found in around])
    if names == ["IVa", "IVb"]:
        assert np.ptp(sizes) > 0.02
    else:
        np.testing.assert_allclose(sizes, sizes[4], atol=1e-7)


def test_regions_cover_the_plane_once():
    rng = np.random.default_rng(3)
    for alpha, r in rng.uniform((0, 0), (3, 3), (500, 2)):
        holding = [
            region
            for region in REGIONS
            if region.alpha[0] < alpha < region.alpha[1] and region.r[0](alpha) < r < region.r[1](alpha)
        ]
        assert [region.name for region in holding] == [phase(alpha, r).name]


@pytest.mark.parametrize("alpha, r", POINTS.values())
def test_conventions_describe_the_same_spectrum(alpha, r):
    found = phase(alpha, r)
    k = np.array([2.0, 7.0])
    (a, beta), (power, b) = found.paquette, found.bordelon
    np.testing.assert_allclose(k ** (-2 * a), k**-alpha)
    np.testing.assert_allclose(k ** (-2 * beta) * k ** (-2 * a), k ** -(2 * alpha * r + 1))
    np.testing.assert_allclose((k**-b, k**-power), (k**-alpha, k ** -(2 * alpha * r + 1)))
    np.testing.assert_allclose(r, (2 * a + 2 * beta - 1) / (4 * a))


def test_phase_refuses_what_has_no_power_law():
    with pytest.raises(ParameterError, match="2 problems") as caught:
        phase(-1.0, math.nan)
    assert "alpha is -1.0" in str(caught.value)
    for r in (0.0, -0.2, math.inf):
        with pytest.raises(ParameterError, match=rf"^r is {r}: pass a positive finite number; at r <= 0"):
            phase(1.5, r)


@pytest.mark.parametrize(
    "name, compute, modes_per_feature, tolerance",
    [
        ("Ia", 1e10, math.inf, 0.01),
        ("Ib", 1e12, 4, 0.01),
        ("Ic", 1e22, 16, 0.01),
        ("II", 1e10, math.inf, 0.01),
        ("III", 1e15, math.inf, 0.01),
        ("IVa", 1e17, 4, 0.01),
        ("IVb", 1e22, 2, 0.02),
    ],
)
def test_the_theory_reaches_the_exponents_of_every_phase(name, compute, modes_per_feature, tolerance):
    alpha, r = POINTS[name]
    local = local_exponents(compute, alpha, r, modes_per_feature=modes_per_feature)
    expected = phase(alpha, r)
    assert local.asymptote == expected
    assert expected.name == name
    np.testing.assert_allclose(local.size_exponent, expected.size_exponent, atol=tolerance)
    np.testing.assert_allclose(local.loss_exponent, expected.loss_exponent, atol=tolerance)
    # No other balance of terms that exist here (F_ac does for alpha > 1) would pass for this one.
    rivals = {region.balance for region in REGIONS if alpha > 1 or "F_ac" not in region.balance} - {expected.balance}
    for balance in rivals:
        rival = np.array(_crossing(balance, alpha, r))
        assert np.abs(rival - (expected.size_exponent, expected.loss_exponent)).max() > 2 * tolerance


@pytest.mark.parametrize("alpha, r, modes_per_feature", [(1.5, 0.4, math.inf), (0.8, 1.0, 3), (0.4, 0.8, 2)])
def test_optimum_agrees_with_a_bounded_search(alpha, r, modes_per_feature):
    kernel_norm = 0.3

    def log_loss(log_size, compute):
        # The nearest size with a whole number of modes: here sizes are large enough for it not to matter.
        modes = float(round(math.exp(log_size) * modes_per_feature)) if modes_per_feature < math.inf else math.inf
        spectrum = PowerLaw(alpha, r, modes)
        size = modes / modes_per_feature if modes_per_feature < math.inf else math.exp(log_size)
        k = np.arange(1, 4e6) if math.isinf(modes) else np.arange(1, modes + 1)
        trace = (k**-alpha).sum()
        if math.isinf(modes):
            trace += k[-1] ** (1 - alpha) / (alpha - 1) - k[-1] ** -alpha / 2
        rate = kernel_norm * 2 / trace
        return float(np.log(flow_loss([rate * compute / size], spectrum, noise_rate=rate, width=size)[0]))

    compute = np.array([1e9, 2e9])
    local = local_exponents(compute, alpha, r, modes_per_feature=modes_per_feature, kernel_norm=kernel_norm)
    assert local.size.shape == local.loss_exponent.shape == (2,)
    for i in range(2):
        centre = math.log(local.size[i])
        search = minimize_scalar(
            log_loss, args=(compute[i],), bounds=(centre - 0.3, centre + 0.3), method="bounded", options={"xatol": 1e-4}
        )
        np.testing.assert_allclose(centre, search.x, atol=3e-3)
        np.testing.assert_allclose(math.log(local.loss[i]), search.fun, atol=1e-6)
    # The slope over a decade is close to the one between neighbours.
    np.testing.assert_allclose(np.diff(np.log(local.loss)) / math.log(2), local.loss_exponent.mean(), atol=2e-3)


def test_local_exponents_keep_the_shape_of_the_compute():
    compute = np.array([[1e6], [1e8]])
    both = local_exponents(compute, 1.5, 1.0)
    assert both.size.shape == (2, 1)
    single = local_exponents(1e8, 1.5, 1.0)
    assert single.size.shape == ()
    np.testing.assert_allclose(single.size_exponent, both.size_exponent[1, 0], atol=1e-6)
    assert local_exponents([], 1.5, 1.0).loss.shape == (0,)


def test_weaker_noise_reaches_the_asymptote_later():
    # In phase III the balance is with the noise, which at a small rate takes over late.
    strong, weak = (local_exponents(1e8, 1.5, 1.0, kernel_norm=norm) for norm in (0.5, 0.05))
    assert abs(strong.size_exponent - 0.5) < 0.02 < abs(weak.size_exponent - 0.5)


def test_local_exponents_refuse_what_they_cannot_answer():
    with pytest.raises(ParameterError, match="5 problems"):
        local_exponents([1e6, -1.0], -1.5, 0.0, modes_per_feature=0.5, kernel_norm=1.0)
    with pytest.raises(ParameterError, match=r"modes_per_feature is infinite with alpha = 0.8.*such as 4"):
        local_exponents(1e6, 0.8, 0.4)
    with pytest.raises(ConvergenceError, match=r"at the smallest size searched, 16 features.*pass a larger compute"):
        local_exponents(100, 1.5, 0.4)
    with pytest.raises(ConvergenceError, match=r"numerical error.*pass a smaller compute"):
        local_exponents(1e30, 3.0, 1.0)


def test_public_names():
    assert scalingeq.phase is phase
    assert scalingeq.local_exponents is local_exponents
