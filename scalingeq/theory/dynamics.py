"""Loss of SGD against training time or steps: forcing, kernel, and the solution of the Volterra equation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from scalingeq.errors import ParameterError, raise_problems
from scalingeq.theory.curves import Curves, Kind, broadcast, size_of
from scalingeq.theory.equivalents import forcing_one_point, kernel_one_point, size_problems
from scalingeq.theory.spectrum import AnySpectrum, FloatArray
from scalingeq.theory.stability import largest_eigenvalue
from scalingeq.theory.two_frequency import Model, flow_test_forcing, flow_test_kernel, kernel_terms
from scalingeq.theory.volterra import Exponentials, check_kernel_norm, noisy_loss
from scalingeq.theory.windows import equivalents, invert, of_one_problem, sort_times, take


def flow_loss(
    time: ArrayLike,
    spectrum: AnySpectrum,
    *,
    noise_rate: ArrayLike = 0.0,
    width: ArrayLike = math.inf,
    samples: ArrayLike = math.inf,
    noise_variance: ArrayLike = 0.0,
    kind: Kind = "test",
) -> FloatArray:
    """Loss against gradient-flow time, with the noise of minibatches, for one curve or many.

    Parameters
    ----------
    time : array_like, shape (..., time)
        Training time, learning rate times steps, not negative, in units of 1/eigenvalue.
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs and of the target.
    noise_rate : array_like, shape (...)
        Learning rate over batch size; 0 for full batches.
    width, samples : array_like, shape (...)
        Number of random features and of training samples; infinity is allowed (no features; one pass).
    noise_variance : array_like, shape (...)
        Variance of the label noise, in the units of the loss. The loss includes it.
    kind : {"test", "train"}
        Loss on fresh samples, or on the training samples; they are the same where ``samples`` is infinite.

    Returns
    -------
    ndarray, shape (..., time)
        Loss, in the units of the target power. The numerical error is about 1e-8 of the loss (1e-7 for the test loss
        with noise and finite data) or 1e-10 / time of the target power, whichever is larger; a loss below that, such as
        that of a finite spectrum learnt to the end, may come out as 0 but never negative.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain, or shapes do not broadcast; all that is wrong is named at once.
    InstabilityError
        Where ``noise_rate`` is 2 / Tr(covariance) or more.
    ConvergenceError
        Where the renormalised frequencies are not found.

    Notes
    -----
    The inverse Laplace transforms, in one and two frequencies, of the deterministic equivalents of arXiv:2502.05074.

    Examples
    --------
    >>> import numpy as np
    >>> from scalingeq.theory import PowerLaw, flow_loss
    >>> flow_loss([0.0, 10.0, 1000.0], PowerLaw(alpha=1.5, r=0.4), width=[20, 2000]).round(5)
    array([[1.49054, 0.19464, 0.16177],
           [1.49054, 0.07183, 0.00276]])
    """
    curves = broadcast({"time": time}, noise_rate, width, samples, noise_variance, kind, [])
    loss = np.empty(curves.time.shape)
    online = curves.per_sample == 0
    one = np.ones_like(online) if kind == "train" else online
    for chosen, solve in ((one, _one_frequency_loss), (~one, _two_frequency_loss)):
        if chosen.any():
            loss[chosen] = solve(curves.select(chosen), spectrum)
    return np.maximum(loss, 0.0).reshape(curves.shape)


def _one_frequency_loss(curves: Curves, spectrum: AnySpectrum, kernel: Exponentials | None = None) -> FloatArray:
    """Train loss (curve, time); with a test ``kernel``, the noise that this train loss puts into the test loss."""
    total = spectrum.nodes(1.0)
    check_kernel_norm(curves.noise_rate, total.trace)
    at_start = total.power + curves.noise_variance if kernel is None else np.zeros_like(curves.noise_variance)
    loss = np.repeat(at_start[:, None], curves.time.shape[1], axis=1)
    curve, place = np.nonzero(curves.time)
    if curve.size == 0:
        return loss
    times = sort_times(2 * curves.time[curve, place], curve, curves.problem)
    whose = times.curve
    point, row = equivalents(times, curves.per_width[whose], curves.per_sample[whose], spectrum)
    point = take(point, row)
    transform = noisy_loss(
        forcing_one_point(point, curves.noise_variance[whose, None]),
        kernel_one_point(point),
        curves.noise_rate[whose, None],
    )
    if kernel is not None:
        transform = transform * curves.noise_rate[whose, None] * kernel.transform(2 * point.s)
    loss[curve, place] = invert(times, transform)
    return loss


def _two_frequency_loss(curves: Curves, spectrum: AnySpectrum) -> FloatArray:
    """Test loss (curve, time) with finite data: the test forcing and, with noise, the test kernel on the train loss."""
    check_kernel_norm(curves.noise_rate, spectrum.nodes(1.0).trace)
    loss = np.empty(curves.time.shape)
    problem = curves.problem
    for number in range(int(problem.max(initial=-1)) + 1):
        rows = np.flatnonzero(problem == number)
        model = Model(spectrum, float(curves.per_width[rows[0]]), float(curves.per_sample[rows[0]]))
        loss[rows] = flow_test_forcing(curves.time[rows], curves.noise_variance[rows], model)
        noisy = rows[curves.noise_rate[rows] > 0]
        driven = curves.select(noisy)
        if driven.time.any():
            kernel = _kernel_exponentials(float(driven.time.max()), model)
            loss[noisy] += _one_frequency_loss(driven, spectrum, kernel)
    return loss


def _kernel_exponentials(last: float, model: Model) -> Exponentials:
    edge = largest_eigenvalue(model.spectrum, width=size_of(model.per_width), samples=size_of(model.per_sample))
    return kernel_terms(last, edge, model)


def forcing(
    time: ArrayLike,
    spectrum: AnySpectrum,
    *,
    width: ArrayLike = math.inf,
    samples: ArrayLike = math.inf,
    noise_variance: ArrayLike = 0.0,
    kind: Kind = "test",
) -> FloatArray:
    """Forcing function: the loss of gradient flow, without the noise of minibatches.

    Parameters
    ----------
    time, spectrum, width, samples, noise_variance, kind
        As in `flow_loss`.

    Returns
    -------
    ndarray, shape (..., time)
        F(t) of arXiv:2502.05074, in the units of the target power.

    Raises
    ------
    ParameterError, ConvergenceError
        As in `flow_loss`.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, forcing
    >>> forcing([0.0, 10.0], PowerLaw(alpha=1.5, r=0.4), samples=100, kind="train").round(5)
    array([1.49054, 0.06078])
    """
    return flow_loss(time, spectrum, width=width, samples=samples, noise_variance=noise_variance, kind=kind)


def kernel(
    time: ArrayLike, spectrum: AnySpectrum, *, width: float = math.inf, samples: float = math.inf, kind: Kind = "test"
) -> FloatArray:
    """Kernel of the Volterra equation: the share of the train loss that SGD noise leaves behind a time later.

    Parameters
    ----------
    time : array_like, shape (...)
        Times since the noise entered, positive, in units of 1/eigenvalue.
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs.
    width, samples : float
        Number of random features and of training samples.
    kind : {"test", "train"}
        Kernel of the loss on fresh samples, or on the training samples.

    Returns
    -------
    ndarray, shape (...)
        K(t) of arXiv:2502.05074, in units of eigenvalue squared; multiply by learning rate / batch size.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain.
    ConvergenceError
        Where the renormalised frequencies are not found.

    Examples
    --------
    >>> import numpy as np
    >>> from scalingeq.theory import PowerLaw, kernel
    >>> spectrum = PowerLaw(alpha=2.0, r=0.5, dim=2)
    >>> kernel([0.5, 1.0], spectrum).round(6), (np.exp([-1, -2]) + np.exp([-0.25, -0.5]) / 16).round(6)
    (array([0.416554, 0.173243]), array([0.416554, 0.173243]))
    """
    times = np.asarray(time, dtype=np.float64)
    problems = (
        [] if np.all(times > 0) else [f"time contains {float(times[~(times > 0)].flat[0])!r}: pass positive times"]
    )
    one = broadcast({"time": times.reshape(1, -1)}, 0.0, width, samples, 0.0, kind, problems)
    per_width, per_sample = float(one.per_width[0]), float(one.per_sample[0])
    if times.size == 0:
        return times
    if kind == "test" and per_sample > 0:
        return flow_test_kernel(times.ravel(), Model(spectrum, per_width, per_sample)).reshape(times.shape)
    sorted_times, point = of_one_problem(2 * times.ravel(), spectrum, per_width, per_sample)
    return invert(sorted_times, kernel_one_point(point)).reshape(times.shape)


def kernel_exponentials(last: float, spectrum: AnySpectrum, *, width: float = math.inf, samples: float) -> Exponentials:
    """Test kernel for finite data as a sum of exponentials.

    Parameters
    ----------
    last : float
        Longest time that the sum is for, positive, in units of 1/eigenvalue.
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs.
    width, samples : float
        Number of random features, and the finite number of training samples.

    Returns
    -------
    Exponentials
        Rates and amplitudes, good to about 3e-8 of the kernel from time 0 to ``last``.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, kernel, kernel_exponentials
    >>> spectrum, time = PowerLaw(alpha=1.5, r=0.4), np.geomspace(0.1, 100, 5)
    >>> terms = kernel_exponentials(100.0, spectrum, samples=300)
    >>> bool(np.allclose(terms.at(time), kernel(time, spectrum, samples=300), rtol=1e-6))
    True
    """
    raise_problems(
        size_problems({"last": last, "width": width, "samples": samples})
        + [
            f"{name} is infinite: pass a finite value"
            for name, v in (("last", last), ("samples", samples))
            if v == math.inf
        ],
        ParameterError,
    )
    return _kernel_exponentials(last, Model(spectrum, 1 / width, 1 / samples))
