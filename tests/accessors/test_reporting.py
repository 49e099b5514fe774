from __future__ import annotations

import re

import lmfit
import numpy as np
import pytest

from scalingeq.accessors.reporting import Report


def section(text: str, title: str) -> str:
    return next(part for part in text.split("\n\n") if part.startswith(title))


def test_report_starts_with_what_is_identified(made_up_analysis):
    text = str(Report(made_up_analysis()))
    titles = [part.splitlines()[0] for part in text.split("\n\n")[1:]]
    assert titles[:3] == ["What the curves determine best", "Parameters", "Errors as measured"]
    assert titles[3:] == ["Check: the largest left out", "Frontier and phase", "Notes", "Data", "Provenance"]
    assert re.search(r"2 alpha r\s+0\.5508\s+± 0\.097", section(text, titles[0]))


def test_parameters_have_errors_units_and_status(made_up_analysis):
    text = section(str(Report(made_up_analysis())), "Parameters")
    assert re.search(r"alpha\s+1\.53\s+± 0\.21\s+1\s+fitted", text)
    assert re.search(r"irreducible\s+0\.6\s+± 0\.05\s+nats per byte\s+fitted", text)
    assert re.search(r"width_scale\s+30\s+-\s+1\s+at bound", text)
    assert re.search(r"noise_scale\s+0\s+-\s+bytes\s+held", text)
    assert "9,216 parameters" in text


def test_a_constrained_parameter_is_called_so(made_up_analysis):
    tree = made_up_analysis()
    expressions = tree["parameters"].expr.values.astype(object)
    expressions[1] = "0.5 / alpha"
    tree["parameters"]["expr"] = ("parameter", expressions)
    assert re.search(r"\br\s+0\.18\s.*constrained", str(Report(tree)))


@pytest.mark.parametrize(
    "error, words",
    [
        (0.031, "the two-point theory is worse than the additive law: 3.1 % against 2 %"),
        (0.010, "the two-point theory is better than the additive law: 1 % against 2 %"),
        (0.0201, "both laws do equally well"),
    ],
)
def test_errors_are_read_out_as_they_are(made_up_analysis, error, words):
    text = section(str(Report(made_up_analysis(theory_error=error))), "Errors")
    assert words in text
    assert re.search(rf"held-out points\s+{error:.4f}\s+0\.0200", text)
    assert re.search(r"Not scored: \d+ of 140 points", text)
    assert re.search(rf"longest held-out run\s+\+{error:.4f}\s+-0\.0200", text)


def test_without_held_out_points_nothing_is_claimed(made_up_analysis):
    text = section(str(Report(made_up_analysis(hold_out=None))), "Errors")
    assert "Nothing was held out" in text
    assert "better" not in text
    assert "worse" not in text


@pytest.mark.parametrize("name", ["twopoint", "chinchilla"])
def test_every_report_leaves_the_largest_out(measured_curves, name):
    """Losses of the largest sizes, raised by a tenth, are not what the others say of them: the fit has not seen them."""
    ds = measured_curves("grid")
    for raised in (1.0, 1.1):
        losses = ds.assign(loss=ds.loss.where(ds.params < np.sort(ds.params)[-2], raised * ds.loss))
        tree = losses.laws.fit(name)
        text = section(str(tree.laws.report()), "Check: the largest left out")
        found = re.search(r"without the largest model sizes \((\d+) runs?\), with.* misses them by ([\d.]+)% RMS", text)
        assert found
        assert int(found[1]) == round(0.3 * ds.sizes["run"])
        assert abs(float(found[2]) - (1.0 if raised == 1 else 9.5)) < 1.5
        assert re.search(r"there are [\d.]+ in the 68% band, [\d.]+ in the 95% band", text)


def test_what_cannot_be_left_out_is_said(measured_curves):
    one = "Check: the largest left out"
    tied = measured_curves("grid").twopoint.fit(alpha=1.5, r=lmfit.Parameter("r", expr="0.5 / alpha"))
    assert "Not done: expressions stored as constraints" in section(str(tied.twopoint.report()), one)
    envelope = measured_curves("grid").laws.fit("envelope")
    assert one not in str(envelope.laws.report())
    few = measured_curves("one run").twopoint.fit(alpha=1.5, r=0.3)
    assert re.search(r"without the ends of all runs \(1 run\)|Not done", section(str(few.twopoint.report()), one))


@pytest.mark.parametrize("shape", ["grid", "padded", "ragged", "one run"])
def test_data_are_summed_up_in_every_shape(made_up_analysis, shape):
    tree = made_up_analysis(shape, hold_out=None)
    text = section(str(Report(tree)), "Data")
    assert re.search(rf"runs\s+{tree['observed'].sizes.get('run', 1)}\n", text)
    assert re.search(rf"observations\s+{int(tree['observed'].loss.count())}\n", text)
    assert re.search(r"batch size \[bytes\]\s+1024", text)


def test_notes_and_provenance_are_shown(made_up_analysis):
    report = Report(made_up_analysis())
    assert "noise_scale held at 0" in section(str(report), "Notes")
    assert re.search(r"versions\s+numpy 2", section(str(report), "Provenance"))
    assert repr(report) == str(report)


def test_html_has_the_same_content_and_is_escaped(made_up_analysis):
    tree = made_up_analysis()
    tree["parameters"].attrs["notes"] = "<script>alert(1)</script>"
    html = Report(tree)._repr_html_()
    assert "<td>alpha</td><td>1.53</td><td>± 0.21</td>" in html
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
