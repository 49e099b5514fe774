"""Training records from files of a user: tidy CSV tables, and NetCDF told apart from CSV by content."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from scalingeq.errors import ArchiveError, DataError, raise_problems

from .labels import label
from .schema import ONE_VALUE_A_RUN

if TYPE_CHECKING:
    import pandas as pd

NETCDF_BEGINS = (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF\r\n\x1a\n")
ACCEPTED = "accepted are NetCDF files and CSV tables with a header line, one row for each observation"


def read_table(path: str | os.PathLike[str], *, units: Mapping[str, str] | None = None, **roles: Any) -> xr.Dataset:
    r"""Read a tidy CSV table, one row for each observation, as a labelled training record.

    Parameters
    ----------
    path : str or path
        A table with the columns ``loss``, ``step`` (or ``tokens`` alone: final losses, one row a run), ``run`` unless
        there is one run only, and ``params, learning_rate, batch_size, ...``. A column with one value for each run
        becomes a coordinate of the runs.
    units : mapping of str to str, optional
        As for :func:`label`.
    **roles
        Columns under other names, ``loss="val_loss"``, and values that the table lacks, ``batch_size=65536``.

    Returns
    -------
    xarray.Dataset
        Ragged ``(obs)`` with ``row_size(run)``; ``(step)`` for one run; ``(run)`` for final losses.

    Raises
    ------
    ArchiveError
        If the file is missing or not a CSV table.
    DataError
        If it is empty, a named column is missing, or a size changes within a run.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "log.csv"
    >>> _ = path.write_text("run,iter,loss,params\na,1,3.0,1e3\na,2,2.5,1e3\nb,1,2.8,1e4\nb,4,2.0,1e4\n")
    >>> ds = read_table(path, step="iter", batch_size=64, learning_rate=0.1)
    >>> ds.loss.dims, ds.row_size.values, ds.params.values
    (('obs',), array([2, 2]), array([ 1000., 10000.]))
    """
    import pandas as pd

    path = Path(path)
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except FileNotFoundError as error:
        raise ArchiveError(f"{path}: no such file; {ACCEPTED}") from error
    except pd.errors.EmptyDataError as error:
        raise ArchiveError(f"{path}: the file is empty; {ACCEPTED}") from error
    except (OSError, ValueError) as error:
        raise ArchiveError(f"{path}: not a readable table ({error}); {ACCEPTED}") from error
    columns = {role: name for role, name in roles.items() if isinstance(name, str)}
    raise_problems(
        [
            f"{role}: no column {name!r} in {path}, which has {', '.join(map(str, table.columns))}"
            for role, name in columns.items()
            if name not in table
        ]
        + [
            f"{role}: {name!r} is to be it, and {path} has a column {role!r} as well; drop or rename one"
            for role, name in columns.items()
            if name != role and role in table and role not in columns.values()
        ],
        DataError,
    )
    table = table.rename(columns={name: role for role, name in columns.items()})
    if table.empty:
        raise DataError(f"{path}: the table has a header and no rows; give one row for each observation")
    values = {role: value for role, value in roles.items() if role not in columns}
    if "step" in table or "step" in values:
        ds = _one_run(table) if "run" not in table else _ragged(table, path)
    else:
        # Without steps, each row is a run of its own that ended there.
        ds = xr.Dataset({str(name): ("run", np.asarray(column)) for name, column in table.items()})
    return label(ds, units=units, **values)


def _one_run(table: pd.DataFrame) -> xr.Dataset:
    """One run: a column of one value throughout becomes a scalar, unless it is measured."""
    fixed = [name for name in table if name in ONE_VALUE_A_RUN and table[name].nunique(dropna=False) == 1]
    data = {str(name): ("step", np.asarray(column)) for name, column in table.items() if name not in fixed}
    return xr.Dataset(data).assign_coords({str(name): table[name].iloc[0] for name in fixed})


def _ragged(table: pd.DataFrame, path: Path) -> xr.Dataset:
    if table["run"].isna().any():
        raise DataError(f"run: {int(table['run'].isna().sum())} rows of {path} name no run; fill in the column")
    runs = table.groupby("run", sort=False)  # runs in the order of the file, and rows in theirs
    table = table.loc[np.concatenate([np.asarray(rows) for rows in runs.indices.values()])]
    sizes = runs.size()
    first = runs.nth(0)
    names = [str(name) for name in table if name != "run"]
    counts = runs.nunique(dropna=False)
    changing = {name: list(sizes.index[np.asarray(counts[name]) > 1].astype(str)) for name in names}
    raise_problems(
        [
            f"{name}: changes within run {', '.join(map(repr, within[:5]))} of {path}; give one value a run"
            for name, within in changing.items()
            if within and name in ONE_VALUE_A_RUN
        ],
        DataError,
    )
    # Steps and losses belong to observations even where they happen to be alike.
    per_obs = [name for name in names if changing[name] or name in ("step", "tokens", "loss", "train_loss")]
    ds = xr.Dataset({str(name): ("obs", np.asarray(table[name])) for name in per_obs})
    per_run = {str(name): ("run", np.asarray(first[name])) for name in names if name not in per_obs}
    return ds.assign_coords(per_run | {"run": sizes.index.astype(str).tolist(), "row_size": ("run", sizes.to_numpy())})


def open_record(path: str | os.PathLike[str], *, units: Mapping[str, str] | None = None, **roles: Any) -> xr.Dataset:
    """Read a training record from NetCDF or CSV, whichever the file holds.

    Parameters
    ----------
    path : str or path
        The file; its content decides, not its name.
    units, **roles
        As for :func:`label`.

    Returns
    -------
    xarray.Dataset
        In memory, with the labels of the schema; not checked yet.

    Raises
    ------
    ArchiveError
        If the file is missing, unreadable, truncated or of another kind.
    DataError
        As :func:`label` and :func:`read_table`.

    Examples
    --------
    >>> open_record("no-such-file.nc")
    Traceback (most recent call last):
        ...
    scalingeq.errors.ArchiveError: no-such-file.nc: no such file; accepted are NetCDF files and CSV tables ...
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError as error:
        raise ArchiveError(f"{path}: no such file; {ACCEPTED}") from error
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read ({error.strerror}); {ACCEPTED}") from error
    if head.startswith(NETCDF_BEGINS):
        try:
            with xr.open_dataset(path, engine="netcdf4") as opened:
                ds = opened.load()
        except (OSError, RuntimeError, ValueError) as error:
            raise ArchiveError(f"{path}: begins as NetCDF but cannot be read ({error}); is it truncated?") from error
        if not ds.variables:
            raise ArchiveError(
                f"{path}: its root group has no variables; the curves of an analysis are in its group 'observed': "
                f"xarray.open_dataset({str(path)!r}, group='observed')"
            )
        return label(ds, units=units, **roles)
    if not head:
        raise ArchiveError(f"{path}: the file is empty; {ACCEPTED}")
    if b"\0" in head or b"," not in head.splitlines()[0]:
        raise ArchiveError(f"{path}: begins with {head[:16]!r}, which is neither NetCDF nor CSV; {ACCEPTED}")
    return read_table(path, units=units, **roles)
