"""Laws of schedules, of repeated data and of broken and saturating powers, each beside an independent computation."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from scalingeq.errors import FitError, ParameterError
from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.laws import LAWS, Law, Plan
from scalingeq.inference.laws.annealing import annealing_area
from scalingeq.inference.laws.rates import areas, rates_now, straight_pieces
from scalingeq.theory.schedule import Schedule

PEAK, WARMUP, STEPS = 3e-3, 60, 1500


def per_step(kind):
    """Learning rate (step,) of each optimiser step."""
    share = np.linspace(0, 1, STEPS - WARMUP)
    after = {
        "constant": np.ones_like(share),
        "cosine": 0.1 + 0.45 * (1 + np.cos(np.pi * share)),
        "jump": np.where(share < 0.5, 1.0, 0.2),
        "linear": np.minimum(1.0, (1 - share) / 0.3),
        "two jumps": np.select([share < 0.3, share < 0.7], [1.0, 0.5], 0.7),
    }[kind]
    return PEAK * np.append(np.arange(WARMUP) / WARMUP, after)


def runs_of(kinds, sizes=(1e6,), dataset_size=np.inf, points=40, batch_size=64.0):
    """Curves without losses: each size under each schedule, its rates given step by step."""
    kinds, params = (np.array(x).ravel() for x in np.broadcast_arrays(np.array(kinds)[:, None], np.array(sizes)))
    step = np.unique(np.geomspace(WARMUP + 3, STEPS, points).round())
    one, count = np.ones(kinds.size), step.size
    known = {kind: Schedule.of_steps(per_step(kind), per_step(kind) / batch_size) for kind in set(kinds.tolist())}
    at = np.tile(step, kinds.size)
    return TrainingCurves(
        np.repeat(np.arange(kinds.size), count), at, batch_size * at, np.full(at.size, np.nan), np.full(at.size, np.nan),
        np.array([f"{kind} {size:g}" for kind, size in zip(kinds, params, strict=True)]), params, PEAK * one,
        batch_size * one, dataset_size * one, WARMUP * one, {n: known[kind] for n, kind in enumerate(kinds.tolist())},
    )  # fmt: skip


def with_losses(law, values, curves, noise=0.0):
    exact = LAWS[law].loss(values, curves)
    return replace(curves, loss=exact * np.exp(np.random.default_rng(0).normal(0, noise, exact.size)))


ALL = ["constant", "cosine", "jump", "linear", "two jumps"]
SCHEDULED = ["constant", "cosine", "jump"]
TRUTHS = {
    "multipower": (
        dict(L0=2.0, A=0.5, B=120.0, alpha=0.5, C=1.5, beta=0.6, gamma=0.6), runs_of(ALL, points=80)
    ),
    "annealing": (
        dict(L0=2.0, A=0.5, B=40.0, C=0.2, alpha=0.5, a=0.3, memory=300.0), runs_of(SCHEDULED, (1e6, 1e7, 1e8))
    ),
    "rate_noise": (dict(E=1.5, A=40.0, B=30.0, C=0.2, a=0.3, b=0.4), runs_of(SCHEDULED, (1e6, 1e7, 1e8))),
    "data_constrained": (
        dict(E=1.5, A=30.0, B=40.0, a=0.3, b=0.4, R_D=6.0, R_N=4.0),
        runs_of(["constant"] * 3, np.geomspace(1e2, 1e8, 7), np.repeat([np.inf, 6e3, 1e3], 7)),
    ),
    "broken": (
        dict(E=1.0, A=30.0, B=20.0, a=0.3, b0=0.1, b1=0.8, d=3e4, f=0.3), runs_of(["constant"], (1e6, 1e7, 1e8))
    ),
    "m4": (
        dict(E=1.0, A=30.0, B=300.0, L0=7.0, a=0.3, c=0.6, gamma=0.7), runs_of(["constant"], (1e6, 1e7, 1e8))
    ),
}  # fmt: skip


def test_multipower_is_the_sum_over_single_steps():
    values, curves = TRUTHS["multipower"]
    loss = LAWS["multipower"].loss(values, curves)
    for run, kind in enumerate(ALL):
        rate = per_step(kind)
        for at in np.flatnonzero(curves.run == run)[::7]:
            steps = int(curves.step[at])
            total = 0.0
            for k in range(1, steps):
                gain = 1 - (values["C"] * rate[k] ** -values["gamma"] * rate[k:steps].sum() + 1) ** -values["beta"]
                # At the end of a decay to zero nothing is learned, at whatever pace.
                total += (rate[k - 1] - rate[k]) * gain if rate[k] > 0 else 0.0
            expected = values["L0"] + values["A"] * rate[:steps].sum() ** -values["alpha"] - values["B"] * total
            assert loss[at] == pytest.approx(expected, rel=3e-4)


def test_the_annealing_area_is_the_double_sum_over_steps():
    curves = runs_of(ALL)
    for memory in (50.0, 1000.0):
        area, forgetting = annealing_area(curves, memory), 1 - 1 / memory
        for run, kind in enumerate(ALL):
            rate = per_step(kind)
            rate[:WARMUP] = PEAK
            momentum, total, sums = 0.0, 0.0, []
            for fall in -np.diff(rate, prepend=rate[0]):
                momentum = forgetting * momentum + fall
                sums.append(total := total + momentum)
            mine = curves.run == run
            expected = np.array(sums)[curves.step[mine].astype(int) - 1]
            np.testing.assert_allclose(area[mine], expected, rtol=2e-3, atol=2e-3 * PEAK * memory)


def test_areas_and_rates_are_those_of_the_steps():
    curves = runs_of(ALL)
    area, now = areas(curves), rates_now(curves)
    for run, kind in enumerate(ALL):
        mine, rate = curves.run == run, per_step(kind)
        last = curves.step[mine].astype(int)
        np.testing.assert_allclose(area[mine], np.cumsum(rate)[last - 1], rtol=1e-12)
        np.testing.assert_allclose(now[mine], rate[last - 1], rtol=1e-12, atol=1e-15)


def test_a_constant_rate_is_the_same_with_and_without_a_schedule():
    curves = runs_of(["constant"])
    ramp = Schedule([0, WARMUP, STEPS], [0, PEAK, PEAK], [0.0] * 3)
    plain, curves = replace(curves, schedules={}), replace(curves, schedules={0: ramp})
    for name in ("multipower", "annealing", "rate_noise"):
        values, _ = TRUTHS[name]
        np.testing.assert_allclose(LAWS[name].loss(values, plain), LAWS[name].loss(values, curves), rtol=1e-12)


def test_straight_pieces_keep_to_the_schedule_and_to_its_jumps():
    step = np.array([0, 10, *np.linspace(10, 1000, 400), 1000, 2000])
    rate = np.array([0.0, 1.0, *(0.1 + 0.45 * (1 + np.cos(np.linspace(0, np.pi, 400)))), 0.01, 0.01])
    few, rates = straight_pieces(step, rate, 1e-3)
    assert few.size < 40
    inside = (step > 0) & (step < 1000)
    assert np.abs(np.interp(step[inside], few, rates) - rate[inside]).max() <= 1e-3
    assert {1000.0} == set(few[np.append(np.diff(few) == 0, False)])


def test_excess_parameters_begin_at_the_optimum_of_the_additive_law():
    values, unique = TRUTHS["data_constrained"][0], 6e3
    additive = lambda n, d: values["A"] * n ** -values["a"] + values["B"] * d ** -values["b"]  # noqa: E731
    # The size whose optimal tokens, at a compute of 6 N D, are the unique ones.
    best = lambda product: minimize_scalar(  # noqa: E731
        lambda log: additive(np.exp(log), product / np.exp(log)), bounds=(0, 40), method="bounded",
        options={"xatol": 1e-10},
    ).x  # fmt: skip
    product = brentq(lambda log: log - best(np.exp(log)) - np.log(unique), np.log(unique) + 0.1, 40)
    optimal = np.exp(best(np.exp(product)))
    for params, tokens in ((0.5 * optimal, 1e3), (30 * optimal, unique), (30 * optimal, 10 * unique)):
        one = np.ones(1)
        curves = TrainingCurves(
            np.zeros(1, int), one, tokens * one, one, one, np.array(["a"]), params * one, one, one, unique * one, one
        )
        seen = min(tokens, unique)
        data = seen * (1 + values["R_D"] * (1 - np.exp(-(tokens / seen - 1) / values["R_D"])))
        used = min(params, optimal * (seen / unique) ** (values["b"] / values["a"]))
        size = used * (1 + values["R_N"] * (1 - np.exp(-(params / used - 1) / values["R_N"])))
        expected = values["E"] + additive(size, data)
        assert LAWS["data_constrained"].loss(values, curves)[0] == pytest.approx(expected, rel=1e-6)


def test_the_data_constrained_law_without_repeats_and_excess_is_the_additive_law():
    values, curves = TRUTHS["data_constrained"]
    few = replace(curves, params=np.full(curves.params.size, 10.0), dataset_size=np.full(curves.params.size, np.inf))
    np.testing.assert_allclose(
        LAWS["data_constrained"].loss(values, few), LAWS["chinchilla"].loss(values, few), rtol=1e-12
    )


def test_the_broken_law_is_its_product_form_and_has_both_powers():
    values = TRUTHS["broken"][0] | {"A": 0.0, "E": 0.0}
    curves = runs_of(["constant"], points=60)
    loss = LAWS["broken"].loss(values, replace(curves, tokens=np.geomspace(1e-8, 1e16, curves.run.size)))
    tokens = np.geomspace(1e-8, 1e16, curves.run.size)
    first = values["B"] * tokens ** -values["b0"]
    power = -(values["b1"] - values["b0"]) * values["f"]
    np.testing.assert_allclose(loss, first * (1 + (tokens / values["d"]) ** (1 / values["f"])) ** power, rtol=1e-12)
    slope = np.gradient(np.log(loss), np.log(tokens))
    assert slope[[1, -2]] == pytest.approx([-values["b0"], -values["b1"]], rel=1e-6)


@pytest.mark.parametrize("gamma", [0.05, 0.3, 1.0, 2.5, 9.0])
def test_the_root_of_m4_solves_its_equation(gamma):
    values = TRUTHS["m4"][0] | {"gamma": gamma}
    curves = runs_of(["constant"], (1e4, 1e6))
    curves = replace(curves, tokens=np.geomspace(1e-3, 1e12, curves.run.size))
    for loss, tokens, params in zip(
        LAWS["m4"].loss(values, curves), curves.tokens, curves.params[curves.run], strict=True
    ):
        endless = values["E"] + values["A"] * params ** -values["a"]
        right = values["B"] * tokens ** -values["c"]

        def gap(above, endless=endless, right=right):
            return above - right * (values["L0"] - endless - above) ** gamma

        assert loss - endless == pytest.approx(brentq(gap, 0, values["L0"] - endless, xtol=1e-15), rel=1e-6, abs=1e-12)


def test_m4_at_gamma_zero_is_the_additive_law():
    values, curves = TRUTHS["m4"]
    values, later = values | {"gamma": 0.0}, replace(curves, tokens=1e3 * curves.tokens)
    additive = {"E": values["E"], "A": values["A"], "B": values["B"], "a": values["a"], "b": values["c"]}
    np.testing.assert_allclose(LAWS["m4"].loss(values, later), LAWS["chinchilla"].loss(additive, later), rtol=1e-12)


@pytest.mark.parametrize("name", ["multipower", "m4"])
def test_derivatives_are_difference_quotients(name):
    values, curves = TRUTHS[name]
    law, names = LAWS[name], list(values)
    exact, quotients = law.log_jacobian(values, curves, names), Law.log_jacobian(law, values, curves, names)
    np.testing.assert_allclose(exact, quotients, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", TRUTHS)
def test_parameters_come_back_from_losses_of_the_law(name):
    truth, planned = TRUTHS[name]
    law, curves = LAWS[name], with_losses(name, truth, planned)
    params, _ = law.default_parameters(curves)
    if name == "annealing":
        params["memory"].set(vary=True)
    fit = law.fit(curves, params)
    assert {n: fit.values[n] for n in truth} == pytest.approx(truth, rel=2e-3)


@pytest.mark.parametrize("name", TRUTHS)
def test_noisy_losses_are_extrapolated_within_their_errors(name):
    """Half a per cent of noise: predicted end of the runs within 4 standard errors, and these are no excuse."""
    truth, planned = TRUTHS[name]
    law, curves = LAWS[name], with_losses(name, truth, planned, noise=0.005)
    seen = curves.step < 0.8 * STEPS
    fit = law.fit(curves, weights=seen.astype(float))
    if name == "annealing":
        truth = truth | {"memory": fit.values["memory"]}
        curves = with_losses(name, truth, planned, noise=0.005)
        fit = law.fit(curves, weights=seen.astype(float))
    loss, stderr = law.loss_band(fit.values, fit.covariance, planned)
    exact = law.loss(truth, planned)
    end = ~seen
    assert stderr is not None
    assert np.sqrt(np.mean((np.log(loss / exact)[end]) ** 2)) < 0.005
    assert np.median(np.abs(loss - exact)[end] / stderr[end]) < 2.5


def test_a_gain_larger_than_the_loss_leaves_a_loss_above_zero():
    values, curves = TRUTHS["annealing"]
    loss = LAWS["annealing"].loss(values | {"C": 1e5}, curves)
    assert (loss > 0).all()
    assert loss.min() < 1e-300


@pytest.mark.parametrize("name", TRUTHS)
def test_before_the_first_token_the_loss_is_infinite_or_that_of_guessing(name):
    values, curves = TRUTHS[name]
    planned = replace(curves, step=0 * curves.step, tokens=0 * curves.tokens)
    loss, _ = LAWS[name].loss_band(values, None, planned)
    np.testing.assert_array_equal(loss, values["L0"] if name == "m4" else np.inf)


def test_problems_are_told_in_words():
    several, one = runs_of(SCHEDULED, (1e6, 1e7)), runs_of(["constant"])
    for name, curves, words in (
        ("multipower", several, "params: 2 model sizes, which 'multipower' does not know"),
        ("multipower", one, "learning_rate: falls in no run"),
        ("annealing", one, "learning_rate: falls in no run"),
        ("data_constrained", several, "dataset_size: no run sees more tokens than that"),
    ):
        with pytest.raises(FitError, match=words):
            LAWS[name].fit(replace(curves, loss=np.ones(curves.run.size)))
    with pytest.raises(ParameterError, match="none is optimal"):
        LAWS["multipower"].frontier(TRUTHS["multipower"][0], np.ones(1), Plan())


@pytest.mark.parametrize("name", ["annealing", "rate_noise", "broken", "m4"])
def test_one_size_holds_the_term_of_size_and_says_so(name):
    truth, _ = TRUTHS[name]
    truth = truth | {"B" if name == "annealing" else "A": 0.0}
    curves = with_losses(name, truth, runs_of(["constant"] if name in ("broken", "m4") else SCHEDULED, points=60))
    fit = LAWS[name].fit(curves)
    assert "size term held out: 1 model size, 2 or more determine it" in fit.notes
    np.testing.assert_allclose(LAWS[name].loss(fit.values, curves), curves.loss, rtol=2e-2)


def test_two_sizes_hold_the_exponent_of_size_and_say_so():
    truth = TRUTHS["rate_noise"][0] | {"a": 0.34}
    curves = with_losses("rate_noise", truth, runs_of(SCHEDULED, (1e6, 1e8), points=60))
    fit = LAWS["rate_noise"].fit(curves)
    assert any("a held at 0.34: 2 model sizes" in note for note in fit.notes)
    assert {n: fit.values[n] for n in truth} == pytest.approx(truth, rel=2e-3)


def test_a_constant_rate_holds_the_noise_out():
    truth = TRUTHS["rate_noise"][0] | {"C": 0.0}
    curves = with_losses("rate_noise", truth, runs_of(["constant"], (1e6, 1e7)))
    fit = LAWS["rate_noise"].fit(curves)
    assert fit.values["C"] == 0
    assert any("C held at 0" in note for note in fit.notes)


def test_kaplan_s_constants_of_nearly_flat_losses_stop_at_the_largest_number_and_say_so():
    """Losses that fall by a part in a thousand: the size at which they would be 1 has more digits than a float."""
    curves = runs_of(["constant"], (1e6, 1e7, 1e8))
    flat = 5.0 + 0.05 * (curves.params[curves.run] / 1e6) ** -0.3 + 0.05 * (curves.tokens / 1e4) ** -0.5
    fit = LAWS["kaplan"].fit(replace(curves, loss=flat))
    assert "Nc stopped at its bound 1e+150" in " ".join(fit.notes)
    assert np.std(np.log(LAWS["kaplan"].loss(fit.values, curves) / flat)) < 5e-3
