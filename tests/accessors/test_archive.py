"""The archive: bit-for-bit round trips in a fresh process, and saves that fail or are killed."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import xarray as xr

from scalingeq.accessors import archive, saving
from scalingeq.datasets import check, open_record
from scalingeq.datasets.history import note
from scalingeq.errors import ArchiveError

AWKWARD = np.array([0.1, 1 / 3, -0.0, 5e-324, np.inf, -np.inf, np.nan, 1e300])


def make_analysis(scale=1.0):
    """An analysis in layout alone: awkward numbers, text, flags, no fit."""
    loss = scale * np.random.default_rng(0).uniform(1, 3, (2, 4))
    observed = check(
        xr.Dataset(
            {"loss": (("run", "step"), loss)},
            {"run": ["a", "größer"], "step": [1, 2, 4, 8], "params": ("run", [1e3, 1e4]), "learning_rate": 0.1,
             "batch_size": 8, "wall": ("run", [1.0, 2.0], {"units": "seconds"})},
            attrs={"tidy": True, "nothing": None, "notes": {"a": [1, 2]}, "one": ["x"], "count": 3},
        )
    )  # fmt: skip
    names = [f"p{k}" for k in range(AWKWARD.size)]
    parameters = xr.Dataset(
        dict.fromkeys(("value", "stderr", "initial", "min", "max"), ("parameter", AWKWARD)), {"parameter": names}
    )
    parameters["vary"] = ("parameter", np.arange(AWKWARD.size, dtype=np.int8) % 2)
    parameters["expr"] = ("parameter", ["", "__import__('os').abort()"] + [""] * (AWKWARD.size - 2))
    parameters["covariance"] = (("parameter", "parameter_"), np.outer(AWKWARD[:2], AWKWARD[:2])[[0] * 8][:, [1] * 8])
    parameters = parameters.assign_coords(parameter_=names)
    groups = {"observed": observed, "parameters": parameters, "prediction": observed[["loss"]] / 3}
    tree = xr.DataTree.from_dict(groups)
    tree.attrs["provenance"] = archive.provenance(observed, "twopoint", "1", seed=0)
    return tree


def values_of(tree):
    return {
        f"{node.path}/{name}": [str(v.dtype), v.values.tobytes().hex()] if v.dtype.kind in "iuf" else v.values.tolist()
        for node in tree.subtree
        for name, v in node.to_dataset(inherit=False).variables.items()
    }


READ = """
import json, sys, warnings
warnings.simplefilter("error")
import xarray as xr
tree = xr.open_datatree(sys.argv[1], engine="netcdf4")
print(json.dumps({
    f"{node.path}/{name}": [str(v.dtype), v.values.tobytes().hex()] if v.dtype.kind in "iuf" else v.values.tolist()
    for node in tree.subtree for name, v in node.to_dataset(inherit=False).variables.items()
}))
"""


def run_python(code, *args):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("how", ["save", "to_netcdf"])
def test_values_round_trip_bit_for_bit_in_a_fresh_process(tmp_path, how):
    tree, path = archive.self_contained(make_analysis()), tmp_path / "fit.nc"
    if how == "save":
        saving.save(tree, path)
    else:
        tree.to_netcdf(path)
    reader = run_python(READ, path)
    assert reader.returncode == 0, reader.stderr
    assert json.loads(reader.stdout) == values_of(tree)


def test_attributes_round_trip(tmp_path):
    tree, path = make_analysis(), tmp_path / "fit.nc"
    saving.save(tree, path)
    with xr.open_datatree(path, engine="netcdf4") as opened:
        archive.check_analysis(opened)
        decoded = archive.decode_attributes(opened["observed"].attrs)
        assert decoded == tree["observed"].attrs
        assert decoded["tidy"] is True
        assert opened["observed"]["wall"].dtype == float
        assert opened["observed"]["wall"].attrs["units"] == "s"
        assert opened["observed"]["loss"].attrs == tree["observed"]["loss"].attrs


def test_packing_is_forgotten(tmp_path):
    tree, path = make_analysis(), tmp_path / "fit.nc"
    tree["observed"]["loss"].encoding = {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -1}
    saving.save(tree, path)
    with xr.open_datatree(path, engine="netcdf4") as opened:
        np.testing.assert_array_equal(opened["observed/loss"], tree["observed/loss"])


def test_groups_stand_alone(tmp_path):
    tree, path = make_analysis(), tmp_path / "fit.nc"
    shared = xr.Dataset(coords={"run": tree["observed"]["run"]})
    nested = xr.DataTree.from_dict(
        {"/": shared, **{f"/{name}": child.to_dataset() for name, child in tree.children.items()}}
    )
    nested.attrs = tree.attrs
    saving.save(nested, path)
    with xr.open_dataset(path, group="prediction", engine="netcdf4") as prediction:
        assert prediction["run"].values.tolist() == ["a", "größer"]


def test_saving_over_the_file_that_the_tree_is_read_from(tmp_path):
    tree, path = archive.self_contained(make_analysis()), tmp_path / "fit.nc"
    saving.save(tree, path)
    with xr.open_datatree(path, engine="netcdf4", chunks=None) as lazy:
        saving.save(lazy.assign(note=xr.DataArray(1.0)), path)
        np.testing.assert_array_equal(lazy["observed/loss"], tree["observed/loss"])
    with xr.open_datatree(path, engine="netcdf4") as opened:
        assert opened["note"] == 1.0
        np.testing.assert_array_equal(opened["observed/loss"], tree["observed/loss"])
    assert os.listdir(tmp_path) == ["fit.nc"]


def test_links_and_permissions_survive(tmp_path):
    tree, path, link = make_analysis(), tmp_path / "fit.nc", tmp_path / "link.nc"
    saving.save(tree, path)
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()
    link.symlink_to(path)
    saving.save(make_analysis(2.0), link)
    assert link.is_symlink()
    with xr.open_datatree(path, engine="netcdf4") as opened:
        np.testing.assert_array_equal(opened["observed/loss"], make_analysis(2.0)["observed/loss"])


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("broken", ["to_netcdf", "fsync", "replace"])
@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_archive_and_no_litter(tmp_path, monkeypatch, broken, kind):
    path = tmp_path / "fit.nc"
    saving.save(make_analysis(), path)
    before = path.read_bytes()
    write = xr.DataTree.to_netcdf

    def fail(*args, **kwargs):
        if broken == "to_netcdf":
            write(*args, **kwargs)
        raise kind("disk full")

    monkeypatch.setattr(xr.DataTree if broken == "to_netcdf" else saving.os, broken, fail)
    with pytest.raises(ArchiveError if kind is OSError else kind, match="disk full"):
        saving.save(make_analysis(2.0), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["fit.nc"]


KILLED = """
import os, signal, sys
import xarray as xr
from scalingeq.accessors import saving
tree = xr.open_datatree(sys.argv[1], engine="netcdf4").load()
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "written":
    os.fsync = die
else:
    xr.backends.netCDF4_.NetCDF4ArrayWrapper.__setitem__ = die
saving.save(tree, sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
@pytest.mark.parametrize("moment", ["writing", "written"])
def test_a_killed_write_leaves_the_old_archive(tmp_path, moment):
    path = tmp_path / "fit.nc"
    saving.save(make_analysis(), path)
    before = path.read_bytes()
    assert run_python(KILLED, path, moment).returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    assert len(os.listdir(tmp_path)) == 2  # it really was writing
    saving.save(make_analysis(2.0), path)
    with xr.open_datatree(path, engine="netcdf4") as opened:
        np.testing.assert_array_equal(opened["observed/loss"], make_analysis(2.0)["observed/loss"])


def test_what_is_no_analysis_is_refused(tmp_path):
    path = tmp_path / "fit.nc"
    tree = make_analysis()
    del tree["prediction"]
    with pytest.raises(ArchiveError, match="the group prediction is missing"):
        saving.save(tree, path)
    tree = make_analysis()
    tree["parameters"] = xr.DataTree(tree["parameters"].to_dataset().drop_vars("covariance"))
    with pytest.raises(ArchiveError, match="group parameters has no covariance"):
        archive.check_analysis(tree)
    tree = make_analysis()
    tree["observed"]["loss"].attrs["made"] = object()
    tree["observed"].attrs["law"] = print
    with pytest.raises(ArchiveError) as error:
        saving.save(tree, path)
    assert len(error.value.problems) == 2
    assert "group observed, variable 'loss': attribute 'made'" in str(error.value)
    assert not path.exists()
    with pytest.raises(ArchiveError, match="no folder"):
        saving.save(make_analysis(), tmp_path / "missing" / "fit.nc")
    with pytest.raises(ArchiveError, match="is a directory"):
        saving.save(make_analysis(), tmp_path)


def test_provenance(tmp_path):
    tree, path = make_analysis(), tmp_path / "fit.nc"
    saving.save(tree, path)
    with xr.open_datatree(path, engine="netcdf4") as opened:
        about = archive.read_provenance(opened)
        assert about["data_sha256"] == archive.checksum(opened["observed"].to_dataset())
    assert archive.law_of(tree) == "twopoint"
    assert about["versions"]["numpy"] == np.__version__
    for text in ("not JSON", "[]", '{"law": 3}'):
        tree.attrs["provenance"] = text
        with pytest.raises(ArchiveError, match="provenance"):
            archive.law_of(tree)


def test_history_grows():
    ds = note(note(xr.Dataset(), "first"), "second")
    assert [line.split(": ")[1] for line in ds.attrs["history"].split("\n")] == ["first", "second"]


@pytest.fixture(params=["nc", "zarr"])
def path(request, tmp_path):
    if request.param == "zarr":
        pytest.importorskip("zarr")
    return tmp_path / f"fit.{request.param}"


def test_zarr_holds_what_netcdf_does(tmp_path):
    pytest.importorskip("zarr")
    tree, path = make_analysis(), tmp_path / "fit.zarr"
    tree.attrs["limit"] = np.inf
    saving.save(tree, path)
    saving.save(tree, path)  # a store that is there is replaced
    assert os.listdir(tmp_path) == ["fit.zarr"]
    reader = run_python(READ.replace("netcdf4", "zarr"), path)
    assert reader.returncode == 0, reader.stderr
    assert json.loads(reader.stdout) == values_of(archive.self_contained(tree))
    with xr.open_datatree(path, engine="zarr") as opened:
        assert opened.attrs == tree.attrs
        assert archive.decode_attributes(opened["observed"].attrs) == tree["observed"].attrs
        assert archive.read_provenance(opened)["data_sha256"] == archive.checksum(opened["observed"].to_dataset())
        assert opened["observed"]["wall"].dtype == float


def test_uneven_chunks_fit_into_zarr(tmp_path):
    pytest.importorskip("zarr")
    pytest.importorskip("dask")
    tree = make_analysis()
    tree["observed"] = xr.DataTree(tree["observed"].to_dataset().chunk(step=(1, 3)))
    saving.save(tree, tmp_path / "fit.zarr")
    with xr.open_datatree(tmp_path / "fit.zarr", engine="zarr") as opened:
        np.testing.assert_array_equal(opened["observed/loss"], make_analysis()["observed/loss"])


@pytest.mark.parametrize("broken", ["to_zarr", "fsync", "replace", "second replace"])
def test_a_failed_write_leaves_the_old_folder_and_no_litter(tmp_path, monkeypatch, broken):
    pytest.importorskip("zarr")
    path = tmp_path / "fit.zarr"
    saving.save(make_analysis(), path)
    write, replace, calls = xr.DataTree.to_zarr, os.replace, []

    def fail(*args, **kwargs):
        calls.append(args)
        if broken == "second replace" and len(calls) != 2:
            return replace(*args)
        if broken == "to_zarr":
            write(*args, **kwargs)
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(xr.DataTree if broken == "to_zarr" else saving.os, broken.split()[-1], fail)
        with pytest.raises(ArchiveError, match="disk full"):
            saving.save(make_analysis(2.0), path)
    assert os.listdir(tmp_path) == ["fit.zarr"]
    with xr.open_datatree(path, engine="zarr") as opened:
        np.testing.assert_array_equal(opened["observed/loss"], make_analysis()["observed/loss"])


def test_saving_touches_nothing_beside(path, monkeypatch):
    (path.parent / "other").mkdir()
    (path.parent / "other" / "data.bin").write_text("mine")
    opened, opens = [], os.open
    monkeypatch.setattr(saving.os, "open", lambda name, *args: opened.append(str(name)) or opens(name, *args))
    saving.save(make_analysis(), path)
    assert opened
    assert not any("other" in name.removeprefix(str(path.parent)) for name in opened)


def test_folders_that_are_no_archives_are_safe(tmp_path):
    pytest.importorskip("zarr")
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "thesis.txt").write_text("years of work")
    with pytest.raises(ArchiveError, match="no Zarr folder, and will not be replaced"):
        saving.save(make_analysis(), tmp_path / "mine.zarr")
    assert (tmp_path / "mine.zarr" / "thesis.txt").read_text() == "years of work"
    with pytest.raises(ArchiveError, match="not a readable Zarr folder"):
        saving.open_tree(tmp_path / "mine.zarr")


def test_zarr_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("scalingeq.datasets.zarr_stores.find_spec", lambda name: None)
    for use in (lambda path: saving.save(make_analysis(), path), saving.open_tree, open_record):
        with pytest.raises(ArchiveError, match=r"pip install 'scalingeq\[zarr\]'"):
            use(tmp_path / "fit.zarr")


def make_draws(first, count, scale=1.0):
    """An analysis of several draws, in layout alone."""
    tree = make_analysis(scale)
    draw = xr.DataArray(np.arange(first, first + count), dims="draw", name="draw")
    parameters = tree["parameters"].to_dataset()
    for name in ("value", "covariance"):
        parameters[name] = parameters[name] * (1.0 + draw)
    parameters["message"] = ("draw", [f"draw {number}" for number in draw.values])
    tree["parameters"] = xr.DataTree(parameters.assign_coords(draw=draw))
    return tree


def test_appending_is_saving_all_at_once(path):
    saving.save(make_draws(0, 2), path, append_dim="draw")  # makes it
    saving.save(make_draws(2, 1), path, append_dim="draw")
    saving.save(make_draws(3, 9), path, append_dim="draw")
    assert os.listdir(path.parent) == [path.name]
    expected = make_draws(0, 12)
    with saving.open_tree(path) as opened:
        found = values_of(opened.load())
    assert found == values_of(archive.self_contained(expected))
    lines = opened.attrs["history"].splitlines()
    assert [line.split(": ")[1].split(",")[0] for line in lines] == ["appended 1 along draw", "appended 9 along draw"]


def test_what_does_not_continue_an_archive_is_refused(path):
    saving.save(make_draws(0, 2), path)
    with saving.open_tree(path) as opened:
        before = values_of(opened.load())
    with pytest.raises(ArchiveError) as error:
        saving.save(make_draws(1, 2, scale=2.0), path, append_dim="draw")
    assert [problem.split(":")[0] for problem in error.value.problems] == [
        "group observed, variable 'loss'", "group parameters, variable 'draw'", "group prediction, variable 'loss'"
    ]  # fmt: skip
    other = make_draws(2, 2)
    other["parameters"] = xr.DataTree(other["parameters"].to_dataset().isel(parameter=slice(3)).drop_vars("message"))
    with pytest.raises(ArchiveError, match="variable 'message': only in the archive") as error:
        saving.save(other, path, append_dim="draw")
    assert "variable 'value': has {" in str(error.value)
    with pytest.raises(ArchiveError, match="nothing of this analysis lies along 'seed'"):
        saving.save(make_draws(2, 2), path, append_dim="seed")
    with saving.open_tree(path) as opened:
        assert values_of(opened.load()) == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_append_harms_nothing(path, monkeypatch, broken):
    saving.save(make_draws(0, 2), path)

    def fail(*args):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(saving.os, broken, fail)
        with pytest.raises(ArchiveError, match="disk full"):
            saving.save(make_draws(2, 2), path, append_dim="draw")
    assert os.listdir(path.parent) == [path.name]
    with saving.open_tree(path) as opened:
        assert values_of(opened.load()) == values_of(archive.self_contained(make_draws(0, 2)))


def test_records_open_from_zarr(tmp_path):
    pytest.importorskip("zarr")
    observed = make_analysis()["observed"].to_dataset().drop_attrs()
    saving.write(xr.DataTree(observed), tmp_path / "record.zarr")
    xr.testing.assert_equal(open_record(tmp_path / "record.zarr"), observed)
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ArchiveError, match=r"empty.zarr"):
        open_record(tmp_path / "empty.zarr")
