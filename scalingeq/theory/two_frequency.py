"""Functions of time that need two frequencies: the test loss of gradient flow, and the kernel of its noise."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from scalingeq.theory import laplace
from scalingeq.theory.equivalents import (
    ONE_MODEL,
    OnePoint,
    Shared,
    TwoPoint,
    forcing_from,
    kernel_from,
    two_point_of_pairs,
)
from scalingeq.theory.shift import ShiftedNodes, shifted_nodes
from scalingeq.theory.spectrum import AnySpectrum, ComplexArray, FloatArray, Nodes
from scalingeq.theory.volterra import Exponentials, pseudo_inverse
from scalingeq.theory.windows import (
    SortedTimes,
    equivalents,
    invert_one_of_pairs,
    invert_pairs,
    real_pair_weights,
    sort_times,
    take,
)

#: Rates to the decade in the sum of exponentials that stands for a test kernel.
RATES_PER_DECADE = 12
#: The slowest rate, in units of one over the last time, and the fastest, in units of the largest eigenvalue: four times as
#: fast as any in the kernel, whose start would be the least exact else.
KERNEL_RATES = 0.3, 8.0
#: One over the first time at which the kernel is taken, in units of the fastest rate.
KERNEL_START = 30.0
#: Power of one over the time that errors of that sum are measured in.
KERNEL_POWER = 1.5


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
    start = (model.test_power + noise_variance)[:, None]
    if not time.any():
        return np.repeat(start, time.shape[1], axis=1)
    times = sort_times(time)
    layout = times.curves(np.arange(len(time)))
    point, pair = _two_points(times, model)
    noise = noise_variance[layout.curve, None]
    # The windows of the rows are those of the curves, in the same order.
    transform = forcing_from(pair, noise) / product_of_pairs(point, model.ridge)
    loss = invert_pairs(times, layout, lambda items: transform[None, items], time.shape[1])[0]
    return np.where(time == 0, start, loss)


def flow_test_kernel(time: FloatArray, model: Model) -> FloatArray:
    """Kernel of the test loss at positive times (time,), without the decay of the ridge."""
    times = sort_times(time[None])
    _, pair = _two_points(times, model._replace(ridge=0.0))
    return invert_one_of_pairs(times, kernel_from(pair), time.size)


def kernel_terms(last: float, edge: float, model: Model) -> Exponentials:
    """Kernel of the test loss as a sum of exponentials, for times up to ``last``, without the decay of the ridge.

    ``edge`` is at least the largest eigenvalue of the random covariance; it and ``last`` alone decide the rates.
    """
    grids = kernel_grids(last, edge)
    return Exponentials(grids.rate, grids.amplitudes(flow_test_kernel(grids.time, model)))


class KernelGrids(NamedTuple):
    """Grids of a sum of exponentials. The times are at the same phases of all windows.

    Attributes
    ----------
    end : ndarray, shape (window,)
        Ends of the windows, the last first.
    phase : ndarray, shape (phase,)
        Times, in units of the end of their window.
    weights : ndarray, shape (phase, part)
        Weights, as `scalingeq.theory.windows.real_pair_weights` gives them, of a window that ends at 1.
    rate : ndarray, shape (term,)
        Rates of the exponentials.
    inverse : two ndarray, shape (term, rank) and (rank, window * phase)
        What turns the kernel at the times into the amplitudes.
    """

    end: FloatArray
    phase: FloatArray
    weights: FloatArray
    rate: FloatArray
    inverse: tuple[FloatArray, FloatArray]

    @property
    def time(self) -> FloatArray:
        """Times (window * phase,) at which the kernel is taken."""
        return np.multiply.outer(self.end, self.phase).ravel()

    def amplitudes(self, values: FloatArray) -> FloatArray:
        """Amplitudes (..., term) of kernels with ``values`` (..., window * phase)."""
        left, right = self.inverse
        return (values @ right.T) @ left.T


def kernel_grids(last: float, edge: float) -> KernelGrids:
    """Grids for times up to ``last`` and eigenvalues up to ``edge``, which few grids, scaled by ``last``, serve."""
    decades = math.log10(max(KERNEL_RATES[1] * edge * last / KERNEL_RATES[0], 10.0))
    scaled = _kernel_grids(math.ceil(decades * RATES_PER_DECADE))
    return scaled._replace(end=last * scaled.end, rate=scaled.rate / last)


@lru_cache(maxsize=64)
def _kernel_grids(steps: int) -> KernelGrids:
    """Those of times up to 1, with so many steps from the slowest to the fastest rate."""
    rate = KERNEL_RATES[0] * 10 ** (np.arange(steps + 1) / RATES_PER_DECADE)
    end = laplace.WINDOW ** -np.arange(math.ceil(math.log10(KERNEL_START * rate[-1])), dtype=np.float64)
    phase = 10 ** (-np.arange(2 * RATES_PER_DECADE) / (2 * RATES_PER_DECADE))
    time = np.multiply.outer(end, phase).ravel()
    # Kernels fall about like this power of the time.
    inverse = pseudo_inverse(time, (time + KERNEL_RATES[1] / 2 / rate[-1]) ** -KERNEL_POWER, rate)
    return KernelGrids(end, phase, real_pair_weights(laplace.propagate(phase)), rate, inverse)


def product_of_pairs(point: OnePoint, ridge: float = 0.0) -> ComplexArray:
    """``s s'`` (row, pair) at the pairs of frequencies of ``point`` (row, frequency)."""
    left, right = laplace.at_pairs(point.s - ridge)
    return np.asarray(left * right)


def _two_points(times: SortedTimes, model: Model) -> tuple[OnePoint, TwoPoint]:
    """Equivalents (window, frequency) at the frequencies of each window, and those of its pairs (window, pair)."""
    sizes = np.ones(times.end.size)
    point, row, _ = equivalents(
        times.end, sizes * model.per_width, sizes * model.per_sample, model.spectrum, ridge=model.ridge, polish=True
    )
    shifted = None if model.test_spectrum is None else model.nodes(float(np.abs(point.s).min()))
    pair = two_point_of_pairs(point, shifted, model.shared)
    # One equivalent for each window; curves that share the window share it.
    return take(point, row), TwoPoint._make([*(field[row] for field in pair[:4]), pair.per_sample[row]])
