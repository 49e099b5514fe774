"""Phases of compute-optimal scaling: which terms of the loss balance at the optimal size, and the exponents that follow.

One pass of SGD trains a model of size d (its number of features) on n samples, at the compute f = d n. The loss is a
sum of four terms, each a power of training time and size (arXiv:2405.15074), and the size that is best for a given
compute is where two of them cross. Which two depends on the capacity alpha and the source r alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from scalingeq.errors import ConvergenceError, ParameterError, raise_problems
from scalingeq.theory.dynamics import flow_loss
from scalingeq.theory.spectrum import FloatArray, PowerLaw

#: Sizes are searched from here on: the equivalents are asymptotic in the size.
SMALLEST_SIZE = 16.0
#: In log size: steps of the scan and of the finer scans around its lowest point, and of the polynomial at the minimum.
SCAN_STEP, FINER_STEPS, STENCIL = math.log(2), (0.2, 0.06), 0.1
#: Error of `flow_loss` in units of target power / time, and how many times larger the loss has to be.
FLOW_ERROR, LEAST_SIGNAL = 2e-10, 1e4


class Region(NamedTuple):
    """A phase's region in the plane of capacity and source, and its balance.

    Attributes
    ----------
    name : str
        Name of arXiv:2405.15074.
    balance : tuple of str
        The two terms of the loss that cross at the optimal size.
    alpha : tuple of float
        Lower and upper end of the region in alpha.
    r : tuple of callable
        Lower and upper end in r, functions of alpha.
    """

    name: str
    balance: tuple[str, str]
    alpha: tuple[float, float]
    r: tuple[Callable[[float], float], Callable[[float], float]]


def _zero(alpha: float) -> float:
    return 0.0


def _half(alpha: float) -> float:
    """Source above which a saturated model is limited by its features, not by the target (beta = 1/2)."""
    return 0.5


def _noisy(alpha: float) -> float:
    """Source above which F_pp falls faster than the noise of SGD (beta = alpha / 2)."""
    return 1 - 1 / (2 * alpha)


def _infinite(alpha: float) -> float:
    return math.inf


#: All phases; where two regions touch, the first of them has the boundary.
REGIONS = (
    Region("Ia", ("F_pp", "F_0"), (1.0, math.inf), (_zero, _half)),
    Region("Ib", ("F_pp", "F_0"), (0.0, 1.0), (_zero, _half)),
    Region("Ic", ("F_pp", "F_0"), (0.0, 0.5), (_half, _infinite)),
    Region("II", ("F_pp", "F_ac"), (1.0, math.inf), (_half, _noisy)),
    Region("III", ("F_ac", "K_pp"), (1.0, math.inf), (_noisy, _infinite)),
    Region("IVa", ("K_pp", "F_0"), (2 - math.sqrt(2), 1.0), (_half, _infinite)),
    Region("IVb", ("K_pp", "F_pp"), (0.5, 2 - math.sqrt(2)), (_half, _infinite)),
)


class PaquetteExponents(NamedTuple):
    """Exponents of arXiv:2405.15074: eigenvalues ``k**(-2 alpha)``, coefficients of the target ``k**-beta``."""

    alpha: float
    beta: float

    @classmethod
    def of(cls, alpha: float, r: float) -> PaquetteExponents:
        """Translate capacity and source."""
        return cls(alpha / 2, 0.5 + alpha * (r - 0.5))


class BordelonExponents(NamedTuple):
    """Exponents of arXiv:2402.01092: eigenvalues ``k**-b``, power of the target in each mode ``k**-a``."""

    a: float
    b: float

    @classmethod
    def of(cls, alpha: float, r: float) -> BordelonExponents:
        """Translate capacity and source."""
        return cls(2 * alpha * r + 1, alpha)


class Phase(NamedTuple):
    """A phase of compute-optimal scaling at one pair of exponents.

    Attributes
    ----------
    name : str
        Ia, Ib, Ic, II, III, IVa or IVb.
    balance : tuple of str
        The two terms of the loss that cross at the optimal size: F_0 (what the features cannot represent), F_pp (modes
        not learned yet), F_ac (distortion of the features), K_pp (noise of SGD).
    size_exponent : float
        Of the optimal size: d* ~ compute**size_exponent.
    loss_exponent : float
        Of the loss at that size: L* ~ compute**loss_exponent, negative.
    alpha, r : float
        Capacity and source, as given.
    paquette : PaquetteExponents
        The same in the convention of arXiv:2405.15074.
    bordelon : BordelonExponents
        The same in the convention of arXiv:2402.01092.
    """

    name: str
    balance: tuple[str, str]
    size_exponent: float
    loss_exponent: float
    alpha: float
    r: float
    paquette: PaquetteExponents
    bordelon: BordelonExponents


def phase(alpha: float, r: float) -> Phase:
    """Phase of compute-optimal scaling, with the exponents of the optimal size and of its loss.

    Parameters
    ----------
    alpha : float
        Capacity exponent, positive: eigenvalues ``k**-alpha``.
    r : float
        Source exponent, positive: target power ``k**-(2 alpha r + 1)``.

    Returns
    -------
    Phase
        Name, terms in balance, exponents, and alpha and r in the two conventions of the literature.

    Raises
    ------
    ParameterError
        Where an exponent is not positive and finite. At ``r <= 0`` (alpha + beta <= 1/2 in arXiv:2405.15074) the power
        of the target does not converge, and no power law is known.

    Notes
    -----
    arXiv:2405.15074, with a = alpha / 2 for their alpha. At time t and size d the terms are ``F_0 ~ d**-(alpha
    min(1, 2r))``, ``F_pp ~ t**-2r``, ``F_ac ~ t**-(1 - 1/alpha) / d`` and ``K_pp ~ rate t**-(2 - 1/alpha)``. Time is
    rate * samples, and for ``alpha < 1`` the stable rate shrinks as ``d**(alpha - 1)``, if the number of modes grows in
    proportion to d.

    =====  =================  =======================  ==========
    phase  alpha              r                        balance
    =====  =================  =======================  ==========
    Ia     1 ...              0 ... 1/2                F_pp, F_0
    Ib     0 ... 1            0 ... 1/2                F_pp, F_0
    Ic     0 ... 1/2          1/2 ...                  F_pp, F_0
    II     1 ...              1/2 ... 1 - 1/(2 alpha)  F_pp, F_ac
    III    1 ...              1 - 1/(2 alpha) ...      F_ac, K_pp
    IVa    2 - sqrt(2) ... 1  1/2 ...                  K_pp, F_0
    IVb    1/2 ... 2-sqrt(2)  1/2 ...                  K_pp, F_pp
    =====  =================  =======================  ==========

    On a boundary the answer is that of the phase first in this table; there both sides have the same exponents, and the
    power laws may carry logarithms. One boundary is different: from IVb to IVa, at ``alpha = 2 - sqrt(2)``, the size
    exponent jumps while the loss exponent does not. There K_pp does not change with size at a given compute, and every
    size between the two is equally good.

    Examples
    --------
    >>> found = phase(1.5, 0.4)
    >>> found.name, found.balance, round(found.size_exponent, 3), round(found.loss_exponent, 3)
    ('Ia', ('F_pp', 'F_0'), 0.4, -0.48)
    >>> print(f"{found.paquette.alpha:.2f} {found.paquette.beta:.2f}; {found.bordelon.a:.2f} {found.bordelon.b:.2f}")
    0.75 0.35; 2.20 1.50
    """
    problems = []
    if not (math.isfinite(alpha) and alpha > 0):
        problems.append(f"alpha is {alpha!r}: pass a positive finite number")
    if not (math.isfinite(r) and r > 0):
        problems.append(
            f"r is {r!r}: pass a positive finite number; at r <= 0 (alpha + beta <= 1/2 in arXiv:2405.15074) the power "
            "of the target diverges and no power law is known"
        )
    raise_problems(problems, ParameterError)
    region = next(
        region
        for region in REGIONS
        if region.alpha[0] <= alpha <= region.alpha[1] and region.r[0](alpha) <= r <= region.r[1](alpha)
    )
    size, loss = _crossing(region.balance, alpha, r)
    return Phase(
        region.name,
        region.balance,
        size,
        loss,
        alpha,
        r,
        PaquetteExponents.of(alpha, r),
        BordelonExponents.of(alpha, r),
    )


def _crossing(balance: tuple[str, str], alpha: float, r: float) -> tuple[float, float]:
    """Exponents in compute of the size where two terms are equal, and of the terms there."""
    cooling = _cooling(alpha)
    terms = term_exponents(alpha, r)
    (p, q), (other_p, other_q) = (terms[name] for name in balance)
    # time = rate * compute / size ~ compute * size**-(1 + cooling)
    size = (p - other_p) / ((p - other_p) * (1 + cooling) - (q - other_q))
    return size, (p * (1 + cooling) - q) * size - p


def term_exponents(alpha: float, r: float) -> dict[str, tuple[float, float]]:
    """Exponents p, q of each term ``time**-p size**-q`` of the loss (arXiv:2405.15074).

    Examples
    --------
    >>> term_exponents(2.0, 0.25)
    {'F_0': (0.0, 1.0), 'F_pp': (0.5, 0.0), 'F_ac': (0.5, 1.0), 'K_pp': (1.5, 0.0)}
    """
    return {
        "F_0": (0.0, alpha * min(1.0, 2 * r)),
        "F_pp": (2 * r, 0.0),
        "F_ac": (1 - 1 / alpha, 1.0),
        "K_pp": (2 - 1 / alpha, _cooling(alpha)),
    }


def _cooling(alpha: float) -> float:
    """Exponent with which the stable rate falls in the size."""
    return max(0.0, 1 - alpha)


class LocalExponents(NamedTuple):
    """Optimal size and loss at finite compute, with their local exponents beside the asymptotic ones.

    Attributes
    ----------
    compute : ndarray, shape (...)
        Size times samples.
    size : ndarray, shape (...)
        Optimal size d*, a number of features.
    loss : ndarray, shape (...)
        Loss at that size, in the units of the target power.
    size_exponent, loss_exponent : ndarray, shape (...)
        Slopes of log size and log loss in log compute, over the decade around each compute.
    asymptote : Phase
        The phase, whose exponents these approach at large compute.
    """

    compute: FloatArray
    size: FloatArray
    loss: FloatArray
    size_exponent: FloatArray
    loss_exponent: FloatArray
    asymptote: Phase


def local_exponents(
    compute: ArrayLike, alpha: float, r: float, *, modes_per_feature: float = math.inf, kernel_norm: float = 0.5
) -> LocalExponents:
    """Compute-optimal size, loss and their local exponents, from the theory at finite compute.

    Parameters
    ----------
    compute : array_like, shape (...)
        Compute f = d n of a model of size d that sees n samples once, positive.
    alpha, r : float
        Capacity and source exponent, positive.
    modes_per_feature : float
        Number of modes of the inputs over the number of features, above 1. It has to be finite for ``alpha <= 1``,
        where the trace of infinitely many modes diverges: then the modes grow with the model.
    kernel_norm : float
        Learning rate over batch size, as a fraction of 2 / Tr(covariance), where the noise of SGD feeds on itself;
        between 0 and 1. For ``alpha <= 1`` the rate falls as the model grows, because the trace does not converge.

    Returns
    -------
    LocalExponents
        Arrays of the shape of ``compute``, and the asymptotic exponents.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain; all that is wrong is named at once.
    ConvergenceError
        Where no size from 16 features to a model of one sample is optimal, or the compute is so large that the loss
        drowns in the error of the inverse Laplace transform.

    Notes
    -----
    The loss of one pass (arXiv:2502.05074, `flow_loss`) at the time rate * n, minimised over the size. The batch size
    does not enter: batches of B samples at B times the rate have the same loss at the same number of samples.

    At one point of each phase, with a kernel norm of 0.5, both exponents are within 0.02 of the asymptote from a
    compute of 1e6 on in Ia and II, 1e7 in Ib, 1e13 in Ic, 1e3 in III and 1e12 in IVa; with a kernel norm of 0.05 from
    1e7, 1e8, 1e15, 1e11 and 1e18 on. IVb is slowest: its loss exponent is off by 0.01 to 0.02 even at 1e31. The loss
    can have two minima in size at finite compute (Ic, IVb); where they change places the optimal size jumps, and so
    does its slope.

    Examples
    --------
    >>> local = local_exponents([1e6, 1e12], alpha=1.5, r=0.4)
    >>> local.size.round(-1), local.size_exponent.round(3), round(local.asymptote.size_exponent, 3)
    (array([   820., 226530.]), array([0.414, 0.403]), 0.4)
    """
    values = np.asarray(compute, dtype=np.float64)
    problems = []
    if np.any(bad := ~(np.isfinite(values) & (values > 0))):
        problems.append(f"compute contains {float(values[bad].flat[0])!r}: pass positive finite numbers")
    if not modes_per_feature > 1:
        problems.append(f"modes_per_feature is {modes_per_feature!r}: pass a number above 1, or infinity")
    elif math.isinf(modes_per_feature) and 0 < alpha <= 1:
        problems.append(
            f"modes_per_feature is infinite with alpha = {alpha!r}: the trace of the covariance, the sum of k**-alpha, "
            "diverges for alpha <= 1; pass a finite number, such as 4"
        )
    if not 0 < kernel_norm < 1:
        problems.append(f"kernel_norm is {kernel_norm!r}: pass a number between 0 and 1, both excluded")
    try:
        asymptote = phase(alpha, r)
    except ParameterError as error:
        problems.extend(error.problems)
    raise_problems(problems, ParameterError)
    decade = math.log(10)
    plan = _Plan(alpha, r, modes_per_feature, kernel_norm)
    log_compute = np.log(values.ravel()) + np.array([[-decade / 2], [0.0], [decade / 2]])
    log_size, log_loss = (field.reshape(3, *values.shape) for field in plan.optimum(log_compute.ravel()))
    return LocalExponents(
        values,
        np.exp(log_size[1]),
        np.exp(log_loss[1]),
        (log_size[2] - log_size[0]) / decade,
        (log_loss[2] - log_loss[0]) / decade,
        asymptote,
    )


class _Plan(NamedTuple):
    """One pass of SGD at a fixed fraction of the stable rate, for models of any size."""

    alpha: float
    r: float
    modes_per_feature: float
    kernel_norm: float

    def spectrum(self, size: float) -> PowerLaw:
        """Spectrum that a model of this size is trained on."""
        return PowerLaw(self.alpha, self.r, float(np.rint(size * self.modes_per_feature)))

    def noise_rate(self, spectrum: PowerLaw) -> float:
        """Learning rate over batch size."""
        return 2 * self.kernel_norm / spectrum.trace

    def whole(self, size: FloatArray) -> FloatArray:
        """Sizes (...) near those given whose number of modes is whole."""
        if math.isinf(self.modes_per_feature):
            return size
        return np.asarray(np.rint(size * self.modes_per_feature) / self.modes_per_feature)

    def loss(self, size: FloatArray, samples: FloatArray) -> FloatArray:
        """Loss (size, sample) of models of each size (size,) after each number of samples (size, sample)."""
        if math.isinf(self.modes_per_feature):
            spectrum = self.spectrum(1.0)
            rate = self.noise_rate(spectrum)
            return flow_loss(rate * samples, spectrum, noise_rate=rate, width=size)
        losses = np.empty(samples.shape)
        for i, spectrum in enumerate(map(self.spectrum, size)):
            rate = self.noise_rate(spectrum)
            losses[i] = flow_loss(rate * samples[i], spectrum, noise_rate=rate, width=size[i])
        return losses

    def optimum(self, log_compute: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Log of the optimal size and of its loss at each compute (compute,)."""
        log_size = self._scan(log_compute)
        for spacing in FINER_STEPS:
            log_sizes, losses = self._around(log_compute, log_size, np.linspace(-3 * spacing, 3 * spacing, 7))
            log_size = np.take_along_axis(log_sizes, losses.argmin(axis=1)[:, None], axis=1)[:, 0]
        log_sizes, losses = self._around(log_compute, log_size, np.linspace(-2 * STENCIL, 2 * STENCIL, 5))
        self._check_signal(log_compute, log_size, losses.min(axis=1))
        # A polynomial through the five points, not differences: sizes with a whole number of modes are uneven.
        powers = (log_sizes - log_size[:, None])[..., None] ** np.arange(5)
        coefficients = np.asarray(np.linalg.solve(powers, np.log(losses)[..., None])[..., 0].T, dtype=np.float64)
        slope = coefficients[1:] * np.arange(1.0, 5.0)[:, None]
        curvature = slope[1:] * np.arange(1.0, 4.0)[:, None]
        shift = np.zeros_like(log_size)
        for _ in range(4):  # Newton's method, from a point that lies within a tenth of the minimum
            fall, bend = (_polynomial(shift, each) for each in (slope, curvature))
            shift = np.clip(shift - fall / np.where(bend > 0, bend, np.inf), -STENCIL, STENCIL)
        return log_size + shift, _polynomial(shift, coefficients)

    def _around(
        self, log_compute: FloatArray, log_size: FloatArray, shift: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Log sizes (compute, shift) near ``log_size`` (compute,) shifted by ``shift`` (shift,), and their losses."""
        size = self.whole(np.exp(log_size[:, None] + shift))
        samples = np.exp(log_compute)[:, None] / size
        return np.log(size), self.loss(size.ravel(), samples.reshape(-1, 1)).reshape(size.shape)

    def _scan(self, log_compute: FloatArray) -> FloatArray:
        """Log size near the optimum at each compute: lowest of a scan up to a model of a single sample.

        All sizes are scanned, because the loss can have two minima.
        """
        compute = np.exp(log_compute)
        steps = math.log(max(float(compute.max(initial=0.0)) / SMALLEST_SIZE, 1.0)) / SCAN_STEP
        sizes = self.whole(SMALLEST_SIZE * np.exp(SCAN_STEP * np.arange(math.floor(steps) + 1)))
        samples = compute / sizes[:, None]
        losses = np.where(samples >= 1, self.loss(sizes, samples), np.inf)
        lowest = losses.argmin(axis=0)
        last = np.sum(samples >= 1, axis=0) - 1
        for side, bad in (("smallest", lowest == 0), ("largest", lowest >= last)):
            if bad.any():
                raise ConvergenceError(
                    f"compute: at {compute[bad][0]:.3g} the loss is lowest at the {side} size searched, "
                    f"{sizes[lowest[bad][0]]:.3g} features; exponents need an optimum inside, over the decade around "
                    "each compute: pass a larger compute"
                )
        return np.asarray(np.log(sizes[lowest]))

    def _check_signal(self, log_compute: FloatArray, log_size: FloatArray, losses: FloatArray) -> None:
        """Raise a ConvergenceError where a loss (compute,) is no longer far above the error of `flow_loss`."""
        for compute, size, loss in zip(np.exp(log_compute), np.exp(log_size), losses, strict=True):
            spectrum = self.spectrum(size)
            time = self.noise_rate(spectrum) * compute / size
            if loss < LEAST_SIGNAL * FLOW_ERROR * spectrum.power / time:
                raise ConvergenceError(
                    f"compute: at {compute:.3g} the loss {loss:.3g} is too near to the numerical error of the inverse "
                    "Laplace transform to give exponents; pass a smaller compute"
                )


def _polynomial(x: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Values (point,) of one polynomial a point, from coefficients (power, point)."""
    return np.asarray(np.polynomial.polynomial.polyval(x, coefficients, tensor=False))
