"""Laws of measured losses, all with one interface: ask for one by name."""

from __future__ import annotations

from ...errors import ParameterError
from .annealing import Annealing
from .broken import BrokenPower
from .chinchilla import Chinchilla, ChinchillaHuber
from .interface import Law, LawFit, Plan
from .isoflop import Envelope, Parabola, Porian
from .kaplan import Kaplan
from .multipower import MultiPower
from .rate_noise import RateNoise
from .repetition import DataConstrained
from .saturating import Saturating
from .two_point import TwoPoint

__all__ = ["LAWS", "Law", "LawFit", "Plan", "law"]

LAWS: dict[str, Law] = {
    one.name: one
    for one in (
        TwoPoint(), Chinchilla(), ChinchillaHuber(), Kaplan(), Envelope(), Parabola(), Porian(),
        RateNoise(), MultiPower(), Annealing(), DataConstrained(), BrokenPower(), Saturating(),
    )
}  # fmt: skip
"""Every law, by the name that fits ask for it."""


def law(name: str) -> Law:
    """Return the law of this name.

    Raises
    ------
    ParameterError
        If there is none; names those that there are.

    Examples
    --------
    >>> law("chinchilla").citation
    'Hoffmann et al., arXiv:2203.15556, approach 3'
    >>> law("hoffman")
    Traceback (most recent call last):
        ...
    scalingeq.errors.ParameterError: law: no law 'hoffman'; known are twopoint, chinchilla...
    """
    if name not in LAWS:
        raise ParameterError(f"law: no law {name!r}; known are {', '.join(LAWS)}")
    return LAWS[name]
