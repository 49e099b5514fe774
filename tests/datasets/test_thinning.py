"""Averages in log-spaced bins: where they belong, what they never cross, and how sure they are."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

import scalingeq.datasets as data
from scalingeq.errors import DataError, ParameterError


def autoregressive(phi, shape, rng):
    """Noise of unit variance with autocorrelations phi**lag, from independent draws."""
    noise = rng.normal(size=(*shape[:-1], shape[-1] + 1000))
    return lfilter([np.sqrt(1 - phi**2)], [1, -phi], noise)[..., 1000:]


def curve(step):
    return 2 + 8 * step**-0.3


@pytest.mark.parametrize(
    ("phi", "size", "stride", "noise"),
    [(0.0, 3000, 1, 0.05), (0.6, 3000, 1, 0.05), (0.9, 10_000, 1, 0.05), (0.0, 200, 128, 0.02), (0.6, 550, 128, 0.02)],
)
def test_standard_errors_cover(phi, size, stride, noise):
    step = stride * np.arange(1.0, size + 1)
    draws = autoregressive(phi, (40, size), np.random.default_rng(5))
    ds = xr.Dataset({"loss": (("run", "step"), curve(step) + noise * draws)}, {"step": step})
    out = data.thin(ds)
    late = out.step.values > 0.02 * step[-1]
    z = ((out.loss - curve(out.step)) / out.loss_stderr).values[:, late]
    # 40 runs of 34 averages, neighbours weakly correlated: rms and coverage are known to 2 and 1 percent.
    assert 0.9 < np.sqrt(np.mean(z**2)) < 1.1
    assert 0.92 < np.mean(np.abs(z) < 1.96) < 0.98
    # An average of noise as if it were white would be this far off: the test can fail.
    if phi > 0:
        white = noise / np.sqrt(np.diff(np.append(np.searchsorted(step, out.step.values), size)))[late]
        assert np.mean(np.abs(z * out.loss_stderr.values[:, late] / white) < 1.96) < 0.8


def test_errors_of_single_points_are_those_of_the_noise():
    step = np.arange(1.0, 3001)
    draws = autoregressive(0.9, (30, step.size), np.random.default_rng(6))
    out = data.thin(xr.Dataset({"loss": (("run", "step"), 2 + 0.1 * draws)}, {"step": step}), per_decade=5000)
    assert out.sizes["step"] > 2000
    assert float(np.median(out.loss_stderr)) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("slope", [0.1, 0.3, 0.6])
def test_the_mean_is_where_the_curve_has_it(slope):
    step = np.arange(1.0, 20_001)
    power = 3 * step**-slope
    out = data.thin(xr.Dataset({"loss": ("step", power)}, {"step": step}))
    later = out.step > 100
    error = (out.loss / (3 * out.step**-slope) - 1).where(later, drop=True)
    # The curvature in log step of a bin of 1/20 decade: p² (ln 10 / 20)² / 24.
    assert np.abs(error).max() < 1.1 * slope**2 * (np.log(10) / 20) ** 2 / 24
    logarithm = data.thin(xr.Dataset({"loss": ("step", 5 - 0.4 * np.log(step))}, {"step": step}))
    np.testing.assert_allclose(logarithm.loss, 5 - 0.4 * np.log(logarithm.step), rtol=1e-12)


def test_no_average_crosses_a_jump_of_the_rate():
    step = np.arange(1, 4001)
    rate = np.where(step <= 2345, 0.3, 0.03)
    loss = np.where(step <= 2345, 3.0, 2.0)
    ds = data.label(
        xr.Dataset(
            {"loss": ("step", loss)}, {"step": step, "learning_rate": ("step", rate), "batch_size": 8, "params": 10}
        )
    )
    out = data.thin(ds)
    assert set(out.loss.values) == {3.0, 2.0}
    assert set(out.learning_rate.values) == {0.3, 0.03}
    np.testing.assert_array_equal(out.loss == 3, out.step <= 2345)
    np.testing.assert_array_equal(out.learning_rate == 0.3, out.step <= 2345)
    # The transient after the jump is as finely resolved as the start of the run.
    after = out.step.values[out.step.values > 2345] - 2345
    np.testing.assert_allclose(after, data.thin(ds.isel(step=slice(0, 4000 - 2345))).step)
    data.check(out)


EVERY = np.arange(128.0, 24_000, 128)
SCHEDULES = {
    "cosine": 0.55 + 0.45 * np.cos(np.pi * EVERY / 24_000),
    "linear": 1 - EVERY / 24_000,
    "stable and decay": np.minimum(1, 1.05 * (24_000 - EVERY) / 4000),
    "two stages": np.where(EVERY < 8000, 1.0, 0.1),
    "staircase": 0.5 ** np.floor(EVERY / 5000),
    "warm-up": np.minimum(1, EVERY / 2000),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_integral_of_the_rate_stays(name):
    coords = {"step": EVERY, "learning_rate": ("step", SCHEDULES[name]), "batch_size": 8, "params": 10}
    ds = xr.Dataset({"loss": ("step", curve(EVERY))}, coords)
    out = data.thin(ds)
    assert out.sizes["step"] < 0.7 * EVERY.size

    def time(record):
        schedule = data.to_curves(record).schedules[0]
        fine = np.arange(0.0, out.step.values[-1], 4.0)
        return np.cumsum(np.interp(fine, schedule.step, schedule.rate)) * 4.0, fine

    (before, fine), (after, _) = time(ds), time(out)
    later = fine > 0.02 * EVERY[-1]
    np.testing.assert_allclose(after[later], before[later], rtol=4e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 80), st.floats(1e-5, 1.0)), min_size=1, max_size=6),
    st.integers(1, 40),
    st.booleans(),
)
def test_rates_within_an_average_are_alike_and_nothing_is_lost(stages, per_decade, smooth):
    rate = np.concatenate([np.full(n, r) for n, r in stages])
    if smooth:
        rate = np.convolve(rate, np.ones(5) / 5, mode="same")
    step = np.arange(rate.size) * 10
    # Each loss says which observation it is: sums of powers of the observations tell what is in an average.
    ds = xr.Dataset(
        {"loss": ("step", np.ones(rate.size)), "low": ("step", rate), "count": ("step", np.ones(rate.size))},
        {"step": step, "learning_rate": ("step", rate), "index": ("step", np.arange(rate.size))},
    )
    out = data.thin(ds, per_decade=per_decade)
    mean, at = out.low.values, out.learning_rate.values
    assert (np.abs(mean - at) <= 0.05 * np.maximum(mean, at) * (1 + 1e-9)).all()
    assert (np.diff(out.step) > 0).all()
    assert out.step[0] >= step[0]
    assert out.step[-1] <= step[-1]
    assert (out["count"] == 1).all()


@pytest.mark.parametrize("shape", ["grid", "padded", "ragged", "single"])
def test_every_shape_with_its_coordinates(shape):
    step = np.arange(100, 20_001, 100.0)
    n = step.size
    rate = 0.3 * (1 - step / 40_000)
    loss = np.array([curve(step), curve(step) - 0.5])
    per_obs = {"learning_rate": rate, "tokens": 8 * step, "batch_size": np.full(n, 8.0)}
    per_run = {"params": ("run", [1e6, 1e7]), "run": ["a", "b"]}
    if shape == "grid":
        ds = xr.Dataset(
            {"loss": (("run", "step"), loss)}, {"step": step} | {k: ("step", v) for k, v in per_obs.items()} | per_run
        )
    elif shape == "single":
        ds = xr.Dataset(
            {"loss": ("step", loss[0])}, {"step": step, "params": 1e6} | {k: ("step", v) for k, v in per_obs.items()}
        )
    else:
        two = {k: np.array([v, v]) for k, v in ({"step": step} | per_obs).items()}
        if shape == "padded":
            ds = xr.Dataset(
                {"loss": (("run", "obs"), loss)}, {k: (("run", "obs"), v) for k, v in two.items()} | per_run
            )
        else:
            per_run["row_size"] = ("run", [n, n])
            ds = xr.Dataset({"loss": ("obs", loss.ravel())}, {k: ("obs", v.ravel()) for k, v in two.items()} | per_run)
    ds = data.check(data.label(ds, units={"loss": "nats", "tokens": "bytes"}))
    out = data.check(data.thin(ds))
    assert out.loss.dims == ds.loss.dims
    assert out.loss.size < 0.4 * ds.loss.size
    np.testing.assert_allclose(out.tokens, 8 * out.step)
    np.testing.assert_allclose(out.learning_rate, 0.3 * (1 - out.step / 40_000))
    assert (out.batch_size == 8).all()
    assert {v.attrs["units"] for v in (out.loss, out.loss_stderr)} == {"nats"}
    assert out.tokens.units == "bytes"
    assert all(v.attrs.get("long_name") for v in out.variables.values())
    assert "thin: " in out.attrs["history"]
    assert "20 bins a decade" in out.attrs["history"]


def test_step_zero_and_gaps():
    step = np.arange(0, 200)
    loss = np.where(step % 7 == 3, np.nan, 3.0)
    train = np.where(step % 2 == 0, np.nan, 2.0)
    out = data.thin(
        xr.Dataset(
            {"loss": ("step", loss), "train_loss": ("step", train)}, {"step": step, "name": ("step", step.astype(str))}
        )
    )
    assert out.step[0] == 0
    assert (out.loss == 3).all()
    assert "name" not in out
    assert set(out.train_loss.values[~np.isnan(out.train_loss.values)]) == {2.0}


def test_errors_stated_in_the_record_are_respected():
    step = np.arange(1, 1001)
    ones = np.ones(1000)
    ds = xr.Dataset(
        {"loss": ("step", 3 * ones), "loss_stderr": ("step", 0.5 * ones), "offset_stderr": ("step", 0.3 * ones)},
        {"step": step},
    )
    out = data.thin(ds, per_decade=1)
    counts = [1, 9, 90, 900]
    np.testing.assert_allclose(out.loss_stderr, np.hypot(0.4 / np.sqrt(counts), 0.3))
    np.testing.assert_allclose(out.offset_stderr, 0.3)


def test_short_runs_have_no_error_to_state():
    out = data.thin(xr.Dataset({"loss": ("step", [3.0, 2.5, 2.2])}, {"step": [1, 2, 3]}))
    assert out.loss.values.tolist() == [3.0, 2.5, 2.2]
    assert np.isnan(out.loss_stderr).all()


def test_refusals():
    ds = xr.Dataset({"loss": ("step", [3.0, 2.0, 2.5])}, {"step": [1, 2, 2]})
    with pytest.raises(DataError, match=r"step: not ascending in run '0'; first call join_restarts\(ds\)"):
        data.thin(ds)
    with pytest.raises(ParameterError, match="per_decade: 0"):
        data.thin(ds, per_decade=0)
    with pytest.raises(DataError, match="loss: missing"):
        data.thin(ds.rename(loss="valid"))
    with pytest.raises(DataError, match="loss: infinite in run '0'"):
        data.thin(ds.assign(loss=("step", [3.0, np.inf, 2.0])))
    with pytest.raises(DataError, match="loss: holds no value"):
        data.thin(ds * np.nan)
    with pytest.raises(DataError, match="the dataset is empty"):
        data.thin(ds.isel(step=slice(0)))
