"""The lower envelope of measured curves against compute: approach 1 of Hoffmann et al. (arXiv:2203.15556)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .curves import Floats
from .frontier import FLOPS_RULES, FlopsRule
from .measured_losses import Bools, Losses, is_inside, run_draws
from .parabolas import REACH, near_the_best, parabola_spread
from .power_fits import PowerFit, power_fits, with_tokens

NOT_TOLD_APART = 2.0
"""Standard errors of a difference of losses within which two sizes are equally good."""


@dataclass(frozen=True)
class Envelope:
    """Lowest measured loss at each compute, arrays (compute,), NaN where no run has been measured.

    Attributes
    ----------
    loss, params, tokens : ndarray
        Of the best run.
    loss_stderr : ndarray
        Standard error of the log of its loss.
    run : ndarray of int
        Number of the best run, -1 for none.
    params_low, params_high : ndarray
        Smallest and largest size whose loss the errors do not tell from the lowest.
    is_inside : ndarray of bool
        Whether smaller and larger models were measured at this compute as well: where not, the envelope is only the best
        of what was tried.
    fits : dict of str to PowerFit
        Of ``loss``, ``params`` and ``tokens``, through the computes that are inside.
    drawn : dict of str to ndarray, shape (1 + draw, compute)
        Logarithms of the three for the losses as they are, and for draws of their errors.
    """

    loss: Floats
    loss_stderr: Floats
    params: Floats
    tokens: Floats
    run: NDArray[np.int64]
    params_low: Floats
    params_high: Floats
    is_inside: Bools
    fits: dict[str, PowerFit]
    drawn: dict[str, Floats]


def lower_envelope(losses: Losses, flops: FlopsRule = FLOPS_RULES["6ND"]) -> Envelope:
    """Lowest measured loss at each compute, with the size and tokens of its run.

    Standard errors are that of each loss, or the scatter of the runs around parabolas in log size where that is larger, a
    run moving as a whole. The lowest of several noisy losses is lower than the loss of the best model by about their
    standard error. Sizes move in steps along an envelope, from one measured size to the next: the power laws run through
    the stairs.

    Parameters
    ----------
    losses : Losses
        From :func:`losses_at`.
    flops : callable
        Compute of (params, tokens).

    Returns
    -------
    Envelope

    Examples
    --------
    >>> three = Losses(np.array([1e9]), np.log([[2.0, 1.0, 1.5]]), 0.01 * np.ones((1, 3)), np.array([1e3, 1e4, 1e5]))
    >>> best = lower_envelope(three)
    >>> best.loss.round(9).tolist(), best.params.round(6).tolist(), best.is_inside.tolist()
    ([1.0], [10000.0], [True])
    """
    there = np.isfinite(losses.log_loss)
    any_run = there.any(axis=1)
    row = np.arange(any_run.size)
    log_loss = np.where(there, losses.log_loss, np.inf)
    spread = parabola_spread(losses, near_the_best(losses, REACH))
    stderr = np.where(there, np.fmax(losses.stderr, spread), 0.0)
    best = log_loss.argmin(axis=1)
    lowest, error = log_loss[row, best], stderr[row, best]
    close = log_loss <= (lowest + NOT_TOLD_APART * np.hypot(stderr.T, error)).T
    low = np.where(close & there, losses.params, np.inf).min(axis=1)
    high = np.where(close & there, losses.params, -np.inf).max(axis=1)
    inside = is_inside(losses)

    moved = np.where(there, log_loss + stderr * run_draws(losses.params.size)[:, None], np.inf)
    sizes = np.log(losses.params)[moved.argmin(axis=2)]
    sizes, levels = (np.where(any_run, values, np.nan) for values in (sizes, moved.min(axis=2)))
    drawn = with_tokens(levels, sizes, losses.compute, flops)
    return Envelope(
        loss=np.exp(drawn["loss"][0]),
        loss_stderr=np.where(any_run, error, np.nan),
        params=np.where(any_run, losses.params[best], np.nan),
        tokens=np.exp(drawn["tokens"][0]),
        run=np.where(any_run, best, -1),
        params_low=np.where(any_run, low, np.nan),
        params_high=np.where(any_run, high, np.nan),
        is_inside=inside,
        fits=power_fits(drawn, losses.compute, np.where(inside, 1.0, 0.0)),
        drawn=drawn,
    )
