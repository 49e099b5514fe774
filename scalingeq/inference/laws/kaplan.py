"""The law of size and tokens of Kaplan et al."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ..curves import Floats, TrainingCurves
from ..twopoint import ParameterInfo
from .chinchilla import untrained_problems
from .engine import LARGEST, LossLaw, Values, nonnegative


class Kaplan(LossLaw):
    """Loss [(Nc/params)^(aN/aD) + Dc/tokens]^aD (Kaplan et al., arXiv:2001.08361, equation 1.5).

    ``params`` are without embeddings there; nothing in the loss is irreducible.

    Examples
    --------
    >>> from .interface import Plan, planned_runs
    >>> published = {"Nc": 6.4e13, "Dc": 1.8e13, "aN": 0.076, "aD": 0.103}
    >>> Kaplan().loss(published, planned_runs(np.array([1.5e9]), np.array([[22e9]]), Plan())).round(3)
    array([2.313])
    """

    name: ClassVar[str] = "kaplan"
    version: ClassVar[str] = "1"
    title: ClassVar[str] = "law of size and tokens of Kaplan et al."
    citation: ClassVar[str] = "Kaplan et al., arXiv:2001.08361, equation 1.5"
    parameters: ClassVar[Mapping[str, ParameterInfo]] = {
        "Nc": ParameterInfo("1", "size at which the loss would be 1, without end of data", 0.0, LARGEST),
        "Dc": ParameterInfo("tokens", "tokens at which the loss would be 1, for a model without end", 0.0, LARGEST),
        "aN": ParameterInfo("1", "exponent of the loss in model size", 1e-3, 10.0),
        "aD": ParameterInfo("1", "exponent of the loss in tokens", 1e-3, 10.0),
    }

    def problems(self, curves: TrainingCurves) -> list[str]:
        """Two sizes at least: one would fix neither Nc nor aN."""
        sizes = np.unique(curves.params[curves.run]).size
        one_size = ["params: all runs have one model size; add runs of others, this law has no loss without size"]
        return untrained_problems(curves) + one_size * (sizes == 1)

    def loss(self, values: Values, curves: TrainingCurves) -> Floats:
        """Loss (obs,) of the law."""
        size = (values["Nc"] / curves.params[curves.run]) ** (values["aN"] / values["aD"])
        return np.asarray((size + values["Dc"] / curves.tokens) ** values["aD"])

    def log_jacobian(self, values: Values, curves: TrainingCurves, names: list[str]) -> Floats:
        """Derivatives (obs, name) of the log loss in closed form."""
        log_size = np.log(values["Nc"] / curves.params[curves.run])
        size, data = np.exp(values["aN"] / values["aD"] * log_size), values["Dc"] / curves.tokens
        share = size / (size + data)
        derivative = {
            "Nc": share * values["aN"] / values["Nc"],
            "Dc": (1 - share) * values["aD"] / values["Dc"],
            "aN": share * log_size,
            "aD": np.log(size + data) - share * values["aN"] / values["aD"] * log_size,
        }
        return np.stack([derivative[name] for name in names], axis=1)

    def solve_amplitudes(
        self, values: Values, curves: TrainingCurves, weight: Floats, free: list[str]
    ) -> dict[str, float]:
        """Nc and Dc, whose power aN/aD and which themselves loss^(1/aD) is linear in."""
        exponent, target = values["aN"] / values["aD"], curves.loss ** (1 / values["aD"])
        columns = np.stack([curves.params[curves.run] ** -exponent, 1 / curves.tokens], axis=1)
        size, data = nonnegative(columns, target, weight / target).tolist()
        # Exponents far from those of the data take Nc beyond the largest number: such a start may as well be near it.
        log_size = np.log(size) / exponent if size > 0 else -np.inf
        return {"Nc": float(np.exp(min(log_size, np.log(LARGEST)))), "Dc": data}

    def ranges(self, curves: TrainingCurves) -> dict[str, tuple[float, float]]:
        """Exponents as they were ever found."""
        return {"aN": (0.02, 1.0), "aD": (0.02, 1.0)}
