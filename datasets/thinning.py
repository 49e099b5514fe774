"""Smoothing and thinning of densely logged curves: averages in log-spaced bins of steps, with standard errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from scalingeq.errors import DataError, ParameterError, raise_problems
from scalingeq.inference import averaging

from .cleaning import NAMED_RUNS, combined_stderr, curves_to_clean, stretches
from .history import note
from .labels import label
from .rearranging import observations, rearranged

Floats = NDArray[np.float64]


def thin(ds: xr.Dataset, *, per_decade: float = 20) -> xr.Dataset:
    """Average the loss in log-spaced bins of steps, and say how sure each average is.

    Parameters
    ----------
    ds : xarray.Dataset
        Measured curves; rows without a loss are left out.
    per_decade : float, default 20
        Bins in a decade of the steps since the start of the run, or since the last jump of its learning rate or batch
        size: more where these change.

    Returns
    -------
    xarray.Dataset
        One observation a bin. ``loss`` is the mean, ``step`` the geometric mean (counted from the start or the last
        jump), where a loss that is straight in log step has that value; ``tokens``, ``learning_rate``, ``batch_size``
        and other coordinates are interpolated there, other data variables averaged, and text over observations dropped.
        ``loss_stderr`` is the standard error of each mean, aware of autocorrelation; where the record states errors of
        its own, at least what these leave after averaging, and never less than ``offset_stderr``.

    Raises
    ------
    ParameterError
        If ``per_decade`` is not a positive number.
    DataError
        If there is no loss or an infinite one, or steps do not ascend: :func:`join_restarts` and :func:`split_restarts` mend that.

    Notes
    -----
    No average crosses a jump of the learning rate or the batch size: a bin ends where either would be further than 5 %
    from any other value in the bin, and bins begin anew, as narrow as at the start, after observations that far apart. The
    last observation before such a jump is kept by itself, so that the schedule, linear between observations, keeps its
    edges; its integral stays what it was within some tenths of a percent.

    On power laws with autoregressive noise the errors are right to 10 % where half a decade holds 20 times the steps
    over which the noise is correlated. Noise slower than that looks like the curve itself, and is counted in part only.
    See :mod:`scalingeq.inference.averaging`.

    Examples
    --------
    >>> step = np.arange(1, 1001)
    >>> noise = 0.1 * np.random.default_rng(0).normal(size=1000)
    >>> ds = xr.Dataset({"loss": ("step", 2 + step**-0.5 + noise)}, {"step": step})
    >>> few = thin(ds, per_decade=5)
    >>> few.sizes["step"], few.loss_stderr.values[-1].round(3), few.step.values[-1].round(1)
    (15, np.float64(0.006), np.float64(808.4))
    """
    if not (np.isfinite(per_decade) and per_decade > 0):
        raise ParameterError(f"per_decade: {per_decade} is not a positive number; pass the bins in a decade of steps")
    ds, layout, step = curves_to_clean(ds)
    if "loss" not in ds:
        raise DataError("loss: missing; name the variable: label(loss=...)")
    flat = observations(ds, layout)
    loss = flat["loss"].astype(np.float64)
    endless = [repr(str(name)) for name in layout.names[np.unique(layout.run[np.isinf(loss)])]]
    there = ~np.isnan(loss)
    problems = (
        [f"loss: infinite in run {', '.join(endless[:NAMED_RUNS])}; drop these points or runs"] if endless else []
    )
    raise_problems(problems if there.any() else ["loss: holds no value; nothing to average"], DataError)
    runs, parents = np.unique(layout.run[there], return_inverse=True)
    flat = {name: values[there] for name, values in flat.items()}
    step = step[there]
    mines = stretches(parents)
    raise_problems(
        [
            f"step: not ascending in run {str(layout.names[run])!r}; first call join_restarts(ds) if the run was "
            f"resumed, or split_restarts(ds) if it began anew"
            for run, mine in zip(runs, mines, strict=True)
            if (np.diff(step[mine]) <= 0).any()
        ],
        DataError,
    )
    parts = [
        _thinned(ds, step[mine], {name: values[mine] for name, values in flat.items()}, per_decade) for mine in mines
    ]
    names = {name: None for part in parts for name in part}
    values = {name: np.concatenate([part[name] for part in parts]) for name in names}
    sizes = [part["step"].size for part in parts]
    kept = ds.drop_vars([name for name in flat if name not in values])
    out = rearranged(kept, layout, values, np.repeat(np.arange(runs.size), sizes), runs)
    text = f"thin: {layout.run.size} observations to {sum(sizes)}, means in {per_decade:g} bins a decade of steps"
    return note(label(out), text)


def _thinned(ds: xr.Dataset, step: Floats, flat: dict[str, NDArray[Any]], per_decade: float) -> dict[str, NDArray[Any]]:
    """Averages of one run."""
    rates = [_filled(flat[name]) for name in ("learning_rate", "batch_size") if name in flat]
    table = np.array(rates) if rates else np.ones((1, step.size))
    segment = averaging.segments_of(table)
    position = averaging.log_position(step, segment)
    starts = averaging.bin_starts(position, segment, table, per_decade)
    counts = np.diff(np.append(starts, step.size))
    # Where the origin of its segment lies, the mean of the logarithm is counted from.
    origin = step - np.where(np.isfinite(position), 10**position, 0.0)
    where = 10 ** averaging.bin_averages(position, starts) + origin[starts]
    where = np.where(counts == 1, step[starts], where)

    def mean(name: str) -> Floats:
        values = flat[name].astype(np.float64)
        known = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            return np.asarray(
                np.add.reduceat(np.where(known, values, 0.0), starts) / np.add.reduceat(known * 1.0, starts)
            )

    out: dict[str, NDArray[Any]] = {"step": where, "loss": mean("loss")}
    for name, values in flat.items():
        if name in ("step", "loss", "loss_stderr") or values.dtype.kind not in "iuf":
            continue
        known = np.isfinite(values)
        if name not in ds.coords:
            out[name] = mean(name)
        elif known.any():
            out[name] = np.interp(where, step[known], values[known].astype(np.float64))
        else:
            out[name] = np.full(where.size, np.nan)
    error = averaging.standard_errors(position, segment, flat["loss"].astype(np.float64), starts)
    shared = np.nan_to_num(mean("offset_stderr")) if "offset_stderr" in flat else np.zeros(where.size)
    own = np.full(where.size, np.nan)
    if "loss_stderr" in flat:
        stated = flat["loss_stderr"].astype(np.float64) ** 2
        common = flat["offset_stderr"].astype(np.float64) ** 2 if "offset_stderr" in flat else 0.0
        own = np.sqrt(averaging.bin_averages(np.maximum(stated - common, 0.0), starts) / counts)
    return out | {"loss_stderr": combined_stderr(error, own, shared)}


def _filled(values: NDArray[Any]) -> Floats:
    """Rates with those missing taken from the observation before, or the first known."""
    known = np.flatnonzero(np.isfinite(values))
    if known.size == 0:
        return np.ones(values.size)
    return np.asarray(
        values[known[np.searchsorted(known, np.arange(values.size), side="right").clip(1) - 1]], np.float64
    )
