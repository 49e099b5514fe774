"""Deterministic equivalents against random matrices and high-precision solutions."""

import mpmath
import numpy as np
import pytest

from scalingeq.errors import ParameterError
from scalingeq.theory import (
    PowerLaw,
    Spectrum,
    degrees_of_freedom,
    forcing_two_point,
    kernel_two_point,
    one_point_equivalent,
    renormalised_frequency,
    s_transform,
    saturated_frequency,
    two_point_equivalent,
)

pytestmark = pytest.mark.usefixtures("loops")

S = np.array([0.3, 3.0, 0.02 * np.exp(1.0j), 0.1 * np.exp(2.5j), 0.05 * np.exp(-2.0j)])


def random_resolvents(rng, modes, width, samples, s):
    """Traces and quadratic forms of (s + A C)^-1 for one draw of features and data."""
    k = np.arange(1.0, modes + 1)
    root = k**-0.75
    features = rng.standard_normal((modes, width)) / np.sqrt(width)
    data = rng.standard_normal((samples, modes)) * root
    inputs = data @ features
    gram = inputs.T @ inputs / samples
    eigenvalue = np.linalg.eigvalsh(gram)
    return np.array([(eigenvalue / (value + eigenvalue)).sum() for value in s])


@pytest.mark.parametrize("width, samples", [(200, 300), (300, 150)])
def test_degrees_of_freedom_of_random_matrices(width, samples):
    rng = np.random.default_rng(1)
    modes = 400
    draws = np.array([random_resolvents(rng, modes, width, samples, S) for _ in range(12)])
    kappa = renormalised_frequency(S, PowerLaw(1.5, 0.4, modes), width, samples)[0]
    theory = degrees_of_freedom(kappa, PowerLaw(1.5, 0.4, modes))
    error = np.abs(draws - draws.mean(axis=0)).std(axis=0, ddof=1) / np.sqrt(12)
    assert np.all(np.abs(draws.mean(axis=0) - theory) < 4 * error + 0.005 * np.abs(theory))


@pytest.mark.parametrize("width, samples", [(7.0, np.inf), (np.inf, 5.0), (7.0, 4.0), (4.0, 4.0), (30.0, 50.0)])
def test_renormalised_frequency_solves_its_equation_on_the_right_branch(width, samples):
    modes = 12
    spectrum = PowerLaw(1.3, 0.4, modes)
    s = np.array([1e-6, 1e-2, 1.0, 50.0])[:, None] * np.exp(1j * np.array([0.0, 1.0, -2.0, 3.0]))
    kappa2, kappa1 = renormalised_frequency(s, spectrum, width, samples)
    with mpmath.workdps(40):
        for i in np.ndindex(s.shape):
            # Continue the real root by the angle, in 30-digit arithmetic.
            size, angle = abs(s[i]), np.angle(s[i])
            eigenvalues = [mpmath.mpf(k) ** mpmath.mpf("-1.3") for k in range(1, modes + 1)]

            def left(kappa, eigenvalues=eigenvalues):
                df = sum(e / (e + kappa) for e in eigenvalues)
                return kappa * (1 - df / width) * (1 - df / samples)

            root = mpmath.mpf(renormalised_frequency(size, spectrum, width, samples)[0].item())
            for step in range(41):
                target = size * mpmath.expj(angle * step / 40)
                root = mpmath.findroot(lambda kappa, target=target: left(kappa) - target, root, tol=1e-30)
            np.testing.assert_allclose(kappa2[i], complex(root), rtol=1e-8)
            np.testing.assert_allclose(
                kappa1[i] * complex(1 - sum(e / (e + root) for e in eigenvalues) / width) ** -1,
                complex(root),
                rtol=1e-6,
            )


def test_frequencies_are_conjugate_and_real_where_s_is():
    spectrum = PowerLaw(1.5, 0.4)
    above, below = (renormalised_frequency(0.1 * np.exp(a * 1j), spectrum, 50, 70)[0] for a in (2.0, -2.0))
    np.testing.assert_allclose(above, below.conj())
    assert renormalised_frequency(np.array([0.1, 2.0]), spectrum)[0].dtype == np.float64
    np.testing.assert_allclose(renormalised_frequency(0.1, spectrum)[0], 0.1, rtol=1e-12)


def test_s_transform_is_the_ratio_of_frequencies():
    spectrum, s = PowerLaw(1.5, 0.4), 0.01 * np.exp(1j)
    kappa2, kappa1 = renormalised_frequency(s, spectrum, 80, 120)
    degrees = degrees_of_freedom(kappa2, spectrum)
    np.testing.assert_allclose(kappa1 / s, s_transform(degrees, 120))
    np.testing.assert_allclose(kappa2 / kappa1, s_transform(degrees, 80))


@pytest.mark.parametrize("alpha", [1.02, 1.5, 6.0])
@pytest.mark.parametrize("size", [2.0, 1e4, 1e12])
def test_saturated_frequency(alpha, size):
    spectrum = PowerLaw(alpha, 0.4)
    np.testing.assert_allclose(degrees_of_freedom(saturated_frequency(spectrum, size), spectrum), size, rtol=1e-7)


def test_saturated_frequency_is_zero_where_all_modes_are_resolved():
    assert saturated_frequency(PowerLaw(1.5, 0.4, 100), 100) == 0.0


@pytest.mark.parametrize("s, s_prime", [(0.1, 0.4), (0.1 + 0.2j, 0.1 - 0.2j), (0.05 + 0.1j, 0.3 - 0.1j)])
def test_two_point_equivalent_of_a_fixed_matrix(s, s_prime):
    rng = np.random.default_rng(3)
    d, n, draws = 120, 100, 60
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    root = basis * np.arange(1, d + 1) ** -0.6 @ basis.T
    fixed = rng.standard_normal((d, d))
    fixed = fixed @ fixed.T / d + np.diag(rng.random(d)) + 0.3 * rng.standard_normal((d, d)) / np.sqrt(d)
    probes = np.stack([np.eye(d) / d, root @ root, np.outer(basis[:, 0], basis[:, 0])])
    values = []
    for _ in range(draws):
        data = rng.standard_normal((n, d)) @ root
        sample = data.T @ data / n
        product = np.linalg.inv(sample + s * np.eye(d)) @ fixed @ np.linalg.inv(sample + s_prime * np.eye(d))
        values.append(np.einsum("pij,ji->p", probes, s * s_prime * product))
    values = np.array(values)
    theory = np.einsum("pij,ji->p", probes, two_point_equivalent(root @ root, fixed, s, s_prime, n))
    error = values.std(axis=0, ddof=1) / np.sqrt(draws)
    # 4 standard errors, and 1 % for the finite size.
    assert np.all(np.abs(values.mean(axis=0) - theory) < 4 * error + 0.01 * np.abs(theory))


@pytest.mark.parametrize("s", [0.1, 0.1 + 0.2j, 0.02 - 0.05j])
def test_one_point_equivalent(s):
    rng = np.random.default_rng(4)
    d, n, draws = 120, 100, 60
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    root = basis * np.arange(1, d + 1) ** -0.6 @ basis.T
    probes = np.stack([np.eye(d) / d, root @ root, np.outer(basis[:, 0], basis[:, 0])])
    values = []
    for _ in range(draws):
        data = rng.standard_normal((n, d)) @ root
        values.append(np.einsum("pij,ji->p", probes, s * np.linalg.inv(data.T @ data / n + s * np.eye(d))))
    theory = np.einsum("pij,ji->p", probes, one_point_equivalent(root @ root, s, n))
    error = np.std(values, axis=0, ddof=1) / np.sqrt(draws)
    # 4 standard errors, and 1 % for the finite size.
    assert np.all(np.abs(np.mean(values, axis=0) - theory) < 4 * error + 0.01 * np.abs(theory))


def test_equivalents_refuse_matrices_that_are_not_square():
    with pytest.raises(ParameterError, match="square"):
        one_point_equivalent(np.ones((2, 3)), 1.0, 10)
    with pytest.raises(ParameterError, match="square"):
        two_point_equivalent(np.eye(2), np.eye(3), 1.0, 1.0, 10)


def test_forcing_at_infinite_width_is_the_general_equivalent():
    k = np.arange(1.0, 31)
    spectrum, s, s_prime, samples = PowerLaw(1.2, 0.5, 30), 0.1 + 0.3j, 0.2, 20
    error = two_point_equivalent(np.diag(k**-1.2), np.diag(k**-1.2), s, s_prime, samples)
    weights = np.sqrt(k**-2.2 / k**-1.2)
    np.testing.assert_allclose(
        forcing_two_point(s, s_prime, spectrum, samples=samples), weights @ error @ weights / (s * s_prime), rtol=1e-9
    )


def test_one_pass_kernel_is_the_sum_over_modes():
    eigenvalue = np.array([1.0, 0.3, 0.1])
    spectrum = Spectrum(eigenvalue, np.ones(3))
    expected = (eigenvalue**2 / ((eigenvalue + 0.2) * (eigenvalue + 0.7j))).sum()
    np.testing.assert_allclose(kernel_two_point(0.2, 0.7j, spectrum), expected, rtol=1e-10)


@pytest.mark.parametrize("s", [0.0, -1.0, np.nan, [1.0, -2.0]])
def test_frequencies_on_the_cut_are_refused(s):
    with pytest.raises(ParameterError, match="negative real axis"):
        renormalised_frequency(s, PowerLaw(1.5, 0.4))


def test_sizes_are_checked_together():
    with pytest.raises(ParameterError, match="2 problems"):
        renormalised_frequency(1.0, PowerLaw(1.5, 0.4), 0, -3)
