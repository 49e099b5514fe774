"""Source exponents with and without learnt features."""

import numpy as np
import pytest

from scalingeq import ParameterError
from scalingeq.inference.feature_learning import effective_source, task_source


@pytest.mark.parametrize("source", [0.1, 0.3, 0.45])
def test_a_kernel_that_grows_with_what_it_has_learnt_has_the_exponent(source):
    """Kernel ∝ √∫L: the feedback that makes hard tasks faster, integrated on a grid of its intrinsic time."""
    intrinsic = np.geomspace(1e-2, 1e60, 200_001)
    loss = (1 + intrinsic) ** (-2 * source)
    step = np.diff(intrinsic)
    learnt = np.append(0, np.cumsum(step * (loss[1:] + loss[:-1]) / 2))
    pace = 1 / np.sqrt(1 + learnt)
    time = np.append(1e-2, 1e-2 + np.cumsum(step * (pace[1:] + pace[:-1]) / 2))
    slope = np.diff(np.log(loss[[-10_000, -1]]))[0] / np.diff(np.log(time[[-10_000, -1]]))[0]
    assert -slope == pytest.approx(2 * effective_source(source), rel=1e-2)


def test_there_and_back():
    source = np.array([0.02, 0.2, 0.4999, 0.5, 0.7, 2.0])
    np.testing.assert_allclose(task_source(effective_source(source)), source, rtol=1e-12)
    with pytest.raises(ParameterError, match="not positive"):
        task_source(np.array([0.3, 0.0]))
