"""The engine "traininglog" of xarray: training logs through ``xarray.open_dataset``."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike, fspath
from typing import Any, ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint

from scalingeq.errors import ScalingEqError

from .opening import open_logs
from .readers import find_reader


class TrainingLogBackend(BackendEntrypoint):
    r"""Opens a training log of any known format.

    Arguments are those of :func:`scalingeq.datasets.open_logs`, for one file.

    Examples
    --------
    >>> import pathlib
    >>> _ = pathlib.Path("log.csv").write_text("iter,val_loss,lr\n1,3.0,0.1\n2,2.5,0.1\n")
    >>> ds = xr.open_dataset("log.csv", engine="traininglog", params=1e6, batch_size=4096)
    >>> ds.loss.dims, ds.run.values, ds.row_size.values
    (('obs',), array(['log'], dtype='<U3'), array([2]))
    """

    description = "Training logs as labelled records (scalingeq)"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = ("filename_or_obj", "drop_variables")

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None, **options: Any
    ) -> xr.Dataset:
        """Open one file; ``options`` as for :func:`scalingeq.datasets.open_logs`."""
        ds = open_logs([fspath(filename_or_obj)], **options)
        drop = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        ds = ds.drop_vars(drop)
        ds.set_close(lambda: None)  # nothing is open; open_mfdataset calls it all the same
        return ds

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell by its content whether a file is a training log."""
        if not isinstance(filename_or_obj, (str, PathLike)):
            return False
        try:
            find_reader(filename_or_obj)
        except ScalingEqError:
            return False
        return True
