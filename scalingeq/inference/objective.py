"""What a fit of the two-point law minimises: robust residuals in log loss and weak priors, with their derivatives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import InstabilityError, ParameterError
from . import twopoint
from .curves import Floats, TrainingCurves
from .loss_rates import rates_over_loss
from .robust import huber_residual, huber_slope
from .slopes import loss_slopes
from .twopoint import basis_losses, settings_of, unlearnable_shape, value_of

if TYPE_CHECKING:
    from lmfit import Parameters

SOURCE_PRIOR = 0.3
"""Standard deviation of the weak prior on ln(2 alpha r) around 0, where the width floor makes the law additive."""

CAPACITY_PRIOR = (0.6, 0.7)
"""Centre of the weak prior on alpha - 1 and its deviation in the log: most of its mass has alpha between 1.2 and 2.5."""

TIME_PRIOR = (30.0, 1.5)
"""Centre of the weak prior on the intrinsic time at which the curves begin to be used, and its deviation in the log.

Late curves are the same for all (scale, time_scale, width_scale) on a line, as power laws have no scale of their own:
the prior picks a point of it that lies inside the power law.
"""

UNLEARNABLE_PRIOR = (0.4, 0.7)
"""Centre of the weak prior on the exponent of the unlearnable loss, and its deviation in the log.

At exponent zero the unlearnable loss is the irreducible one, and runs could not tell their sum apart.
"""

WIDTH_PRIOR = (0.6, 0.4)
"""Centre of the weak prior on the exponent of the width, and its deviation in the log.

Width grows as the number of parameters where they are the weights of fixed features, as its square root in a network of
fixed depth and as its cubic root where depth grows along. Without a prior it changes places with the exponent of the
unlearnable loss: both fall with size, and runs of few sizes can hardly tell them apart.
"""

RATE_PRIOR = 0.3
"""Standard deviation of the weak prior on the logarithm of the exponent of the rate around 0, which is SGD."""

SMALLEST = (
    1e-6  # of the smallest measured loss: a law without irreducible loss may fall to zero, which has no logarithm
)
UNSTABLE = 1e3  # residual where SGD diverges: far above any other, so that the fit turns back
NO_LOSS = (InstabilityError, ParameterError)  # SGD diverges, or a shift takes the target's power to infinity
LINEAR = ("scale", "irreducible", "unlearnable")


class Objective:
    """Residuals of the law and their derivatives, for one set of observations."""

    def __init__(
        self,
        curves: TrainingCurves,
        weight: Floats,
        scale: float,
        params: Parameters,
        irreducible_prior: float = np.inf,
    ) -> None:
        self.used = curves.select(weight > 0)
        if exponent := value_of(params.valuesdict(), "loss_exponent"):
            # What has no weight, a run's beginning above all, tells its rates all the same.
            self.used = rates_over_loss(self.used, curves, exponent)
        self.weight = weight[weight > 0]
        self.reference_params = float(self.used.params[np.unique(self.used.run)].min())
        self.settings, self.index = settings_of(self.used)
        self.log_loss = np.log(self.used.loss)
        # A known measurement error adds to the misfit of the law that the additive fit's spread stands for.
        measured = np.nan_to_num(self.used.loss_stderr / self.used.loss)
        self.spread = np.sqrt(scale**2 + measured**2)
        self.irreducible_spread = irreducible_prior * float(self.used.loss.min())
        self.first_time = float(np.median(self.settings.time(params["batch_exponent"].value)[:, 0]))
        self.free = [name for name in params if params[name].vary]
        self.moving = [name for name in params if params[name].vary or params[name].expr]
        self._last_columns: tuple[dict[str, float], Floats] | None = None

    @property
    def run(self) -> NDArray[np.int64]:
        """Run (obs,) of each observation."""
        return self.used.run

    def _size(self, values: Mapping[str, float]) -> Floats:
        return unlearnable_shape(values, self.used.params[self.used.run], self.reference_params)

    def columns(self, values: Mapping[str, float]) -> Floats:
        """Loss (obs, 3) of a unit of each of the parameters in which the law is linear."""
        # A search solves for these at one point, and asks for the cost there.
        nonlinear = {name: value for name, value in values.items() if name not in LINEAR}
        if self._last_columns is None or self._last_columns[0] != nonlinear:
            signal, noise = (loss[self.index] for loss in basis_losses(values, self.settings, self.reference_params))
            self._last_columns = nonlinear, np.stack([signal, noise, noise * self._size(values)], axis=1)
        return self._last_columns[1]

    def loss(self, columns: Floats, values: Mapping[str, float]) -> Floats:
        """Loss (obs,) of the law from its :meth:`columns`, never below what the theory resolves beside the data."""
        amplitudes = np.array([values[name] for name in LINEAR])
        return np.asarray(np.maximum(columns @ amplitudes, SMALLEST * self.used.loss.min()))

    def misfit(self, values: Mapping[str, float]) -> Floats:
        """Log (obs,) of the law's loss over the measured one."""
        return np.asarray(np.log(self.loss(self.columns(values), values)) - self.log_loss)

    def _priors(self, values: Mapping[str, float]) -> tuple[Floats, Floats]:
        """Residuals (prior,) of the weak priors that touch a free parameter, and derivatives (prior, moving)."""
        alpha, r, time_scale, exponent = (values[n] for n in ("alpha", "r", "time_scale", "unlearnable_exponent"))
        rate_exponent, width_exponent = values["rate_exponent"], values["width_exponent"]
        # (quantity whose logarithm is normal, its centre, deviation, derivatives of the logarithm)
        priors = (
            (2 * alpha * r, 1.0, SOURCE_PRIOR, {"alpha": 1 / alpha, "r": 1 / r}),
            (alpha - 1, *CAPACITY_PRIOR, {"alpha": 1 / (alpha - 1)}),
            (time_scale * self.first_time, *TIME_PRIOR, {"time_scale": 1 / time_scale}),
            (rate_exponent, 1.0, RATE_PRIOR, {"rate_exponent": 1 / rate_exponent}),
            (max(width_exponent, 1e-6), *WIDTH_PRIOR, {"width_exponent": 1 / max(width_exponent, 1e-6)}),
            (max(exponent, 1e-6), *UNLEARNABLE_PRIOR, {"unlearnable_exponent": 1 / max(exponent, 1e-6)}),
        )
        active = [prior for prior in priors if not set(self.free).isdisjoint(prior[3])]
        residual = [np.log(quantity / centre) / deviation for quantity, centre, deviation, _ in active]
        slopes = [[slope.get(name, 0.0) / deviation for name in self.moving] for _, _, deviation, slope in active]
        if np.isfinite(self.irreducible_spread):
            # Half a normal around zero: curves that have not bent yet say nothing of where they end.
            residual.append(values["irreducible"] / self.irreducible_spread)
            slopes.append([(name == "irreducible") / self.irreducible_spread for name in self.moving])
        return np.array(residual), np.reshape(slopes, (len(slopes), len(self.moving)))

    def residuals(self, params: Parameters) -> Floats:
        """Huber residuals (obs,), then those of the priors."""
        values = params.valuesdict()
        prior, _ = self._priors(values)
        try:
            misfit = self.weight * self.misfit(values) / self.spread
        except NO_LOSS:
            return np.append(np.full(self.weight.size, UNSTABLE), prior)
        return np.append(huber_residual(misfit), prior)

    def log_jacobian(self, values: Mapping[str, float]) -> tuple[Floats, Floats]:
        """Log loss (obs,) and its derivatives (obs, moving)."""
        loss, slopes = loss_slopes(values, self.settings, self.reference_params, self.moving)
        loss = np.maximum(loss[self.index], SMALLEST * self.used.loss.min())
        # An infinite parameter, an effect left out, has no derivative.
        none = np.zeros_like(loss)
        columns = [slopes[name][self.index] if name in slopes else none for name in self.moving]
        derivative = np.stack(columns, axis=1) if columns else np.empty((loss.size, 0))
        return np.log(loss), derivative / loss[:, None]

    def jacobian(self, params: Parameters) -> Floats:
        """Derivatives (residual, free) of :meth:`residuals`."""
        return self.with_jacobian(params)[1]

    def with_jacobian(self, params: Parameters) -> tuple[Floats, Floats]:
        """:meth:`residuals` and :meth:`jacobian` at once: derivatives bring the losses along."""
        values = params.valuesdict()
        prior, slopes = self._priors(values)
        try:
            log_loss, derivative = self.log_jacobian(values)
        except NO_LOSS:
            none = np.zeros((self.weight.size, len(self.moving)))
            unstable = np.append(np.full(self.weight.size, UNSTABLE), prior)
            return unstable, self._by_free(np.vstack([none, slopes]), params)
        factor = self.weight / self.spread
        misfit = factor * (log_loss - self.log_loss)
        derivative *= (huber_slope(misfit) * factor)[:, None]
        return np.append(huber_residual(misfit), prior), self._by_free(np.vstack([derivative, slopes]), params)

    def _by_free(self, derivative: Floats, params: Parameters) -> Floats:
        """Derivatives (residual, free) from those (residual, moving): constraint expressions by the chain rule."""
        if len(self.moving) == len(self.free):
            return derivative
        names = list(params)
        return np.asarray(derivative @ tied_to(params, self.free)[[names.index(name) for name in self.moving]])


def moved_parameters(params: Parameters, names: list[str]) -> Iterator[tuple[Parameters, float]]:
    """Copies of ``params`` with one parameter after the other moved by a small step, constraints followed."""
    for name in names:
        moved = params.copy()
        step = twopoint.difference(params.valuesdict(), name)
        if params[name].value + step > params[name].max:
            step = -step
        moved[name].set(value=params[name].value + step)
        moved.update_constraints()
        yield moved, step


def tied_to(params: Parameters, names: list[str]) -> Floats:
    """Derivatives (parameter, name) of all parameters in those of ``names``, through their constraints."""
    if not any(parameter.expr for parameter in params.values()):
        return np.asarray(np.array(list(params))[:, None] == np.array(names), dtype=np.float64)
    values = np.array(list(params.valuesdict().values()))
    tied = np.zeros((len(params), len(names)))
    for column, (moved, step) in enumerate(moved_parameters(params, names)):
        change = np.array(list(moved.valuesdict().values())) - np.where(np.isfinite(values), values, 0.0)
        tied[:, column] = np.where(np.isfinite(values), change, 0.0) / step
    return tied
