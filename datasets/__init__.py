"""Measured loss curves: the schema of a labelled training record and the files that come with the package."""

from __future__ import annotations

from .catalogue import available, load
from .opening import open_logs, open_record
from .schema import check, from_curves, is_constant_rate, label, select_runs, to_curves

__all__ = [
    "available",
    "check",
    "from_curves",
    "is_constant_rate",
    "label",
    "load",
    "open_logs",
    "open_record",
    "select_runs",
    "to_curves",
]
