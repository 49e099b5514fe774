"""Parts of tables in Markdown."""


def table(head, rows, text):
    """Lines of a table of nested mappings."""
    names = list(next(iter(rows.values()), {}))
    lines = [f"| {head} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    return lines + [f"| {row} | {' | '.join(text(values[name]) for name in names)} |" for row, values in rows.items()]


def listing(head, rows):
    """Lines of a table of mappings that have different names each."""
    lines = ["", f"| {head} | measured |", "|---|---|"]
    for case, row in rows.items():
        values = [f"{name.replace('_', ' ')}: {number(value)}" for name, value in row.items()]
        lines.append(f"| {case} | {'; '.join(values)} |")
    return lines


def number(value):
    """A number with three digits, or the text that it is."""
    return f"{value:,.3g}" if isinstance(value, float | int) and not isinstance(value, bool) else str(value)


def verdict(value, limit, at_least=False):
    """A limit, and whether it is kept: a miss is to be seen."""
    if limit in (None, ""):
        return ""
    kept = value >= limit if at_least else value <= limit
    return f"{'at least ' if at_least else ''}{limit:,g}{'' if kept else ', **missed**'}"
