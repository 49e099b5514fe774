"""Direct simulation of SGD on the model of the theory, so that anyone can check the theory."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from scalingeq.errors import InstabilityError, ParameterError, raise_problems
from scalingeq.theory.equivalents import size_problems
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
    learning_rate: float = 1.0,
    batch_size: float = math.inf,
    width: float = math.inf,
    samples: float = math.inf,
    noise_variance: float = 0.0,
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
    learning_rate : float
        Learning rate of the descent on half the mean square error, in units of 1/eigenvalue.
    batch_size : float
        Samples in a minibatch: fresh ones where ``samples`` is infinite, else drawn with replacement from the training
        samples. Infinity for full batches (of the training samples, or of all there are).
    width, samples : float
        Number of random features (infinity: none, the inputs themselves) and of training samples (infinity: one pass).
    noise_variance : float
        Variance of the label noise, in the units of the loss.
    repetitions : int
        Number of independent runs, at least 2; they are trained together.
    seed : int or numpy.random.Generator
        Seed of the random numbers.

    Returns
    -------
    Simulation
        Mean losses and their standard errors. In one pass the train loss is the test loss.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain.
    InstabilityError
        Where the descent diverges.

    Notes
    -----
    The model of arXiv:2502.05074: inputs ``x ~ N(0, Sigma)``, predictor ``x F v`` with entries of F of variance
    1/width, v = 0 at the start.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, simulate
    >>> runs = simulate([0, 10, 100], PowerLaw(alpha=1.5, r=0.4, dim=100), width=50, samples=80, learning_rate=0.5)
    >>> bool((runs.train[1:] < runs.test[1:]).all())
    True
    """
    at = np.asarray(steps)
    problems = size_problems({"learning_rate": learning_rate, "width": width, "samples": samples})
    if at.ndim != 1 or at.size == 0 or np.any(at != np.floor(at)) or np.any(at < 0) or np.any(np.diff(at) <= 0):
        problems.append("steps must be whole numbers, not negative, ascending, in one dimension, at least one")
    for name, value in (("width", width), ("samples", samples), ("batch_size", batch_size)):
        if math.isfinite(value) and (value < 1 or value != math.floor(value)):
            problems.append(f"{name} is {value!r}: pass a whole number, at least 1, or infinity")
    if not (math.isfinite(noise_variance) and noise_variance >= 0):
        problems.append(f"noise_variance is {noise_variance!r}: pass a finite number, not negative")
    if repetitions < 2:
        problems.append(f"repetitions is {repetitions!r}: pass at least 2, for a standard error")
    if spectrum.rank > 1e5:
        problems.append(f"spectrum has {spectrum.rank:g} modes: pass one with a finite dim of at most some thousand")
    if isinstance(spectrum, Spectrum) and np.any(np.asarray(spectrum.modes) != 1):
        problems.append("spectrum has entries that stand for several modes or none: pass one with one mode an entry")
    raise_problems(problems, ParameterError)
    runs = _Runs(spectrum, batch_size, width, samples, noise_variance, repetitions, np.random.default_rng(seed))
    losses, done = [], 0
    for number in at:
        with np.errstate(over="ignore", invalid="ignore"):  # divergence is reported below
            for _ in range(int(number) - done):
                runs.step(learning_rate)
            losses.append(runs.losses())
        done = int(number)
        if not np.all(np.isfinite(losses[-1])):
            raise InstabilityError(
                f"SGD diverged before step {done} with learning_rate={learning_rate:g}, batch_size={batch_size:g}: "
                "pass a smaller learning_rate"
            )
    values = np.array(losses)  # (step, kind, repetition)
    mean, error = values.mean(axis=2), values.std(axis=2, ddof=1) / math.sqrt(repetitions)
    return Simulation(mean[:, 0], mean[:, 1], error[:, 0], error[:, 1])


def _modes(spectrum: AnySpectrum) -> tuple[FloatArray, FloatArray]:
    """Every eigenvalue and the target power of its mode."""
    if isinstance(spectrum, PowerLaw):
        k = np.arange(1.0, spectrum.dim + 1)
        return k**-spectrum.alpha, k ** -(2 * spectrum.alpha * spectrum.r + 1)
    return np.asarray(spectrum.eigenvalues, dtype=np.float64), np.asarray(spectrum.target_power, dtype=np.float64)


class _Runs:
    """The state of all repetitions: weights v (repetition, feature, 1), in whose space everything is written.

    Inputs are whitened, x = z * root with z standard normal, and the target is ``z @ target``.
    """

    def __init__(
        self,
        spectrum: AnySpectrum,
        batch_size: float,
        width: float,
        samples: float,
        noise_variance: float,
        repetitions: int,
        rng: np.random.Generator,
    ) -> None:
        eigenvalues, power = _modes(spectrum)
        self.rng, self.batch_size, self.noise_variance = rng, batch_size, noise_variance
        self.root, self.target = np.sqrt(eigenvalues), np.sqrt(power)
        self.one_pass = math.isinf(samples)
        modes = eigenvalues.size
        if math.isinf(width):
            self.features = np.broadcast_to(np.diag(self.root), (repetitions, modes, modes))
        else:
            self.features = rng.standard_normal((repetitions, modes, int(width))) / math.sqrt(width)
            self.features *= self.root[:, None]
        self.weights = np.zeros((repetitions, self.features.shape[2], 1))
        if not self.one_pass:
            z = rng.standard_normal((repetitions, int(samples), modes))
            self.inputs = z @ self.features
            self.labels = self._labels(z)
            if math.isinf(batch_size):
                transposed = self.inputs.swapaxes(1, 2) / samples
                self.gram, self.pull = transposed @ self.inputs, transposed @ self.labels

    def _labels(self, z: FloatArray) -> FloatArray:
        clean = (z @ self.target)[..., None]
        return np.asarray(clean + math.sqrt(self.noise_variance) * self.rng.standard_normal(clean.shape))

    def _gradient(self) -> FloatArray:
        repetitions = self.weights.shape[0]
        if math.isinf(self.batch_size):
            if self.one_pass:
                transposed = self.features.swapaxes(1, 2)
                return np.asarray(transposed @ (self.features @ self.weights - self.target[:, None]))
            return np.asarray(self.gram @ self.weights - self.pull)
        if self.one_pass:
            z = self.rng.standard_normal((repetitions, int(self.batch_size), self.root.size))
            inputs, labels = z @ self.features, self._labels(z)
        else:
            chosen = self.rng.integers(self.inputs.shape[1], size=(repetitions, int(self.batch_size), 1))
            inputs = np.take_along_axis(self.inputs, chosen, axis=1)
            labels = np.take_along_axis(self.labels, chosen, axis=1)
        return np.asarray(inputs.swapaxes(1, 2) @ (inputs @ self.weights - labels) / self.batch_size)

    def step(self, learning_rate: float) -> None:
        """One step of every run."""
        self.weights = self.weights - learning_rate * self._gradient()

    def losses(self) -> tuple[FloatArray, FloatArray]:
        """Test and train loss (repetition,)."""
        miss = self.target[:, None] - self.features @ self.weights
        test = np.asarray((miss**2).sum(axis=(1, 2)) + self.noise_variance)
        if self.one_pass:
            return test, test
        return test, np.asarray(((self.inputs @ self.weights - self.labels) ** 2).mean(axis=(1, 2)))
