from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from scalingeq.accessors.plotting import AnalysisPlots, MeasuredPlots
from scalingeq.errors import DataError, ParameterError

SHAPES = ("grid", "padded", "ragged", "table", "one run")


@pytest.mark.parametrize("shape", SHAPES)
def test_measured_curves_draw_one_line_for_each_run(measured_curves, shape):
    ds = measured_curves(shape)
    lines = MeasuredPlots(ds).curves()
    assert len(lines) == ds.sizes.get("run", 1)
    drawn = np.concatenate([line.get_ydata() for line in lines])
    np.testing.assert_array_equal(drawn, ds["loss"].values[ds["loss"].notnull().values])
    axes = lines[0].axes
    assert axes.get_ylabel() == "test loss [nats per byte]"
    assert axes.get_xlabel() == ("training tokens seen [bytes]" if shape == "table" else "optimiser steps done")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_measured_curves_tell_sizes_by_colour(measured_curves):
    ds = measured_curves("grid").assign_attrs(counting="non-embedding")
    lines = MeasuredPlots(ds).curves()
    assert len({mpl.colors.to_hex(line.get_color()) for line in lines}) == 5
    bar = lines[0].figure.axes[1]
    assert bar.get_ylabel() == "parameters (non-embedding)"
    assert [text.get_text() for text in bar.get_yticklabels()] == ["9.2k", "37k", "147k", "590k", "1.3M"]


def test_measured_curves_need_neither_size_nor_constant_rate(measured_curves):
    ds = measured_curves("grid").drop_vars("params")
    falling = xr.DataArray(np.linspace(1, 0, ds.sizes["step"]), dims="step")
    lines = MeasuredPlots(ds.assign_coords(learning_rate=falling)).curves()
    assert [text.get_text() for text in lines[0].axes.get_legend().get_texts()] == list(ds.run.values)


def test_measured_curves_name_what_is_missing(measured_curves):
    ds = measured_curves("grid")
    with pytest.raises(DataError, match="loss: missing"):
        MeasuredPlots(ds.drop_vars("loss")).curves()
    with pytest.raises(DataError, match=r"tokens: missing.*label\(tokens="):
        MeasuredPlots(ds).curves(x="tokens")


@pytest.mark.parametrize("shape", SHAPES)
def test_analysis_curves_show_theory_and_points(made_up_analysis, shape):
    tree = made_up_analysis(shape, hold_out="late" if shape == "one run" else "largest")
    lines = AnalysisPlots(tree).curves()
    drawn = np.concatenate([line.get_ydata() for line in lines])
    assert np.isin(tree["prediction"].loss.values[tree["prediction"].loss.notnull().values], drawn).all()
    assert [line.get_linestyle() == "--" for line in lines][-1]
    assert lines[0].get_linestyle() == "-"
    legend = [text.get_text() for text in lines[0].axes.get_legend().get_texts()]
    assert legend == ["measured", "theory", "measured, held out", "theory, held out"]


def test_analysis_curves_without_held_out_part_have_no_dashes(made_up_analysis):
    lines = AnalysisPlots(made_up_analysis(hold_out=None)).curves(x="tokens")
    assert {line.get_linestyle() for line in lines} == {"-"}
    assert lines[0].axes.get_xlabel() == "training tokens seen [bytes]"
    assert len(lines[0].axes.get_legend().get_texts()) == 2


def test_a_run_held_out_in_part_has_both_lines_and_no_gap(made_up_analysis):
    fitted, held = AnalysisPlots(made_up_analysis("one run", hold_out="late")).curves()
    assert held.get_xdata()[0] == fitted.get_xdata()[-1]


@pytest.mark.parametrize(
    "quantity, slope", [("loss", "-0."), ("params", "0.52"), ("tokens", "0.48"), ("steps", "0.48")]
)
def test_frontier_has_bands_runs_and_slopes(made_up_analysis, made_up_frontier, quantity, slope):
    line = AnalysisPlots(made_up_analysis()).frontier(made_up_frontier, quantity=quantity)
    np.testing.assert_array_equal(line.get_ydata(), made_up_frontier[f"best_{quantity}"])
    axes = line.axes
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["best fit", "68 % band", "95 % band", "measured envelope", "measured runs", "IsoFLOP minima"]
    assert axes.get_xlabel() == "training compute [FLOP]"
    assert len(axes.texts) == 2
    assert all(slope in text.get_text() for text in axes.texts)
    assert len(axes.lines) == 8  # five runs, the best fit, the measured envelope, its minima


def test_frontier_of_the_tree_is_the_default(made_up_analysis, made_up_frontier):
    tree = made_up_analysis()
    tree["frontier"] = xr.DataTree(made_up_frontier)
    line = AnalysisPlots(tree).frontier()
    np.testing.assert_array_equal(line.get_ydata(), made_up_frontier["best_loss"])


def test_frontier_under_an_own_rule_of_compute_has_no_measured_runs(made_up_analysis, made_up_frontier):
    frontier = made_up_frontier.assign_attrs(flops="my_rule")
    assert len(AnalysisPlots(made_up_analysis()).frontier(frontier).axes.lines) == 1


def test_frontier_refuses_what_it_does_not_have(made_up_analysis, made_up_frontier):
    with pytest.raises(ParameterError, match="'speed'"):
        AnalysisPlots(made_up_analysis()).frontier(made_up_frontier, quantity="speed")


@pytest.mark.parametrize("shape", SHAPES)
def test_residuals_name_the_roles(made_up_analysis, shape):
    tree = made_up_analysis(shape, hold_out="late" if shape == "one run" else "largest")
    lines = AnalysisPlots(tree).residuals()
    texts = [text.get_text() for text in lines[0].axes.get_legend().get_texts()]
    assert texts[0].startswith("±0.007")
    assert texts[1:] == (["fitted", "held out"] if shape == "table" else ["not used", "fitted", "held out"])
    drawn = np.sort(np.concatenate([line.get_ydata() for line in lines]))
    residual = tree["prediction"].log_residual.values
    np.testing.assert_array_equal(drawn, np.sort(residual[np.isfinite(residual)]))


def draw_all(ds, tree, frontier, axes=(None,) * 4):
    measured, theory, best, residuals = axes
    yield MeasuredPlots(ds).curves(measured)[0]
    yield AnalysisPlots(tree).curves(theory)[0]
    yield AnalysisPlots(tree).frontier(frontier, best)
    yield AnalysisPlots(tree).residuals(residuals)[0]


def test_plots_leave_global_settings_and_other_figures_alone(measured_curves, made_up_analysis, made_up_frontier):
    before = dict(mpl.rcParams)
    current = plt.figure()
    axes = mpl.figure.Figure().subplots(4)
    for artist in draw_all(measured_curves("grid"), made_up_analysis(), made_up_frontier, axes):
        assert artist.axes.get_xlabel()
    assert plt.gcf() is current
    assert not current.axes
    assert dict(mpl.rcParams) == before


def test_plots_make_a_figure_for_one_column(measured_curves, made_up_analysis, made_up_frontier):
    before = dict(mpl.rcParams)
    for artist in draw_all(measured_curves("grid"), made_up_analysis(), made_up_frontier):
        assert tuple(artist.figure.get_size_inches()) == (3.4, 2.6)
        assert artist.axes.xaxis.label.get_size() <= 9
        artist.figure.canvas.draw()
    assert dict(mpl.rcParams) == before
