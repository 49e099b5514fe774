"""Averages of noisy, autocorrelated losses of one run, with standard errors.

Bins are logarithmic in the steps since the start, or since the last jump of the learning rate. The noise of a logged
loss is taken as a first-order autoregressive process, whose strength may drift slowly: its variance and correlation come
from the residuals of cubics in log step over half a decade each, its effect on an average is the exact one. What slower
noise adds shows in averages that scatter about a smooth curve by more than that; errors grow to match (Birge ratio).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SAME_RATE = 0.05  # rates within an average differ by no more than this, relative to the largest
WINDOW_DECADES, WINDOW_POINTS = (
    0.5,
    32,
)  # a cubic describes a loss curve over this span; noise shows in this many points
CUBIC = 4  # its coefficients
NEIGHBOURS = 20  # averages over which their scatter is judged


def segments_of(rates: Floats) -> Ints:
    """Number (obs,) of the stretch between jumps of the rates, (obs,) each, that an observation is in.

    Examples
    --------
    >>> segments_of(np.array([[1.0, 0.99, 0.98, 0.1, 0.1]]))
    array([0, 0, 0, 1, 1])
    """
    before, after = rates[:, :-1], rates[:, 1:]
    jump = (np.abs(after - before) > SAME_RATE * np.maximum(np.abs(after), np.abs(before))).any(axis=0)
    return np.append(0, np.cumsum(jump))


def log_position(step: Floats, segment: Ints) -> Floats:
    """Decimal logarithm (obs,) of the steps since the start or the last jump; -inf at step 0.

    Examples
    --------
    >>> log_position(np.array([0.0, 10.0, 100.0, 110.0]), np.array([0, 0, 0, 1]))
    array([-inf,   1.,   2.,   1.])
    """
    first = np.append(True, np.diff(segment) > 0)
    # A jump happens after the last step before it.
    origin = np.where(segment == 0, 0.0, np.append(0.0, step[:-1])[first][segment])
    with np.errstate(divide="ignore"):
        return np.log10(step - origin)


def bin_starts(position: Floats, segment: Ints, rates: Floats, per_decade: float) -> Ints:
    """First observation (bin,) of each bin.

    A bin ends with a cell of ``1 / per_decade`` in position, with its segment, and where a rate would be further from
    another in the bin than 5 % of the larger: no average crosses a jump of the learning rate. The last observation before
    a jump is a bin of its own.

    Parameters
    ----------
    position : ndarray, shape (obs,)
        As :func:`log_position` gives it, ascending within a segment.
    segment : ndarray of int, shape (obs,)
        As :func:`segments_of` gives it.
    rates : ndarray, shape (rate, obs)
        What must not change within a bin: learning rate, batch size.
    per_decade : float
        Bins in a decade of steps.

    Examples
    --------
    >>> rates = np.array([[1.0, 1.0, 1.0, 1.0, 0.5, 0.5]])
    >>> bin_starts(np.log10([1.0, 10.1, 11.0, 12.0, 13.0, 14.0]), segments_of(rates), rates, per_decade=5)
    array([0, 1, 3, 4])
    """
    # A cell holds its upper end: runs end at round numbers of steps, and their last step is not to be alone.
    cell = np.ceil(np.where(np.isfinite(position), position, -1e6) * per_decade - 1e-9)
    jump = np.diff(segment) != 0
    # The last observation before a jump stays by itself: a schedule that is linear between the averages keeps its edge.
    edge = np.append(jump[1:], False)[: jump.size]
    starts = np.flatnonzero(np.append(True, (np.diff(cell) != 0) | jump | edge))
    high, low = np.maximum.reduceat(rates, starts, axis=1), np.minimum.reduceat(rates, starts, axis=1)
    drifting = (high - low > SAME_RATE * np.maximum(np.abs(high), np.abs(low))).any(axis=0)
    ends = np.append(starts[1:], position.size)
    more = [np.zeros(0, np.int64)]
    for start, end in zip(starts[drifting].tolist(), ends[drifting].tolist(), strict=True):
        while True:
            top = np.maximum.accumulate(rates[:, start:end], axis=1)
            bottom = np.minimum.accumulate(rates[:, start:end], axis=1)
            over = np.flatnonzero((top - bottom > SAME_RATE * np.maximum(np.abs(top), np.abs(bottom))).any(axis=0))
            if over.size == 0:
                break
            start += int(over[0])
            more.append(np.array([start]))
    return np.sort(np.concatenate([starts, *more]))


def bin_averages(values: Floats, starts: Ints) -> Floats:
    """Mean (bin,) of values (obs,) over each bin; NaN where one of them is.

    Examples
    --------
    >>> bin_averages(np.array([1.0, 2.0, 4.0]), np.array([0, 1]))
    array([1., 3.])
    """
    return np.asarray(np.add.reduceat(values, starts) / np.diff(np.append(starts, values.size)))


def standard_errors(position: Floats, segment: Ints, loss: Floats, starts: Ints) -> Floats:
    """Standard error (bin,) of the average loss of each bin, aware of autocorrelation.

    Parameters
    ----------
    position, segment : ndarray, shape (obs,)
        As for :func:`bin_starts`.
    loss : ndarray, shape (obs,)
        Losses of one run, about evenly spaced in steps as far as they are correlated.
    starts : ndarray of int, shape (bin,)
        First observation of each bin.

    Returns
    -------
    ndarray, shape (bin,)
        NaN where the run has too few observations to tell, fewer than 5.

    Notes
    -----
    With autocovariances γ₀ φᵏ the mean of m values has the variance γ₀/m² [m (1+φ)/(1-φ) - 2φ (1-φᵐ)/(1-φ)²]. Residuals
    of a cubic over n points are short of variance and correlation by (4/n) γ₀ (1+φ)/(1-φ), which is given back. A curve
    that a cubic in log step over half a decade does not follow, at the very beginning of a run, makes errors larger.
    """
    position = np.where(np.isfinite(position), position, np.min(position, where=np.isfinite(position), initial=0.0) - 1)
    counts = np.diff(np.append(starts, loss.size))
    variance, phi = _noise(position, segment, loss, starts)
    variance = variance * _variance_of_mean(counts, phi)
    mean, where = bin_averages(loss, starts), bin_averages(position, starts)
    scatter, unit, middle = _third_differences(where, mean, variance, segment[starts])
    if scatter.size >= NEIGHBOURS // 2 and np.isfinite(unit).all():
        ratio = scatter**2 / unit
        sums = np.concatenate([[0.0], np.cumsum(ratio)])
        at = np.searchsorted(middle, np.arange(starts.size))
        half = NEIGHBOURS // 2
        low = np.clip(at - half, 0, max(0, ratio.size - NEIGHBOURS))
        high = np.minimum(low + NEIGHBOURS, ratio.size)
        variance = variance * np.maximum(1.0, (sums[high] - sums[low]) / (high - low))
    return np.sqrt(variance)


def _variance_of_mean(counts: Ints, phi: float) -> Floats:
    """Variance of the mean of so many values of an autoregressive process of unit variance."""
    m = counts.astype(np.float64)
    return np.asarray((m * (1 + phi) / (1 - phi) - 2 * phi * (1 - phi**m) / (1 - phi) ** 2) / m**2)


def _noise(position: Floats, segment: Ints, loss: Floats, starts: Ints) -> tuple[Floats, float]:
    """Variance (bin,) of the noise of one loss in each bin, and the correlation of neighbours."""
    windows = _windows(position, segment)
    if not windows:
        scatter, unit, _ = _third_differences(position, loss, np.ones(loss.size), segment)
        variance = np.mean(scatter**2 / unit) if scatter.size > 1 else np.nan
        return np.full(starts.size, variance), 0.0
    residuals = [_residuals(position[start:end], loss[start:end]) for start, end in windows]
    size = np.array([r.size for r in residuals], np.float64)
    power = np.array([np.mean(r**2) for r in residuals])
    known = power > 0
    products = [np.sum(r[1:] * r[:-1]) / p for r, p in zip(residuals, power, strict=True) if p > 0]
    lag_one = float(np.sum(products) / np.sum(size[known] - 1)) if known.any() else 0.0
    phi = _correlation(lag_one, CUBIC * len(windows) / float(size.sum()))
    lost = np.minimum(CUBIC / size * (1 + phi) / (1 - phi), 0.75)  # beyond, the window is too short to tell
    variance = power / (1 - lost)
    # Bins outside of all windows have too few observations around them: they take the noise of the nearest window.
    centre = np.array([(start + end - 1) / 2 for start, end in windows])
    middle = starts + (np.diff(np.append(starts, loss.size)) - 1) / 2
    inside = np.searchsorted([end for _, end in windows], middle, side="right").clip(0, len(windows) - 1)
    begins = np.array([start for start, _ in windows])
    nearest = np.abs(middle[:, None] - centre).argmin(axis=1) if len(windows) < 500 else inside
    chosen = np.where(middle >= begins[inside], inside, nearest)
    return variance[chosen], phi


def _windows(position: Floats, segment: Ints) -> list[tuple[int, int]]:
    """Stretches of observations that are long enough to tell noise from a cubic in position."""
    windows = []
    bounds = [*np.flatnonzero(np.append(True, np.diff(segment) > 0)).tolist(), position.size]
    for begin, end in pairwise(bounds):
        start, mine = begin, []
        while end - start >= WINDOW_POINTS:
            stop = start + int(np.searchsorted(position[start:end], position[start] + WINDOW_DECADES))
            stop = max(stop, start + WINDOW_POINTS)
            stop = end if end - stop < WINDOW_POINTS else stop
            mine.append((start, stop))
            start = stop
        windows += mine
    return windows


def _residuals(position: Floats, loss: Floats) -> Floats:
    """Residuals of a cubic."""
    basis = np.vander(2 * (position - position[0]) / max(np.ptp(position), 1e-300) - 1, CUBIC)
    return np.asarray(loss - basis @ np.linalg.lstsq(basis, loss, rcond=None)[0])


def _correlation(lag_one: float, lost: float) -> float:
    """Correlation φ of neighbours from that of residuals, which lack ``lost`` γ₀ (1+φ)/(1-φ) in both moments.

    With u = 1-φ: u² - (1-lag_one)(1+lost) u + 2 lost (1-lag_one) = 0.
    """
    rest = 1 - lag_one
    half = rest * (1 + lost) / 2
    u = half + np.sqrt(max(half**2 - 2 * lost * rest, 0.0))
    return float(np.clip(1 - u, 0.0, 0.999))


def _third_differences(x: Floats, y: Floats, variance: Floats, segment: Ints) -> tuple[Floats, Floats, Ints]:
    """Third divided differences of four neighbours in a segment, their variance, and the second of the four."""
    if x.size < CUBIC:
        return np.zeros(0), np.zeros(0), np.zeros(0, np.int64)
    first = np.flatnonzero(segment[3:] == segment[:-3])
    index = first[:, None] + np.arange(CUBIC)
    points = x[index]
    apart = points[:, :, None] - points[:, None, :] + np.eye(CUBIC)
    weight = 1 / apart.prod(axis=2)
    return (weight * y[index]).sum(axis=1), (weight**2 * variance[index]).sum(axis=1), first + 1
