"""The broken neural scaling law with one break: a power of the tokens that turns smoothly into another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..curves import Floats, TrainingCurves
from ..twopoint import ParameterInfo
from .chinchilla import untrained_problems
from .engine import LossLaw, Values
from .sizes import hold_size, size_column

if TYPE_CHECKING:
    from lmfit import Parameters


class BrokenPower(LossLaw):
    """Loss E + A params^-a + B tokens^-b0 (1 + (tokens/d)^(1/f))^(-(b1 - b0) f).

    The power b0 of the tokens turns into b1 around d tokens, over about f natural logarithms of them to either side.

    Notes
    -----
    Caballero et al., arXiv:2210.14891, equation 1 with one break: a = E, c0 = b0, c1 = b1 - b0. The law there is of one
    quantity, here the tokens; size adds a term of its own, as in Hoffmann et al., arXiv:2203.15556, so that it can be
    extrapolated. Both powers are falling ones.

    Examples
    --------
    >>> from .interface import Plan, planned_runs
    >>> values = dict(E=1.0, A=0.0, B=10.0, a=0.3, b0=0.1, b1=0.5, d=1e6, f=0.2)
    >>> BrokenPower().loss(values, planned_runs(np.array([1e6]), np.array([[1.0, 1e6, 1e12]]), Plan())).round(4)
    array([11.    ,  3.3764,  1.0025])
    """

    name: ClassVar[str] = "broken"
    version: ClassVar[str] = "1"
    title: ClassVar[str] = "broken neural scaling law"
    citation: ClassVar[str] = "Caballero et al., arXiv:2210.14891"
    parameters: ClassVar[Mapping[str, ParameterInfo]] = {
        "E": ParameterInfo("loss", "loss that no model and no data remove", 0.0, np.inf),
        "A": ParameterInfo("loss", "loss of a model of one parameter", 0.0, np.inf),
        "B": ParameterInfo("loss", "loss after one token, of the power before the break", 0.0, np.inf),
        "a": ParameterInfo("1", "exponent of the loss in model size", 1e-3, 10.0),
        "b0": ParameterInfo("1", "exponent of the loss in tokens before the break", 1e-3, 10.0),
        "b1": ParameterInfo("1", "exponent of the loss in tokens after the break", 1e-3, 10.0),
        "d": ParameterInfo("tokens", "tokens at the break", 1.0, np.inf),
        "f": ParameterInfo("1", "width of the break in natural logarithms of the tokens", 0.02, 10.0),
    }
    amplitudes: ClassVar[tuple[str, ...]] = ("E", "A", "B")

    def problems(self, curves: TrainingCurves) -> list[str]:
        """Losses before the first token have no place in the law."""
        return untrained_problems(curves)

    def default_parameters(self, curves: TrainingCurves) -> tuple[Parameters, tuple[str, ...]]:
        """All free, the break inside the tokens seen; size where there are two sizes or more."""
        params, _ = super().default_parameters(curves)
        low, high = self.ranges(curves)["d"]
        params["d"].set(min=low, max=high)
        return params, hold_size(params, curves, "A", "a")

    def columns(self, values: Values, curves: TrainingCurves) -> Floats:
        """1, params^-a and the broken power."""
        log = np.log(curves.tokens)
        turned = values["f"] * np.logaddexp(0.0, (log - np.log(values["d"])) / values["f"])
        power = np.exp(-values["b0"] * log - (values["b1"] - values["b0"]) * turned)
        return np.stack([np.ones_like(log), size_column(curves, values["a"]), power], axis=1)

    def ranges(self, curves: TrainingCurves) -> dict[str, tuple[float, float]]:
        """Exponents as they were ever found, and breaks among the tokens seen."""
        seen = (float(curves.tokens.min()), float(curves.tokens.max()))
        return {"a": (0.05, 2.0), "b0": (0.05, 2.0), "b1": (0.05, 2.0), "d": seen, "f": (0.1, 2.0)}
