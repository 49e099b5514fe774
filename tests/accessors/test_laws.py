"""Laws by name: the same groups, archives, predictions, frontiers and reports as the two-point law's."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import scalingeq
from scalingeq.accessors.command_line import main
from scalingeq.datasets import select_runs
from scalingeq.datasets.schema import to_curves
from scalingeq.inference.laws import LAWS, Plan, law

TRUTH = {"E": 0.6, "A": 0.5, "B": 1.2, "a": 0.3, "b": 0.35}


@pytest.fixture(scope="module")
def record(measured_curves):
    return measured_curves("grid")


@pytest.fixture(scope="module", params=["chinchilla", "kaplan"])
def tree(request, record):
    return record.laws.fit(request.param, hold_out={"params": "largest"})


def test_groups_are_those_of_the_two_point_law(tree, record):
    name = json.loads(tree.attrs["provenance"])["law"]
    assert set(tree.children) == {"observed", "parameters", "prediction"}
    assert tree["parameters"].parameter.values.tolist() == list(law(name).parameters)
    assert json.loads(tree.attrs["provenance"])["law_version"] == law(name).version
    for group in ("parameters", "prediction"):
        for variable in tree[group].to_dataset(inherit=False).variables.values():
            assert {"units", "long_name"} <= set(variable.attrs) or "run" in variable.dims or "step" in variable.dims
    prediction = tree["prediction"]
    assert law(name).title in prediction.loss.attrs["long_name"]
    assert prediction.loss.dims == record.loss.dims
    held = prediction.role == 2
    error = np.log(prediction.loss / record.loss).where(held)
    assert prediction.held_out_error.sel(law=name).item() == pytest.approx(float(np.sqrt((error**2).mean())), rel=1e-12)
    assert prediction.held_out_error.item() < 0.1


def test_units_are_those_of_the_record(tree):
    units = dict(zip(tree["parameters"].parameter.values, tree["parameters"].parameter_units.values, strict=True))
    loss, tokens = (tree["observed"][name].attrs["units"] for name in ("loss", "batch_size"))
    expected = {"E": loss, "A": loss, "B": loss, "a": "1", "b": "1", "Nc": "1", "Dc": tokens, "aN": "1", "aD": "1"}
    assert units == {name: expected[name] for name in units}


def test_prediction_of_planned_runs(tree, record):
    name = json.loads(tree.attrs["provenance"])["law"]
    values = dict(zip(tree["parameters"].parameter.values, tree["parameters"].value.values, strict=True))
    planned = record.drop_vars("loss").assign_coords(params=("run", np.geomspace(1e6, 1e7, record.sizes["run"])))
    found = tree.laws.predict(planned)
    assert "measured_loss" not in found
    curves = to_curves(planned, needs_loss=False)
    np.testing.assert_allclose(found.loss.values.ravel(), law(name).loss(values, curves), rtol=1e-12)
    assert (found.loss_stderr > 0).all()
    again = tree.laws.predict()
    np.testing.assert_array_equal(again.measured_loss, record.loss)
    np.testing.assert_array_equal(again.loss, tree["prediction"].loss)
    assert f"the law {name}" in again.attrs["history"]


def test_frontier_is_that_of_the_law(tree):
    name = json.loads(tree.attrs["provenance"])["law"]
    values = dict(zip(tree["parameters"].parameter.values, tree["parameters"].value.values, strict=True))
    compute = np.array([1e13, 1e14])
    found = tree.laws.frontier(compute)
    direct = law(name).frontier(values, compute, Plan())
    np.testing.assert_allclose(found.best_params, direct.params, rtol=1e-5)
    np.testing.assert_allclose(found.best_loss, direct.loss, rtol=1e-9)
    # The band holds the best fit, and one batch size for all runs turns tokens into steps.
    assert (found.loss.sel(quantile=0.16) < found.best_loss).all()
    assert (found.loss.sel(quantile=0.84) > found.best_loss).all()
    np.testing.assert_allclose(found.best_steps * found.attrs["batch_size"], found.best_tokens)
    with pytest.raises(scalingeq.ParameterError, match="does not know repeated data"):
        tree.laws.frontier(compute, data_limit=1e6)
    with pytest.raises(scalingeq.ParameterError, match="compute: not all positive"):
        tree.laws.frontier(-1.0)


def test_a_law_of_size_and_tokens_asks_for_no_rate_or_batch(record):
    mixed = record.assign_coords(batch_size=("run", 1024.0 * 2.0 ** np.arange(5)), learning_rate=("run", np.ones(5)))
    found = mixed.laws.fit("chinchilla").laws.frontier([1e13])
    assert np.isnan(found.best_steps).all()
    assert np.isfinite(found.best_tokens).all()


def test_archives_keep_everything(tree, tmp_path):
    tree.laws.save(tmp_path / "fit.nc")
    opened = scalingeq.open_analysis(tmp_path / "fit.nc")
    xr.testing.assert_equal(opened["prediction"].to_dataset(), tree["prediction"].to_dataset())
    xr.testing.assert_equal(opened.laws.predict(), tree.laws.predict())
    assert str(opened.laws.report()) == str(tree.laws.report())
    lazy = xr.open_datatree(tmp_path / "fit.nc", engine="netcdf4")
    xr.testing.assert_equal(lazy.laws.frontier([1e13]), tree.laws.frontier([1e13]))
    lazy.close()


def test_a_fit_goes_on_from_its_parameters(tree, record):
    name = json.loads(tree.attrs["provenance"])["law"]
    again = record.laws.fit(name, tree.laws.parameters(), hold_out={"params": "largest"})
    np.testing.assert_allclose(again["parameters"].value, tree["parameters"].value, rtol=1e-5)


def test_the_two_point_face_refuses_other_laws(tree, record):
    name = json.loads(tree.attrs["provenance"])["law"]
    for ask in (lambda t: t.twopoint.report(), lambda t: t.twopoint.predict(), lambda t: record.twopoint.predict(t)):
        with pytest.raises(scalingeq.ScalingEqError, match=f"analysis of the law '{name}'"):
            ask(tree)


def test_the_two_point_law_is_one_of_them(record):
    few, held = select_runs(record, [0, 1]), {"alpha": 1.5, "r": 0.2, "time_scale": 10.0, "irreducible": 0.5}
    tree, same = few.laws.fit("twopoint", **held), few.twopoint.fit(**held)
    xr.testing.assert_equal(tree["parameters"].to_dataset(), same["parameters"].to_dataset())
    assert set(tree.children) == {"observed", "parameters", "prediction", "additive"}
    np.testing.assert_array_equal(tree.laws.predict().loss, same.twopoint.predict().loss)
    assert str(same.laws.report()) == str(same.twopoint.report())


def test_reports_and_plots(tree):
    text = str(tree.laws.report())
    name = json.loads(tree.attrs["provenance"])["law"]
    assert law(name).title[1:] in text.splitlines()[0]
    assert "What the curves determine best" not in text
    assert "RMS log error, held-out points" in text
    assert "<table>" in tree.laws.report()._repr_html_()
    assert tree.laws.plot.curves()
    assert "law, held out" in [entry.get_text() for entry in plt.gca().get_legend().get_texts()]
    assert tree.laws.plot.residuals()
    assert tree.laws.plot.frontier(tree.laws.frontier([1e12, 1e13, 1e14]))


def test_frontiers_read_off_the_losses(record, tmp_path):
    sizes = record.sizes["run"]
    tree = record.laws.fit("isoflop")
    optima = tree["optima"].to_dataset()
    assert optima.sizes == {"compute": 12}
    assert int(np.isfinite(optima.params).sum()) >= 3
    assert np.isnan(tree["prediction"].loss).all()
    tree.laws.save(tmp_path / "fit.nc")
    opened = scalingeq.open_analysis(tmp_path / "fit.nc")
    found = opened.laws.frontier([1e12, 1e13])
    exponent = tree["parameters"].value.sel(parameter="size_exponent").item()
    np.testing.assert_allclose(found.best_size_exponent, exponent)
    slope = np.log(found.best_params[1] / found.best_params[0]) / np.log(10)
    assert slope.item() == pytest.approx(exponent, rel=1e-9)
    assert "reference compute" in str(opened.laws.report())
    assert opened.laws.plot.frontier(found, quantity="params")
    assert "measured optima" in [line.get_label() for line in plt.gca().lines]
    for ask in (opened.laws.predict, opened.laws.plot.curves, opened.laws.plot.residuals):
        with pytest.raises(scalingeq.ParameterError, match="has a frontier alone"):
            ask()
    with pytest.raises(scalingeq.FitError, match="best_params held"):
        record.laws.fit("isoflop", best_params=1e5)
    assert sizes == 5


@pytest.mark.parametrize("name", ["chinchilla", "chinchilla-huber", "kaplan", "envelope"])
def test_a_record_that_begins_before_the_first_token(name):
    """Its first losses have no weight, and a law without end there warns of nothing."""
    step, sizes = np.append(0.0, np.geomspace(10, 1e4, 20).round()), np.geomspace(1e4, 1e6, 5)
    loss = 1 + (sizes[:, None] / 1e5) ** -0.3 + (np.maximum(step, 1) / 1e3) ** -0.4
    record = xr.Dataset(
        {"loss": (("run", "step"), loss)},
        {"step": step, "params": ("run", sizes), "batch_size": 100.0, "learning_rate": 0.1},
    )
    tree = record.laws.fit(name)
    assert (tree["prediction"].role.isel(step=0) == 0).all()
    if LAWS[name].has_loss:
        assert np.isinf(tree["prediction"].loss.isel(step=0)).all()
        assert np.isfinite(tree["prediction"].loss.isel(step=slice(1, None))).all()
        assert tree.laws.plot.curves()


def test_wrong_arguments_are_named(record):
    with pytest.raises(scalingeq.ParameterError, match="no law 'hoffmann'"):
        record.laws.fit("hoffmann")
    with pytest.raises(scalingeq.DataError, match="alpha: no such parameter; known are E, A, B, a, b"):
        record.laws.fit("chinchilla", alpha=1.5)
    with pytest.raises(scalingeq.DataError, match=r"a: 20 is outside \[0.001, 10\]"):
        record.laws.fit("chinchilla", a=20.0)
    assert set(record.laws.names()) == set(LAWS)


def test_command_line(record, tmp_path):
    record.to_netcdf(tmp_path / "curves.nc")
    arguments = ["fit", "curves.nc", "-o", "fit.nc", "--law", "chinchilla", "--hold-out", "params=largest"]
    arguments[1], arguments[3] = str(tmp_path / "curves.nc"), str(tmp_path / "fit.nc")
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "Additive law of size and tokens" in result.output
    result = CliRunner().invoke(main, ["frontier", str(tmp_path / "fit.nc"), "--compute", "1e13:1e14", "--points", "3"])
    assert result.exit_code == 0, result.output
    assert "68 % band" in result.output
    assert "'hoffmann' is not one of" in CliRunner().invoke(main, [*arguments[:5], "hoffmann"]).output
