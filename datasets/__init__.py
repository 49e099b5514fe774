"""Measured loss curves: the schema of a labelled training record and the files that come with the package."""

from __future__ import annotations

from .schema import check, from_curves, is_constant_rate, label, select_runs, to_curves

__all__ = ["check", "from_curves", "is_constant_rate", "label", "select_runs", "to_curves"]
