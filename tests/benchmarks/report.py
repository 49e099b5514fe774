"""Run the benchmarks and write what they measured to RESULTS.md beside this file, without arguments."""

import os
import platform
import sys
from pathlib import Path

# One core, as the yardstick counts: linear algebra libraries read this when they are loaded.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np
import pytest

HERE = Path(__file__).parent


class Collector:
    """Keeps what the benchmarks of this process record."""

    def __init__(self):
        self.rows, self.recorded = [], {"peak_mb": {}, "growth": {}, "accuracy": {}}

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            for name, values in report.user_properties:
                self.recorded[name].update(values)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        self.rows = [benchmark.extra_info for benchmark in session.config._benchmarksession.benchmarks]


def main():
    collector = Collector()
    options = ["-q", "-o", "addopts=--import-mode=importlib --strict-markers", "-p", "no:cacheprovider"]
    status = pytest.main(
        [*(str(HERE / name) for name in ("test_speed.py", "test_schedules.py")), *options], plugins=[collector]
    )
    lines = [
        "# Speed and memory of the theory",
        "",
        "Written by `python tests/benchmarks/report.py`. 200 log-spaced times over 7 decades, or every step of a schedule,",
        "1e9 modes, alpha = 1.5, r = 0.4; medians of 15 rounds on one thread. The unit is the least arithmetic that one",
        "curve needs, measured for each case.",
        "",
        "| case | units a curve | limit | ms a curve | unit, ms |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['case']} | {row['units_per_curve']:.1f} | {row['limit']} | {row['milliseconds_per_curve']:.2f} "
        f"| {row['unit_ms']:.3f} |"
        for row in collector.rows
    ]
    lines += ["", "| case | peak memory above import, MB | limit |", "|---|---|---|"]
    lines += [f"| {name} | {value:.1f} | 50 |" for name, value in collector.recorded["peak_mb"].items()]
    lines += ["", "| schedule | time of 100,000 steps over that of 20,000 | limit |", "|---|---|---|"]
    lines += [f"| {name} | {value:.1f} | 5 |" for name, value in collector.recorded["growth"].items()]
    lines += ["", "| schedule of 2,000 steps | largest relative error beside single steps | limit |", "|---|---|---|"]
    lines += [f"| {name} | {value:.0e} | 1e-05 |" for name, value in collector.recorded["accuracy"].items()]
    lines += ["", f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}.", ""]
    (HERE / "RESULTS.md").write_text("\n".join(lines), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
