"""Mean of a lazy prediction over RUNS times STEPS points in chunks of CHUNK steps; prints points and memory as JSON."""

import json
import resource
import sys
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import xarray as xr

import scalingeq  # noqa: F401  (registers the accessor)


def peak_mb():
    """Peak of this process alone: what getrusage says of a young process is its parent's."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024


def prediction(runs, steps, chunk):
    ds = xr.Dataset(
        coords={
            "step": ("obs", da.arange(1.0, steps + 1, chunks=chunk)),
            "params": ("run", da.from_array(np.geomspace(1e3, 1e6, runs), chunks=1)),
            "learning_rate": 0.1,
            "batch_size": 64.0,
        }
    )
    law = {"alpha": 1.5, "r": 0.4, "width_scale": 100.0, "width_exponent": 0.5, "noise_scale": 1.0}
    return ds.twopoint.predict(**law, reference_params=1e3).loss


if __name__ == "__main__":
    runs, steps, chunk = map(int, sys.argv[1:])
    prediction(1, 100, 100).compute()
    before = peak_mb()
    loss = prediction(runs, steps, chunk)
    lazy = peak_mb()
    with dask.config.set(scheduler="threads", num_workers=2):
        mean = float(loss.mean())
    print(json.dumps({"points": loss.size, "mean": mean, "import": before, "lazy": lazy, "peak": peak_mb()}))
