"""Derivatives of the solution of the Volterra equation under a schedule.

The derivative of ``L = F + K * (g L)`` solves the same equation with another right-hand side, ``dF + dK * (g L) +
K * (dg L)``, so that all derivatives march together through the panels that the losses marched through.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scalingeq.theory.collocation import diagonal
from scalingeq.theory.compiled import loops
from scalingeq.theory.spectrum import ComplexArray, FloatArray


class Change(NamedTuple):
    """Derivatives of what `scalingeq.theory.collocation.march` takes, one for each parameter.

    Attributes
    ----------
    forcing : ndarray, shape (parameter, problem, case, panel, stage)
        Of the train forcing at the nodes.
    train, test : ndarray of complex, shape (parameter, problem, mode)
        Of the kernels' weights.
    length, noise : ndarray, shape (parameter, panel) and (parameter, panel, stage)
        Of the panels.
    """

    forcing: FloatArray
    train: ComplexArray
    test: ComplexArray | None
    length: FloatArray
    noise: FloatArray


def march_tangents(
    length: FloatArray,
    noise: FloatArray,
    exponent: ComplexArray,
    loss: FloatArray,
    train: ComplexArray,
    test: ComplexArray | None,
    change: Change,
) -> tuple[FloatArray, FloatArray]:
    """Derivatives of what `scalingeq.theory.collocation.march` gives.

    Parameters
    ----------
    length, noise, exponent, train, test
        As there.
    loss : ndarray, shape (problem, case, panel, stage)
        Train loss at the nodes.
    change : Change
        Derivatives of the arguments.

    Returns
    -------
    train_loss, test_noise : ndarray, shape (parameter, problem, case, panel, stage)
        Derivatives of the train loss at the nodes, and of what the noise adds to the test loss there.
    """
    stages = noise.shape[1]
    method = diagonal(stages)
    moved, added = np.empty_like(change.forcing), np.zeros_like(change.forcing)
    kernels = [(train, change.train)]
    if test is not None and change.test is not None:
        kernels.append((test, change.test))
    compiled = loops()
    if compiled is not None:
        values, changes = (np.stack(part) for part in zip(*kernels, strict=True))
        compiled.march_tangents(
            length, noise, exponent, np.ascontiguousarray(loss), values, change.forcing, changes, change.length,
            change.noise, *method, moved, added,
        )  # fmt: skip
        return moved, moved - change.forcing if test is None else added
    state = np.zeros((*loss.shape[:2], exponent.size), dtype=np.complex128)
    tangent = np.zeros((*change.forcing.shape[:3], exponent.size), dtype=np.complex128)
    left, push = method.left.T, method.push.T
    end, one = method.left[-1], np.eye(stages)
    # Parameters that stretch the panels also change what the panels do to the modes.
    stretches = change.length.any()
    for at, span in enumerate(length):
        middle = 1 / (1 - span * method.root[:, None] * exponent)
        slope = method.root[:, None] * exponent * middle**2
        injected = loss[:, :, at] * noise[at]
        pushed = injected @ push
        by_noise = loss[:, :, at] * change.noise[:, None, None, at]
        stretch = change.length[:, None, None, None, at]
        for number, (weight, weight_change) in enumerate(kernels):
            response = ((method.left * (weight @ middle.T)[:, None, :]) @ method.push).real.swapaxes(-1, -2)
            old = ((tangent * weight[:, None]) @ middle.T) * method.start
            old += ((state * weight_change[:, :, None]) @ middle.T) * method.start
            old += (weight_change @ middle.T)[:, :, None] * pushed
            if stretches:
                through = ((state * weight[:, None]) @ slope.T) * method.start + (weight @ slope.T)[:, None] * pushed
                old = old + stretch * through
            memory = (old @ left).real
            if number == 0:
                answer = np.linalg.inv(one - response * noise[at, :, None])
                moved[:, :, :, at] = (change.forcing[:, :, :, at] + memory + by_noise @ response) @ answer
                new = moved[:, :, :, at] * noise[at] + by_noise
            else:
                added[:, :, :, at] = memory + new @ response
        tangent = tangent * ((end * method.start) @ middle) + (end * (new @ push)) @ middle
        if stretches:
            tangent += stretch * (state * ((end * method.start) @ slope) + (end * pushed) @ slope)
        state = state * ((end * method.start) @ middle) + (end * pushed) @ middle
    return moved, moved - change.forcing if test is None else added
