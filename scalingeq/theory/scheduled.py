"""Losses of gradient flow under a schedule of the learning rate and the batch size, with the noise of minibatches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scalingeq.theory.collocation import STAGES, Panels, at_steps, march, radau
from scalingeq.theory.contour import closed_contour
from scalingeq.theory.curves import Curves, size_of
from scalingeq.theory.equivalents import OnePoint, Shared, one_point
from scalingeq.theory.schedule import Schedule
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


def scheduled_parts(
    curves: Curves, schedule: Schedule, model: Model, shared: Sequence[Shared], two_frequencies: bool
) -> Parts:
    """Parts of the losses at the steps that stand in the ``time`` of the curves.

    ``model`` gives all but the sizes, which are the curves'; without ``two_frequencies`` the loss is that of training,
    or one pass, and ``shared`` all.
    """
    step, where = np.unique(curves.time, return_inverse=True)
    _, first, problem = np.unique(
        np.stack([curves.per_width, curves.per_sample]), axis=1, return_index=True, return_inverse=True
    )
    problem = problem.reshape(-1)
    models = [
        model._replace(per_width=float(curves.per_width[i]), per_sample=float(curves.per_sample[i])) for i in first
    ]
    forcing, noise = _at_steps(step, schedule, models, shared, two_frequencies)
    where = where.reshape(curves.time.shape)
    # (shared, problem, 2, step) at the curves' own steps.
    taken = forcing[:, problem[:, None], :, where], noise[problem[:, None], :, where]
    return Parts(np.moveaxis(taken[0], (0, 1, 2, 3), (2, 3, 0, 1)), np.moveaxis(taken[1], 2, 0))


def _at_steps(
    step: FloatArray, schedule: Schedule, models: list[Model], shared: Sequence[Shared], two_frequencies: bool
) -> tuple[FloatArray, FloatArray]:
    """Forcing (shared, problem, 2, step) and noise (problem, 2, step) at ascending steps."""
    last = float(step[-1]) if step.size else 0.0
    longest = float(schedule.time(last))
    noisy = bool(schedule.integrals(last)[1] > 0)
    start = np.broadcast_to([models[0].test_power, 1.0], (len(shared), len(models), 2))
    if longest == 0:
        return np.repeat(start[..., None], step.size, axis=-1), np.zeros((len(models), 2, step.size))
    knots, _, rates = schedule.knots
    check_kernel_norm(
        np.append(rates[knots <= last], np.interp(last, knots, rates)),
        models[0].spectrum.nodes(1.0).trace,
    )
    # The narrowest model of the fewest samples has the largest eigenvalue.
    edge = largest_eigenvalue(
        models[0].spectrum,
        width=size_of(max(model.per_width for model in models)),
        samples=size_of(max(model.per_sample for model in models)),
    )
    modes = _Modes(longest, edge, models)
    if not noisy:
        time = np.asarray(schedule.time(step))
        if two_frequencies:
            return _test_forcings(time, models, shared), np.zeros((len(models), 2, step.size))
        return modes.forcing(time)[None], np.zeros((len(models), 2, step.size))
    panels = panels_of(schedule, last, edge)
    shape = (len(models), 2, *panels.time.shape)
    train = modes.forcing(panels.time.ravel()).reshape(shape)
    exponent, kernel, test = modes.exponent, modes.kernel, None
    forcing = train[None]
    if two_frequencies:
        forcing = _test_forcings(panels.time.ravel(), models, shared).reshape(len(shared), *shape)
        terms = [kernel_terms(longest, edge, one) for one in models]
        none = np.zeros_like(kernel)
        exponent = np.append(exponent, -(terms[0].rate + 2 * models[0].ridge))
        kernel = np.concatenate([kernel, np.zeros((len(models), terms[0].rate.size))], axis=1)
        test = np.concatenate([none, np.array([one.amplitude for one in terms])], axis=1)
    noise = march(panels, exponent, train, kernel, test)[1]
    begin = np.concatenate([start, np.zeros_like(start[:1])])
    values = at_steps(panels, begin, np.concatenate([forcing, noise[None]]), step)
    return values[:-1], values[-1]


def panels_of(schedule: Schedule, last: float, edge: float) -> Panels:
    """Panels of a schedule up to step ``last`` for modes with eigenvalues of at most ``edge``."""
    nodes, matrix = radau(STAGES)
    first, end = schedule.panels(last, edge)
    begin = schedule.integrals(first)
    inside = schedule.integrals(first[:, None] + (end - first)[:, None] * nodes)
    # Rates whose integrals over the panel are those of the schedule.
    rate, noise = (
        np.asarray(np.linalg.solve(matrix, (value - at[:, None])[..., None])[..., 0], dtype=np.float64)
        for value, at in zip(inside, begin, strict=True)
    )
    return Panels(first, end, inside[0], rate, noise)


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
        out = np.empty((*self.target.shape[:2], time.size))
        step = max(1, 1_000_000 // self.rate.size)
        for i in range(0, time.size, step):
            part = slice(i, i + step)
            growth = np.multiply.outer(time[part], self.rate)
            residual = np.exp(growth)
            if self.ridge:
                residual = residual + self.ridge * np.expm1(growth) / self.rate
            out[..., part] = (self.target @ (residual * residual).T).real
        return out


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
