from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import scalingeq
from scalingeq.accessors import saving
from scalingeq.accessors.command_line import main
from scalingeq.inference import validation


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_fails(result, code, *texts):
    """One clear message, no traceback."""
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert "Error: " in result.output
    for text in texts:
        assert text in result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory, measured_curves):
    """A folder with curves in both formats and the analysis that ``scalingeq fit`` makes of them."""
    folder = tmp_path_factory.mktemp("command_line")
    ds = measured_curves("grid")
    ds.to_netcdf(folder / "curves.nc")
    table = ds.rename(loss="val_loss").to_dataframe().reset_index()
    table[["run", "step", "val_loss", "params"]].to_csv(folder / "curves.csv", index=False)
    result = run(
        "fit", folder / "curves.nc", "-o", folder / "fit.nc", "--hold-out", "params=largest", "--check", "none"
    )
    assert result.exit_code == 0, result.output
    (folder / "report.txt").write_text(result.output)
    return folder


def test_version_and_help():
    assert scalingeq.__version__ in run("--version").output
    text = run("--help").output
    assert all(name in text for name in ("demo", "fit", "frontier"))


def test_fit_prints_a_report_and_writes_an_analysis(folder):
    text = (folder / "report.txt").read_text()
    assert "What the curves determine best" in text
    assert "RMS log error, held-out points" in text
    assert "fit " in text  # the progress bar
    tree = scalingeq.open_analysis(folder / "fit.nc")
    held = tree["prediction"].role.max("step")
    assert held.values.tolist() == [1, 1, 1, 1, 2]


def test_fit_takes_what_a_table_lacks_and_checks_itself(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "CANDIDATES", validation.CANDIDATES[:1])
    given = ["batch_size=1024", "learning_rate=5e-3", "loss=val_loss"]
    arguments = [argument for text in given for argument in ("--set", text)]
    result = run("fit", folder / "curves.csv", "-o", tmp_path / "fit.nc", *arguments)
    assert result.exit_code == 0, result.output
    assert "Nothing was held out" in result.output
    assert "Left out and predicted: the largest model sizes" in result.output
    assert scalingeq.open_analysis(tmp_path / "fit.nc")["observed"].sizes["run"] == 5


def test_fit_says_what_a_table_lacks(folder, tmp_path):
    rows = (folder / "curves.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join(row.rsplit(",", 1)[0] for row in rows))
    result = run("fit", tmp_path / "few.csv", "-o", tmp_path / "fit.nc", "--set", "loss=val_loss")
    assert_fails(result, 1, "params: missing", "learning_rate: missing", "batch_size: missing")
    assert not (tmp_path / "fit.nc").exists()


@pytest.mark.parametrize("command", [("fit", "-o", "new.nc"), ("frontier", "--compute", "1e15:1e17")])
@pytest.mark.parametrize("kind", ["missing", "truncated", "noise"])
def test_unreadable_files_are_one_message(folder, tmp_path, monkeypatch, command, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "input.nc"
    if kind == "truncated":
        path.write_bytes((folder / "fit.nc").read_bytes()[:2000])
    elif kind == "noise":
        path.write_bytes(bytes(range(256)))
    assert_fails(run(command[0], path, *command[1:]), 1, "input.nc")
    assert not (tmp_path / "new.nc").exists()


@pytest.mark.parametrize(
    "text, code, message",
    [
        ("params", 2, "pass NAME=VALUE"),
        ("params=", 2, "pass NAME=VALUE"),
        ("step=a:b", 2, "no range of numbers"),
        ("colour=red", 1, "no coordinate 'colour'"),
        ("params=3", 1, "no observation has params"),
        ("step=0:", 1, "leave something to fit"),
    ],
)
def test_nonsense_hold_outs_are_refused(folder, tmp_path, text, code, message):
    (tmp_path / "fit.nc").write_text("precious")
    result = run("fit", folder / "curves.nc", "-o", tmp_path / "fit.nc", "--hold-out", text)
    assert_fails(result, code, message)
    assert (tmp_path / "fit.nc").read_text() == "precious"


def test_outputs_are_refused_before_the_work(folder, tmp_path):
    assert_fails(run("fit", folder / "curves.nc"), 2, "--output")
    assert_fails(run("fit", folder / "curves.nc", "-o", tmp_path / "none" / "fit.nc"), 2, "cannot write in")
    assert_fails(run("fit", folder / "curves.nc", "-o", tmp_path), 2, "is a directory")
    assert_fails(run("fit", folder / "curves.nc", "-o", folder / "curves.nc"), 2, "is the input as well")
    frontier = ("frontier", folder / "fit.nc", "--compute", "1e15")
    assert_fails(run(*frontier, "--plot", tmp_path / "frontier.xyz"), 2, "no format '.xyz'", "png")
    assert_fails(run(*frontier, "-o", folder / "fit.nc"), 2, "is the input as well")
    (tmp_path / "file").write_text("")
    assert_fails(run("demo", "-o", tmp_path / "file"), 2)


def test_frontier_prints_a_table_and_writes_both_files(folder, tmp_path):
    output, plot = tmp_path / "frontier.nc", tmp_path / "frontier.png"
    result = run(
        "frontier", folder / "fit.nc", "--compute", "1e12:1e14", "--points", 5, "--plot", plot, "--output", output
    )
    assert result.exit_code == 0, result.output
    head, *rows = result.output.splitlines()
    assert head.startswith("compute [FLOP]  loss [nats per byte]")
    with xr.open_dataset(output) as found:
        np.testing.assert_allclose(found["compute"], np.geomspace(1e12, 1e14, 5))
        for row, compute, loss in zip(rows, found["compute"].values, found["best_loss"].values, strict=True):
            assert row.split()[:2] == [f"{compute:.3g}", f"{loss:.4g}"]
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frontier.nc", "frontier.png"]


def test_frontier_takes_one_compute_and_another_plan(folder):
    result = run("frontier", folder / "fit.nc", "--compute", "1e13", "--batch-size", 2048)
    assert result.exit_code == 0, result.output
    (row,) = result.output.splitlines()[1:]
    compute, *_, tokens, steps, _ = row.split()
    assert float(compute) == 1e13
    np.testing.assert_allclose(float(tokens) / float(steps), 2048, rtol=1e-2)


def test_a_data_limit_that_the_fit_cannot_price_is_refused(folder):
    result = run("frontier", folder / "fit.nc", "--compute", "1e13", "--data-limit", 1e8)
    assert_fails(result, 1, "data_limit", "repeats its data")


@pytest.mark.parametrize("text", ["0", "0:1e15", "1e21:1e15", "1e15:inf", "nan:1e20", "much", "1:2:3"])
def test_nonsense_compute_is_a_usage_error(folder, text):
    assert_fails(run("frontier", folder / "fit.nc", "--compute", text), 2, "FLOPs", text)


def test_frontier_refuses_what_is_no_analysis(folder):
    assert_fails(run("frontier", folder / "curves.nc", "--compute", "1e15:1e17"), 1)


def test_a_failed_write_leaves_the_old_file(folder, tmp_path, monkeypatch):
    path = tmp_path / "frontier.nc"
    path.write_text("precious")

    def fail_half_way(self, path, **_):
        path.write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", fail_half_way)
    assert_fails(run("frontier", folder / "fit.nc", "--compute", "1e13", "-o", path), 1, "no space left")
    assert path.read_text() == "precious"
    assert [found.name for found in tmp_path.iterdir()] == ["frontier.nc"]


def test_demo_answers_from_the_shipped_curves(tmp_path):
    result = run("demo", "--output", tmp_path / "new" / "demo")
    assert result.exit_code == 0, result.output
    assert "RMS log error, held-out points" in result.output
    files = {path.name for path in (tmp_path / "new" / "demo").iterdir()}
    assert files == {"fit.nc", "curves.png", "frontier.png", "residuals.png"}
    tree = scalingeq.open_analysis(tmp_path / "new" / "demo" / "fit.nc")
    assert "best_loss" in tree["frontier"]


def test_zarr_folders_serve_as_files_do(folder, tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    tree = scalingeq.open_analysis(folder / "fit.nc")
    saving.write(xr.DataTree(xr.open_dataset(folder / "curves.nc")), tmp_path / "curves.zarr")
    monkeypatch.setattr(scalingeq.accessors.MeasuredTwoPoint, "fit", lambda self, **_: tree)
    result = run("fit", tmp_path / "curves.zarr", "-o", tmp_path / "fit.zarr")
    assert result.exit_code == 0, result.output
    arguments = ["frontier", tmp_path / "fit.zarr", "--compute", "1e14:1e15", "--points", 2]
    result = run(*arguments, "-o", tmp_path / "frontier.zarr")
    assert result.exit_code == 0, result.output
    with xr.open_dataset(tmp_path / "frontier.zarr", engine="zarr") as found:
        assert found.best_loss.dims == ("compute",)
        assert found.attrs["data_limit"] == np.inf
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.zarr", "fit.zarr", "frontier.zarr"]
    assert_fails(run("fit", tmp_path / "no.zarr", "-o", tmp_path / "fit.nc"), 1, "no.zarr: should be a Zarr folder")
    assert_fails(run("frontier", tmp_path, "--compute", "1e14:1e15"), 1, "not a readable NetCDF file")
    assert_fails(run("fit", tmp_path, "-o", tmp_path / "fit.nc"), 1, str(tmp_path))
