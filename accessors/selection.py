"""Which observations a ``hold_out`` selection names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from scalingeq.errors import DataError, raise_problems
from scalingeq.inference.curves import TrainingCurves

PER_RUN = ("params", "learning_rate", "batch_size", "dataset_size", "warmup_steps")
PER_OBSERVATION = ("step", "tokens", "loss")


def selected(ds: xr.Dataset, curves: TrainingCurves, selection: Mapping[str, Any] | None) -> np.ndarray:
    """Mask (obs,) of the observations for which every entry of ``selection`` holds.

    An entry is a name (of a coordinate over runs, or ``step`` and ``tokens``) and ``"largest"``, ``"smallest"``, a
    slice of values with both ends included, a list of values, or one value.
    """
    if not selection:
        return np.zeros(curves.run.size, bool)
    chosen = np.ones(curves.run.size, bool)
    problems = []
    for name, wanted in selection.items():
        values = _values(ds, curves, name)
        if values is None:
            known = [*PER_RUN, *PER_OBSERVATION, *(str(c) for c in ds.coords if ds[c].dims == ("run",))]
            problems.append(
                f"hold_out: no coordinate {name!r} over runs or observations; pass one of {sorted(set(known))}"
            )
            continue
        match = _match(values, wanted)
        if not match.any():
            problems.append(f"hold_out: no observation has {name} = {wanted!r}; its values are {_summary(values)}")
        chosen &= match
    raise_problems(problems, DataError)
    problems = []
    if not chosen.any():
        problems.append(f"hold_out: no observation fulfils all of {dict(selection)!r} at once; relax one entry")
    elif chosen.all():
        problems.append(f"hold_out: every observation fulfils {dict(selection)!r}; leave something to fit")
    raise_problems(problems, DataError)
    return chosen


def _values(ds: xr.Dataset, curves: TrainingCurves, name: str) -> np.ndarray | None:
    if name in PER_OBSERVATION:
        return np.asarray(getattr(curves, name))
    if name in PER_RUN:
        return np.asarray(getattr(curves, name)[curves.run])
    if name == "run":
        return np.asarray(curves.name[curves.run])
    if name in ds.coords and ds[name].dims == ("run",):
        # Runs are numbered in the order of the dataset, which the curves keep.
        labels = dict(zip(ds["run"].values.astype(str), ds[name].values, strict=True))
        return np.array([labels[run] for run in curves.name.astype(str)])[curves.run]
    return None


def _match(values: np.ndarray, wanted: Any) -> np.ndarray:
    if isinstance(wanted, str) and wanted in ("largest", "smallest") and values.dtype.kind in "iuf":
        return np.asarray(values == (values.max() if wanted == "largest" else values.min()))
    if isinstance(wanted, slice):
        low = values.min() if wanted.start is None else wanted.start
        high = values.max() if wanted.stop is None else wanted.stop
        return np.asarray((values >= low) & (values <= high))
    return np.isin(values, np.atleast_1d(wanted))


def _summary(values: np.ndarray) -> str:
    unique = np.unique(values)
    shown = [str(value) for value in unique[:8]]
    return ", ".join(shown) + (f", ... ({unique.size} in all)" if unique.size > 8 else "")
