"""Variants of the two-point fit that describe curves about equally well and extrapolate differently."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .curves import TrainingCurves
from .fitting import BURN_IN, TwoPointFit, default_parameters, default_weights, fit_two_point

if TYPE_CHECKING:
    from lmfit import Parameters


@dataclass(frozen=True)
class Candidate:
    """A variant of the default fit.

    Attributes
    ----------
    name : str
        By which tables call it.
    finite_width : bool
        Whether size acts through an effective width, beside what a model of a size cannot learn.
    burn_in : float
        Share of a run's steps that is left out at its beginning.
    irreducible_prior : float
        As for :func:`~scalingeq.inference.fitting.fit_two_point`.
    floor : bool
        Whether there is an irreducible loss. Runs far from any floor have not bent, and a floor that is fitted to them
        bends what lies beyond.
    shared_exponent : bool
        Whether what a model of a size cannot learn falls with size as what its width leaves out of the target does,
        as width^(-2 alpha r).
    batch_exponent : float
        0 where a step moves a model as far at every batch size, 1 where a token does.
    loss_exponent : float
        0 where a step moves a model as far at every loss, 1/2 where rates act by their ratio to the root of the loss.

    Examples
    --------
    >>> Candidate("late", burn_in=0.15).burn_in
    0.15
    """

    name: str
    finite_width: bool = True
    burn_in: float = BURN_IN
    irreducible_prior: float = np.inf
    floor: bool = True
    shared_exponent: bool = False
    batch_exponent: float = 0.0
    loss_exponent: float = 0.0

    @property
    def family(self) -> tuple[bool, bool, bool, float, float]:
        """Candidates of one family have the same parameters: the optimum of one is a start for the others."""
        return self.finite_width, self.floor, self.shared_exponent, self.batch_exponent, self.loss_exponent

    def differs(self, curves: TrainingCurves) -> bool:
        """Whether this is a variant of its own.

        At one batch size all exponents of the batch are the same, in a table of final losses all beginnings and rates
        that follow the loss, and where there are too few sizes for a width all that is said of width.
        """
        runs, count = np.unique(curves.run, return_counts=True)
        return (
            (self.batch_exponent == 0 or np.unique(curves.batch_size[runs]).size > 1)
            and ((self.burn_in == BURN_IN and self.loss_exponent == 0) or bool(count.max() > 1))
            and ((self.finite_width and not self.shared_exponent) or default_parameters(curves)[0]["width_scale"].vary)
        )

    def fit(self, curves: TrainingCurves, fitted: NDArray[np.bool_], near: Parameters | None = None) -> TwoPointFit:
        """Fit to the observations ``fitted`` (obs,), from the optimum ``near`` of a similar fit if there is one."""
        part = curves.select(fitted)
        weights = np.zeros(curves.run.size)
        weights[fitted] = default_weights(part, self.burn_in)
        params, notes = default_parameters(curves.select(weights > 0), self.batch_exponent)
        params["loss_exponent"].set(value=self.loss_exponent)
        if not self.finite_width:
            _hold(params, {"width_scale": np.inf, "width_exponent": 0.0})
        if not self.floor:
            _hold(params, {"irreducible": 0.0})
        if self.shared_exponent and params["unlearnable_exponent"].vary:
            params["unlearnable_exponent"].set(expr="2 * alpha * r * width_exponent")
        fit = fit_two_point(curves, params, weights=weights, irreducible_prior=self.irreducible_prior, near=near)
        return replace(fit, notes=(*notes, *fit.notes))


def _hold(params: Parameters, values: dict[str, float]) -> None:
    for name, value in values.items():
        params[name].set(value=value, vary=False, min=-np.inf, max=np.inf)


CANDIDATES = (
    Candidate("default"),
    Candidate("late", burn_in=0.15),
    Candidate("late, weak floor", burn_in=0.15, irreducible_prior=0.5),
    Candidate("no floor", floor=False),
    Candidate("no floor, late", floor=False, burn_in=0.15),
    Candidate("shared exponent", shared_exponent=True),
    Candidate("infinite width", finite_width=False),
    Candidate("infinite width, late", finite_width=False, burn_in=0.15),
    Candidate("tokens", batch_exponent=1.0),
    Candidate("tokens, late", batch_exponent=1.0, burn_in=0.15),
    Candidate("rates over root of loss", loss_exponent=0.5),
    Candidate("rates over root of loss, late", loss_exponent=0.5, burn_in=0.15),
)
"""Variants that one or another set of curves prefers, none of them all.

They were chosen with measured curves in sight, some of which the scoreboard holds out."""
