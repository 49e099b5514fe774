"""M4: a power of the tokens that leaves the loss of guessing smoothly, given as an equation for the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..curves import Floats, TrainingCurves
from ..twopoint import ParameterInfo
from .chinchilla import untrained_problems
from .engine import TINY, LossLaw, Values, nonnegative
from .sizes import hold_size, size_column

if TYPE_CHECKING:
    from lmfit import Parameters

CLOSEST = 1e-9  # share of L0 that the loss of endless training stays below it
FAR = 1e6  # right sides beyond this leave nothing between the loss and its limits
LARGEST_STEPS = 100  # Newton's; ten suffice but for a gamma near zero


class Saturating(LossLaw):
    """Loss L that solves (L - E - A params^-a) / (L0 - L)^gamma = B tokens^-c.

    It leaves L0, the loss of guessing, and falls as the power -c of the tokens towards E + A params^-a. At gamma = 0 it
    is the additive law.

    Notes
    -----
    Alabdulmohsin et al., arXiv:2209.06640, M4, where the loss of endless training is one number: here size adds a term to
    it, as in Hoffmann et al., arXiv:2203.15556, so that the law can be extrapolated. With p = (L - E)/(L0 - E) and
    z = log p/(1 - p) the equation is -log(1 + e^-z) + gamma log(1 + e^z) = log B tokens^-c - (1 - gamma) log(L0 - E),
    whose left side rises with a slope between 1 and gamma that changes one way: Newton's method finds its one root from
    anywhere.

    Examples
    --------
    >>> from .interface import Plan, planned_runs
    >>> values = dict(E=1.0, A=0.0, B=10.0, L0=9.0, a=0.3, c=0.5, gamma=0.5)
    >>> curves = planned_runs(np.array([1e6]), np.array([[1e-9, 1e3, 1e9]]), Plan())
    >>> loss = Saturating().loss(values, curves)
    >>> loss.round(4), ((loss - 1) / (9 - loss) ** 0.5 * curves.tokens**0.5).round(6)
    (array([9.    , 1.8458, 1.0009]), array([10., 10., 10.]))
    """

    name: ClassVar[str] = "m4"
    version: ClassVar[str] = "1"
    title: ClassVar[str] = "law M4 with the loss of guessing"
    citation: ClassVar[str] = "Alabdulmohsin et al., arXiv:2209.06640"
    parameters: ClassVar[Mapping[str, ParameterInfo]] = {
        "E": ParameterInfo("loss", "loss that no model and no data remove", 0.0, np.inf),
        "A": ParameterInfo("loss", "loss of a model of one parameter", 0.0, np.inf),
        "B": ParameterInfo("loss", "left side of the law after one token", 0.0, np.inf),
        "L0": ParameterInfo("loss", "loss of guessing, before any token", 0.0, np.inf),
        "a": ParameterInfo("1", "exponent of the loss in model size", 1e-3, 10.0),
        "c": ParameterInfo("1", "exponent of the loss in tokens", 1e-3, 10.0),
        "gamma": ParameterInfo("1", "exponent of the distance from the loss of guessing", 0.0, 10.0),
    }

    def problems(self, curves: TrainingCurves) -> list[str]:
        """Losses before the first token have no place in the law."""
        return untrained_problems(curves)

    def default_parameters(self, curves: TrainingCurves) -> tuple[Parameters, tuple[str, ...]]:
        """All free, L0 above all losses; size where there are two sizes or more."""
        params, _ = super().default_parameters(curves)
        params["L0"].set(min=float(curves.loss.max()))
        return params, hold_size(params, curves, "A", "a")

    def loss(self, values: Values, curves: TrainingCurves) -> Floats:
        """Loss (obs,) of the law."""
        endless, span, z = self._solve(values, curves)
        return np.asarray(endless + span * np.exp(-np.logaddexp(0.0, -z)))

    def log_jacobian(self, values: Values, curves: TrainingCurves, names: list[str]) -> Floats:
        """Derivatives (obs, name) of the log loss, of the equation as it stands."""
        endless, span, z = self._solve(values, curves)
        softplus = np.logaddexp(0.0, z)
        share = np.exp(z - softplus)  # p
        loss, slope = endless + span * share, (1 - share) + values["gamma"] * share
        below, rise = (1 - share) / slope, span * share * (1 - share) / slope
        size = size_column(curves, values["a"])
        derivatives = {
            "E": below,
            "A": below * size,
            "a": -below * values["A"] * size * np.log(curves.params[curves.run]),
            "L0": 1 - below,
            "B": rise / max(values["B"], TINY),
            "c": -rise * np.log(curves.tokens),
            "gamma": rise * (np.log(span) - softplus),
        }
        return np.stack([derivatives[name] / loss for name in names], axis=1).reshape(loss.size, len(names))

    def _solve(self, values: Values, curves: TrainingCurves) -> tuple[Floats, Floats, Floats]:
        """Loss (obs,) of endless training, how far that of guessing lies above it, and z."""
        endless = values["E"] + values["A"] * size_column(curves, values["a"])
        endless = np.minimum(endless, (1 - CLOSEST) * values["L0"])
        span, gamma = values["L0"] - endless, values["gamma"]
        right = np.log(max(values["B"], TINY)) - values["c"] * np.log(curves.tokens) - (1 - gamma) * np.log(span)
        return endless, span, root(right, gamma)

    def solve_amplitudes(
        self, values: Values, curves: TrainingCurves, weight: Floats, free: list[str]
    ) -> dict[str, float]:
        """E, A and B at the other parameters: the law is linear in them where the loss is the measured one."""
        away = np.maximum(values["L0"] - curves.loss, CLOSEST * values["L0"]) ** values["gamma"]
        columns = [np.ones_like(away), away * curves.tokens ** -values["c"], size_column(curves, values["a"])]
        several = np.unique(curves.params[curves.run]).size > 1
        solved = nonnegative(np.stack(columns[: 2 + several], axis=1), curves.loss, weight / curves.loss)
        return dict(zip(("E", "B", "A"), solved.tolist(), strict=False))

    def ranges(self, curves: TrainingCurves) -> dict[str, tuple[float, float]]:
        """Exponents as they were ever found, and losses of guessing above the highest loss."""
        highest = float(curves.loss.max())
        return {"L0": (1.02 * highest, 5.0 * highest), "a": (0.05, 2.0), "c": (0.05, 2.0), "gamma": (0.05, 3.0)}


def root(right: Floats, gamma: float) -> Floats:
    """Root z (...) of -log(1 + e^-z) + gamma log(1 + e^z) = right, by Newton's method; gamma above zero or right below.

    Examples
    --------
    >>> root(np.array([-2.0, 0.0, 30.0]), 1.0).tolist()
    [-2.0, 0.0, 30.0]
    """
    from ...errors import ConvergenceError

    # Before the first token the right side is infinite, and the loss that of guessing.
    right = np.clip(right, -FAR, FAR)
    # Far to both sides the left side is z below and gamma z above: start at that.
    z = np.where(right < 0, right, right / max(gamma, 1e-3))
    for _ in range(LARGEST_STEPS):
        softplus = np.logaddexp(0.0, z)
        rising = np.exp(z - softplus)
        step = (z - softplus + gamma * softplus - right) / ((1 - rising) + gamma * rising)
        z = z - step
        if np.all(np.abs(step) <= 1e-13 * np.maximum(np.abs(z), 1.0)):
            return np.asarray(z)
    raise ConvergenceError(
        f"gamma: no loss solves the law at {gamma:g} within {LARGEST_STEPS} steps; pass a larger one"
    )
