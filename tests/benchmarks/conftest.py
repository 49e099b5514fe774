"""The yardstick of the benchmarks, measured in the same run as what it measures."""

import statistics
import time

import numpy as np
import pytest

#: A benchmark that misses its target is reported to do so; one that takes this many times as long fails.
GUARD = 3


def measure_unit(repeats: int = 41) -> float:
    """Median seconds of the least arithmetic that one loss curve needs: the sums over its resolvents.

    A curve of 200 times over seven decades takes some 140 complex frequencies times 170 spectral nodes; at each one
    reciprocal, and two sums each of it and of its square.
    """
    rng = np.random.default_rng(0)
    kappa = rng.random((140, 1)) + 1j * rng.random((140, 1))
    eigenvalue = np.geomspace(1, 1e-13, 170)
    weights = np.column_stack([eigenvalue, eigenvalue**1.5]).astype(complex)

    def seconds() -> float:
        start = time.process_time()
        resolvent = 1 / (kappa + eigenvalue)
        resolvent @ weights
        (resolvent * resolvent) @ weights
        return time.process_time() - start

    return statistics.median(seconds() for _ in range(repeats))


@pytest.fixture
def guard() -> float:
    return GUARD


@pytest.fixture
def unit() -> float:
    return measure_unit()
