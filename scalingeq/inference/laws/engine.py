"""The fit that laws of closed form share: linear amplitudes solved for, a search over the rest, robust refinement."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import FitError, raise_problems
from ..covariance import covariance_of
from ..curves import Floats, TrainingCurves
from ..robust import huber_residual, huber_slope, weighted_spread
from .interface import Law, LawFit, fit_problems

if TYPE_CHECKING:
    from lmfit import Parameters

SEARCH_POINTS, SEARCH_STARTS = 64, 3  # a power of two: balanced Sobol points
SMALLEST_SCALE = 1e-6  # spread of log residuals below which losses are as exact as a fit needs
FAINT = 1e-3  # share of the smallest loss that a start gives an amplitude which the linear solve leaves out
NOTHING = 1e-6  # share of the smallest loss below which an amplitude is nothing
TOLERANCE, LARGEST_STEPS = 1e-12, 500
LARGEST = 1e150  # of a parameter: lmfit squares those with one bound, and the square has to be a number
TINY = float(np.finfo(np.float64).tiny)

Values = Mapping[str, float]


class LossLaw(Law):
    """A law with a closed form: loss = (Σ amplitude · column)^power, columns and power functions of the rest.

    A subclass gives ``amplitudes``, :meth:`columns` and :meth:`ranges`; a law without amplitudes overrides
    :meth:`~scalingeq.inference.laws.interface.Law.loss` and leaves these out.

    Attributes
    ----------
    amplitudes : tuple of str
        Parameters, zero or more, in which ``loss**(1/power)`` is linear.
    huber_scale : float or None
        Spread of log residuals that sets where the penalty becomes linear; by default that of a first fit.
    """

    amplitudes: ClassVar[tuple[str, ...]] = ()
    huber_scale: float | None = None

    def columns(self, values: Values, curves: TrainingCurves) -> Floats:
        """Derivatives (obs, amplitude) of ``loss**(1/power)`` in the amplitudes."""
        return np.empty((curves.run.size, 0))

    def power(self, values: Values) -> float:
        """Exponent of the sum."""
        return 1.0

    @abstractmethod
    def ranges(self, curves: TrainingCurves) -> dict[str, tuple[float, float]]:
        """Low and high end of a log-uniform search, of each parameter that is no amplitude."""

    def solve_amplitudes(
        self, values: Values, curves: TrainingCurves, weight: Floats, free: list[str]
    ) -> dict[str, float]:
        """Best non-negative values of the amplitudes ``free`` at the other parameters, those of a search's point."""
        columns, target = self.columns(values, curves), curves.loss ** (1 / self.power(values))
        linear = np.array([name in free for name in self.amplitudes], dtype=bool)
        held = columns[:, ~linear] @ np.array([values[name] for name in self.amplitudes if name not in free])
        solved = nonnegative(columns[:, linear], target - held, weight / target)
        return dict(zip(free, solved.tolist(), strict=True))

    def default_parameters(self, curves: TrainingCurves) -> tuple[Parameters, tuple[str, ...]]:
        """All parameters free, within the bounds of the law; their values are set by the search."""
        from lmfit import Parameters

        params = Parameters()
        ranges = self.ranges(curves)
        for name, info in self.parameters.items():
            start = float(np.sqrt(np.prod(ranges[name]))) if name in ranges else max(info.minimum, 1.0)
            params.add(name, value=start, min=info.minimum, max=info.maximum)
        return params, ()

    def loss(self, values: Values, curves: TrainingCurves) -> Floats:
        """Loss (obs,) of the law."""
        total = self.columns(values, curves) @ np.array([values[name] for name in self.amplitudes])
        # Laws with falling terms can pass zero far from the data, where a loss has no logarithm.
        return np.asarray(np.maximum(total, TINY) ** self.power(values))

    def log_jacobian(self, values: Values, curves: TrainingCurves, names: list[str]) -> Floats:
        """Derivatives (obs, name) of the log loss: of amplitudes exact, of other parameters central differences."""
        rest = [name for name in names if name not in self.amplitudes]
        derivative = np.empty((curves.run.size, len(names)))
        derivative[:, [names.index(name) for name in rest]] = super().log_jacobian(values, curves, rest)
        if len(rest) < len(names):
            columns = self.columns(values, curves)
            total = columns @ np.array([values[name] for name in self.amplitudes])
            for number, name in enumerate(names):
                if name in self.amplitudes:
                    derivative[:, number] = self.power(values) * columns[:, self.amplitudes.index(name)] / total
        return derivative

    def fit(
        self,
        curves: TrainingCurves,
        params: Parameters | None = None,
        *,
        weights: Floats | None = None,
        progress: Callable[[float], object] | None = None,
    ) -> LawFit:
        """Fit the law to all runs at once, residuals in log loss.

        A quasi-random search over the parameters that are no amplitudes, with non-negative linear solves for these,
        finds starts; the best are refined under Huber's penalty, within bounds and constraints, and the best of these
        is the fit. Arguments, errors and result are those of :meth:`Law.fit`.
        """
        weight = self.default_weights(curves) if weights is None else weights
        chosen = curves.select(weight > 0)
        given = params
        params, notes = self.default_parameters(chosen) if params is None else (params.copy(), ())
        defaults = f"LAWS[{self.name!r}].default_parameters"
        problems = self.problems(chosen) + fit_problems(params, self.parameters, chosen, defaults)
        raise_problems(problems, FitError)
        tell = progress or (lambda share: None)
        starts = [] if given is None else [dict(params.valuesdict())]
        starts += self._search(chosen, weight[weight > 0], params, lambda share: tell(0.7 * share))
        with np.errstate(all="ignore"):
            misfits = [_misfit(self, start, chosen) for start in starts]
            spread = np.array([weighted_spread(misfit, weight[weight > 0]) for misfit in misfits])
        spread[np.isnan(spread)] = np.inf
        if not np.isfinite(spread).any():
            raise FitError("no start of the fit gives a finite loss; pass params with values nearer to the data")
        objective = LogObjective(self, chosen, weight[weight > 0], self.huber_scale or float(spread.min()), params)
        best = self.refine(objective, params, [starts[number] for number in np.argsort(spread)[:SEARCH_STARTS]])
        tell(0.9)
        if self.huber_scale is None:
            # The spread of the fit itself, not that of a start, says which residuals are large.
            values = dict(best.valuesdict())
            scale = weighted_spread(_misfit(self, values, chosen), objective.weight)
            objective = LogObjective(self, chosen, objective.weight, scale, params)
            best = self.refine(objective, params, [values])
        tell(1.0)
        self._drop_nothing(best, chosen)
        found = covariance_of(objective, best)
        residual_scale = float(np.sqrt(found.noise.variance * np.mean(objective.spread**2)))
        return LawFit(self.name, best, found.matrix, residual_scale, weight, notes + found.bound_notes(best))

    def refine(self, objective: LogObjective, params: Parameters, starts: list[dict[str, float]]) -> Parameters:
        """Best of the refinements under Huber's penalty from several starts, within bounds and constraints."""
        fits = [self._refine_one(objective, _moved_to(params, start)) for start in starts]
        return min(fits, key=lambda fit: float(np.sum(objective.residuals(fit) ** 2)))

    def _refine_one(self, objective: LogObjective, params: Parameters) -> Parameters:
        """Trust-region least squares, positive parameters by their logarithms; moves ``params``."""
        from scipy.optimize import least_squares

        free = objective.free
        if not free:
            return params
        low, high, value = (
            np.array([getattr(params[name], side) for name in free]) for side in ("min", "max", "value")
        )
        high = np.minimum(high, LARGEST)
        positive = (low >= 0) & (value > 0)

        def inside(point: Floats) -> Floats:
            """Values (free,); the logarithm that bounds a positive parameter rounds."""
            return np.asarray(np.clip(np.where(positive, np.exp(np.where(positive, point, 0.0)), point), low, high))

        def at(point: Floats) -> Parameters:
            for name, here in zip(free, inside(point), strict=True):
                params[name].set(value=float(here))
            params.update_constraints()
            return params

        with np.errstate(divide="ignore"):
            ends, point = (
                np.where(positive, np.log(np.where(positive, x, 1.0)), x) for x in (np.stack([low, high]), value)
            )

        def residuals(point: Floats) -> Floats:
            return objective.residuals(at(point))

        def jacobian(point: Floats) -> Floats:
            return np.asarray(objective.jacobian(at(point)) * np.where(positive, inside(point), 1.0))

        fit = least_squares(
            residuals,
            np.clip(point, ends[0] + 1e-9, ends[1] - 1e-9),
            jac=jacobian,
            bounds=(ends[0], ends[1]),
            x_scale="jac",
            ftol=TOLERANCE,
            xtol=TOLERANCE,
            gtol=TOLERANCE,
            max_nfev=LARGEST_STEPS,
        )
        return at(fit.x)

    def _search(
        self, curves: TrainingCurves, weight: Floats, params: Parameters, tell: Callable[[float], object]
    ) -> list[dict[str, float]]:
        """Starts: points of a quasi-random search, with the amplitudes solved for."""
        from scipy.stats import qmc

        ranges = {name: ends for name, ends in self.ranges(curves).items() if params[name].vary}
        low, high = (np.log([ends[side] for ends in ranges.values()]) for side in (0, 1))
        points = low + qmc.Sobol(max(len(ranges), 1), seed=0).random(SEARCH_POINTS)[:, : len(ranges)] * (high - low)
        held = dict(params.valuesdict())
        bounds = {name: (params[name].min, params[name].max) for name in params}
        starts = []
        for number, point in enumerate(np.exp(points)):
            tell((number + 1) / SEARCH_POINTS)
            values = held | dict(zip(ranges, map(float, point), strict=True))
            if any(parameter.expr for parameter in params.values()):
                values = dict(_moved_to(params, values).valuesdict())
            solved = self.solve_amplitudes(values, curves, weight, [n for n in self.amplitudes if params[n].vary])
            values |= {name: value for name, value in solved.items() if params[name].vary}
            starts.append({name: float(np.clip(value, *bounds[name])) for name, value in values.items()})
        return starts

    def _drop_nothing(self, params: Parameters, curves: TrainingCurves) -> None:
        """Take what an amplitude fell to, on its way to zero, for zero."""
        columns = self.columns(params.valuesdict(), curves)
        floor = NOTHING * float(curves.loss.min()) ** (1 / self.power(params.valuesdict()))
        for number, name in enumerate(self.amplitudes):
            largest = params[name].value * float(np.abs(columns[:, number]).max())
            if params[name].vary and params[name].min == 0 and largest < floor:
                params[name].set(value=0.0)


class LogObjective:
    """Residuals in log loss of a closed-form law and their derivatives, for one set of observations."""

    def __init__(self, law: LossLaw, used: TrainingCurves, weight: Floats, scale: float, params: Parameters) -> None:
        self.law, self.used, self.weight = law, used, weight
        # A known measurement error adds to the misfit of the law that the scale stands for.
        measured = np.nan_to_num(used.loss_stderr / used.loss)
        self.spread = np.sqrt(max(scale, SMALLEST_SCALE) ** 2 + measured**2)
        self.free = [name for name in params if params[name].vary]
        self.constrained = any(parameter.expr for parameter in params.values())

    @property
    def run(self) -> NDArray[np.int64]:
        """Run (obs,) of each observation."""
        return self.used.run

    def scaled_misfit(self, values: Values) -> Floats:
        """Log (obs,) of the law's loss over the measured one, weighted, in units of the spread."""
        return np.asarray(self.weight / self.spread * _misfit(self.law, values, self.used))

    def residuals(self, params: Parameters) -> Floats:
        """Huber residuals (obs,)."""
        return huber_residual(self.scaled_misfit(params.valuesdict()))

    def jacobian(self, params: Parameters) -> Floats:
        """Derivatives (obs, free) of :meth:`residuals`, through constraints where there are any."""
        values = params.valuesdict()
        factor = huber_slope(self.scaled_misfit(values)) * self.weight / self.spread
        if not self.constrained:
            return np.asarray(self.law.log_jacobian(values, self.used, self.free) * factor[:, None])
        from ..objective import tied_to

        names, place = list(self.law.parameters), list(params)
        follows = tied_to(params, self.free)[[place.index(name) for name in names]]
        return np.asarray(self.law.log_jacobian(values, self.used, names) * factor[:, None] @ follows)


def nonnegative(columns: Floats, target: Floats, row: Floats) -> Floats:
    """Coefficients (column,) >= 0 of least squares, rows multiplied by ``row``; a little above zero, to start from.

    With ``row`` = weight / target the linear residual is the one in the logarithm, to first order.

    Examples
    --------
    >>> x = np.linspace(1, 2, 5)
    >>> nonnegative(np.stack([np.ones(5), x], axis=1), 2 + 3 * x, np.ones(5)).round(6).tolist()
    [2.0, 3.0]
    """
    from scipy.optimize import nnls

    scaled = columns * row[:, None]
    unit = np.linalg.norm(scaled, axis=0)
    with np.errstate(all="ignore"):  # columns that overflow or vanish give no start
        if not (columns.shape[1] and np.isfinite(unit).all() and (unit > 0).all()):
            return np.full(columns.shape[1], np.nan)
        solved = nnls(scaled / unit, target * row)[0] / unit
        return np.asarray(np.maximum(solved, FAINT * np.abs(target).min() / np.abs(columns).max(axis=0)))


def _misfit(law: LossLaw, values: Values, curves: TrainingCurves) -> Floats:
    return np.asarray(np.log(law.loss(values, curves) / curves.loss))


def _moved_to(params: Parameters, values: Values) -> Parameters:
    moved = params.copy()
    for name in moved:
        if moved[name].vary:
            moved[name].set(value=values[name])
    moved.update_constraints()
    return moved
