"""The loss of training against steps: one function for every algorithm, schedule, ensemble and test covariance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike

from scalingeq.errors import ParameterError
from scalingeq.theory.curves import Curves, Kind, broadcast, size_of
from scalingeq.theory.discrete import Steps, discrete_parts
from scalingeq.theory.dynamics import Jacobian, loss_and_jacobian, loss_of_curves
from scalingeq.theory.equivalents import ONE_MODEL, Shared, ends_of
from scalingeq.theory.schedule import Schedule
from scalingeq.theory.scheduled import Parts, scheduled_loss_of, scheduled_parts
from scalingeq.theory.scheduled_slopes import scheduled_slopes
from scalingeq.theory.shift import shifted_nodes
from scalingeq.theory.spectrum import AnySpectrum, FloatArray
from scalingeq.theory.stability import check_learning_rates
from scalingeq.theory.two_frequency import Model

Dynamics: TypeAlias = Literal["flow", "discrete"]


class Decomposition(NamedTuple):
    """Where the test loss comes from: parts (..., step) that add up to it, in the units of the target power.

    Attributes
    ----------
    irreducible : ndarray
        Variance of the labels of the test.
    bias : ndarray
        Loss of the mean prediction over features, data and sample orders.
    features, data, interaction : ndarray
        Variance from the features alone, from the data alone, and from both together, without label noise.
    label_noise : ndarray
        Variance from the label noise of the training.
    sgd_noise : ndarray
        What the noise of minibatches adds.
    """

    irreducible: FloatArray
    bias: FloatArray
    features: FloatArray
    data: FloatArray
    interaction: FloatArray
    label_noise: FloatArray
    sgd_noise: FloatArray


@overload
def loss_curve(
    steps: ArrayLike,
    spectrum: AnySpectrum,
    *,
    learning_rate: ArrayLike = ...,
    batch_size: ArrayLike = ...,
    width: ArrayLike = ...,
    samples: ArrayLike = ...,
    noise_variance: ArrayLike = ...,
    kind: Kind = ...,
    dynamics: Dynamics = ...,
    momentum: float = ...,
    ridge: float = ...,
    ensemble: tuple[int, int] = ...,
    test_spectrum: AnySpectrum | None = ...,
    jacobian: Literal[False] = ...,
) -> FloatArray: ...


@overload
def loss_curve(
    steps: ArrayLike,
    spectrum: AnySpectrum,
    *,
    learning_rate: ArrayLike = ...,
    batch_size: ArrayLike = ...,
    width: ArrayLike = ...,
    samples: ArrayLike = ...,
    noise_variance: ArrayLike = ...,
    kind: Kind = ...,
    dynamics: Dynamics = ...,
    momentum: float = ...,
    ridge: float = ...,
    ensemble: tuple[int, int] = ...,
    test_spectrum: AnySpectrum | None = ...,
    jacobian: Literal[True],
) -> tuple[FloatArray, Jacobian]: ...


def loss_curve(
    steps: ArrayLike,
    spectrum: AnySpectrum,
    *,
    learning_rate: ArrayLike = 1.0,
    batch_size: ArrayLike = math.inf,
    width: ArrayLike = math.inf,
    samples: ArrayLike = math.inf,
    noise_variance: ArrayLike = 0.0,
    kind: Kind = "test",
    dynamics: Dynamics = "flow",
    momentum: float = 0.0,
    ridge: float = 0.0,
    ensemble: tuple[int, int] = (1, 1),
    test_spectrum: AnySpectrum | None = None,
    jacobian: bool = False,
) -> FloatArray | tuple[FloatArray, Jacobian]:
    """Loss of stochastic gradient descent against steps.

    Parameters
    ----------
    steps : array_like, shape (..., step)
        Numbers of steps done, not negative; whole numbers where the dynamics are discrete.
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs and of the target.
    learning_rate : float or array_like, shape (step,)
        Learning rate of the descent on half the mean square error, in units of 1/eigenvalue: one number, or one for
        every optimiser step (element i is the rate of the step from i to i + 1), not only for the steps asked for.
    batch_size : float or array_like, shape (step,)
        Samples in a minibatch, at least 1, likewise; infinity for full batches.
    width, samples : array_like, shape (...)
        Number of random features and of training samples; infinity is allowed (no features; one pass).
    noise_variance : array_like, shape (...)
        Variance of the label noise, in the units of the loss. The loss includes it.
    kind : {"test", "train"}
        Loss on fresh samples, or on the training samples; they are the same where ``samples`` is infinite.
    dynamics : {"flow", "discrete"}
        Gradient flow, the limit of small rates and fast in any case; or the steps themselves, one after the other.
    momentum : float
        Momentum of the heavy ball, from 0 to below 1. Its limit of small rates is a rate of ``rate/(1 - momentum)``.
    ridge : float
        Weight decay: ridge parameter, in the units of the eigenvalues.
    ensemble : (int, int)
        Numbers of feature draws and of data sets: the predictions of all pairs of them are averaged. Each model sees
        its samples in an order, or a stream, of its own.
    test_spectrum : PowerLaw or Spectrum, optional
        Spectrum of the test inputs, in the basis of the training's: covariate shift. Its own target power does not
        enter, as the target is the same function.
    jacobian : bool
        Whether to give the derivatives as well: of the loss of one model under gradient flow.

    Returns
    -------
    loss : ndarray, shape (..., step)
        Loss, in the units of the target power.
    slopes : dict of str to ndarray, shape (..., step)
        With ``jacobian``: derivatives with respect to ``alpha`` and ``r`` of a `PowerLaw`, ``width``, ``samples``,
        ``noise_variance``, ``steps`` (to the left, at the rate of the step just done), ``learning_rate`` and
        ``batch_size``, others held: where the last two are arrays, with respect to a common factor of all values.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain, a schedule ends before the steps, shapes do not broadcast, or
        there are no derivatives.
    InstabilityError
        Where the descent diverges; the text names the step, the exact threshold there, and the excess.
    ConvergenceError
        Where the renormalised frequencies are not found.

    Notes
    -----
    The loss of arXiv:2502.05074 with the filter of the algorithm. The loss of gradient flow (`scheduled_loss`) differs
    from that of discrete steps by about ``p (p + 1) / (4 steps)`` of the reducible loss that falls as ``steps**-p``,
    and by an offset of relative order learning_rate / batch_size where batches are small (`flow_is_accurate_from`).

    Examples
    --------
    >>> import numpy as np
    >>> from scalingeq.theory import PowerLaw, loss_curve
    >>> spectrum = PowerLaw(alpha=1.5, r=0.4)
    >>> loss_curve([0, 100, 10000], spectrum, width=512, batch_size=8, learning_rate=0.5).round(5)
    array([1.49054, 0.02632, 0.00538])
    >>> cosine = 0.25 * (1 + np.cos(np.pi * np.arange(10000) / 10000))
    >>> loss_curve([100, 10000], spectrum, width=512, batch_size=8, learning_rate=cosine).round(5)
    array([0.02632, 0.00523])
    >>> loss_curve([100], spectrum, samples=60, learning_rate=0.1, dynamics="discrete", momentum=0.9).round(5)
    array([0.02845])
    >>> loss, slopes = loss_curve([100], spectrum, width=512, batch_size=8, learning_rate=cosine, jacobian=True)
    >>> {name: float(slope[0].round(6)) for name, slope in slopes.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'alpha': -0.039562, 'r': -0.260237, 'width': -1e-05, 'samples': 0.0, 'noise_variance': 1.0761,
     'learning_rate': -0.014751, 'batch_size': -0.0003, 'steps': -0.000171}
    """
    training = _training(
        steps, spectrum, learning_rate, batch_size, width, samples, noise_variance, kind, dynamics, momentum, ridge,
        ensemble, test_spectrum,
    )  # fmt: skip
    if not jacobian:
        return training.loss()
    loss, slopes = training.loss_and_jacobian()
    faster, louder, by_steps = (slopes.pop(name) for name in ("rate", "noise_rate", "steps"))
    # More of the learning rate is more of the noise rate, its ratio to the batch size.
    for name, slope, values in (("learning_rate", faster + louder, learning_rate), ("batch_size", -louder, batch_size)):
        slopes[name] = slope if np.ndim(values) else slope / np.asarray(values)
    return loss, slopes | {"steps": by_steps}


def decompose(
    steps: ArrayLike,
    spectrum: AnySpectrum,
    *,
    learning_rate: ArrayLike = 1.0,
    batch_size: ArrayLike = math.inf,
    width: ArrayLike = math.inf,
    samples: ArrayLike = math.inf,
    noise_variance: ArrayLike = 0.0,
    dynamics: Dynamics = "flow",
    momentum: float = 0.0,
    ridge: float = 0.0,
    ensemble: tuple[int, int] = (1, 1),
    test_spectrum: AnySpectrum | None = None,
) -> Decomposition:
    """Parts of the test loss: bias, variance from features, data and both, label noise and the noise of minibatches.

    Parameters
    ----------
    steps, spectrum, learning_rate, batch_size, width, samples, noise_variance, dynamics, momentum, ridge, ensemble, \
test_spectrum
        As in `loss_curve`.

    Returns
    -------
    Decomposition
        Parts that add up to `loss_curve`, each of shape (..., step).

    Raises
    ------
    ParameterError, InstabilityError, ConvergenceError
        As in `loss_curve`.

    Notes
    -----
    Products of errors of two models that share features, data, both or neither, each a two-frequency inverse of
    arXiv:2502.05074. An ensemble divides the variance from features by its number of feature draws, that from data by
    its number of data sets, and what needs both, and the noise of minibatches, by the number of models.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, decompose
    >>> parts = decompose([1000], PowerLaw(alpha=1.5, r=0.4), width=60, samples=80, noise_variance=0.05)
    >>> {name: round(float(part[0]), 4) for name, part in parts._asdict().items()}  # doctest: +NORMALIZE_WHITESPACE
    {'irreducible': 0.05, 'bias': 0.0169, 'features': 0.0361, 'data': 0.0049, 'interaction': 0.0619,
     'label_noise': 0.0624, 'sgd_noise': 0.0}
    """
    return _training(
        steps, spectrum, learning_rate, batch_size, width, samples, noise_variance, "test", dynamics, momentum, ridge,
        ensemble, test_spectrum,
    ).decomposition()  # fmt: skip


@overload
def scheduled_loss(
    steps: ArrayLike,
    schedule: Schedule,
    spectrum: AnySpectrum,
    *,
    width: ArrayLike = ...,
    samples: ArrayLike = ...,
    noise_variance: ArrayLike = ...,
    ridge: float = ...,
    test_spectrum: AnySpectrum | None = ...,
    kind: Kind = ...,
    jacobian: Literal[False] = ...,
) -> FloatArray: ...


@overload
def scheduled_loss(
    steps: ArrayLike,
    schedule: Schedule,
    spectrum: AnySpectrum,
    *,
    width: ArrayLike = ...,
    samples: ArrayLike = ...,
    noise_variance: ArrayLike = ...,
    ridge: float = ...,
    test_spectrum: AnySpectrum | None = ...,
    kind: Kind = ...,
    jacobian: Literal[True],
    direction: tuple[ArrayLike, ArrayLike] | None = ...,
) -> tuple[FloatArray, Jacobian]: ...


def scheduled_loss(
    steps: ArrayLike,
    schedule: Schedule,
    spectrum: AnySpectrum,
    *,
    width: ArrayLike = math.inf,
    samples: ArrayLike = math.inf,
    noise_variance: ArrayLike = 0.0,
    ridge: float = 0.0,
    test_spectrum: AnySpectrum | None = None,
    kind: Kind = "test",
    jacobian: bool = False,
    direction: tuple[ArrayLike, ArrayLike] | None = None,
) -> FloatArray | tuple[FloatArray, Jacobian]:
    """Loss of gradient flow under a schedule, with the noise of minibatches, for one curve or many.

    Parameters
    ----------
    steps : array_like, shape (..., step)
        Steps at which the loss is asked for, not negative, not after the end of the schedule.
    schedule : Schedule
        Learning rate and noise rate (learning rate over batch size) against steps, the same for all curves.
    spectrum : PowerLaw or Spectrum
        Spectrum of the inputs and of the target.
    width, samples : array_like, shape (...)
        Number of random features and of training samples; infinity is allowed (no features; one pass).
    noise_variance : array_like, shape (...)
        Variance of the label noise, in the units of the loss. The loss includes it.
    ridge : float
        Weight decay, a rate per intrinsic time, in the units of the eigenvalues.
    test_spectrum : PowerLaw or Spectrum, optional
        Spectrum of the test inputs, in the basis of the training's; its own target power does not enter.
    kind : {"test", "train"}
        Loss on fresh samples, or on the training samples.
    jacobian : bool
        Whether to give the derivatives as well; with a ridge, of the train loss or one pass alone.
    direction : (array_like, array_like), shape (knot,) each
        Changes of learning rate and noise rate at the knots of the schedule, of any sign, for one more derivative.

    Returns
    -------
    loss : ndarray, shape (..., step)
        Loss, in the units of the target power; the numerical error is about 1e-6 of the loss, and 1e-8 where the
        schedule is constant.
    slopes : dict of str to ndarray, shape (..., step)
        With ``jacobian``: derivatives with respect to ``alpha`` and ``r`` of a `PowerLaw`, ``width``, ``samples``,
        ``noise_variance``, ``steps`` (to the left), a common factor of all learning rates (``rate``) with the noise
        rates held, one of all noise rates (``noise_rate``), and the amount of ``direction`` that is added to the
        schedule, if it is given.

    Raises
    ------
    ParameterError
        Where an argument is outside its domain, the schedule ends before the steps, shapes do not broadcast, or there
        are no derivatives.
    InstabilityError
        Where the noise rate is 2 / Tr(covariance) or more at some step.
    ConvergenceError
        Where the renormalised frequencies are not found.

    Notes
    -----
    The Volterra equation of arXiv:2502.05074 with rates that change: intrinsic time is the integral of the learning
    rate, and the noise enters with the rate of its own time.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, Schedule, scheduled_loss
    >>> drop = Schedule([0, 900, 900, 1000], [0.5, 0.5, 0.05, 0.05], [0.1, 0.1, 0.01, 0.01])
    >>> scheduled_loss([900, 1000], drop, PowerLaw(alpha=1.5, r=0.4), width=512).round(5)
    array([0.00885, 0.0081 ])
    >>> loss, slopes = scheduled_loss([900, 1000], drop, PowerLaw(alpha=1.5, r=0.4), width=512, jacobian=True)
    >>> slopes["noise_rate"].round(5)
    array([0.00134, 0.0005 ])
    """
    problems = training_problems("flow", 0.0, (1, 1), ridge, kind) + _shift_problems(spectrum, test_spectrum)
    curves = broadcast({"steps": steps}, 0.0, width, samples, noise_variance, kind, problems)
    if curves.time.max(initial=0.0) > schedule.last:
        raise ParameterError(
            f"the schedule ends at step {schedule.last:g}, before the last of the steps, {curves.time.max():g}: "
            "pass rates up to there"
        )
    model = Model(spectrum, ridge=ridge, test_spectrum=test_spectrum if kind == "test" else None)
    training = Training(curves, schedule, model, kind)
    if not jacobian:
        return training.loss()
    if direction is None:
        return training.loss_and_jacobian()
    change = tuple(np.asarray(part, dtype=np.float64) for part in direction)
    if len(change) != 2 or any(part.shape != schedule.step.shape or not np.isfinite(part).all() for part in change):
        raise ParameterError(
            f"direction has shapes {[part.shape for part in change]}: pass finite changes of the rate and of the noise "
            f"rate at the {schedule.step.size} knots of the schedule"
        )
    return training.loss_and_jacobian((change[0], change[1]))


def flow_is_accurate_from(
    spectrum: AnySpectrum,
    *,
    learning_rate: float,
    batch_size: float = math.inf,
    momentum: float = 0.0,
    width: float = math.inf,
    samples: float = math.inf,
    noise_variance: float = 0.0,
    tolerance: float = 0.01,
    last: int = 10_000,
) -> float:
    """Step from which on the loss of gradient flow stays within a tolerance of that of discrete steps.

    Parameters
    ----------
    spectrum, learning_rate, batch_size, momentum, width, samples, noise_variance
        As in `loss_curve`; one number each.
    tolerance : float
        Relative difference of the two test losses.
    last : int
        Step up to which they are compared, 50 of them for each decade.

    Returns
    -------
    float
        The step; infinity where they still differ at ``last``, as they do for good where batches are small beside
        the rate.

    Raises
    ------
    ParameterError, InstabilityError, ConvergenceError
        As in `loss_curve`.

    Examples
    --------
    >>> from scalingeq.theory import PowerLaw, flow_is_accurate_from
    >>> flow_is_accurate_from(PowerLaw(alpha=1.5, r=0.4), learning_rate=0.5)
    36.0
    """
    if not (tolerance > 0 and last >= 1):
        raise ParameterError(
            f"tolerance is {tolerance!r}, last {last!r}: pass a positive tolerance and at least one step"
        )
    steps = np.unique(np.geomspace(1, last, 2 + int(50 * math.log10(last))).round())

    def loss(dynamics: Dynamics) -> FloatArray:
        return loss_curve(
            steps, spectrum, learning_rate=learning_rate, batch_size=batch_size, width=width, samples=samples,
            noise_variance=noise_variance, momentum=momentum, dynamics=dynamics,
        )  # fmt: skip

    flow, discrete = loss("flow"), loss("discrete")
    wrong = np.flatnonzero(np.abs(flow - discrete) > tolerance * discrete)
    if wrong.size == 0:
        return 1.0
    return math.inf if wrong[-1] == steps.size - 1 else float(steps[wrong[-1] + 1])


@dataclass(frozen=True)
class Training:
    """A training whose arguments are checked, and the way from it to its losses.

    Attributes
    ----------
    curves : Curves
        One row for each loss curve, with steps in the place of times.
    schedule : Schedule
        Learning rate and noise rate.
    model : Model
        All but the sizes, which are the curves'.
    kind, dynamics, momentum, ensemble
        As in `loss_curve`.
    """

    curves: Curves
    schedule: Schedule
    model: Model
    kind: Kind = "test"
    dynamics: Dynamics = "flow"
    momentum: float = 0.0
    ensemble: tuple[int, int] = (1, 1)

    def loss(self) -> FloatArray:
        """Loss (..., step)."""
        if tuple(self.ensemble) == (1, 1):
            total = self._one_model(self.schedule)
        else:
            total = np.sum(self.decomposition(), axis=0).reshape(self.curves.time.shape)
        return np.maximum(total, 0.0, out=total).reshape(self.curves.shape)

    def loss_and_jacobian(self, direction: tuple[FloatArray, FloatArray] | None = None) -> tuple[FloatArray, Jacobian]:
        """Loss and its derivatives (..., step), as `scheduled_loss` names them."""
        curves, model = self.curves, self.model
        one_frequency = (curves.per_sample == 0) | (self.kind == "train")
        if self.dynamics != "flow" or tuple(self.ensemble) != (1, 1) or model.test_spectrum is not None:
            raise ParameterError(
                "jacobian: there are derivatives for gradient flow of one model, with test inputs like those of the "
                "training; pass dynamics='flow', ensemble=(1, 1) and no test_spectrum, or jacobian=False"
            )
        if model.ridge and not one_frequency.all():
            raise ParameterError(
                "jacobian: with a ridge there are derivatives for one pass and the train loss alone; pass ridge=0, "
                "kind='train' or jacobian=False"
            )
        constant = self._constant_of(self.schedule)
        if constant and direction is None:
            rate, noise_rate = constant
            # The derivatives are with respect to a factor of the noise rate.
            loss, slopes = loss_and_jacobian(self._flow(rate, noise_rate), model.spectrum, self.kind, noise_rate > 0)
            slopes["steps"] = rate * slopes.pop("time")
            return loss, slopes | {
                "rate": curves.time.reshape(curves.shape) * slopes["steps"],
                "noise_rate": noise_rate * slopes["noise_rate"],
            }
        groups = [(rows, two) for rows, two in ((one_frequency, False), (~one_frequency, True)) if rows.any()]
        found = [
            scheduled_slopes(curves.select(rows), self._heavy(self.schedule), model, two, direction)
            for rows, two in groups
        ]
        loss, slopes = found[0]
        if len(found) == 2:
            rows = np.argsort(np.concatenate([np.flatnonzero(rows) for rows, _ in groups]))
            loss = np.concatenate([found[0][0], found[1][0]])[rows]
            slopes = {name: np.concatenate([slope, found[1][1][name]])[rows] for name, slope in slopes.items()}
        shape = curves.shape
        return np.maximum(loss, 0.0).reshape(shape), {name: slope.reshape(shape) for name, slope in slopes.items()}

    def decomposition(self) -> Decomposition:
        """Parts (..., step) of the test loss."""
        by_features, by_data = (1 / size for size in self.ensemble)
        quiet = self.schedule.scaled(noise=0.0)
        total, forced = self._one_model(self.schedule), self._one_model(quiet)
        curves = self.curves
        online, unlimited = (one_over[:, None] == 0 for one_over in (curves.per_sample, curves.per_width))
        # Products of the errors of two models, by whether they share features and data.
        shared = [Shared(features, data) for features in (True, False) for data in (True, False)]
        products = self._parts(quiet, shared, curves, True).forcing
        _, features, data, neither = products[:, 0]
        label, label_of_data = (np.where(online, 0.0, products[which, 1] - 1) for which in (0, 2))
        noise = curves.noise_variance[:, None]
        # The loss of one model is one and the same wherever it stands, so that the parts add up to it exactly: without
        # data, or features, to vary, the model that shares all but them is itself.
        both = forced - noise * (1 + label)
        features, data = np.where(online, both, features), np.where(unlimited, both, data)
        neither = np.where(online, data, np.where(unlimited, features, neither))
        # Label noise reaches the prediction through the data alone, and through data and features together.
        label_of_data = np.where(unlimited, label, label_of_data)
        parts = (
            np.broadcast_to(noise, total.shape),
            neither,
            by_features * (features - neither),
            by_data * (data - neither),
            by_features * by_data * (both - features - data + neither),
            noise * (by_data * label_of_data + by_features * by_data * (label - label_of_data)),
            by_features * by_data * (total - forced),
        )
        return Decomposition._make(np.array(part).reshape(curves.shape) for part in parts)

    def _one_model(self, schedule: Schedule) -> FloatArray:
        """Loss (curve, step) of one model."""
        curves, model = self.curves, self.model
        constant = self._constant_of(schedule)
        if constant:
            rate, noise_rate = constant
            flow = self._flow(rate, noise_rate)
            return loss_of_curves(flow, model.spectrum, self.kind).reshape(curves.time.shape)
        one_frequency = (curves.per_sample == 0) & (model.test_spectrum is None) | (self.kind == "train")
        if one_frequency.all() or not one_frequency.any():
            return self._loss(schedule, curves, not one_frequency.any())
        total = np.empty(curves.time.shape)
        for chosen, two in ((one_frequency, False), (~one_frequency, True)):
            total[chosen] = self._loss(schedule, curves.select(chosen), two)
        return total

    def _flow(self, rate: float, noise_rate: float) -> Curves:
        """The curves against flow time, at constant rates."""
        curves = self.curves
        return curves._replace(grid=rate * curves.grid, noise_rate=np.full(curves.which.size, noise_rate))

    def _constant_of(self, schedule: Schedule) -> tuple[float, float] | None:
        """Learning rate and noise rate of gradient flow where one number each says all of the training."""
        if self.dynamics != "flow" or self.model.ridge or self.model.test_spectrum is not None:
            return None
        return self._heavy(schedule).constant

    def _loss(self, schedule: Schedule, curves: Curves, two_frequencies: bool) -> FloatArray:
        """Loss (curve, step) of one model."""
        if self.dynamics == "discrete":
            return self._parts(schedule, [ONE_MODEL], curves, two_frequencies).loss(curves.noise_variance)
        return scheduled_loss_of(curves, self._heavy(schedule), self.model, two_frequencies)

    def _parts(self, schedule: Schedule, shared: list[Shared], curves: Curves, two_frequencies: bool) -> Parts:
        if self.dynamics == "discrete":
            steps = Steps(*schedule.per_step(math.ceil(curves.time.max(initial=1.0))), self.momentum)
            return discrete_parts(curves, steps, self.model, shared, two_frequencies)
        return scheduled_parts(curves, self._heavy(schedule), self.model, shared, two_frequencies)

    def _heavy(self, schedule: Schedule) -> Schedule:
        """Schedule of the gradient flow that a heavy ball follows at small rates."""
        heavy = 1 / (1 - self.momentum)
        return schedule.scaled(heavy, heavy)


def _training(
    steps: ArrayLike,
    spectrum: AnySpectrum,
    learning_rate: ArrayLike,
    batch_size: ArrayLike,
    width: ArrayLike,
    samples: ArrayLike,
    noise_variance: ArrayLike,
    kind: Kind,
    dynamics: Dynamics,
    momentum: float,
    ridge: float,
    ensemble: tuple[int, int],
    test_spectrum: AnySpectrum | None,
) -> Training:
    """Check the arguments of a loss, all at once."""
    at = np.asarray(steps, dtype=np.float64)
    last = float(at.max(initial=0.0))
    if not math.isfinite(last):
        last = float(at[np.isfinite(at)].max(initial=0.0))
    rate, problems = _rates("learning_rate", learning_rate, last)
    batch, more = _rates("batch_size", batch_size, last)
    problems += more
    problems += training_problems(dynamics, momentum, ensemble, ridge, kind)
    if dynamics == "discrete" and np.any(at != np.floor(at)):
        problems.append(f"steps contains {float(at[at != np.floor(at)].flat[0])!r}: discrete steps are whole numbers")
    problems += _shift_problems(spectrum, test_spectrum)
    curves = broadcast({"steps": steps}, 0.0, width, samples, noise_variance, kind, problems)
    sizes = dict.fromkeys(zip(curves.per_width.tolist(), curves.per_sample.tolist(), strict=True))
    check_learning_rates(
        rate, batch, spectrum, momentum=momentum, ridge=ridge, sizes=[(size_of(n), size_of(p)) for n, p in sizes]
    )
    if rate.size == batch.size == 1:
        schedule = Schedule.of_constant(rate[0], rate[0] / batch[0], max(math.ceil(last), 1))
    else:
        schedule = Schedule.of_steps(rate, rate / batch)
    # A train loss has no test inputs.
    model = Model(spectrum, ridge=ridge, test_spectrum=test_spectrum if kind == "test" else None)
    return Training(curves, schedule, model, kind, dynamics, momentum, ensemble)


def training_problems(
    dynamics: Dynamics, momentum: float, ensemble: tuple[int, int], ridge: float, kind: Kind
) -> list[str]:
    """What is wrong with the options of a training."""
    problems = []
    if dynamics not in ("flow", "discrete"):
        problems.append(f"dynamics is {dynamics!r}: pass 'flow' or 'discrete'")
    if not 0 <= momentum < 1:
        problems.append(f"momentum is {momentum!r}: pass a number from 0 to below 1")
    if np.shape(ensemble) != (2,) or any(size != math.floor(size) or size < 1 for size in ensemble):
        problems.append(f"ensemble is {ensemble!r}: pass two whole numbers, of feature draws and of data sets")
    elif kind == "train" and tuple(ensemble) != (1, 1):
        problems.append("ensemble: its data sets differ, so that it has no train loss; pass kind='test'")
    if not (math.isfinite(ridge) and ridge >= 0):
        problems.append(f"ridge is {ridge!r}: pass a finite number, not negative")
    return problems


def _shift_problems(spectrum: AnySpectrum, test_spectrum: AnySpectrum | None) -> list[str]:
    """What is wrong with a test spectrum."""
    if test_spectrum is not None:
        try:
            shifted_nodes(spectrum, test_spectrum, 1.0)
        except ParameterError as error:
            return list(error.problems)
    return []


def _rates(name: str, value: ArrayLike, last: float) -> tuple[FloatArray, list[str]]:
    """Learning rates or batch sizes, one or as many as there are steps up to ``last``, and what is wrong with them."""
    given = np.asarray(value, dtype=np.float64)
    dimensions, values = given.ndim, given.reshape(-1)
    problems = []
    batch = name == "batch_size"
    # What compares false with all is not a number.
    smallest, largest = ends_of(given)
    if dimensions > 1 or values.size == 0:
        problems.append(f"{name} has shape {given.shape}: pass one number, or one for every optimiser step")
    elif not (smallest >= 1 if batch else smallest >= 0 and largest < math.inf):
        bad = ~(values >= 1) if batch else ~((values >= 0) & (values < math.inf))
        where = f" at step {int(bad.argmax())}" if dimensions else ""
        what = "samples, at least one, or infinity" if batch else "finite numbers, none negative"
        problems.append(f"{name} is {float(values[bad.argmax()])!r}{where}: pass {what}")
    elif dimensions == 0 and not batch and largest == 0:
        problems.append(f"{name} is {value!r}: pass a positive number")
    elif dimensions == 1 and math.ceil(last) > values.size:
        problems.append(
            f"{name} has {values.size} values and ends before the last of the steps, {last:g}: pass one for every step"
        )
    if dimensions == 1:
        values = values[: max(math.ceil(last), 1)]
    return values, problems
