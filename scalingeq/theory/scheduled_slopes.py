"""Derivatives of losses under a schedule, with respect to the spectrum, the sizes and the schedule itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scalingeq.theory.collocation import STAGES, march, radau
from scalingeq.theory.curves import Curves
from scalingeq.theory.flow import forcing_loss, test_kernel_amplitudes
from scalingeq.theory.panels import Panels
from scalingeq.theory.rates import Knots, LinearRates
from scalingeq.theory.schedule import Schedule
from scalingeq.theory.scheduled import Frame, frame_of
from scalingeq.theory.sensitivities import NodeSlopes, node_slopes, one_point_slopes
from scalingeq.theory.spectrum import AnySpectrum, ComplexArray, FloatArray, Nodes
from scalingeq.theory.tangents import Change, march_tangents
from scalingeq.theory.two_frequency import KernelGrids, Model, kernel_grids


class Shift(NamedTuple):
    """Change of panels: of their ends in time (panel, 2), and of the noise at their nodes (panel, stage)."""

    time: FloatArray
    noise: FloatArray


def shift_along(panels: Panels, schedule: Schedule, direction: tuple[FloatArray, FloatArray]) -> Shift:
    """Change of panels, whose ends stay at their steps, where a schedule changes by ``direction``.

    ``direction`` are changes of the learning rate and of the noise rate (knot,) at the knots of the schedule.
    """
    time_of, noise_of = _along(schedule, direction)
    step = schedule.step_at(panels.nodes)
    ends = time_of(panels.step)
    # A node stays at its place within the panel, and so moves to another step.
    moved = ends[:, :1] + np.diff(ends) * radau(STAGES)[0] - time_of(step)
    noise = noise_of(step) + schedule.before(step)[1] * moved - noise_of(panels.step[:, :1])
    return Shift(ends, np.asarray(np.linalg.solve(radau(STAGES)[1], noise.T).T, dtype=np.float64))


def _along(
    schedule: Schedule, direction: tuple[FloatArray, FloatArray]
) -> tuple[Callable[[FloatArray], FloatArray], Callable[[FloatArray], FloatArray]]:
    """Changes of the integrals of the rate and of rate times noise rate, as functions of the step."""
    step, rate, noise_rate = schedule.knots
    faster, louder = LinearRates(Knots(step, direction[0], noise_rate)), LinearRates(Knots(step, rate, direction[1]))
    return faster.time, lambda at: faster.integrals(at)[1] + louder.integrals(at)[1]


class Parts(NamedTuple):
    """Forcing and kernel of a loss, and their derivatives, the value first.

    Attributes
    ----------
    forcing : ndarray, shape (1 + parameter, problem, case, panel, stage)
        Forcing at the nodes: without label noise, and per unit of it.
    drift : ndarray, shape (problem, case, panel, stage)
        Its derivative with respect to time.
    kernel : ndarray of complex, shape (1 + parameter, problem, mode)
        Weights of modes.
    """

    forcing: FloatArray
    drift: FloatArray
    kernel: ComplexArray


def _train_parts(frame: Frame, of_nodes: NodeSlopes, nodes: Nodes) -> Parts:
    """Parts of the train loss; parameters are those of the spectrum, and one over the sizes."""
    modes, point, weight = frame.modes, frame.modes.point, frame.modes.contour.weight
    slopes = one_point_slopes(point, nodes, of_nodes, pairs=False)
    # Derivatives of `kernel_weights` and `forcing_weights`; the Laplace frequencies stay where they are.
    share = point.kappa2 * point.power / point.kappa1
    target = slopes.kappa2 * point.power + point.kappa2 * slopes.power - share * slopes.kappa1
    moved = np.stack([weight * target / point.kappa1, -weight * slopes.kappa1 / point.kappa1**2], axis=2)[:-1]
    residual = modes.residual(frame.times.time)
    weights = np.concatenate([modes.target[None], moved, modes.target[None]])
    values = (weights[:-1] @ (residual * residual).T).real
    drift = (weights[-1] @ (2 * residual * modes.drift(frame.times.time)).T).real
    at_nodes = frame.times.at(np.concatenate([values, drift[None]]), frame.panels.nodes)
    kernel = np.concatenate([modes.kernel[None], (-weight * point.s * slopes.degrees)[:-1]])
    return Parts(at_nodes[:-1], at_nodes[-1], kernel)


def _test_parts(frame: Frame, spectrum: AnySpectrum, exponentials: KernelGrids) -> Parts:
    """Parts of the test loss with finite data, the modes of the kernel being exponentials."""
    sizes = np.array([(model.per_width, model.per_sample) for model in frame.models]).repeat(2, axis=0)
    none, noise = np.zeros(len(sizes)), np.tile([0.0, 1.0], len(frame.models))
    # No noise of minibatches: the forcing alone.
    per_width, per_sample = sizes[:, 0], sizes[:, 1]
    quiet = Curves(
        frame.times.time[None], none.astype(np.int64), none, per_width, per_sample, noise, (len(sizes),)
    )  # fmt: skip
    losses = forcing_loss(quiet, spectrum, True)
    values = losses.reshape(len(losses), len(frame.models), 2, -1)
    values[:, :, 1] -= values[:, :, 0]
    at_nodes = frame.times.at(values, frame.panels.nodes)
    # After the parameters come the noise variance, the noise rate and the time.
    amplitude = test_kernel_amplitudes(exponentials, per_width[::2], per_sample[::2], spectrum)
    return Parts(at_nodes[:-3], at_nodes[-1], amplitude.astype(np.complex128))


def scheduled_slopes(
    curves: Curves,
    schedule: Schedule,
    model: Model,
    two_frequencies: bool,
    direction: tuple[FloatArray, FloatArray] | None = None,
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Loss (curve, step) and its derivatives, each of the same shape; arguments as in `scheduled_loss_of`.

    They are those with respect to the parameters of the spectrum, ``width``, ``samples``, ``noise_variance``, a common
    factor of the learning rates (``rate``) at fixed noise rates, one of the noise rates (``noise_rate``), the ``steps``,
    and the size of a change of the schedule by ``direction`` times it: rates and noise rates at its knots.
    """
    frame = frame_of(curves, schedule, model)
    panels, exponent = frame.panels, frame.modes.exponent
    smallest = float(np.abs(frame.modes.contour.s).min())
    of_nodes = node_slopes(model.spectrum, smallest)
    fed, forced = _train_parts(frame, of_nodes, model.spectrum.nodes(smallest)), None
    train, test = fed.kernel, None
    if two_frequencies and panels.noise.size:
        exponentials = kernel_grids(panels.last, frame.modes.edge)
        forced = _test_parts(frame, model.spectrum, exponentials)
        exponent = np.append(exponent, -exponentials.rate)
        test = np.concatenate([np.zeros_like(train), forced.kernel], axis=2)
        train = np.concatenate([train, np.zeros_like(forced.kernel)], axis=2)
    # The schedule's own changes: a factor of the time, a factor of the noise, and the direction.
    changes = [Shift(panels.time, panels.noise), Shift(np.zeros_like(panels.time), panels.noise)]
    if direction is not None:
        changes.append(shift_along(panels, schedule, direction))
    shifts = np.stack([change.time for change in changes])
    at_nodes = shifts[:, :, :1] + np.diff(shifts) * radau(STAGES)[0]
    # What changes nothing needs no march: sizes without a limit, and label noise where there is none.
    sizes = [("per_width", curves.per_width), ("per_sample", curves.per_sample)]
    names = [*of_nodes.names, *(name for name, one_over in sizes if one_over.any())]
    which = [[*of_nodes.names, "per_width", "per_sample"].index(name) + 1 for name in names]
    cases = slice(0, 2 if curves.noise_variance.any() else 1)
    length, count = np.diff(panels.time)[:, 0], len(which)

    def changed(parts: Parts) -> FloatArray:
        """Derivatives of the forcing with respect to everything."""
        return np.concatenate([parts.forcing[which], at_nodes[:, None, None] * parts.drift])[:, :, cases]

    def of_kernel(kernel: ComplexArray) -> ComplexArray:
        return np.concatenate([kernel[which], np.zeros((len(changes), *kernel.shape[1:]))])

    loss, added = march(length, panels.noise, exponent, fed.forcing[0], train[0], None if test is None else test[0])
    change = Change(
        changed(fed), of_kernel(train), None if test is None else of_kernel(test),
        np.concatenate([np.zeros((count, length.size)), np.diff(shifts)[..., 0]]),
        np.concatenate([np.zeros((count, *panels.noise.shape)), [change.noise for change in changes]]),
    )  # fmt: skip
    tangents, more = march_tangents(
        length, panels.noise, exponent, loss[:, cases], train[0], None if test is None else test[0], change
    )
    if forced is not None:
        loss, tangents = forced.forcing[0] + added, changed(forced) + more
    begin = np.zeros((len(tangents), *frame.start.shape))[..., cases]
    begin[: len(of_nodes.names), :, 0] = of_nodes.target.sum(axis=1)[:, None]
    whole = frame.series(frame.of_curves(curves, frame.start), frame.of_curves(curves, loss))
    of_noise = frame.series(frame.start[frame.problem, 1], loss[frame.problem, 1])
    of_changes = [
        frame.series(frame.of_curves(curves, first), frame.of_curves(curves, values))
        for first, values in zip(begin, tangents, strict=True)
    ]
    total, slope, by_noise, *found = frame.at_steps(
        curves, np.stack([whole, frame.slope_of(whole), of_noise, *of_changes])
    )
    by_name = dict(zip([*names, "rate", "noise_rate", "direction"], found, strict=False))
    named = {name: by_name.pop(name) for name in of_nodes.names}
    for name, (per, one_over) in zip(("width", "samples"), sizes, strict=True):
        named[name] = by_name.pop(per, np.zeros_like(total)) * (0.0 - one_over[:, None] ** 2)
    named |= {"noise_variance": by_noise, **by_name}
    named["steps"] = schedule.before(curves.time)[0] * slope
    if direction is not None and panels.noise.size:
        # The losses above are those at fixed places in the panels, which move with their ends.
        moved = frame.series(shifts[-1:, 0, 0], at_nodes[-1:])
        place = frame.at_steps(curves, np.repeat(moved, curves.which.size, axis=0))
        named["direction"] += slope * (_along(schedule, direction)[0](curves.time) - place)
    return total, named
