"""TensorBoard event files: every scalar, without the sampling of TensorBoard's own loader."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scalingeq.errors import DataError

from . import trainer_state
from .log import Log

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

FORMAT = "TensorBoard event file"
_PATTERN = "*.tfevents.*"
#: A run that is resumed begins a new file, and may repeat what the one before it says.
join_checkpoints = trainer_state.join_checkpoints
#: Of a record: its length, a checksum of these 8 bytes, the event, and a checksum of the event.
_HEADER, _FOOTER = struct.Struct("<Q4s"), struct.Struct("<4s")


def can_read(head: bytes, name: str) -> bool:
    r"""Tell an event file by its first record, the version.

    Examples
    --------
    >>> can_read(b"\x18" + bytes(20) + b"\x1a\rbrain.Event:2", "x"), can_read(b"step,loss", "events.out.tfevents.1")
    (True, False)
    """
    return b"brain.Event:" in head[:64]


def read(path: str | PathLike[str]) -> Iterator[Log]:
    """Run of one event file, or of all in a folder (those of restarts), with its folder's name.

    There is a row for each step in the order of writing, repeated steps as they are, with columns "step", "wall_time"
    (seconds since 1970) and the scalars by their tags. Hyperparameters that were logged are the configuration. A record
    that a run under way has not written to its end is left out. Needs the extra ``logs``.

    Raises
    ------
    DataError
        If a file is damaged, or there are no scalars.

    Examples
    --------
    >>> from tensorboardX import SummaryWriter
    >>> with SummaryWriter("tiny") as writer:
    ...     for step in (1, 2):
    ...         writer.add_scalar("loss/train", 3 / step, step)
    >>> log = next(read("tiny"))
    >>> log.name, log.columns["step"], log.columns["loss/train"]
    ('tiny', array([1., 2.]), array([3. , 1.5]))
    """
    path = Path(path)
    files = sorted(path.glob(_PATTERN)) if path.is_dir() else [path]
    table = _Table()
    for file in files:
        for event in _events(file):
            table.add(event)
    if not table.tags:
        raise DataError(
            f"{path}: no scalars in {len(files)} event files; expected those of SummaryWriter.add_scalar or tf.summary"
        )
    folder = path if path.is_dir() else path.parent
    yield Log(folder.resolve().name, table.columns(), table.config, str(path))


class _Table:
    """Scalars by tag, each with the number of its row."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.tags: dict[str, tuple[array[int], array[float]]] = {}
        self._steps, self._times = array("d"), array("d")

    def add(self, event: Event) -> None:
        """Take in an event, in the row of the one before if it is of the same step and has other tags."""
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "hparams":
                self.config |= _hyperparameters(value.metadata.plugin_data.content)
            number = _scalar(value)
            if number is None:
                continue
            rows, values = self.tags.setdefault(value.tag, (array("q"), array("d")))
            row = len(self._steps) - 1
            if row < 0 or self._steps[row] != event.step or (rows and rows[-1] == row):
                self._steps.append(event.step)
                self._times.append(event.wall_time)
                row += 1
            rows.append(row)
            values.append(number)

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Columns of one length; a scalar whose tag is that of a column of the reader has a slash before it."""
        columns = {"step": np.array(self._steps), "wall_time": np.array(self._times)}
        for tag, (rows, values) in self.tags.items():
            column = columns.setdefault(f"/{tag}" if tag in columns else tag, np.full(len(self._steps), np.nan))
            column[np.frombuffer(rows, np.int64)] = values
        return columns


def _scalar(value: Summary.Value) -> float | None:
    """Scalar of the first or the second version of the format, where it is one."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if not value.HasField("tensor") or value.tensor.tensor_shape.dim:
        return None
    kinds = {1: ("<f4", value.tensor.float_val), 2: ("<f8", value.tensor.double_val)}
    kind, numbers = kinds.get(value.tensor.dtype, ("", ()))
    content = value.tensor.tensor_content
    if kind and len(content) == np.dtype(kind).itemsize:
        return float(np.frombuffer(content, kind)[0])
    return float(numbers[0]) if numbers else None


def _hyperparameters(content: bytes) -> dict[str, Any]:
    from google.protobuf.message import DecodeError
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    try:
        known = HParamsPluginData.FromString(content).session_start_info.hparams
    except DecodeError:
        return {}
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in known.items() if value.WhichOneof("kind")}


def _events(path: Path) -> Iterator[Event]:
    """Events of a file, as far as they are written."""
    try:
        from google.protobuf.message import DecodeError
        from google_crc32c import value as checksum
        from tensorboardX.proto.event_pb2 import Event
    except ImportError as error:
        raise DataError(
            f"{path}: {FORMAT}s need {error.name}; install it with pip install 'scalingeq[logs]'"
        ) from error

    def masked(data: bytes) -> bytes:
        """CRC-32C, rotated and shifted as TensorFlow's record files have it."""
        crc = checksum(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    size = path.stat().st_size
    with open(path, "rb") as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            at = file.tell() - _HEADER.size
            length, mark = _HEADER.unpack(header)
            intact = masked(header[:8]) == mark
            if intact and length + _FOOTER.size > size - file.tell():
                return
            data, end = file.read(length if intact else 0), file.read(_FOOTER.size)
            if not intact or masked(data) != end:
                raise DataError(
                    f"{path}, record at byte {at}: its checksum differs; expected a whole {FORMAT}, this one is damaged"
                )
            try:
                yield Event.FromString(data)
            except DecodeError as error:
                raise DataError(f"{path}, record at byte {at}: {error}; expected an event of TensorBoard") from error
