"""Profiles, bootstraps and chains of an analysis: labelled, archived, and as bands of predictions and frontiers."""

import numpy as np
import pytest
import xarray as xr

import scalingeq
from scalingeq import ArchiveError, ParameterError
from scalingeq.inference import twopoint

HELD = dict(alpha=1.5, r=0.3, time_scale=20.0, unlearnable=0.0, unlearnable_exponent=0.4, width_exponent=0.7)
COMPUTE = [1e10, 1e11]


@pytest.fixture(scope="module")
def tree():
    """Three runs of the law with one per cent of noise; two parameters are free."""
    step = np.geomspace(1e3, 4e4, 10).round()
    runs = xr.Dataset(
        coords={"step": step, "params": ("run", [1e4, 1e5, 1e6]), "learning_rate": 0.01, "batch_size": 64.0}
    )
    truth = HELD | {"irreducible": 0.2, "scale": 2.0, "width_scale": 60.0}
    loss = runs.twopoint.predict(**truth).loss.transpose("run", "step")
    noise = 0.01 * np.random.default_rng(0).standard_normal(loss.shape)
    ds = runs.assign(loss=(("run", "step"), loss.values * np.exp(noise)))
    return ds.twopoint.fit(**HELD, scale=2.0)


@pytest.fixture(scope="module")
def bootstrap(tree):
    return tree.twopoint.bootstrap(draws=12, seed=3)


@pytest.fixture(scope="module")
def chains(tree):
    return tree.twopoint.sample(draws=24, walkers=8)


@pytest.fixture(scope="module")
def profile(tree):
    return tree.twopoint.profile(["width_scale", "irreducible"])


def test_every_variable_is_labelled(bootstrap, chains, profile):
    for ds in (bootstrap, chains, profile):
        for name, variable in ds.variables.items():
            assert variable.attrs.get("long_name"), name
            assert variable.attrs.get("units"), name
        assert "twopoint." in ds.attrs["history"]


def test_a_profile_surrounds_the_best_fit(tree, profile):
    best = tree["parameters"].value.sel(parameter=profile.quantity.values).values
    assert dict(profile.sizes) == {"quantity": 2, "level": 2}
    np.testing.assert_allclose(profile.value, best)
    assert bool((profile.lower.sel(level=0.95) < profile.lower.sel(level=0.68)).all())
    assert bool((profile.upper.sel(level=0.95) > profile.upper.sel(level=0.68)).all())
    assert bool((profile.lower < profile.value).all() and (profile.upper > profile.value).all())


def test_draws_move_what_is_free_and_nothing_else(tree, bootstrap, chains):
    free = tree["parameters"].vary == 1
    for draws in (bootstrap, chains):
        moved = draws.value.max("draw") > draws.value.min("draw")
        assert list(moved.values) == list(free.values)
        np.testing.assert_allclose(draws.combined.sel(combination="2 r"), 0.6)


def test_a_bootstrap_is_the_same_again_and_begins_a_longer_one(tree, bootstrap):
    again = tree.twopoint.bootstrap(draws=2, seed=3)
    np.testing.assert_array_equal(again.value, bootstrap.value.isel(draw=slice(2)))


def test_bands_of_predictions_and_frontiers_come_from_the_draws(tree, bootstrap, profile):
    for draws in (bootstrap, profile):
        out = tree.twopoint.predict(draws=draws, quantile=[0.16, 0.84])
        assert out.loss_quantile.dims == ("quantile", *out.loss.dims)
        assert bool((out.loss_quantile[1] > out.loss_quantile[0]).all())
        assert bool((out.loss_stderr > 0).all())
    plain = tree.twopoint.frontier(COMPUTE)
    bands = tree.twopoint.frontier(COMPUTE, draws=bootstrap)
    assert bands.loss.dims == plain.loss.dims
    xr.testing.assert_equal(bands.best_params, plain.best_params)
    assert bool((bands.params.diff("quantile") >= 0).all())
    assert bands.attrs["draws_without_frontier"] == 0
    assert "bootstrap" in bands["quantile"].attrs["long_name"]
    law = twopoint.complete(dict(zip(bootstrap.parameter.values, bootstrap.value.values[0], strict=True)))
    one = bootstrap.isel(draw=[0])
    single = tree.twopoint.frontier(COMPUTE, draws=one, quantile=[0.5])
    from scalingeq.inference.twopoint_frontier import frontier

    plan = {"reference_params": 1e4, "learning_rate": 0.01, "batch_size": 64.0}
    np.testing.assert_allclose(single.params[:, 0], frontier(law, np.array(COMPUTE), **plan).params, rtol=1e-3)


def test_they_survive_an_archive(tree, bootstrap, chains, profile, tmp_path):
    kept = tree.copy()
    kept["profile"], kept["draws"], kept["bootstrap"] = (xr.DataTree(ds) for ds in (profile, chains, bootstrap))
    kept.twopoint.save(tmp_path / "fit.nc")
    again = scalingeq.open_analysis(tmp_path / "fit.nc")
    for name, ds in (("profile", profile), ("draws", chains), ("bootstrap", bootstrap)):
        xr.testing.assert_equal(again[name].to_dataset(), ds)
    band = again.twopoint.predict(draws=again["profile"]).loss_quantile
    xr.testing.assert_allclose(band, tree.twopoint.predict(draws=profile).loss_quantile)


def test_what_cannot_be_done_is_refused_by_name(tree, made_up_analysis, bootstrap):
    with pytest.raises(ParameterError, match="draws: 0 is not"):
        tree.twopoint.bootstrap(draws=0)
    with pytest.raises(ParameterError, match="draws: neither draws nor a profile"):
        tree.twopoint.frontier(COMPUTE, draws=xr.Dataset())
    with pytest.raises(ParameterError, match="quantile"):
        tree.twopoint.predict(draws=bootstrap, quantile=[2.0])
    with pytest.raises(ArchiveError, match="keeps no weights"):
        made_up_analysis().twopoint.profile()


def test_the_report_says_what_the_curves_determine(tree):
    text = str(tree.twopoint.report())
    assert text.index("What the curves determine best") < text.index("Parameters")
    assert float(tree["parameters"].residual_correlation) < 0.9
    assert set(np.flatnonzero(tree["parameters"].prior_share.values > 0)) <= set(
        np.flatnonzero(tree["parameters"].vary.values)
    )
