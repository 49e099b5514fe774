"""Derivatives of losses under a schedule, with respect to the spectrum, the sizes and the schedule itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from scalingeq.theory.collocation import STAGES, march, radau
from scalingeq.theory.curves import Curves
from scalingeq.theory.panels import Panels
from scalingeq.theory.rates import Knots, LinearRates
from scalingeq.theory.schedule import Schedule
from scalingeq.theory.scheduled import frame_of
from scalingeq.theory.sensitivities import node_slopes, one_point_slopes
from scalingeq.theory.spectrum import FloatArray
from scalingeq.theory.tangents import Change, march_tangents
from scalingeq.theory.two_frequency import Model


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
    return Shift(ends, np.linalg.solve(radau(STAGES)[1], noise.T).T)


def _along(
    schedule: Schedule, direction: tuple[FloatArray, FloatArray]
) -> tuple[Callable[[FloatArray], FloatArray], Callable[[FloatArray], FloatArray]]:
    """Changes of the integrals of the rate and of rate times noise rate, as functions of the step."""
    step, rate, noise_rate = schedule.knots
    faster, louder = LinearRates(Knots(step, direction[0], noise_rate)), LinearRates(Knots(step, rate, direction[1]))
    return faster.time, lambda at: faster.integrals(at)[1] + louder.integrals(at)[1]


def scheduled_slopes(
    curves: Curves, schedule: Schedule, model: Model, direction: tuple[FloatArray, FloatArray] | None = None
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Loss (curve, step) of training, or of one pass, and its derivatives, each of the same shape.

    They are those with respect to the parameters of the spectrum, ``width``, ``samples``, ``noise_variance``, a common
    factor of the learning rates (``rate``) at fixed noise rates, one of the noise rates (``noise_rate``), the ``steps``,
    and the size of a change of the schedule by ``direction`` times it: rates and noise rates at its knots.
    """
    frame = frame_of(curves, schedule, model)
    panels, modes, point = frame.panels, frame.modes, frame.modes.point
    smallest = float(np.abs(modes.contour.s).min())
    nodes = model.spectrum.nodes(smallest)
    of_nodes = node_slopes(model.spectrum, smallest)
    slopes = one_point_slopes(point, nodes, of_nodes)
    # Derivatives of `kernel_weights` and `forcing_weights`; the Laplace frequencies stay where they are.
    count, weight = len(slopes.names) - 1, modes.contour.weight
    share = point.kappa2 * point.power / point.kappa1
    target = slopes.kappa2 * point.power + point.kappa2 * slopes.power - share * slopes.kappa1
    moved = np.stack([weight * target / point.kappa1, -weight * slopes.kappa1 / point.kappa1**2], axis=2)[:count]
    kernel = (-weight * point.s * slopes.degrees)[:count]
    # The schedule's own changes: a factor of the time, a factor of the noise, and the direction.
    changes = [Shift(panels.time, panels.noise), Shift(np.zeros_like(panels.time), panels.noise)]
    if direction is not None:
        changes.append(shift_along(panels, schedule, direction))
    length = np.diff(panels.time)[:, 0]
    residual, drift = modes.residual(frame.times.time), modes.drift(frame.times.time)
    train, by_time, by_weights = (
        frame.times.at((part @ matrix.T).real, panels.nodes)
        for part, matrix in (
            (modes.target, residual * residual),
            (modes.target, 2 * residual * drift),
            (moved, residual * residual),
        )
    )
    shifts = np.stack([change.time for change in changes])
    at_nodes = shifts[:, :, :1] + np.diff(shifts) * radau(STAGES)[0]
    loss = march(length, panels.noise, modes.exponent, train, modes.kernel, None)[0]
    tangents = march_tangents(
        length, panels.noise, modes.exponent, loss, modes.kernel, None,
        Change(
            np.concatenate([by_weights, at_nodes[:, None, None] * by_time]),
            np.concatenate([kernel, np.zeros((len(changes), *kernel.shape[1:]))]), None,
            np.concatenate([np.zeros((count, length.size)), np.diff(shifts)[..., 0]]),
            np.concatenate([np.zeros((count, *panels.noise.shape)), [change.noise for change in changes]]),
        ),
    )[0]  # fmt: skip
    begin = np.zeros((len(tangents), *frame.start.shape))
    begin[: len(of_nodes.names), :, 0] = of_nodes.target.sum(axis=1)[:, None]
    names = (*slopes.names[:count], "rate", "noise_rate", "direction")
    whole = frame.series(frame.of_curves(curves, frame.start), frame.of_curves(curves, loss))
    found = {"noise_variance": frame.at_steps(curves, frame.series(frame.start[frame.problem, 1], loss[frame.problem, 1]))}
    for name, first, values in zip(names, begin, tangents, strict=False):
        series = frame.series(frame.of_curves(curves, first), frame.of_curves(curves, values))
        found[name] = frame.at_steps(curves, series)
    slope = frame.at_steps(curves, frame.slope_of(whole))
    found["steps"] = schedule.before(curves.time)[0] * slope
    if direction is not None:
        # The losses above are those at fixed places in the panels, which move with their ends.
        ends = changes[-1].time
        stretched = frame.series(ends[None, 0, 0], at_nodes[-1][None])
        place = frame.at_steps(curves, np.repeat(stretched, curves.which.size, axis=0))
        found["direction"] += slope * (_along(schedule, direction)[0](curves.time) - place)
    for name in ("width", "samples"):
        per = found.pop("per_sample" if name == "samples" else "per_width")
        one_over = curves.per_sample if name == "samples" else curves.per_width
        found[name] = -per * one_over[:, None] ** 2
    return frame.at_steps(curves, whole), found
