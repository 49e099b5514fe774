"""The schema: names, shapes, refusals, and the way to flat arrays and back."""

import numpy as np
import pytest
import xarray as xr

from scalingeq.datasets import check, from_curves, is_constant_rate, label, select_runs, to_curves
from scalingeq.errors import DataError

PARAMS = [1e3, 1e4, 1e5]


def run_coords():
    return {
        "run": ["a", "b", "c"],
        "params": ("run", PARAMS),
        "learning_rate": 0.01,
        "batch_size": ("run", [8, 8, 16], {"units": "bytes"}),
    }


def grid():
    loss = np.random.default_rng(0).uniform(1, 3, (3, 4))
    return xr.Dataset({"loss": (("run", "step"), loss)}, {"step": [1, 2, 4, 8], **run_coords()})


def padded():
    steps = np.array([[1, 2, 3, 4], [1, 2, np.nan, np.nan], [2, 4, 8, np.nan]])
    loss = np.where(np.isnan(steps), np.nan, np.random.default_rng(1).uniform(1, 3, (3, 4)))
    return xr.Dataset({"loss": (("run", "obs"), loss)}, {"step": (("run", "obs"), steps), **run_coords()})


def ragged():
    steps = np.array([1, 2, 3, 4, 1, 2, 2, 4, 8])
    loss = np.random.default_rng(2).uniform(1, 3, 9)
    coords = {"step": ("obs", steps), "row_size": ("run", [4, 2, 3]), **run_coords()}
    return xr.Dataset({"loss": ("obs", loss)}, coords)


def single():
    return grid().isel(run=1, drop=False)


def table():
    return xr.Dataset({"loss": ("run", [3.0, 2.0, 1.0])}, {"tokens": ("run", [64.0, 640.0, 6400.0]), **run_coords()})


SHAPES = {"grid": grid, "padded": padded, "ragged": ragged, "single": single, "table": table}


@pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)
def test_round_trip_is_bit_for_bit(make):
    ds = make()
    curves = to_curves(ds)
    back = from_curves(
        ds, {"loss": curves.loss, "twice": 2 * curves.loss}, dict.fromkeys(["loss", "twice"], ("x", "y"))
    )
    assert back.loss.dims == ds.loss.dims
    np.testing.assert_array_equal(back.loss, ds.loss)
    np.testing.assert_array_equal(back.twice, 2 * ds.loss)
    assert set(ds.coords) <= set(back.coords)
    for name in ds.coords:
        np.testing.assert_array_equal(back[name], ds[name])
    assert all(back[name].attrs.keys() >= {"units", "long_name"} for name in back.variables)


@pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)
def test_flat_form(make):
    curves = to_curves(make())
    assert np.all(np.diff(curves.run) >= 0)
    assert np.all((np.diff(curves.step) > 0) | (np.diff(curves.run) > 0))
    np.testing.assert_allclose(curves.tokens, curves.step * curves.batch_size[curves.run])
    assert np.all(np.isinf(curves.dataset_size))
    assert np.all(curves.warmup_steps == 0)
    assert np.all(np.isnan(curves.loss_stderr))
    assert all(array.dtype == np.float64 for array in (curves.step, curves.loss, curves.batch_size, curves.params))


@pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)
def test_loss_is_not_needed_for_a_question(make):
    ds = make()
    asked = to_curves(ds.drop_vars("loss"), needs_loss=False)
    np.testing.assert_array_equal(asked.step, to_curves(ds).step)
    assert np.isnan(asked.loss).all()
    back = from_curves(ds.drop_vars("loss"), {"loss": asked.step}, {"loss": ("x", "y")})
    assert set(back.loss.dims) == set(ds.loss.dims)
    assert "loss" in check(ds, needs_loss=False)


def test_last_losses_of_a_grid_are_a_table():
    curves = to_curves(grid().isel(step=-1))
    assert curves.step.tolist() == [8, 8, 8]
    assert curves.tokens.tolist() == [64, 64, 128]


def test_transposed_grid_comes_back_transposed():
    ds = grid().transpose("step", "run")
    curves = to_curves(ds)
    np.testing.assert_array_equal(curves.loss, to_curves(grid()).loss)
    xr.testing.assert_equal(from_curves(ds, {"loss": curves.loss}, {"loss": ("x", "y")}).loss, label(ds).loss)


def test_shapes_agree_with_each_other():
    ds, pad = grid(), grid()
    pad = pad.drop_vars("step").rename(step="obs").assign_coords(step=(("run", "obs"), np.tile([1.0, 2, 4, 8], (3, 1))))
    flat = xr.Dataset(
        {"loss": ("obs", ds.loss.values.ravel())},
        {"step": ("obs", np.tile([1, 2, 4, 8], 3)), "row_size": ("run", [4, 4, 4]), **run_coords()},
    )
    for other in (pad, flat):
        for a, b in zip(vars(to_curves(ds)).values(), vars(to_curves(other)).values(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_label_renames_dimensions_and_shares_units():
    raw = xr.Dataset(
        {"val": (("model", "iter"), np.ones((2, 3))), "n": ("model", [1.0, 2.0]), "unique": ("model", [5.0, 6.0])},
        {"iter": [1, 2, 3]},
    )
    ds = label(raw, run="model", step="iter", loss="val", params="n", dataset_size="unique", batch_size=16,
               learning_rate=[0.1, 0.2], units={"tokens": "bytes", "loss": "nats per byte"})  # fmt: skip
    assert ds.loss.dims == ("run", "step")
    assert set(ds.data_vars) == {"loss"}
    assert ds.batch_size.units == ds.dataset_size.units == "bytes"
    assert ds.loss.units == "nats per byte"
    assert to_curves(ds).learning_rate.tolist() == [0.1, 0.2]
    assert "val" in raw
    assert not raw.val.attrs


def test_label_accepts_a_size_as_the_axis_of_runs():
    ds = label(grid().drop_vars("run").swap_dims(run="params"), run="params")
    np.testing.assert_array_equal(to_curves(ds).params, PARAMS)


def test_label_names_runs_by_a_variable():
    raw = grid().drop_vars("run").rename_dims(run="model").assign(name=("model", ["x", "y", "z"]))
    assert to_curves(label(raw, run="name")).name.tolist() == ["x", "y", "z"]


def test_label_finds_steps_beside_a_nameless_axis():
    raw = grid().reset_index("step").rename_vars(step="updates").rename_dims(step="point")
    assert label(raw, step="updates").loss.dims == ("run", "step")
    raw = padded().rename(step="updates", obs="point")
    assert label(raw, step="updates").loss.dims == ("run", "obs")


def test_label_honours_scaling_role():
    raw = grid().rename(loss="val")
    raw["val"].attrs["scaling_role"] = "loss"
    np.testing.assert_array_equal(to_curves(raw).loss, to_curves(grid()).loss)
    raw["other"] = raw["val"]
    with pytest.raises(DataError, match="'val' and 'other' both have this scaling_role; pass loss=NAME"):
        label(raw)
    assert "other" in label(raw, loss="val")


def test_stacked_sizes_and_seeds_are_runs():
    loss = xr.DataArray(np.random.default_rng(0).uniform(1, 2, (2, 3, 4)), dims=("seed", "params", "step"))
    ds = xr.Dataset({"loss": loss}, {"seed": [0, 1], "params": PARAMS, "step": [1, 2, 3, 4]}).stack(
        run=["seed", "params"]
    )
    curves = to_curves(label(ds, batch_size=8, learning_rate=0.1))
    assert curves.name[0] == "seed=0, params=1000.0"
    np.testing.assert_array_equal(curves.params, PARAMS * 2)
    back = from_curves(label(ds), {"loss": curves.loss}, {"loss": ("x", "y")})
    np.testing.assert_array_equal(back.loss.transpose(*ds.loss.dims), ds.loss)


def test_label_refuses_everything_at_once():
    with pytest.raises(DataError) as error:
        label(grid(), loss="val", parms=3, params="n")
    assert len(error.value.problems) == 3
    with pytest.raises(DataError, match="has a variable 'loss' as well"):
        label(grid().assign(val=grid().loss), loss="val")
    with pytest.raises(DataError, match="claimed by params and width"):
        label(grid().rename(params="n"), params="n", width="n")
    with pytest.raises(DataError, match=r"array of shape \(7,\) fits no dimension"):
        label(grid(), learning_rate=np.ones(7))
    with pytest.raises(DataError, match="fits the dimensions"):
        label(grid().isel(step=slice(3)), learning_rate=np.ones(3))
    with pytest.raises(DataError, match="learning_rate: None is neither"):
        label(grid(), learning_rate=None)
    with pytest.raises(DataError, match="step: one value for a whole dimension"):
        label(grid(), step=3)
    with pytest.raises(DataError, match="parms: not a role"):
        label(grid(), units={"parms": "1"})


def test_missing_values_are_all_named():
    with pytest.raises(DataError) as error:
        check(grid().drop_vars(["params", "learning_rate", "batch_size"]))
    assert [p.split(":")[0] for p in error.value.problems] == ["params", "learning_rate", "batch_size"]
    assert check(label(grid().drop_vars("params"), params=3.0)).params == 3.0


def change(make, name, where, value):
    ds = make()
    ds[name] = ds[name].astype(float)
    ds[name].values[where] = value
    return ds


@pytest.mark.parametrize(
    ("ds", "message"),
    [
        (change(grid, "loss", (1, 2), -0.5), r"loss: not a positive number in run 'b' \(1 value, first -0.5 at step 4"),
        (change(grid, "loss", (1, 2), np.inf), "loss: not a positive number in run 'b'"),
        (change(grid, "loss", (1, 2), 0.0), "loss: not a positive number in run 'b'"),
        (change(grid, "loss", (1, 3), np.nan), "loss: NaN in run 'b'"),
        (change(padded, "loss", (0, 1), np.nan), "loss: NaN in run 'a'"),
        (change(padded, "loss", (2, 2), np.nan), "loss: NaN in run 'c'"),
        (change(padded, "loss", (2, slice(None)), np.nan), "loss: no values at all in run 'c'"),
        (change(padded, "step", (0, 1), np.nan), "step: NaN before the last step in run 'a'"),
        (change(padded, "step", (0, 3), np.nan), "step: NaN where there is a loss in run 'a'"),
        (change(ragged, "step", 5, 1.0), "step: not above the step before it in run 'b'"),
        (change(ragged, "step", 8, 3.0), "step: not above the step before it in run 'c'"),
        (change(ragged, "step", 0, -1.0), "step: not a number >= 0 in run 'a'"),
        (change(grid, "params", 2, 0.0), "params: not a positive number in run 'c'"),
        (change(grid, "params", 2, np.nan), "params: not a positive number in run 'c'"),
        (change(grid, "batch_size", 0, np.inf), "batch_size: not a positive number in run 'a'"),
        (grid().assign_coords(learning_rate=0.0), "learning_rate: not a positive number"),
        (grid().assign_coords(warmup_steps=-1), "warmup_steps: not a number >= 0"),
        (grid().assign_coords(dataset_size=("run", [1.0, np.nan, np.inf])), "dataset_size: not a .* in run 'b'"),
        (grid().assign(loss_stderr=-grid().loss), "loss_stderr: not a number >= 0"),
        (grid().assign_coords(run=["a", "b", "a"]), "run: the names of run 'a' are not unique"),
        (grid().isel(step=[0]), "step: only one observation in run 'a', run 'b', run 'c'"),
        (ragged().isel(run=[0, 1]), r"row_size: adds up to 6, but there are 9 observations; .*select_runs"),
        (grid().isel(run=[]), "the dataset is empty"),
        (grid().isel(step=[]), "the dataset is empty"),
        (xr.Dataset(), "the dataset is empty"),
        (grid().drop_vars("loss"), "loss: missing"),
        (grid().rename(run="model"), r"loss: unknown dimension 'model'.*pass label\(ds, run='model'\)"),
        (grid().rename(step="iter"), r"step: missing.*label\(ds, step=NAME\)"),
        (grid().expand_dims(seed=2), r"unknown dimension 'seed'"),
        (grid().assign_coords(dataset_size=((), 100.0, {"units": "tokens"})), "units disagree"),
        (grid().assign_coords(tokens=grid().step * 80.0), "tokens: not step times batch_size in run 'a'"),
        (grid().assign_coords(params=("run", list("xyz"))), "params: holds <U1 values; numbers are needed"),
        (grid().assign_attrs(counting="some"), "counting: the attribute is 'some'"),
        (grid().assign_coords(params=grid().loss), "params: has the dimensions"),
        (grid().drop_vars("step"), r"step: missing; pass label\(ds, step=NAME\)"),
        (grid().isel(step=0, run=0), "step: missing"),
        (grid().assign(loss=grid().loss * np.nan), "no values at all in run 'a', run 'b', run 'c'; give a record"),
        (table().drop_vars("tokens"), "tokens: missing; a table of final losses needs them"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(ds, message):
    with pytest.raises(DataError, match=message):
        check(ds)


def test_all_problems_come_together():
    ds = change(grid, "loss", (1, 2), -0.5).assign_coords(params=("run", [1, -1, 1])).drop_vars("learning_rate")
    with pytest.raises(DataError) as error:
        check(ds)
    assert len(error.value.problems) == 3


def test_not_a_dataset():
    with pytest.raises(DataError, match="not DataArray"):
        check(grid().loss)


def test_warm_up_is_not_a_schedule():
    rate = xr.DataArray([0.5, 1.0, 1.0, 1.0], dims="step")
    ds = grid().assign_coords(learning_rate=rate)
    assert not is_constant_rate(ds).any()
    ds = ds.assign_coords(warmup_steps=2)
    assert is_constant_rate(ds).all()
    np.testing.assert_array_equal(to_curves(ds).learning_rate, 1.0)


def test_runs_of_constant_rate_are_told_from_the_others():
    rate = padded().step * 0 + 1.0
    rate.values[2, 2] = 0.1
    ds = padded().assign_coords(learning_rate=rate)
    assert is_constant_rate(ds).values.tolist() == [True, True, False]
    assert is_constant_rate(ds).params.values.tolist() == PARAMS
    assert list(to_curves(ds).schedules) == [2]
    assert not to_curves(select_runs(ds, is_constant_rate(ds))).schedules
    batch = grid().assign_coords(batch_size=("step", [8, 8, 16, 16]))
    assert not is_constant_rate(batch).any()
    assert is_constant_rate(single()).dims == ()


def test_select_runs_takes_observations_along():
    for ds in (ragged(), padded(), grid(), table()):
        chosen = to_curves(select_runs(ds, [2, -3]))
        every = to_curves(ds)
        assert chosen.name.tolist() == ["c", "a"]
        np.testing.assert_array_equal(
            chosen.loss, np.concatenate([every.loss[every.run == 2], every.loss[every.run == 0]])
        )
    with pytest.raises(DataError, match="mask of shape"):
        select_runs(grid(), [True])
    with pytest.raises(DataError, match="no such dimension"):
        select_runs(single(), [0])


def test_from_curves_refuses_values_of_another_record():
    with pytest.raises(DataError, match="12 observations"):
        from_curves(grid(), {"loss": [1.0]}, {"loss": ("x", "y")})


def test_netcdf_round_trip_keeps_every_shape(tmp_path):
    for name, make in SHAPES.items():
        ds = check(make())
        ds.to_netcdf(tmp_path / f"{name}.nc")
        with xr.open_dataset(tmp_path / f"{name}.nc") as opened:
            xr.testing.assert_identical(check(opened).load(), ds)
