"""Metrics of Lightning's own CSVLogger where it is installed, and the shapes that it documents where it is not."""

import csv
import importlib.util
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingeq.datasets.readers import lightning as reader
from scalingeq.errors import DataError

nan = math.nan


def need_lightning():
    if importlib.util.find_spec("lightning") is None:
        pytest.skip("lightning needs torch and is no part of the extra [test]")


def read(path):
    assert reader.can_read(path.read_bytes(), path.name)
    [log] = reader.read(path)
    return log


@pytest.mark.filterwarnings("default")
def test_a_real_training(tmp_path):
    need_lightning()
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger

    seen = []

    class Line(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch, index):
            loss = self.layer(batch).square().mean()
            seen.append(loss.item())
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch, index):
            self.log("val_loss", self.layer(batch).square().mean())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    torch.manual_seed(0)
    batches = torch.utils.data.DataLoader(torch.randn(8, 1), batch_size=2)
    Trainer(
        logger=CSVLogger(tmp_path, name="wide"),
        max_epochs=2,
        log_every_n_steps=1,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    ).fit(Line(), batches, batches)
    log = read(tmp_path / "wide" / "version_0" / "metrics.csv")
    assert log.name == "wide/version_0"
    trained = ~np.isnan(log.columns["train_loss"])
    np.testing.assert_allclose(log.columns["train_loss"][trained], seen, rtol=1e-6)
    np.testing.assert_array_equal(log.columns["step"][trained], np.arange(8))
    assert (~np.isnan(log.columns["val_loss"])).sum() == 2
    assert not (trained & ~np.isnan(log.columns["val_loss"])).any()
    np.testing.assert_array_equal(log.columns["epoch"][trained], [0] * 4 + [1] * 4)


@pytest.mark.filterwarnings("default")
def test_fabric_writes_no_epoch_and_new_columns_late(tmp_path):
    need_lightning()
    from lightning.fabric.loggers import CSVLogger

    logger = CSVLogger(tmp_path, name="fabric", flush_logs_every_n_steps=1)
    logger.log_metrics({"loss": 3.0}, step=0)
    logger.log_metrics({"loss": math.inf}, step=10)
    logger.log_metrics({"eval/loss": 2.5, "größe": 7}, step=10)
    logger.log_metrics({"loss": nan}, step=5)
    log = read(tmp_path / "fabric" / "version_0" / "metrics.csv")
    np.testing.assert_array_equal(log.columns["step"], [0, 10, 10, 5])
    np.testing.assert_array_equal(log.columns["loss"], [3, math.inf, nan, nan])
    np.testing.assert_array_equal(log.columns["eval/loss"], [nan, nan, 2.5, nan])
    np.testing.assert_array_equal(log.columns["größe"], [nan, nan, 7, nan])


@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_byte_order_mark_line_ends_and_any_order_of_columns(tmp_path, begin, end):
    path = tmp_path / "metrics.csv"
    path.write_bytes(
        begin + b"val_loss,step,train_loss,epoch\n,9,2.5,0\n2.625,9,,0\n\n,19,2.25,1\n".replace(b"\n", end)
    )
    log = read(path)
    np.testing.assert_array_equal(log.columns["step"], [9, 9, 19])
    np.testing.assert_array_equal(log.columns["train_loss"], [2.5, nan, 2.25])
    np.testing.assert_array_equal(log.columns["val_loss"], [nan, 2.625, nan])


def test_names_of_runs(tmp_path):
    text = "epoch,step,train_loss,val_loss\n0,9,2.5,\n"
    for folder, name in (("logs/version_12", "logs/version_12"), ("größe-1", "größe-1")):
        (tmp_path / folder).mkdir(parents=True)
        path = tmp_path / folder / "metrics.csv"
        path.write_text(text)
        assert read(path).name == name


def test_steps_are_left_as_they_are(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,loss\n0,9,2.5\n1,19,2.25\n0,9,2.5\n0,9,2.4\n")
    np.testing.assert_array_equal(read(path).columns["step"], [9, 19, 9, 9])


def test_other_tables_are_left_to_other_readers():
    for other in (b"step,loss\n1,2\n", b"epoch,step,loss\n0,1,2\n", b"run,epoch,step,loss\na,0,1,\n", b"", b"\0" * 10):
        assert not reader.can_read(other, "log.csv")
    # A row that the beginning of the file cuts short has no blank of its own.
    assert not reader.can_read(b"epoch,step,loss\n0,1,2\n0,2,", "log.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: empty, expected a header"),
        ("epoch,step,loss\n", "line 2: the file's end, expected a row"),
        ("epoch,step,loss\n0,1,2,3\n", "line 2: 4 cells, expected 3"),
        ("epoch,step,loss\n0,1,2\n0,2,3,4\n0,2,3\n", "Expected 3 fields in line 3, saw 4"),
        ("epoch,step,loss\n0,1,2\n0,2", "last line: 2 cells, expected 3"),
        ("epoch,step,loss\n0,1,2\n0,2,oops\n", "line 3: 'loss' is 'oops', expected a number"),
    ],
)
def test_what_is_no_such_table_is_refused_with_its_place(tmp_path, content, message):
    path = tmp_path / "metrics.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        reader.read(path)
    assert str(path) in str(caught.value)


def test_a_long_log_in_several_blocks(tmp_path):
    rows = 200_000
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss,val_loss\n" + "".join(f"{k},0.5,\n" if k % 10 else f"{k},,0.75\n" for k in range(rows)))
    log = read(path)
    np.testing.assert_array_equal(log.columns["step"], np.arange(rows))
    assert np.isnan(log.columns["loss"]).sum() == rows // 10
    assert np.nansum(log.columns["val_loss"]) == 0.75 * rows // 10


cells = st.one_of(st.floats(), st.integers(-(2**53), 2**53), st.sampled_from(["", "NA", "nan", "1e999"]))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_any_table_comes_back(tmp_path_factory, rows, quoting, end):
    path = tmp_path_factory.mktemp("a") / "metrics.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=quoting, lineterminator=end).writerows([("step", "a, b", "ü"), *rows])
    [log] = reader.read(path)
    expected = [[nan if cell in ("", "NA") else float(cell) for cell in row] for row in rows]
    # Older versions of pandas read the last digit of some numbers one off.
    np.testing.assert_allclose(np.stack(list(log.columns.values()), axis=1), expected, rtol=4e-16)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_tables_are_read_or_refused(tmp_path_factory, data):
    whole = b"epoch,step,train_loss,val_loss\n0,9,2.5,\n0,9,,2.625\n1,19,nan,\n"
    at = data.draw(st.integers(0, len(whole)))
    damaged = whole[:at] + data.draw(st.binary(max_size=4)) + whole[data.draw(st.integers(at, len(whole))) :]
    path = tmp_path_factory.mktemp("a") / "metrics.csv"
    path.write_bytes(damaged)
    reader.can_read(damaged, path.name)
    try:
        [log] = reader.read(path)
    except DataError as error:
        if str(path) not in str(error):
            raise
    else:
        assert len({column.shape for column in log.columns.values()}) <= 1
