"""Loss of SGD against training time or steps: forcing, kernel, and the solution of the Volterra equation."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalingeq.errors import ParameterError, raise_problems
from scalingeq.theory import laplace
from scalingeq.theory.equivalents import (
    OnePoint,
    TwoPoint,
    forcing_from,
    forcing_one_point,
    kernel_from,
    kernel_one_point,
    one_point_along,
    size_problems,
    two_point_along,
)
from scalingeq.theory.spectrum import AnySpectrum, ComplexArray, FloatArray, Nodes
from scalingeq.theory.stability import check_learning_rate, largest_eigenvalue
from scalingeq.theory.volterra import Exponentials, check_kernel_norm, fit_exponentials, noisy_loss

IntArray: TypeAlias = NDArray[np.int64]
Kind: TypeAlias = Literal["test", "train"]

#: Rates to the decade in the sum of exponentials that stands for a test kernel.
RATES_PER_DECADE = 12
#: Elements of the arrays (time, frequency) that one pass of the inverse transform works on.
CHUNK = 200_000


class _Curves(NamedTuple):
    """Curves with their times: every field but ``shape`` has one row a curve."""

    time: FloatArray
    noise_rate: FloatArray
    per_width: FloatArray
    per_sample: FloatArray
    noise_variance: FloatArray
    shape: tuple[int, ...]

    @property
    def problem(self) -> IntArray:
        """Number (curve,) of the pair of width and samples, which alone decide the equivalents."""
        sizes = np.stack([self.per_width, self.per_sample], axis=1)
        return np.unique(sizes, axis=0, return_inverse=True)[1].reshape(-1)


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
    curves = _broadcast({"time": time}, noise_rate, width, samples, noise_variance, kind, [])
    loss = np.empty(curves.time.shape)
    online = curves.per_sample == 0
    one = np.ones_like(online) if kind == "train" else online
    for chosen, solve in ((one, _one_frequency_loss), (~one, _two_frequency_loss)):
        if chosen.any():
            loss[chosen] = solve(_select(curves, chosen), spectrum)
    return np.maximum(loss, 0.0).reshape(curves.shape)


def _select(curves: _Curves, chosen: NDArray[np.bool_] | IntArray) -> _Curves:
    return _Curves._make([*(field[chosen] for field in curves[:5]), curves.shape])


def _broadcast(
    named_time: dict[str, ArrayLike],
    noise_rate: ArrayLike,
    width: ArrayLike,
    samples: ArrayLike,
    noise_variance: ArrayLike,
    kind: str,
    problems: list[str],
) -> _Curves:
    """Check the arguments of curves, all at once with the ``problems`` found before, and give each curve its row."""
    ((time_name, time),) = named_time.items()
    times = np.asarray(time, dtype=np.float64)
    per_curve = {"noise_rate": noise_rate, "width": width, "samples": samples, "noise_variance": noise_variance}
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in per_curve.items()}
    problems = problems + size_problems({"width": arrays["width"], "samples": arrays["samples"]})
    if times.ndim == 0:
        problems.append(f"{time_name} is the single number {time!r}: pass an array, its last axis the {time_name}")
    for name, value in (
        (time_name, times),
        ("noise_rate", arrays["noise_rate"]),
        ("noise_variance", arrays["noise_variance"]),
    ):
        if np.any(bad := ~(np.isfinite(value) & (value >= 0))):
            problems.append(f"{name} contains {float(value[bad].flat[0])!r}: pass finite numbers, none negative")
    if kind not in ("test", "train"):
        problems.append(f"kind is {kind!r}: pass 'test' or 'train'")
    raise_problems(problems, ParameterError)
    try:
        leading = np.broadcast_shapes(times.shape[:-1], *(value.shape for value in arrays.values()))
    except ValueError as error:
        shapes = ", ".join(f"{name} {value.shape}" for name, value in arrays.items())
        raise ParameterError(
            f"{time_name} has shape {times.shape}, the others {shapes}: all must broadcast without its last axis"
        ) from error
    shape = (*leading, times.shape[-1])
    rows = {name: np.broadcast_to(value, leading).ravel() for name, value in arrays.items()}
    return _Curves(
        np.broadcast_to(times, shape).reshape(-1, times.shape[-1]) if times.size else np.empty((math.prod(leading), 0)),
        rows["noise_rate"],
        1 / rows["width"],
        1 / rows["samples"],
        rows["noise_variance"],
        shape,
    )


class _Schedule(NamedTuple):
    """Times of several curves sorted into windows, each window of each curve once.

    Attributes
    ----------
    number, problem, curve : ndarray of int, shape (pair,)
        Window, problem and curve of each pair of curve and window.
    phase : ndarray, shape (time,)
        Times in units of their window's end.
    pair : ndarray of int, shape (time,)
        Pair that each time belongs to.
    """

    number: IntArray
    problem: IntArray
    curve: IntArray
    phase: FloatArray
    pair: IntArray

    @property
    def end(self) -> FloatArray:
        """End of the window of each pair."""
        return laplace.WINDOW ** self.number.astype(np.float64)


def _schedule(time: FloatArray, curve: IntArray, problem: IntArray) -> _Schedule:
    """Sort times (time,) of curves (time,); ``problem`` (curve,) numbers the problem of each curve."""
    number, phase = laplace.windows(time)
    # One integer stands for curve and window: there are far fewer than 2048 windows in double precision.
    key, pair = np.unique(curve * 2048 + number + 1024, return_inverse=True)
    return _Schedule(key % 2048 - 1024, problem[key // 2048], key // 2048, phase, pair.reshape(-1))


def _invert(schedule: _Schedule, transform: ComplexArray) -> FloatArray:
    """Values at the times of the inverse of ``transform`` (pair, frequency)."""
    values = np.empty(schedule.phase.size)
    end = schedule.end
    step = CHUNK // laplace.NODES
    for i in range(0, values.size, step):
        pair = schedule.pair[i : i + step]
        values[i : i + step] = laplace.inverse_one(schedule.phase[i : i + step], end[pair], transform[pair])
    return values


def _equivalents(
    schedule: _Schedule, per_width: FloatArray, per_sample: FloatArray, spectrum: AnySpectrum
) -> tuple[OnePoint, IntArray, Nodes]:
    """One-point equivalents (row, frequency) on the contour of each window of each problem.

    Also the row of each pair, and the nodes of the spectrum; the sizes are given for each pair.
    """
    _, first, row = np.unique(schedule.problem * 2048 + schedule.number + 1024, return_index=True, return_inverse=True)
    path = laplace.hyperbola().frequency / schedule.end[first, None]
    nodes = spectrum.nodes(float(np.abs(path).min()))
    return one_point_along(path, nodes, per_width[first], per_sample[first]), row.reshape(-1), nodes


def _take(point: OnePoint, row: IntArray) -> OnePoint:
    return OnePoint._make(field[row] for field in point)


def _one_frequency_loss(curves: _Curves, spectrum: AnySpectrum, kernel: Exponentials | None = None) -> FloatArray:
    """Train loss (curve, time); with a test ``kernel``, the noise that this train loss puts into the test loss."""
    total = spectrum.nodes(1.0)
    check_kernel_norm(curves.noise_rate, total.trace)
    at_start = total.power + curves.noise_variance if kernel is None else np.zeros_like(curves.noise_variance)
    loss = np.repeat(at_start[:, None], curves.time.shape[1], axis=1)
    curve, place = np.nonzero(curves.time)
    if curve.size == 0:
        return loss
    schedule = _schedule(2 * curves.time[curve, place], curve, curves.problem)
    whose = schedule.curve
    point, row, _ = _equivalents(schedule, curves.per_width[whose], curves.per_sample[whose], spectrum)
    point = _take(point, row)
    transform = noisy_loss(
        forcing_one_point(point, curves.noise_variance[whose, None]),
        kernel_one_point(point),
        curves.noise_rate[whose, None],
    )
    if kernel is not None:
        transform = transform * curves.noise_rate[whose, None] * kernel.transform(2 * point.s)
    loss[curve, place] = _invert(schedule, transform)
    return loss


def _two_frequency_loss(curves: _Curves, spectrum: AnySpectrum) -> FloatArray:
    """Test loss (curve, time) with finite data: the test forcing and, with noise, the test kernel on the train loss."""
    check_kernel_norm(curves.noise_rate, spectrum.nodes(1.0).trace)
    loss = np.empty(curves.time.shape)
    problem = curves.problem
    for number in range(int(problem.max(initial=-1)) + 1):
        rows = np.flatnonzero(problem == number)
        loss[rows] = _test_forcing(_select(curves, rows), spectrum)
        noisy = rows[curves.noise_rate[rows] > 0]
        driven = _select(curves, noisy)
        if driven.time.any():
            kernel = _kernel_exponentials(
                float(driven.time.max()), spectrum, float(driven.per_width[0]), float(driven.per_sample[0])
            )
            loss[noisy] += _one_frequency_loss(driven, spectrum, kernel)
    return loss


def _test_forcing(curves: _Curves, spectrum: AnySpectrum) -> FloatArray:
    """Test loss (curve, time) of gradient flow without noise; all curves have the same width and samples."""
    start = spectrum.nodes(1.0).power + curves.noise_variance
    loss = np.repeat(start[:, None], curves.time.shape[1], axis=1)
    curve, place = np.nonzero(curves.time)
    if curve.size:
        schedule = _schedule(curves.time[curve, place], curve, np.zeros(start.size, dtype=np.int64))
        noise = curves.noise_variance[schedule.curve, None, None]
        halves = _two_points(schedule, spectrum, float(curves.per_width[0]), float(curves.per_sample[0]))
        loss[curve, place] = _invert_two(schedule, [forcing_from(pair, noise) / product for pair, product in halves])
    return loss


def _test_kernel(time: FloatArray, spectrum: AnySpectrum, per_width: float, per_sample: float) -> FloatArray:
    """Test kernel at positive times (time,)."""
    zero = np.zeros(time.size, dtype=np.int64)
    schedule = _schedule(time, zero, zero)
    return _invert_two(
        schedule, [kernel_from(pair) for pair, _ in _two_points(schedule, spectrum, per_width, per_sample)]
    )


def _two_points(
    schedule: _Schedule, spectrum: AnySpectrum, per_width: float, per_sample: float
) -> list[tuple[TwoPoint, ComplexArray]]:
    """Two-point equivalents and ``s s'`` (pair, frequency, frequency) on the contour of each window.

    The first entry is for s and s' on the upper half of the contour, the second for s and the conjugate of s'.
    """
    sizes = np.ones(schedule.number.size)
    point, row, nodes = _equivalents(schedule, sizes * per_width, sizes * per_sample, spectrum)
    # One equivalent for each window; curves that share the window share it.
    return [
        (TwoPoint(pair.signal[row], pair.variance[row], pair.per_sample[row]), product[row])
        for pair, product in two_point_along(point, point, nodes)
    ]


def _invert_two(schedule: _Schedule, halves: list[ComplexArray]) -> FloatArray:
    """Values at the times of the inverse, at equal times, of the two halves (pair, frequency, frequency)."""
    values = np.empty(schedule.phase.size)
    for pair, end in enumerate(schedule.end):
        at = schedule.pair == pair
        values[at] = laplace.inverse_two(schedule.phase[at], float(end), *(half[pair] for half in halves))
    return values


def _kernel_exponentials(last: float, spectrum: AnySpectrum, per_width: float, per_sample: float) -> Exponentials:
    """Test kernel as a sum of exponentials, for times up to ``last``."""
    trace = spectrum.nodes(1.0).trace
    fastest = 2 * largest_eigenvalue(spectrum, width=_inverse(per_width), samples=_inverse(per_sample))
    slowest = min(0.3 / last, fastest / 10)
    rate = np.geomspace(slowest, 2 * fastest, 1 + math.ceil(RATES_PER_DECADE * math.log10(2 * fastest / slowest)))
    time = np.geomspace(0.01 / fastest, max(last, 1 / fastest), 2 * rate.size)
    values = _test_kernel(time, spectrum, per_width, per_sample)
    # Relative errors, down to values too small to matter beside the norm of the kernel, which is about the trace.
    return fit_exponentials(time, values, np.abs(values) + 1e-6 * trace / (time + 1 / fastest), rate)


def loss_curve(
    steps: ArrayLike,
    spectrum: AnySpectrum,
    *,
    learning_rate: float = 1.0,
    batch_size: float = math.inf,
    width: ArrayLike = math.inf,
    samples: ArrayLike = math.inf,
    noise_variance: ArrayLike = 0.0,
    kind: Kind = "test",
) -> FloatArray:
    """Loss of stochastic gradient descent at constant rate and batch size, against steps.

    Parameters
    ----------
    steps : array_like, shape (..., step)
        Numbers of steps done, not negative.
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs and of the target.
    learning_rate : float
        Learning rate of the descent on half the mean square error, in units of 1/eigenvalue.
    batch_size : float
        Samples in a minibatch, at least 1; infinity for full batches.
    width, samples : array_like, shape (...)
        Number of random features and of training samples; infinity is allowed (no features; one pass).
    noise_variance : array_like, shape (...)
        Variance of the label noise, in the units of the loss. The loss includes it.
    kind : {"test", "train"}
        Loss on fresh samples, or on the training samples; they are the same where ``samples`` is infinite.

    Returns
    -------
    ndarray, shape (..., step)
        Loss, in the units of the target power.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain, or shapes do not broadcast.
    InstabilityError
        Where the descent diverges; the text names the exact threshold, that of discrete steps, and the excess.
    ConvergenceError
        Where the renormalised frequencies are not found.

    Notes
    -----
    The loss is that of gradient flow with the noise of minibatches (`flow_loss`) at the time learning_rate * steps. It
    differs from that of discrete steps by about ``p (p + 1) / (4 steps)`` of the reducible loss that falls as
    ``steps**-p``, and by an offset of relative order learning_rate / batch_size where batches are small.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, loss_curve
    >>> loss_curve([0, 100, 10000], PowerLaw(alpha=1.5, r=0.4), width=512, batch_size=8, learning_rate=0.5).round(5)
    array([1.49054, 0.02632, 0.00538])
    """
    problems = []
    for name, value in (("learning_rate", learning_rate), ("batch_size", batch_size)):
        if np.ndim(value) > 0:
            problems.append(f"{name} has shape {np.shape(value)}: schedules are not supported yet, pass one number")
        elif not value > 0 or (name == "learning_rate" and math.isinf(value)):
            problems.append(f"{name} is {value!r}: pass a positive number")
        elif name == "batch_size" and value < 1:
            problems.append(f"batch_size is {value!r}: pass at least one sample")
    curves = _broadcast({"steps": steps}, 0.0, width, samples, noise_variance, kind, problems)
    for per_width, per_sample in np.unique(np.stack([curves.per_width, curves.per_sample], axis=1), axis=0):
        check_learning_rate(learning_rate, spectrum, batch_size, _inverse(per_width), _inverse(per_sample))
    return flow_loss(
        learning_rate * np.asarray(steps, dtype=np.float64),
        spectrum,
        noise_rate=learning_rate / batch_size,
        width=width,
        samples=samples,
        noise_variance=noise_variance,
        kind=kind,
    )


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
    one = _broadcast({"time": times.reshape(1, -1)}, 0.0, width, samples, 0.0, kind, problems)
    per_width, per_sample = float(one.per_width[0]), float(one.per_sample[0])
    if times.size == 0:
        return times
    if kind == "test" and per_sample > 0:
        return _test_kernel(times.ravel(), spectrum, per_width, per_sample).reshape(times.shape)
    zero = np.zeros(times.size, dtype=np.int64)
    schedule = _schedule(2 * times.ravel(), zero, zero)
    sizes = np.ones(schedule.number.size)
    point, row, _ = _equivalents(schedule, sizes * per_width, sizes * per_sample, spectrum)
    return _invert(schedule, kernel_one_point(point)[row]).reshape(times.shape)


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
    return _kernel_exponentials(last, spectrum, 1 / width, 1 / samples)


def _inverse(one_over: float) -> float:
    """Size from one over it."""
    return 1 / float(one_over) if one_over else math.inf
