"""The learning-rate annealing law: the loss from the area under the rate and what annealing has gained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from ..curves import Floats, TrainingCurves
from ..twopoint import ParameterInfo
from .engine import LossLaw, Values
from .multipower import no_rate_problems
from .rates import Ints, areas, pieces, remembered
from .sizes import hold_size, size_column

if TYPE_CHECKING:
    from lmfit import Parameters

PUBLISHED_MEMORY = 1000.0  # steps: lambda = 0.999


class Annealed(NamedTuple):
    """Pieces of schedules as pairs with observations: fall of the rate, and age in steps of its begin and its end."""

    obs: Ints
    fall: Floats
    oldest: Floats
    youngest: Floats


class Annealing(LossLaw):
    """Loss L0 + A S1^-alpha + B params^-a - C S2 (Tissue et al., arXiv:2408.11029).

    S1 is the area under the learning rate, warm-up included, and S2 the annealing area, the sum over steps of the falls
    of the rate before each, forgotten at a rate lambda a step:

        S2 = Σ_{i≤t} Σ_{k≤i} (η_{k-1} - η_k) lambda^(i-k) = Σ_{k≤t} (η_{k-1} - η_k) (1 - lambda^(t-k+1)) / (1 - lambda)

    The rise of the warm-up is no annealing. ``memory`` is 1 / (1 - lambda); the paper's laws have 100 to 1000. The term
    of size is their extension to several model sizes; it is held at zero where there is one size.

    Examples
    --------
    >>> from ...theory.schedule import Schedule
    >>> one, step = np.ones(1), np.array([1e4, 2e4])
    >>> curves = TrainingCurves(np.zeros(2, int), step, step, one, one, np.array(["a"]), one, one, one, one, 0 * one,
    ...     {0: Schedule([0, 1e4, 1e4, 2e4], [1.0, 1.0, 0.5, 0.5], [0.0] * 4)})
    >>> values = dict(L0=2.0, A=10.0, B=0.0, C=2e-4, alpha=0.5, a=0.5, memory=1000.0)
    >>> Annealing().loss(values, curves).round(3)
    array([2.1  , 1.982])
    """

    name: ClassVar[str] = "annealing"
    version: ClassVar[str] = "1"
    title: ClassVar[str] = "law of learning-rate annealing"
    citation: ClassVar[str] = "Tissue et al., arXiv:2408.11029"
    parameters: ClassVar[Mapping[str, ParameterInfo]] = {
        "L0": ParameterInfo("loss", "loss that no model and no training at a steady rate remove", 0.0, np.inf),
        "A": ParameterInfo("loss", "loss at an area of one under the learning rate", 0.0, np.inf),
        "B": ParameterInfo("loss", "loss of a model of one parameter", 0.0, np.inf),
        "C": ParameterInfo("loss", "loss that a unit of annealing area gains", 0.0, np.inf),
        "alpha": ParameterInfo("1", "exponent of the loss in the area under the learning rate", 1e-3, 10.0),
        "a": ParameterInfo("1", "exponent of the loss in model size", 1e-3, 10.0),
        "memory": ParameterInfo("steps", "steps over which a fall of the rate gains: 1 / (1 - lambda)", 10.0, 1e6),
    }
    amplitudes: ClassVar[tuple[str, ...]] = ("L0", "A", "B", "C")

    def problems(self, curves: TrainingCurves) -> list[str]:
        """One run at least whose rate falls after the warm-up."""
        problems = no_rate_problems(curves)
        if not (annealing_of(curves).fall > 0).any():
            problems.append(
                "learning_rate: falls in no run; add a run whose rate decays, with the rate at each logged step, or fit "
                "a law of size and tokens"
            )
        return problems

    def default_parameters(self, curves: TrainingCurves) -> tuple[Parameters, tuple[str, ...]]:
        """The paper's lambda, 0.999, held; the term of size free where there are two sizes or more."""
        params, _ = super().default_parameters(curves)
        notes = hold_size(params, curves, "B", "a")
        params["memory"].set(value=PUBLISHED_MEMORY, vary=False)
        return params, (*notes, f"memory held at {PUBLISHED_MEMORY:g} steps, as published: lambda = 0.999")

    def columns(self, values: Values, curves: TrainingCurves) -> Floats:
        """1, S1^-alpha, params^-a and S2 with a minus."""
        area = areas(curves)
        return np.stack(
            [
                np.ones_like(area),
                area ** -values["alpha"],
                size_column(curves, values["a"]),
                -annealing_area(curves, values["memory"]),
            ],
            axis=1,
        )

    def ranges(self, curves: TrainingCurves) -> dict[str, tuple[float, float]]:
        """Exponents as they were ever found, and memories around the published ones."""
        return {"alpha": (0.05, 2.0), "a": (0.05, 2.0), "memory": (100.0, 10000.0)}


@remembered
def annealing_of(curves: TrainingCurves) -> Annealed:
    """Falls and rises of the rate after the warm-up, with their ages at each observation."""
    found = [np.zeros((4, 0))]
    for one in pieces(curves):
        warm = curves.warmup_steps[curves.run[one.obs]]
        after = np.where(one.fall > 0, one.begin >= warm, one.begin > warm)
        found.append(np.stack([one.obs, one.fall, one.step - one.begin, one.step - one.last])[:, after])
    obs, fall, oldest, youngest = np.concatenate(found, axis=1)
    return Annealed(obs.astype(np.int64), fall, oldest, youngest)


def annealing_area(curves: TrainingCurves, memory: float) -> Floats:
    """Annealing area S2 (obs,), exact on straight pieces of the schedule.

    Examples
    --------
    >>> from ...theory.schedule import Schedule
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(np.zeros(1, int), 12 * one, one, one, one, np.array(["a"]), one, one, one, one, 0 * one,
    ...     {0: Schedule([0, 10, 10, 20], [1.0, 1.0, 0.5, 0.5], [0.0] * 4)})
    >>> annealing_area(curves, memory=10.0).round(9).item() == 0.5 * (1 + 0.9)
    True
    """
    past = annealing_of(curves)
    forgetting = -np.log1p(-1 / memory)  # a step
    span = forgetting * (past.oldest - past.youngest)
    # Mean of exp(-forgetting · age) over the piece; a jump has one age.
    mean = np.exp(-forgetting * past.youngest) * np.where(span > 1e-12, -np.expm1(-span) / np.maximum(span, 1e-12), 1.0)
    return np.asarray(memory * np.bincount(past.obs, past.fall * (1 - mean), minlength=curves.run.size), np.float64)
