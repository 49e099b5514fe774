"""Measured frontiers as labelled datasets: the lower envelope of curves, and the minima of IsoFLOP curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from scalingeq.errors import ParameterError, raise_problems
from scalingeq.inference.curves import Floats, TrainingCurves
from scalingeq.inference.envelope import Envelope, lower_envelope
from scalingeq.inference.frontier import FLOPS_RULES, FlopsRule
from scalingeq.inference.measured_losses import budgets, last_points, losses_at
from scalingeq.inference.parabolas import IsoFLOP, isoflop_minima
from scalingeq.inference.power_fits import PowerFit

POINTS = 100  # of an envelope, where no compute is given
QUANTITIES = ("loss", "params", "tokens")


def envelope_dataset(
    curves: TrainingCurves, compute: Any, flops: str | FlopsRule, last: bool, units: Mapping[str, str]
) -> xr.Dataset:
    """Label the lower envelope of measured curves; the default ``compute`` is where three sizes or more have a loss."""
    curves, rule = _checked(curves, compute, flops, last)
    if compute is None:
        measured = budgets(curves, rule)
        compute = np.geomspace(measured[0], measured[-1], POINTS)
    at = np.atleast_1d(np.asarray(compute, float))
    found = lower_envelope(losses_at(curves, at, rule), rule)
    ds = _common(found, at, units, "lowest measured")
    texts = {
        "loss_stderr": ("standard error of the log of the lowest measured loss", "1"),
        "params_low": ("smallest size not told from the best", "1"),
        "params_high": ("largest size not told from the best", "1"),
        "is_inside": ("whether smaller and larger models were measured at this compute as well", "1"),
    }
    for name, (text, unit) in texts.items():
        values = getattr(found, name)
        ds[name] = ("compute", values.astype(np.int8) if values.dtype == bool else values, _about(text, unit))
    names = np.where(found.run >= 0, curves.name[found.run], "")
    ds["run"] = ("compute", names.astype(str), _about("run of the lowest measured loss", "1"))
    return _noted(ds, curves, flops, last)


def isoflop_dataset(
    curves: TrainingCurves, compute: Any, flops: str | FlopsRule, reach: float, last: bool, units: Mapping[str, str]
) -> xr.Dataset:
    """Label the minima of IsoFLOP curves; the default ``compute`` are 12 log-spaced ones, or those of a table."""
    if not (np.isfinite(reach) and reach > 1):
        raise ParameterError(f"reach: {reach:g} is no factor above 1; pass one such as 2")
    curves, rule = _checked(curves, compute, flops, last)
    at = budgets(curves, rule) if compute is None else np.atleast_1d(np.asarray(compute, float))
    losses = losses_at(curves, at, rule)
    found = isoflop_minima(losses, reach=reach, flops=rule)
    ds = _common(found, at, units, "IsoFLOP minimum:")
    texts = {
        "loss_stderr": ("standard error of the log of the loss at the IsoFLOP minimum", "1"),
        "params_stderr": ("standard error of the log of the size at the IsoFLOP minimum", "1"),
        "curvature": ("second derivative of log loss in log size at the IsoFLOP minimum", "1"),
    }
    for name, (text, unit) in texts.items():
        ds[name] = ("compute", getattr(found, name), _about(text, unit))
    ds = ds.assign_coords(
        run=("run", curves.name, _about("run", "1")), run_params=("run", curves.params, _about("model size", "1"))
    )
    ds["run_loss"] = (
        ("compute", "run"),
        np.exp(losses.log_loss),
        _about("test loss", units["loss"]),
    )
    ds["is_used"] = (
        ("compute", "run"),
        found.used.astype(np.int8),
        _about("whether the parabola goes through it", "1"),
    )
    ds["spread"] = ((), found.spread, _about("scatter of the log losses around the parabolas", "1"))
    return _noted(ds, curves, flops, last)


def _checked(
    curves: TrainingCurves, compute: Any, flops: str | FlopsRule, last: bool
) -> tuple[TrainingCurves, FlopsRule]:
    problems = [] if compute is None else compute_problems(compute)
    raise_problems(problems + flops_problems(flops), ParameterError)
    return last_points(curves) if last else curves, FLOPS_RULES[flops] if isinstance(flops, str) else flops


def units_of(ds: xr.Dataset) -> dict[str, str]:
    """Units of the loss and of the tokens of a checked record.

    Examples
    --------
    >>> import scalingeq
    >>> units_of(scalingeq.datasets.load("stdlib-lm"))
    {'loss': 'nats per byte', 'tokens': 'bytes'}
    """
    return {"loss": str(ds["loss"].attrs["units"]), "tokens": str(ds["batch_size"].attrs["units"])}


def compute_problems(compute: Any) -> list[str]:
    """What is wrong with computes.

    Examples
    --------
    >>> compute_problems([1e15, 1e16]), len(compute_problems(-1.0))
    ([], 1)
    """
    values = np.atleast_1d(np.asarray(compute, float))
    if values.ndim == 1 and values.size and (np.isfinite(values) & (values > 0)).all():
        return []
    return ["compute: not all positive and finite FLOPs; pass numbers such as np.geomspace(1e18, 1e24, 49)"]


def flops_problems(flops: Any) -> list[str]:
    """What is wrong with a rule of compute.

    Examples
    --------
    >>> flops_problems("6ND"), len(flops_problems("8ND"))
    ([], 1)
    """
    if not isinstance(flops, str) or flops in FLOPS_RULES:
        return []
    return [f"flops: no rule {flops!r}; known are {', '.join(FLOPS_RULES)}, or pass a function of (params, tokens)"]


def _common(found: Envelope | IsoFLOP, compute: Floats, units: Mapping[str, str], what: str) -> xr.Dataset:
    """Loss, params and tokens over compute, and their power laws over ``quantity``."""
    words = {"loss": "test loss", "params": "model size", "tokens": "tokens seen"}
    ds = xr.Dataset(coords={"compute": ("compute", compute, _about("training compute", "FLOP"))})
    for name in QUANTITIES:
        ds[name] = ("compute", getattr(found, name), _about(f"{what} {words[name]}", units.get(name, "1")))
    fits: list[PowerFit] = [found.fits[name] for name in QUANTITIES]
    about = {
        "coefficient": "value of the power law at a compute of one FLOP, in the unit of each quantity",
        "exponent": "exponent in compute of the power law through this frontier (of the loss: what is irreducible included)",
        "stderr": "standard error of the exponent in compute",
    }
    ds = ds.assign_coords(quantity=("quantity", list(QUANTITIES), _about("quantity on the frontier", "1")))
    for key, text in about.items():
        name = {"stderr": "exponent_stderr"}.get(key, key)
        ds[name] = ("quantity", [getattr(fit, key) for fit in fits], _about(text, "1"))
    return ds


def _noted(ds: xr.Dataset, curves: TrainingCurves, flops: str | FlopsRule, last: bool) -> xr.Dataset:
    ds.attrs["flops"] = flops if isinstance(flops, str) else getattr(flops, "__name__", "function")
    falling = np.isin(list(curves.schedules), np.unique(curves.run)).sum()
    if falling and not last:
        ds.attrs["note"] = (
            f"{falling} runs follow a schedule: their losses before its end are not those of runs planned for that "
            "compute; last=True takes the end of each run alone"
        )
    return ds


def _about(long_name: str, units: str) -> dict[str, str]:
    return {"long_name": long_name, "units": units}
