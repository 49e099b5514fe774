"""Profile likelihood of the parameters and of the identified combinations, through lmfit's ``conf_interval``."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import ParameterError, raise_problems
from .covariance import PenalisedLeastSquares, covariance_of, curvature_inverse, is_at_bound
from .curves import Floats
from .uncertainty import COMBINATIONS, combination

if TYPE_CHECKING:
    from lmfit import MinimizerResult, Parameters

TOLERANCE = 1e-8  # relative change at which a fit along the profile ends: far below the steps of the misfit
COMBINATION = "combination"


class Profile(NamedTuple):
    """Best value and standard error (quantity,), and ends of the intervals (quantity, level), NaN where none is.

    ``notes`` say which ends lie at a bound.
    """

    value: Floats
    stderr: Floats
    lower: Floats
    upper: Floats
    notes: tuple[str, ...]


def profile(
    objective: PenalisedLeastSquares,
    params: Parameters,
    quantities: Sequence[str],
    levels: Sequence[float] = (0.68, 0.95),
    tell: Callable[[float], object] = lambda share: None,
) -> Profile:
    """Intervals inside which the misfit, minimised over all other parameters, stays near its minimum.

    Parameters
    ----------
    objective : PenalisedLeastSquares
        What the fit minimised, priors included.
    params : lmfit.Parameters
        At the minimum.
    quantities : sequence of str
        Free parameters inside their bounds, and names of :data:`~scalingeq.inference.uncertainty.COMBINATIONS`.
    levels : sequence of float
        Probabilities of the intervals.
    tell : callable
        Told the share of the work done.

    Raises
    ------
    ParameterError
        If a quantity is not free or a level is not between 0 and 1.

    Notes
    -----
    Residuals that are correlated along a run make the misfit no likelihood. Its rise above the minimum is measured in
    units that give a quadratic misfit the interval of the covariance: Δ · (H⁻¹)ᵢᵢ/Vᵢᵢ with the curvature H and the sandwich
    V (Pauli, Racugno & Ventura, Statistica Sinica 21, 149, 2011).

    Examples
    --------
    >>> import lmfit
    >>> class Line:
    ...     free, weight, run = ["level", "slope"], np.ones(3), np.arange(3)
    ...     def residuals(self, params):
    ...         return params["level"] + params["slope"] * np.array([-1.0, 0.0, 1.0]) - np.array([0.1, -0.2, 0.1])
    ...     def jacobian(self, params):
    ...         return np.array([[1.0, -1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> params = lmfit.Parameters()
    >>> params.add_many(("level", 0.0), ("slope", 0.0))
    >>> found = profile(Line(), params, ["level"], levels=[0.6827])
    >>> bool(np.isclose(found.upper[0, 0], found.stderr[0], rtol=1e-3))
    True
    """
    params = params.copy()
    covariance = covariance_of(objective, params)
    inside = [name for name in objective.free if name not in covariance.at_bound]
    known = [*inside, *_free_combinations(inside, params)]
    problems = [f"levels: {level:g} is not between 0 and 1; pass such as 0.68" for level in levels if not 0 < level < 1]
    for name in quantities:
        if name not in known:
            problems.append(f"{name}: not free, or at its bound, or unknown; pass some of {', '.join(known)}")
    if len(inside) < 2:
        problems.append(f"params: a profile needs two free parameters inside their bounds, not {len(inside)}")
    raise_problems(problems, ParameterError)

    positions = [list(params).index(name) for name in inside]
    sandwich = covariance.matrix[np.ix_(positions, positions)]
    naive = curvature_inverse(objective.jacobian(params)[:, [objective.free.index(name) for name in inside]])
    found = np.full((2, len(quantities), len(levels)), np.nan)
    value, stderr, notes = np.empty(len(quantities)), np.empty(len(quantities)), []
    for number, name in enumerate(quantities):
        value[number], gradient = combination(name, inside, params.valuesdict())
        stderr[number] = np.sqrt(gradient @ sandwich @ gradient)
        scale = float(gradient @ naive @ gradient) / max(stderr[number] ** 2, 1e-300)
        factors = COMBINATIONS.get(name, (name,))
        moved = _InCombination(objective, params, [one for one in factors if one in inside])
        # What of the factors is held, and the 2 of a combination.
        unit = abs(gradient[inside.index(moved.last)]) / math.prod(params[one].value for one in moved.others)
        moved.params[COMBINATION].stderr = stderr[number] / unit
        ends = np.array(_interval(moved, scale, levels)) * unit
        found[:, number] = np.where(np.isfinite(ends), ends, np.nan)
        notes += [f"{name}: its profile has no {side} end at {level:.0%}, up to a bound or as far as it was followed"
                  for side, row in zip(("lower", "upper"), ends, strict=True)
                  for level, end in zip(levels, row, strict=True) if not np.isfinite(end)]  # fmt: skip
        tell((number + 1) / len(quantities))
    return Profile(value, stderr, found[0], found[1], tuple(notes))


def profiled_by_default(objective: PenalisedLeastSquares, params: Parameters) -> list[str]:
    """Combinations, then parameters, that a profile can move: free and inside their bounds.

    Examples
    --------
    >>> import lmfit
    >>> class Free:
    ...     free = ["r"]
    >>> params = lmfit.Parameters()
    >>> params.add_many(("alpha", 1.5, False), ("r", 0.3), ("width_exponent", 0.0, False))
    >>> profiled_by_default(Free(), params)
    ['2 r', '2 alpha r', 'r']
    """
    inside = [name for name in objective.free if not is_at_bound(params[name])]
    return [*_free_combinations(inside, params), *inside]


def _free_combinations(free: Sequence[str], params: Parameters) -> list[str]:
    """Combinations that some free parameter moves, which it cannot where another factor is zero."""
    values = params.valuesdict()
    moving = {
        name: combination(name, free, values)[1] for name in COMBINATIONS if params.keys() >= set(COMBINATIONS[name])
    }
    return [name for name, gradient in moving.items() if gradient.any()]


class _InCombination:
    """Objective in which the product of some free parameters takes the place of the last of them."""

    def __init__(self, objective: PenalisedLeastSquares, params: Parameters, factors: list[str]) -> None:
        *self.others, self.last = factors
        self.objective, self.plain = objective, params.copy()
        self.params = params.copy()
        for parameter in self.params.values():
            parameter.set(vary=parameter.name in objective.free and parameter.name != self.last)
        scale = math.prod(params[name].value for name in self.others)
        ends = {end: getattr(params[self.last], end) * (scale if not self.others else 1.0) for end in ("min", "max")}
        # The ends of a product are not known; its last factor stays inside its own.
        ends = ends if not self.others else {"min": -np.inf, "max": np.inf}
        self.params.add(COMBINATION, value=scale * params[self.last].value, **ends)

    def _moved(self, params: Parameters) -> Parameters:
        for name in self.objective.free:
            if name != self.last:
                self.plain[name].value = params[name].value
        self.plain[self.last].value = params[COMBINATION].value / math.prod(self.plain[n].value for n in self.others)
        return self.plain

    def residuals(self, params: Parameters) -> Floats:
        return self.objective.residuals(self._moved(params))

    def jacobian(self, params: Parameters) -> Floats:
        """Derivatives with respect to what varies, in the order of ``params``."""
        plain, free = self._moved(params), self.objective.free
        derivative = dict(zip(free, self.objective.jacobian(plain).T, strict=True))
        column = derivative.pop(self.last)
        for name in self.others:
            derivative[name] = derivative[name] - column * plain[self.last].value / plain[name].value
        derivative[COMBINATION] = column / math.prod(plain[name].value for name in self.others)
        return np.stack([derivative[name] for name in params if params[name].vary], axis=1)


def _interval(moved: _InCombination, scale: float, levels: Sequence[float]) -> list[list[float]]:
    """Lower and upper ends at each level."""
    from lmfit import Minimizer, conf_interval

    minimizer = Minimizer(
        moved.residuals, moved.params, calc_covar=False, Dfun=moved.jacobian, x_scale="jac", ftol=TOLERANCE,
        xtol=TOLERANCE,
    )  # fmt: skip
    # Parameters may lie at their bounds, where the method that lmfit takes here would never leave them.
    minimizer.leastsq = minimizer.least_squares
    best = minimizer.least_squares()
    best.params[COMBINATION].stderr = moved.params[COMBINATION].stderr

    def probability(lowest: Any, here: MinimizerResult) -> float:
        rise = max(float(here.chisqr - lowest.chisqr), 0.0)
        return math.erf(math.sqrt(0.5 * scale * rise))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an end that is not found comes back as infinite
        found = conf_interval(minimizer, best, [COMBINATION], sorted(levels), prob_func=probability)[COMBINATION]
    middle = len(levels)
    order = np.argsort(np.argsort(levels))
    lower = [float(end) for _, end in found[:middle][::-1]]
    upper = [float(end) for _, end in found[middle + 1 :]]
    return [[lower[number] for number in order], [upper[number] for number in order]]
