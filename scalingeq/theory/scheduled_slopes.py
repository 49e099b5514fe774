"""Derivatives of losses under a schedule, with respect to the spectrum, the sizes and the schedule itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from scalingeq.theory.collocation import STAGES, from_integrals, march, radau
from scalingeq.theory.curves import Curves
from scalingeq.theory.flow import forcing_loss, test_kernel_amplitudes
from scalingeq.theory.panels import Panels
from scalingeq.theory.rates import Knots, LinearRates
from scalingeq.theory.schedule import Schedule
from scalingeq.theory.scheduled import Assigned, Frame, frame_of, to_all
from scalingeq.theory.sensitivities import NodeSlopes, node_slopes, one_point_slopes
from scalingeq.theory.spectrum import AnySpectrum, ComplexArray, FloatArray, Nodes
from scalingeq.theory.tangents import Change, march_tangents
from scalingeq.theory.two_frequency import KernelGrids, Model, kernel_grids

#: Changes of the learning rate and of the noise rate (knot,) at the knots of a schedule.
Direction: TypeAlias = tuple[FloatArray, FloatArray]


class Shift(NamedTuple):
    """Change of panels: of their ends in time (panel, 2), and of the noise at their nodes (panel, stage)."""

    time: FloatArray
    noise: FloatArray


def shift_along(
    panels: Panels, schedule: Schedule, direction: Direction, asked: FloatArray
) -> tuple[Shift, FloatArray]:
    """Change of panels, whose ends stay at their steps, and of intrinsic time at ``asked`` steps (step,).

    The schedule changes by ``direction``.
    """
    step, rate, noise_rate = schedule.knots
    node = schedule.step_at(panels.nodes)
    at = np.concatenate([panels.step.ravel(), node.ravel(), asked])
    # Changes of the integrals of the rate and of rate times noise rate.
    time, noise = LinearRates(Knots(step, direction[0], noise_rate)).integrals(at)
    noise += LinearRates(Knots(step, rate, direction[1])).integrals(at)[1]
    bounds = [panels.step.size, panels.step.size + node.size]
    (ends, inner, asked), (noise_ends, noise_inner, _) = (np.split(values, bounds) for values in (time, noise))
    ends, inner = ends.reshape(-1, 2), inner.reshape(node.shape)
    # A node stays at its place within the panel, and so moves to another step.
    moved = ends[:, :1] + np.diff(ends) * radau(STAGES)[0] - inner
    change = noise_inner.reshape(node.shape) - noise_ends[::2, None] + schedule.before(node)[1] * moved
    return Shift(ends, change @ from_integrals(STAGES).T), asked


class Parts(NamedTuple):
    """Forcing and kernel of a loss, and their derivatives, the value first.

    Attributes
    ----------
    forcing : ndarray, shape (1 + parameter, problem, 2, time)
        Forcing without label noise, and per unit of it.
    drift : ndarray, shape (problem, 2, time)
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
    values = (np.concatenate([modes.target[None], moved]) @ (residual * residual).T).real
    drift = (modes.target @ (2 * residual * modes.drift(frame.times.time)).T).real
    kernel = np.concatenate([modes.kernel[None], (-weight * point.s * slopes.degrees)[:-1]])
    return Parts(values, drift, kernel)


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
    # After the parameters come the noise variance, the noise rate and the time.
    amplitude = test_kernel_amplitudes(exponentials, per_width[::2], per_sample[::2], spectrum)
    return Parts(values[:-3], values[-1], amplitude.astype(np.complex128))


def scheduled_slopes(
    curves: Curves,
    schedule: Schedule,
    model: Model,
    two_frequencies: bool,
    direction: Direction | None = None,
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Loss (curve, step) and its derivatives, each of the same shape; arguments as in `scheduled_loss_of`.

    They are those with respect to the parameters of the spectrum, ``width``, ``samples``, ``noise_variance``, a common
    factor of the learning rates (``rate``) at fixed noise rates, one of the noise rates (``noise_rate``), the ``steps``,
    and the size of a change of the schedule by ``direction`` times it: rates and noise rates at its knots.
    """
    directions = {} if direction is None else {"direction": [direction]}
    return slopes_of(curves, to_all(curves, schedule), model, two_frequencies, directions)


def slopes_of(
    curves: Curves,
    assigned: Assigned,
    model: Model,
    two_frequencies: bool,
    directions: Mapping[str, Sequence[Direction]],
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """As `scheduled_slopes`, of curves that follow schedules of their own, with a direction of each by its name."""
    frame = frame_of(curves, assigned, model, by_noise=True)
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
    shifts, times = _shifts(curves, assigned, panels, directions)
    at_nodes = shifts.time[..., :1] + np.diff(shifts.time) * radau(STAGES)[0]
    # Sizes without a limit change nothing, and need no march.
    sizes = [("per_width", curves.per_width), ("per_sample", curves.per_sample)]
    names = [*of_nodes.names, *(name for name, one_over in sizes if one_over.any())]
    which = [[*of_nodes.names, "per_width", "per_sample"].index(name) + 1 for name in names]
    items, count = frame.model.size, len(which)

    def at_all_nodes(parts: Parts) -> tuple[FloatArray, FloatArray]:
        """Forcing (item, 2, panel, stage), and derivatives (item, parameter, panel, stage) with respect to everything."""
        # The losses are linear in the label noise, and so are their derivatives, which march for the sum alone.
        changes = np.concatenate([parts.forcing[which], parts.drift[None]])[:, frame.model].swapaxes(0, 1)
        changes = changes[:, :, 0] + frame.noise_variance[:, None, None] * changes[:, :, 1]
        found = frame.at_nodes(np.concatenate([parts.forcing[0][frame.model], changes], axis=1))
        return found[:, :2], np.concatenate([found[:, 2:-1], at_nodes[frame.follows] * found[:, -1:]], axis=1)

    def of_kernel(kernel: ComplexArray) -> ComplexArray:
        found = np.zeros((items, count + at_nodes.shape[1], kernel.shape[-1]), dtype=np.complex128)
        found[:, :count] = kernel[which][:, frame.model].swapaxes(0, 1)
        return found

    def with_sizes(of_schedules: FloatArray) -> FloatArray:
        """Changes of panels (schedule, parameter, ...) with respect to everything."""
        none = np.zeros((len(of_schedules), count, *of_schedules.shape[2:]))
        return np.concatenate([none, of_schedules], axis=1)

    kernels = train[0][frame.model], None if test is None else test[0][frame.model]
    forcing, changed = at_all_nodes(fed)
    loss, added = march(panels.length, panels.noise, exponent, forcing, *kernels, frame.follows)
    change = Change(
        changed, of_kernel(train), None if test is None else of_kernel(test),
        with_sizes(np.diff(shifts.time)[..., 0]), with_sizes(shifts.noise),
    )  # fmt: skip
    noisy = loss[:, 0] + frame.noise_variance[:, None, None] * loss[:, 1]
    tangents, more = march_tangents(panels.length, panels.noise, exponent, noisy, *kernels, frame.follows, change)
    felt = train if test is None else test
    ahead = frame.ahead(felt[0][frame.model, None])
    # It changes with the kernel, and as the factors of time and noise do.
    moved_ahead = frame.ahead(of_kernel(felt))
    moved_ahead[:, count : count + 2] = ahead
    early, moved_early = ahead * loss, ahead * tangents + moved_ahead * noisy[:, None]
    if forced is not None:
        forcing, changed = at_all_nodes(forced)
        loss, tangents = forcing + added, changed + more
    loss, tangents = loss - early, tangents - moved_early
    begin = np.zeros((tangents.shape[1], items))
    begin[: len(of_nodes.names)] = of_nodes.target.sum(axis=1)[:, None]
    whole = frame.series(frame.of_curves(curves, frame.start), frame.of_curves(curves, loss))
    of_noise = frame.series(frame.start[frame.item, 1], loss[frame.item, 1])
    of_changes = frame.series(begin, tangents.swapaxes(0, 1))[:, frame.item]
    # These are losses at fixed places in the panels, which move with their ends.
    moves = [frame.series(shifts.time[:, i, :1, 0].sum(axis=1), at_nodes[:, i]) for i in range(2, 2 + len(directions))]
    total, slope, by_noise, *found = frame.at_steps(
        curves,
        np.stack([whole, frame.slope_of(whole), of_noise, *of_changes, *(series[assigned.which] for series in moves)]),
    )
    for i in range(len(directions)):
        found[i - 2 * len(directions)] += slope * (times[i] - found[i - len(directions)])
    by_name = dict(zip([*names, "rate", "noise_rate", *directions], found, strict=False))
    named = {name: by_name.pop(name) for name in of_nodes.names}
    for name, (per, one_over) in zip(("width", "samples"), sizes, strict=True):
        named[name] = by_name.pop(per, np.zeros_like(total)) * (0.0 - one_over[:, None] ** 2)
    named |= {"noise_variance": by_noise, **by_name}
    rate = np.empty_like(total)
    for number, schedule in enumerate(assigned.schedules):
        own = assigned.which == number
        rate[own] = schedule.before(curves.time[own])[0]
    named["steps"] = rate * slope
    return total, named


def _shifts(
    curves: Curves, assigned: Assigned, panels: Panels, directions: Mapping[str, Sequence[Direction]]
) -> tuple[Shift, FloatArray]:
    """Changes of the panels (schedule, change, ...), by factors of the time and of the noise, and along directions.

    Also those of intrinsic time (direction, curve, step) at the steps of the curves, along directions.
    """
    shape = (len(assigned.schedules), 2 + len(directions))
    time, noise = (np.zeros((*shape, *part.shape[1:])) for part in (panels.time, panels.noise))
    time[:, 0], noise[:, 0], noise[:, 1] = panels.time, panels.noise, panels.noise
    asked = curves.time
    times = np.empty((len(directions), *asked.shape))
    for place, changes in enumerate(directions.values()):
        for number, (schedule, direction) in enumerate(zip(assigned.schedules, changes, strict=True)):
            used, own = panels.of(number), assigned.which == number
            shift, found = shift_along(used, schedule, direction, asked[own].ravel())
            part = slice(len(used.noise))
            time[number, 2 + place, part], noise[number, 2 + place, part] = shift
            times[place, own] = found.reshape(-1, asked.shape[1])
    return Shift(time, noise), times
