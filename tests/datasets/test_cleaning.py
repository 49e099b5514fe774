"""Clean-up of training records: what goes, what stays, and that the record stays true."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import scalingeq.datasets as data
from scalingeq.datasets.shapes import find_layout
from scalingeq.errors import DataError, ParameterError, ScalingEqError

NAN = np.nan
STEP = np.array([10, 20, 40, 80, 100, 200, 400, 1000])
SHAPES = ("grid", "padded", "ragged", "single")


def record(shape, step=STEP, **extra):
    """Two runs (or one) in a shape; the second lacks the last observation unless it is a grid."""
    loss = np.array([2 + step**-0.3, 1.5 + step**-0.3])
    rate = np.array([np.full(step.size, 0.1), np.linspace(0.1, 0.09, step.size)])
    base = {"params": ("run", [1e6, 1e7]), "batch_size": 8, "run": ["a", "b"]}
    if shape == "grid":
        ds = xr.Dataset({"loss": (("run", "step"), loss)}, {"step": step, "learning_rate": (("run", "step"), rate)})
    elif shape == "padded":
        steps = np.array([step, step], float)
        for block in (steps, loss, rate):
            block[1, -1] = NAN
        coords = {"step": (("run", "obs"), steps), "learning_rate": (("run", "obs"), rate)}
        ds = xr.Dataset({"loss": (("run", "obs"), loss)}, coords)
    elif shape == "ragged":
        keep = np.arange(2 * step.size - 1)
        flat = {"step": np.tile(step, 2)[keep], "learning_rate": rate.ravel()[keep]}
        coords = {name: ("obs", values) for name, values in flat.items()}
        ds = xr.Dataset({"loss": ("obs", loss.ravel()[keep])}, coords)
        base["row_size"] = ("run", [step.size, step.size - 1])
    else:
        ds = xr.Dataset({"loss": ("step", loss[0])}, {"step": step, "learning_rate": ("step", rate[0])})
        base = {"params": 1e6, "batch_size": 8}
    return data.label(ds.assign_coords(base | extra), units={"loss": "nats", "tokens": "bytes"})


def runs(ds):
    """Steps and losses of each run."""
    ds = data.label(ds)
    layout = find_layout(ds)
    step, loss = layout.spread(ds["step"]), layout.spread(ds["loss"])
    return [(step[layout.run == r].tolist(), loss[layout.run == r].tolist()) for r in range(layout.names.size)]


def described(ds):
    return all(v.attrs.get("units") and v.attrs.get("long_name") for v in ds.variables.values())


@pytest.mark.parametrize("shape", SHAPES)
def test_burn_in_in_every_shape(shape):
    ds = record(shape)
    out = data.drop_burn_in(ds, steps=50)
    assert [s for s, _ in runs(out)] == [[x for x in s if x >= 50] for s, _ in runs(ds)]
    assert [loss for _, loss in runs(out)] == [loss[3:] for _, loss in runs(ds)]
    assert out.loss.dims == ds.loss.dims
    assert described(out)
    assert out.loss.units == "nats"
    assert "drop_burn_in: what is before step 50" in out.attrs["history"]
    assert "history" not in ds.attrs
    data.check(out)


def test_burn_in_takes_its_share_of_each_run():
    out = data.drop_burn_in(record("padded"), share=0.1)
    assert [s[0] for s, _ in runs(out)] == [100, 40]  # of 1000 and of 400 steps
    assert out.loss.dims == ("run", "obs")
    grid = data.drop_burn_in(record("grid").isel(step=slice(None, None, -1)).sortby("step"), share=0.1)
    assert grid.loss.dims == ("run", "step")


@pytest.mark.parametrize("bad", [{"share": 1.0}, {"share": -0.1}, {"steps": -1}, {"steps": NAN}])
def test_burn_in_refuses(bad):
    with pytest.raises(ParameterError, match="pass"):
        data.drop_burn_in(record("grid"), **bad)


def test_burn_in_that_leaves_nothing_names_the_runs():
    with pytest.raises(DataError, match=r"run 'b' would keep 1 of 7 observations, those from step 350 on"):
        data.drop_burn_in(record("ragged"), steps=350)


def scheduled(rate, step, **coords):
    step = np.asarray(step)
    coords = {"step": step, "learning_rate": ("step", np.asarray(rate, float)), "batch_size": 8, "params": 1e6} | coords
    return data.label(xr.Dataset({"loss": ("step", 3 - 1e-4 * step)}, coords))


def time_at(ds, step):
    """Integral of the rate up to a step, by the schedule that a fit would use."""
    curves = data.to_curves(ds)
    if 0 not in curves.schedules:
        return curves.learning_rate[0] * (step - min(curves.warmup_steps[0], step) / 2)
    schedule = curves.schedules[0]
    fine = np.linspace(0, step, 200_001)
    rate = np.interp(fine, schedule.step, schedule.rate)
    return float(np.sum((rate[1:] + rate[:-1]) / 2) * (fine[1] - fine[0]))


EVERY = np.arange(10, 3001, 10)
LINEAR = np.minimum(EVERY / 500, 1)
COSINE_RISE = np.where(EVERY < 500, 0.5 - 0.5 * np.cos(np.pi * EVERY / 500), 1)


@pytest.mark.parametrize(("rise", "warmup"), [(LINEAR, 500), (COSINE_RISE, None)], ids=["linear", "cosine"])
def test_dropped_warmup_is_remembered(rise, warmup):
    fall = np.where(EVERY > 2000, 1 - (EVERY - 2000) / 2000, 1)
    ds = scheduled(0.3 * rise * fall, EVERY)
    out = data.drop_warmup(ds)
    assert out.step.values[0] == 500
    if warmup:
        assert float(out.warmup_steps) == pytest.approx(warmup, rel=1e-6)
        assert "did not rise linearly" not in out.attrs["history"]
    else:
        assert "same integral" in out.attrs["history"]
    for step in (1000, 3000):
        assert time_at(out, step) == pytest.approx(0.3 * (step - 250 - (step == 3000) * 250), rel=3e-3)
    data.check(out)


def test_rates_logged_before_the_update_are_linear_too():
    out = data.drop_warmup(scheduled(np.minimum((EVERY - 1) / 500, 1), EVERY))
    assert float(out.warmup_steps) == pytest.approx(500, abs=2)
    assert "did not rise linearly" not in out.attrs["history"]


def test_stated_warmup_is_dropped_and_kept_stated():
    out = data.drop_warmup(record("ragged", warmup_steps=("run", [40, 0])))
    assert [s[0] for s, _ in runs(out)] == [40, 10]
    assert out.warmup_steps.values.tolist() == [40, 0]
    assert "1 of 2 runs have one" in out.attrs["history"]


def test_warmup_unknown_is_asked_for():
    ds = record("grid").drop_vars("learning_rate").assign_coords(learning_rate=0.1)
    with pytest.raises(DataError, match=r"warmup_steps: missing.*label\(ds, warmup_steps"):
        data.drop_warmup(ds)


def test_burn_in_within_a_warmup_keeps_the_time():
    ds = scheduled(0.3 * LINEAR, EVERY)
    out = data.drop_burn_in(ds, steps=200)
    assert time_at(out, 3000) == pytest.approx(0.3 * (3000 - 250), rel=1e-3)


def test_a_fall_of_the_rate_is_not_dropped_silently():
    fall = np.where(EVERY < 500, 1.0, 0.2)
    with pytest.raises(DataError, match=r"learning_rate: its integral up to step 600 would be off by -77%"):
        data.drop_burn_in(scheduled(fall, EVERY), steps=600)
    data.drop_burn_in(scheduled(fall, EVERY), steps=400)


def test_restarts_are_split_or_joined():
    step = [1, 2, 3, 4, 3, 4, 5, 1, 2]
    ds = xr.Dataset(
        {"loss": ("obs", np.arange(9.0))}, {"step": ("obs", step), "row_size": ("run", [7, 2]), "run": ["a", "b"]}
    )
    split = data.split_restarts(ds)
    assert split.run.values.tolist() == ["a", "a#2", "b"]
    assert runs(split) == [([1, 2, 3, 4], [0, 1, 2, 3]), ([3, 4, 5], [4, 5, 6]), ([1, 2], [7, 8])]
    assert runs(data.join_restarts(ds)) == [([1, 2, 3, 4, 5], [0, 1, 4, 5, 6]), ([1, 2], [7, 8])]
    assert runs(data.join_restarts(ds, keep="first")) == [([1, 2, 3, 4, 5], [0, 1, 2, 3, 6]), ([1, 2], [7, 8])]
    assert "2 of 9 observations" in data.join_restarts(ds).attrs["history"]
    with pytest.raises(ParameterError, match="neither 'last' nor 'first'"):
        data.join_restarts(ds, keep="both")


def test_split_of_a_grid_and_of_one_run():
    grid = xr.Dataset(
        {"loss": (("run", "step"), [[3.0, 2, 4, 3], [5, 4, 6, 5]])}, {"step": [1, 2, 1, 2], "params": ("run", [1, 2])}
    )
    out = data.split_restarts(grid)
    assert out.loss.dims == ("run", "step")  # all parts share their steps
    assert out.params.values.tolist() == [1, 1, 2, 2]
    assert out.run.values.tolist() == ["0", "0#2", "1", "1#2"]
    one = data.split_restarts(grid.isel(run=0).assign_coords(step=[1, 2, 1, 3]))
    assert one.loss.dims == ("obs",)
    with pytest.raises(DataError, match="two runs would be called 'a#2'"):
        data.split_restarts(grid.assign_coords(run=["a", "a#2"]))


def test_test_and_training_losses_part():
    ds = record("single").assign(train_loss=("step", np.linspace(3, 2, STEP.size)))
    ds["loss"] = ds.loss.where(ds.step.isin([100, 1000]))
    ds["train_loss"] = ds.train_loss.where(~ds.step.isin([100, 1000]))
    test, train = data.separate(ds)
    assert test.step.values.tolist() == [100, 1000]
    assert "train_loss" not in test
    assert train.step.values.tolist() == [10, 20, 40, 80, 200, 400]
    assert (train.loss.long_name, train.loss.units) == ("training loss", "nats")
    for part in (test, train):
        data.check(part)
        assert "separate: 2 test and 6 training losses" in part.attrs["history"]
    with pytest.raises(DataError, match="train_loss: missing; nothing to separate"):
        data.separate(record("single"))


def test_a_resumed_log_with_both_losses_is_joined_and_parted():
    # The evaluation at a step is logged after the training loss of that step, as trainers do.
    rows = [(1, 5.0, NAN), (2, 4.0, NAN), (2, NAN, 4.1), (3, 3.9, NAN), (2, 3.8, NAN), (2, NAN, 3.7), (3, 3.6, NAN)]
    step, train, test = np.array(rows).T
    ds = xr.Dataset(
        {"loss": ("obs", test), "train_loss": ("obs", train)}, {"step": ("obs", step), "row_size": ("run", [7])}
    )
    test, train = data.separate(data.join_restarts(ds))
    assert runs(test) == [([2], [3.7])]
    assert runs(train) == [([1, 2, 3], [5.0, 3.8, 3.6])]


def test_seeds_average():
    step = np.arange(1, 6)
    noise = np.random.default_rng(0).normal(size=(4, 5))
    coords = {"step": step, "params": ("run", [1, 1, 1, 2]), "seed": ("run", [0, 1, 2, 0]), "run": list("abcd")}
    ds = xr.Dataset({"loss": (("run", "step"), 3 + 0.1 * noise)}, coords)
    out = data.average_seeds(ds)
    np.testing.assert_allclose(out.loss[0], ds.loss[:3].mean("run"))
    np.testing.assert_allclose(out.loss_stderr[0], ds.loss[:3].std("run", ddof=1) / np.sqrt(3))
    assert np.isnan(out.loss_stderr[1]).all()
    assert out.run.values.tolist() == ["a (mean of 3)", "d"]
    assert out.seed_count.values.tolist() == [3, 1]
    assert "seed" not in out.coords
    assert described(out)
    assert "average_seeds: 4 runs into 2" in out.attrs["history"]


def test_errors_that_seeds_share_stay():
    coords = {"step": [1, 2], "params": ("run", [1, 1]), "seed": ("run", [0, 1])}
    loss = (("run", "step"), [[3.0, 2.0], [3.0, 2.0]])
    stderr, offset = (loss[0], np.full((2, 2), 0.5)), (loss[0], np.full((2, 2), 0.3))
    out = data.average_seeds(xr.Dataset({"loss": loss, "loss_stderr": stderr, "offset_stderr": offset}, coords))
    np.testing.assert_allclose(out.loss_stderr, np.hypot(0.4 / np.sqrt(2), 0.3))


def test_seeds_with_other_steps_are_refused_or_interpolated():
    step = np.array([[10, 100, 1000.0], [20, 200, 900.0]])
    loss = 5 - np.log10(step)
    coords = {"step": (("run", "obs"), step), "params": ("run", [1, 1]), "seed": ("run", [0, 1]), "run": ["a", "b"]}
    ds = xr.Dataset({"loss": (("run", "obs"), loss)}, coords)
    with pytest.raises(DataError, match=r"step: those of run 'b' are not those of 'a'.*interpolate=True"):
        data.average_seeds(ds)
    out = data.average_seeds(ds, interpolate=True)
    assert runs(out)[0][0] == [100]
    np.testing.assert_allclose(runs(out)[0][1], [3.0])


def test_seeds_without_partners_are_refused():
    with pytest.raises(DataError, match="seed: missing"):
        data.average_seeds(record("grid"))
    with pytest.raises(DataError, match="no two runs differ in it alone; they are told apart by params"):
        data.average_seeds(record("grid", seed=("run", [0, 1])))
    rates = record("grid", seed=("run", [0, 1]), params=("run", [1, 1]))
    with pytest.raises(DataError, match="learning_rate: differs between runs 'a', 'b'"):
        data.average_seeds(rates)


def test_seeds_of_final_losses():
    ds = xr.Dataset(
        {"loss": ("run", [3.0, 3.2, 2.0])},
        {"tokens": ("run", [8, 8, 8]), "params": ("run", [1, 1, 2]), "seed": ("run", [0, 1, 0])},
    )
    out = data.average_seeds(ds)
    np.testing.assert_allclose(out.loss, [3.1, 2.0])
    np.testing.assert_allclose(out.loss_stderr[0], 0.1)


def test_tables_have_no_curves_to_clean():
    table = xr.Dataset({"loss": ("run", [3.0, 2.0])}, {"tokens": ("run", [8, 80])})
    for clean in (
        data.thin,
        data.drop_burn_in,
        data.drop_warmup,
        data.split_restarts,
        data.join_restarts,
        data.separate,
    ):
        with pytest.raises(DataError, match="a table of final losses has no curves"):
            clean(table)


def test_variables_of_other_dimensions():
    ds = record("grid").assign(parts=(("run", "component"), np.ones((2, 3))), note=("component", list("xyz")))
    out = data.drop_burn_in(ds, steps=50)
    assert out.parts.shape == (2, 3)
    with pytest.raises(DataError, match=r"parts: has the dimensions .* drop it with"):
        data.drop_burn_in(ds.assign(parts=(("step", "component"), np.ones((STEP.size, 3)))))


logs = st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(logs, st.sampled_from(["last", "first"]))
def test_any_log_is_joined_or_split_into_ascending_runs(steps, keep):
    flat = np.concatenate(steps)
    ds = xr.Dataset(
        {"loss": ("obs", np.arange(flat.size) + 1.0)},
        {
            "step": ("obs", flat),
            "row_size": ("run", [len(s) for s in steps]),
            "run": [f"r{i}" for i in range(len(steps))],
        },
    )
    joined = runs(data.join_restarts(ds, keep=keep))
    assert [(np.diff(s) > 0).all() for s, _ in joined] == [True] * len(steps)
    for (kept, losses), original, start in zip(joined, steps, np.cumsum([0, *map(len, steps)]), strict=False):
        assert set(kept) <= set(original)
        assert (original[-1] if keep == "last" else original[0]) in kept
        assert [original[int(loss) - 1 - start] for loss in losses] == kept
        # Joining loses no step but those that the other branch of the run went through.
        assert (min(original) if keep == "last" else max(original)) in kept
    split = runs(data.split_restarts(ds))
    assert all((np.diff(s) >= 0).all() for s, _ in split)
    assert [loss for _, losses in split for loss in losses] == (np.arange(flat.size) + 1.0).tolist()
    again = data.join_restarts(data.join_restarts(ds, keep=keep))
    assert runs(again) == joined


numbers = st.sampled_from([0.0, 1e-3, 0.1, 0.3, 2.0, NAN, np.inf, -1.0])
rows = st.lists(st.tuples(st.integers(0, 50), numbers, numbers, numbers), min_size=0, max_size=25)


@settings(max_examples=150, deadline=None)
@given(rows, st.integers(1, 3), st.sampled_from(["ragged", "single", "grid"]), st.booleans())
def test_whatever_a_log_holds_there_is_a_record_or_an_error_of_the_family(log, count, shape, warm):
    step, loss, train, rate = np.array(log).reshape(-1, 4).T
    dim = "obs" if shape == "ragged" else "step"
    flat = {"loss": loss, "train_loss": train}
    ds = xr.Dataset({k: (dim, v) for k, v in flat.items()}, {"step": (dim, step), "learning_rate": (dim, rate)})
    if shape == "ragged":
        sizes = np.diff(np.linspace(0, step.size, count + 1).astype(int))
        ds = ds.assign_coords(row_size=("run", sizes), seed=("run", np.arange(count)))
    elif shape == "grid":
        ds = ds.assign(loss=ds.loss.expand_dims(run=count)).assign_coords(seed=("run", np.arange(count)))
    if warm:
        ds = ds.assign_coords(warmup_steps=10.0)
    tools = [data.thin, data.drop_burn_in, data.drop_warmup, data.split_restarts, data.join_restarts, data.separate]
    for clean in (*tools, data.average_seeds):
        try:
            out = clean(ds)
        except ScalingEqError:
            continue
        for part in out if isinstance(out, tuple) else (out,):
            assert f"{clean.__name__}: " in part.attrs["history"]
            assert described(part)
            find_layout(part)
