"""Frontiers read off measured losses without a loss surface: the envelope of curves, and minima at equal compute."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import FitError, ParameterError, raise_problems
from ..curves import Floats, TrainingCurves
from ..frontier import FLOPS_RULES, Frontier, tokens_for
from ..twopoint import ParameterInfo
from .interface import Law, LawFit, Plan

if TYPE_CHECKING:
    from lmfit import Parameters

SIX_ND = FLOPS_RULES["6ND"]
SAME_COMPUTE = 0.02  # in log compute: single points of a table that belong to one budget
BUDGETS, COMPUTES = 12, 100  # of curves, log-spaced over the computes that three sizes or more reach
DRAWS, SEED = 400, 0
NEIGHBOURS = 2  # sizes on either side of the best that a parabola goes through
ENOUGH = 0.8  # of the optima that a resample must have as well
GRID = 25  # points that Akima's interpolation is searched at, for each measured size but one
NOISE = 0.002
"""Standard deviation of a loss, in its unit, where the record has none: that between seeds in arXiv:2406.19146."""

EXPONENTS = np.geomspace(5e-3, 2.0, 400)


@dataclass(frozen=True)
class Optima:
    """Best size at each of some budgets, and what resampling makes of it.

    Attributes
    ----------
    compute : ndarray, shape (compute,)
        FLOPs.
    log_params, log_loss : ndarray, shape (compute,)
        Logarithms of the best size and of its loss; NaN where the best of the sizes is the smallest or the largest.
    drawn_params, drawn_loss : ndarray, shape (draw, compute)
        The same of each resample.
    """

    compute: Floats
    log_params: Floats
    log_loss: Floats
    drawn_params: Floats
    drawn_loss: Floats


@dataclass(frozen=True)
class FrontierFit(LawFit):
    """A frontier, and the optima that it goes through.

    Attributes
    ----------
    optima : Optima
        Best sizes at the budgets.
    """

    optima: Optima = field(kw_only=True)


class FrontierLaw(Law):
    """Power laws of compute through measured optima: size, tokens = C/(6 size), and a loss that saturates.

    params = best_params (C/C₀)^size_exponent, tokens = best_tokens (C/C₀)^data_exponent,
    loss = irreducible + reducible (C/C₀)^-loss_exponent, with C₀ the geometric mean of the budgets.
    """

    has_loss: ClassVar[bool] = False
    parameters: ClassVar[Mapping[str, ParameterInfo]] = {
        "best_params": ParameterInfo("1", "best model size at the reference compute", 0.0, np.inf),
        "size_exponent": ParameterInfo("1", "exponent of the best model size in compute", -np.inf, np.inf),
        "best_tokens": ParameterInfo("tokens", "best number of tokens at the reference compute", 0.0, np.inf),
        "data_exponent": ParameterInfo("1", "exponent of the best number of tokens in compute", -np.inf, np.inf),
        "irreducible": ParameterInfo("loss", "loss on the frontier that no compute removes", 0.0, np.inf),
        "reducible": ParameterInfo("loss", "what compute removes of it, at the reference compute", 0.0, np.inf),
        "loss_exponent": ParameterInfo("1", "exponent of that in compute", 0.0, np.inf),
    }

    @abstractmethod
    def optima(self, curves: TrainingCurves) -> Optima:
        """Best sizes at the budgets of these curves."""

    def problems(self, curves: TrainingCurves) -> list[str]:
        """Three sizes at least: the best of two is always at an end."""
        sizes = np.unique(curves.params[curves.run]).size
        return [] if sizes >= 3 else [f"params: {sizes} model size(s); a frontier needs 3 or more at the same compute"]

    def default_weights(self, curves: TrainingCurves) -> Floats:
        """All that comes after the warm-up: what is not the best at its compute drops out by itself."""
        return ((curves.step >= curves.warmup_steps[curves.run]) & (curves.tokens > 0)).astype(np.float64)

    def default_parameters(self, curves: TrainingCurves) -> tuple[Parameters, tuple[str, ...]]:
        """All parameters; they are read off, and cannot be held."""
        from lmfit import Parameters

        params = Parameters()
        for name, info in self.parameters.items():
            params.add(name, value=1.0, min=info.minimum, max=info.maximum)
        return params, ()

    def fit(
        self,
        curves: TrainingCurves,
        params: Parameters | None = None,
        *,
        weights: Floats | None = None,
        progress: Callable[[float], object] | None = None,
    ) -> FrontierFit:
        """Find the optima and lay power laws through them; the covariance is that of the resamples.

        Resamples add noise to losses that have theirs already, so that the errors stated are some 10 to 30 % too large.

        Weights tell the observations that are used, those above zero, and nothing else.
        """
        weight = self.default_weights(curves) if weights is None else weights
        chosen = curves.select(weight > 0)
        params = self.default_parameters(chosen)[0] if params is None else params.copy()
        held = [name for name in self.parameters if not (name in params and params[name].vary)]
        problems = self.problems(chosen)
        if held:
            problems.append(f"params: {', '.join(held)} held, but a frontier is read off the losses; leave all free")
        raise_problems(problems, FitError)
        optima = self.optima(chosen)
        found = np.isfinite(optima.log_params)
        if found.sum() < 3:
            raise FitError(
                f"params: only at {found.sum()} of {found.size} computes was the best size between others, and a "
                "frontier takes 3; add runs of smaller or larger models at the same compute"
            )
        reference = float(np.exp(np.log(optima.compute[found]).mean()))
        compute = optima.compute[found] / reference
        best = _power_laws(compute, optima.log_params[None, found], optima.log_loss[None, found], reference)[0]
        # A resample whose optima are mostly at an end of the sizes says little of the line through them.
        whole = np.isfinite(optima.drawn_params[:, found]).mean(axis=1) > ENOUGH
        drawn = _power_laws(
            compute, optima.drawn_params[whole][:, found], optima.drawn_loss[whole][:, found], reference
        )
        count = len(self.parameters)
        enough = whole.sum() > 2 * count
        covariance = np.cov(drawn, rowvar=False) if enough else np.zeros((count, count))
        for name, value, error in zip(self.parameters, best.tolist(), np.sqrt(np.diag(covariance)), strict=True):
            params[name].set(value=value)
            params[name].stderr = float(error) if enough else None
        irreducible, reducible, exponent = best[4:]
        misfit = optima.log_loss[found] - np.log(irreducible + reducible * compute**-exponent)
        notes = [] if enough else ["too few resamples have their optima between the measured sizes: no standard errors"]
        if not found.all():
            notes.append(f"at {np.sum(~found)} of {found.size} computes the best size is at an end of those measured")
        if progress is not None:
            progress(1.0)
        return FrontierFit(
            law=self.name,
            params=params,
            covariance=covariance,
            residual_scale=float(np.sqrt(np.mean(misfit**2))),
            weight=weight,
            notes=tuple(notes),
            reference={"reference_compute": reference},
            optima=optima,
        )

    def loss(self, values: Mapping[str, float], curves: TrainingCurves) -> Floats:
        """Refused: the law says what is best, and not what the rest would do."""
        raise ParameterError(
            f"loss: the law {self.name!r} has a frontier alone, and no loss for a given size and tokens; "
            "ask for its frontier, or fit another law"
        )

    def frontier(
        self, values: Mapping[str, float], compute: Floats, plan: Plan, *, start: Floats | None = None
    ) -> Frontier:
        """Power laws of compute."""
        ratio = compute / values["reference_compute"]
        reducible = values["reducible"] * ratio ** -values["loss_exponent"]
        loss, one = values["irreducible"] + reducible, np.ones_like(compute)
        return Frontier(
            loss=loss,
            params=values["best_params"] * ratio ** values["size_exponent"],
            tokens=values["best_tokens"] * ratio ** values["data_exponent"],
            size_exponent=values["size_exponent"] * one,
            data_exponent=values["data_exponent"] * one,
            loss_exponent=-values["loss_exponent"] * reducible / loss,
        )

    def plan_problems(self, values: Mapping[str, float], plan: Plan) -> list[str]:
        """The frontier was read off with one rule of compute."""
        problems = super().plan_problems(values, plan)
        if plan.flops is not SIX_ND:
            problems.append(f"flops: the law {self.name!r} was read off with 6ND; pass '6ND'")
        return problems


class Envelope(FrontierLaw):
    """The lower envelope of training curves (Hoffmann et al., arXiv:2203.15556, approach 1).

    At each of 100 computes the size of the run of lowest loss, curves interpolated in logarithms; resamples draw runs.

    Examples
    --------
    >>> Envelope().citation
    'Hoffmann et al., arXiv:2203.15556, approach 1'
    """

    name: ClassVar[str] = "envelope"
    version: ClassVar[str] = "1"
    title: ClassVar[str] = "envelope of training curves"
    citation: ClassVar[str] = "Hoffmann et al., arXiv:2203.15556, approach 1"

    def optima(self, curves: TrainingCurves) -> Optima:
        """Size and loss of the lowest run."""
        compute = shared_computes(curves, COMPUTES)
        losses, sizes = losses_at(curves, compute)
        log_loss = np.where(np.isnan(losses), np.inf, losses)
        log_size = np.log(sizes)
        chosen = np.random.default_rng(SEED).integers(sizes.size, size=(DRAWS, sizes.size))
        chosen = np.concatenate([np.arange(sizes.size)[None], chosen])
        params, lowest = (np.empty((len(chosen), compute.size)) for _ in range(2))
        for draw, runs in enumerate(chosen):
            some, size = log_loss[:, runs], log_size[runs]
            best = some.argmin(axis=1)
            there = np.isfinite(some)
            smaller, larger = size < size[best][:, None], size > size[best][:, None]
            inside = (there & smaller).any(axis=1) & (there & larger).any(axis=1)
            params[draw] = np.where(inside, size[best], np.nan)
            lowest[draw] = np.where(inside, some.min(axis=1), np.nan)
        return Optima(compute, params[0], lowest[0], params[1:], lowest[1:])


class Parabola(FrontierLaw):
    """Minima of parabolas in log size through the losses of one compute (Hoffmann et al., approach 2).

    Through the best size and two on either side of it. Resamples add the error of the losses, or where the record has
    none their scatter around the parabolas.

    Examples
    --------
    >>> Parabola().citation
    'Hoffmann et al., arXiv:2203.15556, approach 2'
    """

    name: ClassVar[str] = "isoflop"
    version: ClassVar[str] = "1"
    title: ClassVar[str] = "minima of IsoFLOP parabolas"
    citation: ClassVar[str] = "Hoffmann et al., arXiv:2203.15556, approach 2"

    def optima(self, curves: TrainingCurves) -> Optima:
        """Vertices of the parabolas."""
        compute = budgets(curves)
        tables = [_near_the_best(*table) for table in size_tables(curves, compute)]
        residual, freedom = 0.0, 0
        for size, loss, _ in tables:
            if size.size > 3:
                away = size - size.mean()
                residual += float(np.sum((loss - np.polyval(np.polyfit(away, loss, 2), away)) ** 2))
                freedom += size.size - 3
        scatter = np.sqrt(residual / freedom) if freedom else 0.0
        normal = np.random.default_rng(SEED)
        params, lowest = (np.full((1 + DRAWS, compute.size), np.nan) for _ in range(2))
        for number, (size, loss, stderr) in enumerate(tables):
            if size.size < 3:
                continue
            noise = np.where(np.isnan(stderr), scatter, stderr) * normal.standard_normal((DRAWS, size.size))
            noisy = loss + np.concatenate([np.zeros((1, size.size)), noise])
            bend, slope, level = np.polyfit(size - size.mean(), noisy.T, 2)
            with np.errstate(divide="ignore", invalid="ignore"):
                place = size.mean() - slope / (2 * bend)
                inside = (bend > 0) & (place > size[0]) & (place < size[-1])
                params[:, number] = np.where(inside, place, np.nan)
                lowest[:, number] = np.where(inside, level - slope**2 / (4 * bend), np.nan)
        return Optima(compute, params[0], lowest[0], params[1:], lowest[1:])


class Porian(FrontierLaw):
    """Minima of Akima's interpolation of log loss in log size at each compute (Porian et al., arXiv:2406.19146).

    Resamples add noise to the losses: the record's standard errors, else 0.002. The optimum is the median of those
    resamples that have one between the sizes measured, and there is none where fewer than half do.

    Examples
    --------
    >>> Porian().citation
    'Porian et al., arXiv:2406.19146'
    """

    name: ClassVar[str] = "porian"
    version: ClassVar[str] = "1"
    title: ClassVar[str] = "minima of interpolated IsoFLOP losses"
    citation: ClassVar[str] = "Porian et al., arXiv:2406.19146"

    def optima(self, curves: TrainingCurves) -> Optima:
        """Medians over noisy losses of the lowest point of the interpolation."""
        from scipy.interpolate import Akima1DInterpolator

        compute = budgets(curves)
        normal = np.random.default_rng(SEED)
        params, lowest = (np.full((DRAWS, compute.size), np.nan) for _ in range(2))
        for number, (size, loss, stderr) in enumerate(size_tables(curves, compute)):
            if size.size < 3:
                continue
            grid = np.linspace(size[0], size[-1], (size.size - 1) * GRID)
            error = np.where(np.isnan(stderr), NOISE / np.exp(loss), stderr)
            noisy = loss + np.log1p(error * normal.standard_normal((DRAWS, size.size)))
            curve = Akima1DInterpolator(size, noisy, axis=1)(grid)
            best = curve.argmin(axis=1)
            inside = (best > 0) & (best < grid.size - 1)
            params[:, number] = np.where(inside, grid[best], np.nan)
            lowest[:, number] = np.where(inside, curve.min(axis=1), np.nan)
        known = np.isfinite(params).sum(axis=0) >= DRAWS / 2
        middle = np.full((2, compute.size), np.nan)
        middle[:, known] = np.nanmedian(np.stack([params, lowest])[:, :, known], axis=1)
        return Optima(compute, middle[0], middle[1], params, lowest)


def losses_at(curves: TrainingCurves, compute: Floats) -> tuple[Floats, Floats]:
    """Log losses (compute, run) interpolated in logarithms, NaN outside of a run's points, and sizes (run,).

    Examples
    --------
    >>> from .interface import Plan, planned_runs
    >>> from dataclasses import replace
    >>> steps = np.geomspace(1, 1e4, 5)
    >>> curves = planned_runs(np.ones(1), steps[None], Plan())
    >>> curves = replace(curves, run=np.zeros(5, int), loss=steps**-0.5, params=np.ones(1), name=np.array(["a"]))
    >>> np.exp(losses_at(curves, np.array([6e2]))[0]).round(6).tolist()
    [[0.1]]
    """
    runs = np.unique(curves.run)
    spent = SIX_ND(curves.params[curves.run], curves.tokens)
    losses = np.full((compute.size, runs.size), np.nan)
    for column, run in enumerate(runs.tolist()):
        mine = (curves.run == run) & (spent > 0)
        x, y = np.log(spent[mine]), np.log(curves.loss[mine])
        losses[:, column] = np.interp(np.log(compute), x, y, left=np.nan, right=np.nan)
    return losses, curves.params[runs]


def shared_computes(curves: TrainingCurves, number: int) -> Floats:
    """Log-spaced computes that curves of three sizes or more pass.

    Raises
    ------
    FitError
        If there are none, or the record is a table of final losses.

    Examples
    --------
    >>> from .interface import Plan, planned_runs
    >>> shared_computes(planned_runs(np.ones(1), np.ones((1, 1)), Plan()), 3)
    Traceback (most recent call last):
        ...
    scalingeq.errors.FitError: step: a table of final losses has no curves; pass whole curves, or fit the law 'isoflop'
    """
    if np.bincount(curves.run).max() == 1:
        raise FitError("step: a table of final losses has no curves; pass whole curves, or fit the law 'isoflop'")
    spent = SIX_ND(curves.params[curves.run], curves.tokens)
    tried = np.geomspace(spent[spent > 0].min(), spent.max(), 1000)
    losses, sizes = losses_at(curves, tried)
    there = np.isfinite(losses)
    number_of_sizes = sum((there & (sizes == size)).any(axis=1).astype(int) for size in np.unique(sizes))
    shared = tried[np.asarray(number_of_sizes) >= 3]
    if shared.size < 2:
        raise FitError("step: at no compute are there curves of three sizes; pass whole curves of more sizes")
    return np.geomspace(shared[0], shared[-1], number)


def budgets(curves: TrainingCurves) -> Floats:
    """Computes of the IsoFLOP sets: those of a table of final losses, else 12 log-spaced ones."""
    if np.bincount(curves.run).max() > 1:
        return shared_computes(curves, BUDGETS)
    spent = np.sort(SIX_ND(curves.params[curves.run], curves.tokens))
    groups = np.split(spent, np.flatnonzero(np.diff(np.log(spent)) > SAME_COMPUTE) + 1)
    return np.array([np.exp(np.log(group).mean()) for group in groups if group.size >= 3])


def size_tables(curves: TrainingCurves, compute: Floats) -> list[tuple[Floats, Floats, Floats]]:
    """Log sizes ascending, lowest log loss of each, and its relative standard error (NaN: unknown), at each compute."""
    spent = SIX_ND(curves.params[curves.run], curves.tokens)
    sizes = curves.params[curves.run]
    single = np.bincount(curves.run).max() == 1
    losses, run_sizes = (np.empty(0), np.empty(0)) if single else losses_at(curves, compute)
    tables = []
    for number, here in enumerate(compute):
        if single:
            mine = np.abs(np.log(spent / here)) <= SAME_COMPUTE
            size, loss, stderr = sizes[mine], np.log(curves.loss[mine]), (curves.loss_stderr / curves.loss)[mine]
        else:
            mine = np.isfinite(losses[number])
            size, loss, stderr = run_sizes[mine], losses[number][mine], np.full(mine.sum(), np.nan)
        order = np.lexsort((loss, size))
        first = order[np.unique(size[order], return_index=True)[1]]
        tables.append((np.log(size[first]), loss[first], stderr[first]))
    return tables


def _near_the_best(size: Floats, loss: Floats, stderr: Floats) -> tuple[Floats, Floats, Floats]:
    """The best size and its neighbours on either side."""
    best = int(loss.argmin())
    some = slice(max(best - NEIGHBOURS, 0), best + NEIGHBOURS + 1)
    return size[some], loss[some], stderr[some]


def _power_laws(ratio: Floats, log_params: Floats, log_loss: Floats, reference: float) -> Floats:
    """Parameters (draw, 7) of frontiers through optima (draw, compute), those that there are, at computes C₀ ratio."""
    known = np.isfinite(log_params)
    log_params, loss = np.where(known, log_params, 0.0), np.exp(np.where(known, log_loss, 0.0))
    log_tokens = np.log(tokens_for(ratio * reference, np.exp(log_params), SIX_ND))
    lines = [value for logarithm in (log_params, log_tokens) for value in _lines(np.log(ratio), logarithm, known)]
    return np.stack([*lines, *saturating_power(ratio, loss, known)], axis=1)


def _lines(x: Floats, y: Floats, known: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Exponentials of the values at x = 0, and slopes (draw,), of straight lines through the ``known`` y (draw, x)."""
    count = known.sum(axis=1)
    middle, mean = (known @ x) / count, np.where(known, y, 0.0).sum(axis=1) / count
    away = np.where(known, x - middle[:, None], 0.0)
    slope = (away * y).sum(axis=1) / (away**2).sum(axis=1)
    return np.exp(mean - slope * middle), slope


def saturating_power(x: Floats, y: Floats, known: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Best c0, c1, p >= 0, arrays (draw,), of y = c0 + c1 x^-p through the ``known`` y (draw, x), in relative error.

    Examples
    --------
    >>> x = np.geomspace(0.1, 10, 9)
    >>> [value.round(3).item() for value in saturating_power(x, (2 + 0.5 * x**-0.3)[None], np.ones((1, 9), bool))]
    [2.0, 0.5, 0.3]
    """

    def search(exponents: NDArray[np.float64]) -> tuple[Floats, Floats, Floats]:
        """Misfit (exponent, draw) and the two coefficients, the exponents (exponent, draw)."""
        powers = x ** -exponents[..., None]
        one, power = known / y, powers * known / y  # columns in units of what they are to meet
        aa, ab, bb = (np.sum(left * right, axis=-1) for left, right in ((one, one), (one, power), (power, power)))
        a, b = one.sum(axis=-1), power.sum(axis=-1)
        level = np.clip((a * bb - b * ab) / (aa * bb - ab**2), 0.0, a / aa)
        rest = (b - level * ab) / bb
        misfit = np.sum((known - level[..., None] * one - rest[..., None] * power) ** 2, axis=-1)
        return misfit, level, rest

    exponents = np.broadcast_to(EXPONENTS[:, None], (EXPONENTS.size, len(y)))
    step = np.log(EXPONENTS[1] / EXPONENTS[0])
    for _ in range(4):
        misfit, level, rest = search(exponents)
        best, draw = misfit.argmin(axis=0), np.arange(len(y))
        found = level[best, draw], rest[best, draw], exponents[best, draw]
        exponents = found[2] * np.exp(step * np.linspace(-1, 1, 41))[:, None]
        step /= 20
    return found
