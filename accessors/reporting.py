"""``tree.twopoint.report()``: what an analysis says, as text and as HTML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from html import escape
from typing import NamedTuple

import numpy as np
import xarray as xr

from scalingeq.datasets.schema import to_curves
from scalingeq.errors import ScalingEqError
from scalingeq.inference.bands import DRIFT, NEEDED
from scalingeq.inference.largest import largest_left_out
from scalingeq.inference.laws import LAWS
from scalingeq.inference.scoring import LEVELS
from scalingeq.inference.twopoint import LAW_NAME

from .archive import law_of
from .checking import TASKS
from .groups import stored_expressions, stored_weight, to_lmfit

COMBINATIONS = {
    "2 r": "exponent of the loss in time",
    "2 alpha r": "exponent of the loss in effective width",
    "2 alpha r width_exponent": "exponent of the loss in model size, where width limits it",
}
SAME = 1.02  # two laws whose errors differ by less than this factor are called equally good


class Section(NamedTuple):
    """A title, a table (heads of its columns, if any, and rows) and sentences below it."""

    title: str
    heads: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    sentences: Sequence[str] = ()


class Report:
    """What an analysis says: identified combinations, parameters, errors of the laws, notes, data and provenance.

    Parameters
    ----------
    tree : xarray.DataTree
        An analysis. ``str(report)`` is plain text; notebooks show the HTML form.

    Examples
    --------
    >>> import scalingeq
    >>> runs = scalingeq.datasets.select_runs(scalingeq.datasets.load("stdlib-lm"), [0, 1])
    >>> runs.twopoint.fit(alpha=1.5, r=0.2).twopoint.report()
    Two-point theory fitted to measured loss curves
    <BLANKLINE>
    What the curves determine best
    ...
    """

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    def __str__(self) -> str:
        parts = [str(self._tree.attrs.get("title", "Analysis"))]
        for section in self._sections:
            lines = [*text_table(section.heads, section.rows), *section.sentences]
            parts += ["", section.title, *(f"  {line}" for line in lines)]
        return "\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = [f"<h3>{escape(str(self._tree.attrs.get('title', 'Analysis')))}</h3>"]
        for section in self._sections:
            parts.append(f"<h4>{escape(section.title)}</h4>")
            rows = [_html_row("th", section.heads)] * bool(section.heads)
            rows += [_html_row("td", row) for row in section.rows]
            parts += [f"<table>{''.join(rows)}</table>"] * bool(rows)
            parts += [f"<p>{escape(line)}</p>" for line in section.sentences]
        return "\n".join(parts)

    @cached_property
    def _sections(self) -> list[Section]:
        """All sections; notebooks ask for both forms of a report, whose check is a fit."""
        parameters, prediction, observed = (
            self._tree[name].to_dataset() for name in ("parameters", "prediction", "observed")
        )
        # One of many fits has its notes in a variable.
        stored = parameters["notes"].item() if "notes" in parameters else parameters.attrs.get("notes", "")
        notes = [line for line in str(stored).splitlines() if line]
        return [
            *([_identified(parameters)] if law_of(self._tree) == LAW_NAME else []),
            _parameters(parameters),
            *([_scores(prediction)] if "law" in prediction else []),
            *(_check(self._tree) or _largest(self._tree)),
            _frontier(self._tree),
            *([Section("Notes", sentences=notes)] if notes else []),
            _data(observed),
            _provenance(self._tree),
        ]


def _identified(parameters: xr.Dataset) -> Section:
    from scalingeq.inference.identifiability import findings
    from scalingeq.inference.uncertainty import identified_combinations

    names = [str(name) for name in parameters["parameter"].values]
    values = dict(zip(names, map(float, parameters["value"].values), strict=True))
    found = identified_combinations(values, parameters["covariance"].values)
    rows = [(name, f"{value:.4g}", _error(error), COMBINATIONS[name]) for name, (value, error) in found.items()]
    # An analysis from before the share of the priors was kept says nothing of it.
    share = parameters["prior_share"].values if "prior_share" in parameters else np.zeros(len(names))
    heads = ("combination", "value", "std. error", "meaning")
    said = findings(values, parameters["covariance"].values, share)
    return Section("What the curves determine best", heads, rows, said)


def _parameters(parameters: xr.Dataset) -> Section:
    rows = [
        (
            str(row["parameter"].item()),
            f"{row['value'].item():.4g}",
            _error(row["stderr"].item()),
            str(row["parameter_units"].item()),
            _status(row),
            str(row["meaning"].item()),
        )
        for row in (parameters.isel(parameter=number) for number in range(parameters.sizes["parameter"]))
    ]
    sentences = []
    if "reference_params" in parameters:
        reference = float(parameters["reference_params"])
        sentences = [f"Amplitudes and widths refer to a model of {reference:,.0f} parameters."]
    if "reference_compute" in parameters:
        sentences = [f"The reference compute is {float(parameters['reference_compute']):.4g} FLOP."]
    return Section(
        "Parameters",
        ("parameter", "value", "std. error", "unit", "status", "meaning"),
        rows,
        sentences,
    )


def _status(row: xr.Dataset) -> str:
    if str(row["expr"].item()):
        return "constrained"
    if not row["vary"].item():
        return "held"
    return "fitted" if np.isfinite(row["stderr"].item()) else "at bound"


def _scores(prediction: xr.Dataset) -> Section:
    laws = [str(law) for law in prediction["law"].values]
    titles = {
        "fitted_error": ("RMS log error, fitted points", ".4f"),
        "held_out_error": ("RMS log error, held-out points", ".4f"),
        "held_out_end_error": ("log error at the end of the longest held-out run", "+.4f"),
    }
    rows = [
        (text, *(format(value, digits) for value in prediction[name].values.tolist()))
        for name, (text, digits) in titles.items()
        if name in prediction
    ]
    role = prediction["role"]
    not_used = int((role == np.atleast_1d(role.attrs["flag_values"])[0]).sum())
    sentences = []
    if not_used:
        sentences.append(
            f"Not scored: {not_used} of {int(role.count())} points, which have no weight (by default the warm-up and "
            "the first 2 % of each run)."
        )
    if "held_out_end_error" in prediction:
        sentences.append("The end's error is positive where the law predicts too high a loss.")
    if "held_out_error" in prediction and len(laws) == 2:
        sentences.append(_reading(dict(zip(laws, map(float, prediction["held_out_error"].values), strict=True))))
    elif "held_out_error" not in prediction:
        sentences.append("Nothing was held out, so these errors say how the laws fit, not how they predict.")
    return Section(
        "Errors as measured",
        ("", *(LAWS[name].title if name in LAWS else f"{name} law" for name in laws)),
        rows,
        sentences,
    )


def _check(tree: xr.DataTree) -> list[Section]:
    """What the candidates predicted of what was left out, and what bands make of it; nothing without a check."""
    if "check" not in tree.children:
        return []
    found, candidates = tree["check"].to_dataset(), tree["candidates"].to_dataset()
    rows = [
        (str(name), f"{weight:.2f}", f"{score:.4f}")
        for name, weight, score in zip(
            candidates["candidate"].values, candidates["weight"].values, candidates["score"].values, strict=True
        )
    ]
    task = str(found.attrs["task"])
    freedom, noise = (float(candidates[name]) for name in ("freedom", "noise"))
    unit = "a schedule that was not fitted" if candidates["reach_schedules"] else "each factor e beyond what was fitted"
    sentences = [
        f"Left out and predicted: {TASKS[task]}. Candidates weigh by how well they did; predictions are the average.",
        f"The average missed what was left out by {float(found['error']):.2%} RMS; {found['end_error'].attrs['long_name']}:"
        f" {float(found['end_error']):+.2%}.",
        f"Bands add to the candidates' scatter a noise of {noise:.2%} and {DRIFT:.1%} for "
        f"{unit} (in size, tokens, compute or repeats), all times {NEEDED:g}, Student t with {freedom:.0f} degrees of "
        "freedom.",
    ]
    if failures := str(candidates.attrs.get("failures", "")):
        sentences.append(f"Not fitted: {'; '.join(failures.splitlines())}")
    return [
        Section("Check: part of the training data left out", ("candidate", "weight", "RMS log error"), rows, sentences)
    ]


def _largest(tree: xr.DataTree) -> list[Section]:
    """How the law, fitted again without the largest sizes, predicts them; nothing for a law of the frontier alone."""
    law = LAWS[law_of(tree)]
    if not law.has_loss:
        return []
    parameters, title = tree["parameters"].to_dataset(), "Check: the largest left out"
    prior = float(parameters["irreducible_prior"]) if "irreducible_prior" in parameters else np.inf
    try:
        weight = stored_weight(tree)
        if stored_expressions(parameters):
            return [Section(title, sentences=["Not done: expressions stored as constraints are not evaluated."])]
        curves = to_curves(tree["observed"].to_dataset())
        whole_runs, found = largest_left_out(law, curves, to_lmfit(parameters), weight, prior)
    except ScalingEqError as error:
        return [Section(title, sentences=[f"Not done: {error}"])]
    what = TASKS["size" if whole_runs else "horizon"]
    inside = ", ".join(f"{held:.1f} in the {level:.0%} band" for level, held in zip(LEVELS, found.inside, strict=True))
    sentences = [
        f"Fitted again without {what} ({found.runs} {'run' if found.runs == 1 else 'runs'}), with the same parameters free, "
        f"the law misses them by {found.error:.2%} RMS, and the end of the longest by {found.end_error:+.2%}.",
        f"Of these runs there are {inside} of the parameters' and the residuals' errors.",
    ]
    return [Section(title, sentences=sentences)]


def _reading(error: dict[str, float]) -> str:
    """Say in words which law predicted the held-out points better."""
    ours, other = error["twopoint"], error["additive"]
    texts = f"{100 * ours:.3g} % against {100 * other:.3g} %"
    if ours > SAME * other:
        return f"On the held-out points the two-point theory is worse than the additive law: {texts} RMS."
    if other > SAME * ours:
        return f"On the held-out points the two-point theory is better than the additive law: {texts} RMS."
    return f"On the held-out points both laws do equally well: {texts} RMS."


def _frontier(tree: xr.DataTree) -> Section:
    """Measured exponents of the optimal size; of a two-point fit its own, and the asymptote of its phase."""
    from scalingeq.errors import DataError

    rows: list[tuple[str, ...]] = []
    sentences: list[str] = []
    observed = tree["observed"].to_dataset()
    for name, text in (("isoflop", "measured, IsoFLOP minima"), ("envelope", "measured, lower envelope")):
        try:
            found = getattr(observed.twopoint, name)()
        except DataError:
            sentences = ["No frontier was measured: at no compute was the best size between others."]
            continue
        at = found["compute"].values[np.isfinite(found["params"].values)]
        values = (found[each].sel(quantity="params").item() for each in ("exponent", "exponent_stderr"))
        if at.size > 1:
            rows.append((text, _span(at, 2), *_with_error(*values), ""))
        if "note" in found.attrs:
            sentences = [f"In what is measured {found.attrs['note']}."]
    is_twopoint = law_of(tree) == LAW_NAME
    if is_twopoint:
        more, said = _phase(tree)
        rows, sentences = rows + more, sentences + said
    heads: tuple[str, ...] = (
        "frontier",
        "compute [FLOP]",
        "size exponent",
        "std. error",
        "exponent of the reducible loss",
    )
    # Those of the reducible loss are a fit's alone.
    used = slice(5 if is_twopoint else 4)
    title = "Frontier and phase" if is_twopoint else "Frontier"
    return Section(title, heads[used] if rows else (), [row[used] for row in rows], sentences)


def _phase(tree: xr.DataTree) -> tuple[list[tuple[str, ...]], list[str]]:
    """Local exponents of a two-point fit, those of its limit, and its phase in words."""
    rows: list[tuple[str, ...]] = []
    sentences: list[str] = []
    phase = tree.twopoint.phase()
    for compute, point in ((value, phase.sel(compute=value)) for value in phase["compute"].values):
        exponents = [
            _with_error(*(point[f"local_{name}_exponent{end}"].item() for end in ("", "_stderr")))
            for name in ("size", "loss")
        ]
        if np.isfinite(point["local_size_exponent"]):
            rows.append(("this fit", f"{compute:.2g}", *exponents[0], " ".join(exponents[1])))
    limits = (f"{phase[f'asymptote_{name}_exponent'].item():.3g}" for name in ("size", "loss"))
    size, loss = limits
    rows.append(("its limit", "infinite", size, "", loss))
    if "note" in phase.attrs:
        sentences.append(str(phase.attrs["note"]) + ".")
    likely = [(name, share) for name, share in zip(*_probabilities(phase), strict=True) if share >= 0.005]
    return rows, [
        *sentences,
        f"Phase {phase['phase'].item()} ({phase['phase_balance'].item()}) of arXiv:2405.15074; under the fit's errors "
        + ", ".join(f"{name} {100 * share:.3g} %" for name, share in likely)
        + ".",
        f"In the limit, with the fitted width exponent and unlearnable part, {phase['asymptote_balance'].item()}.",
    ]


def _probabilities(phase: xr.Dataset) -> tuple[list[str], list[float]]:
    return phase["phase_name"].values.tolist(), phase["probability"].values.tolist()


def _with_error(value: float, error: float) -> tuple[str, str]:
    return f"{value:.3g}", _error(error)


def _data(observed: xr.Dataset) -> Section:
    curves = to_curves(observed)
    sizes = np.unique(curves.params)
    unit = str(observed["batch_size"].attrs["units"])
    rows = [
        ("runs", f"{curves.name.size}"),
        ("observations", f"{curves.run.size}"),
        ("model sizes", _span(sizes) + (f" ({sizes.size} sizes)" if sizes.size > 1 else "")),
        (f"{unit} seen", f"up to {curves.tokens.max():.3g}"),
        ("learning rate after warm-up", _span(curves.learning_rate)),
        (f"batch size [{unit}]", _span(curves.batch_size)),
        (f"loss [{observed['loss'].attrs['units']}]", _span(curves.loss)),
    ]
    if curves.schedules:
        several = np.unique([id(schedule) for schedule in curves.schedules.values()]).size
        rows.append(
            ("schedules", f"{several} in {len(curves.schedules)} runs, given above by highest rate and mean batch")
        )
    limited = curves.dataset_size[np.isfinite(curves.dataset_size)]
    if limited.size:
        rows.append((f"unique {unit}", f"{_span(limited)} in {limited.size} runs that repeat them"))
    return Section("Data", rows=rows)


def _provenance(tree: xr.DataTree) -> Section:
    stored = json.loads(str(tree.attrs.get("provenance", "{}")))
    rows = []
    for name, value in stored.items():
        text = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
        rows.append((name.replace("_", " "), text))
    return Section("Provenance", rows=rows)


def _error(value: float) -> str:
    return f"± {value:.2g}" if np.isfinite(value) and value > 0 else "-"


def _span(values: np.ndarray, digits: int = 4) -> str:
    low, high = f"{np.min(values):.{digits}g}", f"{np.max(values):.{digits}g}"
    return low if low == high else f"{low} to {high}"


def _html_row(tag: str, cells: tuple[str, ...]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def text_table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a table, its columns aligned; without heads where these are empty.

    Examples
    --------
    >>> text_table(("law", "error"), [("additive", "0.01")])
    ['law       error', 'additive  0.01']
    """
    lines = [heads, *rows] if heads else list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
