"""Direct simulation of SGD on the model of the theory, so that anyone can check the theory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalingeq.errors import InstabilityError, ParameterError, raise_problems
from scalingeq.theory.runs import Runs, modes
from scalingeq.theory.spectrum import AnySpectrum, FloatArray, PowerLaw, Spectrum


class Simulation(NamedTuple):
    """Losses of simulated runs, averaged over repetitions.

    Attributes
    ----------
    test, train : ndarray, shape (step,)
        Mean loss on fresh samples (label noise included) and on the training samples, in the units of the target power.
    test_stderr, train_stderr : ndarray, shape (step,)
        Standard errors of these means.
    """

    test: FloatArray
    train: FloatArray
    test_stderr: FloatArray
    train_stderr: FloatArray


def simulate(
    steps: ArrayLike,
    spectrum: AnySpectrum,
    *,
    learning_rate: ArrayLike = 1.0,
    batch_size: ArrayLike = math.inf,
    momentum: float = 0.0,
    ridge: float = 0.0,
    width: float = math.inf,
    samples: float = math.inf,
    noise_variance: float = 0.0,
    test_spectrum: AnySpectrum | None = None,
    ensemble: tuple[int, int] = (1, 1),
    repetitions: int = 20,
    seed: int | np.random.Generator = 0,
) -> Simulation:
    """Train linear random-feature models by SGD, with new features and data in every repetition.

    Parameters
    ----------
    steps : array_like of int, shape (step,)
        Numbers of steps after which the losses are taken, ascending, not negative.
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs and of the target, with at most some thousand modes: they are all simulated.
    learning_rate : float or array_like, shape (update,)
        Learning rate of the descent on half the mean square error, in units of 1/eigenvalue, not negative: of every
        step, or element i that of the step from i to i + 1, up to the last of ``steps`` at least.
    batch_size : float or array_like, shape (update,)
        Samples in a minibatch, of every step or of each: fresh ones where ``samples`` is infinite, else drawn with
        replacement from the training samples. Infinity for full batches (of the training samples, or of all there are).
    momentum : float
        Heavy-ball momentum, from 0 to below 1: the part of the last change of the weights that the next one repeats.
    ridge : float
        Weight decay, in units of the eigenvalues: each step takes ``ridge`` times the weights as part of the gradient.
    width, samples : float
        Number of random features (infinity: none, the inputs themselves) and of training samples (infinity: one pass).
    noise_variance : float
        Variance of the label noise, in the units of the loss.
    test_spectrum : PowerLaw or Spectrum, optional
        Covariate shift: eigenvalues of the inputs of the test loss, mode by mode in the order of ``spectrum``; the
        target function stays the same (the target power given here is not used).
    ensemble : (int, int)
        Feature draws E_F and data sets E_D of a repetition: each of the E_F * E_D pairs trains one model, on minibatches
        of its own, and the predictions of all are averaged.
    repetitions : int
        Number of independent runs, at least 2; they are trained together.
    seed : int or numpy.random.Generator
        Seed of the random numbers.

    Returns
    -------
    Simulation
        Mean losses and their standard errors. Test loss: of the averaged prediction, on inputs of ``test_spectrum``.
        Train loss: mean square error (without the ridge) of each model on its own training samples, averaged over the
        models of the ensemble; in one pass on fresh samples of ``spectrum``, so that it is the test loss of a single
        model without shift.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain.
    InstabilityError
        Where the descent diverges.

    Notes
    -----
    The model of arXiv:2502.05074: inputs ``x ~ N(0, Sigma)``, predictor ``x F v`` with entries of F of variance
    1/width, v = 0 at the start. A step is ``v_{n+1} = v_n - eta_n (g_n + ridge v_n) + momentum (v_n - v_{n-1})`` with
    ``v_{-1} = v_0``, eta_n the learning rate and g_n the gradient on minibatch n.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, simulate
    >>> runs = simulate([0, 10, 100], PowerLaw(alpha=1.5, r=0.4, dim=100), width=50, samples=80, learning_rate=0.5)
    >>> bool((runs.train[1:] < runs.test[1:]).all())
    True
    """
    at = np.asarray(steps, dtype=np.float64)
    problems = []
    if at.ndim != 1 or not at.size or not np.all(_whole(at + 1) & np.isfinite(at)) or np.any(np.diff(at) <= 0):
        problems.append("steps must be whole numbers, not negative, ascending, in one dimension, at least one")
    last = 0 if problems else int(at[-1])
    for name, value in (("width", width), ("samples", samples), ("batch_size", batch_size)):
        problems += _outside(name, value, _whole, "a whole number, at least 1, or infinity")
    for name, value in (("learning_rate", learning_rate), ("noise_variance", noise_variance), ("ridge", ridge)):
        problems += _outside(name, value, _not_negative, "a finite number, not negative")
    problems += _outside("momentum", momentum, lambda beta: (beta >= 0) & (beta < 1), "a number from 0 to below 1")
    for name, value in (("learning_rate", learning_rate), ("batch_size", batch_size)):
        wanted = f"pass a number, or one value for each of the {last} steps"
        if np.ndim(value) > 1:
            problems.append(f"{name} has {np.ndim(value)} dimensions: {wanted}")
        elif np.ndim(value) == 1 and np.size(value) < last:
            problems.append(f"{name} has {np.size(value)} values and ends before the steps: {wanted}")
    if np.shape(ensemble) != (2,) or not np.all(_whole(np.asarray(ensemble)) & np.isfinite(ensemble)):
        problems.append(
            f"ensemble is {ensemble!r}: pass the numbers of feature draws and of data sets, at least 1 each"
        )
    if repetitions < 2:
        problems.append(f"repetitions is {repetitions!r}: pass at least 2, for a standard error")
    if _dim(spectrum) > 1e5:
        problems.append(f"spectrum has {_dim(spectrum):g} modes: pass one with a finite dim of at most some thousand")
    elif test_spectrum is not None:
        problems += _shift_problems(spectrum, test_spectrum)
    if isinstance(spectrum, Spectrum) and np.any(np.asarray(spectrum.modes) != 1):
        problems.append("spectrum has entries that stand for several modes or none: pass one with one mode an entry")
    raise_problems(problems, ParameterError)
    rates, batches = (
        np.broadcast_to(value, last) if np.ndim(value) == 0 else np.asarray(value)[:last]
        for value in (learning_rate, batch_size)
    )
    runs = Runs(
        spectrum,
        width=width,
        samples=samples,
        noise_variance=noise_variance,
        test_spectrum=test_spectrum or spectrum,
        ensemble=ensemble,
        repetitions=repetitions,
        rng=np.random.default_rng(seed),
    )
    losses, done = [], 0
    for number in at.astype(int):
        with np.errstate(over="ignore", invalid="ignore"):  # divergence is reported below
            for rate, batch in zip(rates[done:number], batches[done:number], strict=True):
                runs.step(float(rate), float(batch), momentum, ridge)
            losses.append(runs.losses())
        done = int(number)
        if not np.all(np.isfinite(losses[-1])):
            raise InstabilityError(
                f"SGD diverged before step {done} with learning_rate up to {rates[:done].max():g}, batch_size from "
                f"{batches[:done].min():g} and momentum={momentum:g}: pass a smaller learning_rate"
            )
    values = np.array(losses)  # (step, kind, repetition)
    mean, error = values.mean(axis=2), values.std(axis=2, ddof=1) / math.sqrt(repetitions)
    return Simulation(mean[:, 0], mean[:, 1], error[:, 0], error[:, 1])


def _whole(value: FloatArray) -> NDArray[np.bool_]:
    return np.asarray((value >= 1) & (value == np.floor(value)))


def _not_negative(value: FloatArray) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(value) & (value >= 0))


def _outside(name: str, value: ArrayLike, domain: Callable[[FloatArray], NDArray[np.bool_]], wanted: str) -> list[str]:
    """The problem, if there is one, of a value outside its domain."""
    values = np.asarray(value, dtype=np.float64)
    bad = values[~domain(values)]
    return [f"{name} is {bad[0]:g}: pass {wanted}"] if bad.size else []


def _dim(spectrum: AnySpectrum) -> float:
    """Number of modes, those with eigenvalue 0 included."""
    return spectrum.dim if isinstance(spectrum, PowerLaw) else np.size(spectrum.eigenvalues)


def _shift_problems(spectrum: AnySpectrum, test_spectrum: AnySpectrum) -> list[str]:
    if _dim(test_spectrum) != _dim(spectrum):
        return [
            f"test_spectrum has {_dim(test_spectrum):g} modes, spectrum {_dim(spectrum):g}: "
            "pass one eigenvalue for each mode of spectrum, in its order"
        ]
    unseen = np.count_nonzero((modes(test_spectrum)[0] > 0) & (modes(spectrum)[0] == 0))
    if unseen:
        return [
            f"test_spectrum is positive in {unseen} modes that spectrum has not (0 there), where no target is known: pass 0"
        ]
    return []
