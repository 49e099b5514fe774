"""The additive law in intrinsic time with a noise that follows the rate: the plain rival of laws of schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..curves import Floats, TrainingCurves
from ..twopoint import ParameterInfo
from .engine import LossLaw, Values
from .multipower import no_rate_problems
from .rates import areas, rates_now
from .sizes import hold_size, size_column

if TYPE_CHECKING:
    from lmfit import Parameters


class RateNoise(LossLaw):
    """Loss E + A params^-a + B tau^-b + C u: the additive law in intrinsic time, and a noise as high as the rate.

    tau is the tokens seen, each counted with the learning rate of its step relative to the highest of the run, and u that
    relative rate at the observation. At a constant rate without a warm-up tau is the tokens and the law is that of
    Hoffmann et al., arXiv:2203.15556, approach 3, which cannot tell C from E: C is held at zero then.

    Examples
    --------
    >>> from ...theory.schedule import Schedule
    >>> one, step = np.ones(1), np.array([10.0, 20.0])
    >>> curves = TrainingCurves(np.zeros(2, int), step, 8 * step, one, one, np.array(["a"]), one, one, 8 * one, one, 0 * one,
    ...     {0: Schedule([0, 10, 20], [1.0, 1.0, 0.0], [0.0] * 3)})
    >>> RateNoise().loss(dict(E=1.0, A=0.0, B=1.0, C=0.5, a=0.5, b=1.0), curves).round(4)
    array([1.5125, 1.0083])
    """

    name: ClassVar[str] = "rate_noise"
    version: ClassVar[str] = "1"
    title: ClassVar[str] = "additive law in intrinsic time with noise of the rate"
    citation: ClassVar[str] = "after Hoffmann et al., arXiv:2203.15556, approach 3"
    parameters: ClassVar[Mapping[str, ParameterInfo]] = {
        "E": ParameterInfo("loss", "loss that no model and no data remove, at a rate of zero", 0.0, np.inf),
        "A": ParameterInfo("loss", "loss of a model of one parameter", 0.0, np.inf),
        "B": ParameterInfo("loss", "loss after one token at the highest rate", 0.0, np.inf),
        "C": ParameterInfo("loss", "noise of the loss at the highest rate of a run", 0.0, np.inf),
        "a": ParameterInfo("1", "exponent of the loss in model size", 1e-3, 10.0),
        "b": ParameterInfo("1", "exponent of the loss in intrinsic time", 1e-3, 10.0),
    }
    amplitudes: ClassVar[tuple[str, ...]] = ("E", "A", "B", "C")

    def problems(self, curves: TrainingCurves) -> list[str]:
        """Observations before anything was learned."""
        return no_rate_problems(curves)

    def default_parameters(self, curves: TrainingCurves) -> tuple[Parameters, tuple[str, ...]]:
        """Size free where there are two sizes or more, and the noise where the rate changes between observations."""
        params, _ = super().default_parameters(curves)
        notes = hold_size(params, curves, "A", "a")
        if np.ptp(self._relative_rate(curves)) == 0:
            params["C"].set(value=0.0, vary=False)
            notes += ("C held at 0: the rate of every run is the same at all observations",)
        return params, notes

    def columns(self, values: Values, curves: TrainingCurves) -> Floats:
        """1, params^-a, tau^-b and u."""
        relative = self._relative_rate(curves)
        mean = np.divide(areas(curves), curves.step, out=np.zeros_like(curves.step), where=curves.step > 0)
        time = curves.tokens * mean / curves.learning_rate[curves.run]
        size = size_column(curves, values["a"])
        return np.stack([np.ones_like(time), size, time ** -values["b"], relative], axis=1)

    def ranges(self, curves: TrainingCurves) -> dict[str, tuple[float, float]]:
        """Exponents as they were ever found."""
        return {"a": (0.05, 2.0), "b": (0.05, 2.0)}

    def _relative_rate(self, curves: TrainingCurves) -> Floats:
        return np.asarray(rates_now(curves) / curves.learning_rate[curves.run])
