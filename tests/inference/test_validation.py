"""Candidates, what a check leaves out, and the average with its bands."""

from dataclasses import replace

import numpy as np
import pytest

from scalingeq import FitError
from scalingeq.inference.bands import DRIFT, NEEDED, Prediction, Reach, averaged, log_loss
from scalingeq.inference.candidates import CANDIDATES, Candidate
from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.fitting import default_weights
from scalingeq.inference.leaving_out import left_out
from scalingeq.inference.twopoint import complete, settings_of
from scalingeq.inference.twopoint import predict as predict_law
from scalingeq.inference.uncertainty import predicted_band
from scalingeq.inference.validation import fit_average
from scalingeq.theory.schedule import Schedule

TRUTH = complete(
    dict(
        alpha=1.6, r=0.28, scale=2.0, irreducible=0.8, unlearnable=0.3, unlearnable_exponent=0.4, time_scale=20.0,
        width_scale=80.0, width_exponent=0.7,
    )
)  # fmt: skip
FEW = (Candidate("default"), Candidate("infinite width", finite_width=False))


def planned(sizes=(1e4, 3e4, 1e5, 3e5, 1e6, 3e6), steps=10, unique=np.inf):
    params = np.array(sizes)
    run = np.repeat(np.arange(params.size), steps)
    step = np.tile(np.geomspace(100, 2e4, steps).round(), params.size)
    one = np.ones(params.size)
    return TrainingCurves(
        run, step, 512 * step, np.full(run.size, np.nan), np.full(run.size, np.nan),
        np.array([f"run {n}" for n in range(params.size)]), params, 0.01 * one, 512 * one, unique * one, 0 * one,
    )  # fmt: skip


def measured(noise=0.003, seed=1, **plan):
    curves = planned(**plan)
    loss, _ = predicted_band(TRUTH, None, curves, curves.params.min())
    return replace(curves, loss=loss * np.exp(noise * np.random.default_rng(seed).standard_normal(loss.size)))


def test_sizes_are_left_out_from_the_largest_and_three_remain():
    sizes = planned().params
    (mask,) = left_out(planned(), "size")
    assert np.unique(planned().params[planned().run[mask]]).tolist() == sizes[-2:].tolist()
    few = planned(sizes=sizes[:3])
    (mask,) = left_out(few, "size")  # too few: steps stand for them
    np.testing.assert_array_equal(mask, few.step > 0.4 * few.step.max())


def test_horizons_schedules_and_data_sets_are_left_out():
    curves = planned()
    (mask,) = left_out(curves, "horizon")
    np.testing.assert_array_equal(mask, curves.step > 0.4 * curves.step.max())
    falling = Schedule([0, 2e4], [0.01, 0.0], [1e-5, 0.0])
    masks = left_out(replace(curves, schedules={0: falling, 3: falling, 5: falling}), "schedule")
    assert sorted(np.unique(curves.run[mask]).tolist() for mask in masks) == [[0, 3, 5], [1, 2, 4]]
    # Another batch size is another schedule; without the five runs of the first a single size would remain.
    batches = np.append(curves.batch_size[:-1], 64.0)
    masks = left_out(replace(curves, batch_size=batches), "schedule")
    assert [np.unique(curves.run[mask]).tolist() for mask in masks] == [[5]]
    unique = np.array([np.inf, 1e6, 1e6, 1e5, 1e5, np.inf])
    (mask,) = left_out(replace(curves, dataset_size=unique), "repetition")
    assert np.unique(curves.run[mask]).tolist() == [3, 4]


def test_a_table_of_final_losses_leaves_out_the_largest_compute():
    table = planned(steps=1)
    table = replace(table, tokens=table.tokens * np.array([9.0, 1, 1, 1, 1, 1]) ** 4)
    (mask,) = left_out(table, "size")
    compute = table.params * table.tokens
    assert mask.sum() == 2
    assert compute[mask].min() > compute[~mask].max()


def test_distance_adds_sizes_tokens_and_repeats():
    reach = Reach.of(planned(unique=1e6), "size")
    one = planned(sizes=(3e7,), unique=1e5)
    expected = np.log(10) + np.log(np.maximum(one.tokens / reach.tokens, 1)) + np.log(10)
    # Within the reach in size and in tokens, and yet beyond it in compute.
    table = planned(sizes=(1e4, 1e6), steps=2)
    diagonal = Reach.of(table.select(np.array([True, True, True, False])), "size").beyond(table)
    np.testing.assert_allclose(
        diagonal, [0, 0, 0, np.log(table.tokens[3] / max(table.tokens[2], table.tokens[1] / 100))]
    )
    np.testing.assert_allclose(reach.beyond(one), expected)
    assert np.all(Reach.of(planned(), "schedule").beyond(planned()) == 1)
    assert np.all(Reach.of(planned(), "horizon").beyond(planned()) == 0)


def test_average_is_a_mixture():
    """Mean and variance of draws from the mixture that an average stands for, within 4 standard errors."""
    rng = np.random.default_rng(0)
    means, errors, weights = np.array([0.1, 0.4]), np.array([0.2, 0.05]), np.array([0.3, 0.7])
    found = averaged([Prediction(np.array([m]), np.array([s])) for m, s in zip(means, errors, strict=True)], weights)
    which = rng.choice(2, 100_000, p=weights)
    draws = means[which] + errors[which] * rng.standard_normal(which.size)
    assert abs(draws.mean() - found.log_loss[0]) < 4 * draws.std() / np.sqrt(draws.size)
    assert draws.std() == pytest.approx(found.stderr[0], rel=0.02)


@pytest.fixture(scope="module")
def average():
    curves = measured()
    fitted = curves.params[curves.run] < 2e6
    return curves, fitted, fit_average(curves, "size", fitted=fitted, candidates=FEW)


def test_the_average_predicts_a_larger_size_within_its_band(average):
    curves, fitted, found = average
    law = found.law
    assert law.weights.sum() == pytest.approx(1)
    # Weights follow the errors on what was left out: the two sizes there are one test, as heavy as the 4 points of a curve.
    np.testing.assert_allclose(law.weights[1] / law.weights[0], (found.scores[1] / found.scores[0]) ** -4)
    held = curves.select(~fitted)
    predicted = law.predict(held)
    low, high = law.quantiles(predicted, (0.025, 0.975))
    # The transient at the beginning is neither fitted nor scored.
    scored = default_weights(held) > 0
    assert np.mean(((held.loss > low) & (held.loss < high))[scored]) > 0.9
    assert np.all(predicted.stderr > NEEDED * law.noise)
    assert not found.left_out[~fitted].any()


def test_bands_widen_with_the_distance_and_with_the_scatter_of_the_candidates(average):
    """The scale at the largest size is that of noise, scatter and distance; within what was fitted there is no distance."""
    curves, fitted, found = average
    law, held = found.law, curves.select(~fitted)
    every = np.array([log_loss(values, held, law.reference_params) for values in law.values])
    scatter = law.weights @ (every - law.weights @ every) ** 2
    far = np.log(held.params[held.run].max() / curves.params[curves.run[fitted]].max()) * np.ones(held.run.size)
    expected = NEEDED * np.sqrt(law.noise**2 + scatter + (DRIFT * far) ** 2)
    np.testing.assert_allclose(law.predict(held).stderr, expected)
    inside = law.predict(curves.select(fitted)).stderr
    assert inside.min() == pytest.approx(NEEDED * law.noise, rel=0.05)
    assert law.freedom == 2


def test_what_is_left_out_at_once_is_one_test():
    """Runs at two rates, left out in turn, are two tests, however many sizes each has."""
    curves = measured(sizes=np.repeat([1e4, 1e5, 1e6], 2))
    curves = replace(curves, learning_rate=curves.learning_rate * np.tile([1.0, 2.0], 3))
    flat = Candidate("infinite width", finite_width=False)
    found = fit_average(curves, "schedule", candidates=(flat, replace(flat, name="late", burn_in=0.15)))
    assert np.unique(curves.run[found.left_out]).tolist() == [0, 2, 4]
    assert found.law.freedom == 3
    np.testing.assert_allclose(found.law.weights[1] / found.law.weights[0], (found.scores[1] / found.scores[0]) ** -8)


def test_a_candidate_that_cannot_be_fitted_is_named(monkeypatch):
    def fail(self, *_):
        raise FitError("too little")

    monkeypatch.setattr(Candidate, "fit", fail)
    with pytest.raises(FitError, match="no candidate could be fitted: default: too little; infinite width: too little"):
        fit_average(measured(), "size", candidates=FEW)


def test_exponents_of_the_batch_are_candidates_where_batches_differ():
    curves = planned()
    several = replace(curves, batch_size=curves.batch_size * np.array([1, 1, 1, 1, 1, 2.0]))
    assert [one.name for one in CANDIDATES if not one.differs(curves)] == ["tokens", "tokens, late"]
    assert all(one.differs(several) for one in CANDIDATES)


def test_beginnings_are_no_candidates_in_a_table_of_final_losses():
    table = planned(steps=1)
    assert {one.name for one in CANDIDATES if one.differs(table)} == {
        "default", "no floor", "shared exponent", "infinite width",
    }  # fmt: skip


def test_widths_are_no_candidates_of_one_size():
    names = [one.name for one in CANDIDATES if one.differs(planned(sizes=(1e4,)))]
    adaptive = ["rates over root of loss", "rates over root of loss, late"]
    assert names == ["default", "late", "late, weak floor", "no floor", "no floor, late", *adaptive]


def test_candidates_hold_and_tie_what_they_say():
    curves = measured(sizes=(1e4, 1e5, 1e6, 1e7), steps=8)
    everything = np.ones(curves.run.size, bool)
    assert Candidate("", floor=False).fit(curves, everything).params["irreducible"].value == 0
    tied = Candidate("", shared_exponent=True).fit(curves, everything).params.valuesdict()
    expected = 2 * tied["alpha"] * tied["r"] * tied["width_exponent"]
    assert tied["unlearnable_exponent"] == pytest.approx(expected)


@pytest.mark.parametrize("scheduled", [False, True])
def test_time_in_tokens_is_that_of_rates_times_batches(scheduled):
    """The law with batch_exponent 1 beside the same law without it on records whose rates are multiplied by hand."""
    curves = planned(sizes=(1e4, 1e5))
    curves = replace(curves, batch_size=np.array([64.0, 512.0]))
    by_hand = replace(curves, learning_rate=curves.learning_rate * curves.batch_size)
    if scheduled:
        ramp, rate = np.array([0.0, 2e4]), np.array([0.01, 0.001])
        ours = {run: Schedule(ramp, rate, rate / batch) for run, batch in enumerate(curves.batch_size)}
        theirs = {run: Schedule(ramp, batch * rate, rate) for run, batch in enumerate(curves.batch_size)}
        curves, by_hand = replace(curves, schedules=ours), replace(by_hand, schedules=theirs)
    law = TRUTH | {"time_scale": 0.05, "noise_scale": 3.0}
    losses = [
        predict_law(values, settings_of(runs)[0], 1e4)
        for values, runs in ((law | {"batch_exponent": 1.0}, curves), (law, by_hand))
    ]
    np.testing.assert_allclose(*losses, rtol=1e-9)
