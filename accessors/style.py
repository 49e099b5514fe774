"""The look that all figures share: one column of a paper, small plain type, thin lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMN, RESOLUTION = (3.4, 2.6), 150  # inches, dots an inch
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
INK = "0.15"


@contextmanager
def styled_axes(ax: Axes | None) -> Iterator[Axes]:
    """The caller's axes as they are, or new ones in the common style; global settings stay what they were."""
    if ax is not None:
        yield ax
        return
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    # Outside the context: the first figure starts the backend, whose settings have to stay.
    figure = plt.figure(figsize=COLUMN, dpi=RESOLUTION, layout="constrained")
    with mpl.rc_context(STYLE):
        yield figure.add_subplot()
