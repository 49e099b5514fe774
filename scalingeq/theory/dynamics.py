"""Loss of SGD against training time or steps: forcing, kernel, and the solution of the Volterra equation."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike

from scalingeq.errors import ParameterError, raise_problems
from scalingeq.theory.curves import Curves, IntArray, Kind, broadcast
from scalingeq.theory.equivalents import kernel_one_point, size_problems
from scalingeq.theory.flow import one_frequency_loss, two_frequency_loss
from scalingeq.theory.smooth import SmoothTimes
from scalingeq.theory.spectrum import AnySpectrum, FloatArray, PowerLaw
from scalingeq.theory.stability import edge_bound
from scalingeq.theory.two_frequency import Model, flow_test_kernel, kernel_terms
from scalingeq.theory.volterra import Exponentials, check_kernel_norm
from scalingeq.theory.windows import invert_one, of_one_problem

#: Problems, pairs of width and samples, of one frequency that are solved together, without derivatives and with them, so
#: that arrays stay in the processor's cache; problems of pairs of frequencies, and curves of these. Arrays of 4 MB and more
#: are slower by far: NumPy asks for large pages for them, which are cleared each time.
PROBLEMS, PROBLEMS_OF_PAIRS, CURVES_OF_PAIRS = (64, 16), 16, 48
#: Times of a curve from which on they are interpolated, from panels of this width in the logarithm of time.
DENSE, DENSE_WIDTH = 4096, 0.5
#: Time, in units of one over the trace, at which derivatives at the start are taken.
EARLIEST = 1e-7

Jacobian: TypeAlias = dict[str, FloatArray]


@overload
def flow_loss(
    time: ArrayLike,
    spectrum: AnySpectrum,
    *,
    noise_rate: ArrayLike = ...,
    width: ArrayLike = ...,
    samples: ArrayLike = ...,
    noise_variance: ArrayLike = ...,
    kind: Kind = ...,
    jacobian: Literal[False] = ...,
) -> FloatArray: ...


@overload
def flow_loss(
    time: ArrayLike,
    spectrum: AnySpectrum,
    *,
    noise_rate: ArrayLike = ...,
    width: ArrayLike = ...,
    samples: ArrayLike = ...,
    noise_variance: ArrayLike = ...,
    kind: Kind = ...,
    jacobian: Literal[True],
) -> tuple[FloatArray, Jacobian]: ...


def flow_loss(
    time: ArrayLike,
    spectrum: AnySpectrum,
    *,
    noise_rate: ArrayLike = 0.0,
    width: ArrayLike = math.inf,
    samples: ArrayLike = math.inf,
    noise_variance: ArrayLike = 0.0,
    kind: Kind = "test",
    jacobian: bool = False,
) -> FloatArray | tuple[FloatArray, Jacobian]:
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
    jacobian : bool
        Whether the derivatives of the loss are wanted too.

    Returns
    -------
    loss : ndarray, shape (..., time)
        Loss, in the units of the target power. The numerical error is about 1e-8 of the loss (1e-7 for the test loss
        with noise and finite data) or 2e-12 of the target power, whichever is larger; a loss below that, such as that of
        a finite spectrum learnt to the end, may come out as 0 but never negative.
    jacobian : dict of str to ndarray, shape (..., time)
        Only where it is asked for: derivatives of the loss with respect to ``alpha`` and ``r`` (of a power law),
        ``width``, ``samples``, ``noise_variance``, ``noise_rate`` and ``time``; 0 where a size is infinite.

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
    >>> loss, jacobian = flow_loss([100.0], PowerLaw(alpha=1.5, r=0.4), width=20, jacobian=True)
    >>> {name: float(slope[0].round(5)) for name, slope in jacobian.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'alpha': -0.55669, 'r': -0.728, 'width': -0.0078, 'samples': 0.0, 'noise_variance': 1.0,
     'noise_rate': 0.21148, 'time': -1e-05}
    """
    curves = broadcast({"time": time}, noise_rate, width, samples, noise_variance, kind, [])
    return loss_and_jacobian(curves, spectrum, kind) if jacobian else loss_of_curves(curves, spectrum, kind)


def loss_of_curves(curves: Curves, spectrum: AnySpectrum, kind: Kind) -> FloatArray:
    """Loss of gradient flow, of the shape that was asked for."""
    return np.asarray(np.maximum(_losses(curves, spectrum, kind, None)[0], 0.0).reshape(curves.shape))


def loss_and_jacobian(
    curves: Curves, spectrum: AnySpectrum, kind: Kind, noise: bool = True
) -> tuple[FloatArray, Jacobian]:
    """Loss of gradient flow and its derivatives, of the shape that was asked for.

    That with respect to the noise rate takes about half of the time where there is no noise, and is 0 there without
    ``noise``.
    """
    parameters = flow_parameters(spectrum)
    loss, *slopes = _losses(curves, spectrum, kind, parameters, noise)
    named = dict(zip(parameters, slopes, strict=True))
    for name, one_over in (("width", curves.per_width), ("samples", curves.per_sample)):
        named[name] = -(one_over[:, None] ** 2) * named[name]
    jacobian = {name: np.asarray(slope.reshape(curves.shape)) for name, slope in named.items()}
    return np.asarray(np.maximum(loss, 0.0).reshape(curves.shape)), jacobian


def flow_parameters(spectrum: AnySpectrum) -> tuple[str, ...]:
    """What the loss of gradient flow depends on, in the order of the derivatives."""
    exponents = ("alpha", "r") if isinstance(spectrum, PowerLaw) else ()
    return (*exponents, "width", "samples", "noise_variance", "noise_rate", "time")


def _losses(
    curves: Curves, spectrum: AnySpectrum, kind: Kind, parameters: tuple[str, ...] | None, noise: bool = False
) -> FloatArray:
    """Loss (1, curve, time), and after it its derivatives with respect to ``parameters`` where they are given.

    Those with respect to width and samples are with respect to one over them.
    """
    check_kernel_norm(curves.noise_rate, spectrum.trace)
    if curves.grid.shape[1] > DENSE and curves.grid.any():
        return _interpolated(curves, spectrum, kind, parameters, noise)
    starts = curves.grid.min(initial=math.inf) == 0
    if starts:
        at_start, start = curves.grid == 0, spectrum.power + curves.noise_variance
        if parameters:
            # Derivatives at the start are those just after it.
            curves = curves._replace(grid=np.where(at_start, EARLIEST / spectrum.trace, curves.grid))
    values = np.zeros((1 + len(parameters or ()), curves.which.size, curves.grid.shape[1]))
    one = (curves.per_sample == 0) | (kind == "train")
    for chosen, solve, most, most_curves in (
        (one, one_frequency_loss, PROBLEMS[bool(parameters)], curves.which.size),
        (~one, partial(two_frequency_loss, noise=noise), PROBLEMS_OF_PAIRS, CURVES_OF_PAIRS),
    ):
        for group in _groups(np.flatnonzero(chosen), curves, most, most_curves) if chosen.any() else []:
            if group.size == curves.which.size:
                values = solve(curves, spectrum, parameters is not None) if curves.grid.any() else values
            elif (some := curves.select(group)).grid.any():
                values[:, group] = solve(some, spectrum, parameters is not None)
    if starts:
        values[0] = np.where(at_start[curves.which], start[:, None], values[0])
    return values


def _interpolated(
    curves: Curves, spectrum: AnySpectrum, kind: Kind, parameters: tuple[str, ...] | None, noise: bool
) -> FloatArray:
    """As :func:`_losses`, at many times from some hundreds."""
    times = SmoothTimes(float(curves.grid.max()), 2 * spectrum.trace, DENSE_WIDTH)
    at_few = curves._replace(grid=times.time[None], which=np.zeros_like(curves.which))
    few = _losses(at_few, spectrum, kind, parameters, noise)
    values = np.empty((len(few), curves.which.size, curves.grid.shape[1]))
    for row, grid in enumerate(curves.grid):
        order, own = np.argsort(grid, kind="stable"), np.flatnonzero(curves.which == row)
        values[:, own[:, None], order] = times.at(few[:, own], grid[order])
    return values


def _groups(chosen: IntArray, curves: Curves, most: int, most_curves: int) -> list[IntArray]:
    """Numbers of ``chosen`` curves in groups of so many problems and curves at most."""
    if chosen.size <= most:
        return [chosen]
    problem = curves.select(chosen).problem
    order = np.argsort(problem, kind="stable")
    groups = np.split(chosen[order], np.searchsorted(problem[order], np.arange(most, problem.max() + 1, most)))
    return [part for group in groups for part in np.array_split(group, math.ceil(group.size / most_curves))]


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
    return invert_one(sorted_times, kernel_one_point(point), times.size).reshape(times.shape)


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
    return kernel_terms(last, edge_bound(spectrum, 1 / width, 1 / samples), Model(spectrum, 1 / width, 1 / samples))
