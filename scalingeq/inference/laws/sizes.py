"""The term of model size that laws of one curve are given, so that they speak of several sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..curves import Floats, TrainingCurves

if TYPE_CHECKING:
    from lmfit import Parameters


USUAL_EXPONENT = 0.34
"""Exponent of the loss in model size of Hoffmann et al., arXiv:2203.15556, where the sizes do not tell it."""


def size_column(curves: TrainingCurves, exponent: float) -> Floats:
    """Loss (obs,) of a unit of the amplitude of size: params^-exponent.

    Examples
    --------
    >>> one = np.ones(1)
    >>> size_column(TrainingCurves(np.zeros(1, int), one, one, one, one, np.array(["a"]), 100 * one, one, one, one, one), 0.5)
    array([0.1])
    """
    return np.asarray(curves.params[curves.run] ** -exponent)


def hold_size(params: Parameters, curves: TrainingCurves, amplitude: str, exponent: str) -> tuple[str, ...]:
    """Hold what too few sizes do not determine: the whole term where there is one, its exponent where there are two.

    Returns
    -------
    tuple of str
        Notes for the reader of the fit.

    Examples
    --------
    >>> from lmfit import Parameters
    >>> one, params = np.ones(1), Parameters()
    >>> params.add_many(("A", 1.0), ("a", 0.5))
    >>> curves = TrainingCurves(np.zeros(1, int), one, one, one, one, np.array(["a"]), one, one, one, one, one)
    >>> hold_size(params, curves, "A", "a")
    ('size term held out: 1 model size, 2 or more determine it',)
    """
    sizes = np.unique(curves.params[curves.run]).size
    if sizes > 2:
        return ()
    params[exponent].set(value=USUAL_EXPONENT, vary=False)
    if sizes == 2:
        return (f"{exponent} held at {USUAL_EXPONENT:g}: 2 model sizes, 3 or more tell it from the irreducible loss",)
    params[amplitude].set(value=0.0, vary=False)
    return ("size term held out: 1 model size, 2 or more determine it",)
