"""The data-constrained law: what repeated tokens and excess parameters are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..curves import Floats, TrainingCurves
from ..twopoint import ParameterInfo
from .chinchilla import Chinchilla
from .engine import LossLaw, Values
from .sizes import hold_size

if TYPE_CHECKING:
    from lmfit import Parameters

MANY = 1e6  # repetitions after which nothing is new: so many that the law is the additive one


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
    held; here that is the start, and all is fitted at once.

    Examples
    --------
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(np.zeros(2, int), one, np.array([1e9, 1e12]), one, one, np.array(["a"]), 1e8 * one, one, one,
    ...     1e9 * one, one)
    >>> published = dict(E=1.87, A=521.0, B=1488.0, a=0.353, b=0.353, R_D=15.39, R_N=5.31)
    >>> DataConstrained().loss(published, curves).round(3)
    array([3.657, 3.023])
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
    amplitudes: ClassVar[tuple[str, ...]] = ("E",)

    def problems(self, curves: TrainingCurves) -> list[str]:
        """One run at least has to repeat its data."""
        if (curves.tokens > curves.dataset_size[curves.run]).any():
            return []
        return ["dataset_size: no run sees more tokens than it; add runs that repeat their data, or fit 'chinchilla'"]

    def default_parameters(self, curves: TrainingCurves) -> tuple[Parameters, tuple[str, ...]]:
        """Start from the additive law of the observations before any repetition."""
        params, _ = super().default_parameters(curves)
        notes = hold_size(params, curves, "A", "a")
        if notes:
            params["R_N"].set(value=MANY, vary=False)
            notes += ("R_N held: parameters in excess show with several model sizes only",)
        once = curves.select(curves.tokens <= curves.dataset_size[curves.run])
        additive = Chinchilla()
        start, _ = additive.default_parameters(once)
        for name in ("A", "a"):
            start[name].set(value=params[name].value, vary=params[name].vary)
        if once.run.size > len(start) and bool(notes) != (not additive.problems(once)):
            fit = additive.fit(once, start, weights=self.default_weights(curves)[: once.run.size])
            for name, value in fit.params.valuesdict().items():
                params[name].set(value=value)
        return params, notes

    def columns(self, values: Values, curves: TrainingCurves) -> Floats:
        """One alone: A and B also say how many parameters are in excess."""
        return np.ones((curves.run.size, 1))

    def loss(self, values: Values, curves: TrainingCurves) -> Floats:
        """Loss (obs,) of the law."""
        params = curves.params[curves.run]
        data, size = effective_data(values, curves), effective_params(values, curves)
        del params
        return np.asarray(values["E"] + values["A"] * size ** -values["a"] + values["B"] * data ** -values["b"])
