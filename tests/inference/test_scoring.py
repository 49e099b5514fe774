"""Scores of predictions, beside sums over runs one by one and scipy's exact binomial test."""

import numpy as np
import pytest
from scipy import stats

from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.scoring import LEVELS, nominal_range, score


def curves(counts=(3, 5, 1), seed=0):
    run = np.repeat(np.arange(len(counts)), counts)
    tokens = np.concatenate([np.arange(1.0, count + 1) for count in counts])
    one = np.ones(len(counts))
    loss = np.exp(0.1 * np.random.default_rng(seed).standard_normal(run.size))
    return TrainingCurves(
        run, tokens, tokens, loss, np.full(run.size, np.nan), np.arange(len(counts)).astype(str), one, one, one,
        np.inf * one, 0 * one,
    )  # fmt: skip


@pytest.mark.parametrize("freedom", [2.0, np.inf])
def test_score_counts_each_run_by_the_share_of_its_observations(freedom):
    measured = curves()
    stderr = np.linspace(0.02, 0.15, measured.run.size)
    found = score(measured, np.zeros(measured.run.size), stderr, freedom)
    misfit = -np.log(measured.loss)
    for level, inside in zip(LEVELS, found.inside, strict=True):
        low, high = stats.t.interval(level, freedom, scale=stderr)
        shares = [np.mean(((misfit > low) & (misfit < high))[measured.run == run]) for run in range(3)]
        assert inside == pytest.approx(sum(shares))
    assert found.error == pytest.approx(np.sqrt(np.mean(misfit**2)))
    assert found.end_error == pytest.approx(misfit[7])  # the last of the five
    assert found.runs == 3


@pytest.mark.parametrize(("runs", "level"), [(3, 0.68), (40, 0.68), (40, 0.95), (211, 0.95)])
def test_nominal_range_is_that_of_the_exact_test(runs, level):
    """Equal tails: half of the level on each side."""
    low, high = nominal_range(runs, level)
    for count, inside in ((low - 1, False), (low, True), (high, True), (high + 1, False)):
        if 0 <= count <= runs:
            tails = [stats.binomtest(count, runs, level, alternative=side).pvalue for side in ("less", "greater")]
            assert bool(min(tails) >= 0.005) is inside
