"""Functions that vary on the scale of time itself, from their values at a few times."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from scalingeq.theory.spectrum import FloatArray

#: Chebyshev points in a panel of log(1 + rate time) of at most this width: 1e-9 for powers of time.
POINTS, WIDTH = 16, 1.9


class SmoothTimes:
    """Times at which a loss is evaluated, to be interpolated to any others.

    Parameters
    ----------
    last : float
        Longest time.
    rate : float
        Largest rate at which the function changes near time 0.
    width : float, default 1.9
        Width of a panel in log(1 + rate time), at most: 0.5 follows exponentials down to 1e-14 of where they began.

    Attributes
    ----------
    time : ndarray, shape (point,)
        Ascending times at which the values are needed.

    Examples
    --------
    >>> times = SmoothTimes(1000.0, 1.0)
    >>> loss = times.at(1 / (1 + times.time), np.array([0.0, 3.0, 500.0]))
    >>> times.time.size, bool(np.abs(loss * [1, 4, 501] - 1).max() < 1e-8)
    (64, True)
    """

    def __init__(self, last: float, rate: float, width: float = WIDTH) -> None:
        self.rate = rate
        reach = math.log1p(rate * last)
        self.panels = math.ceil(reach / width)
        self.width = reach / self.panels
        centre = self.width * (np.arange(self.panels)[:, None] + 0.5)
        self.time = np.expm1((centre + self.width / 2 * _chebyshev()[0]).ravel()) / rate

    def at(self, values: FloatArray, time: FloatArray) -> FloatArray:
        """Interpolate values (..., point) to ascending times (time...), whose axes take the place of the last one."""
        series = values.reshape(*values.shape[:-1], self.panels, POINTS) @ _chebyshev()[1]
        place = np.log1p(self.rate * time.ravel()) / self.width
        bounds = [0, *np.searchsorted(place, np.arange(1, self.panels)), place.size]
        panel = np.repeat(np.arange(self.panels), np.diff(bounds))
        shares = _polynomials(2 * (place - panel) - 1)
        found = np.empty((*values.shape[:-1], place.size))
        for number in range(self.panels):
            part = slice(bounds[number], bounds[number + 1])
            found[..., part] = series[..., number, :] @ shares[:, part]
        return found.reshape(*values.shape[:-1], *time.shape)


def _polynomials(x: FloatArray) -> FloatArray:
    """Chebyshev polynomials (degree, place), in half the time of NumPy's, whose degrees are not side by side."""
    values, twice = np.empty((POINTS, x.size)), 2 * x
    values[0], values[1] = 1, x
    for degree in range(2, POINTS):
        np.multiply(twice, values[degree - 1], out=values[degree])
        values[degree] -= values[degree - 2]
    return values


@lru_cache(maxsize=1)
def _chebyshev() -> tuple[FloatArray, FloatArray]:
    """Ascending Chebyshev points, and the matrix that takes values at them to the coefficients of their series."""
    points = -np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
    return points, np.asarray(np.linalg.inv(_polynomials(points)), dtype=np.float64)
