"""The multi-power law: the loss under any schedule of the learning rate, from what each of its decays gains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ...errors import ParameterError
from ..curves import Floats, TrainingCurves
from ..frontier import Frontier
from ..twopoint import ParameterInfo
from .engine import LossLaw, Values
from .interface import Plan
from .rates import areas, decays, rates_now


class MultiPower(LossLaw):
    """Loss L0 + A S(t)^-alpha - B ∫₀ᵗ -dη(s) G(η(s)^-gamma (S(t) - S(s))), with G(x) = 1 - (1 + C x)^-beta.

    S(t) is the area under the learning rate η up to step t. The warm-up counts, as in the published fits: its area in S
    and its rise as a decay below zero, most of which L0 takes up.

    Notes
    -----
    Luo et al., arXiv:2503.12811, equations 1 to 3, where the integral is the sum over single steps
    Σ (η_{k-1} - η_k) G(η_k^-gamma Σ_{k..t} η). The schedule is taken as straight pieces, with a quadrature on each:
    losses of the published fits keep to 3e-5 of the sum, with a hundredth of its terms. gamma stays between 0, a pace by
    area, and 1, a pace by steps, outside of which lower rates would gain faster in steps or slower in area.

    The published parameters, made by a few hundred steps of Adam, are not at the minimum of their objective, a Huber
    penalty of 1e-3 on the log loss: it is half as high for 25M parameters, and a ninth for 100M.

    Examples
    --------
    >>> from ...theory.schedule import Schedule
    >>> one, step = np.ones(1), np.array([8e3, 16e3])
    >>> curves = TrainingCurves(np.zeros(2, int), step, step, one, one, np.array(["a"]), one, one, one, one, 0 * one,
    ...     {0: Schedule([0, 8e3, 8e3, 16e3], [3e-4, 3e-4, 3e-5, 3e-5], [0.0] * 4)})
    >>> published = dict(L0=2.931, A=0.525, B=363.8, alpha=0.508, C=2.066, beta=0.583, gamma=0.641)
    >>> MultiPower().loss(published, curves).round(3)
    array([3.268, 3.156])
    """

    name: ClassVar[str] = "multipower"
    version: ClassVar[str] = "1"
    title: ClassVar[str] = "multi-power law of schedules"
    citation: ClassVar[str] = "Luo et al., arXiv:2503.12811"
    parameters: ClassVar[Mapping[str, ParameterInfo]] = {
        "L0": ParameterInfo(
            "loss", "loss after endless training at a low rate, less what the warm-up adds", 0.0, np.inf
        ),
        "A": ParameterInfo("loss", "loss at an area of one under the learning rate", 0.0, np.inf),
        "B": ParameterInfo("loss", "loss that a fall of the rate by one gains in the end", 0.0, np.inf),
        "alpha": ParameterInfo("1", "exponent of the loss in the area under the learning rate", 1e-3, 10.0),
        "C": ParameterInfo("1", "how fast a fall of the rate gains, per area and rate^-gamma", 1e-12, np.inf),
        "beta": ParameterInfo("1", "exponent with which that gain comes to its end", 1e-3, 10.0),
        "gamma": ParameterInfo("1", "exponent of the rate in the pace of that gain", 0.0, 1.0),
    }
    amplitudes: ClassVar[tuple[str, ...]] = ("L0", "A", "B")

    def problems(self, curves: TrainingCurves) -> list[str]:
        """One size, and one run at least whose rate falls after some step."""
        problems = one_size_problems(self, curves)
        if not (decays(curves).weight > 0).any():
            problems.append(
                "learning_rate: falls in no run; add a run whose rate decays, with the rate at each logged step, or fit "
                "a law of size and tokens"
            )
        return problems + no_rate_problems(curves)

    def columns(self, values: Values, curves: TrainingCurves) -> Floats:
        """1, S^-alpha and the gain of all decays for B = 1, with a minus."""
        past = decays(curves)
        pace = np.exp(np.log(values["C"]) - values["gamma"] * past.log_rate) * past.area
        gain = -past.sum(past.weight * -np.expm1(-values["beta"] * np.log1p(pace)))
        area = areas(curves)
        return np.stack([np.ones_like(area), area ** -values["alpha"], gain], axis=1)

    def log_jacobian(self, values: Values, curves: TrainingCurves, names: list[str]) -> Floats:
        """Derivatives (obs, name) of the log loss, exact: quotients would sum over the nodes twelve times as often."""
        past, area = decays(curves), areas(curves)
        pace = np.exp(np.log(values["C"]) - values["gamma"] * past.log_rate) * past.area
        log = np.log1p(pace)
        left = past.weight * np.exp(-values["beta"] * log)
        faster = values["beta"] * left * pace / (1 + pace)
        learned = area ** -values["alpha"]
        gain = past.sum(past.weight - left)
        derivatives = {
            "L0": np.ones_like(area),
            "A": learned,
            "B": -gain,
            "alpha": -values["A"] * learned * np.log(area),
            "C": -values["B"] / values["C"] * past.sum(faster),
            "beta": -values["B"] * past.sum(left * log),
            "gamma": values["B"] * past.sum(faster * past.log_rate),
        }
        loss = values["L0"] + values["A"] * learned - values["B"] * gain
        return np.stack([derivatives[name] / loss for name in names], axis=1).reshape(loss.size, len(names))

    def ranges(self, curves: TrainingCurves) -> dict[str, tuple[float, float]]:
        """Around published values, the pace of gains in units of the highest rate."""
        unit = float(rates_now(curves).max()) ** -0.5
        return {"alpha": (0.1, 1.5), "C": (3e-3 * unit, 3.0 * unit), "beta": (0.1, 1.5), "gamma": (0.2, 0.9)}

    def frontier(self, values: Values, compute: Floats, plan: Plan, *, start: Floats | None = None) -> Frontier:
        """Raise an error: a law of one size has no optimal size."""
        raise ParameterError(f"law: {self.name!r} knows one model size, so none is optimal; pass a law of sizes")


def one_size_problems(law: LossLaw, curves: TrainingCurves) -> list[str]:
    """What is wrong with the sizes of curves for a law that does not know size."""
    sizes = np.unique(curves.params[curves.run]).size
    return [] if sizes < 2 else [f"params: {sizes} model sizes, which {law.name!r} does not know; fit each by itself"]


def no_rate_problems(curves: TrainingCurves) -> list[str]:
    """What is wrong with observations before anything was learned.

    Examples
    --------
    >>> one = np.ones(1)
    >>> no_rate_problems(TrainingCurves(np.zeros(1, int), 0 * one, one, one, one, np.array(["a"]), one, one, one, one, one))
    ["step: the learning rate was zero up to the first observation of run 'a'; leave it out"]
    """
    none = np.unique(curves.run[areas(curves) <= 0]).tolist()
    return [
        f"step: the learning rate was zero up to the first observation of run {str(curves.name[run])!r}; leave it out"
        for run in none[:3]
    ]
