"""Fit the two-point law to measured curves: all runs jointly, residuals in log loss, through lmfit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FitError, raise_problems
from . import twopoint
from .covariance import Noise, covariance_of
from .curves import Floats, TrainingCurves
from .laws.additive import AdditiveLaw, fit_additive
from .laws.interface import LawFit, fit_problems
from .objective import LINEAR, NO_LOSS, UNSTABLE, Objective
from .refining import FINE, ROUGH, refine
from .robust import point_weights, weighted_spread
from .twopoint import PARAMETERS

if TYPE_CHECKING:
    from lmfit import Parameters

BURN_IN = 0.02
"""Share of a run's steps before which the default weights are zero: the transient is no power law yet."""

LOWEST = {"width_scale": twopoint.MINIMUM_WIDTH, "unlearnable_exponent": 0.01}
"""Bounds of a fit that are tighter than those of the law."""

SEARCH, SEARCH_SCHEDULED = (256, 8), (64, 3)
"""Points of the search, a power of two as balanced Sobol points are, and how many of them are refined.

With three starts tables of final losses ended in local minima; under schedules the theory costs ten times as much.
"""

MOST_WEIGHINGS, BALANCED = 5, 0.1  # times that data are weighed against priors, and change in the log that ends it
LEAST_SCALE = 1e-5  # of log residuals
NO_START = "no start of the fit gives a finite loss; pass params with a smaller noise_scale, or a shift nearer to 0"
CLUSTERED = 3.0  # scatter of the runs' scores over that of their noise: far beyond chance, and told to the reader
MISSED = 3.0  # times the median run's error: what a reader of the fit is told of


@dataclass(frozen=True)
class TwoPointFit(LawFit):
    """A fit of the two-point law, and beside it the additive law.

    Attributes
    ----------
    prior_share : ndarray, shape (parameter,)
        Share of each variance that the weak priors have.
    noise : Noise
        Autocorrelated noise of the residuals along the runs, on which the covariance rests.
    additive : AdditiveLaw
        The additive law fitted to the same points with the same weights.
    misfit_scale : float
        Spread of the additive law's log residuals, in units of which those of the fit are weighed.
    irreducible_prior : float
        Deviation of the prior on the irreducible loss, in units of the smallest loss.
    """

    prior_share: Floats = field(kw_only=True)
    noise: Noise = field(kw_only=True)
    additive: AdditiveLaw = field(kw_only=True)
    misfit_scale: float = field(kw_only=True)
    irreducible_prior: float = field(kw_only=True)

    @property
    def reference_params(self) -> float:
        """Model size that the amplitudes refer to: the smallest of the fit."""
        return self.reference["reference_params"]


def default_weights(curves: TrainingCurves, burn_in: float = BURN_IN) -> Floats:
    """Weight (obs,) of each observation: zero in the warm-up and the beginning of a run, else √(4/points of the run).

    ``burn_in`` is the share of the run's steps that counts as its beginning.

    Examples
    --------
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(np.zeros(5, int), np.array([1.0, 10, 30, 100, 1000]), np.ones(5), np.ones(5),
    ...     np.ones(5), np.array(["a"]), one, one, one, one, 20 * one)
    >>> default_weights(curves).tolist()
    [0.0, 0.0, 1.0, 1.0, 1.0]
    """
    last = np.zeros(curves.name.size)
    np.maximum.at(last, curves.run, curves.step)
    kept = curves.step >= np.maximum(burn_in * last, curves.warmup_steps)[curves.run]
    # A table of final losses has one point a run: nothing of it is a transient.
    kept |= np.bincount(curves.run, minlength=last.size)[curves.run] == 1
    weight = np.zeros(curves.run.size)
    weight[kept] = point_weights(curves.select(kept))
    return weight


def default_parameters(curves: TrainingCurves, batch_exponent: float = 0.0) -> tuple[Parameters, tuple[str, ...]]:
    """Parameters of a default fit: what the runs can determine is free, the rest is held; the notes say why.

    Width and the unlearnable part need three model sizes, noise two ratios of rate to batch size, in two runs or after
    one another in one, the exponent of the rate three schedules (a constant rate is one), samples a run that repeats its
    data. The shift of the test inputs is held at none.

    Examples
    --------
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(np.zeros(2, int), np.array([1.0, 2.0]), np.array([8.0, 16.0]), np.array([2.0, 1.0]),
    ...     np.full(2, np.nan), np.array(["a"]), one, one, 8 * one, np.inf * one, 0 * one)
    >>> params, notes = default_parameters(curves)
    >>> [name for name in params if params[name].vary]
    ['alpha', 'r', 'scale', 'irreducible', 'time_scale']
    """
    from lmfit import Parameters

    runs = np.unique(curves.run)
    sizes = np.unique(curves.params[runs]).size
    noise_ratios = _noise_ratios(curves, batch_exponent)
    repeats = bool(np.isfinite(curves.dataset_size[runs]).any())
    held = twopoint.complete({"alpha": 1.5, "r": 0.3, "batch_exponent": batch_exponent})
    # A free parameter starts at a finite value: one that is infinite leaves its effect out for good.
    start = {"width_scale": 300.0, "width_exponent": 0.7, "unlearnable_exponent": 0.4, "samples_scale": 1.0}
    notes = []
    free = {"alpha", "r", "scale", "irreducible", "time_scale"}
    if sizes >= 3:
        free |= {"unlearnable", "unlearnable_exponent", "width_scale", "width_exponent"}
    else:
        notes.append(f"width and unlearnable part held out: {sizes} model size(s), 3 or more determine them")
    if noise_ratios >= 2:
        free.add("noise_scale")
    else:
        notes.append("noise_scale held at 0: all runs share one ratio of learning rate to batch size")
    if len({curves.schedules.get(run) for run in runs.tolist()}) >= 3:
        free.add("rate_exponent")
    if repeats:
        free.add("samples_scale")
    params = Parameters()
    for name, info in PARAMETERS.items():
        value = start.get(name, held[name]) if name in free else held[name]
        minimum = LOWEST.get(name, info.minimum) if name in free else info.minimum
        params.add(name, value=value, vary=name in free, min=minimum, max=info.maximum)
    return params, tuple(notes)


def _noise_ratios(curves: TrainingCurves, batch_exponent: float) -> int:
    """Number of different noise rates of runs after the warm-ups, up to each run's last step."""
    ratios = [np.zeros(0)]
    for run in np.unique(curves.run).tolist():
        if run not in curves.schedules:
            ratios.append(curves.learning_rate[[run]] / curves.batch_size[run] ** (1 - batch_exponent))
        else:
            step, _, noise_rate = curves.schedules[run].knots
            last = curves.step[curves.run == run][-1]
            part = (step >= curves.warmup_steps[run]) & (step <= last)
            ratios.append(noise_rate[part] * curves.batch_size[run] ** batch_exponent)
    return int(np.unique(np.concatenate(ratios)).size)


def fit_two_point(
    curves: TrainingCurves,
    params: Parameters | None = None,
    *,
    weights: Floats | None = None,
    progress: Callable[[float], object] | None = None,
    irreducible_prior: float = np.inf,
    near: Parameters | None = None,
) -> TwoPointFit:
    """Fit the law to all runs at once.

    A quasi-random search over the parameters in which the law is not linear, with the linear ones solved for, finds
    starts near the additive law's exponents; the best are refined by lmfit's trust-region least squares, within their
    bounds, and the best of these is the fit.

    Parameters
    ----------
    curves : TrainingCurves
        Observations.
    params : lmfit.Parameters, optional
        All parameters of the law; default :func:`default_parameters`. Values of free parameters are one more start.
    weights : ndarray, shape (obs,), optional
        Default :func:`default_weights`; zero leaves an observation out.
    progress : callable, optional
        Told the share of the work done, from 0 to 1.
    irreducible_prior : float, default inf
        Deviation of a weak prior on the irreducible loss around 0, in units of the smallest loss; infinite for none.
    near : lmfit.Parameters, optional
        Optimum of a similar fit: its values are the only start, and no search is made.

    Returns
    -------
    TwoPointFit

    Raises
    ------
    FitError
        If there are fewer observations than free parameters, or no start leads to a finite loss.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from .uncertainty import predicted_band
    >>> one, step = np.ones(1), np.geomspace(100, 1e5, 12)
    >>> planned = TrainingCurves(np.zeros(12, int), step, 8 * step, one, np.full(12, np.nan), np.array(["a"]),
    ...     1e4 * one, 0.1 * one, 8 * one, np.inf * one, 0 * one)
    >>> truth = twopoint.complete(dict(alpha=1.5, r=0.3, irreducible=0.5))
    >>> curves = replace(planned, loss=predicted_band(truth, None, planned, 1e4)[0])
    >>> params, _ = default_parameters(curves)
    >>> params["alpha"].set(value=1.5, vary=False)
    >>> print(round(fit_two_point(curves, params).params["r"].value, 2))
    0.3
    """
    weight = default_weights(curves) if weights is None else weights
    given = params
    chosen = curves.select(weight > 0)
    params, notes = default_parameters(chosen) if params is None else (params.copy(), ())
    defaults = "scalingeq.inference.fitting.default_parameters"
    problems = fit_problems(params, PARAMETERS, chosen, defaults)
    if "loss_exponent" in params and params["loss_exponent"].vary:
        problems.append("loss_exponent: cannot be fitted; hold it at a number, 0.5 for rates over the root of the loss")
    raise_problems(problems, FitError)

    additive = fit_additive(chosen)
    misfit = np.log(additive.loss(chosen.params[chosen.run], chosen.tokens) / chosen.loss)
    scale = max(weighted_spread(misfit, weight[weight > 0]), LEAST_SCALE)
    objective = Objective(curves, weight, scale, params, irreducible_prior)
    tell = progress or (lambda share: None)
    starts = [] if given is None else [params]
    once = np.where(np.isinf(curves.dataset_size[curves.run]), weight, 0.0)
    if near is not None:
        best = refine(objective, _started_at(params, near.valuesdict()), *FINE)
    elif params["samples_scale"].vary and np.count_nonzero(once) > sum(p.vary for p in params.values()):
        # Runs that repeat their data cost ten times the others: the latter alone find the basin.
        held = params.copy()
        held["samples_scale"].set(value=np.inf, vary=False)
        first = _best_of_many(
            Objective(curves, once, scale, held, irreducible_prior), held, additive, [], lambda share: tell(0.6 * share)
        )
        starts += [_with_samples(objective, params, first)]
        best = _best(objective, [refine(objective, start, *FINE) for start in starts])
    else:
        best = _best_of_many(objective, params, additive, starts, tell)
    if _cost(objective, best) >= 0.5 * (UNSTABLE**2):
        raise FitError(NO_START)
    # What the additive law misses is no error of the losses: the residuals themselves say how data weigh beside priors.
    # A poor optimum says it wrongly, and the better one to which the new weights lead says it again.
    for _ in range(MOST_WEIGHINGS):
        balance = covariance_of(objective, best).noise.balance
        weight = weight * np.sqrt(balance)
        objective = Objective(curves, weight, scale, params, irreducible_prior)
        best = refine(objective, best, *FINE)
        if abs(np.log(balance)) < BALANCED:
            break
    tell(1.0)
    found = covariance_of(objective, best)
    noise = found.noise
    notes += found.bound_notes(best)
    if noise.clustering > CLUSTERED:
        notes += (
            f"residuals of whole runs scatter {noise.clustering:.1f} times as much as their correlation along a run "
            f"makes of them: standard errors are too small, by a factor of about {np.sqrt(noise.clustering):.1f}",
        )
    notes += _missed_runs(objective, best)
    return TwoPointFit(
        law=twopoint.LAW_NAME,
        params=best,
        covariance=found.matrix,
        prior_share=found.prior_share,
        residual_scale=float(np.sqrt(noise.variance * np.mean(objective.spread**2))),
        noise=noise,
        weight=weight,
        misfit_scale=scale,
        irreducible_prior=irreducible_prior,
        notes=notes,
        reference={"reference_params": objective.reference_params},
        additive=additive,
    )


def _best_of_many(
    objective: Objective,
    params: Parameters,
    additive: AdditiveLaw,
    starts: list[Parameters],
    tell: Callable[[float], object],
) -> Parameters:
    """Refine the given starts and those of a search roughly, and the best of them to the end."""
    starts = starts + _search(objective, params, additive, lambda share: tell(0.3 * share))
    if not starts:
        raise FitError(NO_START)
    fits = []
    for number, start in enumerate(starts):
        fits.append(refine(objective, start, *ROUGH))
        tell(0.3 + 0.5 * (number + 1) / len(starts))
    return refine(objective, _best(objective, fits), *FINE)


def _started_at(params: Parameters, values: Mapping[str, float]) -> Parameters:
    """Copy of ``params`` whose free ones have the values, inside their bounds."""
    start = params.copy()
    for name, parameter in start.items():
        if parameter.vary and np.isfinite(values[name]):
            parameter.set(value=float(np.clip(values[name], parameter.min, parameter.max)))
    return start


def _best(objective: Objective, fits: list[Parameters]) -> Parameters:
    return min(fits, key=lambda fit: _cost(objective, fit))


def _with_samples(objective: Objective, params: Parameters, first: Parameters) -> Parameters:
    """Start of a fit of all runs from that of the one-pass runs: the best of a scan over ``samples_scale``."""
    unique = objective.settings.dataset_size
    size = float(np.median(unique[np.isfinite(unique)]))
    candidates = []
    for samples in np.geomspace(10.0, 1e6, 11):
        start = first.copy()
        bounds = params["samples_scale"]
        start["samples_scale"].set(value=samples / size, vary=True, min=bounds.min, max=bounds.max)
        candidates.append(start)
    return _best(objective, candidates)


def _cost(objective: Objective, params: Parameters) -> float:
    return float(np.sum(objective.residuals(params) ** 2))


def _search(
    objective: Objective, params: Parameters, additive: AdditiveLaw, tell: Callable[[float], object]
) -> list[Parameters]:
    """Best starts of a quasi-random search, with the linear parameters solved for."""
    from scipy.optimize import nnls
    from scipy.stats import qmc

    settings = objective.settings
    of_batch = params["batch_exponent"].value
    longest = float(settings.time(of_batch).max())
    noise_unit = float((settings.batch_size ** (1 - of_batch) / settings.learning_rate).min())
    unique = settings.dataset_size[np.isfinite(settings.dataset_size)]
    samples_unit = 1.0 / float(np.median(unique)) if unique.size else 1.0
    # (low, high) of a log-uniform search: around the additive law's exponents, and whatever time and width allow.
    ranges = {
        "alpha": (1.15, 3.0),
        "r": (0.25 * additive.data_exponent, additive.data_exponent),
        "time_scale": (1e1 / longest, 1e7 / longest),
        "width_scale": (twopoint.MINIMUM_WIDTH, 1e4),
        "width_exponent": (0.3, 1.5),
        "unlearnable_exponent": (0.1, 1.2),
        "noise_scale": (1e-3 * noise_unit, 0.5 * noise_unit),
        "rate_exponent": (0.6, 1.2),
        "samples_scale": (1e1 * samples_unit, 1e4 * samples_unit),
    }
    searched = [name for name in ranges if params[name].vary]
    count, kept = SEARCH_SCHEDULED if settings.schedules else SEARCH
    points = qmc.Sobol(max(len(searched), 1), seed=0).random(count)
    low, high = (np.log([ranges[name][side] for name in searched]) for side in (0, 1))
    row = objective.weight / (objective.spread * objective.used.loss)
    found: list[tuple[float, dict[str, float]]] = []
    # Copies take as long as losses: of all points one, and one of each that is kept.
    start = params.copy()
    linear_start = {name: params[name].value for name in LINEAR if params[name].vary}
    for number, point in enumerate(points):
        drawn = dict(zip(searched, np.exp(low + point[: len(searched)] * (high - low)), strict=True))
        for name, value in (linear_start | drawn).items():
            start[name].set(value=float(np.clip(value, start[name].min, start[name].max)))
        tell((number + 1) / count)
        try:
            columns = objective.columns(start.valuesdict())
        except NO_LOSS:
            continue
        amplitudes = np.array([start[name].value for name in LINEAR])
        linear = np.array([start[name].vary for name in LINEAR])
        target = (objective.used.loss - columns[:, ~linear] @ amplitudes[~linear]) * row
        if linear.any():
            amplitudes[linear] = nnls(columns[:, linear] * row[:, None], target)[0]
        for name, amplitude in zip(LINEAR, amplitudes, strict=True):
            if start[name].vary:
                # A little above zero: refinements start inside the bounds.
                start[name].set(value=float(max(amplitude, 1e-3 * objective.used.loss.min())))
        found.append((_cost(objective, start), start.valuesdict()))
    found.sort(key=lambda item: item[0])
    return [_started_at(params, values) for _, values in found[:kept]]


def _missed_runs(objective: Objective, params: Parameters) -> tuple[str, ...]:
    """Name the runs that the law describes far worse than the others: what sets them apart is not in the law."""
    misfit = objective.misfit(params.valuesdict())
    runs, number, count = np.unique(objective.used.run, return_inverse=True, return_counts=True)
    error = np.sqrt(np.bincount(number, misfit**2) / count)
    typical = float(np.median(error))
    missed = np.flatnonzero(error > MISSED * typical)
    if not missed.size:
        return ()
    worst = missed[np.argsort(-error[missed])][:3]
    named = ", ".join(f"{objective.used.name[runs[one]]} ({error[one]:.1%} RMS)" for one in worst)
    few = "" if missed.size <= 3 else f"{missed.size} runs, the worst being "
    return (f"the law misses {few}{named}; the median run by {typical:.1%}",)
