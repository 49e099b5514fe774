import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import scalingeq
from scalingeq.errors import ParameterError

NAMES = ["Ia", "Ib", "Ic", "II", "III", "IVa", "IVb"]


@pytest.mark.parametrize("convention", ["twopoint", "paquette"])
def test_every_visible_point_lies_in_the_region_of_its_phase(convention):
    regions = scalingeq.phase_diagram(convention=convention)
    assert [region.get_label() for region in regions] == NAMES
    axes = regions[0].axes
    rng = np.random.default_rng(4)
    seen = set()
    for x, y in rng.uniform((0, 0), (axes.get_xlim()[1], axes.get_ylim()[1]), (300, 2)):
        # Both translations are written out here, after the papers' definitions.
        alpha, r = (x, y) if convention == "twopoint" else (2 * x, (2 * x + 2 * y - 1) / (4 * x))
        holding = [region.get_label() for region in regions if region.get_path().contains_point((x, y))]
        assert holding == ([scalingeq.phase(alpha, r).name] if r > 0 else [])
        seen.update(holding)
    assert seen == set(NAMES)


@pytest.mark.parametrize("convention", ["twopoint", "paquette"])
def test_names_stand_in_their_regions(convention):
    regions = scalingeq.phase_diagram(convention=convention)
    axes = regions[0].axes
    axes.figure.canvas.draw()
    for region in regions:
        (text,) = (text for text in axes.texts if text.get_text().split()[0] == region.get_label())
        box = text.get_window_extent().transformed(axes.transData.inverted())
        # The first line, the name, is short: of the upper edge only the middle has ink.
        inked = [(box.x0, box.y0), (box.x1, box.y0), (box.x0 / 2 + box.x1 / 2, box.y1)]
        assert region.get_path().contains_points(inked).all()
    assert (len(axes.texts) > len(regions)) == (convention == "paquette")


def test_axes_are_labelled_and_the_callers_axes_used():
    _, ax = plt.subplots()
    regions = scalingeq.phase_diagram(ax)
    assert regions[0].axes is ax
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("capacity exponent $\\alpha$", "source exponent $r$")
    before = dict(mpl.rcParams)
    ax = scalingeq.phase_diagram(convention="paquette")[0].axes
    assert dict(mpl.rcParams) == before
    assert "Paquette" in ax.get_xlabel()
    assert tuple(ax.figure.get_size_inches()) == (3.4, 2.6)


def test_marks_are_inside_the_axes():
    marks = [(1.5, 0.4), (3.0, 0.1), (0.8, 2.0), (30.0, 0.5)]
    ax = scalingeq.phase_diagram(mark=marks)[0].axes
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), marks)
    ax_paquette = scalingeq.phase_diagram(mark=marks, convention="paquette")[0].axes
    np.testing.assert_allclose(ax_paquette.lines[0].get_xydata()[:2], [(0.75, 0.35), (1.5, -0.7)])
    for each in (ax, ax_paquette):
        (left, right), (bottom, top) = each.get_xlim(), each.get_ylim()
        x, y = each.lines[0].get_data()
        assert np.all((left <= x) & (x <= right) & (bottom <= y) & (y <= top))
        each.figure.savefig(io.BytesIO())


def test_refusals():
    with pytest.raises(ParameterError, match=r"^r is 0\.0"):
        scalingeq.phase_diagram(mark=[(1.5, 0.0)])
    with pytest.raises(ParameterError, match="convention is 'bordelon': pass 'twopoint' or 'paquette'"):
        scalingeq.phase_diagram(convention="bordelon")
    assert not plt.get_fignums()
