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
        self.rows, self.recorded = [], {"peak_mb": {}, "growth": {}, "accuracy": {}, "ratios": {}}
        self.recorded |= {"memory": {}, "laws": {}, "derivatives": {}, "recovery": {}}
        self.measured = {"schedules": {}, "parameters": {}, "noise": {}, "schedule_laws": {}, "penalties": {}}
        self.frontiers = {"ladders": {}, "fitted": {}, "isoflop": {}}

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            for name, values in report.user_properties:
                (self.recorded | self.measured | self.frontiers)[name].update(values)

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
        "schedule, 1e9 modes, alpha = 1.5, r = 0.4; medians of 15 rounds on one thread, in time of the process. The unit is",
        "the least arithmetic that one curve needs, measured for each case.",
        "",
        "| case | units a curve | target | met | ms a curve | unit, ms |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['case']} | {beside(row['units_per_curve'], row['target'])} "
        f"| {row['milliseconds_per_curve']:.2f} | {row['unit_ms']:.3f} |"
        for _, row in collector.rows
        if "units_per_curve" in row
    ]
    lines += ["", "| case | peak memory above import, MB | limit |", "|---|---|---|"]
    lines += [f"| {name} | {value:.1f} | 50 |" for name, value in collector.recorded["peak_mb"].items()]
    for head, part in (
        ("schedule | time of 100,000 steps over that of 20,000", "growth"),
        ("schedule | time of the loss with all derivatives over that of the loss", "derivatives"),
        ("evaluation | ratio, or exponent of growth", "ratios"),
    ):
        lines += ["", f"| {head} | target | met |", "|---|---|---|---|"]
        lines += [f"| {name} | {beside(*pair)} |" for name, pair in collector.recorded[part].items()]
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
    lines += ["", "| fit of a law | measured |", "|---|---|"]
    for name, row in collector.recorded["laws"].items():
        lines.append(f"| {name} | {'; '.join(f'{what}: {value:.9g}' for what, value in row.items())} |")
    if collector.recorded["recovery"]:
        lines += [
            "",
            "400 synthetic records fitted (`test_recovery.py`): share of intervals that hold the truth, probability of one as",
        ]
        lines += ["far from nominal, mean error and scatter in standard errors.", ""]
        lines += table("quantity", collector.recorded["recovery"], "{:.3f}".format)
    lines += ["", f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}.", ""]
    (HERE / "RESULTS.md").write_text("\n".join(lines), encoding="utf-8")
    if collector.measured["schedules"]:
        (HERE / "MEASURED.md").write_text("\n".join(measured(**collector.measured)), encoding="utf-8")
    if collector.frontiers["isoflop"]:
        (HERE / "FRONTIERS.md").write_text("\n".join(frontiers(**collector.frontiers)), encoding="utf-8")
    return status


def frontiers(ladders, fitted, isoflop):
    """Lines about frontiers beside published ones."""
    return [
        "# Frontiers beside published ones",
        "",
        "Written by `python tests/benchmarks/report.py` from records made by others, which do not come with the package.",
        "Numbers are exponents of the optimal size in compute, 6 times params times tokens.",
        "",
        "## Ladders of models",
        "",
        "Models of arXiv:2507.02119, eight sizes a task, each trained on a linear decay of its rate to the compute that the",
        "authors' frontier plans for it: the ends of mlp have that exponent by design, those of c5m, as logged, do not. While",
        "all rates still fall, the smallest model that still runs is the best: these curves have no frontier inside. Of three",
        "sizes one alone can be inside, and parabolas through three points have no scatter to tell an error by: take those",
        "exponents for what they are. The theory is `ds.twopoint.fit()` of one run a size, 15 points each, its frontier at",
        "the geometric mean of the ends.",
        "",
        *table("runs", ladders, str),
        "",
        *(table("theory fitted to", fitted, str) if fitted else ["The fits were not part of this run."]),
        "",
        "## Tables of final losses",
        "",
        "Set-ups of arXiv:2406.19146: data, hyperparameters, warm-up, decay, how params count, loss. Parabolas of",
        "`ds.twopoint.isoflop()` through the sizes next to the best; published are exponents of the authors' minima, which",
        "come from interpolation of their own, some budgets left out. Errors know the scatter around the parabolas, not the",
        "choice of a parabola.",
        "",
        *table("set-up", isoflop, str),
        "",
    ]


def measured(schedules, parameters, noise, schedule_laws, penalties):
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
        "Other laws fitted to the same three, and the mean over the six of the RMSE; `ds.laws.fit(...)` knows the",
        "schedules as recorded, every 128 steps, the true ones have their jumps where they were:",
        "",
        *table("law, M parameters", schedule_laws, "{:.5f}".format),
        "",
        "The published parameters of MultiPowerLaw are not at the minimum of their objective, the sum of Huber penalties",
        "with a threshold of 1e-3 on the log loss:",
        "",
        *table("M parameters", penalties, "{:.2e}".format),
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


def beside(value, target):
    """Cells of a table: what was measured, what was aimed at, if anything was, and whether it was reached."""
    return f"{value:.2f} |  | " if target is None else f"{value:.2f} | {target} | {'yes' if value <= target else 'no'}"


def table(head, rows, text):
    """Lines of a table of nested mappings."""
    names = list(next(iter(rows.values()), {}))
    lines = [f"| {head} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    return lines + [f"| {row} | {' | '.join(text(values[name]) for name in names)} |" for row, values in rows.items()]


if __name__ == "__main__":
    sys.exit(main())
