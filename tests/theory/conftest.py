"""Exact reference losses, and the two ways through the innermost loops."""

import numpy as np
import pytest

from scalingeq.theory import compiled


def _exact_one_pass(
    steps,
    eigenvalues,
    target_power,
    *,
    learning_rate,
    batch_size,
    momentum=0.0,
    ridge=0.0,
    noise_variance=0.0,
    test_eigenvalues=None,
):
    """Expected test loss (step,) of one-pass SGD at infinite width on Gaussian inputs, by recursion of second moments.

    ``learning_rate`` and ``batch_size`` are numbers or have one value for every step. With Sigma the covariance, w the
    target's weights and Delta = w - v, the gradient g on a minibatch of B samples has, as E[x x' M x x'] =
    Sigma Tr[Sigma M] + 2 Sigma M Sigma,

        E[g] = -Sigma Delta,    E[g g'] = Sigma Delta Delta' Sigma + (Sigma Delta Delta' Sigma + Sigma L) / B,

    L = Delta' Sigma Delta + noise_variance. Each mode k then has a closed recursion for the second moments of
    (Delta_n, Delta_{n-1}, w), here times sqrt(lambda_k), and only L couples it to the others.
    """
    steps, eigenvalues = np.asarray(steps), np.asarray(eigenvalues, dtype=float)
    last = steps.max()
    rates, batches = (
        np.broadcast_to(value, last) if np.ndim(value) == 0 else np.asarray(value)[:last]
        for value in (learning_rate, batch_size)
    )
    shift = np.ones_like(eigenvalues) if test_eigenvalues is None else np.asarray(test_eigenvalues) / eigenvalues
    moments = np.tile(np.asarray(target_power, dtype=float)[:, None, None], (1, 3, 3))
    update = np.zeros_like(moments)
    update[:, 1, 0] = update[:, 2, 2] = 1.0
    update[:, 0, 1] = -momentum
    losses = [shift @ moments[:, 0, 0]]
    for rate, batch in zip(rates, batches, strict=True):
        power = moments[:, 0, 0]
        noise = (rate * eigenvalues) ** 2 / batch * (power + power.sum() + noise_variance)
        update[:, 0, 0] = 1 + momentum - rate * (eigenvalues + ridge)
        update[:, 0, 2] = rate * ridge
        moments = update @ moments @ update.swapaxes(1, 2)
        moments[:, 0, 0] += noise
        losses.append(shift @ moments[:, 0, 0])
    return np.array(losses)[steps] + noise_variance


@pytest.fixture(scope="session")
def exact_one_pass():
    """The function that computes exact losses of one-pass SGD: see above."""
    return _exact_one_pass


@pytest.fixture(params=["numpy", "compiled"])
def loops(request, monkeypatch):
    """The innermost loops in NumPy, and compiled."""
    if request.param == "compiled":
        pytest.importorskip("numba", reason="compiled loops need the extra [fast]")
        monkeypatch.delenv("SCALINGEQ_COMPILED", raising=False)
    else:
        monkeypatch.setenv("SCALINGEQ_COMPILED", "0")
    compiled.loops.cache_clear()
    yield request.param
    compiled.loops.cache_clear()
