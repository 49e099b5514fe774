"""Losses of discrete steps, with heavy-ball momentum and weight decay, by the filter rule.

A linear algorithm multiplies each mode of the random dynamics by a filter. On a closed contour around the random
spectrum the modes have the complex eigenvalues x = -s, and the algorithm itself is run on each: any schedule, momentum
and ridge, one step after the other. The loss needs second moments: of one mode for the train loss, of pairs of modes
for the test loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalingeq.theory.contour import closed_contour
from scalingeq.theory.curves import Curves, size_of
from scalingeq.theory.equivalents import (
    ONE_MODEL,
    OnePoint,
    Shared,
    forcing_from,
    kernel_from,
    one_point,
    two_point_along,
)
from scalingeq.theory.scheduled import Parts, forcing_weights, kernel_weights
from scalingeq.theory.spectrum import ComplexArray, FloatArray
from scalingeq.theory.stability import largest_eigenvalue
from scalingeq.theory.two_frequency import Model


class Steps(NamedTuple):
    """One value for each optimiser step, and what the steps have in common.

    Attributes
    ----------
    rate, per_batch : ndarray, shape (step,)
        Learning rate, and one over the batch size.
    momentum : float
        Momentum of the heavy ball.
    """

    rate: FloatArray
    per_batch: FloatArray
    momentum: float

    def are_noisy(self, at: NDArray[np.int64]) -> bool:
        """Whether any step up to the last of ``at`` is one of a minibatch."""
        return bool(self.per_batch[: int(at[-1])].any())


def discrete_parts(
    curves: Curves, steps: Steps, model: Model, shared: Sequence[Shared], two_frequencies: bool
) -> Parts:
    """Parts of the losses at the whole steps that stand in the ``time`` of the curves.

    As :func:`scalingeq.theory.scheduled.scheduled_parts`, with discrete steps.

    Notes
    -----
    arXiv:2502.05074 with the filter of the algorithm in the place of ``exp(-x t)``. The noise of minibatches is that of
    Gaussian inputs, with covariance ``(Sigma D D^T Sigma + Sigma L) / B`` for the error D; with finite data the samples
    of a minibatch are drawn with replacement.
    """
    at, where = np.unique(curves.time, return_inverse=True)
    where = where.reshape(curves.time.shape)
    forcing = np.empty((len(shared), 2, *curves.time.shape))
    noise = np.empty((2, *curves.time.shape))
    problem = curves.problem
    for number in range(int(problem.max(initial=-1)) + 1):
        rows = np.flatnonzero(problem == number)
        one = model._replace(per_width=float(curves.per_width[rows[0]]), per_sample=float(curves.per_sample[rows[0]]))
        run = _Pairs(at, steps, one, shared) if two_frequencies else _Singles(at, steps, one)
        forced, added = run.losses(at.astype(np.int64), steps)
        forcing[:, :, rows] = forced[:, :, where[rows]]
        noise[:, rows] = added[:, where[rows]]
    return Parts(forcing, noise)


def _modes(at: FloatArray, steps: Steps, model: Model) -> tuple[OnePoint, ComplexArray]:
    """Equivalents and weights (mode,) on a contour on which the second moments of one problem stay bounded."""
    count = max(int(at[-1]), 1)
    rate, per_batch = steps.rate[:count], float(steps.per_batch[:count].max())
    edge = largest_eigenvalue(model.spectrum, width=size_of(model.per_width), samples=size_of(model.per_sample))
    largest = float(rate.max())
    time = max(float(rate.sum()), largest)
    algorithm = _Filter(steps.momentum, model.ridge)
    distance = 0.5
    contour = closed_contour(time, edge, ridge=model.ridge, rate=largest, momentum=steps.momentum)
    # Minibatches make a mode grow where its filter alone would not: nearer to the spectrum they do not.
    while per_batch and distance > 0.01 and algorithm.growth(largest, per_batch, -contour.s) > math.exp(3 / count):
        distance *= 0.7
        contour = closed_contour(
            time, edge, ridge=model.ridge, rate=largest, momentum=steps.momentum, distance=distance
        )
    return one_point(contour.s, model.spectrum, size_of(model.per_width), size_of(model.per_sample)), contour.weight


class _Filter:
    """One step of the algorithm on the error D of a mode: its state is (D, D before, D at the start).

    The middle one is there with momentum, the last with weight decay, which pulls the weights back to their start.
    """

    def __init__(self, momentum: float, ridge: float) -> None:
        self.momentum, self.ridge = momentum, ridge
        self.size = 1 + (momentum > 0) + (ridge > 0)

    def start(self, modes: int) -> ComplexArray:
        """State (part, mode) before the first step."""
        return np.ones((self.size, modes), dtype=np.complex128)

    def growth(self, rate: float, per_batch: float, eigenvalue: ComplexArray) -> float:
        """Largest factor by which a step multiplies the second moments of any mode, far from the start."""
        size = 1 + (self.momentum > 0)
        unit = np.eye(self.size, dtype=np.complex128)[:size, :, None] * np.ones(eigenvalue.size)
        step = np.array([self.advance(part, rate, eigenvalue)[:size] for part in unit])  # (from, to, mode)
        moments = np.einsum("acj,bdj->jcdab", step, step)
        moments[:, 0, 0, 0, 0] += per_batch * (rate * eigenvalue) ** 2
        return float(np.abs(np.linalg.eigvals(moments.reshape(-1, size**2, size**2))).max())

    def advance(self, state: ComplexArray, rate: float, eigenvalue: ComplexArray) -> ComplexArray:
        """Next state (part, ...); ``eigenvalue`` broadcasts with a part."""
        first = (1 + self.momentum - rate * (eigenvalue + self.ridge)) * state[0]
        if self.size == 1:
            return np.asarray(first[None])
        new = np.empty_like(state)
        if self.momentum:
            first -= self.momentum * state[1]
            new[1] = state[0]
        if self.ridge:
            first += rate * self.ridge * state[-1]
            new[-1] = state[-1]
        new[0] = first
        return new


class _Singles:
    """The train loss, or that of one pass: second moments of each mode."""

    def __init__(self, at: FloatArray, steps: Steps, model: Model) -> None:
        self.point, self.weight = _modes(at, steps, model)
        self.eigenvalue = -self.point.s
        self.target = forcing_weights(_one_problem(self.point), self.weight)[0]  # (2, mode)
        self.kernel = kernel_weights(self.point, self.weight)
        self.filter = _Filter(steps.momentum, model.ridge)

    def losses(self, at: NDArray[np.int64], steps: Steps) -> tuple[FloatArray, FloatArray]:
        """Forcing (1, 2, at) and noise (2, at) at ascending steps."""
        mean = self.filter.start(self.eigenvalue.size)
        # (part, part, case, mode): second moments, weighted so that their sum over modes is the loss.
        moments = self.target * np.ones((self.filter.size, self.filter.size, 1, 1))
        noisy = steps.are_noisy(at)
        forcing, noise = np.zeros((1, 2, at.size)), np.zeros((2, at.size))
        place = 0
        for number in range(int(at[-1]) + 1):
            loss = moments[0, 0].sum(axis=-1).real
            if number == at[place]:
                forcing[0, :, place] = (self.target @ mean[0] ** 2).real
                if noisy:
                    noise[:, place] = loss - forcing[0, :, place]
                place += 1
            if number < at[-1]:
                mean = self.filter.advance(mean, float(steps.rate[number]), self.eigenvalue)
                if noisy:
                    moments = self.step(moments, loss, steps, number)
        return forcing, noise

    def step(self, moments: ComplexArray, loss: FloatArray, steps: Steps, number: int) -> ComplexArray:
        """Second moments after the step ``number``."""
        rate, per_batch = float(steps.rate[number]), float(steps.per_batch[number])
        kicks = None
        if per_batch:
            kicks = rate**2 * per_batch * (self.eigenvalue**2 * moments[0, 0] + loss[:, None] * self.kernel)
        moments = self.filter.advance(moments, rate, self.eigenvalue)
        moments = self.filter.advance(moments.swapaxes(0, 1), rate, self.eigenvalue).swapaxes(0, 1)
        if kicks is not None:
            moments[0, 0] += kicks
        return moments


class _Pairs:
    """The test loss: second moments of pairs of modes, fed with the noise of the train loss."""

    def __init__(self, at: FloatArray, steps: Steps, model: Model, shared: Sequence[Shared]) -> None:
        self.train = _Singles(at, steps, model)
        point, weight = self.train.point, self.train.weight
        self.first, self.second = -point.s[:, None], -np.concatenate([point.s, point.s.conj()])
        # The sum over both halves of the second contour: weights w/2 and its conjugate.
        product = weight[:, None] * np.concatenate([weight, weight.conj()]) / 2
        nodes = model.nodes(float(np.abs(point.s).min()))
        row = OnePoint._make(np.broadcast_to(field, point.s.shape)[None] for field in point)
        noise = np.array([0.0, 1.0])[:, None, None]
        self.targets = []  # for each of what is shared (2, mode, both halves)
        for what in shared:
            halves = two_point_along(row, row, nodes, what)
            forcing = np.concatenate([forcing_from(pair, noise) / over for pair, over in halves], axis=-1) * product
            forcing[1] -= forcing[0]
            self.targets.append(forcing)
            if what == ONE_MODEL:
                self.kernel = np.concatenate([kernel_from(pair)[0] for pair, _ in halves], axis=-1) * product
        self.filter = self.train.filter

    def losses(self, at: NDArray[np.int64], steps: Steps) -> tuple[FloatArray, FloatArray]:
        """Forcing (shared, 2, at) and noise (2, at) at ascending steps; ``shared`` begins with all."""
        mean = self.filter.start(self.train.eigenvalue.size)
        train = self.train.target * np.ones((self.filter.size, self.filter.size, 1, 1))
        noisy = steps.are_noisy(at)
        moments = self.targets[0] * np.ones((self.filter.size, self.filter.size, 1, 1, 1))
        forcing, noise = np.zeros((len(self.targets), 2, at.size)), np.zeros((2, at.size))
        place = 0
        for number in range(int(at[-1]) + 1):
            if number == at[place]:
                both = np.concatenate([mean[0], mean[0].conj()])
                forcing[:, :, place] = [(mean[0] @ (target @ both)[..., None])[..., 0].real for target in self.targets]
                if noisy:
                    noise[:, place] = moments[0, 0].sum(axis=(-1, -2)).real - forcing[0, :, place]
                place += 1
            if number < at[-1]:
                rate, per_batch = float(steps.rate[number]), float(steps.per_batch[number])
                mean = self.filter.advance(mean, rate, self.train.eigenvalue)
                if noisy:
                    loss = train[0, 0].sum(axis=-1).real
                    kicks = loss[:, None, None] * self.kernel + self.first * self.second * moments[0, 0]
                    moments = self.filter.advance(moments, rate, self.first)
                    moments = self.filter.advance(moments.swapaxes(0, 1), rate, self.second).swapaxes(0, 1)
                    moments[0, 0] += rate**2 * per_batch * kicks
                    train = self.train.step(train, loss, steps, number)
        return forcing, noise


def _one_problem(point: OnePoint) -> OnePoint:
    return OnePoint._make(field[None] for field in point)
