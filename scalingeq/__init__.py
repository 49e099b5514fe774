"""Scaling laws of measured loss curves through the two-point deterministic equivalence of SGD."""
