"""The Volterra equation of SGD noise under a schedule, by collocation on panels of steps.

With kernels that are sums of exponentials the integrals over all earlier noise become one amplitude a mode,
``dz/dt = rate z + noise_rate L_train``, so that the cost grows with the number of panels alone. On each panel the
implicit Runge-Kutta method of Radau (Hairer & Wanner, Solving ODEs II, section IV.5) is exact in the stiff limit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from scalingeq.theory.spectrum import ComplexArray, FloatArray

#: Stages of the Radau method; its order is 2 STAGES - 1.
STAGES = 7
#: Elements of the arrays (panel, stage, mode) that are held at once.
CHUNK = 1_000_000


@lru_cache(maxsize=4)
def radau(stages: int) -> tuple[FloatArray, FloatArray]:
    """Nodes (stage,) of the Radau IIA method on (0, 1] and its matrix (stage, stage).

    Examples
    --------
    >>> nodes, matrix = radau(2)
    >>> nodes.round(6), matrix.sum(axis=1).round(6)
    (array([0.333333, 1.      ]), array([0.333333, 1.      ]))
    """
    from numpy.polynomial import legendre

    series = np.zeros(stages + 1)
    series[-2:] = -1, 1
    nodes = (np.sort(legendre.legroots(series).real) + 1) / 2
    nodes[-1] = 1.0
    # The integral of the Legendre polynomial k from the left end is (P[k+1] - P[k-1]) / (2 (2 k + 1)).
    values = legendre.legvander(2 * nodes - 1, stages)
    degree = np.arange(1, stages)
    integrals = np.column_stack([nodes, (values[:, 2:] - values[:, :-2]) / (2 * (2 * degree + 1))])
    return nodes, np.asarray(np.linalg.solve(values[:, :-1].T, integrals.T).T, dtype=np.float64)


@lru_cache(maxsize=4)
def _barycentric(stages: int) -> tuple[FloatArray, FloatArray]:
    """Left end and nodes of a panel, and the barycentric weights of the polynomial through them."""
    nodes = np.append(0.0, radau(stages)[0])
    return nodes, np.array([1 / np.prod(node - np.delete(nodes, i)) for i, node in enumerate(nodes)])


@lru_cache(maxsize=4)
def interpolation(stages: int) -> tuple[FloatArray, FloatArray]:
    """Points between the nodes, and the matrix that takes values at the left end and the nodes to these points."""
    nodes, weight = _barycentric(stages)
    between = (nodes[1:] + nodes[:-1]) / 2
    matrix = weight / (between[:, None] - nodes)
    return between, matrix / matrix.sum(axis=1, keepdims=True)


class Panels(NamedTuple):
    """Panels of steps with the schedule at their nodes.

    Attributes
    ----------
    first, last : ndarray, shape (panel,)
        Steps between which each panel lies.
    time : ndarray, shape (panel, stage)
        Intrinsic time at the nodes.
    rate, noise : ndarray, shape (panel, stage)
        Learning rate, and learning rate times noise rate, at the nodes, times the length of the panel.
    """

    first: FloatArray
    last: FloatArray
    time: FloatArray
    rate: FloatArray
    noise: FloatArray


def march(
    panels: Panels, exponent: ComplexArray, forcing: FloatArray, train: ComplexArray, test: ComplexArray | None
) -> tuple[FloatArray, FloatArray]:
    """Solve the Volterra equation of the train loss, and take its noise to the train and the test loss.

    Parameters
    ----------
    panels : Panels
        Panels of steps.
    exponent : ndarray of complex, shape (mode,)
        Rates at which the modes grow with intrinsic time (their real parts are negative, or small).
    forcing : ndarray, shape (problem, case, panel, stage)
        Train forcing at the nodes; the cases of one problem share their kernels.
    train, test : ndarray of complex, shape (problem, mode)
        Weights of the modes in the kernels, ``K(t) = Re sum(weight * exp(exponent * t))``; no ``test`` kernel where it
        is that of the train loss.

    Returns
    -------
    train_noise, test_noise : ndarray, shape (problem, case, panel, stage)
        What the noise adds to the losses at the nodes.

    Notes
    -----
    The noise of SGD of arXiv:2502.05074: ``L = F + int K(t - u) noise_rate L_train(u) du``, for each of the losses.
    """
    count, stages = panels.rate.shape
    noise = np.zeros((2, *forcing.shape))
    state = np.zeros((*forcing.shape[:2], exponent.size), dtype=np.complex128)
    step = max(1, CHUNK // (stages * exponent.size))
    for begin in range(0, count, step):
        part = slice(begin, begin + step)
        decay, inject, local = _propagators(panels.rate[part], exponent)
        # Real parts of sums over the upper half of the contour; the matrices themselves are real.
        feedback = np.einsum("ais,pas,asm->paim", local.left, _weighed(local.middle, train), local.right).real
        answer = np.linalg.inv(np.eye(stages) - feedback * panels.noise[part, None, :])
        passed = (
            None
            if test is None
            else np.einsum("ais,pas,asm->paim", local.left, _weighed(local.middle, test), local.right).real
        )
        for panel in range(decay.shape[0]):
            at = begin + panel
            memory = ((state * train[:, None]) @ decay[panel].T).real
            loss = (forcing[:, :, at] + memory) @ answer[:, panel].swapaxes(-1, -2)
            injected = loss * panels.noise[at]
            noise[0, :, :, at] = loss - forcing[:, :, at]
            if test is not None and passed is not None:
                noise[1, :, :, at] = ((state * test[:, None]) @ decay[panel].T).real
                noise[1, :, :, at] += injected @ passed[:, panel].swapaxes(-1, -2)
            state = state * decay[panel, -1] + injected @ inject[panel].T
    return noise[0], noise[0] if test is None else noise[1]


class _Local(NamedTuple):
    """The resolvent of a panel's Runge-Kutta matrix, diagonalised: ``left @ diag(middle) @ right`` for each mode."""

    left: ComplexArray
    middle: ComplexArray
    right: ComplexArray


def _propagators(rate: FloatArray, exponent: ComplexArray) -> tuple[ComplexArray, ComplexArray, _Local]:
    """What a panel does to modes: ``decay`` (panel, stage, mode) of old amplitudes, ``inject`` (panel, mode, stage)."""
    matrix = radau(rate.shape[1])[1]
    root, left = np.linalg.eig(matrix * rate[:, None, :])
    right = np.linalg.inv(left)
    middle = 1 / (1 - root[:, :, None] * exponent)
    local = _Local(left, middle, np.asarray(right @ matrix, dtype=np.complex128))
    decay = left @ (right.sum(axis=2)[:, :, None] * middle)
    inject = (middle * left[:, -1, :, None]).swapaxes(1, 2) @ local.right
    return decay, inject, local


def _weighed(middle: ComplexArray, weight: ComplexArray) -> ComplexArray:
    """Sum over modes (problem, panel, root) of ``middle`` (panel, root, mode) with weights (problem, mode)."""
    return np.asarray(np.einsum("asj,pj->pas", middle, weight, optimize=True))


def at_steps(panels: Panels, start: FloatArray, values: FloatArray, step: FloatArray) -> FloatArray:
    """Interpolate values (..., panel, stage), which begin at ``start`` (...), to ascending steps (step,)."""
    nodes, weight = _barycentric(values.shape[-1])
    ends = np.concatenate([start[..., None], values[..., :-1, -1]], axis=-1)
    full = np.concatenate([ends[..., None], values], axis=-1)
    panel = np.clip(np.searchsorted(panels.last, step), 0, panels.last.size - 1)
    place = (step - panels.first[panel]) / (panels.last - panels.first)[panel]
    gap = place[:, None] - nodes
    at, node = np.nonzero(gap == 0)
    gap[at, node] = 1.0
    share = weight / gap
    share[at] = 0.0
    share[at, node] = 1.0
    share /= share.sum(axis=1, keepdims=True)
    # All steps of a panel together are one product of matrices; contiguous ones are cheaper than gathered ones.
    counts = np.bincount(panel, minlength=panels.last.size)
    spread = np.repeat(full.reshape(-1, *full.shape[-2:]), counts, axis=1)
    return np.asarray(np.einsum("sn,ksn->ks", share, spread).reshape(*full.shape[:-2], step.size))
