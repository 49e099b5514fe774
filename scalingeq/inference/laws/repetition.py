"""The data-constrained law: what repeated tokens and excess parameters are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..curves import Floats, TrainingCurves
from ..twopoint import ParameterInfo
from .chinchilla import Chinchilla, untrained_problems
from .engine import TINY, LossLaw, Values
from .interface import Law
from .sizes import hold_size

if TYPE_CHECKING:
    from lmfit import Parameters

MANY = 1e6  # repetitions that are as good as new data: the law is the additive one
ROUNDS = 4  # of the fixed point for A and B


class DataConstrained(LossLaw):
    """Loss E + A N'^-a + B D'^-b with effective data D' and effective parameters N' (Muennighoff et al.).

    Of D tokens U_D = min(D, unique tokens) are new and R_D = D/U_D - 1 epochs repeat them; of N parameters
    U_N = min(N, N_opt(U_D)) are what U_D tokens ask for at the optimum of the additive law, a A N_opt^-a = b B U_D^-b,
    and R_N = N/U_N - 1 times as many are in excess:

        D' = U_D + U_D R_D* (1 - exp(-R_D / R_D*)),    N' = U_N + U_N R_N* (1 - exp(-R_N / R_N*))

    ``R_D`` and ``R_N`` are the constants R_D* and R_N* : 15.4 and 5.3 in the paper.

    Notes
    -----
    Muennighoff et al., arXiv:2305.16264, equations 4 to 6. There the additive part is fitted to runs of one epoch and
    held; here all is fitted at once.

    Examples
    --------
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(np.zeros(2, int), one, np.array([1e9, 1e12]), one, one, np.array(["a"]), 1e8 * one, one, one,
    ...     1e9 * one, one)
    >>> published = dict(E=1.87, A=521.0, B=1488.0, a=0.353, b=0.353, R_D=15.39, R_N=5.31)
    >>> DataConstrained().loss(published, curves).round(3)
    array([3.653, 3.032])
    """

    name: ClassVar[str] = "data_constrained"
    version: ClassVar[str] = "1"
    title: ClassVar[str] = "data-constrained law"
    citation: ClassVar[str] = "Muennighoff et al., arXiv:2305.16264"
    parameters: ClassVar[Mapping[str, ParameterInfo]] = {
        **Chinchilla.parameters,
        "R_D": ParameterInfo("1", "epochs of repetition over which repeated tokens lose their worth", 1e-2, MANY),
        "R_N": ParameterInfo(
            "1", "multiples of the parameters that the data ask for, over which more lose theirs", 1e-2, MANY
        ),
    }
    amplitudes: ClassVar[tuple[str, ...]] = ("E", "A", "B")

    def problems(self, curves: TrainingCurves) -> list[str]:
        """One run at least has to repeat its data."""
        problems = untrained_problems(curves)
        if not (curves.tokens > curves.dataset_size[curves.run]).any():
            problems.append(
                "dataset_size: no run sees more tokens than that; add runs that repeat their data, or fit 'chinchilla'"
            )
        return problems

    def default_parameters(self, curves: TrainingCurves) -> tuple[Parameters, tuple[str, ...]]:
        """All free; what size does is held out where there is one size."""
        params, _ = super().default_parameters(curves)
        notes = hold_size(params, curves, "A", "a")
        if notes:
            params["R_N"].set(value=MANY, vary=False)
        return params, notes

    def columns(self, values: Values, curves: TrainingCurves) -> Floats:
        """1, N'^-a and D'^-b; the optimal sizes in N' are those at the values of A and B."""
        tokens, params = curves.tokens, curves.params[curves.run]
        unique = np.minimum(tokens, curves.dataset_size[curves.run])
        data = worth(unique, tokens, values["R_D"])
        if values["A"] == 0:
            return np.stack([np.ones_like(data), np.ones_like(data), data ** -values["b"]], axis=1)
        ratio = (values["a"] * values["A"]) / (values["b"] * max(values["B"], TINY))
        asked = (ratio * unique ** values["b"]) ** (1 / values["a"])
        size = worth(np.minimum(params, asked), params, values["R_N"])
        return np.stack([np.ones_like(data), size ** -values["a"], data ** -values["b"]], axis=1)

    def solve_amplitudes(
        self, values: Values, curves: TrainingCurves, weight: Floats, free: list[str]
    ) -> dict[str, float]:
        """E, A and B from columns that depend on the two: a fixed point, from the law without excess parameters on."""
        here = {**values, "R_N": MANY}
        for _ in range(ROUNDS):
            solved = super().solve_amplitudes(here, curves, weight, free)
            here = {**values, **solved}
        return solved

    def log_jacobian(self, values: Values, curves: TrainingCurves, names: list[str]) -> Floats:
        """Central differences: the law is not linear in its amplitudes."""
        return Law.log_jacobian(self, values, curves, names)

    def ranges(self, curves: TrainingCurves) -> dict[str, tuple[float, float]]:
        """Exponents as they were ever found, and constants around the published ones."""
        return {"a": (0.05, 2.0), "b": (0.05, 2.0), "R_D": (0.5, 100.0), "R_N": (0.5, 100.0)}


def worth(unique: Floats, total: Floats, constant: float) -> Floats:
    """Unique units that ``total`` are worth, of which all but ``unique`` are repeated or in excess.

    Examples
    --------
    >>> worth(np.array([1.0, 1.0]), np.array([1.0, 1e9]), 15.0).tolist()
    [1.0, 16.0]
    """
    share = np.divide(total, unique, out=np.ones_like(unique), where=unique > 0)
    return np.asarray(unique * (1 - constant * np.expm1(-(share - 1) / constant)))
