"""Phase of a fitted law: what a fit's covariance says of it, and the exponents of its frontier at infinite compute."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ..theory.phases import REGIONS, term_exponents
from ..theory.spectrum import PowerLaw
from .curves import Floats
from .twopoint import PARAMETERS, effective_rate

REACH, POINTS = 8.0, 4001
"""Standard errors in alpha on either side over which a probability is summed up, and at how many points."""


class Asymptote(NamedTuple):
    """Frontier of a law at infinite compute, at a constant learning rate and batch size.

    Attributes
    ----------
    balance : tuple of str
        The two terms of the reducible loss that are equal at the optimal size: those of
        :class:`scalingeq.theory.phases.Phase`, and ``unlearnable``. One term alone where no size is optimal.
    size_exponent, data_exponent : float
        Of params and tokens in compute.
    loss_exponent : float
        Of the reducible loss, negative.
    """

    balance: tuple[str, ...]
    size_exponent: float
    data_exponent: float
    loss_exponent: float


def asymptote(parameters: Mapping[str, float]) -> Asymptote:
    """Exponents in compute, params times tokens, of a law's frontier where compute goes to infinity.

    Parameters
    ----------
    parameters : mapping
        All parameters of the two-point law.

    Returns
    -------
    Asymptote

    Notes
    -----
    Each term of the loss is a power of tokens and of effective width (arXiv:2405.15074), and width one of params; the
    unlearnable part is a power of params. The largest term counts, and the best size makes it smallest. With a width
    exponent of 1, noise, and nothing unlearnable that is the phase of arXiv:2405.15074; else another pair may balance.

    Examples
    --------
    >>> from .twopoint import complete
    >>> found = asymptote(complete(dict(alpha=1.5, r=0.4, width_scale=100.0, width_exponent=1.0)))
    >>> found.balance, round(found.size_exponent, 9), round(found.loss_exponent, 9)
    (('F_pp', 'F_0'), 0.4, -0.48)
    """
    exponent = parameters["width_exponent"]
    has_width = np.isfinite(parameters["width_scale"]) and exponent > 0
    terms = {}
    for name, (in_time, in_width) in term_exponents(parameters["alpha"], parameters["r"]).items():
        if (name != "K_pp" or parameters["noise_scale"] > 0) and (has_width or in_width == 0):
            terms[name] = (in_time, exponent * in_width)
    if parameters["unlearnable"] > 0:
        terms["unlearnable"] = (0.0, parameters["unlearnable_exponent"])

    def highest(size: float) -> float:
        return max(-p * (1 - size) - q * size for p, q in terms.values())

    # The best size of a maximum of lines lies where two of them cross, or at an end.
    candidates: list[tuple[float, float, tuple[str, ...]]] = []
    for end in (0.0, 1.0):
        candidates.append(
            (highest(end), end, (max(terms, key=lambda n: -terms[n][0] * (1 - end) - terms[n][1] * end),))
        )
    for (name, (p, q)), (other, (other_p, other_q)) in combinations(terms.items(), 2):
        slope = (p - q) - (other_p - other_q)
        if slope and 0 < (size := (p - other_p) / slope) < 1:
            level = -p * (1 - size) - q * size
            if level >= highest(size) - 1e-12:
                pair = (name, other) if q < other_q else (other, name)
                candidates.append((level, size, pair))
    loss, size, balance = min(candidates, key=lambda each: each[0])
    return Asymptote(balance, size, 1 - size, loss)


def loss_floor(parameters: Mapping[str, float], learning_rate: float, batch_size: float) -> float:
    """Loss that no size and no time remove at a constant rate: the irreducible part, and the noise it feeds.

    Notes
    -----
    The limit of long times of the loss of white label noise (arXiv:2502.05074): σ² / (1 - noise rate · Tr Σ / 2).

    Examples
    --------
    >>> from .twopoint import complete
    >>> loss_floor(complete(dict(alpha=2.0, r=0.3, irreducible=1.0)), 0.1, 8.0)
    1.0
    """
    rate = float(effective_rate(np.asarray(learning_rate), np.asarray(batch_size), parameters))
    trace = PowerLaw(parameters["alpha"], parameters["r"]).trace
    return float(parameters["irreducible"] / (1 - parameters["noise_scale"] * rate / batch_size * trace / 2))


class _Slices(NamedTuple):
    """Normal distribution of alpha and r cut into slices of alpha, arrays (slice,).

    ``weight`` is the probability of a slice, ``away`` the distance of its alpha from the mean in standard errors, and r is
    normal in it with the mean ``r`` and the one standard error ``spread``.
    """

    alpha: Floats
    away: Floats
    weight: Floats
    r: Floats
    spread: float


def _slices(alpha: float, r: float, covariance: Floats) -> _Slices:
    (variance, mixed), (_, own) = covariance
    if variance <= 0:
        one = np.ones(1)
        return _Slices(alpha * one, 0 * one, one, r * one, float(np.sqrt(max(own, 0.0))))
    away = np.linspace(-REACH, REACH, POINTS)
    at = alpha + away * np.sqrt(variance)
    inside = at >= PARAMETERS["alpha"].minimum  # where fits keep it
    away, at = away[inside], at[inside]
    spread = float(np.sqrt(max(own - mixed**2 / variance, 0.0)))
    weight = np.exp(-(away**2) / 2)
    return _Slices(at, away, weight / weight.sum(), r + mixed / variance * (at - alpha), spread)


def phase_probabilities(alpha: float, r: float, covariance: Floats) -> dict[str, float]:
    """Probability of each phase where alpha and r are normal, cut off at the bounds of a fit.

    Parameters
    ----------
    alpha, r : float
        Best fit.
    covariance : ndarray, shape (2, 2)
        Of alpha and r.

    Returns
    -------
    dict of str to float
        For the phases in the order of :data:`scalingeq.theory.phases.REGIONS`; they add up to 1.

    Examples
    --------
    >>> found = phase_probabilities(1.5, 0.5, np.diag([0.0, 0.01]))
    >>> round(found["Ia"], 3), round(found["II"], 3)
    (0.5, 0.452)
    """
    from scipy.special import ndtr

    slices = _slices(alpha, r, covariance)

    def below(edge: Floats) -> Floats:
        if slices.spread == 0:
            return np.asarray(slices.r <= edge, float)
        return np.asarray(ndtr((edge - slices.r) / slices.spread))

    lowest = below(np.full(slices.alpha.size, PARAMETERS["r"].minimum))
    found, rest = {}, slices.alpha > 0
    for region in REGIONS:
        mine = rest & (region.alpha[0] <= slices.alpha) & (slices.alpha <= region.alpha[1])
        low, high = (below(np.array([edge(a) for a in slices.alpha])) for edge in region.r)
        share = np.maximum(high, lowest) - np.maximum(low, lowest)
        found[region.name] = float((slices.weight * np.where(mine, np.maximum(share, 0.0), 0.0)).sum())
    total = sum(found.values())
    return {name: share / total for name, share in found.items()}


def boundary_distances(alpha: float, r: float, covariance: Floats) -> dict[str, tuple[float, float]]:
    """Distance of a fit to the boundaries between the phases of alpha above 1.

    Parameters
    ----------
    alpha, r : float
        Best fit.
    covariance : ndarray, shape (2, 2)
        Of alpha and r.

    Returns
    -------
    dict of str to (float, float)
        By the names of the phases on either side: how far r is above the boundary at this alpha, and the distance of the
        nearest point of the boundary in standard errors of the fit (infinite where the fit has none in that direction).

    Examples
    --------
    >>> above, sigma = boundary_distances(2.0, 0.4, np.diag([0.0, 0.01]))["Ia|II"]
    >>> print(f"{above:.3f} {sigma:.3f}")
    -0.100 1.000
    """
    slices = _slices(alpha, r, covariance)
    regions = {region.name: region for region in REGIONS}
    found = {}
    for lower, upper in (("Ia", "II"), ("II", "III")):
        edge = regions[upper].r[0]
        misses = np.array([edge(a) for a in slices.alpha]) - slices.r
        if slices.spread > 0:
            sigma = float(np.hypot(slices.away, misses / slices.spread).min())
        else:
            crossed = np.flatnonzero(np.diff(np.sign(misses)) != 0)
            sigma = float(np.abs(slices.away[crossed]).min()) if crossed.size else np.inf
        found[f"{lower}|{upper}"] = (float(r - edge(alpha)), sigma)
    return found
