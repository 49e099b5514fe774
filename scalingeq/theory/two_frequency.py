"""Functions of time that need two frequencies: the test loss of gradient flow, and the kernel of its noise."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from scalingeq.theory import laplace
from scalingeq.theory.equivalents import ONE_MODEL, Shared, TwoPoint, forcing_from, kernel_from, two_point_along
from scalingeq.theory.shift import ShiftedNodes, shifted_nodes
from scalingeq.theory.spectrum import AnySpectrum, ComplexArray, FloatArray, Nodes
from scalingeq.theory.volterra import Exponentials, fit_exponentials
from scalingeq.theory.windows import SortedTimes, equivalents, sort_times

#: Rates to the decade in the sum of exponentials that stands for a test kernel.
RATES_PER_DECADE = 12


class Model(NamedTuple):
    """What two models whose errors are multiplied are trained on, tested on, and have in common.

    Attributes
    ----------
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs and of the target.
    per_width, per_sample : float
        One over the width and one over the number of samples.
    ridge : float
        Ridge parameter.
    test_spectrum : PowerLaw or Spectrum, optional
        Spectrum of the test inputs, where it is another one.
    shared : Shared
        What the two models have in common; a model has all in common with itself.
    """

    spectrum: AnySpectrum
    per_width: float = 0.0
    per_sample: float = 0.0
    ridge: float = 0.0
    test_spectrum: AnySpectrum | None = None
    shared: Shared = ONE_MODEL

    def nodes(self, smallest_frequency: float) -> Nodes | ShiftedNodes:
        """Nodes of the spectrum, with what they stand for in the test."""
        if self.test_spectrum is None:
            return self.spectrum.nodes(smallest_frequency)
        return shifted_nodes(self.spectrum, self.test_spectrum, smallest_frequency)

    @property
    def test_power(self) -> float:
        """Test loss of the untrained model, without label noise."""
        return float(self.nodes(1.0).target.sum())

    @property
    def test_trace(self) -> float:
        """Trace of the test covariance."""
        nodes = self.nodes(1.0)
        return float(nodes.trace.sum()) if isinstance(nodes, ShiftedNodes) else nodes.trace


def flow_test_forcing(time: FloatArray, noise_variance: FloatArray, model: Model) -> FloatArray:
    """Test loss (curve, time) of gradient flow at times (curve, time), without the noise of minibatches.

    ``noise_variance`` (curve,) is that of the labels.
    """
    loss = np.repeat((model.test_power + noise_variance)[:, None], time.shape[1], axis=1)
    curve, place = np.nonzero(time)
    if curve.size:
        times = sort_times(time[curve, place], curve, np.zeros(time.shape[0], dtype=np.int64))
        noise = noise_variance[times.curve, None, None]
        halves = [forcing_from(pair, noise) / product for pair, product in _two_points(times, model)]
        loss[curve, place] = _invert_two(times, halves)
    return loss


def flow_test_kernel(time: FloatArray, model: Model) -> FloatArray:
    """Kernel of the test loss at positive times (time,), without the decay of the ridge."""
    zero = np.zeros(time.size, dtype=np.int64)
    times = sort_times(time, zero, zero)
    return _invert_two(times, [kernel_from(pair) for pair, _ in _two_points(times, model._replace(ridge=0.0))])


def kernel_terms(last: float, edge: float, model: Model) -> Exponentials:
    """Kernel of the test loss as a sum of exponentials, for times up to ``last``, without the decay of the ridge.

    ``edge`` is the largest eigenvalue of the random covariance; it and ``last`` alone decide the rates.
    """
    fastest = 2 * edge
    slowest = min(0.3 / last, fastest / 10)
    rate = np.geomspace(slowest, 2 * fastest, 1 + math.ceil(RATES_PER_DECADE * math.log10(2 * fastest / slowest)))
    time = np.geomspace(0.01 / fastest, max(last, 1 / fastest), 2 * rate.size)
    values = flow_test_kernel(time, model)
    # Relative errors, down to values too small to matter beside the norm of the kernel, which is about the trace.
    return fit_exponentials(time, values, np.abs(values) + 1e-6 * model.test_trace / (time + 1 / fastest), rate)


def _two_points(times: SortedTimes, model: Model) -> list[tuple[TwoPoint, ComplexArray]]:
    """Two-point equivalents and ``s s'`` (pair, frequency, frequency) on the contour of each window.

    The first entry is for s and s' on the upper half of the contour, the second for s and the conjugate of s'.
    """
    sizes = np.ones(times.number.size)
    point, row = equivalents(times, sizes * model.per_width, sizes * model.per_sample, model.spectrum, model.ridge)
    nodes = model.nodes(float(np.abs(point.s).min()))
    per_sample = np.array(model.per_sample if model.shared.data else 0.0)
    # One equivalent for each window; curves that share the window share it.
    return [
        (TwoPoint._make([*(field[row] for field in pair[:4]), per_sample]), product[row])
        for pair, product in two_point_along(point, point, nodes, model.shared, model.ridge)
    ]


def _invert_two(times: SortedTimes, halves: list[ComplexArray]) -> FloatArray:
    """Values at the times of the inverse, at equal times, of the two halves (pair, frequency, frequency)."""
    values = np.empty(times.phase.size)
    for pair, end in enumerate(times.end):
        at = times.pair == pair
        values[at] = laplace.inverse_two(times.phase[at], float(end), *(half[pair] for half in halves))
    return values
