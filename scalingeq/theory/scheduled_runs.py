"""Losses of many runs with schedules of their own, and their derivatives: all at once, for fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from scalingeq.errors import ParameterError
from scalingeq.theory.curves import Curves, IntArray, broadcast
from scalingeq.theory.scheduled import Assigned, losses_of
from scalingeq.theory.scheduled_slopes import Direction, slopes_of
from scalingeq.theory.spectrum import AnySpectrum, FloatArray
from scalingeq.theory.two_frequency import Model


def losses_of_runs(
    steps: ArrayLike,
    assigned: Assigned,
    spectrum: AnySpectrum,
    *,
    width: ArrayLike = math.inf,
    samples: ArrayLike = math.inf,
    noise_variance: ArrayLike = 0.0,
    test_spectrum: AnySpectrum | None = None,
) -> FloatArray:
    """Losses of gradient flow of runs with schedules of their own, all at once.

    Parameters
    ----------
    steps : array_like, shape (run, step)
        Steps at which the loss is asked for, none after the end of the schedule.
    assigned : Assigned
        Schedules of the runs.
    spectrum, test_spectrum : PowerLaw or Spectrum
        As in :func:`scalingeq.theory.scheduled_loss`.
    width, samples, noise_variance : array_like, shape (..., run)
        Likewise; arrays of several axes give several losses for each run.

    Returns
    -------
    ndarray, shape (..., run, step)
        Losses, as of :func:`scalingeq.theory.scheduled_loss`.

    Raises
    ------
    ParameterError, InstabilityError, ConvergenceError
        As there.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, Schedule
    >>> schedules = [Schedule([0, last], [0.5, 0.0], [0.1, 0.0]) for last in (100, 200)]
    >>> losses_of_runs([[100.0], [200.0]], Assigned(schedules, np.arange(2)), PowerLaw(1.5, 0.4), width=64).round(4)
    array([[0.0769],
           [0.0624]])
    """
    curves, assigned = _curves(steps, assigned, width, samples, noise_variance)
    model = Model(spectrum, test_spectrum=test_spectrum)
    losses = np.empty(curves.time.shape)
    for rows, two in _by_frequencies(curves, test_spectrum is not None):
        losses[rows] = losses_of(curves.select(rows), Assigned(assigned.schedules, assigned.which[rows]), model, two)
    return np.maximum(losses, 0.0).reshape(curves.shape)


def slopes_of_runs(
    steps: ArrayLike,
    assigned: Assigned,
    spectrum: AnySpectrum,
    *,
    width: ArrayLike = math.inf,
    samples: ArrayLike = math.inf,
    noise_variance: ArrayLike = 0.0,
    directions: Mapping[str, Sequence[Direction]],
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Losses of runs with schedules of their own, and their derivatives.

    Parameters
    ----------
    steps, assigned, spectrum, width, samples, noise_variance
        As in `losses_of_runs`.
    directions : mapping of str to sequence of (ndarray, ndarray)
        Changes of each schedule's rates and noise rates at its knots, for one more derivative each.

    Returns
    -------
    loss : ndarray, shape (..., run, step)
        Losses.
    slopes : dict of str to ndarray, shape (..., run, step)
        Derivatives, as of :func:`scalingeq.theory.scheduled_loss`, and those of the ``directions`` by their names.

    Raises
    ------
    ParameterError, InstabilityError, ConvergenceError
        As there.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, Schedule
    >>> schedules = [Schedule([0, last], [0.5, 0.0], [0.1, 0.0]) for last in (100, 200)]
    >>> runs = Assigned(schedules, np.arange(2))
    >>> loss, slopes = slopes_of_runs([[100.0], [200.0]], runs, PowerLaw(1.5, 0.4), width=64, directions={})
    >>> slopes["noise_rate"].round(4)
    array([[0.0037],
           [0.0024]])
    """
    curves, assigned = _curves(steps, assigned, width, samples, noise_variance)
    schedules, which = assigned
    parts = [
        (rows, slopes_of(curves.select(rows), Assigned(schedules, which[rows]), Model(spectrum), two, directions))
        for rows, two in _by_frequencies(curves, False)
    ]
    loss = np.empty(curves.time.shape)
    slopes = {name: np.empty_like(loss) for name in parts[0][1][1]}
    for rows, (values, derivatives) in parts:
        loss[rows] = values
        for name, slope in derivatives.items():
            slopes[name][rows] = slope
    shape = curves.shape
    return np.maximum(loss, 0.0).reshape(shape), {name: slope.reshape(shape) for name, slope in slopes.items()}


def _curves(
    steps: ArrayLike, assigned: Assigned, width: ArrayLike, samples: ArrayLike, noise_variance: ArrayLike
) -> tuple[Curves, Assigned]:
    """Curves of runs, once all arguments are checked, and the schedules of these curves."""
    curves = broadcast({"steps": steps}, 0.0, width, samples, noise_variance, "test", [])
    which = np.broadcast_to(assigned.which, curves.shape[:-1]).ravel()
    last = np.array([schedule.last for schedule in assigned.schedules])[which]
    if (late := curves.time.max(axis=1, initial=0.0) > last).any():
        raise ParameterError(
            f"a schedule ends at step {last[late][0]:g}, before the last of its run's steps, "
            f"{curves.time[late][0].max():g}: pass rates up to there"
        )
    return curves, Assigned(assigned.schedules, which)


def _by_frequencies(curves: Curves, two_frequencies: bool) -> list[tuple[IntArray, bool]]:
    """Curves whose losses are functions of one frequency, and of two, if there are any."""
    two = (curves.per_sample > 0) | two_frequencies
    return [(rows, with_two) for with_two in (False, True) if (rows := np.flatnonzero(two == with_two)).size]
