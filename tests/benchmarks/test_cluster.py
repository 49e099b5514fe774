"""Bootstrap fits on clusters of one and of two worker processes, and predictions that outgrow the memory."""

import importlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import scalingeq  # noqa: F401  (registers the accessor)

HELD = {"alpha": 1.5, "r": 0.3, "time_scale": 1.0, "width_scale": 100.0, "width_exponent": 0.7}
STEP = np.unique(np.geomspace(10, 8000, 12).round())
FASTER, LIMIT = 1.5, 2000  # times as fast with two workers as with one; MB
PATIENT = {"distributed.comm.timeouts.connect": "120s", "distributed.comm.timeouts.tcp": "120s"}


def lazy_fits(count, chunk):
    """Parameters, not computed yet, of fits to bootstrap draws of a record of two runs, drawn as weights."""
    ds = xr.Dataset(
        {"loss": (("run", "step"), 0.5 + np.outer([1.0, 0.7], STEP**-0.4))},
        {"step": STEP, "params": ("run", [1e4, 1e5]), "learning_rate": 0.1, "batch_size": 64.0},
    )
    drawn = np.random.default_rng(0).multinomial(ds.loss.size, np.full(ds.loss.size, 1 / ds.loss.size), count)
    weights = xr.DataArray(np.sqrt(drawn.reshape(count, *ds.loss.shape)), dims=("draw", "run", "step"))
    return ds.twopoint.fit(dim="draw", weights=weights.chunk(draw=chunk), **HELD)["parameters"].to_dataset()


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.exhaustive)])
def test_two_workers_beside_one(benchmark, tmp_path, count):
    """The draws in four parts, each on one worker and on two in turn, so that what disturbs the machine hits both."""
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "local_directory": str(tmp_path)}
    parts = 4
    fits = lazy_fits(count, max(1, count // 200))
    size = count // parts

    def fit_part(client, first):
        start = time.perf_counter()
        done = client.compute(fits.isel(draw=slice(first, first + size)), sync=True)
        assert done.success.all()
        return time.perf_counter() - start

    heavy = ("scalingeq", "lmfit", "scipy.optimize", "scipy.stats")
    with (
        dask.config.set(PATIENT),
        distributed.LocalCluster(n_workers=1, **options) as one,
        distributed.LocalCluster(n_workers=2, **options) as two,
        distributed.Client(one) as alone,
        distributed.Client(two) as together,
    ):
        for client in (alone, together):
            for name in heavy:
                client.run(importlib.import_module, name)
        ratios, totals = [], np.zeros(2)
        for first in range(0, count, size):
            times = np.array([fit_part(alone, first), fit_part(together, first)])
            ratios.append(times[0] / times[1])
            totals += times
        benchmark.pedantic(fit_part, (together, 0), rounds=1)
    benchmark.extra_info.update(
        {"case": f"{count} bootstrap fits", "one worker, s": totals[0], "two workers, s": totals[1]}
        | {"times as fast": totals[0] / totals[1], "median of parts": statistics.median(ratios)}
    )
    if count >= 2000:
        assert totals[0] / totals[1] > FASTER


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="maximum memory is in other units elsewhere")
@pytest.mark.parametrize("runs", [2, pytest.param(1000, marks=pytest.mark.exhaustive)])
def test_memory_of_a_billion_points(benchmark, runs):
    """Runs of a million steps in chunks of 250,000; a thousand runs are a billion points."""
    command = [sys.executable, Path(__file__).with_name("predict_points.py"), str(runs), "1000000", "250000"]
    out = benchmark.pedantic(subprocess.run, (command,), {"check": True, "capture_output": True}, rounds=1).stdout
    found = json.loads(out)
    assert found["points"] == runs * 1_000_000
    benchmark.extra_info.update(
        {"case": f"{found['points']:.0e} points, lazily", "imports, MB": found["import"], "peak, MB": found["peak"]}
    )
    assert found["peak"] < LIMIT
