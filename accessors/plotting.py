"""``ds.twopoint.plot`` and ``tree.twopoint.plot``: figures for one column of a paper, legible without colour vision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
import xarray as xr

from scalingeq.accessors.frontier_plot import MINIMA_LABEL, draw_isoflops, draw_measured_frontier
from scalingeq.accessors.style import INK, styled_axes
from scalingeq.datasets.schema import label, to_curves
from scalingeq.datasets.shapes import find_layout
from scalingeq.errors import DataError, ParameterError
from scalingeq.inference.laws import LAWS
from scalingeq.inference.twopoint import LAW_NAME

from .archive import law_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.cm import ScalarMappable
    from matplotlib.lines import Line2D
    from matplotlib.patches import Polygon
    from numpy.typing import NDArray

    from scalingeq.inference.curves import Floats, TrainingCurves

HELD_OUT_DASHES = (0, (4, 1.5))
FAINT = "0.72"
ROLE_COLOURS = {"not_used": FAINT, "fitted": "#0072B2", "held_out": "#D55E00"}  # blue and vermilion of Okabe and Ito
RUN_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
NAMED_RUNS = 8  # a legend names so many
BAND_COLOURS = ("#BBD9EC", "#7FB6DB")  # outer, inner
EXPONENTS = {"loss": "loss_exponent", "params": "size_exponent", "tokens": "data_exponent", "steps": "data_exponent"}


class MeasuredPlots:
    """Plots of measured loss curves.

    Examples
    --------
    >>> loss = [[3.0, 2.0, 1.5], [2.8, 1.7, 1.2]]
    >>> ds = xr.Dataset({"loss": (("run", "step"), loss)}, {"step": [1, 10, 100], "params": ("run", [1e4, 1e5])})
    >>> lines = MeasuredPlots(ds).curves()
    >>> [line.get_label() for line in lines], lines[0].axes.get_xlabel()
    (['0', '1'], 'optimiser steps done')
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def curves(self, ax: Axes | None = None, *, x: Literal["step", "tokens"] | None = None) -> list[Line2D]:
        """Draw the loss of every run in a colour that tells the model size, or the run where all have one size.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; the default is a new figure of one column's width.
        x : {"step", "tokens"}, optional
            Horizontal axis; the default is the first of these that the dataset has.

        Returns
        -------
        list of matplotlib.lines.Line2D
            One line for each run, labelled with its name.

        Raises
        ------
        DataError
            If the dataset has no loss, none of the accepted shapes, or not the horizontal axis asked for.
        """
        ds = label(self._ds)
        if "loss" not in ds:
            raise DataError("loss: missing; name the variable: ds.twopoint.label(loss=...).twopoint.plot.curves()")
        layout = find_layout(ds)
        across = x or ("step" if "step" in ds else "tokens")
        if across not in ds:
            raise DataError(f"{across}: missing; name the variable or give the values: ds.twopoint.label({across}=...)")
        abscissa, loss = (layout.spread(ds[name]) for name in (across, "loss"))
        with styled_axes(ax) as ax:
            colours = _run_colours(ax, ds, layout.names.size)
            lines = []
            for number, name in enumerate(layout.names):
                mine = layout.run == number
                (line,) = ax.plot(
                    abscissa[mine], loss[mine], color=colours[number], label=str(name), linewidth=1.1,
                    marker="o" if mine.sum() == 1 else "", markersize=3,
                )  # fmt: skip
                lines.append(line)
            if layout.names.size > 1 and not _sizes_differ(ds):
                few = len(lines) <= NAMED_RUNS
                title = None if few else f"first {NAMED_RUNS} of {len(lines)} runs"
                ax.legend(handles=lines[:NAMED_RUNS], title=title)
            _log_axes(ax, _label(ds[across]), _label(ds["loss"]))
        return lines

    def isoflop(self, isoflop: xr.Dataset | None = None, ax: Axes | None = None) -> list[Line2D]:
        """Draw the losses of the runs at each compute against model size, the parabolas through them and their minima.

        Parameters
        ----------
        isoflop : xarray.Dataset, optional
            From ``ds.twopoint.isoflop(...)``; the default calls it.
        ax : matplotlib.axes.Axes, optional
            Where to draw; the default is a new figure of one column's width.

        Returns
        -------
        list of matplotlib.lines.Line2D
            One line of points for each compute.
        """
        found = self._ds.twopoint.isoflop() if isoflop is None else isoflop
        with styled_axes(ax) as ax:
            lines = draw_isoflops(ax, found)
            _log_axes(ax, _label(found["run_params"]), _label(found["run_loss"]))
        return lines


class AnalysisPlots:
    """Plots of an analysis, made by :meth:`scalingeq.accessors.measured.MeasuredTwoPoint.fit`.

    Examples
    --------
    >>> import scalingeq
    >>> runs = scalingeq.datasets.select_runs(scalingeq.datasets.load("stdlib-lm"), [0, 1])
    >>> tree = runs.twopoint.fit(alpha=1.5, r=0.2)
    >>> [line.get_label() for line in tree.twopoint.plot.curves()] == list(runs.run.values)
    True
    >>> tree.twopoint.plot.residuals()[0].axes.get_ylabel()
    'log (measured / predicted loss)'
    """

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    def curves(self, ax: Axes | None = None, *, x: Literal["step", "tokens"] = "step") -> list[Line2D]:
        """Draw the measured losses as points and the law as lines with a band of one standard error.

        What was fitted has filled points and solid lines, what was held out hollow points and dashed lines. Points
        without weight in the fit (warm-up and first transient) are faint; some lie outside the axes.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; the default is a new figure of one column's width.
        x : {"step", "tokens"}
            Horizontal axis.

        Returns
        -------
        list of matplotlib.lines.Line2D
            The law's lines, labelled with the runs' names: one each for the fitted and the held-out part of a run.
        """
        record = _flat(self._tree, with_loss=True)
        curves = record.curves
        across = getattr(curves, x)
        observed = record.observed
        with styled_axes(ax) as ax:
            colours = _run_colours(ax, observed, curves.name.size)
            held = record.role == record.flags["held_out"]
            lines = []
            for number, name in enumerate(curves.name):
                mine = curves.run == number
                for part, dashes in ((mine & ~held, "-"), (mine & held, HELD_OUT_DASHES)):
                    if not part.any():
                        continue
                    _draw_points(ax, across, record, part, colours[number])
                    shown = np.flatnonzero(part)
                    if shown[0] and mine[shown[0] - 1]:  # the line goes on where the other part of the run ends
                        shown = np.insert(shown, 0, shown[0] - 1)
                    theory = record.predicted[shown]
                    (line,) = ax.plot(
                        across[shown], theory, color=colours[number], linestyle=dashes, linewidth=1.0, label=str(name)
                    )
                    lines.append(line)
                    if record.stderr is not None:
                        band = theory - record.stderr[shown], theory + record.stderr[shown]
                        ax.fill_between(across[shown], *band, color=colours[number], alpha=0.25, linewidth=0)
            named = (
                {} if _sizes_differ(observed) else dict(zip(curves.name[:NAMED_RUNS].tolist(), colours, strict=False))
            )
            drawn = "theory" if law_of(self._tree) == LAW_NAME else "law"
            _analysis_legend(ax, named if curves.name.size > 1 else {}, drawn, has_held_out=bool(held.any()))
            ax.set(**_used_range(record, across))
            _log_axes(ax, _x_label(observed, x), _label(observed["loss"]))
        return lines

    def frontier(
        self,
        frontier: xr.Dataset | None = None,
        ax: Axes | None = None,
        *,
        quantity: Literal["loss", "params", "tokens", "steps"] = "loss",
    ) -> Line2D:
        """Draw a compute-optimal frontier with its bands and local exponents, and the measured runs in grey.

        Parameters
        ----------
        frontier : xarray.Dataset, optional
            From ``tree.twopoint.frontier(...)``; the default is the group ``frontier`` of the analysis, and if it has
            none, the frontier from the cheapest observed run to 100 times the most expensive one.
        ax : matplotlib.axes.Axes, optional
            Where to draw; the default is a new figure of one column's width.
        quantity : {"loss", "params", "tokens", "steps"}
            What to draw against compute.

        Returns
        -------
        matplotlib.lines.Line2D
            The best fit's frontier.

        Raises
        ------
        ParameterError
            If there is no such quantity; or if there is no frontier yet, and the observed runs do not share one
            learning rate and batch size to plan it with.
        """
        if quantity not in EXPONENTS:
            raise ParameterError(f"quantity: no {quantity!r} on a frontier; pass one of {', '.join(EXPONENTS)}")
        record = _flat(self._tree)
        if frontier is None:
            frontier = self._own_frontier(record.curves)
        compute, best = frontier["compute"].values, frontier[f"best_{quantity}"].values
        quantiles = np.sort(frontier["quantile"].values)
        pairs = [(low, high) for low, high in zip(quantiles, quantiles[::-1], strict=True) if low < high]
        with styled_axes(ax) as ax:
            _draw_measured(ax, record.curves, quantity, str(frontier.attrs.get("flops", "")))
            _draw_optima(ax, self._tree, quantity)
            draw_measured_frontier(ax, record.curves, quantity, str(frontier.attrs.get("flops", "")))
            shades = BAND_COLOURS if len(pairs) > 1 else BAND_COLOURS[1:]
            for number, (low, high) in enumerate(pairs):
                band = frontier[quantity].sel(quantile=[low, high]).transpose("quantile", "compute").values
                shade = shades[min(number, len(shades) - 1)]
                ax.fill_between(compute, *band, color=shade, linewidth=0, label=f"{100 * (high - low):.3g} % band")
            (line,) = ax.plot(compute, best, color="#004C7A", linewidth=1.4, label="best fit")
            if quantity == "loss":
                ax.set(**_frontier_range(record.curves, frontier))
            _log_axes(ax, _label(frontier["compute"]), _label(frontier[quantity]))
            _annotate_exponents(ax, compute, best, frontier[f"best_{EXPONENTS[quantity]}"].values)
            handles, texts = ax.get_legend_handles_labels()
            # What was measured last.
            order = sorted(range(len(texts)), key=lambda number: (texts[number] == MINIMA_LABEL, -number))
            handles, texts = ([each[number] for number in order] for each in (handles, texts))
            # Above the axes: inside there is no place that neither bands nor runs reach.
            ax.legend(
                handles,
                texts,
                loc="lower center",
                bbox_to_anchor=(0.5, 1.0),
                ncols=3,
                handlelength=1.4,
                columnspacing=1.2,
            )
        return line

    def residuals(self, ax: Axes | None = None) -> list[Line2D]:
        """Draw the log of measured over predicted loss against the step, and the spread of the fit as a band.

        The range of the axes is that of the fitted and held-out points; those not used may lie outside.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; the default is a new figure of one column's width.

        Returns
        -------
        list of matplotlib.lines.Line2D
            One line for each run and part of it (not used, fitted, held out).
        """
        record = _flat(self._tree, with_loss=True)
        step, spread = record.curves.step, float(self._tree["parameters"]["residual_scale"])
        with styled_axes(ax) as ax:
            ax.axhspan(-spread, spread, color="0.9", linewidth=0, label=f"±{spread:.2g} (spread of the fit)")
            ax.axhline(0, color=INK, linewidth=0.6)
            lines, named = [], set()
            for role, colour in ROLE_COLOURS.items():
                for number in range(record.curves.name.size):
                    mine = (record.curves.run == number) & (record.role == record.flags[role])
                    if not mine.any():
                        continue
                    text = role.replace("_", " ") if role not in named else "_"
                    named.add(role)
                    (line,) = ax.plot(
                        step[mine], record.residual[mine], color=colour, linewidth=0.5, marker="o", markersize=1.8,
                        label=text, zorder=3 if role == "held_out" else 2,
                    )  # fmt: skip
                    lines.append(line)
            used = record.role != record.flags["not_used"]
            reach = 1.1 * max(float(np.abs(record.residual[used]).max()), 1.5 * spread)
            ax.set(xscale="log", xlim=(0.5 * step[used].min(), 1.15 * step.max()), ylim=(-reach, reach))
            ax.set_xlabel(_x_label(record.observed, "step"))
            ax.set_ylabel("log (measured / predicted loss)")
            _legend_above(ax)
        return lines

    def phase(self, ax: Axes | None = None) -> list[Polygon]:
        """Draw the phases of compute-optimal scaling with the fit in its place: 68 and 95 % of its errors as ellipses.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; the default is a new figure of one column's width.

        Returns
        -------
        list of matplotlib.patches.Polygon
            The regions, as :func:`scalingeq.phase_diagram`.
        """
        from .groups import read_parameters
        from .phase_plot import phase_diagram

        law = read_parameters(self._tree["parameters"].to_dataset())
        place = law.values["alpha"], law.values["r"]
        regions = phase_diagram(ax, mark=[place])
        axes = cast("Axes", regions[0].axes)
        if law.covariance is not None:
            position = [list(law.values).index(name) for name in ("alpha", "r")]
            size, direction = np.linalg.eigh(law.covariance[np.ix_(position, position)])
            angle = np.linspace(0, 2 * np.pi, 200)
            circle = np.stack([np.cos(angle), np.sin(angle)])
            for share, dashes in ((0.68, "-"), (0.95, HELD_OUT_DASHES)):
                radius = np.sqrt(-2 * np.log(1 - share))
                outline = radius * direction @ (np.sqrt(np.maximum(size, 0.0))[:, None] * circle)
                axes.set_xlim(right=max(axes.get_xlim()[1], 1.03 * (place[0] + outline[0].max())))
                axes.plot(
                    *(outline.T + place).T, color=INK, linewidth=0.8, linestyle=dashes, label=f"{100 * share:g} %"
                )
        return regions

    def _own_frontier(self, curves: TrainingCurves) -> xr.Dataset:
        """The frontier that the analysis holds, or one over the range of the observed runs and beyond."""
        if "frontier" in self._tree.children:
            return self._tree["frontier"].to_dataset()
        compute = _compute(curves, "6ND")
        frontier: xr.Dataset = self._tree.laws.frontier(np.geomspace(compute.min(), 100 * compute.max(), 25))
        return frontier


class _Record(NamedTuple):
    """The observations of an analysis, one after the other, and what the fit says of each."""

    observed: xr.Dataset
    curves: TrainingCurves
    predicted: Floats
    stderr: Floats | None
    residual: Floats
    role: Floats
    flags: dict[str, float]


def _flat(tree: xr.DataTree, *, with_loss: bool = False) -> _Record:
    """The record; where ``with_loss`` asks for predicted losses, laws that have none are refused."""
    if with_loss and not LAWS[law_of(tree)].has_loss:
        raise ParameterError(
            f"plot: the law {law_of(tree)!r} has a frontier alone and predicts no curves; draw plot.frontier()"
        )
    observed, prediction = (tree[name].to_dataset() for name in ("observed", "prediction"))
    layout = find_layout(observed)
    role = prediction["role"]
    meanings = str(role.attrs["flag_meanings"]).split()
    return _Record(
        observed=observed,
        curves=to_curves(observed),
        predicted=layout.spread(prediction["loss"]),
        stderr=layout.spread(prediction["loss_stderr"]) if "loss_stderr" in prediction else None,
        residual=layout.spread(prediction["log_residual"]),
        role=layout.spread(role),
        flags=dict(zip(meanings, map(float, np.atleast_1d(role.attrs["flag_values"])), strict=True)),
    )


def _run_colours(ax: Axes, ds: xr.Dataset, runs: int) -> Sequence[Any]:
    """One colour a run: by model size with a colour bar where sizes differ, else by number."""
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm

    if not _sizes_differ(ds):
        return [RUN_COLOURS[number % len(RUN_COLOURS)] for number in range(runs)]
    params = np.broadcast_to(np.asarray(ds["params"].values, float), (runs,))
    # The pale end of the map is left out: it would not be seen on white.
    colours = ListedColormap(mpl.colormaps["plasma"](np.linspace(0.0, 0.85, 256))[::-1])
    mapping = ScalarMappable(LogNorm(params.min(), params.max()), colours)
    counting = ds.attrs.get("counting")
    _size_bar(ax, mapping, np.unique(params), f"parameters ({counting})" if counting else "parameters")
    return [mapping.to_rgba(size) for size in params]


def _sizes_differ(ds: xr.Dataset) -> bool:
    return "params" in ds and bool(np.ptp(ds["params"].values) > 0)


def _size_bar(ax: Axes, mapping: ScalarMappable, sizes: Floats, text: str) -> None:
    """Colour bar with a tick at each size that has room for its number."""
    ticks = [sizes[0]]
    room = (sizes[-1] / sizes[0]) ** 0.07
    for size in sizes[1:-1]:
        if size / ticks[-1] > room and sizes[-1] / size > room:
            ticks.append(size)
    ticks.append(sizes[-1])
    bar = ax.figure.colorbar(mapping, ax=ax, pad=0.02, aspect=28)
    bar.set_ticks(ticks, labels=[_short_number(tick) for tick in ticks])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label(text)


def _short_number(value: float) -> str:
    """Two or three digits and an SI prefix: 9.2k, 147k, 1.3M."""
    from matplotlib.ticker import EngFormatter

    leading = value / 1000.0 ** np.floor(np.log10(value) / 3)
    return EngFormatter(sep="", places=1 if leading < 9.95 and leading != round(leading) else 0)(value)


def _used_range(record: _Record, across: Floats) -> dict[str, tuple[float, float]]:
    """Limits of the axes around the fitted and held-out points: the transient before them would dwarf the rest."""
    used = record.role != record.flags["not_used"]
    losses = np.concatenate([record.curves.loss[used], record.predicted[used]])
    return {"xlim": (0.7 * across[used].min(), 1.15 * across.max()), "ylim": (losses.min() / 1.05, 1.05 * losses.max())}


def _draw_points(ax: Axes, across: Floats, record: _Record, part: NDArray[np.bool_], colour: Any) -> None:
    """Draw the measured losses of a part of a run: faint without weight in the fit, hollow and on top if held out."""
    styles = {"not_used": (colour, 0.25, 2), "fitted": (colour, 1.0, 2), "held_out": ("white", 1.0, 3)}
    for role, (face, alpha, order) in styles.items():
        chosen = part & (record.role == record.flags[role])
        ax.plot(
            across[chosen], record.curves.loss[chosen], linestyle="", marker="o", markersize=2.4, markeredgewidth=0.6,
            color=colour, markerfacecolor=face, alpha=alpha, zorder=order,
        )  # fmt: skip


def _analysis_legend(ax: Axes, named: dict[str, Any], drawn: str, *, has_held_out: bool) -> None:
    """Say what points and ``drawn`` lines are, and which colours the ``named`` runs have."""
    from matplotlib.lines import Line2D

    point: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 3, "markeredgewidth": 0.6, "color": INK}
    entries = [Line2D([], [], **point, label="measured"), Line2D([], [], color=INK, linewidth=1, label=drawn)]
    if has_held_out:
        entries.append(Line2D([], [], **point, markerfacecolor="white", label="measured, held out"))
        entries.append(Line2D([], [], color=INK, linewidth=1.0, linestyle=HELD_OUT_DASHES, label=f"{drawn}, held out"))
    entries += [Line2D([], [], color=colour, linewidth=2, label=name) for name, colour in named.items()]
    _legend_above(ax, handles=entries)


def _legend_above(ax: Axes, **handles: Any) -> None:
    """Two columns above the axes, where no curve passes."""
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.4, handlelength=2.0, **handles)


def _draw_measured(ax: Axes, curves: TrainingCurves, quantity: str, flops: str) -> None:
    """Thin lines of the observed runs; none where the frontier's rule of compute is the user's own function."""
    from scalingeq.inference.frontier import FLOPS_RULES

    if flops not in FLOPS_RULES:
        return
    compute = _compute(curves, flops)
    values = {"loss": curves.loss, "params": curves.params[curves.run], "tokens": curves.tokens, "steps": curves.step}
    for number in range(curves.name.size):
        mine = curves.run == number
        text = "measured runs" if number == 0 else "_"
        ax.plot(compute[mine], values[quantity][mine], color="0.6", linewidth=0.6, label=text, zorder=1.5)


def _draw_optima(ax: Axes, tree: xr.DataTree, quantity: str) -> None:
    """Points of the measured optima that a frontier goes through, where the analysis has some."""
    if "optima" in tree.children and quantity in ("loss", "params"):
        optima = tree["optima"].to_dataset()
        ax.plot(
            optima["compute"], optima[quantity], linestyle="", marker="o", markersize=3, color="#D55E00", zorder=3,
            label="measured optima",
        )  # fmt: skip


def _compute(curves: TrainingCurves, flops: str) -> Floats:
    from scalingeq.inference.frontier import FLOPS_RULES

    return FLOPS_RULES[flops](curves.params[curves.run], curves.tokens)


def _frontier_range(curves: TrainingCurves, frontier: xr.Dataset) -> dict[str, tuple[float, float]]:
    """Limits of the axes that show the frontier and the ends of all runs: their first losses would dwarf the rest."""
    compute, last = _compute(curves, "6ND"), np.append(np.diff(curves.run) != 0, True)
    low, high = float(frontier["loss"].min()), max(float(frontier["loss"].max()), curves.loss[last].max())
    start = min(compute[curves.loss <= 1.2 * high].min(), float(frontier["compute"].min()))
    return {"xlim": (0.6 * start, 1.6 * float(frontier["compute"].max())), "ylim": (low / 1.05, 1.2 * high)}


def _annotate_exponents(ax: Axes, compute: Floats, best: Floats, exponent: Floats) -> None:
    """Write the local exponent beside the line towards both of its ends."""
    falling = best[-1] < best[0]
    for position in sorted({len(compute) // 5, len(compute) - 1 - len(compute) // 5}):
        ax.annotate(
            f"slope ${exponent[position]:.2g}$",
            (compute[position], best[position]),
            xytext=(6, 12 if falling else -14),
            textcoords="offset points",
            ha="left",
            fontsize=7,
            color="#004C7A",
            arrowprops={"arrowstyle": "-", "color": "#004C7A", "linewidth": 0.5, "shrinkB": 1},
        )


def _log_axes(ax: Axes, x_label: str, y_label: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
    _plain_numbers(ax.yaxis)
    low, high = sorted(ax.xaxis.get_view_interval())
    if high < 100 * low:  # numbers at every tick would run into each other
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
        ax.xaxis.set_minor_formatter(NullFormatter())


def _plain_numbers(axis: Axis) -> None:
    """Plain round numbers on a logarithmic axis of less than three decades: powers of ten would leave it bare."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

    low, high = sorted(axis.get_view_interval())
    if high < 1000 * low:
        round_numbers = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
        if high < 1.8 * low:
            axis.set_major_locator(MaxNLocator(6))
        else:
            subs = round_numbers if high < 10 * low else (1.0, 2.0, 5.0)
            axis.set_major_locator(LogLocator(subs=subs, numticks=20))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_locator(NullLocator())


def _label(variable: xr.DataArray) -> str:
    """Text of an axis: what the variable is, and its unit unless this is a pure number or named already."""
    text = str(variable.attrs.get("long_name", variable.name))
    units = str(variable.attrs.get("units", "1"))
    return text if units == "1" or units in text.split() else f"{text} [{units}]"


def _x_label(observed: xr.Dataset, x: str) -> str:
    if x in observed:
        return _label(observed[x])
    return "optimiser steps done" if x == "step" else f"training tokens seen [{observed['batch_size'].attrs['units']}]"
