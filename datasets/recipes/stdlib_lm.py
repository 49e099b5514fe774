"""Make ``stdlib_lm.nc``: transformers trained on the Python standard library, from nothing to labelled curves.

``python -m scalingeq.datasets.recipes.stdlib_lm train --folder RUNS`` trains (again: resumes) every run of the plan,
``... assemble --folder RUNS --output stdlib_lm.nc`` labels what has been trained. Needs ``pip install
'scalingeq[recipes]'``.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

from .corpus import load_corpus
from .training import Plan, train

WIDTHS = (16, 32, 48, 64, 80, 96, 128, 192)
MILLION = 1_000_000


def plans() -> list[Plan]:
    """Every run of the data set: first the sizes, then what identifies noise, data and schedule; long runs first."""
    sizes = [Plan(f"width-{w}", w, 10 * MILLION) for w in WIDTHS]
    batches = [Plan(f"width-64-batch-{b}", 64, 10 * MILLION, batch=b) for b in (2, 4, 32)]
    unique = [
        Plan(f"width-{w}-unique-{megabytes}MB", w, 10 * MILLION, unique_bytes=round(megabytes * MILLION))
        for w in (32, 96)
        for megabytes in (0.1, 0.4, 1.6, 6.4)
    ]
    cosine = [Plan(f"width-{w}-cosine", w, 3 * MILLION, schedule="cosine") for w in (16, 32, 48, 64, 96, 128)]
    seeds = [Plan(f"width-{w}-seed-{s}", w, 10 * MILLION, seed=s) for w in (16, 32, 64) for s in (1, 2)]
    return [plan for group in (sizes, batches, unique, cosine, seeds) for plan in sorted(group, key=lambda p: -p.width)]


def train_all(folder: Path, processes: int) -> None:
    """Train every run of the plan in ``folder``, ``processes`` at a time, with a progress bar over all bytes."""
    from tqdm import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")  # forked threads of the tensor library hang
    done: Any = context.Value("q", 0)
    with context.Pool(processes, initializer=_start_worker, initargs=(done,)) as pool:
        pending = [pool.apply_async(_train_one, (plan, folder)) for plan in plans()]
        total = sum(plan.total_bytes for plan in plans())
        with tqdm(total=total, unit="B", unit_scale=True, mininterval=10.0) as bar:
            for result in pending:
                while not result.ready():
                    result.wait(5.0)
                    bar.update(done.value - bar.n)
                result.get()


_worker: dict[str, Any] = {}


def _start_worker(done: Any) -> None:
    _worker.update(done=done, corpus=load_corpus())


def _train_one(plan: Plan, folder: Path) -> None:
    def report(count: int) -> None:
        with _worker["done"].get_lock():
            _worker["done"].value += count

    train(plan, _worker["corpus"], folder, report)


if __name__ == "__main__":
    import sys
    train_all(Path(sys.argv[1]), 2)
