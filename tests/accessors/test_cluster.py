"""Fits in bulk on a cluster of two worker processes, one of which dies at work."""

import os
import signal
import time

import numpy as np
import pytest
import xarray as xr

import scalingeq  # noqa: F401  (registers the accessor)

distributed = pytest.importorskip("distributed")
import dask  # noqa: E402

HELD = {"alpha": 1.5, "r": 0.3, "time_scale": 1.0, "width_scale": 100.0, "width_exponent": 0.7}
STEP = np.unique(np.geomspace(10, 8000, 8).round())
PATIENT = {"distributed.comm.timeouts.connect": "120s", "distributed.comm.timeouts.tcp": "120s"}


def draws(count):
    """A record of two runs, and as weights how often each observation is in each bootstrap draw."""
    ds = xr.Dataset(
        {"loss": (("run", "step"), 0.5 + np.outer([1.0, 0.7], STEP**-0.4))},
        {"step": STEP, "params": ("run", [1e4, 1e5]), "learning_rate": 0.1, "batch_size": 64.0},
    )
    drawn = np.random.default_rng(0).multinomial(ds.loss.size, np.full(ds.loss.size, 1 / ds.loss.size), count)
    weights = xr.DataArray(np.sqrt(drawn.reshape(count, *ds.loss.shape)), dims=("draw", "run", "step"))
    return ds, weights.assign_coords(draw=np.arange(count))


@pytest.fixture
def client(tmp_path):
    with (
        dask.config.set(PATIENT),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", local_directory=str(tmp_path)
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_a_cluster_fits_what_one_process_does(client):
    ds, weights = draws(4)
    expected = ds.twopoint.fit(dim="draw", weights=weights, **HELD)
    tree = ds.twopoint.fit(dim="draw", weights=weights.chunk(draw=1), **HELD).persist()
    for group in ("parameters", "prediction", "additive"):
        xr.testing.assert_identical(tree[group].to_dataset().compute(), expected[group].to_dataset())
    assert expected["parameters"].success.all()
    one = ds.twopoint.fit(**HELD)
    lazy = one.twopoint.bootstrap(draws=4, chunk=1)
    np.testing.assert_array_equal(lazy.value.compute(), one.twopoint.bootstrap(draws=4).value)


@pytest.mark.exhaustive
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_worker_killed_at_work_loses_nothing(client):
    ds, weights = draws(60)
    expected = ds.twopoint.fit(dim="draw", weights=weights, **HELD)["parameters"].to_dataset()
    workers = client.run(os.getpid)
    parameters = ds.twopoint.fit(dim="draw", weights=weights.chunk(draw=2), **HELD)["parameters"].to_dataset().persist()
    while sum(map(len, client.has_what().values())) < 20:  # results that the victim holds are lost with it
        time.sleep(0.05)
    os.kill(next(iter(workers.values())), signal.SIGKILL)
    xr.testing.assert_identical(parameters.compute(), expected)
    assert workers.keys() != client.run(os.getpid).keys()
