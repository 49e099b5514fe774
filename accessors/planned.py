"""The best plans at given computes as a labelled dataset, and in words what the data cannot tell of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from scalingeq.errors import ParameterError
from scalingeq.inference.curves import Floats, TrainingCurves
from scalingeq.inference.frontier import FlopsRule
from scalingeq.inference.planning import SHAPES, Limits, Plan, Planner, is_noise_identified
from scalingeq.inference.uncertainty import propagate

from .groups import FittedLaw

Range = tuple[float, float]


def plan_problems(schedules: Sequence[str], stability: float, ranges: Mapping[str, Range | float | None]) -> list[str]:
    """What is wrong with the options of a plan.

    Examples
    --------
    >>> plan_problems(("linear",), 0.5, {"batch_size": None, "learning_rate": (1e-3, 1e-2)})
    []
    """
    problems = [f"schedules: no {name!r}; known are {', '.join(SHAPES)}" for name in schedules if name not in SHAPES]
    if not schedules:
        problems.append(f"schedules: none; pass some of {', '.join(SHAPES)}")
    if not 0 < stability < 1:
        problems.append(
            f"stability: {stability:g} is not between 0 and 1; pass the share of the threshold to stay below"
        )
    for name, given in ranges.items():
        values = [] if given is None else np.atleast_1d(np.asarray(given, float)).tolist()
        if given is not None and not (
            1 <= len(values) <= 2 and all(0 < v < np.inf for v in values) and values[0] <= values[-1]
        ):
            problems.append(f"{name}: {given!r} is no positive number or pair (lowest, highest); pass one")
    return problems


def plan_dataset(
    law: FittedLaw,
    curves: TrainingCurves,
    compute: Floats,
    *,
    learning_rate: Range | float | None,
    batch_size: Range | float | None,
    schedules: Sequence[str],
    data_limit: float | None,
    stability: float,
    flops: FlopsRule,
    units: Mapping[str, str],
) -> xr.Dataset:
    """Label the best plan of each schedule at each compute."""
    ranges, notes = {}, []
    known = is_noise_identified(law.values, law.covariance)
    for name, given in (("learning_rate", learning_rate), ("batch_size", batch_size)):
        values = np.atleast_1d(np.asarray(getattr(curves, name) if given is None else given, float))
        ranges[name] = float(values.min()), float(values.max())
        if not known and values.min() < values.max():
            raise ParameterError(
                f"{name}: {values.min():g} to {values.max():g}, and {_unknown_noise(law)}, so that the theory cannot choose; "
                f"pass one value, {name}=..."
            )
    if not known:
        notes.append(
            f"{_unknown_noise(law)}: no batch size, learning rate or schedule is recommended; size and tokens are those of a "
            f"constant rate of {ranges['learning_rate'][0]:g} and batches of {ranges['batch_size'][0]:g}"
        )
        schedules = ("constant",)
    else:
        notes += _cannot_tell(curves)
    limits = Limits(ranges["learning_rate"], ranges["batch_size"], stability)
    limit = np.inf if data_limit is None else data_limit
    plans = []
    for budget in compute.tolist():
        planner = Planner(law.values, law.covariance, budget, law.reference_params, limits, limit, flops)
        plans.append([planner.best(shape) for shape in schedules])
    ds = _labelled(plans, compute, schedules, law.covariance, units)
    ds.attrs |= {"notes": "\n".join(notes), "data_limit": limit, "stability": stability}
    for name, (low, high) in ranges.items():
        ds.attrs |= {f"lowest_{name}": low, f"highest_{name}": high}
    return ds


def _unknown_noise(law: FittedLaw) -> str:
    value = law.values["noise_scale"]
    number = list(law.values).index("noise_scale")
    error = 0.0 if law.covariance is None else float(np.sqrt(law.covariance[number, number]))
    found = f"{value:.2g} ± {error:.2g}" if error > 0 else f"held at {value:g}"
    return f"the runs do not tell the noise of their batches (noise_scale {found})"


def _cannot_tell(curves: TrainingCurves) -> list[str]:
    """What a plan takes from the theory and not from the runs."""
    notes = [
        "the theory knows the ratio of the acting rate to the batch alone: smaller batches at smaller rates of the same "
        "ratio reach the same loss in more steps, until steps are too large for a gradient flow"
    ]
    if np.ptp(curves.batch_size) == 0:
        notes.append(
            "all runs have one batch size: that noise falls as one over the batch is the theory's, not the data's"
        )
    if np.unique([id(schedule) for schedule in curves.schedules.values()]).size < 2:
        notes.append(
            "fewer than two schedules were measured: what a decay of the rate gains is the theory's, not the data's"
        )
    return notes


def _labelled(
    plans: list[list[Plan]],
    compute: Floats,
    schedules: Sequence[str],
    covariance: Floats | None,
    units: Mapping[str, str],
) -> xr.Dataset:
    coords = {
        "compute": ("compute", compute, _about("training compute", "FLOP")),
        "schedule": ("schedule", list(schedules), _about("shape of the learning rate's schedule", "1")),
    }
    texts = {
        "loss": ("predicted test loss at the end of the run", units["loss"]),
        "loss_stderr": ("standard error of the log of the predicted loss from the fit's covariance", "1"),
        "params": ("model size", "1"),
        "tokens": ("tokens seen", units["tokens"]),
        "batch_size": ("tokens in a step", units["tokens"]),
        "learning_rate": ("highest learning rate of the schedule", "1"),
        "decay": ("share of the steps in which the rate falls", "1"),
        "stability": ("highest rate as a share of the rate at which SGD diverges", "1"),
    }
    dims = ("compute", "schedule")
    ds = xr.Dataset(coords=coords)
    for name, (text, unit) in texts.items():
        ds[name] = (dims, np.array([[getattr(plan, name) for plan in row] for row in plans]), _about(text, unit))
    ds["steps"] = ds["tokens"] / ds["batch_size"]
    ds["steps"].attrs = _about("optimiser steps", "1")
    words = [["; ".join(plan.limits) for plan in row] for row in plans]
    ds["at_limit"] = (dims, words, _about("what stopped at a limit", "1"))
    best = ds["loss"].values.argmin(axis=1)
    ds["best_schedule"] = ("compute", np.array(schedules)[best], _about("schedule of the lowest predicted loss", "1"))
    gain = np.array([[np.log(plan.loss / row[b].loss) for plan in row] for row, b in zip(plans, best, strict=True)])
    apart = np.array([[plan.gradient - row[b].gradient for plan in row] for row, b in zip(plans, best, strict=True)])
    matrix = np.zeros((apart.shape[-1],) * 2) if covariance is None else covariance
    ds["excess"] = (dims, gain, _about("log of the loss over that of the best schedule", "1"))
    ds["excess_stderr"] = (
        dims,
        propagate(apart, matrix),
        _about("standard error of the excess from the fit's covariance", "1"),
    )
    return ds


def _about(long_name: str, units: str) -> dict[str, str]:
    return {"long_name": long_name, "units": units}
