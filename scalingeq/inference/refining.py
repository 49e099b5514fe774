"""Refine a start of a fit: trust-region least squares through lmfit, within the bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from .curves import Floats

if TYPE_CHECKING:
    from lmfit import Parameters

LOGARITHMIC = ("scale", "time_scale", "width_scale", "samples_scale")
"""Parameters that move in their logarithms.

Late curves are power laws, the same all along lines in the logarithms of these: valleys that bend in the parameters
themselves, where an optimiser has to creep.
"""

FARTHEST = 1e26  # of such a parameter, up or down: its effect is whole or nil, and the logarithm must not run away

ROUGH, FINE = (1e-4, 20), (1e-8, 100)  # relative change at which a refinement ends, and its largest number of steps


class WithDerivatives(Protocol):
    """What is minimised: names of the free parameters, and residuals with their derivatives (residual, free)."""

    free: list[str]

    def with_jacobian(self, params: Parameters) -> tuple[Floats, Floats]:
        """Residuals (residual,) and their derivatives."""


def refine(
    objective: WithDerivatives, start: Parameters, tolerance: float, steps: int, shift: Floats | float = 0.0
) -> Parameters:
    """Parameters at the nearest minimum of the squared residuals; they may lie on their bounds.

    Parameters
    ----------
    objective : WithDerivatives
        Residuals and their derivatives. Nearly all steps are taken, so that both are found at once.
    start : lmfit.Parameters
        Where to start.
    tolerance : float
        Relative change of the squares, or of the parameters, that ends it.
    steps : int
        Largest number of evaluations.
    shift : ndarray, shape (obs + prior,), or float
        Added to the residuals.

    Examples
    --------
    >>> import lmfit
    >>> class Line:
    ...     free = ["scale"]
    ...     def with_jacobian(self, params):
    ...         return params["scale"] * np.arange(3) - 2.0 * np.arange(3), np.arange(3.0)[:, None]
    >>> params = lmfit.Parameters()
    >>> params.add("scale", value=1.0, min=0.0)
    >>> round(refine(Line(), params, 1e-8, 20)["scale"].value, 6)
    2.0
    """
    from lmfit import Parameters, minimize

    found, moved = start.copy(), Parameters()
    logs = [name for name in objective.free if name in LOGARITHMIC]
    for name in objective.free:
        values = np.array([start[name].value, start[name].min, start[name].max])
        value, low, high = np.log(np.clip(values, 1 / FARTHEST, FARTHEST)) if name in logs else values
        moved.add(name, value=float(value), min=float(low), max=float(high))

    def at(inner: Parameters) -> Parameters:
        for name in objective.free:
            value = inner[name].value
            # lmfit clips what a logarithm and back has moved outside of the bounds by a rounding error.
            found[name].value = float(np.exp(value)) if name in logs else value
        found.update_constraints()
        return found

    last: dict[tuple[float, ...], tuple[Floats, Floats]] = {}

    def both(inner: Parameters) -> tuple[Floats, Floats]:
        here = at(inner)
        point = tuple(here[name].value for name in objective.free)
        if point not in last:
            residuals, derivatives = objective.with_jacobian(here)
            factor = np.array(
                [value if name in logs else 1.0 for name, value in zip(objective.free, point, strict=True)]
            )
            last.clear()
            last[point] = residuals + shift, derivatives * factor
        return last[point]

    # Where a direction has no curvature, SciPy's trust region divides by zero on its way to a step.
    with np.errstate(divide="ignore", invalid="ignore"):
        result = minimize(
            lambda inner: both(inner)[0],
            moved,
            method="least_squares",
            max_nfev=steps,
            calc_covar=False,
            x_scale="jac",
            ftol=tolerance,
            xtol=tolerance,
            Dfun=lambda inner: both(inner)[1],
        )
    return at(result.params)
