"""FRONTIERS.md: frontiers beside published ones."""

from .markdown import table


def lines(ladders, isoflop, fitted=None):
    """Lines of the file, from what the topic frontiers recorded."""
    return [
        "# Frontiers beside published ones",
        "",
        "Written by `python tests/benchmarks/report.py` from records made by others, which do not come with the package.",
        "Numbers are exponents of the optimal size in compute, 6 times params times tokens.",
        "",
        "## Ladders of models",
        "",
        "Models of arXiv:2507.02119, eight sizes a task, each trained on a linear decay of its rate to the compute that the",
        "authors' frontier plans for it: the ends of mlp have that exponent by design, those of c5m, as logged, do not. While",
        "all rates still fall, the smallest model that still runs is the best: these curves have no frontier inside. Of three",
        "sizes one alone can be inside, and parabolas through three points have no scatter to tell an error by: take those",
        "exponents for what they are. The theory is `ds.twopoint.fit()` of one run a size, 15 points each, its frontier at",
        "the geometric mean of the ends.",
        "",
        *table("runs", ladders, str),
        "",
        *(table("theory fitted to", fitted, str) if fitted else ["The fits were not part of this run."]),
        "",
        "## Tables of final losses",
        "",
        "Set-ups of arXiv:2406.19146: data, hyperparameters, warm-up, decay, how params count, loss. Parabolas of",
        "`ds.twopoint.isoflop()` through the sizes next to the best; published are exponents of the authors' minima, which",
        "come from interpolation of their own, some budgets left out. Errors know the scatter around the parabolas, not the",
        "choice of a parabola.",
        "",
        *table("set-up", isoflop, str),
        "",
    ]
