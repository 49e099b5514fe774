"""Make ``stdlib_lm.nc``: transformers trained on the Python standard library, from nothing to labelled curves.

``python -m scalingeq.datasets.recipes.stdlib_lm train --folder RUNS`` trains (again: resumes) every run of the plan,
which needs ``pip install 'scalingeq[recipes]'``; ``... assemble --folder RUNS --output stdlib_lm.nc`` labels what has
been trained and writes its card beside it.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import click

from .corpus import load_corpus
from .plan import Plan, plans


@click.group()
def main() -> None:
    """Train byte-level transformers on the Python standard library and label their curves."""


@main.command("train")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), required=True, help="Where runs are kept.")
@click.option("--processes", type=click.IntRange(min=1), default=2, show_default=True, help="Runs at a time.")
def train_all(folder: Path, processes: int) -> None:
    """Train every run of the plan that FOLDER does not hold yet; resumes those that were stopped."""
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


@main.command("assemble")
@click.option(
    "--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="The runs."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="NetCDF file to write.")
def assemble_all(folder: Path, output: Path) -> None:
    """Label the runs in FOLDER as OUTPUT, and write their card beside it (.md)."""
    from .assemble import assemble, card, read_runs

    ds = assemble(read_runs(folder), load_corpus(), [plan.name for plan in plans()])
    packed = {name: {"zlib": True, "complevel": 9} for name in ds.variables if ds[name].dtype.kind in "iuf"}
    ds.to_netcdf(output, engine="netcdf4", encoding=packed)
    output.with_suffix(".md").write_text(card(ds), encoding="utf-8")
    click.echo(
        f"{output}: {ds.sizes['run']} runs, {output.stat().st_size / 1e3:.0f} kB; missing: {ds.attrs['missing_runs']}"
    )


_worker: dict[str, Any] = {}


def _start_worker(done: Any) -> None:
    _worker.update(done=done, corpus=load_corpus())


def _train_one(plan: Plan, folder: Path) -> None:
    from .training import train

    def report(count: int) -> None:
        with _worker["done"].get_lock():
            _worker["done"].value += count

    train(plan, _worker["corpus"], folder, report)


if __name__ == "__main__":
    main()
