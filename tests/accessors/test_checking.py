"""Fits with a check: their groups, predictions with bands, archives, report, and what they refuse."""

import numpy as np
import pytest
from scipy import stats

import scalingeq
from scalingeq import DataError
from scalingeq.accessors.checking import QUANTILES, read_average
from scalingeq.datasets import to_curves
from scalingeq.inference import validation
from scalingeq.inference.bands import DRIFT
from scalingeq.inference.candidates import Candidate
from scalingeq.inference.twopoint import predict, settings_of

FEW = (Candidate("default"), Candidate("late", burn_in=0.15))


@pytest.fixture(scope="module")
def tree(measured_curves):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "CANDIDATES", FEW)
        ds = scalingeq.datasets.select_runs(measured_curves("padded"), [0, 2, 4])
        return ds.twopoint.fit(hold_out={"params": "largest"}, check="horizon")


def test_candidates_and_what_was_left_out_are_groups(tree):
    candidates, check = tree["candidates"], tree["check"]
    assert sorted(candidates.candidate.values.tolist()) == ["default", "late"]
    assert float(candidates.weight.sum()) == pytest.approx(1)
    assert float(candidates.weight[0]) >= float(candidates.weight[1])
    # The parameters of the analysis are those of the heaviest candidate.
    best = tree["parameters"].value.sel(parameter=candidates.parameter)
    np.testing.assert_array_equal(best.values, candidates.value[0].values)
    left = check.loss.notnull().values & (check.params.values < check.params.values.max())[:, None]
    last = check.step.max("obs").values[:, None]
    np.testing.assert_array_equal(left.nonzero(), check.loss.notnull().values.nonzero())
    assert np.all(check.step.values[left] > 0.4 * np.broadcast_to(last, left.shape)[left])
    error = np.log(check.loss / check.measured_loss).values
    assert float(check.error) == pytest.approx(np.sqrt(np.nanmean(error**2)))
    for group in (candidates, check):
        assert all(
            {"units", "long_name"} <= variable.attrs.keys() for variable in group.to_dataset().variables.values()
        )


def test_predictions_are_the_average_with_quantiles_of_student_t(tree):
    found = tree.twopoint.predict()
    law = read_average(tree["candidates"].to_dataset())
    curves = to_curves(tree["observed"].to_dataset())
    settings, index = settings_of(curves)
    logs = [np.log(predict(values, settings, law.reference_params)[index]) for values in law.values]
    there = found.loss.notnull().values
    np.testing.assert_allclose(np.log(found.loss.values[there]), law.weights @ np.array(logs), rtol=1e-12)
    scale = (found.loss_stderr / found.loss).values[there]
    for probability in QUANTILES:
        expected = found.loss.values[there] * np.exp(stats.t.ppf(probability, law.freedom) * scale)
        np.testing.assert_allclose(found.loss_quantile.sel(quantile=probability).values[there], expected, rtol=1e-12)
    np.testing.assert_array_equal(found.loss, tree["prediction"].loss)
    with_momentum = tree.twopoint.predict(momentum=0.5)
    assert "loss_quantile" not in with_momentum


def test_an_archive_keeps_the_average(tree, tmp_path):
    tree.twopoint.save(tmp_path / "fit.nc")
    again = scalingeq.open_analysis(tmp_path / "fit.nc")
    assert again.twopoint.predict().equals(tree.twopoint.predict())


def test_lazy_predictions_are_the_same(tree):
    ds = tree["observed"].to_dataset()
    lazy = ds.twopoint.predict(tree), ds.chunk({"run": 2}).twopoint.predict(tree)
    assert lazy[1].chunks
    # Runs that are computed together share the nodes of their contour, which resolve a loss to about 1e-9.
    np.testing.assert_allclose(lazy[1].loss_quantile.compute(), lazy[0].loss_quantile, rtol=1e-8)


def test_the_report_says_what_the_check_found(tree):
    text = str(tree.twopoint.report())
    assert "Left out and predicted: the ends of all runs" in text
    assert f"{DRIFT:.1%} for each factor e beyond what was fitted" in text
    assert f"{float(tree['check'].error):.2%} RMS" in text


def test_a_check_refuses_what_it_cannot_do(measured_curves):
    ds = measured_curves("grid")
    with pytest.raises(DataError, match="check: no task 'sizes'; pass one of size, horizon, schedule, repetition"):
        ds.twopoint.fit(check="sizes")
    with pytest.raises(DataError, match="check: chooses among fits with defaults; leave out alpha"):
        ds.twopoint.fit(check="size", alpha=1.5)
