"""Charts that Weights & Biases exports as CSV: an axis, and three columns for each run and metric."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np

from scalingeq.errors import DataError

from .columns import Floats
from .delimited import first_rows, read_table
from .log import Log

FORMAT = "Weights & Biases CSV export of a chart"

BETWEEN = " - "
BOUNDS = ("__MIN", "__MAX")
COUNT = re.compile(r" \(\d+\)$")


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
    DataError
        If it cannot be read or is no such export.

    Notes
    -----
    Names of runs and of metrics may contain the " - " that stands between them: :func:`split_names` tells what is taken.

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
    axis, *names = table = read_table(path)
    if not names or BETWEEN in axis or axis + BOUNDS[0] in table:
        raise DataError(f"{source}, line 1: expected an axis of numbers first and a column '<run> - <metric>' after it")
    parts = {name: _take_apart(name, table) for name in names}
    split = split_names(base for base, _, _ in parts.values())
    runs: dict[str, dict[str, Floats]] = {}
    for name, (base, bound, count) in parts.items():
        run, metric = split[base]
        runs.setdefault((run or Path(path).stem) + count, {})[metric + bound] = table[name]
    logs = []
    for run, columns in runs.items():
        rows = ~np.logical_and.reduce([np.isnan(column) for column in columns.values()])
        if rows.any():
            of_run = {axis: table[axis][rows]} | {name: column[rows] for name, column in columns.items()}
            logs.append(Log(run, of_run, source=source))
    if not logs:
        raise DataError(f"{source}: no value in any row, expected numbers below '<run> - <metric>'")
    return logs


def _take_apart(name: str, names: Container[str]) -> tuple[str, str, str]:
    """Column without what marks it as a bound and as that of another run of one name, and these two."""
    counted = COUNT.search(name)
    count = counted[0] if counted and name.removesuffix(counted[0]) in names else ""
    base = name.removesuffix(count)
    for bound in BOUNDS:
        if base.endswith(bound) and base.removesuffix(bound) in names:
            return base.removesuffix(bound), bound, count
    return base, "", count


def split_names(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Split the names of columns into runs and metrics.

    The last " - " of each column stands between run and metric, unless fewer names (or as many, with fewer " - " in
    metrics) make the columns exactly every run with every metric.

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
    splits = [last]
    for run, metric in _halves(min(names)):
        metrics = {name.removeprefix(run + BETWEEN) for name in names if name.startswith(run + BETWEEN)}
        runs = {name.removesuffix(BETWEEN + metric) for name in names if name.endswith(BETWEEN + metric)}
        for rows, columns in (
            ({r for r in runs if all(r + BETWEEN + m in names for m in metrics)}, metrics),
            (runs, {m for m in metrics if all(r + BETWEEN + m in names for r in runs)}),
        ):
            table = {row + BETWEEN + column: (row, column) for row in rows for column in columns}
            if len(table) == len(names):
                splits.append(table)
    return min(splits, key=_size)


def _size(split: dict[str, tuple[str, str]]) -> tuple[int, int]:
    """Names that a split needs, and the " - " in those of metrics."""
    runs, metrics = map(set, zip(*split.values(), strict=True))
    return len(runs) + len(metrics), sum(metric.count(BETWEEN) for metric in metrics)


def _halves(name: str) -> list[tuple[str, str]]:
    """Each way to take a name apart."""
    parts = name.split(BETWEEN)
    return [(BETWEEN.join(parts[:i]), BETWEEN.join(parts[i:])) for i in range(1, len(parts))]
