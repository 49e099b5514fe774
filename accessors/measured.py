"""``ds.twopoint``: the theory on measured loss curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from scalingeq.datasets import cleaning, seeds, thinning
from scalingeq.datasets.history import note
from scalingeq.datasets.schema import check, label, to_curves
from scalingeq.errors import DataError
from scalingeq.inference import twopoint
from scalingeq.inference.algorithms import Algorithm
from scalingeq.inference.frontier import FlopsRule
from scalingeq.inference.leaving_out import Task
from scalingeq.inference.parabolas import REACH
from scalingeq.theory.curves import Kind
from scalingeq.theory.spectrum import AnySpectrum
from scalingeq.theory.training import Dynamics

from . import groups
from .bulk import fit_elements
from .envelopes import envelope_dataset, isoflop_dataset, units_of
from .fitted import fit_record
from .predicting import RECORDED, predicted, smallest_size

if TYPE_CHECKING:
    from lmfit import Parameter, Parameters

    from .plotting import MeasuredPlots


@xr.register_dataset_accessor("twopoint")  # type: ignore[no-untyped-call]
class MeasuredTwoPoint:
    """Theory, fits and plots of the measured loss curves in a dataset.

    The dataset holds ``loss`` over ``(run, step)``, padded ``(run, obs)`` or ragged ``(obs)``, and ``params``,
    ``learning_rate`` and ``batch_size`` of each run, the latter two also over its observations: a schedule.
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def label(self, *, units: Mapping[str, str] | None = None, **roles: Any) -> xr.Dataset:
        """Rename and complete the record: :func:`scalingeq.datasets.label`.

        Examples
        --------
        >>> log = xr.Dataset({"val_loss": ("iter", [3.0, 2.5])}, {"iter": [10, 20]})
        >>> log.twopoint.label(step="iter", loss="val_loss", params=1e6).loss.dims
        ('step',)
        """
        return label(self._ds, units=units, **roles)

    def check(self) -> xr.Dataset:
        """Return the record with the labels of the schema, or say all that is wrong.

        As :func:`scalingeq.datasets.check`.

        Examples
        --------
        >>> xr.Dataset({"loss": ("step", [3.0, -2.5])}, {"step": [10, 20]}).twopoint.check()
        Traceback (most recent call last):
            ...
        scalingeq.errors.DataError: 4 problems:...
        """
        return check(self._ds)

    def thin(self, *, per_decade: float = 20) -> xr.Dataset:
        """Average in log-spaced bins of steps, with standard errors: :func:`scalingeq.datasets.thin`.

        Examples
        --------
        >>> import numpy as np
        >>> step = np.arange(1, 101)
        >>> dense = xr.Dataset({"loss": ("step", 2 + 1 / step)}, {"step": step})
        >>> dense.twopoint.thin(per_decade=5).sizes["step"]
        10
        """
        return thinning.thin(self._ds, per_decade=per_decade)

    def drop_burn_in(self, *, share: float = 0.02, steps: float | None = None) -> xr.Dataset:
        """Drop the beginning of each run: :func:`scalingeq.datasets.drop_burn_in`.

        Examples
        --------
        >>> ds = xr.Dataset({"loss": ("step", [9.0, 4.0, 3.0])}, {"step": [1, 100, 1000]})
        >>> ds.twopoint.drop_burn_in().step.values
        array([ 100, 1000])
        """
        return cleaning.drop_burn_in(self._ds, share=share, steps=steps)

    def drop_warmup(self) -> xr.Dataset:
        """Drop the warm-up of the learning rate and remember it: :func:`scalingeq.datasets.drop_warmup`.

        Examples
        --------
        >>> ds = xr.Dataset({"loss": ("step", [9.0, 4.0, 3.0])}, {"step": [1, 100, 1000], "warmup_steps": 50})
        >>> ds.twopoint.drop_warmup().step.values
        array([ 100, 1000])
        """
        return cleaning.drop_warmup(self._ds)

    def split_restarts(self) -> xr.Dataset:
        """Make runs of their own of what was logged into one: :func:`scalingeq.datasets.split_restarts`.

        Examples
        --------
        >>> ds = xr.Dataset({"loss": ("obs", [3.0, 2.0, 3.1, 2.1])}, {"step": ("obs", [1, 2, 1, 2])})
        >>> ds.twopoint.split_restarts().row_size.values
        array([2, 2])
        """
        return cleaning.split_restarts(self._ds)

    def join_restarts(self, *, keep: Literal["last", "first"] = "last") -> xr.Dataset:
        """Keep each step of a resumed run once: :func:`scalingeq.datasets.join_restarts`.

        Examples
        --------
        >>> ds = xr.Dataset({"loss": ("obs", [3.0, 2.0, 2.1, 1.9])}, {"step": ("obs", [1, 2, 2, 3])})
        >>> ds.twopoint.join_restarts().loss.values
        array([3. , 2.1, 1.9])
        """
        return cleaning.join_restarts(self._ds, keep=keep)

    def separate(self) -> tuple[xr.Dataset, xr.Dataset]:
        """Part test and training losses on one axis: :func:`scalingeq.datasets.separate`.

        Examples
        --------
        >>> import numpy as np
        >>> losses = {"loss": ("step", [np.nan, 2.5]), "train_loss": ("step", [3.0, np.nan])}
        >>> test, train = xr.Dataset(losses, {"step": [1, 2]}).twopoint.separate()
        >>> test.loss.values, train.loss.values
        (array([2.5]), array([3.]))
        """
        return cleaning.separate(self._ds)

    def average_seeds(self, *, interpolate: bool = False) -> xr.Dataset:
        """Average runs that are equal but for their seed: :func:`scalingeq.datasets.average_seeds`.

        Examples
        --------
        >>> losses = (("run", "step"), [[3.0, 2.0], [3.2, 2.2]])
        >>> ds = xr.Dataset({"loss": losses}, {"step": [1, 2], "seed": ("run", [0, 1])})
        >>> ds.twopoint.average_seeds().loss.values
        array([[3.1, 2.1]])
        """
        return seeds.average_seeds(self._ds, interpolate=interpolate)

    def fit(
        self,
        params: Parameters | None = None,
        *,
        dim: str | Sequence[str] | None = None,
        hold_out: Mapping[str, Any] | None = None,
        weights: xr.DataArray | None = None,
        check: Task | None = None,
        progress: bool = False,
        **parameters: float | Parameter,
    ) -> xr.DataTree:
        """Fit the two-point law to all runs jointly, residuals in log loss, through lmfit.

        Residuals are robust (Huber), and weak priors hold what no curve determines:
        :mod:`scalingeq.inference.objective` has them.

        Parameters
        ----------
        params : lmfit.Parameters, optional
            All parameters of the law with their bounds; the default frees what the runs can determine.
        dim : str or sequence of str, optional
            Dimensions (tasks, seeds, draws) of the losses, coordinates or weights whose elements are records of their
            own, each fitted alone.
        hold_out : mapping, optional
            Selection kept out of the fit and scored in ``/prediction``: ``{"params": "largest"}``,
            ``{"step": slice(1000, None)}``, ``{"seed": [1, 2]}``, entries combined with "and".
        weights : xarray.DataArray, optional
            Weight of each observation (zero: left out), in the shape of ``loss`` or broadcasting to it. The default
            leaves out the warm-up and the first 2 % of each run, and weighs every run as 4 points.
        check : {"size", "horizon", "schedule", "repetition"}, optional
            What the fit is to extrapolate to. Several variants of the fit (:data:`scalingeq.inference.candidates.CANDIDATES`)
            are made of all runs, and of a part from which that is left out: the largest 30 % of the sizes, the last 60 %
            of the steps, one schedule after the other, the smallest data set. How well each predicted what was left out
            weighs it in the average that predictions are, and how far the variants scatter widens their bands. Takes some
            ten times as long; variants have default parameters and weights.
        progress : bool, default False
            Show a progress bar; that of a chunked record is dask's own (see Notes).
        **parameters : float or lmfit.Parameter
            By name: a number holds the parameter at it, an ``lmfit.Parameter`` replaces it whole. ``shift`` says that
            the capacity exponent of the test inputs is ``alpha + shift``.

        Returns
        -------
        xarray.DataTree
            Groups ``observed``, ``parameters``, ``prediction`` and ``additive`` (the additive law on the same points); with
            ``check`` also ``candidates``, the variants and their weights, and ``check``, what was left out and predicted.
            ``parameters`` and ``additive`` are those of the heaviest variant that has a frontier then. With ``dim`` the
            groups have these dimensions too, and ``parameters`` has ``success`` and ``message``, the error of an element
            that could not be fitted; ``tree.sel(task="a")`` is the analysis of one element.

        Raises
        ------
        DataError
            If the record is not a training record, or ``hold_out`` selects nothing or all.
        FitError
            If there is too little to fit. With ``dim`` errors of single elements are recorded and not raised.

        Notes
        -----
        With ``dim`` and a chunked record nothing is computed until it is asked for, and then by any scheduler of dask,
        one task a chunk, with dask's own progress::

            tree = ds.chunk(task=10).twopoint.fit(dim="task")
            with dask.diagnostics.ProgressBar():                  # threads or processes of this machine
                tree = tree.compute(scheduler="processes")

            client = distributed.Client(...)                      # or a cluster
            tree = tree.persist()
            distributed.progress(tree["parameters"].to_dataset())

        Examples
        --------
        >>> import scalingeq
        >>> ds = scalingeq.datasets.load("stdlib-lm")
        >>> few = scalingeq.datasets.select_runs(ds, [0, 1])
        >>> tree = few.twopoint.fit(alpha=1.5, r=0.2)
        >>> float(tree["parameters"].value.sel(parameter="alpha"))
        1.5

        Tasks in bulk, one of which diverged:

        >>> tasks = few.assign(loss=few.loss * xr.DataArray([1, -1], {"task": ["a", "b"]}, "task"))
        >>> tree = tasks.twopoint.fit(dim="task", alpha=1.5, r=0.2)
        >>> tree["parameters"].success.values, tree["parameters"].value.dims
        (array([ True, False]), ('task', 'parameter'))
        >>> print(str(tree["parameters"].message.sel(task="b").values)[:50])
        DataError: loss: not a positive number in run '...
        """
        given: dict[str, Any] = {"hold_out": hold_out, "weights": weights, "parameters": parameters}
        if dim is None:
            return fit_record(self._ds, "twopoint", params, progress=progress, leave_out=check, **given)
        if check is not None:
            raise DataError("check: goes with one record; pass check=None, or fit the elements of dim one by one")
        return fit_elements(self._ds, "twopoint", dim, params, progress=progress, **given)

    def predict(
        self,
        fit: xr.DataTree | None = None,
        *,
        kind: Kind = "test",
        dynamics: Dynamics = "flow",
        momentum: float = 0.0,
        ridge: float = 0.0,
        ensemble: tuple[int, int] = (1, 1),
        test_spectrum: AnySpectrum | None = None,
        components: bool = False,
        **parameters: float,
    ) -> xr.Dataset:
        """Theory beside the measured curves.

        Parameters
        ----------
        fit : xarray.DataTree, optional
            An analysis; its parameters are used.
        kind : {"test", "train"}
            Loss on fresh samples, or on the training samples.
        dynamics : {"flow", "discrete"}
            Gradient flow, or the optimiser's steps themselves.
        momentum, ridge : float
            Momentum of the heavy ball, and weight decay in units of the largest eigenvalue.
        ensemble : (int, int)
            Numbers of feature draws (initial weights) and of data sets whose models are averaged.
        test_spectrum : PowerLaw, optional
            Spectrum of the test inputs; for exponents the parameter ``shift`` does the same.
        components : bool, default False
            Add ``component_loss``: bias, variance from features, data and both, label noise, noise of minibatches, and
            what is irreducible, over ``component``; they add up to ``loss``.
        **parameters : float
            Without ``fit``: ``alpha`` and ``r``, and any other parameter of the law; those not given leave their
            effect out; amplitudes refer to the smallest model of the dataset, or to ``reference_params`` if that is
            passed too. Without fit and parameters: the parameters recorded in the dataset, else a default fit.

        Returns
        -------
        xarray.Dataset
            ``loss`` (and ``loss_stderr`` from a fit) in the shape of the dataset, ``measured_loss`` where there is one;
            which parameters it comes from is in ``attrs["twopoint_parameters"]`` and ``attrs["history"]``.

        Raises
        ------
        DataError
            If the record lacks what a prediction needs, or a parameter is unknown; says what to pass.
        ParameterError, InstabilityError
            If an option is outside its domain, or discrete steps diverge: as :func:`scalingeq.loss_curve`.

        Notes
        -----
        A chunked (dask) dataset gives a lazy prediction, made chunk by chunk in some 300 bytes of memory for each point
        of the chunks at work, more with standard errors. Chunks of runs stay apart, and chunks of steps or observations
        where ``learning_rate`` and ``batch_size`` are numbers of a run, as losses at one step then need no other. Where
        they vary over the observations, a schedule, the observations of a run are put in one chunk; a ragged record, whose
        rows no chunk knows, is put in one altogether: pad it, ``(run, obs)``, to go beyond the memory.

        Examples
        --------
        >>> import scalingeq
        >>> ds = scalingeq.datasets.select_runs(scalingeq.datasets.load("stdlib-lm"), [0, 1])
        >>> theory = ds.twopoint.predict(alpha=1.5, r=0.3, scale=5.0)
        >>> theory.loss.dims == ds.loss.dims
        True
        >>> parts = ds.twopoint.predict(alpha=1.5, r=0.3, width_scale=100, components=True)
        >>> parts.component_loss.sel(component="features").dims == ds.loss.dims
        True
        """
        from .analysis import require_twopoint

        algorithm = Algorithm(dynamics, momentum, ridge, ensemble, test_spectrum, kind)

        if fit is not None and parameters:
            raise DataError(f"predict: got an analysis and also {', '.join(parameters)}; pass one of both")
        ds = label(self._ds)
        if fit is not None:
            law = groups.law_of_analysis(require_twopoint(fit))
            history = "an analysis passed"
        elif parameters or RECORDED in ds.attrs:
            given = dict(parameters) or json.loads(ds.attrs[RECORDED])
            # Amplitudes refer to the smallest model unless the record says otherwise.
            reference = float(given.pop("reference_params")) if "reference_params" in given else smallest_size(ds)
            law = groups.FittedLaw(twopoint.complete(given), None, reference)
            history = "parameters passed" if parameters else "parameters recorded in the dataset"
        else:
            tree = self.fit()
            law, history = groups.read_parameters(tree["parameters"].to_dataset()), "a default fit to these curves"
        return predicted(ds, law, history, algorithm, components)

    def envelope(self, compute: Any = None, *, flops: str | FlopsRule = "6ND", last: bool = False) -> xr.Dataset:
        """Lower envelope of the measured curves against compute: the best run at each compute, without any law.

        Parameters
        ----------
        compute : array_like, optional
            FLOPs; the default is the range in which three or more model sizes were measured.
        flops : str or callable
            ``"6ND"``, or the compute of arrays (params, tokens).
        last : bool, default False
            Take the end of each run alone: where the rate falls, a loss before that is not what a run planned for this
            compute would have reached.

        Returns
        -------
        xarray.Dataset
            ``loss, params, tokens, run`` of the best run over ``compute``, interpolated between its points, NaN where
            nothing was measured; ``loss_stderr``; ``params_low, params_high``, the sizes that errors do not tell from
            the best; ``is_inside``, 0 where no smaller or no larger model was measured. ``exponent`` and
            ``exponent_stderr`` of power laws through those inside over ``quantity``.

        Raises
        ------
        DataError
            If the record cannot be used, or three sizes were nowhere measured at one compute.
        ParameterError
            If compute or rule are outside their domains.

        Notes
        -----
        Approach 1 of Hoffmann et al. (arXiv:2203.15556). :mod:`scalingeq.inference.envelope` says what the errors know.

        Examples
        --------
        >>> import scalingeq
        >>> ds = scalingeq.datasets.select_runs(scalingeq.datasets.load("stdlib-lm"), list(range(8)))
        >>> ds.twopoint.envelope([2e11, 4e12]).run.values.tolist()
        ['width-32', 'width-48']
        """
        ds = check(self._ds)
        return note(envelope_dataset(to_curves(ds), compute, flops, last, units_of(ds)), "twopoint.envelope")

    def isoflop(
        self, compute: Any = None, *, flops: str | FlopsRule = "6ND", reach: float = REACH, last: bool = False
    ) -> xr.Dataset:
        """Minima of IsoFLOP curves: at each compute, of the parabola in log size through the runs' losses.

        Parameters
        ----------
        compute : array_like, optional
            FLOPs; the default is 12 log-spaced ones where three or more sizes were measured, or those of a table of
            final losses.
        flops : str or callable
            ``"6ND"``, or the compute of arrays (params, tokens).
        reach : float
            A parabola goes through the sizes within this factor of the best, and the two nearest on either side.
        last : bool, default False
            Take the end of each run alone, as in :meth:`envelope`.

        Returns
        -------
        xarray.Dataset
            ``loss, params, tokens`` at the minimum over ``compute``, NaN where it is not inside the sizes measured, with
            ``loss_stderr`` and ``params_stderr`` of their logarithms; ``run_loss`` and ``is_used`` over
            ``(compute, run)``; ``exponent`` and ``exponent_stderr`` of power laws through the minima over ``quantity``.

        Raises
        ------
        DataError, ParameterError
            As :meth:`envelope`.

        Notes
        -----
        Approach 2 of Hoffmann et al. (arXiv:2203.15556).

        Examples
        --------
        >>> import scalingeq
        >>> ds = scalingeq.datasets.select_runs(scalingeq.datasets.load("stdlib-lm"), list(range(8)))
        >>> best = ds.twopoint.isoflop([2e11, 4.9e12])
        >>> bool(best.params[1] > best.params[0]), best.run_loss.dims
        (True, ('compute', 'run'))
        """
        ds = check(self._ds)
        return note(isoflop_dataset(to_curves(ds), compute, flops, reach, last, units_of(ds)), "twopoint.isoflop")

    @property
    def plot(self) -> MeasuredPlots:
        """Plots of the measured curves."""
        from .plotting import MeasuredPlots

        return MeasuredPlots(self._ds)
