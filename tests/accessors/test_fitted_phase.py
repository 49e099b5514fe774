"""``tree.twopoint.phase``: labels, local exponents beside the frontier's, refusals; the report and the plot that show it."""

import numpy as np
import pytest

from scalingeq import ParameterError
from scalingeq.accessors.plotting import AnalysisPlots
from scalingeq.inference.asymptote import asymptote


def test_it_is_labelled_and_beside_the_frontier(made_up_analysis):
    tree = made_up_analysis()
    found = tree.twopoint.phase([1e12, 1e14])
    assert all({"units", "long_name"} <= found[name].attrs.keys() for name in found.variables)
    front = tree.twopoint.frontier([1e12, 1e14])
    np.testing.assert_allclose(found.local_size_exponent, front.best_size_exponent, rtol=1e-9)
    reducible = front.best_loss / (front.best_loss - 0.6)  # the law's irreducible loss
    np.testing.assert_allclose(found.local_loss_exponent, front.best_loss_exponent * reducible, rtol=1e-9)
    assert found.phase.item() == "Ia"
    assert found.probability.sum().item() == pytest.approx(1.0)
    assert found.boundary_sigma.sel(boundary="Ia|II").item() == pytest.approx(16.0, rel=1e-3)  # (0.5 - 0.18) / 0.02


def test_the_limit_is_the_laws(made_up_analysis):
    tree = made_up_analysis()
    found, group = tree.twopoint.phase(), tree["parameters"]
    law = dict(zip(group.parameter.values.tolist(), group.value.values.tolist(), strict=True))
    assert found.asymptote_size_exponent.item() == asymptote(law).size_exponent
    assert found["compute"].size == 4


def test_without_one_rate_there_are_no_local_exponents_but_a_note(made_up_analysis):
    tree = made_up_analysis()
    rates = np.geomspace(1e-3, 1e-2, tree["observed"].sizes["run"])
    tree["observed"] = tree["observed"].to_dataset().assign_coords(learning_rate=("run", rates))
    found = tree.twopoint.phase()
    assert np.isnan(found.local_size_exponent).all()
    assert "learning_rate" in found.attrs["note"]
    assert tree.twopoint.phase(learning_rate=1e-3).local_size_exponent.notnull().all()
    with pytest.raises(ParameterError, match="learning_rate"):
        tree.twopoint.phase([1e12])
    assert "learning_rate" in str(tree.twopoint.report())


def test_the_report_has_measured_and_predicted_exponents(made_up_analysis):
    text = str(made_up_analysis().twopoint.report())
    assert "Frontier and phase" in text
    assert "measured, IsoFLOP minima" in text
    assert "Phase Ia (F_pp = F_0)" in text


def test_the_plot_marks_the_fit_with_its_errors(made_up_analysis):
    axes = AnalysisPlots(made_up_analysis()).phase()[0].axes
    inner, outer = (line for line in axes.lines if str(line.get_label()).endswith("%"))
    assert np.ptp(inner.get_xdata()) == pytest.approx(2 * 0.21 * np.sqrt(-2 * np.log(0.32)), rel=1e-3)
    assert np.ptp(outer.get_ydata()) == pytest.approx(2 * 0.02 * np.sqrt(-2 * np.log(0.05)), rel=1e-3)
    assert axes.get_xlim()[1] > outer.get_xdata().max()
