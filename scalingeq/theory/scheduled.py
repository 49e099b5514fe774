"""Losses of gradient flow under a schedule of the learning rate and the batch size, with the noise of minibatches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scalingeq.theory.collocation import STAGES, at_times, march, real_product, to_powers
from scalingeq.theory.compiled import loops
from scalingeq.theory.contour import ClosedContour, closed_contour
from scalingeq.theory.curves import Curves, IntArray, size_of
from scalingeq.theory.equivalents import ONE_MODEL, OnePoint, Shared, one_point_along
from scalingeq.theory.panels import Panels, stacked
from scalingeq.theory.rates import BLOCK
from scalingeq.theory.schedule import Schedule
from scalingeq.theory.smooth import SmoothTimes
from scalingeq.theory.spectrum import ComplexArray, FloatArray
from scalingeq.theory.stability import largest_eigenvalue
from scalingeq.theory.two_frequency import Model, flow_test_forcing, kernel_terms
from scalingeq.theory.volterra import check_kernel_norm

#: Modes that have decayed to the exponential of this are gone.
GONE = -45.0


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


class Assigned(NamedTuple):
    """Schedules, and which of them each curve follows.

    Attributes
    ----------
    schedules : sequence of Schedule
        Distinct schedules.
    which : ndarray of int, shape (curve,)
        Schedule of each curve.
    """

    schedules: Sequence[Schedule]
    which: IntArray


def scheduled_loss_of(curves: Curves, schedule: Schedule, model: Model, two_frequencies: bool) -> FloatArray:
    """Loss (curve, step) at the steps that stand in the ``time`` of the curves; arguments as in `scheduled_parts`."""
    return losses_of(curves, to_all(curves, schedule), model, two_frequencies)


def to_all(curves: Curves, schedule: Schedule) -> Assigned:
    """One schedule for all curves."""
    return Assigned([schedule], np.zeros(curves.which.size, dtype=np.int64))


def losses_of(curves: Curves, assigned: Assigned, model: Model, two_frequencies: bool) -> FloatArray:
    """Loss (curve, step) of curves that follow schedules of their own; arguments as in `scheduled_parts`."""
    frame = frame_of(curves, assigned, model)
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
    frame = frame_of(curves, to_all(curves, schedule), model)
    forcing, noise = frame.losses(shared, two_frequencies)
    parts = np.concatenate([forcing, noise[None]])[:, frame.item]
    begin = np.zeros(parts.shape[:3])
    begin[:-1] = frame.start[frame.item]
    # The curves come last: (shared and noise, 2, curve, ...).
    values = frame.at_steps(curves, frame.series(begin.swapaxes(1, 2), parts.swapaxes(1, 2)))
    return Parts(values[:-1], values[-1])


class Frame(NamedTuple):
    """What losses under schedules are computed on.

    Attributes
    ----------
    assigned : Assigned
        Schedules, and which of them each curve follows.
    models : list of Model
        Models of distinct sizes.
    follows, model, noise_variance : ndarray, shape (item,)
        Schedule, ascending, and model of each of the distinct items that the losses are computed for; and its variance
        of label noise where that tells items apart.
    item : ndarray of int, shape (curve,)
        The item of each curve.
    panels : Panels
        Panels (schedule, panel, ...) of intrinsic time up to the last step of the curves.
    times : SmoothTimes
        Times at which the forcing is evaluated.
    modes : Modes
        Modes of the train loss.
    """

    assigned: Assigned
    models: list[Model]
    follows: IntArray
    model: IntArray
    noise_variance: FloatArray
    item: IntArray
    panels: Panels
    times: SmoothTimes
    modes: Modes

    @property
    def start(self) -> FloatArray:
        """Loss (item, 2) of the untrained model without label noise, and per unit of it."""
        return np.tile([self.models[0].test_power, 1.0], (self.model.size, 1))

    def losses(self, shared: Sequence[Shared], two_frequencies: bool) -> tuple[FloatArray, FloatArray]:
        """Forcing (shared, item, 2, panel, stage) and noise (item, 2, panel, stage) at the nodes of the panels."""
        modes = self.modes
        train = self.at_nodes(modes.forcing(self.times.time)[self.model])
        forcing = train[None]
        if two_frequencies:
            tests = _test_forcings(self.times.time, self.models, shared)
            forcing = self.at_nodes(tests[self.model]).swapaxes(0, 1)
        if not self.panels.noise.any():
            return forcing, np.zeros_like(train)
        exponent, kernel, test = modes.exponent, modes.kernel, None
        if two_frequencies:
            terms = [kernel_terms(self.panels.last, modes.edge, one) for one in self.models]
            exponent = np.append(exponent, -(terms[0].rate + 2 * modes.ridge))
            none = np.zeros_like(kernel)
            kernel = np.concatenate([kernel, np.zeros((len(self.models), terms[0].rate.size))], axis=1)
            test = np.concatenate([none, np.array([one.amplitude for one in terms])], axis=1)[self.model]
        panels, kernel = self.panels, kernel[self.model]
        loss, added = march(panels.length, panels.noise, exponent, train, kernel, test, self.follows)
        return forcing, added - self.ahead((kernel if test is None else test)[:, None]) * loss

    def ahead(self, kernel: ComplexArray) -> FloatArray:
        """Shares (item, kernel, panel, stage) of the train loss that the smoothed noise of `Panels` adds to a loss too early.

        ``kernel`` (item, kernel, mode) are the weights of the modes in the kernels of that loss, or changes of them.
        """
        stairs = self.panels.stairs[self.follows]
        return np.asarray(kernel.real.sum(axis=-1)[..., None, None] * stairs[:, None])

    def at_nodes(self, values: FloatArray) -> FloatArray:
        """Values (item, ..., panel, stage) at the nodes from those at the times (item, ..., point)."""
        nodes = self.panels.nodes
        found = np.empty((*values.shape[:-1], *nodes.shape[1:]))
        bounds = np.searchsorted(self.follows, np.arange(len(nodes) + 1))
        for number, own in enumerate(nodes):
            part = slice(bounds[number], bounds[number + 1])
            found[part] = self.times.at(values[part], own)
        return found

    def of_curves(self, curves: Curves, parts: FloatArray) -> FloatArray:
        """Values (curve, ...) of the curves from those of each item, (item, 2, ...)."""
        noise = curves.noise_variance.reshape(-1, *[1] * (parts.ndim - 2))
        return np.asarray(parts[self.item, 0] + noise * parts[self.item, 1])

    def series(self, begin: FloatArray, values: FloatArray) -> FloatArray:
        """Polynomials (..., panel, power) of what begins at ``begin`` (...) and is ``values`` (..., panel, stage)."""
        if not self.panels.noise.size:
            return begin[..., None, None]
        ends = np.concatenate([begin[..., None], values[..., :-1, -1]], axis=-1)
        return np.concatenate([ends[..., None], values], axis=-1) @ to_powers(STAGES).T

    def slope_of(self, series: FloatArray) -> FloatArray:
        """Polynomials (curve, panel, power) of the derivative with respect to intrinsic time."""
        slope = np.zeros_like(series)
        if self.panels.noise.size:
            length = self.panels.length[self.assigned.which, :, None]
            powers = np.arange(1, series.shape[-1])
            slope[..., :-1] = 2 * powers * np.divide(
                series[..., 1:], length, out=np.zeros_like(series[..., 1:]), where=length > 0
            )  # fmt: skip
        return slope

    def at_steps(self, curves: Curves, series: FloatArray) -> FloatArray:
        """Values (..., curve, step) at the steps of the curves of polynomials (..., curve, panel, power)."""
        lead, steps = series.shape[:-3], curves.grid.shape[1]
        series = series.reshape(-1, *series.shape[-3:])
        found = np.empty((*series.shape[:2], steps))
        which = self.assigned.which
        for number, row in dict.fromkeys(zip(which.tolist(), curves.which.tolist(), strict=True)):
            own = np.flatnonzero((which == number) & (curves.which == row))
            time, asked = self.panels.of(number).time, curves.grid[row]
            if not time.size:
                # Where no time passes all is as it was at the beginning, the left end of a panel.
                found[:, own] = (series[:, own, 0] @ (-1.0) ** np.arange(series.shape[-1]))[..., None]
                continue
            mine = np.ascontiguousarray(series[:, own, : len(time)]).reshape(-1, len(time), series.shape[-1])
            order = slice(None) if (asked[1:] >= asked[:-1]).all() else np.argsort(asked)
            ascending = asked[order]
            for first in range(0, steps, BLOCK):
                part = slice(first, first + BLOCK)
                values = at_times(time, mine, self.assigned.schedules[number].time(ascending[part]))
                place = part if isinstance(order, slice) else order[part]
                for position, curve in enumerate(own):
                    found[:, curve, place] = values.reshape(-1, own.size, values.shape[1])[:, position]
        return np.asarray(found.reshape(*lead, *found.shape[1:]))


def frame_of(curves: Curves, assigned: Assigned, model: Model, by_noise: bool = False) -> Frame:
    """What the losses of curves are computed on, once it is certain that the noise does not feed on itself.

    The variance of label noise tells items apart only if they are to be ``by_noise``.
    """
    schedules, which = assigned
    variance = curves.noise_variance if by_noise else np.zeros_like(curves.noise_variance)
    columns = (which, curves.per_width, curves.per_sample, variance)
    keys = list(zip(*(column.tolist() for column in columns), strict=True))
    items = {key: i for i, key in enumerate(sorted(dict.fromkeys(keys), key=lambda key: key[0]))}
    sizes: dict[tuple[float, float], int] = {}
    numbers = [sizes.setdefault(key[1:3], len(sizes)) for key in items]
    models = [model._replace(per_width=n, per_sample=p) for n, p in sizes]
    last = np.zeros(len(schedules))
    np.maximum.at(last, which, curves.grid.max(axis=1, initial=0.0)[curves.which])
    ends = list(zip(schedules, last.tolist(), strict=True))
    highest = [schedule.highest_noise(end) for schedule, end in ends]
    check_kernel_norm(np.array(highest), model.spectrum.trace)
    # The narrowest model of the fewest samples has the largest eigenvalue.
    edge = largest_eigenvalue(
        model.spectrum, width=size_of(curves.per_width.max()), samples=size_of(curves.per_sample.max())
    )
    panels = stacked([schedule.panels(end, edge) for schedule, end in ends])
    # Where no time passes any other does as well.
    longest = panels.last or 1 / edge
    return Frame(
        assigned, models, np.array([key[0] for key in items]), np.array(numbers), np.array([key[3] for key in items]),
        np.array([items[key] for key in keys]), panels, SmoothTimes(longest, 2 * edge), Modes(longest, edge, models),
    )  # fmt: skip


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
        return real_product(self.residual(time, 2), self.target).swapaxes(-1, -2)

    def residual(self, time: FloatArray, power: int = 1) -> ComplexArray:
        """Residual (time, mode) of the modes, to a power."""
        if self.ridge:
            growth = np.multiply.outer(time, self.rate)
            return (np.exp(growth) + self.ridge * np.expm1(growth) / self.rate) ** power
        compiled = loops()
        if compiled is not None:
            residual = np.empty((time.size, self.rate.size), dtype=np.complex128)
            compiled.decay(time, power * self.rate, power * GONE, residual)
            return residual
        growth = np.multiply.outer(time, power * self.rate)
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
    point = one_point_along(np.tile(path, (len(models), 1)), nodes, per_width, per_sample, copies=True)
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
    """Test forcing (problem, shared, 2, time) without label noise, and per unit of it."""
    out = np.empty((len(models), len(shared), 2, time.size))
    both, noise = np.broadcast_to(time, (2, time.size)), np.array([0.0, 1.0])
    for i, model in enumerate(models):
        for j, what in enumerate(shared):
            out[i, j] = flow_test_forcing(both, noise, model._replace(shared=what))
    out[:, :, 1] -= out[:, :, 0]
    return out
