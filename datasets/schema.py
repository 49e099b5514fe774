"""The schema of a labelled training record: its check, and its way to plain arrays and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from scalingeq.errors import DataError, raise_problems
from scalingeq.inference.curves import TrainingCurves
from scalingeq.theory.schedule import Schedule

from .labels import MEASURED, ROLES, SHARED_UNITS, label
from .schedules import find_schedule, tokens_seen
from .shapes import Layout, find_layout, select_runs

__all__ = ["check", "from_curves", "is_constant_rate", "label", "select_runs", "to_curves"]

REQUIRED = ("loss", "params", "learning_rate", "batch_size")
POSITIVE = ("params", "width", "dataset_size", "batch_size")
ONE_VALUE_A_RUN = ("params", "width", "dataset_size", "warmup_steps")
COUNTINGS = ("non-embedding", "total")
SAME_RATE = 1e-6  # relative change of a rate within which it is constant: single precision logs
NAMED_RUNS = 5  # an error names this many runs, and counts the others


def check(ds: xr.Dataset, *, needs_loss: bool = True) -> xr.Dataset:
    """Label a training record and make sure that it can be used.

    Parameters
    ----------
    ds : xarray.Dataset
        Measured curves: a grid ``(run, step)``; padded ``(run, obs)`` with ``step(run, obs)``, both NaN after the end
        of a run; ragged ``(obs)`` with ``row_size(run)``; one run without ``run``; or final losses ``(run)`` with
        ``tokens``.
    needs_loss : bool, default True
        Whether ``loss`` has to be there; without, the record asks for a prediction.

    Returns
    -------
    xarray.Dataset
        The record as :func:`label` gives it.

    Raises
    ------
    DataError
        With all that is wrong: what, in which variable and run, and what to pass.

    Examples
    --------
    >>> ds = xr.Dataset({"loss": ("step", [3.0, -2.0])}, {"step": [1, 2], "batch_size": 8, "params": 100})
    >>> check(ds)
    Traceback (most recent call last):
        ...
    scalingeq.errors.DataError: 2 problems:
    - learning_rate: missing; name the variable or give a value: label(learning_rate=...)
    - loss: not a positive number in run '0' (1 value, first -2.0 at step 2.0); correct or drop these points
    """
    return _checked(ds, needs_loss)[0]


def is_constant_rate(ds: xr.Dataset) -> xr.DataArray:
    """Tell which runs have a constant learning rate and batch size after their warm-up.

    Parameters
    ----------
    ds : xarray.Dataset
        Measured curves.

    Returns
    -------
    xarray.DataArray of bool, dimensions (run,)
        Without dimensions for a dataset of one run without ``run``.

    Raises
    ------
    DataError
        As :func:`check`; the losses are not looked at.

    Examples
    --------
    >>> rate = xr.DataArray([[1.0, 1.0], [1.0, 0.5]], dims=("run", "step"))
    >>> ds = xr.Dataset({"loss": 1 + rate}, {"step": [1, 2], "batch_size": 8, "params": 10, "learning_rate": rate})
    >>> is_constant_rate(ds).values
    array([ True, False])
    """
    ds, layout = _checked(ds, needs_loss=False)
    constant = _steady(ds, layout, "learning_rate")[1] & _steady(ds, layout, "batch_size")[1]
    attrs = {"long_name": "whether learning rate and batch size are constant after warm-up", "units": "1"}
    if "run" not in ds.dims:
        return xr.DataArray(constant[0], name="is_constant_rate", attrs=attrs)
    per_run = {name: coord for name, coord in ds.coords.items() if coord.dims == ("run",)}
    return xr.DataArray(constant, per_run, dims="run", name="is_constant_rate", attrs=attrs)


def to_curves(ds: xr.Dataset, *, needs_loss: bool = True) -> TrainingCurves:
    """Turn a training record into the flat arrays that laws and fits take.

    Parameters
    ----------
    ds : xarray.Dataset
        Measured curves in any accepted shape; checked first.
    needs_loss : bool, default True
        Whether ``loss`` has to be there; NaN stands for it otherwise.

    Returns
    -------
    TrainingCurves
        Observations by run. ``tokens`` are the sum of the batch size over steps where the data do not give them (in a
        table of final losses the steps are tokens over batch size); ``dataset_size`` is infinite and ``warmup_steps`` 0
        where missing; ``loss_stderr`` is without the part ``offset_stderr`` that all observations share. A run whose
        learning rate or batch size changes after the warm-up has a schedule: linear between the logged steps, before
        them constant, after a linear warm-up from 0 where ``warmup_steps`` says so. A variable ``test_eigenvalues``, over
        a dimension of its own, is the variance of the test inputs along the modes of the training's.

    Raises
    ------
    DataError
        As :func:`check`.

    Examples
    --------
    >>> ds = xr.Dataset({"loss": ("step", [3.0, 2.0])}, {"step": [1, 2], "batch_size": 8, "params": 100})
    >>> to_curves(label(ds, learning_rate=0.1)).tokens
    array([ 8., 16.])
    >>> to_curves(ds.assign_coords(learning_rate=("step", [0.2, 0.1]))).schedules[0].rate
    array([0.2, 0.2, 0.1])
    """
    ds, layout = _checked(ds, needs_loss)
    learning_rate, steady_rate = _steady(ds, layout, "learning_rate")
    batch_size, steady_batch = _steady(ds, layout, "batch_size")

    def per_run(name: str, default: float) -> NDArray[np.float64]:
        values = ds[name].values if name in ds else default
        return np.broadcast_to(np.asarray(values, np.float64), layout.names.shape).copy()

    def per_obs(name: str) -> NDArray[np.float64]:
        return layout.spread(ds[name]).astype(np.float64) if name in ds else np.full(layout.run.size, np.nan)

    stderr = per_obs("loss_stderr")
    if "offset_stderr" in ds:  # common to all curves of the record: it moves them together and parts none
        stderr = np.sqrt(np.maximum(stderr**2 - per_obs("offset_stderr") ** 2, 0.0))
    step = per_obs("step") if "step" in ds else per_obs("tokens") / batch_size[layout.run]
    rates, batches, warmup = per_obs("learning_rate"), per_obs("batch_size"), per_run("warmup_steps", 0.0)
    tokens = np.where(
        steady_batch[layout.run], step * batch_size[layout.run], tokens_seen(layout.run, step, batches)[0]
    )
    schedules: dict[int, Schedule] = {}
    shared: dict[bytes, Schedule] = {}
    for run in np.flatnonzero(~(steady_rate & steady_batch)).tolist():
        mine = layout.run == run
        learning_rate[run] = rates[mine].max()
        batch_size[run] = tokens[mine][-1] / step[mine][-1]
        schedule = find_schedule(step[mine], rates[mine], batches[mine], warmup[run])
        # Runs of one schedule share it as one object: their losses are computed together.
        schedules[run] = shared.setdefault(np.stack(schedule.knots).tobytes(), schedule)
    return TrainingCurves(
        run=layout.run,
        step=step,
        tokens=per_obs("tokens") if "tokens" in ds else tokens,
        loss=per_obs("loss"),
        loss_stderr=stderr,
        name=layout.names,
        params=per_run("params", np.nan),
        learning_rate=learning_rate,
        batch_size=batch_size,
        dataset_size=per_run("dataset_size", np.inf),
        warmup_steps=warmup,
        schedules=schedules,
        test_eigenvalues=_test_eigenvalues(ds),
    )


def _test_eigenvalues(ds: xr.Dataset) -> NDArray[np.float64] | None:
    if "test_eigenvalues" not in ds:
        return None
    values = ds["test_eigenvalues"].values
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not (np.isfinite(values) & (values >= 0)).all():
        raise DataError("test_eigenvalues: needs one finite number >= 0 for each mode, over a dimension of its own")
    return np.asarray(values, dtype=np.float64)


def from_curves(ds: xr.Dataset, values: Mapping[str, ArrayLike], labels: Mapping[str, tuple[str, str]]) -> xr.Dataset:
    """Put flat values back into the shape of the record that they belong to.

    Parameters
    ----------
    ds : xarray.Dataset
        The record that :func:`to_curves` was given.
    values : mapping of str to array, shape (obs,)
        Values of each new variable in the order of the observations of :func:`to_curves`.
    labels : mapping of str to (str, str)
        ``long_name`` and ``units`` of each new variable.

    Returns
    -------
    xarray.Dataset
        The new variables in the shape of ``ds`` with its coordinates; NaN where ``ds`` has no observation.

    Raises
    ------
    DataError
        If ``ds`` has none of the accepted shapes, or values are not one for each observation.

    Examples
    --------
    >>> ds = xr.Dataset({"loss": ("step", [3.0, 2.0])}, {"step": [1, 2]})
    >>> from_curves(ds, {"loss": [2.9, 2.1]}, {"loss": ("predicted loss", "nats")}).loss.attrs
    {'long_name': 'predicted loss', 'units': 'nats'}
    """
    ds = label(ds)
    layout = find_layout(ds)
    data = {
        name: (layout.dims, layout.place(flat), dict(zip(("long_name", "units"), labels[name], strict=True)))
        for name, flat in values.items()
    }
    return xr.Dataset(data, ds.coords)


def _checked(ds: xr.Dataset, needs_loss: bool) -> tuple[xr.Dataset, Layout]:
    """Label and check a record, and find its shape on the way."""
    if not isinstance(ds, xr.Dataset):
        raise DataError(f"a training record is an xarray.Dataset, not {type(ds).__name__}")
    if not ds.variables:
        raise DataError("the dataset is empty: it has no variables; give it a loss over steps")
    ds = label(ds)
    judged = ds if needs_loss else ds.drop_vars(MEASURED, errors="ignore")
    problems = [
        f"{name}: missing; name the variable or give a value: label({name}=...)"
        for name in REQUIRED
        if name not in ds and (needs_loss or name != "loss")
    ]
    not_numbers = [name for name in ROLES if name in judged and name != "run" and ds[name].dtype.kind not in "iuf"]
    problems += [f"{name}: holds {ds[name].dtype} values; numbers are needed" for name in not_numbers]
    problems += _unit_problems(judged)
    counting = ds.attrs.get("counting")
    if counting is not None and counting not in COUNTINGS:
        problems.append(f"counting: the attribute is {counting!r}; it says how params count: {' or '.join(COUNTINGS)}")
    if not_numbers or (needs_loss and "loss" not in ds):
        raise DataError(problems)
    try:
        layout = find_layout(ds)
    except DataError as error:
        raise DataError([*problems, *error.problems]) from None
    with np.errstate(all="ignore"):  # infinite or huge numbers are refused, and not warned of as well
        problems += _value_problems(judged, layout)
    raise_problems(problems, DataError)
    return ds, layout


def _unit_problems(ds: xr.Dataset) -> list[str]:
    problems = []
    for group in SHARED_UNITS:
        units = {name: ds[name].attrs["units"] for name in group if name in ds}
        if len(set(units.values())) > 1:
            found = ", ".join(f"{name} in {unit!r}" for name, unit in units.items())
            problems.append(f"{', '.join(units)}: units disagree ({found}); convert them to one unit")
    return problems


def _value_problems(ds: xr.Dataset, layout: Layout) -> list[str]:
    """All that is wrong with the numbers of a record whose shape is known."""
    if layout.run.size == 0:
        return ["the dataset is empty: it has no observations"]
    problems = []
    for name in ROLES:
        allowed = {"run"} if name in ("run", "row_size", *ONE_VALUE_A_RUN) else set(layout.where)
        if name in ds and not set(ds[name].dims) <= allowed:
            problems.append(
                f"{name}: has the dimensions {ds[name].dims}; those allowed here are {sorted(map(str, allowed))}"
            )
    if problems:
        return problems
    at = {name: layout.spread(ds[name]) for name in ROLES if name in ds and name not in ("run", "row_size")}
    problems += _run_problems(ds, layout)

    def report(name: str, bad: NDArray[np.bool_], what: str, advice: str) -> None:
        if bad.any():
            problems.append(f"{name}: {what} in {_located(layout, bad, at[name], at.get('step'))}; {advice}")

    drop = "correct or drop these points"
    if "step" in at:
        step = at["step"].astype(np.float64)
        report("step", ~(np.isfinite(step) & (step >= 0)), "not a number >= 0", drop)
        late = np.append(False, (np.diff(step) <= 0) & (np.diff(layout.run) == 0))
        report("step", late, "not above the step before it", "sort each run by step and keep each step once")
    if "tokens" in at:
        report("tokens", ~(np.isfinite(at["tokens"]) & (at["tokens"] >= 0)), "not a number >= 0", drop)
    if "loss" in at:
        # A run without any loss is a problem of its own, found above.
        missing = np.isnan(at["loss"])
        empty = np.bincount(layout.run, ~missing, layout.names.size) == 0
        advice = "correct or drop these points; NaN fills only the end of a padded run, where step is NaN too"
        report("loss", missing & ~empty[layout.run], "NaN", advice)
        report("loss", ~missing & ~(np.isfinite(at["loss"]) & (at["loss"] > 0)), "not a positive number", drop)
    if "loss_stderr" in at:
        error = at["loss_stderr"]
        report("loss_stderr", ~np.isnan(error) & ~(np.isfinite(error) & (error >= 0)), "not a number >= 0", drop)
    for name in POSITIVE:
        if name in at:
            finite = np.isfinite(at[name]) | ((name == "dataset_size") & (at[name] == np.inf))
            hint = "; infinite means one pass" if name == "dataset_size" else ""
            report(name, ~(finite & (at[name] > 0)), "not a positive number", f"give the true size{hint}")
    if "warmup_steps" in at:
        warmup = at["warmup_steps"]
        report("warmup_steps", ~(np.isfinite(warmup) & (warmup >= 0)), "not a number >= 0", "give 0 for none")
    if "learning_rate" in at:
        rate = at["learning_rate"]
        steady, constant = _steady(ds, layout, "learning_rate")
        zero = (constant & (steady == 0))[layout.run]
        report(
            "learning_rate", ~(np.isfinite(rate) & (rate >= 0)) | zero, "not a positive number", "give the true rate"
        )
    if not problems and {"step", "tokens", "batch_size"} <= at.keys():
        batch, constant = at["batch_size"].astype(np.float64), _steady(ds, layout, "batch_size")[1][layout.run]
        expected, unsure = tokens_seen(layout.run, at["step"].astype(np.float64), batch)
        # Logs round, and count a step before or after its update: one batch or one percent is no contradiction.
        apart = np.abs(at["tokens"] - expected) > 0.01 * expected + batch + unsure
        for kind, what in ((constant, "step times batch_size"), (~constant, "the sum of batch_size over the steps")):
            report("tokens", apart & kind, f"not {what}", "check batch_size, or drop tokens")
    return problems


def _run_problems(ds: xr.Dataset, layout: Layout) -> list[str]:
    """What is wrong with runs as such: their names, their number of observations, their padding."""
    problems = []
    names, repeats = np.unique(layout.names, return_counts=True)
    if (repeats > 1).any():
        problems.append(f"run: the names of {_listed(names[repeats > 1])} are not unique; rename them")
    counts = layout.counts
    if "loss" in ds:  # a prediction may be of one point, or of none in the part of a run that a chunk has
        seen = np.bincount(layout.run, ~np.isnan(layout.spread(ds["loss"])), layout.names.size) > 0
        if not seen.all():
            keep = np.nonzero(seen)[0].tolist()
            advice = f"drop with select_runs(ds, {keep})" if keep else "give a record that has some"
            problems.append(f"loss: no values at all in {_listed(layout.names[~seen])}; {advice}")
        if not layout.is_table and (counts == 1).any():
            problems.append(
                f"step: only one observation in {_listed(layout.names[counts == 1])}; a curve needs two or more, "
                f"and a table of final losses is over 'run' alone"
            )
    (point,) = [dim for dim in layout.where if dim != "run"] or ["run"]
    if len(layout.dims) > 1 or "row_size" not in ds:
        rank = np.arange(layout.run.size) - (np.cumsum(counts) - counts)[layout.run]
        gaps = np.unique(layout.run[(layout.where[point] != rank) & (not layout.is_table)])
        if gaps.size:
            problems.append(f"step: NaN before the last step in {_listed(layout.names[gaps])}; drop these points")
    if "loss" in ds and ds["loss"].notnull().sum() > (~np.isnan(layout.spread(ds["loss"]))).sum():
        unplaced = ds["loss"].notnull() & ds["step"].isnull()
        runs = np.nonzero(np.atleast_1d(unplaced.any([dim for dim in unplaced.dims if dim != "run"]).values))[0]
        problems.append(f"step: NaN where there is a loss in {_listed(layout.names[runs])}; give the steps")
    return problems


def _steady(ds: xr.Dataset, layout: Layout, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Value (run,) at the end of each run, and whether (run,) it is the same ever since the warm-up."""
    runs, run = layout.names.size, layout.run
    flat = layout.spread(ds[name]).astype(np.float64)
    last = np.full(runs, np.nan)
    last[run] = flat  # the observations of a run ascend, so its last one stays
    after = np.ones(run.size, bool)
    if name == "learning_rate" and "warmup_steps" in ds and "step" in ds:
        after = layout.spread(ds["step"]) > layout.spread(ds["warmup_steps"])
        after |= (np.bincount(run, after, runs) == 0)[run]  # all of it was warm-up: judge what there is
    changed = after & ~(np.abs(flat - last[run]) <= SAME_RATE * np.abs(last[run]))
    return last, np.bincount(run, changed, runs) == 0


def _listed(names: NDArray[Any]) -> str:
    """Name runs for a message."""
    text = ", ".join(f"run {str(name)!r}" for name in names[:NAMED_RUNS])
    return text + (f" and {names.size - NAMED_RUNS} more runs" if names.size > NAMED_RUNS else "")


def _located(layout: Layout, bad: NDArray[np.bool_], values: NDArray[Any], step: NDArray[Any] | None) -> str:
    """Say in which runs, and where first, values are bad."""
    runs = np.unique(layout.run[bad])
    texts = []
    for run in runs[:NAMED_RUNS]:
        mine = np.nonzero(bad & (layout.run == run))[0]
        where = "" if step is None else f" at step {float(step[mine[0]])}"
        count = f"{mine.size} value{'s' * (mine.size > 1)}"
        texts.append(f"run {str(layout.names[run])!r} ({count}, first {float(values[mine[0]])}{where})")
    rest = f" and {runs.size - NAMED_RUNS} more runs" if runs.size > NAMED_RUNS else ""
    return ", ".join(texts) + rest
