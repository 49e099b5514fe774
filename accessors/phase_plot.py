"""The plane of capacity and source with the phases of compute-optimal scaling."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scalingeq.accessors.style import INK, styled_axes
from scalingeq.errors import ParameterError
from scalingeq.theory.phases import REGIONS, PaquetteExponents, Region, phase

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Polygon
    from numpy.typing import NDArray

# Tints of blue, green, orange and purple of Okabe and Ito: one hue for each of the four phases.
COLOURS = {
    "Ia": "#CFE3F1",
    "Ib": "#A9CDE6",
    "Ic": "#84B7DB",
    "II": "#B5DFCF",
    "III": "#F6DDAE",
    "IVa": "#ECCFDF",
    "IVb": "#D9A0BF",
}
RANGE = {"twopoint": (2.0, 1.2), "paquette": (1.0, 1.2)}  # of both axes, where no mark lies outside
LABELS = {
    "twopoint": (r"capacity exponent $\alpha$", "source exponent $r$"),
    "paquette": (r"data complexity $\alpha$ of Paquette et al.", r"target complexity $\beta$"),
}
FAR = 1e4  # lies outside every plot, for regions without an upper end


def phase_diagram(
    ax: Axes | None = None,
    *,
    mark: Iterable[tuple[float, float]] = (),
    convention: Literal["twopoint", "paquette"] = "twopoint",
) -> list[Polygon]:
    """Draw the phases of compute-optimal scaling, each with its name and the two terms of the loss that balance.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, optional
        Where to draw; the default is a new figure of one column's width.
    mark : iterable of (alpha, r)
        Points to mark, those of fits for example: capacity and source, whatever the convention of the axes.
    convention : {"twopoint", "paquette"}
        Axes: capacity alpha and source r as everywhere in this package, or alpha and beta of arXiv:2405.15074.

    Returns
    -------
    list of matplotlib.patches.Polygon
        The regions, labelled with the names of their phases.

    Raises
    ------
    ParameterError
        If there is no such convention, or a point to mark lies in no phase.

    Notes
    -----
    The regions of :func:`scalingeq.phase`, after the phase diagram of arXiv:2405.15074. Below ``alpha + beta = 1/2`` of
    that convention no power law is known.

    Examples
    --------
    >>> regions = phase_diagram(mark=[(1.5, 0.4)])
    >>> [region.get_label() for region in regions]
    ['Ia', 'Ib', 'Ic', 'II', 'III', 'IVa', 'IVb']
    """
    if convention not in LABELS:
        raise ParameterError(f"convention is {convention!r}: pass {' or '.join(map(repr, LABELS))}")
    marked = [phase(*point) for point in mark]
    points = np.array([_place(found.alpha, found.r, convention) for found in marked]).reshape(-1, 2)
    right, top = np.maximum(RANGE[convention], 1.1 * points.max(axis=0, initial=0))
    from matplotlib.patches import Polygon

    with styled_axes(ax) as ax:
        regions = []
        for region in REGIONS:
            outline = _outline(region, convention)
            style: dict[str, Any] = {"facecolor": COLOURS[region.name], "edgecolor": INK, "linewidth": 0.5}
            regions.append(Polygon(outline, label=region.name, **style))
            ax.add_patch(regions[-1])
            _write_name(ax, region, outline, (float(right), float(top)))
        if convention == "paquette":
            ax.text(1 / 6, 1 / 6, "no power\nlaw known", color="0.4", fontsize=7, ha="center", va="center")
        ax.plot(*points.T, "o", color=INK, markeredgecolor="white", markersize=5, zorder=3, clip_on=False)
        ax.set(xlim=(0, right), ylim=(min(0.0, 1.1 * points[:, 1].min(initial=0)), top))
        ax.set_xlabel(LABELS[convention][0])
        ax.set_ylabel(LABELS[convention][1])
    return regions


def _place(alpha: float, r: float, convention: str) -> tuple[float, float]:
    return PaquetteExponents.of(alpha, r) if convention == "paquette" else (alpha, r)


def _outline(region: Region, convention: str) -> NDArray[np.float64]:
    """Corners (corner, 2) of a region on the axes."""
    low, high = region.alpha
    alpha = np.geomspace(max(low, 1e-3), min(high, FAR), 400)
    lower, upper = ([(each, min(edge(each), FAR)) for each in alpha] for edge in region.r)
    return np.array([_place(*corner, convention) for corner in lower + upper[::-1]])


def _write_name(ax: Axes, region: Region, outline: NDArray[np.float64], corner: tuple[float, float]) -> None:
    """Write name and balance at the centroid of the visible part of a region: upright where narrow, or not at all."""
    from matplotlib.path import Path
    from matplotlib.transforms import Bbox

    visible = np.asarray(Path(outline, closed=True).clip_to_bbox(Bbox.from_extents(0, 0, *corner)).vertices, float)
    share = np.ptp(visible[:, 0]) / corner[0]
    if share < 0.03:
        return
    ahead = np.roll(visible, -1, axis=0)
    area = visible[:, 0] * ahead[:, 1] - visible[:, 1] * ahead[:, 0]  # of triangles with the origin, doubled
    x, y = area @ (visible + ahead) / (3 * area.sum())
    first, second = (f"${term[0]}_{{{term[2:]}}}$" for term in region.balance)
    ax.text(
        x, y, f"{region.name}{'  ' if share < 0.12 else chr(10)}{first} = {second}", color=INK, fontsize=7,
        ha="center", va="center", rotation=90 if share < 0.12 else 0,
    )  # fmt: skip
