"""Scaling laws of measured loss curves through the two-point deterministic equivalence of SGD (arXiv:2502.05074).

Importing this package registers the accessor ``.twopoint`` on :class:`xarray.Dataset` (measured curves) and
:class:`xarray.DataTree` (an analysis).
"""

from importlib.metadata import version

from .errors import (
    ArchiveError,
    ConvergenceError,
    DataError,
    FitError,
    InstabilityError,
    ParameterError,
    ScalingEqError,
)
from .theory import PowerLaw, Spectrum, loss_curve, simulate, spectrum_from_features, spectrum_from_kernel

# The rooms above, so that importing the package registers the accessors: the one place that looks up the stairs.
from . import accessors, datasets  # isort: skip
from .accessors import open_analysis

__version__ = version("scalingeq")

__all__ = [
    "ArchiveError",
    "ConvergenceError",
    "DataError",
    "FitError",
    "InstabilityError",
    "ParameterError",
    "PowerLaw",
    "ScalingEqError",
    "Spectrum",
    "accessors",
    "datasets",
    "loss_curve",
    "open_analysis",
    "simulate",
    "spectrum_from_features",
    "spectrum_from_kernel",
]
