"""Training logs of any format, one or many, as labelled records."""

from __future__ import annotations

import glob
import inspect
import multiprocessing
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from os import PathLike, fspath
from typing import Any

import xarray as xr

from scalingeq.errors import ArchiveError, DataError, ParameterError, ScalingEqError, raise_problems

from .labels import label
from .readers import configuration, find_reader, tidy
from .readers.assemble import Curve, Observer, join
from .readers.log import Log
from .readers.names import Naming
from .zarr_stores import is_zarr, require_zarr

NETCDF_BEGINS = (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF\r\n\x1a\n")
PARALLEL_PAYS = 1 << 26  # bytes of files from which on processes are worth their start
NAMED_FILES = 20  # an error names this many files, and counts the others

Paths = str | PathLike[str] | Iterable[str | PathLike[str]]


def open_logs(
    paths: Paths,
    *,
    units: Mapping[str, str] | None = None,
    keep: Iterable[str] = (),
    flops: str | None = None,
    steps_per_epoch: float | None = None,
    progress: bool = False,
    workers: int | None = None,
    **roles: Any,
) -> xr.Dataset:
    r"""Open training logs, of one run or of many, as one labelled record.

    Parameters
    ----------
    paths : str, path or iterable of these
        Files, or patterns such as ``"runs/*/trainer_state.json"`` (``**`` stands for any depth). The format of each file
        is told by its content.
    units : mapping of str to str, optional
        As for :func:`label`: ``{"loss": "nats per token", "tokens": "bytes"}``.
    keep : str or iterable of str
        Other columns, or entries of the configuration, to be kept under their own names; all others are left out.
    flops : {"6ND"}, optional
        For a table of final losses without tokens: tokens are its FLOPs over 6 params.
    steps_per_epoch : float, optional
        For a log that counts epochs from 0 and no steps.
    progress : bool, default False
        Whether to show a bar of the files done.
    workers : int, optional
        Processes to read the files in. By default one for each core where that pays, for 64 MB or more in several files,
        and where processes can be forked (Linux); else this one.
    **roles
        What is not under a known name: for each role (``step``, ``loss``, ``params``, ``learning_rate``, ``batch_size``
        in tokens, ``tokens``, ...) the name of a column or of an entry of the configuration, a number, an array over
        runs, or ``{run: number}``. ``run`` names the column of the runs, or is a tuple of several, or None where each
        row of a table is a run.

    Returns
    -------
    xarray.Dataset
        In memory: ragged ``(obs)`` with ``row_size(run)`` and ``step(obs)``, so that runs of other steps lose none;
        ``(run)`` for a table of final losses. Observations are the rows with a test loss; other quantities are taken
        from rows of the same step, and learning rate and tokens logged at other steps are linear in between. Params,
        batch size and the like come from columns or from the configuration beside a log (``config.yaml``, ``args.json``,
        ``hparams.yaml``, ...; a table ``x_runs.csv`` beside ``x_curves.csv``). Runs of one name are told apart by their
        folders. What was derived is in ``attrs["history"]``.

    Raises
    ------
    ArchiveError
        If no file matches, or a file is of no known format.
    DataError
        If a file is damaged (with file and line), or with all that is missing or ambiguous in any run, and which
        argument to pass.
    ParameterError
        If ``workers`` is not positive.

    Notes
    -----
    ``xarray.open_mfdataset`` joins files of one run each, lazily, where all runs have the same steps::

        xr.open_mfdataset(paths, engine="traininglog", backend_kwargs=dict(params=...), combine="nested",
                          concat_dim="run", data_vars="all", coords="minimal", compat="override", join="exact",
                          preprocess=lambda ds: ds.swap_dims(obs="step").drop_vars("row_size"))

    For runs of other steps, ``join="exact"`` fails, ``"outer"`` (the default) fills with NaN, which a fit refuses, and
    ``"inner"`` drops observations; coordinates of a run that differ, such as params, have to be given as
    ``coords=["params"]``. This function does without.

    Examples
    --------
    >>> import pathlib
    >>> for name, rows in {"a": "1,3.0\n2,2.5\n", "b": "1,2.8\n4,2.0\n8,1.9\n"}.items():
    ...     _ = pathlib.Path(f"{name}.csv").write_text("iter,val_loss\n" + rows)
    >>> ds = open_logs("*.csv", params={"a": 1e3, "b": 1e4}, batch_size=64, learning_rate=0.1)
    >>> ds.run.values, ds.row_size.values, ds.loss.values
    (array(['a', 'b'], dtype='<U1'), array([2, 3]), array([3. , 2.5, 2.8, 2. , 1.9]))
    """
    naming = Naming.of(roles, keep)
    files = find_files(paths)
    groups = _by_run(files)
    observe = partial(observe_run, naming=naming)
    processes = _processes(groups, workers)
    curves: list[Curve] = []
    hints: dict[str, None] = {}
    problems: list[str] = []
    kind: type[ScalingEqError] = DataError
    with ProcessPoolExecutor(processes) if processes > 1 else nullcontext() as pool:
        chunk = max(1, len(groups) // (8 * processes))
        results = map(observe, groups) if pool is None else pool.map(observe, groups, chunksize=chunk)
        if progress:
            from tqdm import tqdm

            results = iter(tqdm(results, total=len(groups), desc="training logs", unit="log"))
        for result in results:
            if isinstance(result, ScalingEqError):
                problems += result.problems
                kind = ArchiveError if isinstance(result, ArchiveError) else kind
            else:
                curves += result[0]
                hints |= dict.fromkeys(result[1])
    rest = len(problems) - NAMED_FILES
    raise_problems([*problems[:NAMED_FILES], *([f"and {rest} more files"] if rest > 0 else [])], kind)
    return join(curves, naming, units=units, flops=flops, steps_per_epoch=steps_per_epoch, hints=list(hints))


def find_files(paths: Paths) -> list[str]:
    """Files of a path, a pattern or several of these; those of a pattern in the order of their names.

    Raises
    ------
    ArchiveError
        If a pattern matches no file.

    Examples
    --------
    >>> find_files(["b.csv", "a.csv"])
    ['b.csv', 'a.csv']
    """
    if isinstance(paths, (str, PathLike)):
        paths = [paths]
    files: list[str] = []
    problems = []
    for path in (fspath(path) for path in paths):
        if os.path.exists(path) or not glob.has_magic(path):
            files.append(path)
        elif found := sorted(glob.glob(path, recursive=True)):
            files += found
        else:
            problems.append(f"{path}: no file matches this pattern")
    if not files and not problems:
        problems.append("no paths given; pass files or a pattern such as 'runs/*/trainer_state.json'")
    raise_problems(problems, ArchiveError)
    return files


def _by_run(files: list[str]) -> list[list[str]]:
    """Put the files of one name in the checkpoints of one run together, and the event files of one folder.

    They repeat each other: a run that was resumed began a new one.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for file in files:
        folder = configuration.run_folder(file)
        name = os.path.basename(file)
        groups.setdefault((folder, "" if ".tfevents." in name else name), []).append(file)
    return list(groups.values())


def _processes(groups: list[list[str]], workers: int | None) -> int:
    if workers is None:
        forks = multiprocessing.get_all_start_methods()[0] == "fork"  # others run the caller's script once more
        size = sum(os.path.getsize(file) for group in groups for file in group if os.path.isfile(file))
        workers = len(os.sched_getaffinity(0)) if forks and size >= PARALLEL_PAYS else 1
    if workers < 1:
        raise ParameterError(f"workers: {workers}; pass 1 or more processes")
    return min(workers, len(groups))


def observe_run(paths: list[str], naming: Naming) -> tuple[list[Curve], list[str]] | ScalingEqError:
    """Read the curves of a file, or of the checkpoints of a run; or tell what is wrong with them.

    An error is returned, so that those of all files can be told at once.

    Parameters
    ----------
    paths : list of str
        Files of one format.
    naming : Naming
        What the caller says of their columns.

    Returns
    -------
    curves : list of Curve
    hints : list of str
        Configuration files beside them that could not be read.

    Examples
    --------
    >>> observe_run(["missing.csv"], Naming())
    ArchiveError(('missing.csv: no such file; known are ...',))
    """
    try:
        logs: list[Log] = []
        for path in paths:
            reader = find_reader(path)
            # Readers that can leave out columns are told which ones are wanted.
            takes = "naming" in inspect.signature(reader.read).parameters
            logs += reader.read(path, naming=naming) if takes else reader.read(path)  # type: ignore[call-arg]
        if len(paths) > 1 and hasattr(reader, "join_checkpoints"):
            logs = reader.join_checkpoints(logs)
        config, hints = configuration.read_beside(paths[-1])
        of_runs = configuration.read_runs_table(paths[-1], naming)
        observer = Observer(naming)
        return [
            observer.observe(log, config | of_runs.get(log.name, {}), is_tidy=reader is tidy) for log in logs
        ], hints
    except ScalingEqError as error:
        return error


def open_record(path: str | PathLike[str], *, units: Mapping[str, str] | None = None, **roles: Any) -> xr.Dataset:
    """Open a training record from a NetCDF file, a Zarr folder or a training log, whichever is there.

    Parameters
    ----------
    path : str or path
        The file, whose content decides and not its name, or a Zarr folder.
    units : mapping of str to str, optional
        As for :func:`label`.
    **roles
        As for :func:`label` where the file is NetCDF or Zarr; else all that :func:`open_logs` takes.

    Returns
    -------
    xarray.Dataset
        In memory, with the labels of the schema; not checked yet.

    Raises
    ------
    ArchiveError
        If the file is missing, unreadable, truncated or of another kind.
    DataError
        As :func:`label` and :func:`open_logs`.

    Examples
    --------
    >>> open_record("no-such-file.nc")
    Traceback (most recent call last):
        ...
    scalingeq.errors.ArchiveError: no-such-file.nc: no such file; known are NetCDF and ...
    """
    path = fspath(path)
    zarr = is_zarr(path)
    if not zarr and not _is_netcdf(path):
        return open_logs([path], units=units, **roles)
    if zarr:
        require_zarr(path)
    try:
        with xr.open_dataset(path, engine="zarr" if zarr else "netcdf4") as opened:
            ds = opened.load()
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        begins = "should be a Zarr folder" if zarr else "begins as NetCDF"
        raise ArchiveError(f"{path}: {begins} but cannot be read ({error}); is it truncated?") from error
    if not ds.variables:
        raise ArchiveError(
            f"{path}: its root group has no variables; the curves of an analysis are in its group 'observed': "
            f"xarray.open_dataset({path!r}, group='observed')"
        )
    return label(ds, units=units, **roles)


def _is_netcdf(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(8).startswith(NETCDF_BEGINS)
    except OSError:
        return False  # said by what opens it
