"""Every option of the loss against direct simulation and exact recursions, and the limits in which options vanish."""

import math

import numpy as np
import pytest

from scalingeq.errors import InstabilityError, ParameterError
from scalingeq.theory import (
    PowerLaw,
    Spectrum,
    decompose,
    flow_is_accurate_from,
    largest_learning_rate,
    loss_curve,
    simulate,
    static_loss,
)

COUNT = 1000
AT = np.arange(COUNT)
STEPS = np.array([20, 60, 200, 600, 1000])
COSINE = (1 + np.cos(np.pi * (AT + 0.5) / COUNT)) / 2
SPECTRUM = PowerLaw(1.5, 0.4, 300)

ALGORITHMS = {
    "cosine": {"learning_rate": 0.2 * COSINE, "batch_size": 2},
    "sharp drop": {"learning_rate": np.where(AT < 600, 0.2, 0.02), "batch_size": 4},
    "warm-up": {"learning_rate": 0.1 * np.minimum(1, (AT + 1) / 200), "batch_size": 2},
    "batch ramp": {"learning_rate": 0.1, "batch_size": np.where(AT < 500, 2.0, 16.0)},
    "momentum": {"learning_rate": 0.02, "momentum": 0.8, "batch_size": 4},
    "momentum, full batches": {"learning_rate": 0.05, "momentum": 0.9},
    "weight decay": {"learning_rate": 0.1, "ridge": 0.01, "batch_size": 4},
    "weight decay, full batches": {"learning_rate": 0.2, "ridge": 0.02},
    "all": {
        "learning_rate": 0.05 * COSINE,
        "momentum": 0.5,
        "ridge": 0.005,
        "batch_size": np.where(AT < 500, 2.0, 8.0),
    },
    "covariate shift": {"learning_rate": 0.1, "batch_size": 4, "test_spectrum": PowerLaw(1.0, 0.4, 300)},
    "bagging": {"learning_rate": 0.1, "batch_size": 2, "ensemble": (1, 3)},
    "ensemble": {"learning_rate": 0.1, "batch_size": 2, "ensemble": (3, 1)},
    "both": {"learning_rate": 0.2, "ensemble": (2, 2), "ridge": 0.003},
}
SIZES = {
    "features": {"width": 120, "noise_variance": 0.02},
    "data": {"samples": 150, "noise_variance": 0.02},
    "features and data": {"width": 120, "samples": 180, "noise_variance": 0.05},
    "more features than samples": {"width": 200, "samples": 120, "noise_variance": 0.05},
}


def compare(spectrum, settings, repetitions, dynamics, steps=STEPS):
    runs = simulate(steps, spectrum, repetitions=repetitions, seed=11, **settings)
    kinds = ["test"] if settings.get("ensemble", (1, 1)) != (1, 1) or "samples" not in settings else ["test", "train"]
    for kind in kinds:
        mean, error = getattr(runs, kind), getattr(runs, f"{kind}_stderr")
        theory = loss_curve(steps, spectrum, kind=kind, dynamics=dynamics, **settings)
        assert np.all(np.abs(mean - theory) < np.maximum(4 * error, 0.03 * theory)), (
            kind,
            mean / theory - 1,
            error / mean,
        )


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_discrete_steps_agree_with_simulation(name, sizes):
    compare(SPECTRUM, {**ALGORITHMS[name], **SIZES[sizes]}, 20, "discrete")


@pytest.mark.parametrize("sizes", ["data", "features and data"])
@pytest.mark.parametrize("name", [name for name in ALGORITHMS if "momentum" not in ALGORITHMS[name]])
def test_flow_agrees_with_simulation(name, sizes):
    # Gradient flow is 6 % off at step 20 with rate 0.1 and batches of 2: see test_flow_is_accurate_...
    compare(SPECTRUM, {**ALGORITHMS[name], **SIZES[sizes]}, 20, "flow", STEPS[1:])


@pytest.mark.exhaustive
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("alpha, r", [(1.2, 0.3), (2.0, 0.8)])
def test_discrete_steps_agree_with_larger_simulations(name, sizes, alpha, r):
    settings = {**ALGORITHMS[name], **SIZES[sizes]}
    if "test_spectrum" in settings:
        settings["test_spectrum"] = PowerLaw(alpha - 0.4, r, 400)
    compare(PowerLaw(alpha, r, 400), settings, 120, "discrete")


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 0.3, "batch_size": 4},
        {"learning_rate": 0.5, "batch_size": 1},
        {"learning_rate": 1.2, "batch_size": 64},
        {"learning_rate": 1.95},
        {"learning_rate": 0.5 * COSINE, "batch_size": np.where(AT < 500, 4.0, 32.0), "noise_variance": 0.1},
        {"learning_rate": 0.05, "batch_size": 4, "momentum": 0.9},
        {"learning_rate": 0.8, "batch_size": 64, "momentum": 0.9},
        {"learning_rate": 3.5, "momentum": 0.9},
        {"learning_rate": 0.3, "batch_size": 4, "ridge": 0.01},
        {"learning_rate": 0.1 * COSINE, "batch_size": 8, "momentum": 0.8, "ridge": 0.003, "noise_variance": 0.1},
        {"learning_rate": 0.4 * COSINE, "batch_size": 4, "test_spectrum": PowerLaw(1.0, 0.4, 200)},
    ],
)
def test_discrete_steps_agree_with_the_exact_recursion(exact_one_pass, settings):
    steps = np.array([0, 1, 2, 3, 5, 10, 30, 100, 300, 1000])
    k = np.arange(1.0, 201)
    known = {"batch_size": math.inf, **settings}
    if "test_spectrum" in known:
        del known["test_spectrum"]
        known["test_eigenvalues"] = 1 / k
    expected = exact_one_pass(steps, k**-1.5, k**-2.2, **known)
    loss = loss_curve(steps, PowerLaw(1.5, 0.4, 200), dynamics="discrete", **settings)
    # Losses that have fallen to nothing keep the error of the contour.
    np.testing.assert_allclose(loss, expected, rtol=1e-7, atol=3e-9)


@pytest.mark.parametrize("sizes", [{}, {"width": 60}, {"samples": 80}, {"width": 60, "samples": 80}])
@pytest.mark.parametrize("dynamics", ["flow", "discrete"])
@pytest.mark.parametrize("kind", ["test", "train"])
def test_options_vanish_in_their_limits(sizes, dynamics, kind):
    spectrum, steps = PowerLaw(1.5, 0.4, 400), [0, 1, 10, 100]
    settings = {
        "learning_rate": 0.1 * COSINE, "batch_size": 4, "noise_variance": 0.05, "dynamics": dynamics, "kind": kind, **sizes
    }  # fmt: skip
    plain = loss_curve(steps, spectrum, **settings)
    for option in ({"ridge": 1e-12}, {"momentum": 1e-12}, {"test_spectrum": spectrum}, {"ensemble": (1, 1)}):
        np.testing.assert_allclose(loss_curve(steps, spectrum, **settings, **option), plain, rtol=1e-8)
    modes = np.arange(1.0, 401) ** -1.5
    measured = Spectrum(modes, np.arange(1.0, 401) ** -2.2)
    shifted = loss_curve(steps, measured, test_spectrum=measured, **settings)
    np.testing.assert_allclose(shifted, plain, rtol=1e-7)


def test_measured_test_spectrum_of_a_power_law():
    test = np.random.default_rng(0).random(200)
    settings = {"learning_rate": 0.1, "batch_size": 4, "width": 80, "samples": 120}
    modes = np.arange(1.0, 201)
    by_law = loss_curve([10, 300], PowerLaw(1.5, 0.4, 200), test_spectrum=Spectrum(test, test), **settings)
    by_modes = loss_curve([10, 300], Spectrum(modes**-1.5, modes**-2.2), test_spectrum=Spectrum(test, test), **settings)
    np.testing.assert_allclose(by_law, by_modes, rtol=1e-7)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 0.2},
        {"learning_rate": 0.2, "batch_size": 4},
        {"learning_rate": 0.2 * COSINE, "batch_size": 4},
        {"learning_rate": 0.2 * COSINE, "batch_size": 4, "ridge": 0.01, "ensemble": (2, 3)},
        {"learning_rate": 0.1, "batch_size": 4, "dynamics": "discrete", "momentum": 0.5, "ensemble": (2, 1)},
        {"learning_rate": 0.2, "batch_size": 4, "test_spectrum": PowerLaw(1.0, 0.4, 300)},
    ],
)
def test_components_add_up_to_the_loss(settings, sizes):
    settings = {**settings, **SIZES[sizes]}
    parts = decompose(STEPS, SPECTRUM, **settings)
    np.testing.assert_allclose(np.sum(parts, axis=0), loss_curve(STEPS, SPECTRUM, **settings), rtol=1e-12)
    assert all(np.all(part > -1e-8) for part in parts)


def test_components_agree_with_simulated_ensembles():
    """Variances by their definition: how much of the loss goes away when features, data or both are averaged over."""
    spectrum, steps = PowerLaw(1.5, 0.4, 200), [30, 300]
    settings = {"learning_rate": 0.2, "width": 100, "samples": 130}
    parts = decompose(steps, spectrum, noise_variance=0.1, **settings)
    clean = {
        sizes: simulate(steps, spectrum, ensemble=sizes, repetitions=60, seed=5, **settings)
        for sizes in ((1, 1), (4, 1), (1, 4))
    }
    rest = parts.bias + parts.features + parts.data + parts.interaction
    for sizes, expected in (
        ((1, 1), rest),
        ((4, 1), parts.bias + parts.data + (parts.features + parts.interaction) / 4),
        ((1, 4), parts.bias + parts.features + (parts.data + parts.interaction) / 4),
    ):
        error = np.maximum(4 * clean[sizes].test_stderr, 0.03 * expected)
        assert np.all(np.abs(clean[sizes].test - expected) < error)
    noisy = simulate(steps, spectrum, noise_variance=0.1, repetitions=60, seed=6, **settings)
    added = noisy.test - clean[1, 1].test - 0.1
    error = np.hypot(noisy.test_stderr, clean[1, 1].test_stderr)
    assert np.all(np.abs(added - parts.label_noise) < 4 * error)


@pytest.mark.parametrize(
    "width, samples, ridge", [(100, 60, 1e-3), (60, 100, 1e-2), (math.inf, 80, 1e-3), (50, math.inf, 1e-3)]
)
@pytest.mark.parametrize("kind", ["test", "train"])
def test_weight_decay_ends_at_ridge_regression(width, samples, ridge, kind):
    spectrum, sizes = PowerLaw(1.5, 0.4), {"width": width, "samples": samples, "noise_variance": 0.1}
    static = static_loss(spectrum, ridge=ridge, kind=kind, **sizes)
    flow = loss_curve([1e6], spectrum, ridge=ridge, kind=kind, learning_rate=0.5, **sizes)
    np.testing.assert_allclose(flow, static, rtol=1e-7)
    discrete = loss_curve([20_000], spectrum, ridge=ridge, kind=kind, learning_rate=0.8, dynamics="discrete", **sizes)
    np.testing.assert_allclose(discrete, static, rtol=1e-6)


def test_early_stopping_with_weight_decay_against_the_filter_of_known_eigenvalues():
    # Infinite width and data: each mode keeps (ridge + x exp(-(x + ridge) t)) / (x + ridge) of its error.
    k = np.arange(1.0, 101)
    x, power, ridge, time = k**-1.5, k**-2.2, 0.03, np.array([0.5, 5.0, 50.0, 500.0])
    left = (ridge + x * np.exp(-(x + ridge) * time[:, None])) / (x + ridge)
    loss = loss_curve(time, PowerLaw(1.5, 0.4, 100), ridge=ridge)
    np.testing.assert_allclose(loss, left**2 @ power, rtol=1e-8)


@pytest.mark.parametrize("momentum", [0.5, 0.9])
@pytest.mark.parametrize("batch", [2, 16, math.inf])
@pytest.mark.parametrize("ridge", [0.0, 0.05])
def test_stability_thresholds_against_the_exact_recursion(momentum, batch, ridge):
    eigenvalue = np.arange(1.0, 101) ** -1.2
    threshold = largest_learning_rate(PowerLaw(1.2, 0.4, 100), batch_size=batch, momentum=momentum, ridge=ridge)

    def growth(rate):
        """Largest growth factor of the second moments of (D, D before) in all modes together."""
        move = 1 + momentum - rate * (eigenvalue + ridge)
        matrix = np.zeros((100, 3, 100, 3))
        for k in range(100):
            matrix[k, :, k] = [[move[k] ** 2, -2 * momentum * move[k], momentum**2], [move[k], -momentum, 0], [1, 0, 0]]
            matrix[k, 0, k, 0] += (rate * eigenvalue[k]) ** 2 / batch
            matrix[k, 0, :, 0] += rate**2 / batch * eigenvalue[k] * eigenvalue
        return np.abs(np.linalg.eigvals(matrix.reshape(300, 300))).max()

    assert growth(0.995 * threshold) < 1
    assert growth(1.005 * threshold) > 1


def test_weight_decay_alone_moves_the_threshold_of_one_mode():
    # One mode of eigenvalue 1 in full batches: rate (1 + ridge) < 2 (1 + momentum).
    one = Spectrum([1.0], [1.0])
    for momentum in (0.0, 0.5):
        found = largest_learning_rate(one, momentum=momentum, ridge=0.25)
        np.testing.assert_allclose(found, 2 * (1 + momentum) / 1.25, rtol=1e-12)
    # With minibatches: (1 - rate (1 + ridge))^2 + 2 rate^2 / batch < 1.
    found = largest_learning_rate(one, batch_size=4, ridge=0.25)
    np.testing.assert_allclose(found, 2 * 1.25 / (1.25**2 + 2 / 4), rtol=1e-9)


def test_flow_is_accurate_where_the_rule_of_thumb_says_so():
    spectrum = PowerLaw(1.5, 0.4)
    step = flow_is_accurate_from(spectrum, learning_rate=0.5)
    # The relative difference is p (p + 1) / (4 n) for a loss that falls as n**-p, p about 2 r.
    assert 0.5 < step / (25 * 0.8 * 1.8) < 2
    for at, within in ((step, True), (0.8 * step // 1, False)):
        flow, discrete = (loss_curve([at], spectrum, learning_rate=0.5, dynamics=d)[0] for d in ("flow", "discrete"))
        assert (abs(flow / discrete - 1) <= 0.01) == within
    assert flow_is_accurate_from(spectrum, learning_rate=0.3, batch_size=1) == math.inf
    assert flow_is_accurate_from(spectrum, learning_rate=1e-4, tolerance=0.5, last=10) == 1


def test_flow_differs_from_discrete_steps_as_derived():
    spectrum, steps = PowerLaw(1.5, 0.4), np.array([30, 100, 1000])
    # Full batches: relative to a loss that falls as n**-p, by -p (p + 1) / (4 n).
    flow, discrete = (loss_curve(steps, spectrum, learning_rate=0.3, dynamics=d) for d in ("flow", "discrete"))
    np.testing.assert_allclose(discrete / flow - 1, -0.8 * 1.8 / (4 * steps), rtol=0.03)
    # Batches of one sample: by a constant share, that falls with the rate about as its square.
    for rate, offset in ((0.02, 0.0003), (0.1, 0.008), (0.3, 0.14)):
        settings = {"learning_rate": rate, "batch_size": 1}
        flow, discrete = (loss_curve([3000], spectrum, dynamics=d, **settings) for d in ("flow", "discrete"))
        np.testing.assert_allclose(discrete / flow - 1, offset, rtol=0.1)


def test_momentum_in_flow_is_a_larger_rate():
    spectrum = PowerLaw(1.5, 0.4)
    flow = loss_curve([3000], spectrum, learning_rate=0.01, batch_size=64, momentum=0.9, width=100)
    np.testing.assert_allclose(
        flow, loss_curve([3000], spectrum, learning_rate=0.1, batch_size=64, width=100), rtol=1e-12
    )
    discrete = loss_curve(
        [3000], spectrum, learning_rate=0.01, batch_size=64, momentum=0.9, width=100, dynamics="discrete"
    )
    np.testing.assert_allclose(discrete, flow, rtol=2e-3)


def test_many_curves_at_once():
    sizes = {"width": np.array([[50.0], [100.0]]), "samples": np.array([80.0, math.inf]), "noise_variance": 0.05}
    for dynamics in ("flow", "discrete"):
        settings = {"learning_rate": 0.1 * COSINE, "batch_size": 4, "dynamics": dynamics}
        together = loss_curve([1, 100], PowerLaw(1.5, 0.4), **sizes, **settings)
        assert together.shape == (2, 2, 2)
        for i, width in enumerate((50.0, 100.0)):
            for j, samples in enumerate((80.0, math.inf)):
                alone = loss_curve(
                    [1, 100], PowerLaw(1.5, 0.4), width=width, samples=samples, noise_variance=0.05, **settings
                )
                np.testing.assert_allclose(together[i, j], alone, rtol=1e-7)


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"learning_rate": [0.1, 0.2], "steps": [3]}, "learning_rate has 2 values and ends before the last of the steps, 3"),
        ({"batch_size": [1, 2], "steps": [3]}, "batch_size has 2 values and ends before"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"learning_rate": [0.1, -0.2]}, "learning_rate is -0.2 at step 1"),
        ({"learning_rate": [0.1, np.nan]}, "learning_rate is nan at step 1"),
        ({"learning_rate": np.inf}, "learning_rate is inf"),
        ({"learning_rate": [[0.1]]}, "learning_rate has shape"),
        ({"batch_size": 0.5}, "batch_size is 0.5: pass samples, at least one"),
        ({"batch_size": np.nan, "width": 0, "steps": [-1]}, "3 problems"),
        ({"dynamics": "adam"}, "dynamics is 'adam'"),
        ({"dynamics": "discrete", "steps": [0.5]}, "discrete steps are whole numbers"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"ridge": -0.1}, "ridge is -0.1"),
        ({"ensemble": (0, 1)}, r"ensemble is \(0, 1\)"),
        ({"ensemble": (1.5, 1)}, r"ensemble is \(1.5, 1\)"),
        ({"ensemble": 3}, "ensemble is 3"),
        ({"ensemble": (2, 1), "kind": "train"}, "no train loss"),
        ({"test_spectrum": PowerLaw(1.2, 0.4, 10)}, "test_spectrum has dim=10, spectrum dim=inf: pass one of the same length"),
        ({"spectrum": PowerLaw(1.5, 0.4, 1), "test_spectrum": Spectrum([1.0, 0.5], [1.0, 1.0])}, "pass no more than it has"),
        ({"spectrum": Spectrum([1.0], [1.0]), "test_spectrum": PowerLaw(1.5, 0.4, 1)}, "pass two of a kind"),
        ({"test_spectrum": PowerLaw(1.2, 0.4, 10), "momentum": -1, "dynamics": 3}, "3 problems"),
        (
            {"spectrum": Spectrum([1.0, 0.5], [1.0, 1.0]), "test_spectrum": Spectrum([1.0], [1.0])},
            "test_spectrum has 1 modes, spectrum 2",
        ),
        (
            {"spectrum": Spectrum([1.0, 0.0], [1.0, 1.0]), "test_spectrum": Spectrum([1.0, 1.0], [1.0, 1.0])},
            "mode 1 has no variance in training",
        ),
        ({"spectrum": PowerLaw(3.0, 0.1), "test_spectrum": PowerLaw(1.5, 1.0)}, "diverges"),
    ],
)  # fmt: skip
def test_loss_curve_refuses(arguments, text):
    arguments = {"steps": [1.0], "spectrum": PowerLaw(1.5, 0.4), **arguments}
    with pytest.raises(ParameterError, match=text):
        loss_curve(**arguments)


def test_rates_above_the_threshold_are_named_with_their_step():
    rate = np.full(100, 0.1)
    rate[40] = 1.9
    with pytest.raises(InstabilityError, match=r"learning_rate is 1.9 at step 40, .* with batch_size=8, width=50"):
        loss_curve([100], PowerLaw(1.5, 0.4), learning_rate=rate, batch_size=8, width=50)
    # Larger batches stand larger rates: only the pair matters.
    batch = np.full(100, 8.0)
    batch[40] = 1e6
    rate[40] = 1.8
    assert np.isfinite(loss_curve([100], PowerLaw(1.5, 0.4), learning_rate=rate, batch_size=batch)).all()
    with pytest.raises(InstabilityError, match=r"momentum=0.9, ridge=0.1"):
        loss_curve([1], PowerLaw(1.5, 0.4), learning_rate=4.0, momentum=0.9, ridge=0.1)
