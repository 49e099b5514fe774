"""Every algorithm of the theory through ``predict``: labelled, beside the theory itself, in parts, and lazily."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from scalingeq.errors import DataError, InstabilityError, ParameterError
from scalingeq.theory import PowerLaw, decompose, loss_curve

STEP = np.array([10, 50, 200, 400])
RATE = 0.2 * (1 + np.cos(np.pi * STEP / 400)) / 2
LAW = {"alpha": 1.5, "r": 0.4, "width_scale": 60.0, "width_exponent": 0.5, "samples_scale": 0.01, "irreducible": 0.1}
NOISE = {"noise_scale": 4.0, "scale": 2.0}
OPTIONS = {
    "discrete steps": {"dynamics": "discrete"},
    "momentum": {"momentum": 0.5, "dynamics": "discrete"},
    "weight decay": {"ridge": 0.01},
    "ensemble": {"ensemble": (2, 3)},
    "covariate shift": {"test_spectrum": PowerLaw(1.2, 0.4)},
    "train": {"kind": "train"},
}


@pytest.fixture
def runs():
    """Three runs: constant rates of two sizes, and a schedule; the data repeat."""
    rate = np.stack([np.full(4, 0.1), np.full(4, 0.1), RATE])
    return xr.Dataset(
        {
            "loss": (("run", "step"), np.ones((3, 4)), {"units": "nats"}),
            "train_loss": (("run", "step"), np.full((3, 4), 0.9), {"units": "nats"}),
        },
        {
            "step": STEP,
            "run": ["small", "large", "cosine"],
            "params": ("run", [1e3, 1e4, 1e4]),
            "learning_rate": (("run", "step"), rate),
            "batch_size": ("run", [64.0, 64.0, 64.0]),
            "dataset_size": ("run", [1e4, 2e4, np.inf]),
        },
    )


@pytest.mark.parametrize("name", OPTIONS)
def test_predictions_are_those_of_the_theory(runs, name):
    predicted = runs.twopoint.predict(**LAW, **NOISE, **OPTIONS[name])
    settings = {"learning_rate": 0.1, "batch_size": 64 / 4, "noise_variance": 0.1 / 2, **OPTIONS[name]}
    for run, width, samples in (("small", 60, 100), ("large", 60 * 10**0.5, 200)):
        expected = 2 * loss_curve(STEP, PowerLaw(1.5, 0.4), width=width, samples=samples, **settings)
        np.testing.assert_allclose(predicted.loss.sel(run=run), expected, rtol=1e-8)
    assert predicted.loss.dims == ("run", "step")
    assert predicted.loss.attrs["units"] == "nats"
    beside = "train_loss" if name == "train" else "loss"
    assert predicted.measured_loss.equals(runs[beside].rename("measured_loss"))
    assert ("training" in predicted.loss.attrs["long_name"]) == (name == "train")


def test_schedule_of_a_run_counts_in_every_dynamics(runs):
    cosine = runs.sel(run=["cosine"])
    between = np.interp(np.arange(400) + 0.5, np.append(0, STEP), np.append(RATE[0], RATE))
    settings = {"learning_rate": between, "batch_size": 16, "width": 60, "noise_variance": 0.05}
    law = {**LAW, **NOISE, "reference_params": 1e4}
    for options, tolerance in (({"ridge": 0.01}, 1e-4), ({"dynamics": "discrete"}, 1e-6)):
        predicted = cosine.twopoint.predict(**law, **options).loss.squeeze()
        expected = 2 * loss_curve(STEP, PowerLaw(1.5, 0.4), **settings, **options)
        np.testing.assert_allclose(predicted, expected, rtol=tolerance)


@pytest.mark.parametrize("options", [{}, {"ensemble": (3, 2)}, {"dynamics": "discrete"}, {"ridge": 0.01}])
def test_components_add_up_to_the_loss_exactly(runs, options):
    predicted = runs.twopoint.predict(**LAW, **NOISE, components=True, **options)
    parts = predicted.component_loss
    assert parts.dims == ("component", "run", "step")
    assert parts.attrs == {"long_name": "part of the predicted loss", "units": "nats"}
    assert list(parts.component.values) == [
        "irreducible", "bias", "features", "data", "interaction", "label_noise", "sgd_noise"
    ]  # fmt: skip
    xr.testing.assert_allclose(parts.sum("component"), predicted.loss.drop_attrs(), rtol=1e-14, atol=0)
    xr.testing.assert_allclose(predicted.loss, runs.twopoint.predict(**LAW, **NOISE, **options).loss, rtol=1e-8)
    expected = decompose(
        STEP,
        PowerLaw(1.5, 0.4),
        learning_rate=0.1,
        batch_size=16,
        width=60,
        samples=100,
        noise_variance=0.05,
        **options,
    )
    np.testing.assert_allclose(parts.sel(run="small"), 2 * np.array(expected), atol=1e-12)
    # One pass has no data to vary.
    assert np.all(parts.sel(run="cosine", component=["data", "interaction", "label_noise"]) == 0)


def test_predictions_of_a_fit_keep_their_uncertainty(runs):
    truth = runs.twopoint.predict(**LAW, **NOISE).loss
    tree = (
        runs.assign(loss=truth)
        .drop_vars("train_loss")
        .twopoint.fit(
            alpha=1.5,
            samples_scale=0.01,
            noise_scale=4.0,
            width_exponent=0.5,
            unlearnable=0.0,
            unlearnable_exponent=0.5,
        )
    )
    plain, heavy = tree.twopoint.predict(), tree.twopoint.predict(momentum=0.5)
    assert np.all(heavy.loss_stderr > 0)
    # Momentum of a half is twice the rate: the errors are of the same size.
    ratio = (heavy.loss_stderr / plain.loss_stderr).values
    assert np.all((ratio > 0.2) & (ratio < 5))
    assert np.all(heavy.loss < plain.loss)


def forbidden(*args, **kwargs):
    raise AssertionError("computed while it should be lazy")


@pytest.mark.parametrize("options", [{}, {"ridge": 0.01, "components": True}, {"kind": "train"}])
def test_chunked_runs_give_lazy_predictions(runs, options):
    dask = pytest.importorskip("dask")
    eager = runs.twopoint.predict(**LAW, **NOISE, reference_params=1e3, **options)
    for chunks in ({"run": 1}, {"run": 2, "step": 2}, {"step": 3}):
        with dask.config.set(scheduler=forbidden):
            lazy = runs.chunk(chunks).twopoint.predict(**LAW, **NOISE, reference_params=1e3, **options)
            assert all(lazy[name].chunks for name in lazy.data_vars)
        computed = lazy.compute(scheduler="synchronous")
        xr.testing.assert_allclose(computed.drop_attrs(deep=False), eager.drop_attrs(deep=False))
        for name in eager.variables:
            assert computed[name].attrs == eager[name].attrs


@pytest.mark.parametrize("options", [{}, {"momentum": 0.5}])
def test_runs_of_constant_rate_are_predicted_in_chunks_of_steps(options):
    pytest.importorskip("dask")
    step = np.sort(np.random.default_rng(0).uniform(1, 1e4, (3, 9)), axis=1)
    step[1, 5:] = np.nan
    step[2, 1:] = np.nan
    sizes = {"params": ("run", [1e3, 1e4, 1e5]), "warmup_steps": ("run", [0.0, 100.0, 0.0]), "batch_size": 64.0}
    sizes |= {"dataset_size": ("run", [np.inf, 1e4, np.inf]), "learning_rate": 0.1}
    padded = xr.Dataset(coords={"step": (("run", "obs"), step), **sizes})
    shared = xr.Dataset({"loss": (("run", "step"), np.ones((3, 9)))}, {"step": np.arange(1.0, 10), **sizes})
    for record, dim in ((padded, "obs"), (shared, "step")):
        eager = record.twopoint.predict(**LAW, **NOISE, **options)
        for chunks in ({dim: (4, 4, 1)}, {"run": 1, dim: 3}):  # some hold one point, some nothing but padding
            lazy = record.chunk(chunks).twopoint.predict(**LAW, **NOISE, **options)
            assert len(lazy.loss.chunksizes[dim]) == 3
            xr.testing.assert_allclose(lazy.compute(scheduler="synchronous"), eager, rtol=1e-8)
    few = padded.isel(run=[0, 2], obs=slice(3))
    lazy = few.chunk(obs=2).twopoint.predict(**LAW, components=True, **options).component_loss
    eager = few.twopoint.predict(**LAW, components=True, **options).component_loss
    xr.testing.assert_allclose(lazy.compute(scheduler="synchronous"), eager, rtol=1e-7, atol=1e-9)


def test_memory_is_that_of_the_chunks():
    pytest.importorskip("dask")
    program = Path(__file__).parents[1] / "benchmarks" / "predict_points.py"
    runs = []
    for chunk in (50_000, 400_000):
        command = [sys.executable, "-W", "error", program, *map(str, (1, 400_000, chunk))]
        runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    chunked, whole = runs
    assert chunked["points"] == 400_000
    np.testing.assert_allclose(chunked["mean"], whole["mean"], rtol=1e-9)
    assert chunked["lazy"] - chunked["import"] < 10
    # Two threads have one chunk of an eighth each.
    assert chunked["peak"] - chunked["lazy"] < 0.5 * (whole["peak"] - whole["lazy"])


def test_frontiers_of_chunked_compute_are_lazy(made_up_analysis):
    dask = pytest.importorskip("dask")
    tree, compute = made_up_analysis(), np.geomspace(1e14, 1e16, 3)
    only = tree["parameters/parameter"] == "r"  # one error to propagate
    tree["parameters/covariance"] = tree["parameters/covariance"].where(only, 0.0)
    eager = tree.twopoint.frontier(compute, quantile=[0.5])
    with dask.config.set(scheduler=forbidden):
        chunked = xr.DataArray(compute, dims="budget").chunk(budget=2)
        lazy = tree.twopoint.frontier(chunked, quantile=[0.5])
        assert lazy["compute"].chunks == lazy.best_loss.chunks == ((2, 1),)
        with pytest.raises(ParameterError, match="quantile"):
            tree.twopoint.frontier(chunked, quantile=[2.0])
        with pytest.raises(ParameterError, match="data_limit: is not lazy; pass compute in memory"):
            tree.twopoint.frontier(chunked, data_limit=1e6)
    found = lazy.compute(scheduler="synchronous")
    for name, expected in eager.variables.items():
        assert found[name].dims == expected.dims
        assert found[name].attrs == expected.attrs
        np.testing.assert_allclose(found[name], expected, rtol=1e-6)
    with pytest.raises(ParameterError, match="pass FLOPs along one"):
        tree.twopoint.frontier(chunked.expand_dims("other"))


def test_lazy_predictions_of_other_shapes(runs):
    pytest.importorskip("dask")
    ragged = xr.Dataset(
        {"loss": ("obs", np.ones(5))},
        {
            "step": ("obs", [10, 20, 10, 20, 30]), "row_size": ("run", [2, 3]), "params": ("run", [1e3, 1e4]),
            "learning_rate": 0.1, "batch_size": 64.0,
        },
    )  # fmt: skip
    for record in (
        ragged,
        runs.isel(run=0).drop_vars("run"),
        runs.drop_vars(["loss", "train_loss"]),
    ):
        eager = record.twopoint.predict(alpha=1.5, r=0.4)
        chunked = (
            record.chunk({next(iter(eager.loss.dims)): 1})
            if record.data_vars
            else record.assign_coords(learning_rate=record.learning_rate.chunk({"run": 1}))
        )
        lazy = chunked.twopoint.predict(alpha=1.5, r=0.4)
        assert lazy.loss.chunks
        xr.testing.assert_allclose(lazy.loss.compute(scheduler="synchronous"), eager.loss)


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"momentum": 2, "ridge": -1, "ensemble": (0, 1)}, ParameterError, "3 problems"),
        ({"dynamics": "adam"}, ParameterError, "dynamics is 'adam'"),
        ({"components": True, "kind": "train"}, DataError, "pass kind='test'"),
        ({"dynamics": "discrete", "time_scale": 30.0}, InstabilityError, "times the exact threshold"),
        ({"test_spectrum": PowerLaw(1.2, 0.4, 10)}, ParameterError, "dim=10"),
    ],
)
def test_options_outside_their_domain_are_refused(runs, options, error, text):
    with pytest.raises(error, match=text):
        runs.twopoint.predict(alpha=1.5, r=0.4, **options)


def test_discrete_steps_need_whole_steps(runs):
    halves = runs.assign_coords(step=STEP + 0.5)
    with pytest.raises(ParameterError, match=r"step: not whole numbers in run 'small'"):
        halves.twopoint.predict(alpha=1.5, r=0.4, dynamics="discrete")
