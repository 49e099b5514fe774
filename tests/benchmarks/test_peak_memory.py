"""Peak memory of fresh processes: of the whole, and what a case adds to the imports and a first small curve."""

import json
import os
import subprocess
import sys

import pytest

FRESH = """
import json, pathlib, re, sys
import numpy as np
from scalingeq.theory import PowerLaw, flow_loss, loss_curve

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) / 1024

times, spectrum = np.geomspace(1, 1e7, 200), PowerLaw(1.5, 0.4, 1e9)
cosine = 0.25 * (1 + np.cos(np.pi * (np.arange(100_000) + 0.5) / 100_000))
steps = np.arange(1.0, 100_001)
cases = {
    "one pass": lambda: flow_loss(times, spectrum, width=1e4, noise_rate=0.1),
    "one pass with derivatives": lambda: flow_loss(times, spectrum, width=1e4, noise_rate=0.1, jacobian=True),
    "one pass, 1,000 widths": lambda: flow_loss(times, spectrum, width=np.geomspace(100, 1e6, 1000), noise_rate=0.1),
    "finite data": lambda: flow_loss(times, spectrum, width=1e4, samples=3e4, noise_rate=0.1),
    "finite data with derivatives":
        lambda: flow_loss(times, spectrum, width=1e4, samples=3e4, noise_rate=0.1, jacobian=True),
    "cosine of 100,000 steps": lambda: loss_curve(steps, spectrum, width=1e4, batch_size=8, learning_rate=cosine),
}
flow_loss([1.0, 2.0], PowerLaw(1.5, 0.4, 100), width=30, samples=40, noise_rate=0.1)
first = peak()
cases[sys.argv[1]]()
print(json.dumps([peak(), peak() - first]))
"""
CASES = (
    "one pass", "one pass with derivatives", "one pass, 1,000 widths", "finite data", "finite data with derivatives",
    "cosine of 100,000 steps",
)  # fmt: skip


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's own count of the peak")
@pytest.mark.parametrize("case", CASES)
def test_peak_memory(benchmark, record_property, case, loops):
    environment = os.environ | {"SCALINGEQ_COMPILED": "1" if loops == "compiled" else "0"}
    command = [sys.executable, "-c", FRESH, case]
    run = benchmark.pedantic(
        subprocess.run, (command,), {"env": environment, "check": True, "capture_output": True}, rounds=1
    )
    whole, added = json.loads(run.stdout)
    record_property("memory_of", {f"{case}; {loops}": {"whole process": whole, "added": added}})
    assert whole < 1000
