"""Bootstrap of a fit: blocks of residuals along the runs, put on the fitted losses and fitted again."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import ScalingEqError
from .covariance import covariance_of
from .curves import Floats
from .objective import Objective
from .refining import FINE, refine

if TYPE_CHECKING:
    from lmfit import Parameters

Ints = NDArray[np.int64]

CORRELATION_TIMES = 3.0  # of the noise, in a block
TRIALS = 200  # resampled series by which the scale of the residuals is set


@dataclass(frozen=True)
class Resampling:
    """What every draw of a bootstrap shares; plain data, for worker processes as well.

    Attributes
    ----------
    objective : Objective
        What the fit minimised.
    params : lmfit.Parameters
        At the minimum.
    residual : ndarray, shape (obs,)
        Logarithms of the fitted over the measured losses in units of their spread, scaled to scatter as the noise does.
    donors : tuple of ndarray of int
        For each run the observations that blocks for it are taken from, one array a run they belong to.
    block : ndarray of int, shape (run,)
        Length of the blocks for each run.
    """

    objective: Objective
    params: Parameters
    residual: Floats
    donors: tuple[tuple[Ints, ...], ...]
    block: Ints


def resampling(objective: Objective, params: Parameters) -> Resampling:
    """Prepare the draws of a bootstrap from a fit.

    Notes
    -----
    Sizes, schedules and steps of the runs stay as they were designed: what is resampled are the residuals, in moving
    blocks (Künsch 1989), from any run of the same model size where there are several, else from all runs. A block spans
    three correlation times of the noise, half a run at most. Residuals are short of the noise that the fit has followed,
    and blocks of the correlation at their ends; a common factor restores the scatter of the scores that
    :func:`~scalingeq.inference.covariance.sandwich` finds. Centres of priors are drawn from the priors.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from .curves import TrainingCurves
    >>> from .fitting import default_parameters
    >>> from .twopoint import complete
    >>> from .uncertainty import predicted_band
    >>> one, step = np.ones(1), np.geomspace(100, 1e4, 12)
    >>> curves = TrainingCurves(np.zeros(12, int), step, 8 * step, np.ones(12), np.full(12, np.nan), np.array(["a"]),
    ...     1e4 * one, 0.1 * one, 8 * one, np.inf * one, 0 * one)
    >>> truth = complete(dict(alpha=1.5, r=0.3, irreducible=0.5))
    >>> noise = 0.01 * np.random.default_rng(0).standard_normal(12)
    >>> curves = replace(curves, loss=predicted_band(truth, None, curves, 1e4)[0] * np.exp(noise))
    >>> params, _ = default_parameters(curves)
    >>> for name in ("alpha", "time_scale", "irreducible"):
    ...     params[name].set(value=truth[name], vary=False)
    >>> made = resampling(Objective(curves, np.ones(12), 0.01, params), params)
    >>> values, failure = bootstrap_draw(made, seed=1)
    >>> bool(np.isfinite(values[:2]).all()), failure
    (True, '')
    """
    params = params.copy()
    noise = covariance_of(objective, params).noise
    residual = objective.misfit(params.valuesdict()) / objective.spread
    runs, starts, counts = np.unique(objective.run, return_index=True, return_counts=True)
    members = [np.arange(start, start + count) for start, count in zip(starts, counts, strict=True)]
    sizes = objective.used.params[runs]
    donors = []
    for size in sizes:
        alike = [members[number] for number in np.flatnonzero(sizes == size)]
        donors.append(tuple(alike if len(alike) > 1 else members))
    length = int(np.ceil(CORRELATION_TIMES * (1 + noise.correlation) / (1 - noise.correlation)))
    block = np.clip(length, 1, np.maximum(counts // 2, 1))
    made = Resampling(objective, params, residual, tuple(donors), block)

    rows = objective.jacobian(params)
    slopes = rows[: residual.size] * objective.weight[:, None]
    rng = np.random.default_rng(0)
    scores = np.stack([_resampled(made, rng) @ slopes for _ in range(TRIALS)])
    inverse = np.linalg.pinv(rows.T @ rows, hermitian=True)
    data = rows[: residual.size].T @ rows[: residual.size]
    wanted = np.trace(inverse @ data) / noise.balance
    found = np.einsum("ti,ij,tj->", scores, inverse, scores) / TRIALS
    return Resampling(objective, params, residual * np.sqrt(wanted / found), tuple(donors), block)


def draw_seeds(seed: int, draws: int) -> list[int]:
    """Seeds of the draws: independent streams of one seed, the first ones the same for any number of draws.

    Examples
    --------
    >>> draw_seeds(0, 3)[:2] == draw_seeds(0, 2)
    True
    """
    return [int(child.generate_state(1, np.uint64)[0]) for child in np.random.SeedSequence(seed).spawn(draws)]


def _resampled(made: Resampling, rng: np.random.Generator) -> Floats:
    """Residuals (obs,) in new order."""
    counts = np.unique(made.objective.run, return_counts=True)[1]
    series = []
    for count, donors, length in zip(counts.tolist(), made.donors, made.block.tolist(), strict=True):
        taken: list[Ints] = []
        missing = count
        while missing > 0:
            donor = donors[rng.integers(len(donors))]
            start = rng.integers(max(donor.size - length, 0) + 1)
            piece = donor[start : start + length][:missing]
            taken.append(piece)
            missing -= piece.size
        series.append(made.residual[np.concatenate(taken)])
    return np.concatenate(series)


def bootstrap_draw(made: Resampling, seed: int) -> tuple[Floats, str]:
    """Values (parameter,) of one draw; NaN, and what went wrong, where its fit fails.

    Draws do not depend on one another: any order, process or machine gives the same.

    Parameters
    ----------
    made : Resampling
        From :func:`resampling`.
    seed : int
        Of this draw.

    Examples
    --------
    See :func:`resampling`.
    """
    rng = np.random.default_rng(seed)
    objective = copy.copy(made.objective)
    fitted = objective.log_loss + objective.misfit(made.params.valuesdict())
    objective.log_loss = fitted - _resampled(made, rng) * objective.spread
    priors = objective.residuals(made.params).size - objective.weight.size
    shift = np.append(np.zeros(objective.weight.size), rng.standard_normal(priors))
    try:
        found = refine(objective, made.params, *FINE, shift)
    except (ScalingEqError, ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        return np.full(len(made.params), np.nan), f"{type(error).__name__}: {error}"
    return np.array(list(found.valuesdict().values()), float), ""
