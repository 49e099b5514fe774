"""What was measured of a frontier, drawn: the lower envelope, IsoFLOP minima, and IsoFLOP curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from scalingeq.errors import DataError
from scalingeq.inference.envelope import lower_envelope
from scalingeq.inference.frontier import FLOPS_RULES
from scalingeq.inference.measured_losses import budgets, losses_at
from scalingeq.inference.parabolas import isoflop_minima

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from scalingeq.inference.curves import TrainingCurves

ENVELOPE_COLOUR, MINIMA_COLOUR = "#D55E00", "#009E73"  # vermilion and green of Okabe and Ito
MINIMA_LABEL = "IsoFLOP minima"
POINTS = 200  # of an envelope


def draw_measured_frontier(ax: Axes, curves: TrainingCurves, quantity: str, flops: str) -> None:
    """Draw lower envelope and IsoFLOP minima with errors; none where there are none, or the rule of compute is a user's."""
    if flops not in FLOPS_RULES:
        return
    try:
        measured = budgets(curves)
    except DataError:  # fewer than three sizes at any compute
        return
    compute = np.geomspace(measured[0], measured[-1], POINTS)
    best, minima = lower_envelope(losses_at(curves, compute)), isoflop_minima(losses_at(curves, measured))
    batch = curves.batch_size.mean()
    values, points = (
        {"loss": found.loss, "params": found.params, "tokens": found.tokens, "steps": found.tokens / batch}[quantity]
        for found in (best, minima)
    )
    if quantity == "steps" and np.ptp(curves.batch_size) > 0:  # steps of different batches are no frontier
        return
    shown = np.where(best.is_inside, values, np.nan)
    ax.plot(compute, shown, color=ENVELOPE_COLOUR, linewidth=1.0, label="measured envelope", zorder=2.5)
    found = np.isfinite(points)
    if found.any():
        error = np.nan_to_num(minima.loss_stderr if quantity == "loss" else minima.params_stderr)[found]
        reach = points[found] * np.stack([1 - np.exp(-error), np.exp(error) - 1])
        ax.errorbar(
            measured[found], points[found], reach, color=MINIMA_COLOUR, linestyle="", marker="D", markersize=2.6,
            markeredgewidth=0, elinewidth=0.7, label=MINIMA_LABEL, zorder=2.6,
        )  # fmt: skip


def draw_isoflops(ax: Axes, isoflop: xr.Dataset) -> list[Line2D]:
    """Draw losses against size at each compute, in a colour that tells it, with parabolas and minima."""
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm

    compute = isoflop["compute"].values
    # The pale end of the map is left out: it would not be seen on white.
    colours = ListedColormap(mpl.colormaps["plasma"](np.linspace(0.0, 0.85, 256))[::-1])
    mapping = ScalarMappable(LogNorm(compute.min(), max(compute.max(), 1.01 * compute.min())), colours)
    lines = []
    for number, budget in enumerate(compute):
        point = isoflop.isel(compute=number)
        colour = mapping.to_rgba(budget)
        order = np.argsort(point["run_params"].values)
        params, loss, used = (point[name].values[order] for name in ("run_params", "run_loss", "is_used"))
        (line,) = ax.plot(
            params,
            loss,
            linestyle="",
            marker="o",
            markersize=2.4,
            markeredgewidth=0,
            color=colour,
            label=f"{budget:.2g}",
        )
        lines.append(line)
        if np.isfinite(point["params"]):
            at = np.geomspace(params[used == 1].min(), params[used == 1].max(), 60)
            bend = point["curvature"].item() * np.log(at / point["params"].item()) ** 2 / 2
            ax.plot(at, point["loss"].item() * np.exp(bend), color=colour, linewidth=0.8)
            ax.plot(
                point["params"],
                point["loss"],
                "D",
                color=colour,
                markersize=4,
                markeredgecolor="0.15",
                markeredgewidth=0.5,
            )
    ax.figure.colorbar(mapping, ax=ax, pad=0.02, aspect=28).set_label("training compute [FLOP]")
    return lines
