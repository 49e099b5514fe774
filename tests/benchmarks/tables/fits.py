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
        "Synthetic records, fitted from the default search (`test_recovery.py`, which says how the truth was chosen): share",
        "of intervals that hold the truth, probability of one as far from nominal, which should be 0.01 or more, mean error, which",
        "should be below 0.1, and scatter in standard errors.",
        "",
        *table("quantity", {name: _judged(row) for name, row in recovery.items()}, str),
    ]


def choices(cases, choices):
    """What a user may choose, judged inside the fitted parts of the scoreboard."""
    return [
        "",
        "## Choices",
        "",
        "Default fits, or those named, to the fitted part of a split of the scoreboard, less what a check leaves out of it,",
        "which they then predict: RMS log error in percent as the fit is by default, and with the choice.",
        "",
        "| data and choice | default | with the choice |",
        "|---|---|---|",
        *(f"| {name} | {100 * plain:.2f} | {100 * chosen:.2f} |" for name, (plain, chosen) in choices.items()),
    ]


def _judged(row):
    """Numbers as text; what chance does not explain is marked."""
    missed = {name for name, value in row.items() if name.startswith("p ") and value < 0.01}
    missed |= {"mean error"} if abs(row["mean error"]) > 0.1 else set()
    return {name: f"{value:.3g}" + (", **missed**" if name in missed else "") for name, value in row.items()}
