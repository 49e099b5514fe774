"""Spectra of the inputs and of the target, compressed so that no sum ever runs over the modes.

Every quantity of the theory is a sum over modes of a function of the eigenvalue that varies on the scale of the
eigenvalue itself, so that a few Gauss nodes for each factor of two replace any number of modes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalingeq.errors import ParameterError, raise_problems

FloatArray: TypeAlias = NDArray[np.float64]
ComplexArray: TypeAlias = NDArray[np.complex128]

Number = TypeVar("Number", np.float64, np.complex128)

#: Gauss nodes in one block of modes.
NODES_PER_BLOCK = 8
#: The tail beyond the blocks starts where the eigenvalues are this small beside the smallest frequency; its own
#: Gauss rule of TAIL_NODES nodes is then exact to the power 2 * TAIL_NODES of this ratio.
TAIL_RATIO = 0.01
TAIL_NODES = 3


class Nodes(NamedTuple):
    """Quadrature nodes of a spectrum.

    Attributes
    ----------
    eigenvalue : ndarray, shape (node,)
        Eigenvalue at each node, in the units of the input variance; the largest comes first.
    modes : ndarray, shape (node,)
        Number of modes that the node stands for: ``sum(modes * f(eigenvalue))`` replaces the sum of f over the modes.
    target : ndarray, shape (node,)
        Target power that the node stands for, in the units of the loss.
    """

    eigenvalue: FloatArray
    modes: FloatArray
    target: FloatArray

    @property
    def trace(self) -> float:
        """Trace of the covariance."""
        return float(self.modes @ self.eigenvalue)

    @property
    def power(self) -> float:
        """Total power of the target: the loss of the zero predictor, without label noise."""
        return float(self.target.sum())


@dataclass(frozen=True)
class PowerLaw:
    """Power-law spectrum: eigenvalues ``k**-alpha`` and target power ``k**-(2 alpha r + 1)``, k = 1 ... dim.

    Parameters
    ----------
    alpha : float
        Capacity exponent, positive; above 1 where ``dim`` is infinite.
    r : float
        Source exponent, positive.
    dim : float, optional
        Number of modes, at least 1, or infinity.

    Raises
    ------
    ParameterError
        Where an exponent is not positive and finite, ``dim`` is not a whole number of modes, or the trace diverges.

    Notes
    -----
    Source and capacity conditions of arXiv:2502.05074 (section on power laws).

    Examples
    --------
    >>> spectrum = PowerLaw(alpha=1.5, r=0.4, dim=1e9)
    >>> nodes = spectrum.nodes(1e-6)
    >>> print(f"{nodes.trace:.6f} from {nodes.modes.size} nodes")
    2.612312 from 133 nodes
    """

    alpha: float
    r: float
    dim: float = math.inf

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value!r}: pass a positive finite number"
            for name, value in (("alpha", self.alpha), ("r", self.r))
            if not (math.isfinite(value) and value > 0)
        ]
        if not self.dim >= 1 or (math.isfinite(self.dim) and self.dim != math.floor(self.dim)):
            problems.append(f"dim is {self.dim!r}: pass a whole number of modes, at least 1, or infinity")
        elif not problems and math.isinf(self.dim) and self.alpha <= 1:
            problems.append(
                f"alpha is {self.alpha!r} with an infinite dim: the trace of the covariance, the sum of k**-alpha, "
                "diverges for alpha <= 1; pass a finite dim or alpha > 1"
            )
        raise_problems(problems, ParameterError)

    @property
    def rank(self) -> float:
        """Number of modes with a positive eigenvalue."""
        return float(self.dim)

    @property
    def trace(self) -> float:
        """Trace of the covariance, in the units of the eigenvalues."""
        return _power_law_totals(self)[0]

    @property
    def power(self) -> float:
        """Total power of the target: the loss of the zero predictor, without label noise."""
        return _power_law_totals(self)[1]

    def nodes(self, smallest_frequency: float) -> Nodes:
        """Quadrature nodes that serve every frequency of at least ``smallest_frequency`` in modulus.

        Parameters
        ----------
        smallest_frequency : float
            Smallest modulus of the renormalised frequencies that the nodes are used with, positive.

        Returns
        -------
        Nodes
            About eight nodes for each factor of two in k (more where ``alpha`` is large), whatever ``dim``.

        Examples
        --------
        >>> PowerLaw(alpha=2.0, r=0.5, dim=3).nodes(1e-3).eigenvalue
        array([1.        , 0.25      , 0.11111111])
        """
        return _power_law_nodes(self, smallest_frequency)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Measured spectrum: any eigenvalues, each with the target's power in its mode.

    Parameters
    ----------
    eigenvalues : array_like, shape (mode,)
        Eigenvalues of the input covariance, not negative, in any order. A mode with eigenvalue 0 is never learned: its
        target power acts as label noise does.
    target_power : array_like, shape (mode,)
        Power of the target in each mode, ``w_k**2 lambda_k``, not negative, in the units of the loss.
    modes : array_like, shape (mode,) or ()
        Number of modes that each entry stands for, not negative and not necessarily whole; the target power is that of
        all of them together.

    Raises
    ------
    ParameterError
        Where the arrays are empty, of unlike shape, negative or not finite, or no mode has a positive eigenvalue.

    Notes
    -----
    The 64 largest modes are kept as they are; below them each factor of two in the eigenvalue with more than sixteen
    modes is replaced by the eight-node Gauss rule of the modes and the one of the target's power.

    Examples
    --------
    >>> spectrum = Spectrum([0.25, 1.0, 0.0], [0.5, 1.0, 0.1])
    >>> spectrum.nodes(1e-3)
    Nodes(eigenvalue=array([1.  , 0.25, 0.  ]), modes=array([1., 1., 0.]), target=array([1. , 0.5, 0.1]))
    """

    eigenvalues: ArrayLike
    target_power: ArrayLike
    modes: ArrayLike = 1.0

    def __post_init__(self) -> None:
        modes = np.full(np.shape(self.eigenvalues), self.modes) if np.ndim(self.modes) == 0 else self.modes
        values = {"eigenvalues": self.eigenvalues, "target_power": self.target_power, "modes": modes}
        arrays = {name: np.array(value, dtype=np.float64) for name, value in values.items()}
        problems = []
        for name, array in arrays.items():
            if array.ndim != 1 or array.size == 0:
                problems.append(f"{name} has shape {array.shape}: pass one value a mode, at least one")
            elif bad := int(np.count_nonzero(~(np.isfinite(array) & (array >= 0)))):
                problems.append(f"{name}: {bad} of {array.size} values are negative or not finite; pass none such")
        eigenvalues = arrays["eigenvalues"]
        unlike = [name for name, array in arrays.items() if array.shape != eigenvalues.shape]
        problems += [
            f"{name} has shape {arrays[name].shape}, eigenvalues {eigenvalues.shape}: pass one value a mode"
            for name in unlike
        ]
        if not problems and not (arrays["modes"] * eigenvalues).any():
            problems.append("eigenvalues are all 0: pass at least one positive eigenvalue")
        raise_problems(problems, ParameterError)
        for name, array in arrays.items():
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        measures = np.stack([arrays["modes"] * (eigenvalues > 0), arrays["target_power"]])
        nodes, (count, target) = compress(eigenvalues, measures)
        object.__setattr__(self, "_nodes", Nodes(nodes, count, target))

    @property
    def rank(self) -> float:
        """Number of modes with a positive eigenvalue."""
        return float(np.asarray(self.modes)[np.asarray(self.eigenvalues) > 0].sum())

    @property
    def trace(self) -> float:
        """Trace of the covariance, in the units of the eigenvalues."""
        return self.nodes(1.0).trace

    @property
    def power(self) -> float:
        """Total power of the target: the loss of the zero predictor, without label noise."""
        return self.nodes(1.0).power

    def nodes(self, smallest_frequency: float) -> Nodes:
        """Quadrature nodes of the spectrum; they serve every frequency.

        Parameters
        ----------
        smallest_frequency : float
            Not needed here; see :meth:`PowerLaw.nodes`.

        Returns
        -------
        Nodes
            At most some tens of nodes for each decade of the eigenvalues, whatever the number of modes.

        Examples
        --------
        >>> Spectrum([2.0], [1.0]).nodes(1e-3).trace
        2.0
        """
        nodes: Nodes = self._nodes  # type: ignore[attr-defined]
        return nodes


AnySpectrum: TypeAlias = PowerLaw | Spectrum


@lru_cache(maxsize=64)
def _power_law_totals(spectrum: PowerLaw) -> tuple[float, float]:
    """Trace and total target power, which take a tenth of the time of the nodes."""
    exponents = np.array([spectrum.alpha, 2 * spectrum.alpha * spectrum.r + 1])
    first = min(64.0, spectrum.dim + 1)  # of the modes that are not added up one by one
    trace, power = (np.arange(1.0, first) ** -exponents[:, None]).sum(axis=1)
    if first <= spectrum.dim:
        tail = first**-exponents * power_sum(exponents, first, spectrum.dim)
        trace, power = trace + tail[0], power + tail[1]
    return float(trace), float(power)


@lru_cache(maxsize=64)
def _power_law_nodes(spectrum: PowerLaw, smallest_frequency: float) -> Nodes:
    """Nodes that are shared: one loss asks several times for those of one spectrum."""
    eigenvalue, (trace, target) = power_law_measures(
        spectrum.alpha, spectrum.dim, smallest_frequency, (spectrum.alpha, 2 * spectrum.alpha * spectrum.r + 1)
    )
    nodes = Nodes(eigenvalue, trace / eigenvalue, target)
    for array in nodes:
        array.setflags(write=False)
    return nodes


def power_law_measures(
    alpha: float, dim: float, smallest_frequency: float, exponents: tuple[float, ...]
) -> tuple[FloatArray, FloatArray]:
    """Quadrature nodes for sums over modes, weighted with powers of their number, of functions of the eigenvalue.

    Parameters
    ----------
    alpha, dim : float
        The eigenvalues are ``k**-alpha`` for k = 1 ... dim.
    smallest_frequency : float
        As in :meth:`PowerLaw.nodes`.
    exponents : tuple of float, one a measure
        Measure ``k**-exponent``; above 1 where ``dim`` is infinite.

    Returns
    -------
    eigenvalue : ndarray, shape (node,)
        Eigenvalue at each node.
    weight : ndarray, shape (measure, node)
        ``sum(weight * f(eigenvalue))`` replaces the sum of ``k**-exponent * f``.
    """
    k, count, stop = counted_modes(alpha, dim, smallest_frequency)
    eigenvalue = k**-alpha
    weight = np.array([count * k**-exponent for exponent in exponents])
    if stop > dim:
        return eigenvalue, weight
    # Each measure has a rule of its own for the tail.
    node, total = tail_rules(tuple(exponents), alpha, stop, dim)
    tail_weight = np.zeros((len(exponents), len(exponents), TAIL_NODES))
    tail_weight[np.arange(len(exponents)), np.arange(len(exponents))] = total
    nodes = np.concatenate([eigenvalue, node.ravel()])
    return nodes, np.concatenate([weight, tail_weight.reshape(len(exponents), -1)], axis=1)


def counted_modes(alpha: float, dim: float, smallest_frequency: float) -> tuple[FloatArray, FloatArray, float]:
    """Nodes k, the number of modes that each stands for, and the first mode of the tail, which is beyond them."""
    parts = math.ceil(alpha / 1.5)
    # Only steps of a block are asked for, so that fits, which vary alpha and r, meet few distinct rules.
    octaves = math.log2(TAIL_RATIO * smallest_frequency) / -alpha - math.log2(_first_block(parts))
    stop = _block_edge(parts, max(parts, math.ceil(parts * octaves)))
    if 2 * stop > dim:
        stop = dim + 1
    return *_integer_rule(parts, stop), stop


def _first_block(parts: int) -> int:
    """First integer that is not a node of its own."""
    return 16 * parts


def _block_edge(parts: int, block: int) -> float:
    """First integer of a block, where ``parts`` blocks make a factor of two."""
    return float(round(_first_block(parts) * 2.0 ** (block / parts)))


@lru_cache(maxsize=128)
def _integer_rule(parts: int, stop: float) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights for sums over the integers k = 1 ... stop - 1 of functions of log k."""
    first = _first_block(parts)
    edges = [float(first)]
    while (edge := _block_edge(parts, len(edges))) < stop:
        edges.append(edge)
    if stop - edges[-1] > 2 * NODES_PER_BLOCK:
        edges.append(stop)
    if len(edges) == 1:
        k = np.arange(1, stop, dtype=np.float64)
        return k, np.ones_like(k)
    left, size = np.array(edges[:-1]), np.diff(edges)
    # Gram polynomials: the recurrence of the uniform measure on `size` integers (Golub & Welsch 1969).
    i = np.arange(1, NODES_PER_BLOCK)
    off = np.sqrt(i**2 * (size[:, None] ** 2 - i**2) / (4.0 * (4 * i**2 - 1)))
    matrix = np.zeros((size.size, NODES_PER_BLOCK, NODES_PER_BLOCK))
    matrix[:, i, i - 1] = off
    offset, vectors = np.linalg.eigh(matrix)
    k = (left + (size - 1) / 2)[:, None] + offset
    weight = size[:, None] * vectors[:, 0, :] ** 2
    # The modes before the blocks, and those of a last block too short for a rule, are their own nodes.
    alone = np.concatenate([np.arange(1.0, first), np.arange(edges[-1], stop)])
    return np.concatenate([alone[: first - 1], k.ravel(), alone[first - 1 :]]), np.concatenate(
        [np.ones(first - 1), weight.ravel(), np.ones(alone.size - first + 1)]
    )


def power_sum(exponent: NDArray[Number], first: float, last: float) -> NDArray[Number]:
    """Sum of ``(k / first)**-exponent`` for k = first ... last by Euler and Maclaurin; ``first`` is 32 or more.

    It is analytic in the exponents, which may be complex.
    """

    def derivatives(k: float) -> NDArray[Number]:
        e, power = exponent, (k / first) ** -exponent
        rising = e * (e + 1) * (e + 2)
        return np.asarray(
            power * (1 / 2 + e / (12 * k) - rising / (720 * k**3) + rising * (e + 3) * (e + 4) / (30240 * k**5))
        )

    if math.isinf(last):
        return np.asarray(first / (exponent - 1) + derivatives(first))
    octaves = math.log(last / first)
    x = (1 - exponent) * octaves
    near = np.abs(x) < 1e-4
    far = np.where(near, 1.0, x)
    growth = np.where(near, 1 + x / 2 * (1 + x / 3 * (1 + x / 4)), np.expm1(far) / far)
    end = (last / first) ** -exponent
    # The derivatives at the two ends differ in sign, the half of the end's own value does not.
    return np.asarray(first * octaves * growth + derivatives(first) - derivatives(last) + end)


@lru_cache(maxsize=64)
def tail_rules(powers: tuple[float, ...], alpha: float, first: float, last: float) -> tuple[FloatArray, FloatArray]:
    """Gauss rules (exponent, node) in ``k**-alpha`` of measures ``k**-exponent`` on k = first ... last, from moments.

    They are shared by the nodes and their derivatives: do not write into them.
    """
    exponents = np.array(powers)
    # In units of the first eigenvalue the nodes lie in (0, 1].
    moments = power_sum(exponents[:, None] + alpha * np.arange(2.0 * TAIL_NODES), first, last)
    total = moments[:, :1] * first ** -exponents[:, None]
    node = np.full((exponents.size, TAIL_NODES), 1.0)
    weight = np.full((exponents.size, TAIL_NODES), 1 / TAIL_NODES)
    seen = ~is_negligible(exponents, alpha, first)
    node[seen], weight[seen] = _gauss_from_moments(moments[seen] / moments[seen, :1])
    return node * first**-alpha, weight * total


def is_negligible(exponents: FloatArray, alpha: float, first: float) -> NDArray[np.bool_]:
    """Whether the tail from ``first`` on of each measure is steeper than any sum can see."""
    return np.asarray(first ** (1 + alpha - exponents) < 1e-18)


def _gauss_from_moments(moments: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gauss rules (measure, node) of probability measures, from first moments (Golub & Welsch 1969, section 4)."""
    n = moments.shape[-1] // 2
    order = np.arange(n)[:, None] + np.arange(n)
    inverse = np.linalg.inv(np.linalg.cholesky(moments[:, order]))
    jacobi = inverse @ moments[:, 1 + order] @ inverse.swapaxes(1, 2)
    node, vectors = np.linalg.eigh((jacobi + jacobi.swapaxes(1, 2)) / 2)
    return node, vectors[:, 0] ** 2


def compress(eigenvalues: FloatArray, measures: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Nodes (node,) for sums over a measured spectrum, the largest first, and weights (measure, node) of each measure.

    ``measures`` (measure, mode) are what the modes weigh in the sums of functions of the eigenvalue.
    """
    order = np.argsort(-eigenvalues, kind="stable")
    value, weight = eigenvalues[order], measures[:, order]
    positive = int(np.count_nonzero(value))
    pieces = list(_blocks(value[:positive], weight[:, :positive]))
    if positive < value.size:
        pieces.append((np.zeros(1), weight[:, positive:].sum(axis=1, keepdims=True)))
    nodes, weights = zip(*pieces, strict=True)
    return np.concatenate(nodes), np.concatenate(weights, axis=1)


def _blocks(value: FloatArray, measures: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Nodes and weights (measure, node) of each block of sorted positive eigenvalues."""
    explicit = 64
    yield value[:explicit], measures[:, :explicit]
    value, measures = value[explicit:], measures[:, explicit:]
    octave = np.ceil(np.log2(value))
    for block in np.split(np.arange(value.size), np.flatnonzero(np.diff(octave)) + 1):
        one = value[block]
        if block.size <= 2 * NODES_PER_BLOCK:
            yield one, measures[:, block]
            continue
        for number, weight in enumerate(measures[:, block]):
            node, total = _gauss_of_points(one, weight)
            weights = np.zeros((len(measures), node.size))
            weights[number] = total
            yield node, weights


def _gauss_of_points(point: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gauss rule of a measure on points, by the Lanczos process with full orthogonalisation."""
    total = float(weight.sum())
    basis: list[FloatArray] = []
    diagonal: list[float] = []
    off: list[float] = []
    scale = float(np.abs(point).max())
    vector = np.sqrt(weight / total) if total > 0 else np.zeros_like(weight)
    norm = float(np.linalg.norm(vector))
    while norm > 1e-10 and len(basis) < NODES_PER_BLOCK:
        basis.append(vector / norm)
        off.append(norm)
        vector = point / scale * basis[-1]
        diagonal.append(float(basis[-1] @ vector))
        for _ in range(2):
            for old in basis:
                vector = vector - (old @ vector) * old
        norm = float(np.linalg.norm(vector))
    if not basis:
        return point[:0], weight[:0]
    matrix = np.diag(diagonal) + np.diag(off[1:], -1)
    node, vectors = np.linalg.eigh(matrix)
    return node * scale, total * vectors[0] ** 2
