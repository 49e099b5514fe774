"""Linear random-feature models with random features and data, and the steps of SGD on many of them at once."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from scalingeq.theory.spectrum import AnySpectrum, FloatArray, PowerLaw


def modes(spectrum: AnySpectrum) -> tuple[FloatArray, FloatArray]:
    """Every eigenvalue (mode,) of a spectrum and the target power of its mode."""
    if isinstance(spectrum, PowerLaw):
        k = np.arange(1.0, spectrum.dim + 1)
        return k**-spectrum.alpha, k ** -(2 * spectrum.alpha * spectrum.r + 1)
    return np.asarray(spectrum.eigenvalues, dtype=np.float64), np.asarray(spectrum.target_power, dtype=np.float64)


class Runs:
    """The state of all models: weights v (repetition, feature draw, data set, feature, 1).

    All arrays have these first three axes, of length 1 where the models share a value. Inputs are whitened,
    x = z * root with z standard normal, and the target is ``z @ target``. The arguments are those of
    :func:`scalingeq.theory.simulate`, which checks them.
    """

    def __init__(
        self,
        spectrum: AnySpectrum,
        *,
        width: float,
        samples: float,
        noise_variance: float,
        test_spectrum: AnySpectrum,
        ensemble: tuple[int, int],
        repetitions: int,
        rng: np.random.Generator,
    ) -> None:
        eigenvalues, power = modes(spectrum)
        feature_draws, data_sets = ensemble
        self.rng, self.noise_variance = rng, noise_variance
        self.root, self.target = np.sqrt(eigenvalues), np.sqrt(power)
        # Test over training variance of each mode; power in modes without any stays what it is, label noise.
        self.shift = np.ones_like(power)
        np.divide(modes(test_spectrum)[0], eigenvalues, out=self.shift, where=eigenvalues > 0)
        self.features: FloatArray | None = None  # of infinite width: the inputs themselves
        if math.isfinite(width):
            shape = (repetitions, feature_draws, 1, power.size, int(width))
            self.features = rng.standard_normal(shape) / math.sqrt(width)
            self.features *= self.root[:, None]
        dimension = power.size if self.features is None else int(width)
        self.weights = np.zeros((repetitions, feature_draws, data_sets, dimension, 1))
        self.change = np.zeros_like(self.weights)
        self.one_pass = math.isinf(samples)
        if not self.one_pass:
            z = rng.standard_normal((repetitions, 1, data_sets, int(samples), power.size))
            self.inputs, self.labels = self._seen(z), self._labels(z)

    def _seen(self, z: FloatArray) -> FloatArray:
        """What the weights multiply, of rows of whitened inputs."""
        return np.asarray(z * self.root if self.features is None else z @ self.features)

    def _labels(self, z: FloatArray) -> FloatArray:
        clean = (z @ self.target)[..., None]
        return np.asarray(clean + math.sqrt(self.noise_variance) * self.rng.standard_normal(clean.shape))

    def _miss(self) -> FloatArray:
        """The target less the prediction, as a function of the whitened inputs (..., mode, 1)."""
        prediction = self.root[:, None] * self.weights if self.features is None else self.features @ self.weights
        return np.asarray(self.target[:, None] - prediction)

    @cached_property
    def _normal_equations(self) -> tuple[FloatArray, FloatArray]:
        """Gram matrix and labels' pull of the training samples: a full batch needs no more."""
        transposed = self.inputs.swapaxes(-2, -1) / self.inputs.shape[-2]
        return transposed @ self.inputs, transposed @ self.labels

    def _gradient(self, batch_size: float) -> FloatArray:
        if math.isinf(batch_size):
            if self.one_pass:
                return -self._seen(self._miss().swapaxes(-2, -1)).swapaxes(-2, -1)
            gram, pull = self._normal_equations
            return np.asarray(gram @ self.weights - pull)
        shape = (*self.weights.shape[:3], int(batch_size))
        if self.one_pass:
            z = self.rng.standard_normal((*shape, self.root.size))
            inputs, labels = self._seen(z), self._labels(z)
        else:
            chosen = self.rng.integers(self.inputs.shape[-2], size=shape)[..., None]
            inputs = np.take_along_axis(self.inputs, chosen, axis=-2)
            labels = np.take_along_axis(self.labels, chosen, axis=-2)
        return np.asarray(inputs.swapaxes(-2, -1) @ (inputs @ self.weights - labels) / batch_size)

    def step(self, learning_rate: float, batch_size: float, momentum: float, ridge: float) -> None:
        """One step of every model: heavy ball on half the mean square error and the ridge."""
        gradient = self._gradient(batch_size) + ridge * self.weights
        self.change = momentum * self.change - learning_rate * gradient
        self.weights = self.weights + self.change

    def losses(self) -> tuple[FloatArray, FloatArray]:
        """Test loss of the ensemble and mean train loss of its models (repetition,)."""
        miss = self._miss()
        ensemble = miss.mean(axis=(1, 2))
        test = np.asarray((self.shift[:, None] * ensemble**2).sum(axis=(-2, -1)) + self.noise_variance)
        if self.one_pass:
            train = (miss**2).sum(axis=(-2, -1)).mean(axis=(1, 2)) + self.noise_variance
        else:
            train = ((self.inputs @ self.weights - self.labels) ** 2).mean(axis=(1, 2, 3, 4))
        return test, np.asarray(train)
