"""Sections of RESULTS.md on fits: their speed, and whether their errors are true."""

from .markdown import listing, table


def laws(cases, laws):
    """Fits of laws beside those of others."""
    return ["", "## Fits of laws", *listing("fit", laws)]


def recovery(cases, recovery):
    """Coverage of the errors of fits to synthetic records."""
    return [
        "",
        "## Do the errors hold what they say?",
        "",
        "400 synthetic records fitted (`test_recovery.py`): share of intervals that hold the truth, probability of one as",
        "far from nominal, mean error and scatter in standard errors.",
        "",
        *table("quantity", recovery, "{:.3f}".format),
    ]
