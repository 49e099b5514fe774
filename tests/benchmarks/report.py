"""Run the benchmarks and write what they measured to the tables beside this file.

``python tests/benchmarks/report.py`` runs all of them, ``python tests/benchmarks/report.py speed laws`` some topics and
keeps the other numbers, which lie in measured.json. With ``--tables`` it runs none and writes the tables again.
"""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

# One core, as the yardstick counts: linear algebra libraries read this when they are loaded.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np
import pytest
from tables import fits, frontiers, measured, speed

HERE = Path(__file__).parent
MEASURED = HERE / "measured.json"
#: Which files measure a topic.
TOPICS = {
    "comparisons": ("test_alternatives.py", "test_joint_fit.py", "test_small_fits.py"),
    "speed": ("test_speed.py",),
    "schedules": ("test_schedules.py",),
    "costs": ("test_growth.py", "test_peak_memory.py", "test_profile.py"),
    "start": ("test_latency.py",),
    "bulk": ("test_cluster.py",),
    "laws": ("test_laws.py",),
    "logs": ("test_readers.py", "test_text_readers.py"),
    "recovery": ("test_recovery.py",),
    "choices": ("test_choices.py", "test_noise_spectrum.py"),
    "measured": ("test_measured_schedules.py", "test_laws_measured.py"),
    "frontiers": ("test_frontiers.py",),
}
#: Sections of RESULTS.md.
SECTIONS = {
    "comparisons": speed.comparisons,
    "speed": speed.speed,
    "schedules": speed.schedules,
    "costs": speed.costs,
    "start": speed.others("Import and first curves", "process"),
    "bulk": speed.others("Clusters and what outgrows memory", "case"),
    "laws": fits.laws,
    "logs": speed.others("Readers of logs", "reader"),
    "recovery": fits.recovery,
    "choices": fits.choices,
}
FILES = {"measured": ("MEASURED.md", measured.lines), "frontiers": ("FRONTIERS.md", frontiers.lines)}


class Collector:
    """Keeps what the benchmarks of this process record."""

    def __init__(self):
        self.cases, self.recorded = [], {}

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            for name, values in report.user_properties:
                self.recorded.setdefault(name, {}).update(values)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        for benchmark in session.config._benchmarksession.benchmarks:
            if benchmark.extra_info:
                name = benchmark.name.removeprefix("test_").replace("_", " ")
                self.cases.append({"case": name} | benchmark.extra_info)


def measure(topic):
    """Run the benchmarks of a topic: exit status, and what they recorded."""
    files = [str(HERE / name) for name in TOPICS[topic] if (HERE / name).exists()]
    if not files:
        return 0, None
    collector = Collector()
    options = ["-q", "-o", "addopts=--import-mode=importlib --strict-markers", "-p", "no:cacheprovider"]
    options += ["--benchmark-timer=time.process_time"]  # what else the machine does is no matter
    status = pytest.main([*files, *options, "-m", "exhaustive or not exhaustive"], plugins=[collector])
    if not (collector.cases or collector.recorded):
        return status, None
    machine = (
        f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}; "
        f"load of {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    )
    return status, {"cases": collector.cases, **collector.recorded, "machine": machine}


def stored():
    """What was measured last, topic by topic."""
    return json.loads(MEASURED.read_text()) if MEASURED.exists() else {}


def write(found):
    """Write the tables from what was measured, topic by topic."""
    lines = [
        "# Speed and memory",
        "",
        "Written by `python tests/benchmarks/report.py` from measured.json, on one thread. Unless told otherwise the spectrum has",
        "1e9 modes, alpha = 1.5, r = 0.4. The unit is the least arithmetic that one curve needs (conftest), measured in the",
        "same run. Targets that are missed say so.",
    ]
    for topic, section in SECTIONS.items():
        if topic in found:
            recorded = dict(found[topic])
            machine = recorded.pop("machine")
            lines += [*section(**recorded), "", f"{machine}."]
    (HERE / "RESULTS.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
    for topic, (name, section) in FILES.items():
        if topic in found:
            recorded = {key: value for key, value in found[topic].items() if key not in ("cases", "machine")}
            (HERE / name).write_text("\n".join(section(**recorded)), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="*", metavar="topic", help=", ".join(TOPICS))
    parser.add_argument("--tables", action="store_true", help="write the tables from the numbers that are there")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.topics) - set(TOPICS)):
        parser.error(f"no topic {', '.join(unknown)}; there are {', '.join(TOPICS)}")
    strays = {path.name for path in HERE.glob("test_*.py")} - {name for names in TOPICS.values() for name in names}
    if strays:
        parser.error(f"{', '.join(sorted(strays))}: no topic of the report has it")
    worst = 0
    for topic in [] if arguments.tables else arguments.topics or TOPICS:
        status, recorded = measure(topic)
        worst = max(worst, status)
        if recorded is not None:
            # At once: whatever ends the rest loses nothing.
            MEASURED.write_text(json.dumps(stored() | {topic: recorded}, indent=1, default=float) + "\n")
    write(stored())
    return worst


if __name__ == "__main__":
    sys.exit(main())
