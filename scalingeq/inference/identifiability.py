"""What a fit's covariance says of its parameters, in words: what is determined, what trades off, what rests on priors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .curves import Floats
from .uncertainty import identified_combinations

TRADE_OFF = 0.9  # correlation from which on two parameters are said to trade off
PAIRS = 3  # that are named
ON_PRIORS = 0.5  # share of a variance from which on a parameter is said to rest on the priors
FLAT = 0.5  # standard error of a logarithm from which on a direction is called flat: a factor of 1.6
UNKNOWN = 7.0  # and from which on not even the factor is known: a thousand, far beyond what first order can tell
NAMED = 0.25  # exponent from which on a parameter is named in a direction


def findings(values: Mapping[str, float], covariance: Floats, prior_share: Floats) -> tuple[str, ...]:
    """Sentences on how well the curves determine the parameters, the identified combinations first.

    Parameters
    ----------
    values : mapping
        All parameters at the best fit.
    covariance : ndarray, shape (parameter, parameter)
        In the order of ``values``.
    prior_share : ndarray, shape (parameter,)
        Share of each variance that the priors have, as :class:`~scalingeq.inference.covariance.Covariance` has it.

    Examples
    --------
    >>> values = {"alpha": 1.5, "r": 0.3, "width_exponent": 0.5}
    >>> matrix = np.array([[0.04, 0.0, -0.0132], [0.0, 1e-6, 0.0], [-0.0132, 0.0, 0.0045]])
    >>> for line in findings(values, matrix, np.array([0.6, 0.0, 0.1])):
    ...     print(line)
    2 r is determined to 0.33 %, 2 alpha r width_exponent to 2.4 %, better than alpha (13 %), width_exponent (13 %).
    alpha and width_exponent trade off (correlation -0.98).
    The priors have more than half of the say in alpha.
    """
    names, best = list(values), np.array(list(values.values()))
    stderr = np.sqrt(np.diag(covariance))
    free = np.flatnonzero((stderr > 0) & np.isfinite(best))
    lines = _combinations(values, covariance, stderr)
    correlation = covariance[np.ix_(free, free)] / np.outer(stderr[free], stderr[free])
    first, second = np.triu_indices(free.size, 1)
    strength = np.abs(correlation[first, second])
    for pair in np.argsort(-strength)[:PAIRS]:
        if strength[pair] >= TRADE_OFF:
            one, other = (names[free[side[pair]]] for side in (first, second))
            lines.append(f"{one} and {other} trade off (correlation {correlation[first[pair], second[pair]]:.2f}).")
    resting = [names[number] for number in free if prior_share[number] > ON_PRIORS]
    if resting:
        lines.append(f"The priors have more than half of the say in {', '.join(resting)}.")
    return (*lines, *_flat_directions([names[n] for n in free], best[free], covariance[np.ix_(free, free)]))


def _combinations(values: Mapping[str, float], covariance: Floats, stderr: Floats) -> list[str]:
    """Say how well the combinations are determined beside those of their factors that are known less well."""
    found = {
        name: abs(error / value)
        for name, (value, error) in identified_combinations(values, covariance).items()
        if value and error
    }
    errors = dict(zip(values, stderr, strict=True))
    relative = {name: abs(errors[name] / values[name]) for name in ("alpha", "width_exponent") if errors[name] > 0}
    best = {name: error for name, error in found.items() if not relative or error < 0.5 * max(relative.values())}
    if not best:
        return []
    told = [f"{name} {'is determined ' * (not number)}to {100 * error:.2g} %"
            for number, (name, error) in enumerate(best.items())]  # fmt: skip
    worse = [f"{name} ({100 * error:.2g} %)" for name, error in relative.items() if error > 2 * min(best.values())]
    beside = f", better than {', '.join(worse)}" if worse else ""
    return [f"{', '.join(told)}{beside}."]


def _flat_directions(names: list[str], best: Floats, covariance: Floats) -> list[str]:
    """Directions in the logarithms of the parameters along which these are known to a factor only."""
    positive = best > 0
    if not positive.any():
        return []
    kept = [name for name, keep in zip(names, positive, strict=True) if keep]
    unit = best[positive]
    variance, direction = np.linalg.eigh(covariance[np.ix_(positive, positive)] / np.outer(unit, unit))
    lines = []
    for spread, exponents in sorted(
        zip(np.sqrt(np.maximum(variance, 0)), direction.T, strict=True), key=lambda x: -x[0]
    ):
        if spread < FLAT:
            break
        sign = np.sign(exponents[np.argmax(np.abs(exponents))])
        parts = [
            f"{name}^{exponent * sign:.2g}"
            for name, exponent in sorted(zip(kept, exponents, strict=True), key=lambda pair: -abs(pair[1]))
            if abs(exponent) >= NAMED
        ]
        moves = f"{', '.join(parts)} {'move together' if len(parts) > 1 else 'moves'}"
        size = f"a factor of {np.exp(spread):.2g} (one standard error)" if spread < UNKNOWN else "any factor"
        lines.append(f"A flat direction: {moves} by {size}.")
    return lines
