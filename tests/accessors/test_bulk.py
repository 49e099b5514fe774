"""Fits of many elements: the same as one by one, failures recorded, lazy where chunked, on every scheduler."""

import pickle
from functools import partial

import numpy as np
import pytest
import xarray as xr

import scalingeq
from scalingeq.accessors.mapping import Output, map_elements
from scalingeq.errors import DataError, FitError, ParameterError

HELD = {"alpha": 1.5, "r": 0.3, "time_scale": 1.0, "width_scale": 100.0, "width_exponent": 0.7}
STEP = np.unique(np.geomspace(10, 8000, 12).round())


@pytest.fixture(scope="module")
def tasks():
    """Three tasks of two runs, whose sizes, rates and losses differ; the second diverged."""
    ds = xr.Dataset(
        {"loss": (("task", "run", "step"), np.ones((3, 2, STEP.size)), {"units": "nats"})},
        {
            "step": STEP, "task": ["a", "b", "c"], "run": ["small", "large"], "batch_size": 64.0,
            "params": (("task", "run"), [[1e4, 1e5], [1e4, 2e5], [3e4, 1e5]]), "learning_rate": ("task", [0.1, 0.2, 0.3]),
        },
    )  # fmt: skip
    rng = np.random.default_rng(0)
    law = {**HELD, "irreducible": 0.5, "reference_params": 1e4}
    loss = np.stack([(1 + task) * ds.isel(task=task).twopoint.predict(**law).loss.values for task in range(3)])
    ds["loss"] = ds.loss.copy(data=loss * np.exp(0.01 * rng.standard_normal(loss.shape)))
    ds["loss"][1, 0, 3] = np.inf
    return ds


@pytest.fixture(scope="module")
def fitted(tasks):
    return tasks.twopoint.fit(dim="task", hold_out={"params": "largest"}, **HELD)


def forbidden(*args, **kwargs):
    raise AssertionError("computed while it should be lazy")


def test_every_element_is_the_fit_of_it_alone(tasks, fitted):
    parameters = fitted["parameters"]
    assert parameters.success.values.tolist() == [True, False, True]
    assert parameters.value.dims == ("task", "parameter")
    assert parameters.covariance.dims == ("task", "parameter", "parameter_")
    assert fitted["prediction"].loss.dims == ("task", "run", "step")
    for task in "ac":
        alone = tasks.sel(task=task).drop_vars("task").twopoint.fit(hold_out={"params": "largest"}, **HELD)
        one = fitted.sel(task=task)
        for group in ("parameters", "prediction", "additive"):
            for name, variable in alone[group].data_vars.items():
                found = one[group][name]
                assert found.dims == variable.dims
                assert found.attrs["units"] == variable.attrs["units"]
                np.testing.assert_array_equal(found, variable, err_msg=f"{group}/{name}")
        lines = [tree.twopoint.report().__str__().split("Provenance")[0] for tree in (one, alone)]
        assert lines[0] == lines[1].replace(", large", "")
        xr.testing.assert_equal(one.twopoint.predict().drop_vars("task"), alone.twopoint.predict())


@pytest.mark.parametrize("name", ["chinchilla", "rate_noise", "twopoint"])
def test_every_law_is_fitted_in_bulk(tasks, name):
    held = HELD if name == "twopoint" else {}
    tree = tasks.laws.fit(name, dim="task", **held)
    assert tree["parameters"].success.values.tolist() == [True, False, True]
    alone = tasks.sel(task="c").drop_vars("task").laws.fit(name, **held)
    assert tree.children.keys() == alone.children.keys()
    for group in alone.children.keys() - {"observed"}:
        assert tree[group].data_vars.keys() - {"success", "message", "notes"} == alone[group].data_vars.keys()
        for key, variable in alone[group].data_vars.items():
            xr.testing.assert_identical(tree[group][key].sel(task="c").variable, variable.variable)
    xr.testing.assert_equal(tree.sel(task="c").laws.predict().drop_vars("task"), alone.laws.predict())
    with pytest.raises(DataError, match="many fits, over task"):
        tree.laws.predict()


def test_what_fails_says_why_and_is_missing(fitted):
    parameters = fitted["parameters"].sel(task="b")
    assert "DataError: loss: not a positive number in run 'small'" in str(parameters.message.values)
    assert np.isnan(parameters.value).all()
    assert np.isnan(fitted["prediction"].loss.sel(task="b")).all()
    assert fitted["parameters"].message.sel(task="a") == ""
    with pytest.raises(DataError, match=r"this fit failed \(DataError: loss: not a positive"):
        fitted.sel(task="b").twopoint.predict()


def test_outputs_are_labelled(fitted):
    for group in ("parameters", "prediction", "additive"):
        for name, variable in fitted[group].data_vars.items():
            assert {"units", "long_name"} <= variable.attrs.keys(), name


def test_chunked_records_are_fitted_when_asked(tasks, fitted):
    dask = pytest.importorskip("dask")
    with dask.config.set(scheduler=forbidden):
        lazy = tasks.chunk(task=2, step=5).twopoint.fit(dim="task", hold_out={"params": "largest"}, **HELD)
        assert all(v.chunks for group in ("parameters", "prediction") for v in lazy[group].data_vars.values())
        assert lazy["parameters"].value.chunks[0] == (2, 1)
    done = lazy.compute(scheduler="threads", num_workers=2)
    for group in ("observed", "parameters", "prediction", "additive"):
        xr.testing.assert_identical(done[group].to_dataset(), fitted[group].to_dataset())


def test_draws_by_weights(tasks):
    record = tasks.sel(task="a").drop_vars("task")
    rng = np.random.default_rng(1)
    weights = xr.DataArray(rng.integers(0, 2, (3, *record.loss.shape)), dims=("draw", *record.loss.dims))
    weights[0] = 0
    tree = record.twopoint.fit(dim="draw", weights=weights, **HELD)
    assert tree["parameters"].success.values.tolist() == [False, True, True]
    assert tree["prediction"].loss.dims == ("draw", "run", "step")
    alone = record.twopoint.fit(weights=weights[2], **HELD)
    np.testing.assert_array_equal(tree["parameters"].value[2], alone["parameters"].value)
    np.testing.assert_array_equal(tree["prediction"].role[2], alone["prediction"].role)
    by_label = weights[2].assign_coords(step=STEP).isel(step=slice(None, None, -1)).expand_dims("draw")
    tree = record.twopoint.fit(dim="draw", weights=by_label, **HELD)
    np.testing.assert_array_equal(tree["parameters"].value[0], alone["parameters"].value)


def test_padded_elements_and_two_dimensions(tasks):
    padded = tasks.drop_vars(["learning_rate"]).isel(task=[0, 2]).rename(step="obs").assign_coords(learning_rate=0.1)
    step = xr.DataArray(np.tile(STEP, (2, 2, 1)), dims=("task", "run", "obs"))
    step[1, 0, -3:] = np.nan
    padded = padded.drop_vars("obs").assign_coords(step=step).assign(loss=padded.loss.drop_vars("obs").where(step > 0))
    twice = padded.assign(loss=padded.loss * xr.DataArray([1.0, 2.0], dims="seed"))
    tree = twice.twopoint.fit(dim=["seed", "task"], **HELD)
    value = tree["parameters"].value
    assert value.dims == ("seed", "task", "parameter")
    assert tree["parameters"].success.all()
    np.testing.assert_allclose(value.sel(parameter="scale")[1], 2 * value.sel(parameter="scale")[0], rtol=1e-6)
    alone = padded.isel(task=1).drop_vars("task").twopoint.fit(**HELD)
    np.testing.assert_array_equal(value[0, 1], alone["parameters"].value)
    assert np.isnan(tree["prediction"].loss[0, 1, 0, -3:]).all()


def test_workers_receive_little(tasks):
    pytest.importorskip("dask")
    wide = tasks.assign(unused=(("run", "many"), np.zeros((2, 10_000))))
    lazy = wide.chunk(task=1).twopoint.fit(dim="task", **HELD)
    graph = dict(lazy["parameters"].value.data.__dask_graph__())
    # Beside its own part of the record: how to fit it.
    sizes = [
        len(pickle.dumps(task)) for task in graph.values() if "fit_element" in repr(task) or "_map_block" in repr(task)
    ]
    assert sizes
    assert max(sizes) < 12_000


def test_bad_requests_are_refused_before_any_work(tasks, fitted):
    with pytest.raises(DataError, match="dim: no dimension 'seed'"):
        tasks.twopoint.fit(dim="seed", **HELD)
    with pytest.raises(DataError) as error:
        tasks.drop_vars("params").twopoint.fit(dim=["task", "step"], alpha=0.5)
    assert [problem.split(":")[0] for problem in error.value.problems] == ["dim", "params", "alpha"]
    with pytest.raises(DataError, match="give a frontier alone"):
        tasks.laws.fit("isoflop", dim="task")
    with pytest.raises(DataError, match="check: goes with one record"):
        tasks.twopoint.fit(dim="task", check="size")
    pytest.importorskip("dask")
    with pytest.raises(DataError, match=r"progress: .*ProgressBar"):
        tasks.chunk(task=1).twopoint.fit(dim="task", progress=True)
    with pytest.raises(DataError, match="weights: dimensions"):
        tasks.twopoint.fit(dim="task", weights=xr.DataArray(np.ones((3, 5)), dims=("task", "step")))
    for use in ("predict", "report", "parameters"):
        with pytest.raises(DataError, match=r"many fits, over task; choose one: tree.isel\(task=0\)"):
            getattr(fitted.twopoint, use)()


def test_progress_of_what_is_in_memory(tasks, capsys):
    tasks.isel(task=[1]).twopoint.fit(dim="task", progress=True)
    assert "1/1" in capsys.readouterr().err


def test_archives_hold_fits_in_bulk(tasks, fitted, tmp_path):
    fitted.twopoint.save(tmp_path / "fits.nc")
    opened = scalingeq.open_analysis(tmp_path / "fits.nc")
    for group in ("observed", "parameters", "prediction", "additive"):
        xr.testing.assert_identical(opened[group].to_dataset(), fitted[group].to_dataset())
    pytest.importorskip("dask")
    lazy = tasks.chunk(task=1).twopoint.fit(dim="task", hold_out={"params": "largest"}, **HELD)
    lazy.twopoint.save(tmp_path / "lazy.nc")
    opened = scalingeq.open_analysis(tmp_path / "lazy.nc")
    xr.testing.assert_identical(opened["parameters"].to_dataset(), fitted["parameters"].to_dataset())


def test_bootstraps_are_lazy_in_chunks(tasks):
    dask = pytest.importorskip("dask")
    tree = tasks.sel(task="a").drop_vars("task").twopoint.fit(**HELD)
    eager = tree.twopoint.bootstrap(draws=3, seed=5)
    with dask.config.set(scheduler=forbidden):
        lazy = tree.twopoint.bootstrap(draws=3, seed=5, chunk=2)
        assert all(lazy[name].chunksizes["draw"] == (2, 1) for name in lazy.data_vars)
    done = lazy.compute(scheduler="threads")
    xr.testing.assert_identical(done.drop_attrs(deep=False), eager.drop_attrs(deep=False))
    r, alpha = (eager.value.sel(parameter=name) for name in ("r", "alpha"))
    np.testing.assert_allclose(eager.combined.sel(combination="2 alpha r"), 2 * alpha * r, rtol=1e-12)
    assert eager.value.sel(parameter="scale").std() > 0


def test_profiles_are_lazy_in_chunks(tasks):
    dask = pytest.importorskip("dask")
    tree = tasks.sel(task="a").drop_vars("task").twopoint.fit(**HELD)
    eager = tree.twopoint.profile(["scale", "irreducible"], levels=[0.68])
    with dask.config.set(scheduler=forbidden):
        lazy = tree.twopoint.profile(["scale", "irreducible"], levels=[0.68], chunk=1)
        with pytest.raises(ParameterError, match="alpha: not free"):
            tree.twopoint.profile(["alpha"], chunk=1)
    done = lazy.compute(scheduler="threads")
    xr.testing.assert_identical(done.drop_attrs(deep=False), eager.drop_attrs(deep=False))
    assert (eager.lower.squeeze() < eager.value).all()


def double(given, factor=2.0):
    if given["x"].sum() < 0:
        raise FitError("negative")
    if given["x"].sum() == 0:
        raise TypeError("a mistake")
    return {"double": factor * given["x"], "name": f"draw {given['draw']}"}


def test_a_function_is_mapped_over_any_dimensions():
    x = xr.DataArray([[1.0, 2.0], [-3.0, 1.0], [5.0, 6.0]], dims=("draw", "point"))
    outputs = {"double": Output(("point",), "f8", {"units": "1"}), "name": Output((), "<U8", {})}
    inputs = {"x": x, "draw": xr.DataArray([0, 1, 2], dims="draw")}
    found = map_elements(partial(double, factor=3.0), inputs, ["draw"], outputs)
    np.testing.assert_array_equal(found["double"], [[3, 6], [np.nan, np.nan], [15, 18]])
    assert found["name"].values.tolist() == ["draw 0", "", "draw 2"]
    assert found["message"].values.tolist() == ["", "FitError: negative", ""]
    with pytest.raises(TypeError, match="a mistake"):
        map_elements(double, {**inputs, "x": 0 * x}, ["draw"], outputs)
    grid = {"x": x.rename(point="seed"), "draw": inputs["draw"]}
    found = map_elements(double, grid, ["seed", "draw"], {"double": Output((), "f8", {}), "name": outputs["name"]})
    assert found["double"].dims == ("seed", "draw")
    np.testing.assert_array_equal(found["double"], [[2, np.nan, 10], [4, 2, 12]])
