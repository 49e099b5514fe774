"""``ds.laws`` and ``tree.laws``: any law fitted to measured loss curves, and what its analysis says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from scalingeq.datasets.history import note
from scalingeq.datasets.schema import check, to_curves
from scalingeq.inference.laws import LAWS, law

from . import archive, groups
from .analysis import Analysis
from .bulk import fit_elements
from .fitted import fit_record

if TYPE_CHECKING:
    from lmfit import Parameter, Parameters


@xr.register_dataset_accessor("laws")  # type: ignore[no-untyped-call]
class MeasuredLaws:
    """Fits of any law to the measured loss curves in a dataset, all with one interface."""

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def names(self) -> dict[str, str]:
        """Names of the laws that :meth:`fit` takes, with what they are and where they come from.

        Examples
        --------
        >>> xr.Dataset().laws.names()["kaplan"]
        'law of size and tokens of Kaplan et al. (Kaplan et al., arXiv:2001.08361, equation 1.5)'
        """
        return {name: f"{one.title} ({one.citation})" for name, one in LAWS.items()}

    def fit(
        self,
        name: str,
        params: Parameters | None = None,
        *,
        dim: str | Sequence[str] | None = None,
        hold_out: Mapping[str, Any] | None = None,
        weights: xr.DataArray | None = None,
        progress: bool = False,
        **parameters: float | Parameter,
    ) -> xr.DataTree:
        """Fit a law to all runs jointly, residuals in log loss.

        Parameters
        ----------
        name : str
            One of :meth:`names`.
        params : lmfit.Parameters, optional
            All parameters of the law with their bounds; the default frees what the runs can determine.
        dim : str or sequence of str, optional
            Dimensions (tasks, seeds, draws) whose elements are records of their own, each fitted alone: as in
            :meth:`scalingeq.accessors.MeasuredTwoPoint.fit`. Not for laws that are a frontier alone.
        hold_out : mapping, optional
            Selection kept out of the fit and scored in ``/prediction``: ``{"params": "largest"}``,
            ``{"step": slice(1000, None)}``, ``{"seed": [1, 2]}``, entries combined with "and".
        weights : xarray.DataArray, optional
            Weight of each observation (zero: left out), in the shape of ``loss`` or broadcasting to it. The default is
            the law's: most leave out the warm-up and the first 2 % of each run, and weigh every run as 4 points.
        progress : bool, default False
            Show a progress bar.
        **parameters : float or lmfit.Parameter
            By name: a number holds the parameter at it, an ``lmfit.Parameter`` replaces it whole.

        Returns
        -------
        xarray.DataTree
            Groups ``observed``, ``parameters`` and ``prediction``; the two-point law adds ``additive``, laws that are a
            frontier alone add ``optima``, the best size at each of their computes.

        Raises
        ------
        ParameterError
            If there is no such law.
        DataError
            If the record is not a training record, ``hold_out`` selects nothing or all, or a parameter is unknown.
        FitError
            If the law cannot be fitted to these runs.

        Examples
        --------
        >>> import scalingeq
        >>> ds = scalingeq.datasets.load("stdlib-lm")
        >>> tree = ds.laws.fit("chinchilla", hold_out={"params": "largest"})
        >>> tree["parameters"].parameter.values.tolist()
        ['E', 'A', 'B', 'a', 'b']
        >>> bool(tree["prediction"].held_out_error.item() < 0.1)
        True
        """
        given: dict[str, Any] = {"hold_out": hold_out, "weights": weights, "parameters": parameters}
        if dim is None:
            return fit_record(self._ds, name, params, progress=progress, **given)
        return fit_elements(self._ds, name, dim, params, progress=progress, **given)


@xr.register_datatree_accessor("laws")  # type: ignore[no-untyped-call]
class AnalysisLaws(Analysis):
    """Predictions, frontiers, reports and plots of a fit of any law, the two-point law among them."""

    def predict(self, ds: xr.Dataset | None = None) -> xr.Dataset:
        """Predict the observed curves, or those of another dataset, which needs no loss.

        Parameters
        ----------
        ds : xarray.Dataset, optional
            Runs with ``step`` (or ``tokens``), ``params``, ``learning_rate``, ``batch_size``; rate and batch may change
            over the steps.

        Returns
        -------
        xarray.Dataset
            ``loss`` and ``loss_stderr``, labelled like ``ds``; ``measured_loss`` where ``ds`` has one.

        Raises
        ------
        DataError
            If ``ds`` lacks what a prediction needs; says what to pass.
        ParameterError
            If the law has a frontier alone.

        Examples
        --------
        >>> import scalingeq
        >>> ds = scalingeq.datasets.load("stdlib-lm")
        >>> theory = ds.laws.fit("kaplan").laws.predict()
        >>> theory.loss.dims == ds.loss.dims
        True
        """
        tree = self._require(self._tree)
        fitted = law(archive.law_of(tree))
        ds = check(tree["observed"].to_dataset() if ds is None else ds, needs_loss=False)
        values, covariance = groups.read_values(tree["parameters"].to_dataset(), fitted)
        units = str(ds["loss"].attrs["units"]) if "loss" in ds else "1"
        out = groups.law_losses(ds, to_curves(ds, needs_loss=False), fitted, values, covariance, units)
        if "loss" in ds:
            out["measured_loss"] = ds["loss"]
        return note(out, f"laws.predict with an analysis of the law {fitted.name}")
