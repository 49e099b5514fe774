"""TensorBoard event files, written by tensorboardX's SummaryWriter."""

import math
import struct

import numpy as np
import pytest
from google_crc32c import value as checksum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.proto.tensor_pb2 import TensorProto

from scalingeq.datasets.readers import tensorboard as reader
from scalingeq.errors import DataError


def write(folder, scalars, **options):
    """Write scalars (tag, value, step) as one event file, and give its path."""
    before = set(folder.glob("*")) if folder.exists() else set()
    with SummaryWriter(str(folder), **options) as writer:
        for tag, value, step in scalars:
            writer.add_scalar(tag, value, step)
    (path,) = set(folder.glob("*")) - before
    return path


def record(data):
    """Frame of TensorFlow's record files, by its description."""

    def masked(part):
        crc = checksum(part)
        return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def test_every_scalar_is_read(tmp_path):
    rng = np.random.default_rng(0)
    losses, rates = rng.random(3000).astype(np.float32), rng.random(3000).astype(np.float32)
    scalars = [row for n in range(3000) for row in (("loss/train", losses[n], n), ("lr", rates[n], n))]
    path = write(tmp_path / "läuft", [*scalars, ("loss/val", 2.5, 2999), ("loss/val", 2.25, 4000)])
    (log,) = reader.read(path)
    assert (log.name, log.source) == ("läuft", str(path))
    np.testing.assert_array_equal(log.columns["step"], [*range(3000), 4000])
    np.testing.assert_array_equal(log.columns["loss/train"], [*losses, math.nan])
    np.testing.assert_array_equal(log.columns["lr"], [*rates, math.nan])
    np.testing.assert_array_equal(log.columns["loss/val"][-2:], [2.5, 2.25])
    assert np.isnan(log.columns["loss/val"][:-2]).all()
    assert (np.diff(log.columns["wall_time"]) >= 0).all()
    assert reader.can_read(path.read_bytes()[: 1 << 16], path.name)


def test_other_summaries_are_passed_over(tmp_path):
    with SummaryWriter(str(tmp_path / "a")) as writer:
        writer.add_text("note", "hello", 1)
        writer.add_histogram("weights", np.arange(10.0), 1)
        writer.add_scalar("loss", float("nan"), 1)
        writer.add_scalar("loss", float("inf"), 2)
        writer.add_image("image", np.zeros((3, 4, 4)), 2)
    (log,) = reader.read(tmp_path / "a")
    assert log.columns.keys() == {"step", "wall_time", "loss"}
    np.testing.assert_array_equal(log.columns["loss"], [math.nan, math.inf])


def test_hyperparameters_are_the_configuration(tmp_path):
    with SummaryWriter(str(tmp_path / "a")) as writer:
        writer.add_hparams(
            {"lr": 0.5, "optimizer": "adam", "nesterov": True}, {"loss": 1.5}, name="trial", global_step=7
        )
    (log,) = reader.read(tmp_path / "a/trial")
    assert log.config == {"lr": 0.5, "optimizer": "adam", "nesterov": True}
    assert (log.columns["step"].tolist(), log.columns["loss"].tolist()) == ([7], [1.5])


def test_restarts_follow_one_another(tmp_path):
    first = write(tmp_path / "a", [("loss", 4 - n, n) for n in range(3)])
    first.rename(first.with_name("events.out.tfevents.1000000000.earlier"))
    write(tmp_path / "a", [("loss", 3.5 - n, n) for n in range(2, 4)])
    (tmp_path / "a/notes.txt").write_text("other")
    (log,) = reader.read(tmp_path / "a")
    assert log.columns["step"].tolist() == [0, 1, 2, 2, 3]
    assert log.columns["loss"].tolist() == [4, 3, 2, 1.5, 0.5]


def test_scalars_of_the_second_format(tmp_path):
    """Tensors of rank 0, as tf.summary writes them; the plugin is named with a tag's first value alone."""
    scalars = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    one = Summary.Value(tag="loss", metadata=scalars, tensor=TensorProto(dtype=1, float_val=[2.5]))
    two = Summary.Value(tag="loss", tensor=TensorProto(dtype=1, tensor_content=struct.pack("<f", 1.5)))
    three = Summary.Value(tag="loss", tensor=TensorProto(dtype=2, double_val=[0.1]))
    step = Summary.Value(tag="step", simple_value=9)
    empty = [Summary.Value(tag="x", tensor=TensorProto(dtype=kind)) for kind in (1, 7)]
    events = [Event(step=n, summary=Summary(value=[value, *empty])) for n, value in enumerate((one, two, three, step))]
    (tmp_path / "events.out.tfevents.1").write_bytes(b"".join(record(event.SerializeToString()) for event in events))
    (log,) = reader.read(tmp_path)
    np.testing.assert_array_equal(log.columns["loss"], [2.5, 1.5, 0.1, math.nan])
    np.testing.assert_array_equal(log.columns["/step"], [math.nan] * 3 + [9])


def test_a_file_cut_anywhere_gives_its_first_rows(tmp_path):
    path = write(tmp_path / "a", [("loss", 1 / (n + 1), n) for n in range(4)])
    data, sizes = path.read_bytes(), set()
    first = data.index(b"loss") + 20
    for stop in range(first, len(data)):
        path.write_bytes(data[:stop])
        (log,) = reader.read(path)
        sizes.add(size := log.columns["step"].size)
        np.testing.assert_array_equal(log.columns["loss"], np.float32([1, 1 / 2, 1 / 3, 1 / 4])[:size])
    assert sizes == {1, 2, 3}
    path.write_bytes(data[: first - 12])
    with pytest.raises(DataError, match="no scalars"):
        list(reader.read(path))


def test_a_changed_byte_is_noticed(tmp_path):
    path = write(tmp_path / "a", [("loss", 1 / (n + 1), n) for n in range(2)])
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(DataError, match=r"tfevents.*, record at byte \d+: its checksum differs; expected a whole"):
            list(reader.read(path))


@pytest.mark.parametrize(
    "content", [b"", b"step,loss\n", record(b""), record(b"\xff" * 9), record(Event(step=1).SerializeToString())]
)
def test_a_file_without_scalars(content, tmp_path):
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"tfevents\.1.*expected"):
        list(reader.read(path))


def test_a_folder_without_event_files(tmp_path):
    with pytest.raises(DataError, match="no scalars in 0 event files"):
        list(reader.read(tmp_path))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_records_of_anything_are_read_or_refused(data, tmp_path):
    """Damage within records whose checksums are right, so that it comes to the decoder."""
    event = Event(step=3, wall_time=1.5, summary=Summary(value=[Summary.Value(tag="loss", simple_value=2.0)]))
    content = bytearray(event.SerializeToString())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=5))
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(record(bytes(content)) + data.draw(st.binary(max_size=20)))
    try:
        (log,) = reader.read(path)
    except DataError as error:
        problem = str(error)
    else:
        problem = ""
        assert len({values.shape for values in log.columns.values()}) == 1
    assert "tfevents" in problem or not problem
