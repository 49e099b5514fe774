"""Losses that are asked for as arrays: their check, and one row for each curve."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalingeq.errors import ParameterError, raise_problems
from scalingeq.theory.equivalents import ends_of, size_problems
from scalingeq.theory.spectrum import FloatArray

IntArray: TypeAlias = NDArray[np.int64]
Kind: TypeAlias = Literal["test", "train"]


class Curves(NamedTuple):
    """Curves with their times.

    Attributes
    ----------
    grid : ndarray, shape (grid, time)
        Distinct rows of times.
    which : ndarray of int, shape (curve,)
        Row of each curve.
    noise_rate, per_width, per_sample, noise_variance : ndarray, shape (curve,)
        Arguments of each curve.
    shape : tuple of int
        Shape of the losses that were asked for.
    """

    grid: FloatArray
    which: IntArray
    noise_rate: FloatArray
    per_width: FloatArray
    per_sample: FloatArray
    noise_variance: FloatArray
    shape: tuple[int, ...]

    @property
    def time(self) -> FloatArray:
        """Times (curve, time)."""
        return self.grid[self.which]

    @property
    def problems(self) -> tuple[IntArray, FloatArray]:
        """Number (curve,) of the pair of width and samples, which alone decide the equivalents, and the pairs (pair, 2).

        They are one over width and samples.
        """
        numbers: dict[tuple[float, float], int] = {}
        pairs = zip(self.per_width.tolist(), self.per_sample.tolist(), strict=True)
        number = [numbers.setdefault(pair, len(numbers)) for pair in pairs]
        return np.array(number, dtype=np.int64), np.array(list(numbers)).reshape(-1, 2)

    @property
    def problem(self) -> IntArray:
        """Number (curve,) of the pair of width and samples."""
        return self.problems[0]

    def select(self, chosen: NDArray[np.bool_] | IntArray) -> Curves:
        """Some of the curves, by a mask or by their numbers."""
        used, which = np.unique(self.which[chosen], return_inverse=True)
        return Curves(
            self.grid[used], which.reshape(-1), self.noise_rate[chosen], self.per_width[chosen],
            self.per_sample[chosen], self.noise_variance[chosen], self.shape,
        )  # fmt: skip


def broadcast(
    named_time: dict[str, ArrayLike],
    noise_rate: ArrayLike,
    width: ArrayLike,
    samples: ArrayLike,
    noise_variance: ArrayLike,
    kind: str,
    problems: list[str],
) -> Curves:
    """Check the arguments of curves, all at once with the ``problems`` found before, and give each curve its row."""
    ((time_name, time),) = named_time.items()
    times = np.asarray(time, dtype=np.float64)
    per_curve = {"noise_rate": noise_rate, "width": width, "samples": samples, "noise_variance": noise_variance}
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in per_curve.items()}
    problems = problems + size_problems({name: arrays[name] for name in ("width", "samples")})
    # The two ends tell most of the time that nothing is wrong; what compares false with all is not a number.
    for name, value in ((time_name, times), *((name, arrays[name]) for name in ("noise_rate", "noise_variance"))):
        smallest, largest = ends_of(value)
        if not (smallest >= 0 and largest < math.inf):
            bad = ~((value >= 0) & (value < math.inf))
            problems.append(f"{name} contains {float(value[bad].flat[0])!r}: pass finite numbers, none negative")
    if times.ndim == 0:
        problems = [
            *problems,
            f"{time_name} is the single number {time!r}: pass an array, its last axis the {time_name}",
        ]
    if kind not in ("test", "train"):
        problems = [*problems, f"kind is {kind!r}: pass 'test' or 'train'"]
    raise_problems(problems, ParameterError)
    try:
        leading = np.broadcast(np.empty(times.shape[:-1]), *arrays.values()).shape
    except ValueError as error:
        shapes = ", ".join(f"{name} {value.shape}" for name, value in arrays.items())
        raise ParameterError(
            f"{time_name} has shape {times.shape}, the others {shapes}: all must broadcast without its last axis"
        ) from error
    shape = (*leading, times.shape[-1])
    rows = np.empty((4, *leading))
    for number, value in enumerate(arrays.values()):
        rows[number] = value
    rate, widths, counts, variance = rows.reshape(4, -1)
    grid = times.reshape(math.prod(times.shape[:-1]), times.shape[-1])
    which = np.zeros(rate.size, dtype=np.int64)
    if len(grid) > 1:
        which = np.full(leading, np.arange(len(grid)).reshape(times.shape[:-1])).ravel()
        # Rows of times that are alike are one.
        numbers: dict[bytes, int] = {}
        alike = np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in grid])
        grid, which = grid[np.unique(alike, return_index=True)[1]], alike[which]
    return Curves(grid, which, rate, 1 / widths, 1 / counts, variance, shape)


def size_of(one_over: float) -> float:
    """Size from one over it."""
    return 1 / float(one_over) if one_over else math.inf
