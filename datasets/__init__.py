"""Measured loss curves: the schema of a labelled training record and the files that come with the package."""

from __future__ import annotations

from .catalogue import fetch, load
from .catalogue import list as list  # not in __all__: a star import would hide Python's own
from .cleaning import drop_burn_in, drop_warmup, join_restarts, separate, split_restarts
from .opening import open_logs, open_record
from .schema import check, from_curves, is_constant_rate, label, select_runs, to_curves
from .seeds import average_seeds
from .thinning import thin

__all__ = [
    "average_seeds",
    "check",
    "drop_burn_in",
    "drop_warmup",
    "fetch",
    "from_curves",
    "is_constant_rate",
    "join_restarts",
    "label",
    "load",
    "open_logs",
    "open_record",
    "select_runs",
    "separate",
    "split_restarts",
    "thin",
    "to_curves",
]
