"""The Volterra equation of SGD noise under a schedule, by collocation on panels of steps.

With kernels that are sums of exponentials the integrals over all earlier noise become one amplitude a mode,
``dz/dt = rate z + noise_rate L_train``, so that the cost grows with the number of panels alone. On each panel the
implicit Runge-Kutta method of Radau (Hairer & Wanner, Solving ODEs II, section IV.5) is exact in the stiff limit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalingeq.theory.compiled import loops
from scalingeq.theory.curves import IntArray
from scalingeq.theory.spectrum import ComplexArray, FloatArray

#: Stages of the Radau method; its order is 2 STAGES - 1.
STAGES = 7
#: Elements of the arrays (panel, problem, stage, mode) that are held at once.
CHUNK = 10_000


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
def from_integrals(stages: int) -> FloatArray:
    """Matrix (stage, stage) that takes integrals up to the nodes of a panel of length 1 to values at them.

    Examples
    --------
    >>> nodes, _ = radau(3)
    >>> (from_integrals(3) @ nodes**2 / (2 * nodes)).round(6)
    array([1., 1., 1.])
    """
    return np.asarray(np.linalg.inv(radau(stages)[1]), dtype=np.float64)


@lru_cache(maxsize=4)
def interpolation(stages: int) -> tuple[FloatArray, FloatArray]:
    """Places (2 stage + 1,) of the left end, the nodes, and one between each two, and the matrix to what is between.

    The matrix (stage, stage + 1) takes values at the left end and the nodes.
    """
    places = np.zeros(2 * stages + 1)
    places[2::2] = radau(stages)[0]
    places[1::2] = (places[2::2] + places[:-2:2]) / 2
    return places, np.vander(2 * places[1::2] - 1, stages + 1, increasing=True) @ to_powers(stages)


class Rational(NamedTuple):
    """The Radau method as a sum of rational functions of what the panel does to a mode.

    One panel of length h takes a mode with ``dz/dt = exponent z + source`` from z to ``sum_b basis_b(h exponent)
    (start_b z + push_b @ (h source))`` at the nodes, with ``basis_b(x) = 1 / (1 - linear x + square x**2)``, or x times
    that. All coefficients are real, which saves half of the work on complex modes.

    Attributes
    ----------
    linear, square : ndarray, shape (basis,)
        Coefficients of the denominators.
    times_x : ndarray of bool, shape (basis,)
        Whether a function is x times the one before.
    start : ndarray, shape (stage, basis)
        What a panel's first amplitude counts for.
    push : ndarray, shape (stage, basis, stage)
        What the source at each node counts for.
    """

    linear: FloatArray
    square: FloatArray
    times_x: NDArray[np.bool_]
    start: FloatArray
    push: FloatArray

    def of(self, x: ComplexArray) -> ComplexArray:
        """Values (..., basis, mode) of the functions at x (..., mode)."""
        x = x[..., None, :]
        linear, square, times_x = (part[:, None] for part in self[:3])
        return np.where(times_x, x, 1.0) / (1 - x * (linear - square * x))

    def slope(self, x: ComplexArray) -> ComplexArray:
        """Derivatives (..., basis, mode) of the functions with respect to x (..., mode)."""
        value, x = self.of(x), x[..., None, :]
        linear, square, times_x = (part[:, None] for part in self[:3])
        over = 1 / (1 - x * (linear - square * x))
        return np.asarray(over * (times_x + value * (linear - 2 * square * x)))


@lru_cache(maxsize=4)
def rational(stages: int) -> Rational:
    """The Radau method as rational functions, from the eigenvalues of its matrix.

    Examples
    --------
    >>> method = rational(3)
    >>> z = method.start @ method.of(np.array([-0.1 + 0j]))  # a mode that decays for a time of 0.1
    >>> print(f"{z[-1, 0].real:.6f}, {np.exp(-0.1):.6f}")
    0.904837, 0.904837
    """
    matrix = radau(stages)[1]
    root, left = np.linalg.eig(matrix.astype(np.complex128))
    right = np.asarray(np.linalg.inv(left), dtype=np.complex128)
    # 1 / (1 - root x) of each eigenvalue, and of its conjugate: sums of both are real.
    factor = np.concatenate([right.sum(axis=1)[:, None], right @ matrix], axis=1)
    both = left[:, :, None] * factor
    linear, square, times_x, columns = [], [], [], []
    for i in np.flatnonzero(root.imag > -1e-12):
        pair = root[i].imag > 1e-12
        parts = [2 * both[:, i], -2 * root[i].conj() * both[:, i]] if pair else [both[:, i]]
        columns += [part.real for part in parts]
        linear += [2 * root[i].real if pair else root[i].real] * len(parts)
        square += [abs(root[i]) ** 2 if pair else 0.0] * len(parts)
        times_x += [False, True][: len(parts)]
    coefficients = np.stack(columns, axis=1)
    return Rational(
        np.array(linear), np.array(square), np.array(times_x), np.ascontiguousarray(coefficients[..., 0]),
        np.ascontiguousarray(coefficients[..., 1:]),
    )  # fmt: skip


def march(
    length: FloatArray,
    noise: FloatArray,
    exponent: ComplexArray,
    forcing: FloatArray,
    train: ComplexArray,
    test: ComplexArray | None,
    follows: IntArray,
) -> tuple[FloatArray, FloatArray]:
    """Solve the Volterra equations of the train loss, and take its noise to the test loss.

    Parameters
    ----------
    length, noise : ndarray, shape (schedule, panel) and (schedule, panel, stage)
        Intrinsic times that the panels last, and noise rates at their nodes times these; panels of no length fill up
        what schedules have fewer of.
    exponent : ndarray of complex, shape (mode,)
        Rates at which the modes grow with intrinsic time (their real parts are negative, or small).
    forcing : ndarray, shape (problem, case, panel, stage)
        Train forcing at the nodes; the cases of one problem share their kernels.
    train, test : ndarray of complex, shape (problem, mode)
        Weights of the modes in the kernels, ``K(t) = Re sum(weight * exp(exponent * t))``; no ``test`` kernel where it
        is that of the train loss.
    follows : ndarray of int, shape (problem,)
        Schedule of each problem, ascending.

    Returns
    -------
    train_loss, test_noise : ndarray, shape (problem, case, panel, stage)
        Train loss at the nodes, and what the noise adds to the test loss there.

    Notes
    -----
    The noise of SGD of arXiv:2502.05074: ``L = F + int K(t - u) noise_rate L_train(u) du``, for each of the losses.
    """
    stages = noise.shape[2]
    method = rational(stages)
    loss, added = np.zeros_like(forcing), np.zeros_like(forcing)
    compiled = loops()
    if compiled is not None:
        none = np.empty((0, exponent.size), dtype=np.complex128)
        compiled.march(
            length, noise, exponent, forcing, train, none if test is None else test, follows, *method, loss, added
        )
        return loss, loss - forcing if test is None else added
    state = np.zeros((*forcing.shape[:2], exponent.size), dtype=np.complex128)
    length, noise = length[follows].T, noise[follows].swapaxes(0, 1)[:, :, None]
    step = max(1, CHUNK // (stages * state[:, 0].size))
    for begin in range(0, len(length), step):
        part = slice(begin, begin + step)
        basis = method.of(length[part, :, None] * exponent)
        kernels = [weight[:, None] * basis for weight in ([train] if test is None else [train, test])]
        responses = [responses_of(kernel, method) for kernel in kernels]
        answer = np.linalg.inv(np.eye(stages) - responses[0] * noise[part]).swapaxes(-1, -2)
        decay = (method.start[-1] @ basis)[:, :, None]
        for panel, kept in enumerate(basis):
            at = begin + panel
            memory = real_product(state, kernels[0][panel]) @ method.start.T
            loss[:, :, at] = (forcing[:, :, at] + memory) @ answer[panel]
            injected = loss[:, :, at] * noise[at]
            if test is not None:
                memory = real_product(state, kernels[1][panel]) @ method.start.T
                added[:, :, at] = memory + injected @ responses[1][panel].swapaxes(-1, -2)
            state = state * decay[panel] + combined(injected @ method.push[-1].T, kept)
    return loss, loss - forcing if test is None else added


def responses_of(kernel: ComplexArray, method: Rational) -> FloatArray:
    """What noise at the nodes adds to the loss within a panel, (..., stage, stage), of weighted functions (..., basis, mode)."""
    sums = kernel.real.sum(axis=-1)
    return np.asarray(np.tensordot(sums, method.push, axes=(-1, 1)))


def real_product(state: ComplexArray, kernel: ComplexArray) -> FloatArray:
    """Real parts (..., row, basis) of the sums of states (..., row, mode) times weighted functions (..., basis, mode)."""
    return np.asarray(state.view(np.float64) @ kernel.conj().view(np.float64).swapaxes(-1, -2))


def combined(factors: FloatArray, basis: ComplexArray) -> ComplexArray:
    """Sums (..., row, mode) of functions (..., basis, mode) with real factors (..., row, basis)."""
    return (factors @ basis.view(np.float64)).view(np.complex128)


def at_times(time: FloatArray, series: FloatArray, asked: FloatArray) -> FloatArray:
    """Evaluate polynomials on panels at ascending times.

    Parameters
    ----------
    time : ndarray, shape (panel, 2)
        Times between which each panel lies.
    series : ndarray, shape (row, panel, power)
        Coefficients of the powers of the place in a panel, from -1 to 1.
    asked : ndarray, shape (time,)
        Ascending times from the first panel's start to the last one's end.

    Returns
    -------
    ndarray, shape (row, time)
        Values at these times.
    """
    compiled = loops()
    if compiled is not None:
        found = np.empty((len(series), asked.size))
        compiled.at_times(time, series, asked, found)
        return found
    bounds = np.searchsorted(asked, time[1:, 0], side="right")
    counts = np.diff(np.concatenate([[0], bounds, [asked.size]]))
    half = np.diff(time)[:, 0] / 2
    place = (asked - np.repeat(time[:, 0] + half, counts)) * np.repeat(1 / half, counts)
    total = np.repeat(series[:, :, -1], counts, axis=1)
    for power in range(series.shape[2] - 2, -1, -1):
        total *= place
        total += np.repeat(series[:, :, power], counts, axis=1)
    return total


@lru_cache(maxsize=4)
def to_powers(stages: int) -> FloatArray:
    """Matrix that takes values at the left end and the nodes of a panel to powers of the place in it, from -1 to 1."""
    places = 2 * np.append(0.0, radau(stages)[0]) - 1
    return np.asarray(np.linalg.inv(np.vander(places, increasing=True)))
