"""The additive law of size and tokens (Chinchilla), with the weights of the fits here or the published objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...errors import ParameterError
from ..curves import Floats, TrainingCurves
from ..robust import HUBER_THRESHOLD
from ..twopoint import ParameterInfo
from .additive import EXPONENTS, AdditiveProblem
from .engine import LogObjective, LossLaw, Values
from .interface import LawFit

if TYPE_CHECKING:
    from lmfit import Parameters

PUBLISHED_DELTA = 1e-3
"""Residual in log loss beyond which the published penalty is linear."""


class Chinchilla(LossLaw):
    """Loss E + A params^-a + B tokens^-b (Hoffmann et al., arXiv:2203.15556, approach 3).

    Examples
    --------
    >>> from .interface import Plan, planned_runs
    >>> hoffmann = {"E": 1.69, "A": 406.4, "B": 410.7, "a": 0.34, "b": 0.28}
    >>> Chinchilla().loss(hoffmann, planned_runs(np.array([70e9]), np.array([[1.4e12]]), Plan())).round(3)
    array([1.937])
    """

    name: ClassVar[str] = "chinchilla"
    version: ClassVar[str] = "1"
    title: ClassVar[str] = "additive law of size and tokens (Chinchilla)"
    citation: ClassVar[str] = "Hoffmann et al., arXiv:2203.15556, approach 3"
    parameters: ClassVar[Mapping[str, ParameterInfo]] = {
        "E": ParameterInfo("loss", "loss that no model and no data remove", 0.0, np.inf),
        "A": ParameterInfo("loss", "loss of a model of one parameter", 0.0, np.inf),
        "B": ParameterInfo("loss", "loss after one token", 0.0, np.inf),
        "a": ParameterInfo("1", "exponent of the loss in model size", *EXPONENTS),
        "b": ParameterInfo("1", "exponent of the loss in tokens", *EXPONENTS),
    }
    amplitudes: ClassVar[tuple[str, ...]] = ("E", "A", "B")

    def problems(self, curves: TrainingCurves) -> list[str]:
        """Losses before the first token have no place in the law."""
        return untrained_problems(curves)

    def default_parameters(self, curves: TrainingCurves) -> tuple[Parameters, tuple[str, ...]]:
        """All free; the size term held out where there is one size, which cannot tell it from E."""
        params, notes = super().default_parameters(curves)
        if np.unique(curves.params[curves.run]).size == 1:
            params["A"].set(value=0.0, vary=False)
            params["a"].set(vary=False)
            notes = (*notes, "size term held out: 1 model size, 2 or more determine it")
        return params, notes

    def columns(self, values: Values, curves: TrainingCurves) -> Floats:
        """1, params^-a and tokens^-b."""
        params = curves.params[curves.run]
        return np.stack([np.ones_like(params), params ** -values["a"], curves.tokens ** -values["b"]], axis=1)

    def ranges(self, curves: TrainingCurves) -> dict[str, tuple[float, float]]:
        """Exponents as they were ever found."""
        return {"a": (0.05, 2.0), "b": (0.05, 2.0)}

    def refine(self, objective: LogObjective, params: Parameters, starts: list[dict[str, float]]) -> Parameters:
        """Newton's method on the exact penalty, inside the bounds; with constraints as other laws do."""
        if objective.constrained:
            return super().refine(objective, params, starts)
        points, cost = _problem(objective, params).minimise(np.array([_point(start) for start in starts]))
        best = _values(points[cost.argmin()][None])[0]
        for name, value in zip(self.parameters, best, strict=True):
            if params[name].vary:
                params[name].set(value=float(np.clip(value, params[name].min, params[name].max)))
        return params

    def bootstrap(
        self,
        curves: TrainingCurves,
        fit: LawFit,
        draws: int = 4000,
        *,
        weights: Floats | None = None,
        seed: int = 0,
    ) -> Floats:
        """Optima of resampled runs: as many as there are, drawn with replacement; in a table a run is one point.

        Parameters
        ----------
        curves : TrainingCurves
            Observations that ``fit`` was made from.
        fit : LawFit
            Where each refit starts; parameters held there are held, and its bounds kept. The penalty becomes linear
            at the spread of its residuals, unless the law fixes where.
        draws : int
            Number of resamples.
        weights : ndarray, shape (obs,), optional
            Those of the fit.
        seed : int
            Of the random numbers.

        Returns
        -------
        ndarray, shape (draw, parameter)
            In the order of the law's parameters.

        Raises
        ------
        ParameterError
            If parameters of the fit are tied by constraints.

        Examples
        --------
        >>> from .interface import Plan, planned_runs
        >>> from dataclasses import replace
        >>> sizes, tokens = np.geomspace(1e6, 1e9, 12), np.geomspace(1e8, 1e11, 4)
        >>> curves = planned_runs(sizes, np.tile(tokens, (12, 1)), Plan())
        >>> hoffmann = {"E": 1.69, "A": 406.4, "B": 410.7, "a": 0.34, "b": 0.28}
        >>> noise = np.random.default_rng(0).normal(0, 0.01, 48)
        >>> curves = replace(curves, loss=Chinchilla().loss(hoffmann, curves) * np.exp(noise))
        >>> draws = Chinchilla().bootstrap(curves, Chinchilla().fit(curves), 100)
        >>> draws.shape, draws[:, 3].std().round(3).item()
        ((100, 5), 0.005)
        """
        weight = self.default_weights(curves) if weights is None else weights
        chosen = curves.select(weight > 0)
        objective = LogObjective(self, chosen, weight[weight > 0], self.huber_scale or fit.residual_scale, fit.params)
        if objective.constrained:
            raise ParameterError("fit: its parameters are tied by constraints; bootstrap a fit without them")
        _, number = np.unique(chosen.run, return_inverse=True)
        runs = number.max() + 1
        counts = np.random.default_rng(seed).multinomial(runs, np.full(runs, 1 / runs), size=draws)
        starts = np.repeat(_point(fit.params.valuesdict())[None], draws, axis=0)
        points, _ = _problem(objective, fit.params).minimise(starts, counts[:, number].astype(np.float64))
        return _values(points)


class ChinchillaHuber(Chinchilla):
    """The same law under the objective of its authors: Huber's penalty of threshold 1e-3, every observation alike.

    The sum over observations, by log-sum-exp, as in the reconstruction by Besiroglu et al. (arXiv:2404.10102).

    Examples
    --------
    >>> f"{ChinchillaHuber().huber_scale:.3g}"
    '0.000743'
    """

    name: ClassVar[str] = "chinchilla-huber"
    title: ClassVar[str] = "additive law of size and tokens, published objective"
    citation: ClassVar[str] = "Hoffmann et al., arXiv:2203.15556, approach 3; Besiroglu et al., arXiv:2404.10102"
    huber_scale = PUBLISHED_DELTA / HUBER_THRESHOLD

    def default_weights(self, curves: TrainingCurves) -> Floats:
        """One each, from the first token on."""
        return (curves.tokens > 0).astype(np.float64)


def untrained_problems(curves: TrainingCurves) -> list[str]:
    """What is wrong with observations for laws that fall as a power of the tokens.

    Examples
    --------
    >>> from .interface import Plan, planned_runs
    >>> untrained_problems(planned_runs(np.ones(1), np.ones((1, 1)), Plan()))
    []
    """
    untrained = int(np.sum(curves.tokens <= 0))
    return [f"tokens: {untrained} observations before the first token; give them the weight 0"] if untrained else []


def _problem(objective: LogObjective, params: Parameters) -> AdditiveProblem:
    """What a fit minimises, in the units of the parameters themselves: A of one parameter, B after one token."""
    curves = objective.used
    return AdditiveProblem(
        log_params=np.log(curves.params[curves.run]),
        log_tokens=np.log(curves.tokens),
        log_loss=np.log(curves.loss),
        factor=objective.weight / objective.spread,
        low=_point({name: params[name].min for name in params}),
        high=_point({name: params[name].max for name in params}),
        free=np.array([params[name].vary for name in Chinchilla.parameters]),
    )


def _point(values: Values) -> Floats:
    """Logarithms of the amplitudes, and the exponents."""
    point = np.array([values[name] for name in Chinchilla.parameters])
    with np.errstate(divide="ignore"):
        point[:3] = np.log(point[:3])
    return point


def _values(points: Floats) -> Floats:
    """Parameters (fit, parameter) at points of the fit."""
    return np.concatenate([np.exp(points[:, :3]), points[:, 3:]], axis=1)
