"""The scoreboard: rows, what a later call need not do again, its text and its command."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from scalingeq import DataError, FitError
from scalingeq.accessors import scoreboard as module
from scalingeq.accessors.command_line import main
from scalingeq.accessors.scoreboard import markdown, scoreboard
from scalingeq.datasets.splits import SPLITS
from scalingeq.inference.fitting import default_weights
from scalingeq.inference.laws import LAWS
from scalingeq.inference.laws.additive import fit_additive
from scalingeq.inference.scoring import nominal_range


def test_a_row_is_the_error_of_a_fit_to_the_fitted_part():
    """Beside the additive fit of the package's own, made and scored by hand."""
    found = scoreboard(laws=["chinchilla"], splits=SPLITS[:1])
    curves, held = SPLITS[0].curves(None)
    part = curves.select(~held)
    law = fit_additive(part.select(default_weights(part) > 0))
    late = held & (curves.step >= 0.02 * 9765) & (curves.step >= 50)
    misfit = np.log(law.loss(curves.params[curves.run], curves.tokens) / curves.loss)[late]
    assert float(found.error[0, 0]) == pytest.approx(np.sqrt(np.mean(misfit**2)), rel=0.02)
    assert int(found.fitted_runs[0, 0]) == 14
    assert int(found.held_out_runs[0, 0]) == 3
    assert all({"units", "long_name"} <= variable.attrs.keys() for variable in found.variables.values())


def test_rows_are_tasks_of_any_scheduler(tmp_path):
    dask = pytest.importorskip("dask")
    laws, path = ["chinchilla", "rate_noise"], tmp_path / "rows.jsonl"
    with dask.config.set(scheduler="threads", num_workers=2):
        found = scoreboard(laws=laws, splits=SPLITS[:1], checkpoint=path, parallel=True)
    expected = scoreboard(laws=laws, splits=SPLITS[:1])
    np.testing.assert_allclose(found.error, expected.error, rtol=1e-12)
    assert len(path.read_text().splitlines()) == 2


def test_a_later_call_goes_on_from_the_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    first = scoreboard(laws=["chinchilla"], splits=SPLITS[:1], checkpoint=path)

    def fail(*_, **__):
        raise FitError("not again,\n please")

    monkeypatch.setattr(type(LAWS["chinchilla"]), "fit", fail)
    again = scoreboard(laws=["chinchilla"], splits=SPLITS[:2], checkpoint=path)
    assert again.isel(split=0).error.item() == first.error.item()
    assert again.failure.values.ravel().tolist() == ["", "not again, please"]
    assert np.isnan(again.error[1, 0])
    assert len(path.read_text().splitlines()) == 2
    assert "| stdlib-lm, long horizons | chinchilla | not again, please |" in markdown(again)


def rows(path, errors, inside=(2.0, 3.0)):
    """Checkpoint of made-up rows, an error for each law of the first split."""
    lines = [
        json.dumps(
            {"data": "stdlib-lm", "split": "large sizes", "law": law, "error": error, "end_error": -error,
             "fitted_runs": 14, "held_out_runs": 3, "inside": inside, "seconds": 1.0, "failure": ""}
        )
        for law, error in errors.items()
    ]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(("ours", "mark"), [(0.016, "0.80 ✓"), (0.017, "0.85 ✗"), (0.05, "2.50 ✗")])
def test_the_best_baseline_is_marked_and_the_verdict_is_as_it_is(tmp_path, ours, mark):
    rows(tmp_path / "rows.jsonl", {"twopoint": ours, "chinchilla": 0.03, "kaplan": 0.02})
    found = scoreboard(laws=["twopoint", "chinchilla", "kaplan"], splits=SPLITS[:1], checkpoint=tmp_path / "rows.jsonl")
    text = markdown(found)
    assert f"| {100 * ours:.2f} | 3.00 | **2.00** | {mark} |" in text
    wins = int(ours <= 0.016)
    assert f"at or under 0.8 times the best baseline on {wins} of 1 splits" in text
    low, high = nominal_range(3, 0.68)
    assert f"| twopoint | 2.0, 67% ({low} to {high}: consistent) |" in text


def test_unknown_laws_are_refused():
    with pytest.raises(DataError, match="laws: no law nonsense that predicts losses; there are twopoint"):
        scoreboard(laws=["nonsense"])


def test_laws_that_predict_no_losses_are_not_scored():
    assert scoreboard(splits=()).law.values.tolist() == [
        name for name in LAWS if name not in ("envelope", "isoflop", "porian")
    ]
    with pytest.raises(DataError, match="laws: no law isoflop that predicts losses"):
        scoreboard(laws=["isoflop"])


def test_command_writes_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SPLITS", SPLITS[:1])
    monkeypatch.setattr(scoreboard, "__kwdefaults__", {**scoreboard.__kwdefaults__, "splits": SPLITS[:1]})
    result = CliRunner().invoke(main, ["scoreboard", "-o", str(tmp_path / "table.md"), "--law", "chinchilla"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "table.md").read_text().startswith("# Scoreboard\n")
