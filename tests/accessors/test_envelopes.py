"""``ds.twopoint.envelope`` and ``.isoflop``: labels, schedules and refusals."""

import numpy as np
import pytest
import xarray as xr

import scalingeq
from scalingeq import DataError, ParameterError


@pytest.fixture(scope="module")
def sizes():
    return scalingeq.datasets.select_runs(scalingeq.datasets.load("stdlib-lm"), list(range(8)))


@pytest.mark.parametrize("name", ["envelope", "isoflop"])
def test_they_are_labelled_and_archived(sizes, name, tmp_path):
    found = getattr(sizes.twopoint, name)()
    assert all({"units", "long_name"} <= found[each].attrs.keys() for each in found.variables)
    assert found.loss.attrs["units"] == "nats per byte"
    found.to_netcdf(tmp_path / "frontier.nc")
    xr.testing.assert_equal(xr.open_dataset(tmp_path / "frontier.nc").load(), found)
    np.testing.assert_allclose((6 * found.params * found.tokens / found["compute"]).dropna("compute"), 1.0, rtol=1e-9)


def test_the_envelope_lies_on_its_runs(sizes):
    found = sizes.twopoint.envelope([1e12])
    run = sizes.isel(run=sizes.run == found.run.item()).squeeze("run")
    compute = 6 * run.params * run.batch_size * run.step
    expected = np.exp(np.interp(np.log(1e12), np.log(compute), np.log(run.loss)))
    assert found.loss.item() == pytest.approx(float(expected), rel=1e-9)
    assert (found.run_loss if "run_loss" in found else found.loss).notnull().all()


def test_the_ends_of_scheduled_runs_can_be_taken_alone():
    everything = scalingeq.datasets.load("stdlib-lm")
    cosine = scalingeq.datasets.select_runs(everything, ["cosine" in str(name) for name in everything.run.values])
    whole = cosine.twopoint.envelope([3e11])
    assert "last=True" in whole.attrs["note"]
    ends = cosine.twopoint.envelope([3e11], last=True)
    assert "note" not in ends.attrs
    assert ends.loss.isnull().all()  # no run ends there


def test_own_rules_of_compute_are_named(sizes):
    def dense(params, tokens):
        return 6 * params * tokens + 1e5 * tokens

    found = sizes.twopoint.isoflop([1e12], flops=dense)
    assert found.attrs["flops"] == "dense"
    np.testing.assert_allclose(dense(found.params, found.tokens).dropna("compute"), 1e12, rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"compute": -1.0}, "compute"), ({"flops": "8ND"}, "8ND"), ({"reach": 1.0}, "factor above 1")],
)
def test_bad_arguments_are_refused(sizes, arguments, message):
    with pytest.raises(ParameterError, match=message):
        sizes.twopoint.isoflop(**arguments)


def test_one_size_is_refused(sizes):
    with pytest.raises(DataError, match="smaller or larger"):
        sizes.isel(run=[0]).twopoint.envelope()
