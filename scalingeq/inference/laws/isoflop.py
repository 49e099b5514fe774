"""Frontiers read off measured losses without a loss surface: the envelope of curves, and minima at equal compute."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, FitError, ParameterError, raise_problems
from ..curves import Floats, TrainingCurves
from ..envelope import lower_envelope
from ..frontier import FLOPS_RULES, Frontier, tokens_for
from ..measured_losses import budgets, is_table, losses_at, run_draws
from ..parabolas import isoflop_minima
from ..power_fits import lines, saturating_power
from ..twopoint import ParameterInfo
from .interface import Law, LawFit, Plan

if TYPE_CHECKING:
    from lmfit import Parameters

SIX_ND = FLOPS_RULES["6ND"]
COMPUTES = 100  # of an envelope, log-spaced
ENOUGH = 0.8  # of the optima that a resample must have as well
GRID = 25  # points that Akima's interpolation is searched at, for each measured size but one
NOISE = 0.002
"""Standard deviation of a loss, in its unit, where the record has none: that between seeds in arXiv:2406.19146."""


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

        Resamples add noise to losses that have theirs already: on tables of losses the errors stated are some 20 to 35 %
        too large. They keep the computes at which the losses as they are have an optimum: on curves these move with the
        noise of whole runs, and the errors stated are about a third too small.

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
        try:
            optima = self.optima(chosen)
        except DataError as refusal:  # no compute has its best size between others
            raise FitError(refusal.problems) from refusal
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

    At each of 100 computes the run of lowest loss: :func:`~scalingeq.inference.envelope.lower_envelope`.

    Examples
    --------
    >>> Envelope().citation
    'Hoffmann et al., arXiv:2203.15556, approach 1'
    """

    name: ClassVar[str] = "envelope"
    version: ClassVar[str] = "2"
    title: ClassVar[str] = "envelope of training curves"
    citation: ClassVar[str] = "Hoffmann et al., arXiv:2203.15556, approach 1"

    def problems(self, curves: TrainingCurves) -> list[str]:
        """A point of a run belongs to one compute, a curve to all that it passes."""
        problems = super().problems(curves)
        if is_table(curves):
            problems.append("step: a table of final losses has no curves; pass whole curves, or fit the law 'isoflop'")
        return problems

    def optima(self, curves: TrainingCurves) -> Optima:
        """Size and loss of the lowest run."""
        compute = budgets(curves, number=COMPUTES)
        found = lower_envelope(losses_at(curves, compute))
        params, loss = (np.where(found.is_inside, found.drawn[name], np.nan) for name in ("params", "loss"))
        return Optima(compute, params[0], loss[0], params[1:], loss[1:])


class Parabola(FrontierLaw):
    """Minima of parabolas in log size through the losses of one compute (Hoffmann et al., approach 2).

    Those of :func:`~scalingeq.inference.parabolas.isoflop_minima`.

    Examples
    --------
    >>> Parabola().citation
    'Hoffmann et al., arXiv:2203.15556, approach 2'
    """

    name: ClassVar[str] = "isoflop"
    version: ClassVar[str] = "2"
    title: ClassVar[str] = "minima of IsoFLOP parabolas"
    citation: ClassVar[str] = "Hoffmann et al., arXiv:2203.15556, approach 2"

    def optima(self, curves: TrainingCurves) -> Optima:
        """Vertices of the parabolas."""
        compute = budgets(curves)
        drawn = isoflop_minima(losses_at(curves, compute)).drawn
        return Optima(compute, drawn["params"][0], drawn["loss"][0], drawn["params"][1:], drawn["loss"][1:])


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
    version: ClassVar[str] = "2"
    title: ClassVar[str] = "minima of interpolated IsoFLOP losses"
    citation: ClassVar[str] = "Porian et al., arXiv:2406.19146"

    def optima(self, curves: TrainingCurves) -> Optima:
        """Medians over noisy losses of the lowest point of the interpolation."""
        from scipy.interpolate import Akima1DInterpolator

        stderr = np.where(np.isnan(curves.loss_stderr), NOISE, curves.loss_stderr)
        losses = losses_at(replace(curves, loss_stderr=stderr), budgets(curves))
        normal = run_draws(losses.params.size)[1:]
        params, lowest = (np.full((len(normal), losses.compute.size), np.nan) for _ in range(2))
        for row, log_loss in enumerate(losses.log_loss):
            runs = _lowest_of_each_size(log_loss, losses.params)
            if runs.size < 3:
                continue
            size = np.log(losses.params[runs])
            grid = np.linspace(size[0], size[-1], (size.size - 1) * GRID)
            noisy = log_loss[runs] + losses.stderr[row, runs] * normal[:, runs]
            curve = Akima1DInterpolator(size, noisy, axis=1)(grid)
            best = curve.argmin(axis=1)
            inside = (best > 0) & (best < grid.size - 1)
            params[:, row] = np.where(inside, grid[best], np.nan)
            lowest[:, row] = np.where(inside, curve.min(axis=1), np.nan)
        known = np.isfinite(params).mean(axis=0) >= 0.5
        middle = np.full((2, losses.compute.size), np.nan)
        middle[:, known] = np.nanmedian(np.stack([params, lowest])[:, :, known], axis=1)
        return Optima(losses.compute, middle[0], middle[1], params, lowest)


def _lowest_of_each_size(log_loss: Floats, params: Floats) -> NDArray[np.int64]:
    """Numbers (size,) of the runs of lowest loss, sizes ascending, those without a loss left out."""
    order = np.lexsort((log_loss, params))
    order = order[np.isfinite(log_loss[order])]
    return order[np.unique(params[order], return_index=True)[1]]


def _power_laws(ratio: Floats, log_params: Floats, log_loss: Floats, reference: float) -> Floats:
    """Parameters (draw, 7) of frontiers through optima (draw, compute), those that there are, at computes C₀ ratio."""
    known = np.isfinite(log_params)
    log_params, loss = np.where(known, log_params, 0.0), np.exp(np.where(known, log_loss, 0.0))
    log_tokens = np.log(tokens_for(ratio * reference, np.exp(log_params), SIX_ND))
    straight = (lines(np.log(ratio), logarithm, known) for logarithm in (log_params, log_tokens))
    powers = [value for level, slope in straight for value in (np.exp(level), slope)]
    return np.stack([*powers, *saturating_power(ratio, loss, known)], axis=1)
