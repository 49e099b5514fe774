"""The configuration of a run: files beside its log, and what they say of parameters, batch size and schedule."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from scalingeq.errors import DataError

from .columns import as_number
from .names import PATTERNS, RUN_COLUMNS, Naming, plain

FILES = ("config.yaml", "config.yml", "config.json", "args.json", "args.yaml", "hparams.yaml", "training_args.json")
LARGEST = 1 << 20  # bytes of a configuration file
CHECKPOINT = re.compile(r"checkpoint-\d+")
MOST_ENTRIES = 10_000  # of a configuration: aliases of YAML can make a small file endless

# The parts of a batch in tokens. Each is a number that multiplies the others: devices * sequences on a device *
# accumulated micro-batches * tokens of a sequence, or global sequences * tokens of a sequence.
SEQUENCE = ("sequence_length", "seq_length", "seq_len", "max_seq_length", "max_seq_len", "block_size", "context_length")
ON_DEVICE = ("per_device_train_batch_size", "train_micro_batch_size_per_gpu", "micro_batch_size")
ACCUMULATION = ("gradient_accumulation_steps",)
DEVICES = ("world_size", "num_processes", "num_devices", "data_parallel_size")
GLOBAL = ("global_batch_size", "global_train_batch_size", "batch_seqs")


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Make a configuration flat: nested keys joined with "/", the values of Weights & Biases taken out of their wrap.

    Raises
    ------
    DataError
        If it has more entries, or is nested deeper, than any configuration.

    Examples
    --------
    >>> flatten({"lr": {"value": 0.1, "desc": None}, "model": {"n_embd": 64, "tags": ["a"]}})
    {'lr': 0.1, 'model/n_embd': 64}
    """
    flat: dict[str, Any] = {}

    def walk(value: Any, path: tuple[str, ...]) -> Iterator[None]:
        yield
        if isinstance(value, Mapping):
            if "value" in value and value.keys() <= {"value", "desc"}:
                yield from walk(value["value"], path)
                return
            for key, inner in value.items():
                yield from walk(inner, (*path, str(key)))
        elif isinstance(value, (bool, int, float, str)):
            flat["/".join(path)] = value

    try:
        for count, _ in enumerate(walk(config, ())):
            if count > MOST_ENTRIES:
                raise DataError(f"more than {MOST_ENTRIES:,} entries; a configuration was expected")
    except RecursionError:
        raise DataError("nested too deeply; a configuration was expected") from None
    return flat


def run_folder(path: str) -> str:
    """Folder of the run that a log belongs to: its own, or the one above ``checkpoint-*``.

    Examples
    --------
    >>> run_folder("runs/a/checkpoint-500/trainer_state.json"), run_folder("runs/a/metrics.csv")
    ('runs/a', 'runs/a')
    """
    folder = os.path.dirname(path)
    return os.path.dirname(folder) if CHECKPOINT.fullmatch(os.path.basename(folder)) else folder


def read_beside(path: str) -> tuple[dict[str, Any], list[str]]:
    """Read the configuration files in the folder of a log, and of its run.

    Parameters
    ----------
    path : str
        The log. Of ``config.yaml``, ``config.json``, ``args.json``, ``hparams.yaml`` and their like each is read; where
        they differ, the earlier one counts.

    Returns
    -------
    dict
        Flat; empty where there is no file.
    list of str
        Files that are there and cannot be read, with the reason.
    """
    found: dict[str, Any] = {}
    problems = []
    folder = os.path.dirname(path)
    folders = dict.fromkeys([folder, run_folder(path)])
    for file in (os.path.join(folder, name) for folder in folders for name in FILES):
        if not os.path.isfile(file) or os.path.abspath(file) == os.path.abspath(path):
            continue
        try:
            found = _read(file) | found
        except DataError as error:
            problems.append(f"{file}: {error}")
    return found, problems


def _read(file: str) -> dict[str, Any]:
    if os.path.getsize(file) > LARGEST:
        raise DataError(f"larger than {LARGEST:,} bytes; a configuration was expected")
    with open(file, "rb") as opened:
        content = opened.read()
    try:
        if file.endswith("json"):
            config = json.loads(content)
        else:
            try:
                import yaml
            except ImportError:
                raise DataError("YAML needs PyYAML; pip install 'scalingeq[logs]'") from None
            try:
                config = yaml.safe_load(content)
            except yaml.YAMLError as error:
                raise DataError(f"not YAML ({' '.join(str(error).split())})") from None
    except RecursionError:
        raise DataError("nested too deeply; a configuration was expected") from None
    except ValueError as error:
        raise DataError(f"not JSON ({error})") if file.endswith("json") else DataError(f"not YAML ({error})") from None
    if not isinstance(config, dict):
        raise DataError("not an object; names and values were expected")
    return flatten(config)


def read_runs_table(path: str, naming: Naming) -> dict[str, dict[str, Any]]:
    """Read the table of runs beside a table of curves: ``mlp_runs.csv`` beside ``mlp_curves.csv``.

    Parameters
    ----------
    path : str
        The table of curves.
    naming : Naming
        Which columns name the run.

    Returns
    -------
    dict of str to dict
        Configuration of each run by its name; empty where there is no such table.
    """
    from . import tidy

    folder, name = os.path.split(path)
    beside = os.path.join(folder, name.replace("curves", "runs"))
    if "curves" not in name or not os.path.isfile(beside):
        return {}
    table = tidy.read_table(beside, as_text={*RUN_COLUMNS, *(naming.run or ()), *naming.keep})
    run = naming.run or tuple(name for name in RUN_COLUMNS if name in table.words)[:1]
    if not run or any(name not in table.words for name in run):
        return {}
    labels, of_row = tidy.combine_runs(table, run, beside)
    configs: dict[str, dict[str, Any]] = {label: {} for label in labels}
    for row, k in enumerate(of_row.tolist()):
        configs[labels[k]] |= {name: float(column[row]) for name, column in table.numbers.items()}
        configs[labels[k]] |= {name: words.values[words.codes[row]] for name, words in table.words.items()}
    return configs


def find_sizes(config: Mapping[str, Any], naming: Naming) -> dict[str, float]:
    """Roles that have one value for a run, as far as its configuration has them.

    Parameters
    ----------
    config : mapping
        Flat configuration.
    naming : Naming
        A role that it names is looked for under that name.

    Returns
    -------
    dict of str to float
        ``batch_size`` in tokens is given as such (tokens per step), or is the product of sequence length and number of
        sequences where the configuration has all its factors; ``learning_rate`` where its schedule is constant.

    Examples
    --------
    >>> find_sizes({"global_batch_size": 256, "seq_length": 2048, "model/n_embd": 768}, Naming())
    {'width': 768.0, 'batch_size': 524288.0}
    """
    numbers = {key: as_number(value) for key, value in config.items() if not isinstance(value, bool)}
    numbers = {key: value for key, value in numbers.items() if np.isfinite(value)}
    last: dict[str, set[float]] = {}  # by the last part of nested keys, where it is unique
    for key, value in numbers.items():
        last.setdefault(key.rsplit("/", 1)[-1], set()).add(value)
    unique = {key: values.pop() for key, values in last.items() if len(values) == 1} | numbers
    sizes: dict[str, float] = {}
    for role in ("params", "width", "batch_size", "dataset_size", "warmup_steps", "seed"):
        name = naming.columns.get(role)
        if name is not None:
            found = [{unique[name]}] if name in unique else []
        else:
            names = {key: plain(key) for key in unique if "/" not in key and len(key) > 1}
            found = [{unique[key] for key in names if pattern.fullmatch(names[key])} for pattern in PATTERNS[role]]
        values = next((values for values in found if values), set())
        if len(values) == 1:  # several that differ say nothing
            sizes[role] = values.pop()
    if sizes.get("warmup_steps") == 0 and unique.get("warmup_ratio", 0) > 0:
        del sizes["warmup_steps"]  # the ratio counts, and the number of steps it refers to is not known here
    if "batch_size" not in sizes:
        batch = _tokens_per_step(unique)
        if batch is not None:
            sizes["batch_size"] = batch
    name = naming.columns.get("learning_rate")
    # A rate beside a schedule is that of its peak.
    constant = config.get("lr_scheduler_type") in ("constant", "constant_with_warmup")
    if name in unique:
        sizes["learning_rate"] = unique[str(name)]
    elif constant and "learning_rate" in unique:
        sizes["learning_rate"] = unique["learning_rate"]
    return sizes


def _tokens_per_step(config: Mapping[str, float]) -> float | None:
    def one(names: tuple[str, ...]) -> float | None:
        values = {value for key, value in config.items() if plain(key) in names}
        return values.pop() if len(values) == 1 else None

    sequence, on_device, accumulation, devices, whole = map(one, (SEQUENCE, ON_DEVICE, ACCUMULATION, DEVICES, GLOBAL))
    if sequence is None:
        return None
    if whole is not None:
        return whole * sequence
    if on_device is None or accumulation is None or devices is None:
        return None
    return on_device * accumulation * devices * sequence
