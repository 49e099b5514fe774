"""Laws, fits, their errors and the frontier, on plain arrays."""
