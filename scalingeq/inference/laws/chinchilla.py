"""The additive law of size and tokens (Chinchilla), with the weights of the fits here or the published objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ..curves import Floats, TrainingCurves
from ..twopoint import ParameterInfo
from .engine import LossLaw, Values


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
        "a": ParameterInfo("1", "exponent of the loss in model size", 1e-3, 10.0),
        "b": ParameterInfo("1", "exponent of the loss in tokens", 1e-3, 10.0),
    }
    amplitudes: ClassVar[tuple[str, ...]] = ("E", "A", "B")

    def problems(self, curves: TrainingCurves) -> list[str]:
        """Two sizes at least: with one, E and A could not be told apart."""
        sizes = np.unique(curves.params[curves.run]).size
        return [] if sizes > 1 else ["params: all runs have one model size; add runs of others, or hold A at 0"]

    def columns(self, values: Values, curves: TrainingCurves) -> Floats:
        """1, params^-a and tokens^-b."""
        params = curves.params[curves.run]
        return np.stack([np.ones_like(params), params ** -values["a"], curves.tokens ** -values["b"]], axis=1)

    def ranges(self, curves: TrainingCurves) -> dict[str, tuple[float, float]]:
        """Exponents as they were ever found."""
        return {"a": (0.05, 2.0), "b": (0.05, 2.0)}
