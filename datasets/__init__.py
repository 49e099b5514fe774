"""Measured loss curves: the schema of a labelled training record and the files that come with the package."""

from __future__ import annotations

from .catalogue import available, load
from .schema import check, from_curves, is_constant_rate, label, select_runs, to_curves
from .tables import open_record, read_table

__all__ = [
    "available",
    "check",
    "from_curves",
    "is_constant_rate",
    "label",
    "load",
    "open_record",
    "read_table",
    "select_runs",
    "to_curves",
]
