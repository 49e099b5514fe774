"""Faces of an analysis: frontiers, reports, plots and archives of any law, and ``tree.twopoint``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from scalingeq.datasets.history import note
from scalingeq.datasets.schema import to_curves
from scalingeq.errors import ArchiveError, DataError, ParameterError, raise_problems
from scalingeq.inference import twopoint
from scalingeq.inference.algorithms import Algorithm
from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.frontier import FLOPS_RULES, FlopsRule, Frontier
from scalingeq.inference.laws import Plan, law
from scalingeq.inference.planning import SHAPES
from scalingeq.theory.curves import Kind
from scalingeq.theory.spectrum import AnySpectrum
from scalingeq.theory.training import Dynamics

from . import archive, drawing, groups, saving
from .checking import QUANTILES
from .envelopes import compute_problems, flops_problems, units_of
from .fitted_phase import phase_dataset
from .planned import plan_dataset, plan_problems
from .predicting import lazy_frontier, predicted

if TYPE_CHECKING:
    from lmfit import Parameters

    from scalingeq.inference.objective import Objective

    from .plotting import AnalysisPlots
    from .reporting import Report


def require_analysis(tree: xr.DataTree, *, single: bool = True) -> xr.DataTree:
    """Return the analysis that a node belongs to, or refuse what is not one of a law that is known.

    With ``single`` refuse also one of fits in bulk, of which one has to be chosen.
    """
    if not isinstance(tree, xr.DataTree):
        raise DataError(f"an analysis is an xarray.DataTree from ds.laws.fit(...), not {type(tree).__name__}")
    root = tree.root
    archive.check_analysis(root)
    law(archive.law_of(root))
    more = [str(dim) for dim in root["parameters/value"].dims if dim != "parameter"]
    if more and single:
        chosen = ", ".join(f"{dim}=0" for dim in more)
        raise DataError(f"this analysis has many fits, over {', '.join(more)}; choose one: tree.isel({chosen})")
    return root


def require_twopoint(tree: xr.DataTree, *, single: bool = True) -> xr.DataTree:
    """As :func:`require_analysis`; refuse also what is not a two-point analysis."""
    root = require_analysis(tree, single=single)
    found = archive.law_of(root)
    if found != twopoint.LAW_NAME:
        raise DataError(
            f"this is an analysis of the law {found!r}; .twopoint reads those of {twopoint.LAW_NAME!r}, .laws all"
        )
    return root


class Analysis:
    """What the faces of an analysis share: on any node of the tree they are the whole tree's."""

    _require = staticmethod(require_analysis)

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    def frontier(
        self,
        compute: Any,
        *,
        flops: str | FlopsRule = "6ND",
        learning_rate: float | None = None,
        batch_size: float | None = None,
        data_limit: float | None = None,
        quantile: Sequence[float] = QUANTILES,
        draws: xr.Dataset | None = None,
    ) -> xr.Dataset:
        """Lowest predicted loss at each compute, and the model size and duration that reach it.

        Parameters
        ----------
        compute : array_like
            FLOPs; a chunked DataArray (dask) gives a lazy frontier, without ``data_limit`` and ``draws``.
        flops : str or callable
            ``"6ND"``, or the compute of arrays (params, tokens).
        learning_rate, batch_size : float, optional
            Of the runs planned, constant, where the law asks for them; default: those of the observed runs of constant
            rate and batch, where these agree, and if there are none, of the highest rates and mean batches of the
            others.
        data_limit : float, optional
            Unique tokens that exist; more are repeats of them. Default: no limit.
        quantile : sequence of float
            Of the bands from the fit's covariance, or from ``draws``.
        draws : xarray.Dataset, optional
            Values over ``(draw, parameter)``, or a profile: the bands are quantiles over one frontier a draw; of a
            profile, over draws with its margins and the covariance's correlations.

        Returns
        -------
        xarray.Dataset
            ``loss, params, steps, tokens`` and the local exponents ``size_exponent, data_exponent, loss_exponent``
            over ``(compute, quantile)``; ``best_loss, best_params, ...`` over ``compute`` at the best fit. Under a
            limit of data also ``epochs``, ``unlimited_loss``, ``limit_cost`` (share by which the limit raises the loss),
            ``limit_compute``, from which on it costs 1, 5 and 10 %, and in the attribute ``repeat_or_enlarge`` what
            more compute is spent on.

        Raises
        ------
        ParameterError
            If compute or quantiles are outside their domains, or rate and batch are not unique and not given.
        ConvergenceError
            If no size is optimal at some compute.

        Examples
        --------
        >>> import scalingeq
        >>> ds = scalingeq.datasets.select_runs(scalingeq.datasets.load("stdlib-lm"), [0, 4, 7])
        >>> tree = ds.twopoint.fit(alpha=2.0, r=0.17, width_exponent=0.4)
        >>> best = tree.twopoint.frontier([1e13, 1e15])
        >>> best.loss.dims, bool(best.best_params[1] > best.best_params[0])
        (('compute', 'quantile'), True)
        """
        tree = self._require(self._tree)
        observed = tree["observed"].to_dataset()
        lazy = getattr(compute, "chunks", None) is not None
        # What is not computed yet cannot be checked: a value that is fine stands for it.
        compute = compute if lazy else np.atleast_1d(np.asarray(compute, float))
        problems = _frontier_problems(np.ones(1) if lazy else compute, quantile, flops, data_limit)
        problems += [
            f"{name}: is not lazy; pass compute in memory, such as compute.values"
            for name, value in (("draws", draws), ("data_limit", data_limit))
            if lazy and value is not None
        ]
        fitted, curves = law(archive.law_of(tree)), to_curves(observed)
        plan, more = _constant_plan(curves, learning_rate, batch_size, fitted.needs)
        raise_problems(problems + more, ParameterError)
        rule = FLOPS_RULES[flops] if isinstance(flops, str) else flops
        group = tree["parameters"].to_dataset()
        values, covariance = groups.read_values(group, fitted)
        runs = Plan(
            **plan,
            dataset_size=np.inf if data_limit is None else data_limit,
            flops=rule,
            test_eigenvalues=curves.test_eigenvalues,
        )
        raise_problems(fitted.plan_problems(values, runs), ParameterError)
        band: Callable[[Any], tuple[Frontier, Frontier]] = partial(
            fitted.frontier_band, values, covariance if draws is None else None, plan=runs
        )
        units = units_of(observed)
        # Without one batch size for all runs, tokens do not say steps.
        batch = plan.get("batch_size", np.nan)
        labelled = partial(groups.frontier_dataset, quantile=quantile, units=units, batch_size=batch)
        if lazy:
            ds = lazy_frontier(compute, band, labelled)
        else:
            best, stderr = band(compute)
            ds = labelled(compute, best, stderr)
        if data_limit is not None:
            unlimited = fitted.frontier(values, compute, replace(runs, dataset_size=np.inf))
            ds = groups.add_data_limit(ds, data_limit, unlimited, units["tokens"])
        name = flops if isinstance(flops, str) else getattr(flops, "__name__", "function")
        ds.attrs |= {"flops": name} | {key: plan.get(key, np.nan) for key in ("learning_rate", "batch_size")}
        ds.attrs["data_limit"] = np.inf if data_limit is None else float(data_limit)
        if draws is not None:
            ds = drawing.with_frontier_bands(ds, draws, group, fitted, best, runs)
        return note(ds, f"{fitted.name}.frontier")

    def parameters(self, *, evaluate_expressions: bool = False) -> Parameters:
        """Parameters of the fit as lmfit's, to refit with: ``ds.twopoint.fit(params=...)``.

        Parameters
        ----------
        evaluate_expressions : bool, default False
            Accept the stored constraint expressions, which lmfit evaluates as code: read them in
            ``tree["parameters"].expr`` first where the archive is not your own.

        Returns
        -------
        lmfit.Parameters

        Raises
        ------
        ArchiveError
            If there are expressions and they are not accepted.

        Examples
        --------
        >>> import scalingeq
        >>> ds = scalingeq.datasets.select_runs(scalingeq.datasets.load("stdlib-lm"), [0, 4, 7])
        >>> tree = ds.twopoint.fit(alpha=2.0, r=0.17, width_exponent=0.4)
        >>> params = tree.twopoint.parameters()
        >>> params["r"].set(vary=True)
        >>> again = ds.twopoint.fit(params)
        """
        group = self._require(self._tree)["parameters"].to_dataset()
        found = groups.stored_expressions(group)
        if found and not evaluate_expressions:
            listed = ", ".join(f"{name} = {expression!r}" for name, expression in found.items())
            raise ArchiveError(
                f"parameters: the archive holds constraints, which lmfit evaluates as code: {listed}; "
                "pass evaluate_expressions=True if you trust them"
            )
        return groups.to_lmfit(group)

    def report(self) -> Report:
        """Parameters, what they determine, errors on held-out runs and what to mind, as text and HTML.

        Examples
        --------
        >>> import scalingeq
        >>> ds = scalingeq.datasets.select_runs(scalingeq.datasets.load("stdlib-lm"), [0, 4, 7])
        >>> print(ds.twopoint.fit(alpha=2.0, r=0.17, width_exponent=0.4).twopoint.report())
        Two-point theory fitted to measured loss curves
        ...
        """
        from .reporting import Report

        return Report(self._require(self._tree))

    def save(self, path: str | PathLike[str], *, append_dim: str | None = None) -> None:
        """Write the analysis to NetCDF, or to Zarr; an existing archive is replaced whole or not at all.

        Parameters
        ----------
        path : str or path
            File; or folder, whose name ends in ``.zarr``.
        append_dim : str, optional
            Put what this analysis has along that dimension (tasks or draws of a fit in bulk) after what is in the archive
            already; all else in it has to be the same.

        Raises
        ------
        ArchiveError
            If it cannot be written there, or does not continue what is there; an archive that was there is as it was.

        Examples
        --------
        >>> import scalingeq
        >>> ds = scalingeq.datasets.select_runs(scalingeq.datasets.load("stdlib-lm"), [0, 4, 7])
        >>> tree = ds.twopoint.fit(alpha=2.0, r=0.17, width_exponent=0.4)
        >>> tree.twopoint.save("fit.nc")
        >>> scalingeq.open_analysis("fit.nc").twopoint.predict().loss.equals(tree.twopoint.predict().loss)
        True
        """
        saving.save(self._require(self._tree, single=False), path, append_dim=append_dim)

    @property
    def plot(self) -> AnalysisPlots:
        """Plots of the analysis."""
        from .plotting import AnalysisPlots

        return AnalysisPlots(self._require(self._tree))


@xr.register_datatree_accessor("twopoint")  # type: ignore[no-untyped-call]
class AnalysisTwoPoint(Analysis):
    """Predictions, frontiers, reports and plots of a fit; on any node of the tree the accessor is the whole tree's."""

    _require = staticmethod(require_twopoint)

    def predict(
        self,
        ds: xr.Dataset | None = None,
        *,
        kind: Kind = "test",
        dynamics: Dynamics = "flow",
        momentum: float = 0.0,
        ridge: float = 0.0,
        ensemble: tuple[int, int] = (1, 1),
        test_spectrum: AnySpectrum | None = None,
        components: bool = False,
        draws: xr.Dataset | None = None,
        quantile: Sequence[float] = QUANTILES,
    ) -> xr.Dataset:
        """Predict the observed curves, or those of another dataset, which needs no loss.

        Parameters
        ----------
        ds : xarray.Dataset, optional
            Runs with ``step`` (or ``tokens``), ``params``, ``learning_rate``, ``batch_size``; rate and batch may change
            over the steps.
        kind, dynamics, momentum, ridge, ensemble, test_spectrum, components
            As in :meth:`scalingeq.accessors.MeasuredTwoPoint.predict`.
        draws : xarray.Dataset, optional
            From :meth:`bootstrap`, :meth:`sample` or :meth:`profile`: adds ``loss_quantile`` over them, and takes
            ``loss_stderr`` from them; one prediction of the best fit a draw.
        quantile : sequence of float
            Of ``loss_quantile`` over draws.

        Returns
        -------
        xarray.Dataset
            ``loss`` and ``loss_stderr``, labelled like ``ds``; ``measured_loss`` where ``ds`` has one. Lazy where ``ds`` is
            chunked, as :meth:`scalingeq.accessors.MeasuredTwoPoint.predict` says. Of a fit with
            ``check=`` the loss is the average of its candidates, ``loss_stderr`` the scale of the predictive band, and
            ``loss_quantile`` has its quantiles; with options of the algorithm it is that of the heaviest candidate.

        Raises
        ------
        DataError
            If ``ds`` lacks what a prediction needs; says what to pass.

        Examples
        --------
        >>> import scalingeq
        >>> ds = scalingeq.datasets.select_runs(scalingeq.datasets.load("stdlib-lm"), [0, 4, 7])
        >>> tree = ds.twopoint.fit(alpha=2.0, r=0.17, width_exponent=0.4)
        >>> planned = ds[["loss"]].isel(run=[0]).assign_coords(params=("run", [1e7])).drop_vars("loss")
        >>> bool(tree.twopoint.predict(planned).loss.min() < tree.twopoint.predict().loss.min())
        True
        """
        algorithm = Algorithm(dynamics, momentum, ridge, ensemble, test_spectrum, kind)
        tree = require_twopoint(self._tree)
        ds = tree["observed"].to_dataset() if ds is None else ds
        if draws is None:
            return predicted(ds, groups.law_of_analysis(tree), "an analysis", algorithm, components)
        raise_problems(_quantile_problems(quantile), ParameterError)
        group = tree["parameters"].to_dataset()
        fitted = groups.read_parameters(group)
        out = predicted(ds, fitted, "an analysis", algorithm, components)
        return drawing.with_loss_bands(out, ds, draws, fitted, group, algorithm, quantile)

    def plan(
        self,
        compute: Any,
        *,
        learning_rate: float | tuple[float, float] | None = None,
        batch_size: float | tuple[float, float] | None = None,
        schedules: Sequence[str] = SHAPES,
        data_limit: float | None = None,
        stability: float = 0.5,
        flops: str | FlopsRule = "6ND",
    ) -> xr.Dataset:
        """Best size, tokens, batch size and learning rate at each compute, for several shapes of schedule.

        Parameters
        ----------
        compute : array_like
            FLOPs.
        learning_rate, batch_size : float or (float, float), optional
            Lowest and highest that may be planned, or one value; default: from the lowest to the highest of the runs.
        schedules : sequence of str
            Of ``"constant"``, ``"linear"`` and ``"cosine"`` (decay to zero) and ``"wsd"`` (constant, then linear to zero
            in a share of the steps that is chosen too).
        data_limit : float, optional
            Unique tokens that exist.
        stability : float
            The rate stays below this share of the largest at which the theory's discrete steps are stable, and the noise
            below this share of that at which it feeds on itself.
        flops : str or callable
            As in :meth:`frontier`.

        Returns
        -------
        xarray.Dataset
            Over ``(compute, schedule)``: ``loss`` at the end, ``params, tokens, steps, batch_size, learning_rate, decay``
            that reach it, ``excess`` over the best schedule with its standard error, ``stability``, and in words what is
            ``at_limit``; ``best_schedule`` over ``compute``. ``attrs["notes"]`` says what the data cannot tell: where the
            fit does not know the noise of batches, no batch size, rate or schedule is recommended.

        Raises
        ------
        ParameterError
            If an argument is outside its domain; or noise is not known, and rate and batch are not one value each.
        ConvergenceError
            If no size is optimal.

        Notes
        -----
        At given tokens the gradient flow knows rate and batch by their ratio alone. Of all pairs of the best ratio this is
        the one with the highest rate: the largest batch, and the fewest steps.

        Examples
        --------
        >>> import scalingeq
        >>> ds = scalingeq.datasets.select_runs(scalingeq.datasets.load("stdlib-lm"), [0, 4, 7])
        >>> tree = ds.twopoint.fit(alpha=2.0, r=0.17, width_exponent=0.4)
        >>> found = tree.twopoint.plan(1e13)
        >>> found.schedule.values.tolist(), found.attrs["notes"]
        (['constant'], 'the runs do not tell the noise of their batches (noise_scale held at 0): no batch size, ...')
        """
        tree = require_twopoint(self._tree)
        observed = tree["observed"].to_dataset()
        at = np.atleast_1d(np.asarray(compute, float))
        ranges = {"learning_rate": learning_rate, "batch_size": batch_size}
        raise_problems(
            _frontier_problems(at, QUANTILES, flops, data_limit) + plan_problems(schedules, stability, ranges),
            ParameterError,
        )
        curves, fitted = to_curves(observed), groups.read_parameters(tree["parameters"].to_dataset())
        limit = Plan(dataset_size=np.inf if data_limit is None else data_limit)
        raise_problems(law(twopoint.LAW_NAME).plan_problems(fitted.values, limit), ParameterError)
        found = plan_dataset(
            fitted,
            curves,
            at,
            learning_rate=learning_rate,
            batch_size=batch_size,
            schedules=schedules,
            data_limit=data_limit,
            stability=stability,
            flops=FLOPS_RULES[flops] if isinstance(flops, str) else flops,
            units=units_of(observed),
        )
        return note(found, "twopoint.plan")

    def phase(
        self, compute: Any = None, *, learning_rate: float | None = None, batch_size: float | None = None
    ) -> xr.Dataset:
        """Phase of compute-optimal scaling of the fit, how sure it is, and how far the data are from its power laws.

        Parameters
        ----------
        compute : array_like, optional
            FLOPs at which to take the frontier's local exponents; default: those of the cheapest and the dearest run,
            and a hundred and ten thousand times the latter.
        learning_rate, batch_size : float, optional
            Of the frontier, as in :meth:`frontier`.

        Returns
        -------
        xarray.Dataset
            ``phase`` with its balance and exponents (those of a model of features, arXiv:2405.15074); the same at
            infinite compute for this law, with its width exponent and unlearnable part, as ``asymptote_...``;
            ``probability`` of each phase and the distance of each boundary under the fit's covariance;
            ``local_size_exponent, local_data_exponent, local_loss_exponent`` of the frontier over ``compute`` with
            standard errors, the loss without what is irreducible.

        Raises
        ------
        ParameterError, ConvergenceError
            If compute is given and there is no frontier, as :meth:`frontier`.

        Examples
        --------
        >>> import scalingeq
        >>> ds = scalingeq.datasets.select_runs(scalingeq.datasets.load("stdlib-lm"), [0, 4, 7])
        >>> found = ds.twopoint.fit(alpha=2.0, r=0.17, width_exponent=0.4).twopoint.phase()
        >>> found.phase.item(), found.local_size_exponent.dims
        ('Ia', ('compute',))
        """
        tree = require_twopoint(self._tree)
        curves = to_curves(tree["observed"].to_dataset())
        plan, problems = _constant_plan(curves, learning_rate, batch_size, ("learning_rate", "batch_size"))
        at = None if compute is None else np.atleast_1d(np.asarray(compute, float))
        if at is not None:
            raise_problems(compute_problems(at) + problems, ParameterError)
        fitted = groups.read_parameters(tree["parameters"].to_dataset())
        return note(phase_dataset(fitted, curves, at, "; ".join(problems) or plan), "twopoint.phase")

    def profile(
        self,
        quantities: Sequence[str] | None = None,
        *,
        levels: Sequence[float] = (0.68, 0.95),
        chunk: int | None = None,
        progress: bool = False,
    ) -> xr.Dataset:
        """Intervals of parameters and identified combinations by profile likelihood, through lmfit's ``conf_interval``.

        Parameters
        ----------
        quantities : sequence of str, optional
            Free parameters, ``"2 r"``, ``"2 alpha r"``, ``"2 alpha r width_exponent"``; default: all of them. Each costs
            some thirty fits that start at the best one.
        levels : sequence of float
            Probabilities of the intervals.
        chunk : int, optional
            Quantities a task: nothing is computed then until it is asked for, by any scheduler of dask.
        progress : bool, default False
            Show a progress bar while the profile is computed here.

        Returns
        -------
        xarray.Dataset
            ``lower`` and ``upper`` over ``(quantity, level)``, ``value`` and ``stderr`` over ``quantity``. Assign it to a
            group to archive it: ``tree["profile"] = xr.DataTree(profile)``.

        Raises
        ------
        ParameterError
            If a quantity is not free, or a level is not between 0 and 1.

        Examples
        --------
        >>> step = np.geomspace(100, 1e4, 12).round()
        >>> loss = (0.4 + 3 * step**-0.3) * np.exp(0.01 * np.random.default_rng(0).standard_normal(12))
        >>> about = {"step": step, "params": 1e4, "learning_rate": 0.01, "batch_size": 64.0}
        >>> ds = xr.Dataset({"loss": ("step", loss)}, about)
        >>> tree = ds.twopoint.fit(alpha=1.5, irreducible=0.4, time_scale=50.0)
        >>> found = tree.twopoint.profile(["2 r"], levels=[0.68])
        >>> bool(found.lower.item() < found.value.item() < found.upper.item())
        True
        """
        from scalingeq.inference.profile import profiled_by_default

        tree, params, objective = self._fit()
        chosen = profiled_by_default(objective, params) if quantities is None else list(quantities)
        found = drawing.profile_variables(objective, params, chosen, levels, chunk, progress)
        ds = drawing.profile_dataset(chosen, levels, found, tree["parameters"].to_dataset())
        return note(ds, "twopoint.profile")

    def bootstrap(
        self, draws: int = 200, *, seed: int = 0, chunk: int | None = None, progress: bool = False
    ) -> xr.Dataset:
        """Refit curves whose residuals are resampled in blocks along the runs.

        Parameters
        ----------
        draws : int
            Number of refits.
        seed : int
            Of the random numbers; draw ``i`` of a seed is the same whatever their number.
        chunk : int, optional
            Draws a task: nothing is computed then until it is asked for, by any scheduler of dask (threads, processes,
            a cluster), with dask's own progress.
        progress : bool, default False
            Show a progress bar while draws are made here.

        Returns
        -------
        xarray.Dataset
            ``value`` over ``(draw, parameter)``, ``combined`` over ``(draw, combination)``, and ``failure`` over ``draw``:
            why a draw is NaN, else empty.

        Raises
        ------
        ParameterError
            If draws is not positive.

        Examples
        --------
        >>> step = np.geomspace(100, 1e4, 12).round()
        >>> loss = (0.4 + 3 * step**-0.3) * np.exp(0.01 * np.random.default_rng(0).standard_normal(12))
        >>> about = {"step": step, "params": 1e4, "learning_rate": 0.01, "batch_size": 64.0}
        >>> ds = xr.Dataset({"loss": ("step", loss)}, about)
        >>> tree = ds.twopoint.fit(alpha=1.5, irreducible=0.4, time_scale=50.0)
        >>> tree.twopoint.bootstrap(draws=3).value.dims
        ('draw', 'parameter')
        """
        from scalingeq.inference.bootstrap import draw_seeds, resampling

        if draws < 1:
            raise ParameterError(f"draws: {draws} is not a positive number; pass one")
        tree, params, objective = self._fit()
        seeds = xr.DataArray(np.array(draw_seeds(seed, draws), np.uint64), dims="draw")
        if chunk is not None:
            seeds = seeds.chunk(draw=chunk)
        found = drawing.bootstrap_variables(resampling(objective, params), seeds, progress)
        failed = 0 if chunk is not None else int((found["failure"].values != "").sum())
        notes = [f"{failed} of {draws} draws failed"] * bool(failed)
        group = tree["parameters"].to_dataset()
        ds = drawing.draws_dataset(found["value"].data, group, "block bootstrap", seed, notes)
        ds["failure"] = found["failure"]
        return note(ds, "twopoint.bootstrap")

    def sample(
        self, draws: int = 4000, *, walkers: int | None = None, seed: int = 0, progress: bool = False
    ) -> xr.Dataset:
        """Draw parameters from the posterior, likelihood and priors of the fit, with emcee through lmfit.

        Parameters
        ----------
        draws : int
            Draws kept, of all walkers together, rounded up to whole steps; half as many are made and dropped before.
        walkers : int, optional
            Chains; default four for each free parameter.
        seed : int
            Of the random numbers.
        progress : bool, default False
            Show a progress bar.

        Returns
        -------
        xarray.Dataset
            As :meth:`bootstrap` gives it, with ``walker`` and ``log_probability`` over ``draw``,
            ``acceptance_fraction`` over ``walkers`` and ``autocorrelation_time`` over ``parameter``.

        Raises
        ------
        ParameterError
            If emcee is not installed, or draws or walkers are too few.

        Examples
        --------
        >>> step = np.geomspace(100, 1e4, 12).round()
        >>> loss = (0.4 + 3 * step**-0.3) * np.exp(0.01 * np.random.default_rng(0).standard_normal(12))
        >>> about = {"step": step, "params": 1e4, "learning_rate": 0.01, "batch_size": 64.0}
        >>> ds = xr.Dataset({"loss": ("step", loss)}, about)
        >>> tree = ds.twopoint.fit(alpha=1.5, irreducible=0.4, time_scale=50.0)
        >>> tree.twopoint.sample(draws=16, walkers=8).value.dims
        ('draw', 'parameter')
        """
        from scalingeq.inference.sampling import sample

        tree, params, objective = self._fit()
        found = sample(objective, params, draws, walkers, seed, progress=progress)
        ds = drawing.draws_dataset(found.values, tree["parameters"].to_dataset(), "Markov chains", seed, found.notes)
        return note(drawing.with_chains(ds, found), "twopoint.sample")

    def _fit(self) -> tuple[xr.DataTree, Parameters, Objective]:
        """Analysis, its parameters, and what its fit minimised."""
        tree = require_twopoint(self._tree)
        params = self.parameters()
        return tree, params, drawing.objective_of(tree, params)


def open_analysis(path: str | PathLike[str]) -> xr.DataTree:
    """Open an archived analysis, a NetCDF file or a Zarr folder, into memory, or say what it is instead.

    Raises
    ------
    ArchiveError
        If there is no such file, or it is not a readable analysis.

    Examples
    --------
    >>> open_analysis("nothing.nc")
    Traceback (most recent call last):
        ...
    scalingeq.errors.ArchiveError: nothing.nc: no such file; pass an analysis written by fit
    """
    with saving.open_tree(path) as opened:
        try:
            tree = opened.load()
        except saving.READING as error:
            raise ArchiveError(f"{path}: damaged ({error}); pass an analysis written by fit") from error
    return require_analysis(tree, single=False)


def _quantile_problems(quantile: Sequence[float]) -> list[str]:
    if len(quantile) and all(0 < q < 1 for q in quantile):
        return []
    return [f"quantile: {tuple(quantile)} are not all between 0 and 1; pass shares such as 0.16, 0.5, 0.84"]


def _constant_plan(
    curves: TrainingCurves, learning_rate: float | None, batch_size: float | None, needs: Collection[str]
) -> tuple[dict[str, float], list[str]]:
    """Learning rate and batch size of runs planned, those of the observed runs where not given, and what is wrong.

    Those that are not unique are left out where they are not among the ``needs``.
    """
    plan: dict[str, float] = {}
    problems = []
    every = np.arange(curves.name.size)
    constant = np.setdiff1d(every, list(curves.schedules))
    for name, value in (("learning_rate", learning_rate), ("batch_size", batch_size)):
        found = np.unique(getattr(curves, name)[constant if constant.size else every] if value is None else value)
        if found.size != 1:
            if name not in needs:
                continue
            problems.append(
                f"{name}: the observed runs have {', '.join(f'{v:g}' for v in found)}; pass {name}=... for the runs planned"
            )
        elif not (np.isfinite(found[0]) and found[0] > 0):
            problems.append(f"{name}: {found[0]:g} is not a positive number; pass one")
        else:
            plan[name] = float(found[0])
    return plan, problems


def _frontier_problems(
    compute: np.ndarray, quantile: Sequence[float], flops: Any, data_limit: float | None
) -> list[str]:
    problems = compute_problems(compute) + _quantile_problems(quantile) + flops_problems(flops)
    if data_limit is not None and not data_limit > 0:
        problems.append(
            f"data_limit: {data_limit:g} is not a positive number of tokens; pass one, or None for no limit"
        )
    return problems
