"""Files of a user: tables, configurations beside logs, many runs at once, the engine of xarray."""

import gzip
import json
import lzma
import sys
import tracemalloc
from contextlib import suppress
from importlib import resources

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import scalingeq.datasets as data
from scalingeq.datasets.readers import readers
from scalingeq.datasets.readers.assemble import Curve, join
from scalingeq.datasets.readers.names import Naming
from scalingeq.errors import ArchiveError, DataError, ParameterError, ScalingEqError

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


ROLES = {"params": 1e6, "batch_size": 64, "learning_rate": 0.1}


def test_all_that_is_missing_is_said_for_all_runs(tmp_path, write):
    for name in "abcdefg":
        write("iter,val_loss\n1,3\n2,2\n", f"{name}.csv")
    with pytest.raises(DataError) as caught:
        data.open_logs(tmp_path / "*.csv")
    assert [problem.split(";")[0] for problem in caught.value.problems] == [
        f"{role}: missing in run 'a', run 'b', run 'c', run 'd', run 'e' and 2 more runs"
        for role in ("params", "learning_rate", "batch_size")
    ]
    write("iter,other\n1,3\n", "h.csv")
    write("iter,val_loss\n1\n", "i.csv")
    write("iter,val_loss\nx,1\n1,1", "j.csv")
    with pytest.raises(DataError, match=r"(?s)2 problems.*i.csv, line 2: 1 cells.*j.csv, line 2: 'x'"):
        data.open_logs(tmp_path / "*.csv", **ROLES)
    with pytest.raises(DataError, match=r"loss: missing in run 'h'; pass loss=COLUMN"):
        data.open_logs(tmp_path / "[a-h].csv", **ROLES)
    with pytest.raises(DataError, match=r"params: no value for run 'b'; the values are for run 'a'"):
        data.open_logs(tmp_path / "[ab].csv", **ROLES | {"params": {"a": 1}})


def test_the_configuration_beside_a_log_counts(write, tmp_path):
    pytest.importorskip("yaml", reason="YAML needs the extra [logs]")
    log = write("iter,val_loss,lr\n1,3,0.1\n2,2,0.1\n")
    write(
        "n_params: {value: 5e6}\ntokens_per_step: {value: 64}\nmodel: {value: {name: tiny, size: 7}}\n", "config.yaml"
    )
    ds = data.check(data.open_record(log, keep=["model/name", "model/size"], run="model/name"))
    assert (ds.params.item(), ds.batch_size.item(), ds["model_name"].item(), ds["model_size"].item()) == (
        5e6,
        64,
        "tiny",
        7,
    )
    assert ds.run.values.tolist() == ["tiny"]
    assert data.open_record(log, params="model/size").params.item() == 7
    assert data.open_record(log, params=3).params.item() == 3
    write("{", "config.yaml")
    with pytest.raises(DataError, match=r"(?s)params: missing.*config.yaml: not YAML"):
        data.open_record(log)


def test_a_table_of_runs_beside_one_of_curves(write):
    write("run,params,tokens_per_step,name\n7,5,64,seven\n3,6,32,three\n", "x_runs.csv")
    ds = data.open_record(
        write("run,iter,val_loss,lr\n3,1,3,1\n3,2,2,1\n7,1,3,1\n7,3,2,1\n", "x_curves.csv"), keep="name"
    )
    assert ds.run.values.tolist() == ["3", "7"]
    assert (ds.params.values.tolist(), ds.batch_size.values.tolist()) == ([6, 5], [32, 64])
    assert ds.name.values.tolist() == ["three", "seven"]


def test_several_columns_name_the_run(write):
    text = "model,rate,iter,val,params\nx,1,1,3,5\nx,2,1,4,5\nx,1,2,2,5\nx,2,2,3,5\n"
    ds = data.open_record(write(text), run=("model", "rate"), loss="val", learning_rate="rate", batch_size=8)
    assert ds.run.values.tolist() == ["x, 1", "x, 2"]
    assert ds.learning_rate.values.tolist() == [1, 2]
    assert ds.loss.values.tolist() == [3, 2, 4, 3]
    with pytest.raises(DataError, match=r"run: no column 'nobody' in .*, which has .*model"):
        data.open_record(write(text), run=("model", "nobody"), loss="val")
    with pytest.raises(DataError, match=r"run: neither a column nor an entry of the configuration is called 'nobody'"):
        data.open_record(write(text), run="nobody", loss="val")


def test_each_row_can_be_a_run(write):
    text = "tokens,step,loss,params\n64,8,3,5\n640,80,2,7\n"
    assert data.open_record(write(text), run=None, learning_rate=1).batch_size.values.tolist() == [8, 8]


def test_what_follows_from_what_is_there(write):
    columns = "run,tokens,loss,params\n" + "".join(f"a,{64 * k},{4 - k},5\n" for k in (1, 2, 3))
    ds = data.check(data.open_record(write(columns), batch_size=32, learning_rate=1))
    assert ds.step.values.tolist() == [2, 4, 6]
    assert "step from tokens / batch_size" in ds.attrs["history"]
    steps = "step,tokens,loss,params\n" + "".join(f"{k},{64 * k + 3},{4 - k},5\n" for k in (1, 2, 3))
    ds = data.check(data.open_record(write(steps), learning_rate=1))
    assert ds.batch_size.values.tolist() == [65]
    with pytest.raises(DataError, match="batch_size: missing"):
        data.open_record(write(steps.replace("195", "400")), learning_rate=1)
    table = data.open_record(
        write("Training FLOP,Model Size,loss\n6e3,10,3\n6e4,20,2\n"), flops="6ND", **{**ROLES, "params": "Model Size"}
    )
    assert table.tokens.values.tolist() == [100, 500]
    with pytest.raises(DataError, match=r"tokens: missing.*flops='6ND'"):
        data.open_record(write("flops,params,loss\n6e3,10,3\n"))
    with pytest.raises(DataError, match="flops: '3ND' is not known"):
        data.open_record(write(columns), flops="3ND")
    epochs = data.open_record(write("epoch,val_loss\n0,3\n1,2\n"), steps_per_epoch=100, **ROLES)
    assert epochs.step.values.tolist() == [100, 200]


def test_rates_that_rounding_left_below_zero(write):
    ds = data.open_record(write("step,loss,lr\n1,3,1\n2,2,-1e-8\n"), params=1, batch_size=1)
    assert ds.learning_rate.values.tolist() == [1, 0]
    with pytest.raises(DataError, match="learning_rate: not a positive number"):
        data.check(data.open_record(write("step,loss,lr\n1,3,1\n2,2,-1e-3\n"), params=1, batch_size=1))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_dialects_of_csv(write, delimiter, end):
    text = 'run,step,loss\nα,1,3\n\n"b ""2""",1,nan\nα,2,2.5\n"b ""2""", 2 ,NA\n"b ""2""",3,1e0\n'
    ds = data.open_record(write("\ufeff" + text.replace(",", delimiter).replace("\n", end)), **ROLES)
    assert ds.run.values.tolist() == ["α", 'b "2"']
    assert ds.row_size.values.tolist() == [2, 1]
    assert ds.loss.values.tolist() == [3, 2.5, 1]


def test_formats_of_a_table_agree(write, tmp_path):
    pa = pytest.importorskip("pyarrow", reason="Parquet needs the extra [logs]")
    pq = pytest.importorskip("pyarrow.parquet", reason="Parquet needs the extra [logs]")
    rows = [
        {"run": run, "step": step, "eval": {"loss": loss}, "params": 7, "extra": "x"}
        for step in range(1, 50)
        for run, loss in (("β", 5 - step / 20), ("a", 4 + float(np.sin(step))))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet", row_group_size=10)
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = [f"{row['run']},{row['step']},{row['eval']['loss']!r},7" for row in rows]
    write("\n".join(["run,step,eval/loss,params", *lines]), "log.csv")
    one, two, three = (
        data.open_record(tmp_path / f"log.{kind}", batch_size=64, learning_rate=0.1).drop_attrs()
        for kind in ("parquet", "jsonl", "csv")
    )
    xr.testing.assert_identical(one, two)
    xr.testing.assert_identical(one, three)
    whole = (tmp_path / "log.parquet").read_bytes()
    for size in (4, 100, len(whole) - 1):
        with pytest.raises(DataError, match=r"cut.parquet: begins as Parquet and cannot be read"):
            data.open_record(write(whole[:size], "cut.parquet"))
    pq.write_table(pa.table({"step": np.zeros(40_000_000, np.int8)}), tmp_path / "bomb.parquet")
    with pytest.raises(DataError, match=r"bytes claim to hold 320,000,000; not opened"):
        data.open_record(tmp_path / "bomb.parquet")


def test_parquet_without_its_library(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match="Parquet needs pyarrow; pip install 'scalingeq\\[logs\\]'"):
        data.open_record(write(b"PAR1", "log.parquet"))


def test_compressed_files_are_not_opened(write):
    for name, content in {"log.csv.gz": gzip.compress(TIDY.encode()), "log.jsonl.xz": lzma.compress(b"{}")}.items():
        with pytest.raises(ArchiveError, match="which no format does"):
            data.open_record(write(content, name))


def test_many_files(write, tmp_path, capsys):
    for k in range(12):
        (tmp_path / f"{k}").mkdir()
        write("\n".join(["iter,val_loss", *(f"{s},{3 - s / 99}" for s in range(1, 3 + k))]), f"{k}/log.csv")
    ds = data.open_logs(tmp_path / "*" / "log.csv", **ROLES)
    assert ds.run.values.tolist() == [f"{k}/log" for k in sorted(map(str, range(12)))]
    assert ds.row_size.values.tolist() == [2 + int(name.split("/")[0]) for name in ds.run.values]
    assert capsys.readouterr().err == ""
    parallel = data.open_logs([tmp_path / "*" / "log.csv"], workers=2, progress=True, **ROLES)
    xr.testing.assert_equal(ds, parallel)
    assert "12/12" in capsys.readouterr().err
    with pytest.raises(ParameterError, match="workers: 0"):
        data.open_logs(tmp_path / "*" / "log.csv", workers=0)
    for nothing in ([], "none*", [tmp_path / "x*"]):
        with pytest.raises(ArchiveError, match=r"no paths given|no file matches"):
            data.open_logs(nothing)
    with pytest.raises(ArchiveError, match=r"(?s)2 problems.*x.csv: no such file.*y.csv: no such file"):
        data.open_logs(["x.csv", "y.csv"])


def test_ten_thousand_runs(write):
    text = "".join(f"run {k % 10_000},{k // 10_000 + 1},{3 - k / 50_000},{k % 10_000 + 1}\n" for k in range(30_000))
    ds = data.open_record(write("run,step,loss,params\n" + text), batch_size=1, learning_rate=1)
    assert ds.sizes == {"run": 10_000, "obs": 30_000}
    curves = data.to_curves(ds)
    assert curves.params.tolist() == list(range(1, 10_001))
    assert curves.loss[:3].tolist() == [3, 3 - 10_000 / 50_000, 3 - 20_000 / 50_000]


def test_a_large_ragged_set(tmp_path):
    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.integers(1, 100, (1000, 1000)), axis=1)
    curves = [
        Curve(f"run {k}", "log.csv", {"step": own.astype(float), "loss": rng.uniform(1, 5, 1000)}, {"params": k + 1.0})
        for k, own in enumerate(steps)
    ]
    tracemalloc.start()
    ds = join(curves, Naming.of({"batch_size": 64, "learning_rate": 0.1}))
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert ds.nbytes < 100e6
    np.testing.assert_array_equal(ds.step.values.reshape(1000, 1000), steps)
    path = tmp_path / "set.nc"
    ds.to_netcdf(path)
    assert path.stat().st_size < 1.2 * sum(ds[name].nbytes for name in ("loss", "step"))
    with xr.open_dataset(path) as back:
        xr.testing.assert_equal(back, ds)


def test_every_format_is_documented():
    text = (resources.files("scalingeq.datasets") / "formats.md").read_text()
    assert all(f"| {reader.FORMAT} |" in text for reader in readers())


def test_engine(write, tmp_path):
    assert "traininglog" in xr.backends.list_engines()
    path = write("iter,val_loss,params,grad\n1,3,5,7\n2,2,5,8\n", "a.log")
    options = {"batch_size": 64, "learning_rate": 0.1}
    with xr.open_dataset(path, engine="traininglog", drop_variables="row_size", keep=["grad"], **options) as ds:
        assert ds.sizes == {"run": 1, "obs": 2}
        assert ds.grad.values.tolist() == [7, 8]
        assert "row_size" not in ds
    engine = xr.backends.list_engines()["traininglog"]
    assert engine.guess_can_open(path)
    assert not engine.guess_can_open(tmp_path / "none.csv")
    assert not engine.guess_can_open(write(b"\0\1\2", "x.csv"))
    with pytest.raises(DataError, match="params: missing"):
        xr.open_dataset(write("iter,val_loss\n1,3\n2,2\n"), engine="traininglog", **options)


def test_open_mfdataset_works_as_documented(write):
    paths = [write(f"iter,val_loss,params\n1,3,{k}\n2,2.{k},{k}\n", f"{k}.csv") for k in (5, 6)]
    options = {
        "engine": "traininglog",
        "backend_kwargs": {"batch_size": 64, "learning_rate": 0.1},
        "combine": "nested",
        "concat_dim": "run",
        "data_vars": "all",
        "coords": ["params"],
        "compat": "override",
        "join": "exact",
        "preprocess": lambda ds: ds.swap_dims(obs="step").drop_vars("row_size"),
    }
    with xr.open_mfdataset(paths, **options) as ds:
        curves = data.to_curves(ds)
    assert curves.params.tolist() == [5, 6]
    assert curves.loss.tolist() == [3, 2.5, 3, 2.6]
    paths.append(write("iter,val_loss,params\n1,3,7\n4,2,7\n", "7.csv"))
    with pytest.raises(ValueError, match="exact"):
        xr.open_mfdataset(paths, **options)


WHOLE = {
    "log.csv": TIDY.encode(),
    "log.jsonl": b'{"run": "a", "step": 1, "loss": 3.0, "x": {"y": [1]}}\n{"run": "a", "step": 2, "loss": NaN}\n' * 3,
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(WHOLE)),
    cut=st.integers(0, 400),
    at=st.integers(0, 300),
    what=st.binary(max_size=6)
    | st.sampled_from([b"nan", b"\r", b"\r\n", b'"', b"\xef\xbb\xbf", b"[[[[", b"1e999", b",,"]),
)
def test_damaged_files_are_refused_or_read(write, name, cut, at, what):
    content = WHOLE[name][:cut]
    path = write(content[:at] + what + content[at:], name)
    try:
        ds = data.open_record(path, **ROLES)
    except ScalingEqError as error:
        problems = error.problems
    else:
        problems = ()
        assert ds.loss.notnull().all()
        assert ds.sizes.get("obs", ds.sizes["run"]) == ds.loss.size
    # A file that cannot be read is named; of one that can, the runs are.
    assert all(str(path) in problem or "in run" in problem for problem in problems)


ODD = st.sampled_from(
    ["", "0", "1", "2", "-1", "3", "3", "0.5", "1e300", "-1e308", "1e308", "inf", "-Infinity", "nan", "9" * 400]
)
COLUMNS = ("run", "step", "loss", "lr", "tokens", "params", "batch_size", "epoch", "flops", "train_loss", "width")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.sampled_from(COLUMNS), unique=True, min_size=2),
    cells=st.lists(st.lists(ODD, min_size=11, max_size=11), min_size=1, max_size=6),
    given=st.sets(st.sampled_from(sorted(ROLES))),
    options=st.fixed_dictionaries(
        {}, optional={"flops": st.just("6ND"), "steps_per_epoch": st.just(10), "run": st.none()}
    ),
)
def test_odd_numbers_are_refused_or_read(write, names, cells, given, options):
    text = "\n".join(",".join(row[: len(names)]) for row in [names, *cells])
    with suppress(ScalingEqError):
        data.check(data.open_record(write(text), **{role: ROLES[role] for role in given}, **options))
