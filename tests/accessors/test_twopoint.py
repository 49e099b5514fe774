"""``.twopoint`` on measured curves and on analyses: shapes, hold-outs, predictions, frontiers and refusals."""

import subprocess
import sys
import warnings

import lmfit
import numpy as np
import pytest
import xarray as xr

import scalingeq
from scalingeq.accessors import groups

TRUTH = dict(
    alpha=1.6, r=0.3, scale=2.0, irreducible=0.8, unlearnable=0.3, unlearnable_exponent=0.4, time_scale=20.0,
    width_scale=80.0, width_exponent=0.7,
)  # fmt: skip
STEP = np.geomspace(50, 2e4, 10).round()
PARAMS = np.array([1e4, 3e4, 1e5, 1e6])


def planned() -> xr.Dataset:
    """Four sizes on one grid of steps, no loss."""
    return xr.Dataset(
        coords={
            "run": ["small", "medium", "middle", "large"],
            "step": STEP,
            "params": ("run", PARAMS),
            "learning_rate": 0.01,
            "batch_size": ((), 1024.0, {"units": "bytes"}),
        }
    )


@pytest.fixture(scope="module")
def grid() -> xr.Dataset:
    ds = planned()
    exact = ds.twopoint.predict(**TRUTH).loss
    noise = np.random.default_rng(0).standard_normal(exact.shape)
    return ds.assign(loss=(exact.dims, exact.values * np.exp(0.003 * noise), {"units": "nats per byte"}))


@pytest.fixture(scope="module")
def tree(grid):
    return grid.twopoint.fit(hold_out={"params": "largest"})


def test_the_tree_has_the_groups_of_an_analysis(tree):
    assert set(tree.children) == {"observed", "parameters", "prediction", "additive"}
    for node in tree.subtree:
        for name, variable in node.variables.items():
            assert variable.attrs.get("long_name"), f"{node.path}/{name}"
            assert variable.attrs.get("units"), f"{node.path}/{name}"


def test_held_out_points_are_scored_and_not_used(grid, tree):
    role = tree["prediction"].role
    # The transient, which the default weights leave out of fits, is no test of the law either.
    tested = grid.step >= 0.02 * grid.step.max()
    assert ((role.sel(run="large") == groups.HELD_OUT) == tested).all()
    assert not (role.sel(run=["small", "medium", "middle"]) == groups.HELD_OUT).any()
    misfit = np.log(tree["prediction"].loss / grid.loss).sel(run="large")[tested]
    rms = float(np.sqrt((misfit**2).mean()))
    assert float(tree["prediction"].held_out_error.sel(law="twopoint")) == pytest.approx(rms, rel=1e-12)
    additive = np.log(tree["prediction"].additive_loss / grid.loss).sel(run="large")[tested]
    assert float(tree["prediction"].held_out_error.sel(law="additive")) == pytest.approx(
        float(np.sqrt((additive**2).mean())), rel=1e-12
    )
    # What is held out cannot leak: changing it changes nothing that was fitted.
    other = grid.copy(deep=True)
    other.loss.loc[{"run": "large"}] *= 3.0
    again = other.twopoint.fit(hold_out={"params": "largest"})
    np.testing.assert_array_equal(again["parameters"].value, tree["parameters"].value)


def test_prediction_is_labelled_like_the_question(grid, tree):
    out = tree.twopoint.predict()
    assert out.loss.dims == grid.loss.dims
    assert out.loss.attrs["units"] == "nats per byte"
    xr.testing.assert_equal(out.measured_loss, grid.loss)
    np.testing.assert_allclose(out.loss, tree["prediction"].loss, rtol=1e-12)
    np.testing.assert_allclose(grid.twopoint.predict(tree).loss, out.loss, rtol=1e-12)
    assert (out.loss_stderr > 0).all()


def test_planned_runs_need_no_loss(tree):
    out = tree.twopoint.predict(planned().isel(run=[3]).assign_coords(params=("run", [1e8])))
    assert out.loss.sizes == {"run": 1, "step": STEP.size}
    assert "measured_loss" not in out


def test_every_shape_gives_the_same_numbers(grid, tree):
    expected = tree.twopoint.predict().loss.values
    padded = xr.Dataset(
        {"loss": (("run", "obs"), grid.loss.values, grid.loss.attrs)},
        {"step": (("run", "obs"), np.tile(STEP, (4, 1))), "run": grid.run}
        | {name: grid[name] for name in ("params", "learning_rate", "batch_size")},
    )
    np.testing.assert_array_equal(tree.twopoint.predict(padded).loss, expected)
    ragged = xr.Dataset(
        {"loss": ("obs", grid.loss.values.ravel(), grid.loss.attrs)},
        {"step": ("obs", np.tile(STEP, 4)), "row_size": ("run", [STEP.size] * 4), "run": grid.run}
        | {name: grid[name] for name in ("params", "learning_rate", "batch_size")},
    )
    np.testing.assert_array_equal(tree.twopoint.predict(ragged).loss, expected.ravel())
    single = grid.isel(run=0, drop=True).assign_coords(params=PARAMS[0])
    np.testing.assert_allclose(tree.twopoint.predict(single).loss, expected[0], rtol=1e-9)


def test_recorded_parameters_predict_again(grid):
    first = grid.twopoint.predict(**TRUTH)
    again = first.twopoint.predict()
    np.testing.assert_array_equal(again.loss, first.loss)
    assert "recorded" in again.attrs["history"]


def test_without_anything_predict_fits_and_says_so(grid):
    out = grid.twopoint.predict()
    assert "default fit" in out.attrs["history"]
    assert np.abs(np.log(out.loss / grid.loss)).sel(step=slice(400, None)).max() < 0.01


def test_numbers_hold_parameters_and_lmfit_parameters_replace_them(grid):
    tree = grid.twopoint.fit(alpha=1.5, r=lmfit.Parameter("r", 0.25, min=0.2, max=0.4), width_scale=np.inf)
    table = tree["parameters"]
    assert float(table.value.sel(parameter="alpha")) == 1.5
    assert int(table.vary.sel(parameter="alpha")) == 0
    assert 0.2 <= float(table.value.sel(parameter="r")) <= 0.4
    assert float(table["max"].sel(parameter="r")) == 0.4
    assert float(table.value.sel(parameter="width_scale")) == np.inf


@pytest.mark.parametrize(
    ("selection", "runs"),
    [
        ({"params": slice(None, 5e4)}, {"small", "medium"}),
        ({"run": "middle"}, {"middle"}),
        ({"params": [1e4, 1e6]}, {"small", "large"}),
    ],
)
def test_hold_out_selections(grid, selection, runs):
    from scalingeq.accessors.selection import selected
    from scalingeq.datasets.schema import check, to_curves

    ds = check(grid)
    curves = to_curves(ds)
    mask = selected(ds, curves, selection)
    assert set(curves.name[curves.run[mask]]) == runs


def test_hold_out_of_late_steps(grid):
    tree = grid.twopoint.fit(hold_out={"step": slice(5000, None)})
    held = tree["prediction"].role == groups.HELD_OUT
    assert (held == (grid.step >= 5000)).all()


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"colour": "red"}, "no coordinate 'colour'"),
        ({"params": 7.0}, "no observation has params"),
        ({"step": slice(0, None)}, "leave something to fit"),
        ({"params": "largest", "run": "small"}, "at once"),
    ],
)
def test_bad_hold_outs_are_refused(grid, selection, message):
    with pytest.raises(scalingeq.DataError, match=message):
        grid.twopoint.fit(hold_out=selection)


def test_weights_leave_points_out(grid):
    weights = (grid.step > 100).astype(float)
    tree = grid.twopoint.fit(weights=weights, alpha=1.5)
    assert ((tree["prediction"].role == groups.NOT_USED) == (grid.step <= 100)).all()
    with pytest.raises(scalingeq.DataError, match="weights"):
        grid.twopoint.fit(weights=-weights)


def test_frontier_is_labelled_and_leaves_the_tree_alone(tree):
    before = tree.copy(deep=True)
    compute = np.geomspace(1e13, 1e15, 5)
    front = tree.twopoint.frontier(compute, quantile=(0.16, 0.5, 0.84))
    xr.testing.assert_identical(tree, before)
    assert front.loss.dims == ("compute", "quantile")
    assert front.loss.attrs["units"] == "nats per byte"
    assert front.tokens.attrs["units"] == "bytes"
    for name, variable in front.variables.items():
        assert variable.attrs.get("units"), name
        assert variable.attrs.get("long_name"), name
    np.testing.assert_allclose(6 * front.best_params * front.best_tokens, compute, rtol=1e-9)
    np.testing.assert_allclose(front.best_steps, front.best_tokens / 1024, rtol=1e-12)
    assert (front.loss.diff("quantile") >= 0).all()
    for name in ("loss_exponent", "size_exponent", "data_exponent"):
        assert np.isfinite(front[name]).all()


def test_frontier_takes_a_rule_of_compute(tree):
    def dense(params, tokens):
        return 6 * params * tokens + 1e3 * tokens

    front = tree.twopoint.frontier(1e14, flops=dense)
    assert front.attrs["flops"] == "dense"
    np.testing.assert_allclose(dense(front.best_params, front.best_tokens), 1e14, rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(compute=-1.0), "positive"),
        (dict(compute=[]), "positive"),
        (dict(compute=[1e14, np.nan]), "positive"),
        (dict(compute=1e14, quantile=(0.5, 1.5)), "quantile"),
        (dict(compute=1e14, flops="7ND"), "no rule '7ND'"),
        (dict(compute=1e14, data_limit=0.0), "data_limit"),
        (dict(compute=1e14, data_limit=1e6), "no run that repeats its data"),
        (dict(compute=1e14, batch_size=0.0), "batch_size"),
    ],
)
def test_bad_frontiers_are_refused(tree, arguments, message):
    with pytest.raises(scalingeq.ParameterError, match=message):
        tree.twopoint.frontier(**arguments)


def test_ambiguous_batches_must_be_chosen(grid):
    ds = grid.assign_coords(batch_size=("run", [512.0, 1024.0, 1024.0, 1024.0], {"units": "bytes"}))
    tree = ds.twopoint.fit(alpha=1.5)
    with pytest.raises(scalingeq.ParameterError, match="batch_size: the observed runs have 512, 1024"):
        tree.twopoint.frontier(1e14)
    assert tree.twopoint.frontier(1e14, batch_size=1024).attrs["batch_size"] == 1024


def test_other_trees_are_refused_by_name(tree):
    with pytest.raises(scalingeq.ScalingEqError, match="parameters"):
        xr.DataTree().twopoint.predict()
    other = tree.copy()
    other.attrs = dict(tree.attrs, provenance=tree.attrs["provenance"].replace('"twopoint"', '"kaplan"'))
    with pytest.raises(scalingeq.DataError, match="kaplan"):
        other.twopoint.predict()


def test_any_node_speaks_for_the_tree(tree):
    np.testing.assert_array_equal(tree["observed"].twopoint.predict().loss, tree.twopoint.predict().loss)


def test_a_saved_analysis_predicts_the_same_in_a_fresh_process(tree, tmp_path):
    path = tmp_path / "fit.nc"
    tree.twopoint.save(path)
    front = tree.twopoint.frontier([1e13, 1e14])
    code = f"""
import numpy as np, scalingeq, xarray as xr
tree = xr.open_datatree({str(path)!r})
out = tree.twopoint.predict()
front = tree.twopoint.frontier([1e13, 1e14])
np.savez({str(tmp_path / "out.npz")!r}, loss=out.loss, stderr=out.loss_stderr, front=front.loss,
         value=tree["parameters"].value, covariance=tree["parameters"].covariance, observed=tree["observed"].loss)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    found = np.load(tmp_path / "out.npz")
    out = tree.twopoint.predict()
    for name, expected in {
        "loss": out.loss,
        "stderr": out.loss_stderr,
        "front": front.loss,
        "value": tree["parameters"].value,
        "covariance": tree["parameters"].covariance,
        "observed": tree["observed"].loss,
    }.items():
        np.testing.assert_array_equal(found[name], expected.values, err_msg=name)


def test_plain_to_netcdf_round_trips_as_well(tree, tmp_path):
    tree.to_netcdf(tmp_path / "fit.nc")
    again = xr.open_datatree(tmp_path / "fit.nc").load()
    for node in tree.subtree:
        for name, variable in node.variables.items():
            np.testing.assert_array_equal(again[node.path].variables[name].values, variable.values)
            assert again[node.path].variables[name].dtype.kind == variable.dtype.kind or variable.dtype.kind in "UO"
    again.close()


def test_stored_expressions_run_only_when_asked(tree, grid, tmp_path):
    """Opening and predicting evaluate no stored text; refitting with it asks first."""
    litter = tmp_path / "evaluated"
    poisoned = tree.copy(deep=True)
    table = poisoned["parameters"].to_dataset()
    expressions = table["expr"].values.astype(object)
    expressions[table["parameter"].values.tolist().index("width_exponent")] = (
        f"open({str(litter)!r}, 'w').close() or 0.7"
    )
    poisoned["parameters"] = xr.DataTree(table.assign(expr=("parameter", expressions.astype(str), table["expr"].attrs)))
    poisoned.twopoint.save(tmp_path / "poisoned.nc")
    opened = scalingeq.open_analysis(tmp_path / "poisoned.nc")
    opened.twopoint.predict()
    opened.twopoint.frontier(1e14)
    str(opened.twopoint.report())
    with pytest.raises(scalingeq.ArchiveError, match="evaluate_expressions=True"):
        opened.twopoint.parameters()
    assert not litter.exists()


def test_refitting_with_stored_parameters(grid):
    params = grid.twopoint.fit(alpha=1.5).twopoint.parameters()
    params["unlearnable_exponent"].set(expr="width_exponent")
    tree = grid.twopoint.fit(params)
    assert str(tree["parameters"].expr.sel(parameter="unlearnable_exponent").values) == "width_exponent"
    again = tree.twopoint.parameters(evaluate_expressions=True)
    assert again["unlearnable_exponent"].expr == "width_exponent"
    assert again["unlearnable_exponent"].value == again["width_exponent"].value


def bad_records():
    """Records with one fault each, and what the error has to name."""
    good = planned().assign(loss=(("run", "step"), np.geomspace(3, 2, 40).reshape(4, 10)))

    def spoiled(value, where=(2, 4)):
        ds = good.copy(deep=True)
        ds.loss.values[where] = value
        return ds

    return {
        "negative loss": (spoiled(-1.0), ("loss", "middle")),
        "NaN in between": (spoiled(np.nan), ("loss", "middle")),
        "infinite loss": (spoiled(np.inf), ("loss", "middle")),
        "all NaN": (spoiled(np.nan, (2, slice(None))), ("loss", "middle")),
        "unsorted steps": (good.assign_coords(step=STEP[::-1]), ("step",)),
        "missing size": (good.drop_vars("params"), ("params",)),
        "missing rate": (good.drop_vars("learning_rate"), ("learning_rate",)),
        "missing batch": (good.drop_vars("batch_size"), ("batch_size",)),
        "units disagree": (
            good.assign_coords(dataset_size=("run", [1e6] * 4, {"units": "tokens"})),
            ("dataset_size", "bytes", "tokens"),
        ),
        "one point": (good.isel(step=[0]), ("one observation",)),
        "empty": (xr.Dataset(), ("empty",)),
        "no steps": (good.isel(step=[]), ("empty",)),
        "zero size": (good.assign_coords(params=("run", [0.0, 3e4, 1e5, 1e6])), ("params", "small")),
        "no loss": (good.drop_vars("loss"), ("loss",)),
    }


@pytest.mark.parametrize("fault", bad_records())
def test_bad_records_get_one_clear_error(fault):
    ds, expected = bad_records()[fault]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(scalingeq.DataError) as caught:
            ds.twopoint.fit()
    for word in expected:
        assert word in str(caught.value)


def test_all_problems_come_at_once():
    ds = bad_records()["missing size"][0].drop_vars("learning_rate")
    with pytest.raises(scalingeq.DataError) as caught:
        ds.twopoint.check()
    assert len(caught.value.problems) >= 2
