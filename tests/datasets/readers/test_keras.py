"""Logs of Keras' own CSVLogger where it is installed, and the shapes that it documents where it is not."""

import importlib.util
import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalingeq.datasets.readers import keras as reader
from scalingeq.errors import DataError

nan = math.nan


@pytest.fixture(scope="module")
def keras():
    for needed in ("torch", "keras"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is no part of the extra [test]: Keras trains with its backend torch here")
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    return keras


@pytest.fixture(scope="module")
def write(keras):
    def write(path, epochs, **options):
        """Log metrics of epochs as training does."""
        logger = keras.callbacks.CSVLogger(str(path), **options)
        logger.on_train_begin()
        for epoch, metrics in enumerate(epochs):
            logger.on_epoch_end(epoch, metrics)
        logger.on_train_end()
        return path

    return write


def read(path):
    assert reader.can_read(path.read_bytes(), path.name)
    [log] = reader.read(path)
    return log


@pytest.mark.filterwarnings("default")
def test_a_real_training(tmp_path, keras):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse", optimizer=keras.optimizers.SGD(0.1), metrics=["mae"])
    x = np.random.default_rng(0).normal(size=(32, 2)).astype("float32")
    path = tmp_path / "small.csv"
    history = model.fit(
        x,
        x.sum(axis=1),
        epochs=4,
        validation_split=0.25,
        validation_freq=2,
        verbose=0,
        callbacks=[keras.callbacks.CSVLogger(str(path))],
    ).history
    log = read(path)
    assert log.name == "small"
    np.testing.assert_array_equal(log.columns["epoch"], [0, 1, 2, 3])
    np.testing.assert_array_equal(log.columns["loss"], history["loss"])
    np.testing.assert_array_equal(log.columns["val_loss"][1::2], history["val_loss"])
    assert np.isnan(log.columns["val_loss"][::2]).all()


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " "])
def test_separators(tmp_path, write, separator):
    epochs = [
        {"loss": 3.0, "accuracy": 0.125, "val_loss": 3.5},
        {"loss": 2.0, "accuracy": np.float32(0.5), "val_loss": 2},
    ]
    log = read(write(tmp_path / "wide.log", epochs, separator=separator))
    assert log.name == "wide"
    assert list(log.columns) == ["epoch", "accuracy", "loss", "val_loss"]
    np.testing.assert_array_equal(log.columns["loss"], [3, 2])
    np.testing.assert_array_equal(log.columns["accuracy"], [0.125, 0.5])


def test_not_validated_and_not_finite(tmp_path, write):
    path = write(
        tmp_path / "a.csv", [{"loss": 3.0, "val_loss": 3.5}, {"loss": 2.0}, {"loss": nan, "val_loss": math.inf}]
    )
    assert b"NA" in path.read_bytes()
    log = read(path)
    np.testing.assert_array_equal(log.columns["loss"], [3, 2, nan])
    np.testing.assert_array_equal(log.columns["val_loss"], [3.5, nan, math.inf])


def test_appended_logs_count_their_epochs_anew(tmp_path, write):
    path = tmp_path / "a.csv"
    for losses in ([3.0, 2.0], [1.5, 1.25]):
        write(path, [{"loss": loss} for loss in losses], append=True)
    log = read(path)
    np.testing.assert_array_equal(log.columns["epoch"], [0, 1, 0, 1])
    np.testing.assert_array_equal(log.columns["loss"], [3, 2, 1.5, 1.25])


def test_metrics_of_several_numbers_are_left_out(tmp_path, write):
    log = read(write(tmp_path / "a.csv", [{"loss": 3.0, "val_per_class": np.array([0.1, 0.2])}]))
    assert set(log.columns) == {"epoch", "loss"}


def test_names_of_several_outputs(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("epoch,größe_loss,loss\n0,3.0,4.0\n1,2.0,3.0\n", encoding="utf-8")
    np.testing.assert_array_equal(read(path).columns["größe_loss"], [3, 2])


@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_byte_order_mark_and_line_ends(tmp_path, begin, end):
    path = tmp_path / "a.csv"
    path.write_bytes(begin + b"epoch;loss;val_loss\n0;3.0;NA\n1;2.0;nan\n".replace(b"\n", end))
    log = read(path)
    np.testing.assert_array_equal(log.columns["loss"], [3, 2])
    assert np.isnan(log.columns["val_loss"]).all()


def test_other_tables_are_left_to_other_readers():
    for other in (
        b"epoch,step,loss\n0,1,2.5\n",
        b"epoch,accuracy\n0,0.5\n",
        b"run,epoch,loss\na,0,2.5\n",
        b"epoch 0 loss 2.5\nepoch 1 loss 2.0\n",
        b"epoch,train_loss,val_loss\n1,2.5,2.6\n",  # loggers of users, which count from 1 as well
        b"epoch,loss\n",
        b"",
        b"\0" * 10,
    ):
        assert not reader.can_read(other, "training.log")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: expected 'epoch' and a loss"),
        ("epoch,loss\n", "line 1: expected 'epoch' and a loss"),
        ("epoch,loss\n0,3.0\n1,2.0,5\n2,1.0\n", "Expected 2 fields in line 3, saw 3"),
        ("epoch,loss\n0,3.0\n1", "last line: 1 cells, expected 2"),
        ("epoch,loss\n0,3.0\n1,low\n", "line 3: 'loss' is 'low', expected a number"),
        ('epoch,loss\n0,3.0\n1,"2', "EOF inside string|unexpected end"),
    ],
)
def test_what_is_no_such_log_is_refused_with_its_place(tmp_path, content, message):
    path = tmp_path / "training.log"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        reader.read(path)
    assert str(path) in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_logs_are_read_or_refused(tmp_path_factory, data):
    whole = b"epoch,acc,loss,val_loss\n0,0.5,3.0,NA\n1,0.75,nan,2.5\n"
    at = data.draw(st.integers(0, len(whole)))
    damaged = whole[:at] + data.draw(st.binary(max_size=4)) + whole[data.draw(st.integers(at, len(whole))) :]
    path = tmp_path_factory.mktemp("a") / "training.log"
    path.write_bytes(damaged)
    reader.can_read(damaged, path.name)
    try:
        [log] = reader.read(path)
    except DataError as error:
        if str(path) not in str(error):
            raise
    else:
        assert len({column.shape for column in log.columns.values()}) == 1
