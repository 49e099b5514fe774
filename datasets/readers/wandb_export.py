"""Charts that Weights & Biases exports as CSV: an axis, and three columns for each run and metric."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scalingeq.errors import DataError

from .delimited import first_rows, read_table
from .log import Log

FORMAT = "Weights & Biases CSV export of a chart"

BETWEEN = " - "
BOUNDS = ("__MIN", "__MAX")


def can_read(head: bytes, name: str) -> bool:
    """Tell an export by its header: an axis, then metrics of runs, each with its bounds.

    Parameters
    ----------
    head : bytes
        Beginning of the file.
    name : str
        Not needed.

    Returns
    -------
    bool

    Examples
    --------
    >>> can_read(b'"Step","wide - loss","wide - loss__MIN","wide - loss__MAX"', "export.csv")
    True
    >>> can_read(b"Step,loss", "export.csv")
    False
    """
    names = next(first_rows(head), [])
    known = set(names)
    return any(name and name + BOUNDS[0] in known for name in names[1:])


def read(path: str | os.PathLike[str]) -> list[Log]:
    r"""Read the runs of one exported chart.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    list of Log
        One for each run (or group, ``Group: ...``), in the order of the columns, with the chart's axis (``Step``,
        ``epoch``, ``Relative Time (Process)``, ...) under its own name and, for each metric, ``<metric>``,
        ``<metric>__MIN`` and ``<metric>__MAX``. Rows where a run has no value are not its rows. Runs of one name are
        numbered, ``wide (2)``.

    Raises
    ------
    ArchiveError
        If the file cannot be read.
    DataError
        If it is no such export.

    Notes
    -----
    Names of runs and of metrics may contain the " - " that stands between them. The names are taken that make a whole
    table of runs by metrics, with as few of it in metrics as can be; see :func:`split_names`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "export.csv"
    >>> _ = path.write_text('"Step","a - loss","b - v2 - loss"\n"0","3.0",""\n"5","2.5","2.75"\n')
    >>> for log in read(path):
    ...     print(log.name, log.columns)
    a {'Step': array([0., 5.]), 'loss': array([3. , 2.5])}
    b - v2 {'Step': array([5.]), 'loss': array([2.75])}
    """
    source = os.fspath(path)
    (axis_name, *names), (axis, *columns) = read_table(path)
    if axis is None or not names:
        raise DataError(f"{source}: line 1: expected an axis of numbers first and a column '<run> - <metric>' after it")
    known = set(names)
    bases = {name: _base(name, known) for name in known}
    split = split_names(bases.values())
    runs: dict[str, dict[str, NDArray[np.float64]]] = {}
    seen: Counter[str] = Counter()
    for name, column in zip(names, columns, strict=True):
        seen[name] += 1
        if column is None:
            continue
        run, metric = split[bases[name]]
        run = run or Path(path).stem
        run = run if seen[name] == 1 else f"{run} ({seen[name]})"
        runs.setdefault(run, {})[metric + name.removeprefix(bases[name])] = column
    logs = []
    for run, values in runs.items():
        rows = ~np.logical_and.reduce([np.isnan(column) for column in values.values()])
        if rows.any():
            logs.append(
                Log(run, {axis_name: axis[rows]} | {name: column[rows] for name, column in values.items()}, source=source)
            )
    if not logs:
        raise DataError(f"{source}: no value in any row, expected numbers below '<run> - <metric>'")
    return logs


def split_names(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Split the names of columns into runs and metrics.

    Where names allow more than one split, the first column's splits are tried: one after which the columns are exactly
    every run with every metric is taken, that with the fewest " - " in metrics if several are. Where none is (a run
    lacks a metric), the last " - " of each name stands between run and metric.

    Parameters
    ----------
    names : iterable of str
        Without bounds.

    Returns
    -------
    dict of str to tuple of str
        Run, empty where a name has no " - ", and metric.

    Examples
    --------
    >>> split_names(["a - loss", "a - eval - loss", "b - loss", "b - eval - loss"])["b - eval - loss"]
    ('b', 'eval - loss')
    """
    names = set(names)
    last = {name: ("", name) if BETWEEN not in name else _halves(name)[-1] for name in names}
    ambiguous = [name for name in names if name.count(BETWEEN) > 1]
    if not ambiguous or any(BETWEEN not in name for name in names):
        return last
    tables = []
    for run, metric in _halves(min(names)):
        metrics = {name.removeprefix(run + BETWEEN) for name in names if name.startswith(run + BETWEEN)}
        runs = {name.removesuffix(BETWEEN + metric) for name in names if name.endswith(BETWEEN + metric)}
        tables += [
            {r: metrics for r in runs if all(r + BETWEEN + m in names for m in metrics)},
            dict.fromkeys(runs, {m for m in metrics if all(r + BETWEEN + m in names for r in runs)}),
        ]
    found = []
    for table in tables:
        split = {run + BETWEEN + metric: (run, metric) for run, metrics in table.items() for metric in metrics}
        if len(split) == len(names):
            found.append(split)
    return min(found, default=last, key=lambda split: sum(metric.count(BETWEEN) for _, metric in split.values()))


def _halves(name: str) -> list[tuple[str, str]]:
    """Each way to take a name apart."""
    parts = name.split(BETWEEN)
    return [(BETWEEN.join(parts[:i]), BETWEEN.join(parts[i:])) for i in range(1, len(parts))]


def _base(name: str, names: Set[str]) -> str:
    """Column that a bound belongs to; a column that is no bound is its own."""
    for bound in BOUNDS:
        if name.endswith(bound) and name.removesuffix(bound) in names:
            return name.removesuffix(bound)
    return name
