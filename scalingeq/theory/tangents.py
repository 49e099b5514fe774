"""Derivatives of the solution of the Volterra equation under a schedule.

The derivative of ``L = F + K * (g L)`` solves the same equation with another right-hand side, ``dF + dK * (g L) +
K * (dg L)``, so that all derivatives march together through the panels that the losses marched through.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scalingeq.theory.collocation import CHUNK, combined, rational, real_product, responses_of
from scalingeq.theory.compiled import loops
from scalingeq.theory.curves import IntArray
from scalingeq.theory.spectrum import ComplexArray, FloatArray


class Change(NamedTuple):
    """Derivatives of what `scalingeq.theory.collocation.march` takes, one for each parameter.

    Attributes
    ----------
    forcing : ndarray, shape (problem, parameter, panel, stage)
        Of the train forcing at the nodes.
    train, test : ndarray of complex, shape (problem, parameter, mode)
        Of the kernels' weights.
    length, noise : ndarray, shape (schedule, parameter, panel) and (schedule, parameter, panel, stage)
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
    follows: IntArray,
    change: Change,
) -> tuple[FloatArray, FloatArray]:
    """Derivatives of what `scalingeq.theory.collocation.march` gives.

    Parameters
    ----------
    length, noise, exponent, train, test, follows
        As there.
    loss : ndarray, shape (problem, panel, stage)
        Train loss at the nodes, of one case.
    change : Change
        Derivatives of the arguments.

    Returns
    -------
    train_loss, test_noise : ndarray, shape (problem, parameter, panel, stage)
        Derivatives of the train loss at the nodes, and of what the noise adds to the test loss there.
    """
    stages = noise.shape[2]
    method = rational(stages)
    moved, added = np.zeros_like(change.forcing), np.zeros_like(change.forcing)
    kernels = [(train, change.train)]
    if test is not None and change.test is not None:
        kernels.append((test, change.test))
    compiled = loops()
    if compiled is not None:
        values, changes = (np.stack(part) for part in zip(*kernels, strict=True))
        compiled.march_tangents(
            length, noise, exponent, np.ascontiguousarray(loss), values, follows, change.forcing, changes,
            change.length, change.noise, *method, moved, added,
        )  # fmt: skip
        return moved, moved - change.forcing if test is None else added
    state = np.zeros((len(loss), 1, exponent.size), dtype=np.complex128)
    tangent = np.zeros((*change.forcing.shape[:2], exponent.size), dtype=np.complex128)
    felt = noise[follows].swapaxes(0, 1)[:, :, None]
    # What a panel's noise counts for in each function: (problem, panel, stage, basis).
    pushed_all = np.tensordot(loss * noise[follows], method.push, axes=(2, 2))
    step = max(1, CHUNK // (stages * state.size))
    for at in range(length.shape[1]):
        own = at % step
        if own == 0:
            x = length[follows, at : at + step].T[..., None] * exponent
            # The functions of the method, and how they change as the panel gets longer.
            bases, slopes = method.of(x), exponent * method.slope(x)
            weighted = [(weight[:, None] * bases, weight[:, None] * slopes) for weight, _ in kernels]
            responses = [responses_of(values, method).swapaxes(-1, -2) for values, _ in weighted]
            answers = np.linalg.inv(np.eye(stages) - responses[0] * felt[at : at + step].swapaxes(-1, -2))
        basis, slope, pushed = bases[own], slopes[own], pushed_all[:, at]
        stretch = change.length[follows, :, at, None]
        by_noise = loss[:, None, at] * change.noise[follows, :, at]
        for number, (_, weight_change) in enumerate(kernels):
            values, value_slopes = (part[own] for part in weighted[number])
            response = responses[number][own]
            old = real_product(tangent, values) + real_product(weight_change, state * basis)
            old += stretch * real_product(state, value_slopes)
            direct = real_product(weight_change, basis) + stretch * value_slopes.real.sum(axis=-1)[:, None]
            memory = old @ method.start.T + direct @ pushed.swapaxes(-1, -2)
            if number == 0:
                moved[:, :, at] = (change.forcing[:, :, at] + memory + by_noise @ response) @ answers[own]
                new = moved[:, :, at] * felt[at] + by_noise
            else:
                added[:, :, at] = memory + new @ response
        decay, kicked = (method.start[-1] @ basis)[:, None], pushed[:, -1:]
        drift = (method.start[-1] @ slope)[:, None] * state + combined(kicked, slope)
        tangent = tangent * decay + combined(new @ method.push[-1].T, basis) + stretch * drift
        state = state * decay + combined(kicked, basis)
    return moved, moved - change.forcing if test is None else added
