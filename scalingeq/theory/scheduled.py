"""Losses of gradient flow under a schedule of the learning rate and the batch size, with the noise of minibatches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from scalingeq.theory.collocation import at_times, march
from scalingeq.theory.contour import closed_contour
from scalingeq.theory.curves import Curves, IntArray, size_of
from scalingeq.theory.equivalents import ONE_MODEL, OnePoint, Shared, one_point
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
    nodes, problem = _solve(curves, schedule, model, [ONE_MODEL], two_frequencies)
    noise = curves.noise_variance

    def total(parts: FloatArray) -> FloatArray:
        return np.asarray(parts[problem, 0] + noise.reshape(-1, *[1] * (parts.ndim - 2)) * parts[problem, 1])

    return nodes.at_steps(curves.time, total(nodes.start[0]), total(nodes.forcing[0] + nodes.noise))


def scheduled_parts(
    curves: Curves, schedule: Schedule, model: Model, shared: Sequence[Shared], two_frequencies: bool
) -> Parts:
    """Parts of the losses at the steps that stand in the ``time`` of the curves.

    ``model`` gives all but the sizes, which are the curves'; without ``two_frequencies`` the loss is that of training,
    or one pass, and ``shared`` all.
    """
    nodes, problem = _solve(curves, schedule, model, shared, two_frequencies)
    rows = len(shared) + 1
    parts = np.concatenate([nodes.forcing, nodes.noise[None]])[:, problem]
    begin = np.concatenate([nodes.start, np.zeros_like(nodes.start[:1])])[:, problem]
    curve = np.arange(rows * problem.size * 2) // 2 % problem.size
    values = nodes.at_steps(curves.time[curve], begin.ravel(), parts.reshape(curve.size, *parts.shape[3:]))
    values = np.moveaxis(values.reshape(rows, problem.size, 2, -1), 2, 1)
    return Parts(values[:-1], values[-1])


class _Nodes(NamedTuple):
    """Losses at the times that they are interpolated from.

    Attributes
    ----------
    time : callable
        Intrinsic times of steps.
    interpolate : callable
        Takes values (row,) at step 0, values (row, node...) and ascending times to the values at these times.
    start : ndarray, shape (shared, problem, 2)
        Forcing at step 0.
    forcing, noise : ndarray, shape (shared, problem, 2, node...) and (problem, 2, node...)
        As in `Parts`.
    """

    time: Callable[[FloatArray], FloatArray]
    interpolate: Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
    start: FloatArray
    forcing: FloatArray
    noise: FloatArray

    def at_steps(self, step: FloatArray, begin: FloatArray, values: FloatArray) -> FloatArray:
        """Values (row, step) at steps (row, step) of what begins at ``begin`` and is ``values`` (row, node...)."""
        shared = step.strides[0] == 0 or step.shape[0] == 1
        asked, where = (step[0], None) if shared else (step.ravel(), None)
        if (asked[1:] < asked[:-1]).any():
            asked, where = np.unique(asked, return_inverse=True)
        found = np.empty((len(begin), asked.size))
        for first in range(0, asked.size, BLOCK):
            part = slice(first, first + BLOCK)
            found[:, part] = self.interpolate(begin, values, self.time(asked[part]))
        if where is not None:
            found = found[:, where]
        return found if shared else found.reshape(len(found), *step.shape)[np.arange(len(found)), np.arange(len(found))]


def _problems(curves: Curves, model: Model) -> tuple[list[Model], IntArray]:
    """Models of distinct sizes, and which of them each curve has."""
    _, first, problem = np.unique(
        np.stack([curves.per_width, curves.per_sample]), axis=1, return_index=True, return_inverse=True
    )
    models = [
        model._replace(per_width=float(curves.per_width[i]), per_sample=float(curves.per_sample[i])) for i in first
    ]
    return models, problem.reshape(-1)


def _solve(
    curves: Curves, schedule: Schedule, model: Model, shared: Sequence[Shared], two_frequencies: bool
) -> tuple[_Nodes, IntArray]:
    """Losses at the nodes of panels up to the last step of the curves, and the problem of each curve."""
    models, problem = _problems(curves, model)
    last = float(curves.time.max(initial=0.0))
    longest, noise = (float(value) for value in schedule.integrals(last))
    start = np.broadcast_to([model.test_power, 1.0], (len(shared), len(models), 2))
    if longest == 0:
        none = np.zeros_like(start[0])
        return _Nodes(schedule.time, lambda begin, _, time: np.outer(begin, time == 0), start, start, none), problem
    check_kernel_norm(np.array([schedule.highest_noise(last)]), model.spectrum.nodes(1.0).trace)
    # The narrowest model of the fewest samples has the largest eigenvalue.
    edge = largest_eigenvalue(
        model.spectrum, width=size_of(curves.per_width.max()), samples=size_of(curves.per_sample.max())
    )
    times = SmoothTimes(longest, 2 * edge)
    modes = _Modes(longest, edge, models)
    train = modes.forcing(times.time)
    forcing = _test_forcings(times.time, models, shared) if two_frequencies else train[None]
    if noise == 0:
        interpolate = lambda _, values, time: times.at(values, time)
        return _Nodes(schedule.time, interpolate, start, forcing, np.zeros_like(train)), problem
    panels = schedule.panels(last, edge)
    train, forcing = times.at(train, panels.nodes), times.at(forcing, panels.nodes)
    exponent, kernel, test = modes.exponent, modes.kernel, None
    if two_frequencies:
        terms = [kernel_terms(longest, edge, one) for one in models]
        exponent = np.append(exponent, -(terms[0].rate + 2 * model.ridge))
        none = np.zeros_like(kernel)
        kernel = np.concatenate([kernel, np.zeros((len(models), terms[0].rate.size))], axis=1)
        test = np.concatenate([none, np.array([one.amplitude for one in terms])], axis=1)
    added = march(np.diff(panels.time)[:, 0], panels.noise, exponent, train, kernel, test)[1]
    return _Nodes(schedule.time, partial(at_times, panels.time), start, forcing, added), problem


class _Modes:
    """The train loss of gradient flow as sums over complex modes, for several problems at once."""

    def __init__(self, longest: float, edge: float, models: list[Model]) -> None:
        self.ridge = models[0].ridge
        contour = closed_contour(longest, edge, ridge=self.ridge)
        width, samples = (
            np.array([size_of(one) for one in sizes])[:, None]
            for sizes in ([m.per_width for m in models], [m.per_sample for m in models])
        )
        point = one_point(contour.s, models[0].spectrum, width, samples)
        self.rate = contour.s - self.ridge
        self.exponent = 2 * self.rate
        self.kernel = kernel_weights(point, contour.weight)
        self.target = forcing_weights(point, contour.weight)

    def forcing(self, time: FloatArray) -> FloatArray:
        """Train loss (problem, 2, time) of gradient flow without label noise, and per unit of it."""
        growth = np.multiply.outer(time, self.rate)
        residual = np.exp(growth)
        if self.ridge:
            residual = residual + self.ridge * np.expm1(growth) / self.rate
        return np.asarray((self.target @ (residual * residual).T).real)


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
