"""What a fitted source exponent says of a task that the network learns features for (arXiv:2409.17858).

The two-point law has fixed features, on which the loss of a task with source exponent r falls as time^-2r. Networks that
learn features go through hard tasks, r below 1/2, faster: as time^(-4r/(1 + 2r)). Their curves are those of fixed features
with another r, which a fit finds and extrapolates as it is; the functions here go from one to the other.
"""

from __future__ import annotations

import numpy as np

from ..errors import ParameterError
from .curves import Floats

HARD = 0.5
"""Source exponent below which a task is hard: learning features changes its exponents."""


def effective_source(source: float | Floats) -> Floats:
    """Source exponent that curves show of a task with exponent ``source`` that features are learnt for.

    Raises
    ------
    ParameterError
        If a source exponent is not positive.

    Notes
    -----
    2r/(1 + 2r) where r < 1/2, so that the loss falls as time^(-4r/(1 + 2r)), and r else (arXiv:2409.17858, where the
    exponent is called beta = 2r).

    Examples
    --------
    >>> effective_source(np.array([0.25, 0.5, 1.0])).round(4).tolist()
    [0.3333, 0.5, 1.0]
    """
    given = _positive(source)
    return np.asarray(np.where(given < HARD, 2 * given / (1 + 2 * given), given))


def task_source(fitted: float | Floats) -> Floats:
    """Source exponent of the task behind a fitted one, if features were learnt: the inverse of :func:`effective_source`.

    Raises
    ------
    ParameterError
        If a source exponent is not positive.

    Examples
    --------
    >>> task_source(np.array([1 / 3, 0.5, 1.0])).round(4).tolist()
    [0.25, 0.5, 1.0]
    """
    given = _positive(fitted)
    hard = np.minimum(given, HARD)
    return np.asarray(np.where(given < HARD, hard / (2 * (1 - hard)), given))


def _positive(source: float | Floats) -> Floats:
    given = np.asarray(source, float)
    if not np.all(given > 0):
        raise ParameterError(f"source: {given.min():g} is not positive; pass the exponent r of a fit or of a task")
    return given
