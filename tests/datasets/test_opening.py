"""Files of a user: tables, configurations beside logs, many runs at once, the engine of xarray."""

import numpy as np
import pytest
import xarray as xr

import scalingeq.datasets as data
from scalingeq.errors import ArchiveError, DataError

TIDY = """run,step,loss,params,learning_rate,batch_size,note
b,1,3.0,1000,0.1,64,x
a,1,2.8,10000,0.1,64,y
b,2,2.5,1000,0.1,64,x
a,4,2.0,10000,0.1,64,y
a,8,1.9,10000,0.1,64,z
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="log.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def test_tidy_table(write):
    ds = data.open_record(write(TIDY), units={"tokens": "bytes"})
    curves = data.to_curves(ds)
    assert curves.name.tolist() == ["b", "a"]
    assert curves.loss.tolist() == [3.0, 2.5, 2.8, 2.0, 1.9]
    assert curves.step.tolist() == [1, 2, 1, 4, 8]
    assert curves.params.tolist() == [1000, 10000]
    assert ds.params.dims == ("run",)
    assert ds.batch_size.units == "bytes"


def test_other_names_and_values_from_outside(write):
    text = "\n".join(
        line.rsplit(",", 3)[0] for line in TIDY.replace("loss", "val").replace("step", "iter").splitlines()
    )
    curves = data.to_curves(
        data.open_record(write(text), loss="val", step="iter", batch_size=64, learning_rate=[0.1, 0.2])
    )
    assert curves.learning_rate.tolist() == [0.1, 0.2]


def test_one_run_without_a_name(write):
    curves = data.to_curves(
        data.open_record(write("step,loss,params\n1,3,9\n2,2,9\n"), batch_size=8, learning_rate=0.1)
    )
    assert curves.params.tolist() == [9]
    assert curves.loss.tolist() == [3, 2]


def test_final_losses(write):
    text = "run,tokens,loss,params,batch_size,learning_rate\na,64,3,9,8,1\nb,640,2,9,8,1\n"
    curves = data.to_curves(data.open_record(write(text)))
    assert curves.step.tolist() == [8, 80]
    assert curves.name.tolist() == ["a", "b"]


def test_table_problems(write):
    with pytest.raises(DataError, match=r"loss: no column 'val'; the log has .*'note'"):
        data.open_record(write(TIDY), loss="val")
    with pytest.raises(DataError, match=r"log.csv, line 2: 'x' in the column 'note', where numbers are needed"):
        data.open_record(write(TIDY), loss="note")
    with pytest.raises(DataError, match="no rows"):
        data.open_record(write(TIDY.splitlines()[0]))
    with pytest.raises(DataError, match=r"params: changes within a run, from 10000 to 20000; .*in run 'a'"):
        data.open_record(write(TIDY.replace("4,2.0,10000", "4,2.0,20000")))
    with pytest.raises(DataError, match=r"run: 1 rows .* name no run .*row 3"):
        data.open_record(write(TIDY.replace("b,2,", ",2,")))
    with pytest.raises(DataError, match=r"log.csv, line 4: 'two' in the column 'loss'"):
        data.open_record(write(TIDY.replace("2.5", "two")))
    with pytest.raises(DataError, match="twice"):
        data.open_record(write("loss,loss\n1,2\n"))
    with pytest.raises(DataError, match="line 2: 4 cells, where the header has 2"):
        data.open_record(write("a,b\n1,2,3,4\n"))
    with pytest.raises(DataError, match="not a role; the roles are run, step"):
        data.open_record(write(TIDY), lossy="loss")
    with pytest.raises(ArchiveError, match="no such file"):
        data.open_record("missing.csv")
    with pytest.raises(ArchiveError, match="the file is empty"):
        data.open_record(write(""))


def test_open_record_goes_by_content(write, tmp_path):
    ds = data.check(data.open_record(write(TIDY, "log.nc")))
    ds.to_netcdf(tmp_path / "log.csv")
    xr.testing.assert_identical(data.check(data.open_record(tmp_path / "log.csv")), ds)
    ds.to_netcdf(tmp_path / "classic.nc", format="NETCDF3_64BIT")
    np.testing.assert_array_equal(data.open_record(tmp_path / "classic.nc").loss, ds.loss)


def test_unreadable_files_are_named(write, tmp_path):
    whole = tmp_path / "whole.nc"
    data.open_record(write(TIDY)).to_netcdf(whole)
    for size in (9, 100, whole.stat().st_size // 2, whole.stat().st_size - 1):
        with pytest.raises(ArchiveError, match=r"cut\.nc: begins as NetCDF but cannot be read"):
            data.open_record(write(whole.read_bytes()[:size], "cut.nc"))
    for content, message in [(b"", "empty"), (b"PK\x03\x04\0\0", "which no format does"), (b"hello", "no format")]:
        with pytest.raises(ArchiveError, match=message):
            data.open_record(write(content))
    with pytest.raises(ArchiveError, match="no such file"):
        data.open_record(tmp_path / "none.nc")
    with pytest.raises(ArchiveError, match="cannot be read"):
        data.open_record(tmp_path)
    tree = xr.DataTree.from_dict({"/observed": data.open_record(write(TIDY))})
    tree.to_netcdf(tmp_path / "fit.nc")
    with pytest.raises(ArchiveError, match="group='observed'"):
        data.open_record(tmp_path / "fit.nc")


def test_catalogue():
    ds = data.load("stdlib-lm")
    assert ds.attrs["counting"] == "non-embedding"
    data.to_curves(data.select_runs(ds, data.is_constant_rate(ds)))
    assert ((ds.loss_stderr >= ds.offset_stderr) | ds.loss.isnull()).all()
    assert all({"units", "long_name"} <= ds[name].attrs.keys() for name in ds.variables)
    with pytest.raises(DataError, match="there are 'stdlib-lm'"):
        data.load("imagenet")
