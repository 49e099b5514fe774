"""What all laws share: names, parameters, a fit, the predicted loss with its band, and the compute-optimal frontier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..curves import Floats, TrainingCurves
from ..frontier import FLOPS_RULES, FlopsRule, Frontier, LossSurface, optimal_sizes, propagated
from ..twopoint import ParameterInfo
from ..uncertainty import propagate

if TYPE_CHECKING:
    from lmfit import Parameters

STEP = 1e-5
"""Relative step of central difference quotients in a parameter."""


def fit_problems(params: Parameters, names: Iterable[str], curves: TrainingCurves, defaults: str) -> list[str]:
    """What makes a fit of ``params`` to ``curves`` impossible: parameters ``names`` that are missing, or too few observations.

    ``defaults`` tells where all parameters are had.

    Examples
    --------
    >>> import lmfit
    >>> curves = TrainingCurves(*[np.zeros(0)] * 11)
    >>> fit_problems(lmfit.create_params(a=1.0), ["a", "b"], curves, "the defaults")[0]
    'params: b missing; start from the defaults'
    """
    problems = []
    if missing := [name for name in names if name not in params]:
        problems.append(f"params: {', '.join(missing)} missing; start from {defaults}")
    free = sum(parameter.vary for parameter in params.values())
    if curves.run.size <= free:
        problems.append(
            f"loss: {curves.run.size} observations with weight above zero for {free} free parameters; "
            "add runs or points, or hold parameters by passing their values"
        )
    return problems


@dataclass(frozen=True)
class Plan:
    """Runs planned along a frontier: constant rate and batch size, unique tokens that exist, and what compute counts.

    Attributes
    ----------
    learning_rate, batch_size, dataset_size : float
        As in :class:`~scalingeq.inference.curves.TrainingCurves`; laws of size and tokens alone do not look at them.
    test_eigenvalues : ndarray, shape (mode,), or None
        Measured variance of the test inputs along the modes.
    flops : callable
        Compute of (params, tokens).
    """

    learning_rate: float = 1.0
    batch_size: float = 1.0
    dataset_size: float = np.inf
    test_eigenvalues: Floats | None = None
    flops: FlopsRule = FLOPS_RULES["6ND"]


@dataclass(frozen=True)
class LawFit:
    """A fit of any law.

    Attributes
    ----------
    law : str
        Name of the law.
    params : lmfit.Parameters
        Values, bounds and standard errors.
    covariance : ndarray, shape (parameter, parameter)
        Of all parameters in the order of ``params``; zero where a parameter was held or stopped at a bound.
    residual_scale : float
        Spread of the log residuals, each curve counted as 4 points.
    weight : ndarray, shape (obs,)
        Weight of each observation in the end; zero: not used.
    notes : tuple of str
        What a reader of the parameters must know: parameters held, at a bound, or not determined.
    reference : mapping of str to float
        Sizes that amplitudes refer to, by name, where they do not refer to one parameter and one token.
    """

    law: str
    params: Parameters
    covariance: Floats
    residual_scale: float
    weight: Floats
    notes: tuple[str, ...] = ()
    reference: Mapping[str, float] = field(default_factory=dict)

    @property
    def used(self) -> NDArray[np.bool_]:
        """Observations (obs,) with a weight above zero."""
        return self.weight > 0

    @property
    def values(self) -> dict[str, float]:
        """Parameters and reference sizes by name: what :meth:`Law.loss` and :meth:`Law.frontier` take."""
        return {**self.params.valuesdict(), **self.reference}


class Law(ABC):
    """A law of measured losses: subclasses say what the loss is and how it is fitted.

    Attributes
    ----------
    name, version, title, citation : str
        Name by which fits ask for the law, version of its definition, what reports call it, and the paper.
    parameters : mapping of str to ParameterInfo
        Unit, meaning and bounds of each parameter, in the order of tables.
    needs : tuple of str
        What the loss of a planned run depends on beside size and tokens: ``learning_rate``, ``batch_size``.
    has_loss : bool
        Whether there is a loss for every size and tokens, and not a frontier alone.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    title: ClassVar[str]
    citation: ClassVar[str]
    parameters: ClassVar[Mapping[str, ParameterInfo]]
    needs: ClassVar[tuple[str, ...]] = ()
    has_loss: ClassVar[bool] = True

    def problems(self, curves: TrainingCurves) -> list[str]:
        """Why these curves cannot be fitted with this law, and what to pass instead; empty where they can."""
        return []

    @abstractmethod
    def default_parameters(self, curves: TrainingCurves) -> tuple[Parameters, tuple[str, ...]]:
        """Parameters of a default fit, what the curves can determine free, and notes on what is held and why."""

    def default_weights(self, curves: TrainingCurves) -> Floats:
        """Weight (obs,) of each observation in a default fit: zero leaves it out."""
        from ..fitting import default_weights

        return default_weights(curves)

    @abstractmethod
    def fit(
        self,
        curves: TrainingCurves,
        params: Parameters | None = None,
        *,
        weights: Floats | None = None,
        progress: Callable[[float], object] | None = None,
    ) -> LawFit:
        """Fit the law to all runs at once, residuals in log loss.

        Parameters
        ----------
        curves : TrainingCurves
            Observations.
        params : lmfit.Parameters, optional
            All parameters of the law; default :meth:`default_parameters`.
        weights : ndarray, shape (obs,), optional
            Zero leaves an observation out; default :meth:`default_weights`.
        progress : callable, optional
            Told the share of the work done, from 0 to 1.

        Raises
        ------
        FitError
            With all :meth:`problems`, or if no start leads to a finite loss.
        """

    @abstractmethod
    def loss(self, values: Mapping[str, float], curves: TrainingCurves) -> Floats:
        """Loss (obs,) for the runs and steps of ``curves``, whose own losses are not looked at.

        Parameters
        ----------
        values : mapping
            All parameters, and the reference sizes if the law has any: :attr:`LawFit.values`.
        curves : TrainingCurves
            Runs and steps.

        Raises
        ------
        ParameterError
            If the law has a frontier alone.
        """

    def log_jacobian(self, values: Mapping[str, float], curves: TrainingCurves, names: list[str]) -> Floats:
        """Derivatives (obs, name) of the log loss in the parameters ``names``, by central differences."""
        columns = np.empty((curves.run.size, len(names)))
        for number, name in enumerate(names):
            step = STEP * max(abs(values[name]), 1e-3)
            above, below = (self.loss({**values, name: values[name] + sign * step}, curves) for sign in (1, -1))
            columns[:, number] = (np.log(above) - np.log(below)) / (2 * step)
        return columns

    def loss_band(
        self, values: Mapping[str, float], covariance: Floats | None, curves: TrainingCurves
    ) -> tuple[Floats, Floats | None]:
        """Loss (obs,) and its standard error (obs,), to first order, where there is a covariance."""
        # Before the first token a power law is infinite, and its band not a number: true, and no reason to warn.
        with np.errstate(divide="ignore", invalid="ignore"):
            loss = self.loss(values, curves)
            if covariance is None:
                return loss, None
            names = [name for name in values if name in self.parameters]
            uncertain = np.flatnonzero(np.diag(covariance) > 0)
            derivative = self.log_jacobian(values, curves, [names[number] for number in uncertain])
            return loss, loss * propagate(derivative, covariance[np.ix_(uncertain, uncertain)])

    def prediction(self, fit: LawFit, curves: TrainingCurves) -> tuple[Floats, Floats]:
        """Log loss (obs,) of a fit, and the scale (obs,) of its band: errors of the parameters, and spread of residuals."""
        loss, error = self.loss_band(fit.values, fit.covariance, curves)
        relative = 0.0 if error is None else error / loss
        return np.log(loss), np.hypot(relative, fit.residual_scale)

    def frontier(
        self, values: Mapping[str, float], compute: Floats, plan: Plan, *, start: Floats | None = None
    ) -> Frontier:
        """Lowest loss at each compute, and the size and tokens that reach it.

        Parameters
        ----------
        values : mapping
            As in :meth:`loss`.
        compute : ndarray, shape (compute,)
            FLOPs.
        plan : Plan
            The runs planned: rate, batch size, unique tokens and the FLOPs of size and tokens.
        start : ndarray, shape (compute,), optional
            Sizes near the optimum.

        Raises
        ------
        ConvergenceError
            If no size is optimal.
        """
        return optimal_sizes(_PlannedRuns(plan.batch_size, plan.flops, self, values, plan), compute, start)

    def frontier_band(
        self, values: Mapping[str, float], covariance: Floats | None, compute: Floats, plan: Plan
    ) -> tuple[Frontier, Frontier]:
        """Frontier at the best fit, and standard errors from its covariance, to first order.

        The errors of ``loss``, ``params`` and ``tokens`` are those of their logarithms.
        """
        parameters = {name: value for name, value in values.items() if name in self.parameters}
        reference = {name: value for name, value in values.items() if name not in self.parameters}

        def find(moved: Mapping[str, float], start: Floats | None) -> Frontier:
            return self.frontier({**moved, **reference}, compute, plan, start=start)

        return propagated(find, parameters, covariance)

    def plan_problems(self, values: Mapping[str, float], plan: Plan) -> list[str]:
        """Why this fit cannot tell the frontier of these runs, and what to pass instead."""
        if np.isfinite(plan.dataset_size):
            return [f"data_limit: the {self.title} does not know repeated data; pass None"]
        return []


@dataclass(frozen=True)
class _PlannedRuns(LossSurface):
    """Losses that a law predicts for planned runs."""

    batch_size: float
    flops: FlopsRule
    law: Law
    values: Mapping[str, float]
    plan: Plan

    def loss(self, params: Floats, tokens: Floats) -> Floats:
        size = params.ravel()
        steps = tokens.reshape(size.size, -1) / self.batch_size
        return self.law.loss(self.values, planned_runs(size, steps, self.plan)).reshape(tokens.shape)


def planned_runs(params: Floats, steps: Floats, plan: Plan) -> TrainingCurves:
    """Curves of planned runs of sizes (run,) at steps (run, T), without losses.

    Examples
    --------
    >>> planned_runs(np.array([1e6]), np.array([[10.0, 100.0]]), Plan(learning_rate=0.1, batch_size=8.0)).tokens
    array([ 80., 800.])
    """
    # Steps of a run ascend in curves, and need not here: every point is a run of its own.
    step, one = steps.ravel(), np.ones(steps.size)
    return TrainingCurves(
        run=np.arange(step.size),
        step=step,
        tokens=plan.batch_size * step,
        loss=np.full(step.size, np.nan),
        loss_stderr=np.full(step.size, np.nan),
        name=np.full(step.size, "planned"),
        params=np.repeat(params, steps.shape[1]),
        learning_rate=plan.learning_rate * one,
        batch_size=plan.batch_size * one,
        dataset_size=plan.dataset_size * one,
        warmup_steps=0 * one,
        test_eigenvalues=plan.test_eigenvalues,
    )
