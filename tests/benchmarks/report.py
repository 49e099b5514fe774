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
FITTED = ("constant_24000", "cosine_24000", "wsdcon_9")


class Collector:
    """Keeps what the benchmarks of this process record."""

    def __init__(self):
        self.rows, self.recorded = [], {"peak_mb": {}, "growth": {}, "accuracy": {}}
        self.recorded["memory"] = {}
        self.measured = {"schedules": {}, "parameters": {}, "noise": {}}

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            for name, values in report.user_properties:
                (self.recorded | self.measured)[name].update(values)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        self.rows = [(b.name, b.extra_info) for b in session.config._benchmarksession.benchmarks]


def main():
    collector = Collector()
    options = ["-q", "-o", "addopts=--import-mode=importlib --strict-markers", "-p", "no:cacheprovider"]
    options += ["-m", "exhaustive or not exhaustive"]
    status = pytest.main([str(HERE), *options], plugins=[collector])
    lines = [
        "# Speed and memory",
        "",
        "Written by `python tests/benchmarks/report.py`. The theory: 200 log-spaced times over 7 decades, or every step of a",
        "schedule, 1e9 modes, alpha = 1.5, r = 0.4; medians of 15 rounds on one thread. The unit is the least arithmetic that",
        "one curve needs, measured for each case.",
        "",
        "| case | units a curve | limit | ms a curve | unit, ms |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['case']} | {row['units_per_curve']:.1f} | {row['limit']} | {row['milliseconds_per_curve']:.2f} "
        f"| {row['unit_ms']:.3f} |"
        for _, row in collector.rows
        if "units_per_curve" in row
    ]
    lines += ["", "| case | peak memory above import, MB | limit |", "|---|---|---|"]
    lines += [f"| {name} | {value:.1f} | 50 |" for name, value in collector.recorded["peak_mb"].items()]
    lines += ["", "| schedule | time of 100,000 steps over that of 20,000 | limit |", "|---|---|---|"]
    lines += [f"| {name} | {value:.1f} | 5 |" for name, value in collector.recorded["growth"].items()]
    lines += ["", "| schedule of 2,000 steps | largest relative error beside single steps | limit |", "|---|---|---|"]
    lines += [f"| {name} | {value:.0e} | 1e-05 |" for name, value in collector.recorded["accuracy"].items()]
    lines += ["", "| case | measured |", "|---|---|"]
    for name, row in collector.rows:
        if row and "units_per_curve" not in row:
            case = row.get("case", name.removeprefix("test_").replace("_", " "))
            values = [f"{key.replace('_', ' ')}: {value:,.3g}" for key, value in row.items() if key != "case"]
            lines.append(f"| {case} | {'; '.join(values)} |")
    for name, row in collector.recorded["memory"].items():
        lines.append(f"| {name} | {'; '.join(f'{what}, MB: {size / 1e6:.0f}' for what, size in row.items())} |")
    lines += ["", f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}.", ""]
    (HERE / "RESULTS.md").write_text("\n".join(lines), encoding="utf-8")
    if collector.measured["schedules"]:
        (HERE / "MEASURED.md").write_text("\n".join(measured(**collector.measured)), encoding="utf-8")
    return status


def measured(schedules, parameters, noise):
    """Lines about the fits to measured schedules."""
    return [
        "# Fits to training runs under measured schedules",
        "",
        "Written by `python tests/benchmarks/report.py` from records made by others, which do not come with the package.",
        "",
        "## Unseen schedules",
        "",
        "Llama-style models of 25M and 100M parameters under nine schedules (arXiv:2503.12811). `ds.twopoint.fit()` of",
        f"{', '.join(FITTED)}; RMSE in nats over all logged points of six others, and the published mean of the",
        "7-parameter MultiPowerLaw fitted to the same three.",
        "",
        *table("model", schedules, "{:.5f}".format),
        "",
        "Its seven free parameters, with standard errors:",
        "",
        *table("model", parameters, lambda pair: "{:.4g} ± {:.2g}".format(*pair)),
        "",
        "## Noise",
        "",
        "Multilayer perceptrons in muP (arXiv:2507.02119) under const, linear and multicosine, fitted together for each",
        "width, beside `Buvar`, the measured preconditioned noise of their gradients, in the run of constant rate after",
        "its first 2 %. A settled loss of noise is Buvar/4 in units of the peak rate over the batch, and",
        "noise_rate Tr(Sigma) L / 2 in the theory.",
        "",
        *table("width", noise, "{:.3g}".format),
        "",
    ]


def table(head, rows, text):
    """Lines of a table of nested mappings."""
    names = list(next(iter(rows.values()), {}))
    lines = [f"| {head} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    return lines + [f"| {row} | {' | '.join(text(values[name]) for name in names)} |" for row, values in rows.items()]


if __name__ == "__main__":
    sys.exit(main())
