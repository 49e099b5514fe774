"""The two-point law of measured curves for any algorithm: discrete steps, momentum, weight decay, ensembles, parts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError, raise_problems
from ..theory.curves import Kind, broadcast
from ..theory.spectrum import AnySpectrum, PowerLaw
from ..theory.stability import check_learning_rates
from ..theory.training import Decomposition, Dynamics, Training, training_problems
from ..theory.two_frequency import Model
from .curves import Floats, TrainingCurves
from .twopoint import (
    constant_schedule,
    effective_schedule,
    effective_width,
    intrinsic_steps,
    spectrum_of_test,
    unlearnable_shape,
    value_of,
)


@dataclass(frozen=True)
class Algorithm:
    """How the runs are trained, combined and tested, beyond what their record says.

    Attributes
    ----------
    dynamics : {"flow", "discrete"}
        Gradient flow, or the optimiser's steps themselves.
    momentum, ridge : float
        Momentum of the heavy ball, and weight decay in units of the largest eigenvalue.
    ensemble : (int, int)
        Feature draws and data sets whose predictions are averaged.
    test_spectrum : PowerLaw or Spectrum, optional
        Spectrum of the test inputs.
    kind : {"test", "train"}
        Loss on fresh samples, or on the training samples.

    Raises
    ------
    ParameterError
        Where one is outside its domain; all that is wrong is named at once.

    Examples
    --------
    >>> Algorithm(momentum=0.9).is_plain, Algorithm().is_plain
    (False, True)
    """

    dynamics: Dynamics = "flow"
    momentum: float = 0.0
    ridge: float = 0.0
    ensemble: tuple[int, int] = (1, 1)
    test_spectrum: AnySpectrum | None = None
    kind: Kind = "test"

    def __post_init__(self) -> None:
        raise_problems(
            training_problems(self.dynamics, self.momentum, self.ensemble, self.ridge, self.kind), ParameterError
        )

    @property
    def is_plain(self) -> bool:
        """Whether this is the test loss of gradient flow of single models, on inputs like those of the training."""
        return self == PLAIN


PLAIN = Algorithm()


def algorithm_loss(
    parameters: Mapping[str, float], curves: TrainingCurves, reference_params: float, algorithm: Algorithm
) -> Floats:
    """Loss (obs,) of the law for each observation, in the units of the record.

    Parameters
    ----------
    parameters : mapping
        All parameters of the law.
    curves : TrainingCurves
        Observations; their losses are not looked at.
    reference_params : float
        Size that the amplitudes refer to.
    algorithm : Algorithm
        How the runs are trained.

    Raises
    ------
    ParameterError, InstabilityError
        As :func:`scalingeq.theory.loss_curve`.

    Examples
    --------
    >>> from .twopoint import complete
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(np.zeros(2, int), np.array([10.0, 100.0]), np.ones(2), np.ones(2), np.ones(2),
    ...     np.array(["a"]), 1e4 * one, 0.1 * one, 8 * one, np.inf * one, 0 * one)
    >>> law = complete(dict(alpha=1.5, r=0.4))
    >>> plain, heavy = (algorithm_loss(law, curves, 1e4, Algorithm(momentum=m)) for m in (0.0, 0.5))
    >>> bool((heavy < plain).all())
    True
    """
    loss = np.empty(curves.run.size)
    for at, training in _trainings(parameters, curves, reference_params, algorithm):
        loss[at] = training.loss()
    return parameters["scale"] * loss


def algorithm_components(
    parameters: Mapping[str, float], curves: TrainingCurves, reference_params: float, algorithm: Algorithm
) -> dict[str, Floats]:
    """Parts (obs,) that add up to :func:`algorithm_loss`, by the names of :class:`scalingeq.theory.Decomposition`.

    Examples
    --------
    >>> from .twopoint import complete
    >>> one = np.ones(1)
    >>> curves = TrainingCurves(np.zeros(2, int), np.array([10.0, 100.0]), np.ones(2), np.ones(2), np.ones(2),
    ...     np.array(["a"]), 1e4 * one, 0.1 * one, 8 * one, np.inf * one, 0 * one)
    >>> parts = algorithm_components(complete(dict(alpha=1.5, r=0.4, width_scale=50)), curves, 1e4, Algorithm())
    >>> bool(parts["features"][1] > parts["data"][1])
    True
    """
    parts = np.empty((len(Decomposition._fields), curves.run.size))
    for at, training in _trainings(parameters, curves, reference_params, algorithm):
        parts[:, at] = training.decomposition()
    return dict(zip(Decomposition._fields, parameters["scale"] * parts, strict=True))


def _trainings(
    parameters: Mapping[str, float], curves: TrainingCurves, reference_params: float, algorithm: Algorithm
) -> Iterator[tuple[NDArray[np.int64], Training]]:
    """Trainings of the runs that share steps and schedule, and the observations (run, step) that they stand for."""
    spectrum = PowerLaw(parameters["alpha"], parameters["r"])
    test_spectrum = algorithm.test_spectrum or spectrum_of_test(parameters, curves.test_eigenvalues)
    if algorithm.kind == "train":
        test_spectrum = None
    model = Model(spectrum, ridge=algorithm.ridge, test_spectrum=test_spectrum)
    width = effective_width(parameters, curves.params, reference_params)
    samples = parameters["samples_scale"] * curves.dataset_size
    noise = parameters["irreducible"] + parameters["unlearnable"] * unlearnable_shape(
        parameters, curves.params, reference_params
    )
    for runs, at in _alike(curves):
        run, step, warmup = runs[0], curves.step[at[0]], float(curves.warmup_steps[runs[0]])
        constant = run not in curves.schedules
        if constant and algorithm.dynamics == "flow":
            # As in `basis_losses`: a warm-up counts by the time that it takes.
            step, warmup = intrinsic_steps(step, np.array(warmup), value_of(parameters, "rate_exponent")), 0.0
        schedule = (
            constant_schedule(float(curves.learning_rate[run]), float(curves.batch_size[run]), warmup, float(step[-1]))
            if constant
            else curves.schedules[run]
        )
        schedule = effective_schedule(schedule, parameters)
        rows = broadcast(
            {"step": step[None]}, 0.0, width[runs], samples[runs], noise[runs] / parameters["scale"],
            algorithm.kind, _step_problems(curves, at[0], algorithm),
        )  # fmt: skip
        if algorithm.dynamics == "discrete":
            rate, per_batch = schedule.per_step(math.ceil(curves.step[at[0, -1]]))
            batch = np.divide(1.0, per_batch, out=np.full_like(per_batch, math.inf), where=per_batch > 0)
            check_learning_rates(
                rate, batch, spectrum, momentum=algorithm.momentum, ridge=algorithm.ridge,
                sizes=list(zip(width[runs].tolist(), samples[runs].tolist(), strict=True)),
            )  # fmt: skip
        yield (
            at,
            Training(rows, schedule, model, algorithm.kind, algorithm.dynamics, algorithm.momentum, algorithm.ensemble),
        )


def _alike(curves: TrainingCurves) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Runs of the same steps and schedule, and their observations (run, step)."""
    groups: dict[tuple[object, bytes], list[int]] = {}
    for run in np.unique(curves.run).tolist():
        rates = (curves.learning_rate[run], curves.batch_size[run], curves.warmup_steps[run])
        groups.setdefault((curves.schedules.get(run, rates), curves.step[curves.run == run].tobytes()), []).append(run)
    for runs in groups.values():
        yield np.array(runs), np.stack([np.flatnonzero(curves.run == run) for run in runs])


def _step_problems(curves: TrainingCurves, at: NDArray[np.int64], algorithm: Algorithm) -> list[str]:
    step = curves.step[at]
    if algorithm.dynamics == "discrete" and np.any(step != np.floor(step)):
        name = curves.name[curves.run[at[0]]]
        return [f"step: not whole numbers in run {str(name)!r}: discrete steps are; pass dynamics='flow'"]
    return []
