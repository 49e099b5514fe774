"""Importing the package costs little and loads nothing heavy: SciPy, lmfit, matplotlib and dask come with their use."""

import json
import os
import subprocess
import sys

PROGRAM = """
import json, sys, time
import xarray
before, start = set(sys.modules), time.process_time()
import scalingeq
seconds = time.process_time() - start
print(json.dumps({"seconds": seconds, "loaded": sorted({m.split(".")[0] for m in set(sys.modules) - before})}))
"""


def test_import_is_light():
    # The first run leaves bytecode behind, as the installer of a package does.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", PROGRAM]
    runs = [
        json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
        for _ in range(3)
    ]
    heavy = {"scipy", "lmfit", "matplotlib", "dask", "netCDF4", "click", "tqdm", "torch"}
    assert not heavy & set(runs[0]["loaded"])
    assert min(run["seconds"] for run in runs) < 0.3
