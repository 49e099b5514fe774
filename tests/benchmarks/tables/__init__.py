"""The tables of the benchmark report, made from the measured numbers."""
