"""Scaling laws of measured loss curves through the two-point deterministic equivalence of SGD (arXiv:2502.05074).

Importing this package registers the accessors ``.twopoint`` and ``.laws`` on :class:`xarray.Dataset` (measured curves)
and :class:`xarray.DataTree` (an analysis).
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
from .theory import (
    PowerLaw,
    Spectrum,
    decompose,
    local_exponents,
    loss_curve,
    phase,
    simulate,
    spectrum_from_features,
    spectrum_from_kernel,
)

# The rooms above, so that importing the package registers the accessors: the one place that looks up the stairs.
from . import accessors, datasets, theory  # isort: skip
from .accessors import open_analysis, phase_diagram

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
    "decompose",
    "local_exponents",
    "loss_curve",
    "open_analysis",
    "phase",
    "phase_diagram",
    "simulate",
    "spectrum_from_features",
    "spectrum_from_kernel",
    "theory",
]
