"""Dynamical mean-field theory of gradient flow: two-time correlation and response functions of the residual.

The model is linear, so that its mean-field theory closes at the level of two functions of two times: the correlation of
the residual with itself, and the response of a residual, or of a weight, to a kick of its own. Leaving one sample or one
feature out (the cavity method) shows what the steps s -> kappa1 -> kappa2 of `equivalents` are.

*Data.* Let r_mu be the residual on training sample mu, and rho_mu that of a model trained without it, to which the
sample is a fresh one. Trained with it, the model also follows r_mu itself, and transformed in time

    r_mu = rho_mu - g r_mu,    g(s) = x (s + A S)^-1 A x / P,

x being the input, S the covariance of the other samples, A that of the features, and g the same for every sample when
there are many of them. A kick of r_mu obeys the same equation with 1/s in the place of rho_mu, so that the response is
R = 1 / (s (1 + g)). The training residuals obey dr/dt = -K r with the kernel matrix K over P, whose propagator averages
to the same R = Tr (s + K)^-1 / P = (1 - df/P) / s. Therefore

    s R_data = 1 - df/P = s / kappa1,    one over the S-transform of the data.

*Features.* The weights obey dv/dt = -M v + force with M = F^T S F. Leaving one feature out, its weight responds to a
kick with R = Tr (s + M)^-1 / N = (1 - df/N) / s, so that s R_features = kappa1 / kappa2, one over the S-transform of
the features. An eigenmode of the inputs feels both: the test residual along it relaxes as 1 / (s + lambda s/kappa2), with
its rate multiplied by the two (R_1 and R_3 of arXiv:2402.01092).

*Correlation.* By the first equation the training residual is the fresh one passed through the response, r = s R rho. The
transforms of their correlations at two times are then tied by

    C_train(s, s') = (s / kappa1) (s' / kappa1') C_test(s, s'),

where C_test is the two-point forcing of arXiv:2502.05074. For s = s' = ridge this is generalised cross-validation.

Sources: arXiv:2402.01092 for this model, arXiv:2601.01010 for responses as resolvents of random matrices.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from scalingeq.errors import ParameterError, raise_problems
from scalingeq.theory import laplace
from scalingeq.theory.curves import Kind
from scalingeq.theory.dynamics import flow_loss
from scalingeq.theory.equivalents import OnePoint, forcing_from, size_problems, two_point_along
from scalingeq.theory.spectrum import AnySpectrum, FloatArray
from scalingeq.theory.windows import SortedTimes, invert_one, of_one_problem, take

#: Nothing has moved yet at this time, in units of one over the trace: it stands for the start and all earlier times.
EARLIEST = 1e-12


def correlation(
    time: ArrayLike,
    time_prime: ArrayLike,
    spectrum: AnySpectrum,
    *,
    width: float = math.inf,
    samples: float = math.inf,
    noise_variance: float = 0.0,
    kind: Kind = "test",
) -> FloatArray:
    """Correlation of the residual of gradient flow with itself at two times.

    Parameters
    ----------
    time, time_prime : array_like, shape (...)
        The two training times, not negative, in units of 1/eigenvalue. They broadcast: ``time[:, None]`` and ``time``
        give the matrix of all pairs.
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs and of the target.
    width, samples : float
        Number of random features and of training samples; infinity is allowed (no features; one pass).
    noise_variance : float
        Variance of the label noise, in the units of the loss. The correlation includes it.
    kind : {"test", "train"}
        Residual on fresh samples, or on the training samples; they are the same where ``samples`` is infinite.

    Returns
    -------
    ndarray, shape (...)
        Mean of the product of the residuals ``y - f(x, time)`` and ``y - f(x, time_prime)`` on the same sample, in the
        units of the target power; at equal times the loss, `flow_loss`. The numerical error is that of `flow_loss`.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain, or the times do not broadcast.
    ConvergenceError
        Where the renormalised frequencies are not found.

    Notes
    -----
    The inverse Laplace transform at (t, t') of the two-point forcing of arXiv:2502.05074. The residual on the training
    samples, and every one in one pass, moves with a symmetric matrix, so that its correlation depends on the sum of the
    times alone. That on fresh samples does not: it is the correlation C of the dynamical mean-field theory of
    arXiv:2402.01092. Gradient flow has no noise of minibatches.

    Examples
    --------
    >>> import numpy as np
    >>> from scalingeq.theory import PowerLaw, correlation
    >>> time = np.array([0.0, 1.0, 100.0])
    >>> correlation(time[:, None], time, PowerLaw(alpha=1.5, r=0.4), samples=50, noise_variance=0.1).round(4)
    array([[1.5905, 0.88  , 0.1727],
           [0.88  , 0.5856, 0.1665],
           [0.1727, 0.1665, 0.1649]])
    """
    times, problems = _checked({"time": time, "time_prime": time_prime}, {"width": width, "samples": samples})
    if not (math.isfinite(noise_variance) and noise_variance >= 0):
        problems.append(f"noise_variance is {noise_variance!r}: pass a finite number, not negative")
    if kind not in ("test", "train"):
        problems.append(f"kind is {kind!r}: pass 'test' or 'train'")
    raise_problems(problems, ParameterError)
    try:
        early, late = np.broadcast_arrays(np.minimum(*times), np.maximum(*times))
    except ValueError as error:
        raise ParameterError(
            f"time has shape {times[0].shape}, time_prime {times[1].shape}: pass shapes that broadcast"
        ) from error
    # Each pair of times once, whichever of them came first: that they are the same number is the symmetry.
    distinct, where = np.unique(np.stack([early.ravel(), late.ravel()]), axis=1, return_inverse=True)
    where = where.reshape(early.shape)
    if kind == "train" or math.isinf(samples):
        middle = distinct.mean(axis=0)
        loss = flow_loss(middle, spectrum, width=width, samples=samples, noise_variance=noise_variance, kind=kind)
        return loss[where]
    if early.size == 0:
        return np.empty(early.shape)
    both, times_of_both, point = _windows(distinct, spectrum, width, samples)
    end, window = times_of_both.end, times_of_both.window_of_times.reshape(2, -1)
    phase = both.reshape(2, -1) / end[window]
    windows, pair = np.unique(window, axis=1, return_inverse=True)
    first, second = (take(point, one) for one in windows)
    nodes = spectrum.nodes(float(np.abs(point.s).min()))
    same, mirrored = (
        forcing_from(equivalents, noise_variance) / product
        for equivalents, product in two_point_along(first, second, nodes)
    )
    values = np.empty(distinct.shape[1])
    for number, (one, prime) in enumerate(windows.T):
        at = pair.reshape(-1) == number
        values[at] = laplace.inverse_two(
            phase[0, at], float(end[one]), same[number], mirrored[number], prime=(phase[1, at], float(end[prime]))
        )
    return values[where]


def response(
    time: ArrayLike,
    spectrum: AnySpectrum,
    *,
    width: float = math.inf,
    samples: float = math.inf,
    of: Literal["data", "features"] = "data",
) -> FloatArray:
    """Response of gradient flow: how much of a kick is left a time later where it was given.

    Parameters
    ----------
    time : array_like, shape (...)
        Times since the kick, not negative, in units of 1/eigenvalue. When the kick was given does not matter.
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs.
    width, samples : float
        Number of random features and of training samples; infinity is allowed.
    of : {"data", "features"}
        What is kicked: the residual on one training sample, as a change of its label does, or the weight of one random
        feature.

    Returns
    -------
    ndarray, shape (...)
        Change of that residual, or weight, per unit of the kick: 1 at time 0, and in the end ``1 - n/samples``, or
        ``1 - n/width``, where n is the smallest of width, samples and number of modes.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain.
    ConvergenceError
        Where the renormalised frequencies are not found.

    Notes
    -----
    The inverse Laplace transforms of ``1/kappa1`` and of ``kappa1/(kappa2 s)``. Multiplied by s they are one over
    the S-transforms (`s_transform`) of the data and of the features (arXiv:2502.05074), and R_1 and R_3 of the
    dynamical mean-field theory of arXiv:2402.01092; the head of this module derives it.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, response
    >>> response([0.0, 1.0, 1e9], PowerLaw(alpha=1.5, r=0.4), width=60, samples=80).round(4)
    array([1.    , 0.9739, 0.25  ])
    """
    times, problems = _checked({"time": time}, {"width": width, "samples": samples})
    if of not in ("data", "features"):
        problems.append(f"of is {of!r}: pass 'data' or 'features'")
    raise_problems(problems, ParameterError)
    if times[0].size == 0:
        return times[0]
    _, sorted_times, point = _windows(times[0], spectrum, width, samples)
    transform = 1 / point.kappa1 if of == "data" else point.kappa1 / (point.kappa2 * point.s)
    return invert_one(sorted_times, transform, times[0].size).reshape(times[0].shape)


def _checked(times: dict[str, ArrayLike], sizes: dict[str, ArrayLike]) -> tuple[list[FloatArray], list[str]]:
    """Times as arrays, and what is wrong with them and with the sizes."""
    arrays = [np.asarray(value, dtype=np.float64) for value in times.values()]
    return arrays, size_problems(sizes) + [
        f"{name} contains {float(value[bad].flat[0])!r}: pass finite numbers, none negative"
        for name, value in zip(times, arrays, strict=True)
        if np.any(bad := ~(np.isfinite(value) & (value >= 0)))
    ]


def _windows(
    time: FloatArray, spectrum: AnySpectrum, width: float, samples: float
) -> tuple[FloatArray, SortedTimes, OnePoint]:
    """Times of one problem in one row, also sorted into windows, and the equivalents of each window."""
    positive = np.maximum(time, EARLIEST / spectrum.trace).ravel()
    return positive, *of_one_problem(positive, spectrum, 1 / width, 1 / samples)
