"""Losses of gradient flow under a schedule of the learning rate and the batch size, with the noise of minibatches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scalingeq.theory.collocation import STAGES, at_times, march, to_powers
from scalingeq.theory.contour import ClosedContour, closed_contour
from scalingeq.theory.curves import Curves, IntArray, size_of
from scalingeq.theory.equivalents import ONE_MODEL, OnePoint, Shared, one_point_along
from scalingeq.theory.panels import Panels
from scalingeq.theory.rates import BLOCK
from scalingeq.theory.schedule import Schedule
from scalingeq.theory.smooth import SmoothTimes
from scalingeq.theory.spectrum import ComplexArray, FloatArray
from scalingeq.theory.stability import largest_eigenvalue
from scalingeq.theory.two_frequency import Model, flow_test_forcing, kernel_terms
from scalingeq.theory.volterra import check_kernel_norm


class Parts(NamedTuple):
    """Where losses come from, each for no label noise and per unit of its variance.

    Attributes
    ----------
    forcing : ndarray, shape (shared, 2, curve, step)
        Product of the errors of two models trained without the noise of minibatches, for each of what they share.
    noise : ndarray, shape (2, curve, step)
        What the noise of minibatches adds to the loss of one model.
    """

    forcing: FloatArray
    noise: FloatArray

    def loss(self, noise_variance: FloatArray) -> FloatArray:
        """Loss (curve, step) of one model, where ``shared`` begins with all; ``noise_variance`` is (curve,)."""
        both = self.forcing[0] + self.noise
        return np.asarray(both[0] + noise_variance[:, None] * both[1])


def scheduled_loss_of(curves: Curves, schedule: Schedule, model: Model, two_frequencies: bool) -> FloatArray:
    """Loss (curve, step) at the steps that stand in the ``time`` of the curves; arguments as in `scheduled_parts`."""
    frame = frame_of(curves, schedule, model)
    forcing, noise = frame.losses([ONE_MODEL], two_frequencies)
    begin, values = (frame.of_curves(curves, part) for part in (frame.start, forcing[0] + noise))
    return frame.at_steps(curves, frame.series(begin, values))


def scheduled_parts(
    curves: Curves, schedule: Schedule, model: Model, shared: Sequence[Shared], two_frequencies: bool
) -> Parts:
    """Parts of the losses at the steps that stand in the ``time`` of the curves.

    ``model`` gives all but the sizes, which are the curves'; without ``two_frequencies`` the loss is that of training,
    or one pass, and ``shared`` all.
    """
    frame = frame_of(curves, schedule, model)
    forcing, noise = frame.losses(shared, two_frequencies)
    parts = np.concatenate([forcing, noise[None]])[:, frame.problem]
    begin = np.zeros(parts.shape[:3])
    begin[:-1] = frame.start[frame.problem]
    # The curves come last: (shared and noise, 2, curve, ...).
    values = frame.at_steps(curves, frame.series(begin.swapaxes(1, 2), parts.swapaxes(1, 2)))
    return Parts(values[:-1], values[-1])


class Frame(NamedTuple):
    """What losses under a schedule are computed on.

    Attributes
    ----------
    schedule : Schedule
        Learning rate and noise rate.
    models : list of Model
        Models of distinct sizes.
    problem : ndarray of int, shape (curve,)
        The model of each curve.
    panels : Panels
        Panels of intrinsic time up to the last step of the curves.
    times : SmoothTimes
        Times at which the forcing is evaluated.
    modes : Modes
        Modes of the train loss.
    """

    schedule: Schedule
    models: list[Model]
    problem: IntArray
    panels: Panels
    times: SmoothTimes
    modes: Modes

    @property
    def start(self) -> FloatArray:
        """Loss (problem, 2) of the untrained model without label noise, and per unit of it."""
        return np.tile([self.models[0].test_power, 1.0], (len(self.models), 1))

    def losses(self, shared: Sequence[Shared], two_frequencies: bool) -> tuple[FloatArray, FloatArray]:
        """Forcing (shared, problem, 2, panel, stage) and noise (problem, 2, panel, stage) at the nodes of the panels."""
        nodes, modes = self.panels.nodes, self.modes
        train = self.times.at(modes.forcing(self.times.time), nodes)
        forcing = train[None]
        if two_frequencies:
            forcing = self.times.at(_test_forcings(self.times.time, self.models, shared), nodes)
        if not self.panels.noise.any():
            return forcing, np.zeros_like(train)
        exponent, kernel, test = modes.exponent, modes.kernel, None
        if two_frequencies:
            terms = [kernel_terms(self.panels.last, modes.edge, one) for one in self.models]
            exponent = np.append(exponent, -(terms[0].rate + 2 * modes.ridge))
            none = np.zeros_like(kernel)
            kernel = np.concatenate([kernel, np.zeros((len(self.models), terms[0].rate.size))], axis=1)
            test = np.concatenate([none, np.array([one.amplitude for one in terms])], axis=1)
        length = np.diff(self.panels.time)[:, 0]
        return forcing, march(length, self.panels.noise, exponent, train, kernel, test)[1]

    def of_curves(self, curves: Curves, parts: FloatArray) -> FloatArray:
        """Values (curve, ...) of the curves from those of each problem (problem, 2, ...), or (problem, 1, ...)."""
        if parts.shape[1] == 1:
            return np.asarray(parts[self.problem, 0])
        noise = curves.noise_variance.reshape(-1, *[1] * (parts.ndim - 2))
        return np.asarray(parts[self.problem, 0] + noise * parts[self.problem, 1])

    def series(self, begin: FloatArray, values: FloatArray) -> FloatArray:
        """Polynomials (..., panel, power) of what begins at ``begin`` (...) and is ``values`` (..., panel, stage)."""
        if not self.panels.noise.size:
            return begin[..., None, None]
        ends = np.concatenate([begin[..., None], values[..., :-1, -1]], axis=-1)
        return np.concatenate([ends[..., None], values], axis=-1) @ to_powers(STAGES).T

    def slope_of(self, series: FloatArray) -> FloatArray:
        """Polynomials of the derivative with respect to intrinsic time."""
        if not self.panels.noise.size:
            return np.zeros_like(series)
        slope = np.zeros_like(series)
        slope[..., :-1] = series[..., 1:] * np.arange(1, series.shape[-1]) / (np.diff(self.panels.time) / 2)
        return slope

    def at_steps(self, curves: Curves, series: FloatArray) -> FloatArray:
        """Values (..., curve, step) at the steps of the curves of polynomials (..., curve, panel, power)."""
        lead, steps = series.shape[:-3], curves.grid.shape[1]
        if not self.panels.noise.size:
            return np.repeat(series[..., 0], steps, axis=-1)
        series = series.reshape(-1, *series.shape[-3:])
        found = np.empty((*series.shape[:2], steps))
        for row, asked in enumerate(curves.grid):
            own = np.flatnonzero(curves.which == row)
            mine = np.ascontiguousarray(series[:, own]).reshape(-1, *series.shape[2:])
            order = slice(None) if (asked[1:] >= asked[:-1]).all() else np.argsort(asked)
            ascending = asked[order]
            for first in range(0, steps, BLOCK):
                part = slice(first, first + BLOCK)
                values = at_times(self.panels.time, mine, self.schedule.time(ascending[part]))
                place = part if isinstance(order, slice) else order[part]
                for number, curve in enumerate(own):
                    found[:, curve, place] = values.reshape(-1, own.size, values.shape[1])[:, number]
        return np.asarray(found.reshape(*lead, *found.shape[1:]))


def frame_of(curves: Curves, schedule: Schedule, model: Model) -> Frame:
    """What the losses of curves are computed on, once it is certain that the noise does not feed on itself."""
    sizes = list(zip(curves.per_width.tolist(), curves.per_sample.tolist(), strict=True))
    number = {pair: i for i, pair in enumerate(dict.fromkeys(sizes))}
    models = [model._replace(per_width=n, per_sample=p) for n, p in number]
    problem = np.array([number[pair] for pair in sizes])
    last = float(curves.grid.max(initial=0.0))
    check_kernel_norm(np.array([schedule.highest_noise(last)]), model.spectrum.nodes(1.0).trace)
    # The narrowest model of the fewest samples has the largest eigenvalue.
    edge = largest_eigenvalue(
        model.spectrum, width=size_of(curves.per_width.max()), samples=size_of(curves.per_sample.max())
    )
    longest = float(schedule.time(last))
    panels = schedule.panels(last, edge)
    # Where no time passes any other does as well.
    longest = longest or 1 / edge
    return Frame(schedule, models, problem, panels, SmoothTimes(longest, 2 * edge), Modes(longest, edge, models))


class Modes:
    """The train loss of gradient flow as sums over complex modes, for several problems at once."""

    def __init__(self, longest: float, edge: float, models: list[Model]) -> None:
        self.ridge, self.edge = models[0].ridge, edge
        self.contour = closed_contour(longest, edge, ridge=self.ridge)
        self.point = on_closed_contour(self.contour, models)
        self.rate = self.contour.s - self.ridge
        self.exponent = 2 * self.rate
        self.kernel = kernel_weights(self.point, self.contour.weight)
        self.target = forcing_weights(self.point, self.contour.weight)

    def forcing(self, time: FloatArray) -> FloatArray:
        """Train loss (problem, 2, time) of gradient flow without label noise, and per unit of it."""
        residual = self.residual(time)
        return np.asarray((self.target @ (residual * residual).T).real)

    def residual(self, time: FloatArray) -> ComplexArray:
        """Residual (time, mode) of the modes."""
        growth = np.multiply.outer(time, self.rate)
        if self.ridge:
            return np.exp(growth) + self.ridge * np.expm1(growth) / self.rate
        return np.exp(growth, out=growth)

    def drift(self, time: FloatArray) -> ComplexArray:
        """Derivative (time, mode) of the residual with respect to time."""
        return np.exp(np.multiply.outer(time, self.rate)) * self.contour.s


def on_closed_contour(contour: ClosedContour, models: list[Model]) -> OnePoint:
    """Equivalents (problem, mode) on a closed contour."""
    per_width, per_sample = (
        np.array(sizes) for sizes in zip(*[(m.per_width, m.per_sample) for m in models], strict=True)
    )
    spectrum = models[0].spectrum
    nodes = spectrum.nodes(float(np.abs(contour.s).min()))
    # The contour leaves the positive real axis right before its first node.
    path = np.append(abs(contour.s[0]), contour.s)
    point = one_point_along(np.tile(path, (len(models), 1)), nodes, per_width, per_sample)
    return OnePoint._make([*(field[:, 1:] for field in point[:-2]), point.per_width, point.per_sample])


def forcing_weights(point: OnePoint, weight: ComplexArray) -> ComplexArray:
    """Weights (problem, 2, mode) of squared residuals in the train loss: of the target, and of unit label noise."""
    return np.stack([weight * point.kappa2 * point.power / point.kappa1, weight / point.kappa1], axis=1)


def kernel_weights(point: OnePoint, weight: ComplexArray) -> ComplexArray:
    """Weights (problem, mode) of squared residuals in the kernel of the train loss.

    On a closed contour the trace in ``Tr Sigma - s df`` (`kernel_one_point`) integrates to nothing.
    """
    return np.asarray(-weight * point.s * point.degrees)


def _test_forcings(time: FloatArray, models: list[Model], shared: Sequence[Shared]) -> FloatArray:
    """Test forcing (shared, problem, 2, time) without label noise, and per unit of it."""
    out = np.empty((len(shared), len(models), 2, time.size))
    both, noise = np.broadcast_to(time, (2, time.size)), np.array([0.0, 1.0])
    for i, what in enumerate(shared):
        for j, model in enumerate(models):
            out[i, j] = flow_test_forcing(both, noise, model._replace(shared=what))
    out[:, :, 1] -= out[:, :, 0]
    return out
