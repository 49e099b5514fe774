"""Covariance of a fit whose residuals are correlated along the runs, by the sandwich formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .curves import Floats

if TYPE_CHECKING:
    from lmfit import Parameters

Ints = NDArray[np.int64]

SMALLEST_VARIANCE = 1e-12  # of residuals in units of what they were divided by: a fit of exact losses has none
LEAST_FREEDOM = 4.0  # the variance of a Student t is twice a normal's there; with fewer no error would mean much


class PenalisedLeastSquares(Protocol):
    """What a fit minimises: half the squares of residuals, of the observations first and then of the priors."""

    free: list[str]
    weight: Floats

    @property
    def run(self) -> Ints:
        """Run (obs,) of each observation; runs are contiguous."""

    def residuals(self, params: Parameters) -> Floats:
        """Residuals (obs + prior,)."""

    def jacobian(self, params: Parameters) -> Floats:
        """Derivatives (obs + prior, free)."""


@dataclass(frozen=True)
class Noise:
    """First-order autoregressive noise of residuals, estimated from all runs together.

    Attributes
    ----------
    variance : float
        Of one residual, in units of what the fit divided it by.
    correlation : float
        Of neighbouring observations of a run.
    balance : float
        Factor that turns the data's squared residuals into twice a negative log likelihood, on average over what the
        data determine.
    freedom : float
        Degrees of freedom of the noise's own estimate, slow noise above all.
    clustering : float
        Scatter of the runs' scores over what this noise makes of it: well above 1 where residuals hang together over
        longer stretches than its correlation says.
    """

    variance: float
    correlation: float
    balance: float
    freedom: float
    clustering: float


class Covariance(NamedTuple):
    """Covariance of all parameters, the noise it rests on, and the free parameters that are at a bound.

    ``prior_share`` (parameter,) is the share of each variance that the priors have, zero for what is not free.
    """

    matrix: Floats
    noise: Noise
    at_bound: list[str]
    prior_share: Floats

    def bound_notes(self, params: Parameters) -> tuple[str, ...]:
        """What a reader must know of the parameters that are at a bound."""
        return tuple(
            f"{name} stopped at its bound {params[name].value:.4g}: its standard error is not defined"
            for name in self.at_bound
        )


def covariance_of(objective: PenalisedLeastSquares, params: Parameters) -> Covariance:
    """Covariance (parameter, parameter) of all parameters at the optimum, in the order of ``params``.

    Zero where a parameter was held or stopped at a bound; constrained parameters move with the free ones. Sets
    ``stderr`` of the parameters.

    Examples
    --------
    >>> import lmfit
    >>> class Mean:
    ...     free, weight, run = ["m"], np.ones(4), np.arange(4)
    ...     def residuals(self, params):
    ...         return np.array([1.0, -1.0, 1.0, -1.0]) - params["m"]
    ...     def jacobian(self, params):
    ...         return -np.ones((4, 1))
    >>> params = lmfit.Parameters()
    >>> params.add("m", value=0.0)
    >>> covariance_of(Mean(), params).matrix.round(4).tolist()
    [[0.6667]]
    """
    names = list(params)
    at_bound = [name for name in objective.free if is_at_bound(params[name])]
    inside = [name for name in objective.free if name not in at_bound]
    for parameter in params.values():
        parameter.stderr = None  # the optimiser's own knows neither the priors nor the correlation along a run
    # What stopped at a bound counts as held there.
    jacobian = objective.jacobian(params)[:, [objective.free.index(name) for name in inside]]
    inverse, noise = sandwich(jacobian, objective.residuals(params), objective.weight, objective.run)
    from .objective import tied_to

    tied = tied_to(params, inside)
    matrix = tied @ inverse @ tied.T
    for name, stderr in zip(names, np.sqrt(np.diag(matrix)), strict=True):
        if name in inside or params[name].expr:
            params[name].stderr = float(stderr)
    pull = tied @ curvature_inverse(jacobian) @ jacobian[objective.weight.size :].T
    variance = np.diag(matrix)
    share = np.divide(np.sum(pull**2, axis=1), variance, out=np.zeros(len(names)), where=variance > 0)
    return Covariance(matrix, noise, at_bound, share)


def sandwich(jacobian: Floats, residuals: Floats, weight: Floats, run: Ints) -> tuple[Floats, Noise]:
    """Covariance (free, free) at the minimum of ½ Σ residuals², and the noise along the runs.

    Parameters
    ----------
    jacobian : ndarray, shape (obs + prior, free)
        Derivatives of the residuals.
    residuals : ndarray, shape (obs + prior,)
        Observations first; those of the priors have unit variance.
    weight : ndarray, shape (obs,)
        By which the observations' residuals were multiplied.
    run : ndarray of int, shape (obs,)
        Contiguous runs.

    Notes
    -----
    With the curvature H = JᵀJ + PᵀP of data and priors, noise v R and weights W the estimate's error has the covariance
    H⁻¹ (v JᵀW R W J + PᵀP) H⁻¹: the truth scatters about a prior's centre as the prior says. v and the correlation of
    neighbours ρ, R = ρ^|i-j| within a run, are those for which the residuals' expected sums of squares and of products of
    neighbours, from which the fit took its share, are the ones found (Cochrane and Orcutt's ρ without its bias). The slow
    part of the noise has the relative variance 2/n + 4/m, where n points count as m = n (1-ρ)/(1+ρ) independent ones, more
    as the fit takes its share: the covariance is that of a Student t with as many degrees of freedom as this makes.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noise = np.zeros((200, 40))
    >>> noise[:, 0] = rng.standard_normal(200)
    >>> for i in range(1, 40):
    ...     noise[:, i] = 0.8 * noise[:, i - 1] + 0.6 * rng.standard_normal(200)
    >>> residuals = noise.ravel() - noise.mean()
    >>> _, found = sandwich(-np.ones((8000, 1)), residuals, np.ones(8000), np.repeat(np.arange(200), 40))
    >>> round(found.variance, 1), round(found.correlation, 2)
    (1.0, 0.8)
    """
    from scipy.optimize import brentq

    observations = weight.size
    rows, prior = jacobian[:observations], jacobian[observations:]
    data, priors = rows.T @ rows, prior.T @ prior
    inverse = _inverse(data + priors)
    share = _Share(rows / weight[:, None], rows * weight[:, None], inverse, run)
    unit = residuals[:observations] / weight
    squares, products = float(unit @ unit), float(np.sum(unit[1:] * unit[:-1], where=share.neighbours))

    def excess(correlation: float) -> float:
        expected = share.moments(correlation)
        return products * expected[0] - squares * expected[1]

    # Correlations longer than a run are no correlation but an error of the law; the scatter between runs shows it.
    longest = float(np.exp(-1.0 / max(np.median(np.unique(run, return_counts=True)[1]), 1.0)))
    low, high = (excess(correlation) for correlation in (0.0, longest))
    # Residuals that alternate, or are too few to tell, count as independent.
    correlation = 0.0 if low <= 0 else longest if high >= 0 else float(brentq(excess, 0.0, longest, xtol=1e-6))
    variance = max(squares / max(share.moments(correlation)[0], 1e-9), SMALLEST_VARIANCE)
    determined = float(np.trace(inverse @ data))
    independent = observations * (1 - correlation) / (1 + correlation)
    left = max(1 - determined / independent, 0.0)
    slow = 2 / independent if share.neighbours.any() else 0.0
    freedom = max(left / (1 / observations + slow), LEAST_FREEDOM)
    scores = variance * freedom / (freedom - 2) * share.scores(correlation).sum(axis=0)
    found = np.zeros((share.starts.size, rows.shape[1]))
    np.add.at(found, share.number, rows * residuals[:observations, None])
    expected = variance * float(np.einsum("rij,ji->", share.remaining_scores(correlation), inverse))
    scatter = float(np.einsum("ri,ij,rj->", found, inverse, found))
    noise = Noise(
        variance=variance,
        correlation=correlation,
        balance=determined / max(float(np.trace(inverse @ scores)), 1e-300),
        freedom=freedom,
        clustering=scatter / expected if expected > 0 else 1.0,
    )
    return inverse @ (scores + priors) @ inverse, noise


class _Share:
    """What a linear fit leaves of autoregressive noise u: residuals u - B H⁻¹ Cᵀ u, with scores Cᵀ u."""

    def __init__(self, slopes: Floats, weighted: Floats, inverse: Floats, run: Ints) -> None:
        self.slopes, self.weighted, self.inverse = slopes, weighted, inverse
        _, self.starts, self.number, self.counts = np.unique(
            run, return_index=True, return_inverse=True, return_counts=True
        )
        self.neighbours = run[1:] == run[:-1]

    def _correlated(self, correlation: float) -> Floats:
        """Product (obs, free) of the correlation matrix and the weighted derivatives: a filter each way."""
        from scipy.signal import lfilter

        out = np.empty_like(self.weighted)
        for start, count in zip(self.starts, self.counts, strict=True):
            mine = self.weighted[start : start + count]
            ways = [lfilter([1.0], [1.0, -correlation], way, axis=0) for way in (mine, mine[::-1])]
            out[start : start + count] = ways[0] + ways[1][::-1] - mine
        return out

    def _by_run(self, left: Floats, right: Floats) -> Floats:
        """Sums (run, free, free) of products over the observations of each run."""
        pairs = zip(self.starts, self.counts, strict=True)
        return np.array([left[at : at + n].T @ right[at : at + n] for at, n in pairs])

    def scores(self, correlation: float) -> Floats:
        """Covariance (run, free, free) of the scores of each run, for noise of unit variance."""
        return self._by_run(self.weighted, self._correlated(correlation))

    def remaining_scores(self, correlation: float) -> Floats:
        """As :meth:`scores`, of what the fit leaves of the noise."""
        scores, taken = self.scores(correlation), self._by_run(self.weighted, self.slopes) @ self.inverse
        cross = taken @ scores
        return np.asarray(scores - cross - cross.swapaxes(1, 2) + taken @ scores.sum(axis=0) @ taken.swapaxes(1, 2))

    def moments(self, correlation: float) -> tuple[float, float]:
        """Expected sums of squares, and of products of neighbours, of what the fit leaves of noise of unit variance."""
        correlated = self._correlated(correlation) @ self.inverse
        scores = self.inverse @ (self.weighted.T @ correlated)
        slopes, pair = self.slopes, self.neighbours[:, None]
        # Of the fitted part with the noise, and with itself.
        squares = self.neighbours.size + 1 - 2 * np.sum(slopes * correlated) + np.sum((slopes @ scores) * slopes)
        products = correlation * np.count_nonzero(self.neighbours)
        products -= np.sum(slopes[1:] * correlated[:-1] + slopes[:-1] * correlated[1:], where=pair)
        products += np.sum((slopes[1:] @ scores) * slopes[:-1], where=pair)
        return float(squares), float(products)


def curvature_inverse(jacobian: Floats) -> Floats:
    """Inverse (free, free) of the curvature of half the squared residuals: their covariance if they are independent.

    Examples
    --------
    >>> curvature_inverse(np.array([[2.0, 0.0], [0.0, 1.0]])).tolist()
    [[0.25, 0.0], [0.0, 1.0]]
    """
    return _inverse(jacobian.T @ jacobian)


def _inverse(information: Floats) -> Floats:
    """Pseudo-inverse after scaling to a unit diagonal: directions without information get none of the error."""
    unit = 1 / np.sqrt(np.maximum(np.diag(information), 1e-300))
    scaled = np.linalg.pinv(information * np.outer(unit, unit), rcond=1e-12, hermitian=True)
    return np.asarray(scaled * np.outer(unit, unit))


def is_at_bound(parameter: object) -> bool:
    """Whether an lmfit parameter has stopped at one of its bounds.

    Examples
    --------
    >>> import lmfit
    >>> is_at_bound(lmfit.Parameter("r", value=0.02, min=0.02)), is_at_bound(lmfit.Parameter("r", value=0.3, min=0.02))
    (True, False)
    """
    value, low, high = (getattr(parameter, name) for name in ("value", "min", "max"))
    near = [abs(value - bound) <= 1e-3 * max(abs(bound), 1e-3) for bound in (low, high) if np.isfinite(bound)]
    return any(near)
