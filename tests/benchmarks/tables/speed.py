"""Sections of RESULTS.md on the speed of one curve and on the memory it takes."""

from .markdown import listing, table, verdict


def comparisons(cases, comparisons, agreement=None):
    """What else computes the same, timed in turn with it."""
    lines = [
        "",
        "## Beside other ways to the same",
        "",
        "How many times as long the other takes, on the same work, in turn with ours in one process: median of the rounds and",
        "their quartiles, of processor time. Our own time is in units and milliseconds.",
        "",
        "| what it is compared with | times as fast | quartiles | wanted | units | ms |",
        "|---|---|---|---|---|---|",
    ]
    for case, row in comparisons.items():
        most = "" if row["most"] is None else f", limit {verdict(row['units'], row['most'])}"
        lines.append(
            f"| {case} | {row['ratio']:,.3g} | {row['low']:,.3g} to {row['high']:,.3g} "
            f"| {verdict(row['ratio'], row['target'], at_least=True)} | {row['units']:,.3g}{most} | {row['ms']:,.3g} |"
        )
    if agreement:
        lines += [
            "",
            "Largest difference of derivatives from difference quotients, in units of the derivative or of a tenth",
        ]
        lines += ["of the loss over the parameter; extrapolated from two steps (limit 1e-06), and plain:", ""]
        lines += table("case", agreement, "{:.1e}".format)
    return lines


def speed(cases, in_units, peak_mb, ratios):
    """Curves in units of their least arithmetic."""
    lines = [
        "",
        "## One curve",
        "",
        "200 log-spaced times over 7 decades.",
        "",
        *_in_units(in_units),
        "",
        "| case | peak of what is allocated, MB | limit |",
        "|---|---|---|",
        *(f"| {name} | {value:.1f} | {verdict(value, 50)} |" for name, value in peak_mb.items()),
        "",
        "| evaluation | ratio | limit |",
        "|---|---|---|",
    ]
    return lines + [f"| {name} | {ratio:.2f} | {verdict(ratio, limit)} |" for name, (ratio, limit) in ratios.items()]


def _in_units(cases):
    """Table of times of curves, in turn with the unit."""
    return [
        "In turn with the unit: median of 15 rounds, and their quartiles.",
        "",
        "| case | units a curve | quartiles | limit | ms a curve | unit, ms |",
        "|---|---|---|---|---|---|",
        *(
            f"| {case} | {row['units']:.2f} | {row['low']:.2f} to {row['high']:.2f} | {verdict(row['units'], row['target'])} "
            f"| {row['ms']:.2f} | {row['unit_ms']:.3f} |"
            for case, row in cases.items()
        ),
    ]


def schedules(cases, in_units, growth, derivatives, accuracy):
    """Curves under schedules."""
    lines = [
        "",
        "## Schedules",
        "",
        "The loss after every step.",
        "",
        *_in_units(in_units),
        "",
        "| schedule | time of 100,000 steps over that of 20,000 |",
        "|---|---|",
        *(f"| {name} | {_limited(value, 2.0)} |" for name, value in growth.items()),
        "",
        "| schedule | time of the loss with all derivatives over that of the loss |",
        "|---|---|",
        *(f"| {name} | {_limited(value, 2.5)} |" for name, value in derivatives.items()),
        "",
        "| schedule of 2,000 steps | largest relative error beside single steps |",
        "|---|---|",
    ]
    return lines + [f"| {name} | {_limited(value, 1e-6, '{:.0e}')} |" for name, value in accuracy.items()]


def _limited(value, limit, text="{:.2f}"):
    """A value beside what the report aims at; a pair has a limit of its own."""
    value, limit = value if isinstance(value, list) else (value, limit)
    return f"{text.format(value)} (limit {verdict(value, limit)})"


def costs(cases, growth_exponents, memory_of=None, profiles=None):
    """Cost against sizes, memory, and where time goes."""
    lines = [
        "",
        "## Cost against size",
        "",
        "Exponent of growth: slope of the logarithm of the median time, with its standard error, over the sizes.",
        "",
        "| size | from | to | exponent | limit | times as long at the end | limit |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, row in growth_exponents.items():
        lines.append(
            f"| {case} | {row['first']:,g} | {row['last']:,g} | {row['exponent']:.3f} ± {row['stderr']:.3f} "
            f"| {verdict(row['exponent'], row['limit'])} | {row['ratio']:.2f} | {verdict(row['ratio'], row['most'])} |"
        )
    if memory_of:
        lines += [
            "",
            "## Memory",
            "",
            "Peak of a fresh process, and what the case adds to the imports and a small curve, MB.",
            "",
        ]
        lines += table("case", memory_of, "{:.0f}".format)
    if profiles:
        lines += ["", "## Where time goes", ""]
        lines += [
            "The whole without the profiler in units, the counted floor of one curve; and shares of the time within"
        ]
        lines += ["functions themselves (cProfile, to which calls are dear)."]
        lines += listing("case", profiles)
    return lines


def others(title, head):
    """Section that lists the cases."""

    def section(cases, memory=None):
        rows = {row["case"]: {k: v for k, v in row.items() if k != "case"} for row in cases if row}
        for name, sizes in (memory or {}).items():
            rows[name] = {f"{what}, MB": size / 1e6 for what, size in sizes.items()}
        return ["", f"## {title}", *listing(head, rows)]

    return section
