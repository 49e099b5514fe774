"""The corpus of the stdlib-lm recipe: the Python source that comes with the interpreter, as bytes.

Files are ordered by relative path and split by a hash of it, so the same interpreter gives the same corpus everywhere.
"""

from __future__ import annotations

import hashlib
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CONTEXT = 128
HELD_OUT_SHARE = 0.05
EVALUATION_WINDOWS = 512
SEPARATOR = b"\0"  # between files: never occurs in Python source


@dataclass(frozen=True)
class Corpus:
    """Byte streams of the two splits and the windows on which every run is evaluated.

    ``evaluation_start`` (window,) are offsets into ``held_out``; ``evaluation_file`` (window,) numbers the file each
    window begins in, the clusters of the standard errors.
    """

    training: np.ndarray
    held_out: np.ndarray
    evaluation_start: np.ndarray
    evaluation_file: np.ndarray
    held_out_names: tuple[str, ...]
    training_files: int
    sha256: str


def source_files(root: Path) -> list[Path]:
    """Every .py file of the standard library but generated tables, in the order of relative paths."""

    def is_source(path: Path) -> bool:
        parts = path.relative_to(root).parts
        if {"site-packages", "__pycache__", "pydoc_data"} & set(parts):
            return False
        # The charmap codecs are tables of 256 characters, not code.
        return not (parts[0] == "encodings" and b"decoding_table" in path.read_bytes())

    return sorted((p for p in root.rglob("*.py") if is_source(p)), key=lambda p: p.relative_to(root).as_posix())


def is_held_out(relative_path: str) -> bool:
    """Whether a file belongs to the held-out split: by a hash of its path, 5 % of all."""
    digest = hashlib.sha256(relative_path.encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2**64


def load_corpus() -> Corpus:
    """Read the running interpreter's standard library."""
    root = Path(sysconfig.get_paths()["stdlib"])
    checksum = hashlib.sha256()
    streams: dict[bool, list[bytes]] = {True: [], False: []}
    names: list[str] = []
    for path in source_files(root):
        name, text = path.relative_to(root).as_posix(), path.read_bytes()
        checksum.update(name.encode() + SEPARATOR + text + SEPARATOR)
        held_out = is_held_out(name)
        streams[held_out].append(text + SEPARATOR)
        if held_out:
            names.append(name)
    training, held_out_stream = (np.frombuffer(b"".join(streams[split]), np.uint8) for split in (False, True))
    # Equal spacing along the stream of files stratifies the windows by file in proportion to size.
    last = held_out_stream.size - (CONTEXT + 1)
    start = np.linspace(0, last, EVALUATION_WINDOWS).astype(np.int64)
    ends = np.cumsum([len(text) for text in streams[True]])
    return Corpus(
        training=training,
        held_out=held_out_stream,
        evaluation_start=start,
        evaluation_file=np.searchsorted(ends, start, side="right"),
        held_out_names=tuple(names),
        training_files=len(streams[False]),
        sha256=checksum.hexdigest(),
    )


def windows(stream: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Windows (len(start), CONTEXT + 1) of a byte stream: inputs and the byte after each."""
    return stream[start[:, None] + np.arange(CONTEXT + 1)]
