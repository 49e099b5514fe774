"""The compute-optimal frontier of the two-point law, as a root of the analytic slope of its loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ..errors import ParameterError
from . import twopoint
from .curves import Floats
from .frontier import (
    BAND_STEP,
    FLOPS_RULES,
    NODES,
    RULE_STEP,
    STENCIL,
    FlopsRule,
    Frontier,
    LossSurface,
    optimal_log_params,
    optimal_sizes,
    spaced,
    tokens_for,
)
from .twopoint import Settings
from .uncertainty import propagate

LEAST_LOSS = 1e-6  # of the target power: below it the numerical error of the slopes, 2e-10 of that, would be felt


@dataclass(frozen=True)
class TwoPointRuns(LossSurface):
    """Runs of the two-point law at a constant rate.

    Attributes
    ----------
    parameters : mapping
        All parameters of the law.
    reference_params, learning_rate, batch_size, dataset_size, test_eigenvalues, flops
        As in :func:`frontier`.
    """

    parameters: Mapping[str, float]
    reference_params: float
    learning_rate: float
    batch_size: float
    dataset_size: float = np.inf
    test_eigenvalues: Floats | None = None
    flops: FlopsRule = FLOPS_RULES["6ND"]

    def __post_init__(self) -> None:
        if exponent := twopoint.value_of(self.parameters, "loss_exponent"):
            raise ParameterError(
                f"loss_exponent: {exponent:g} makes rates depend on the loss, and frontiers are those of constant rates; "
                "pass a fit with loss_exponent=0"
            )

    @property
    def least(self) -> float:  # type: ignore[override]
        """Loss below which the numerical error of its slopes would be felt."""
        return LEAST_LOSS * self.parameters["scale"]

    def _settings(self, params: Floats, tokens: Floats) -> Settings:
        size = params.ravel()
        one = np.ones(size.size)
        return Settings(
            tokens.reshape(size.size, -1) / self.batch_size, size, self.learning_rate * one, self.batch_size * one,
            self.dataset_size * one, test_eigenvalues=self.test_eigenvalues,
        )  # fmt: skip

    def loss(self, params: Floats, tokens: Floats) -> Floats:
        """As :meth:`LossSurface.loss`."""
        losses = twopoint.predict(self.parameters, self._settings(params, tokens), self.reference_params)
        return losses.reshape(tokens.shape)

    @property
    def is_shifted(self) -> bool:
        """Whether test inputs are not those of the training: there the theory has no derivatives."""
        return twopoint.spectrum_of_test(self.parameters, self.test_eigenvalues) is not None

    def slope(self, log_params: Floats, log_compute: Floats) -> tuple[Floats, Floats]:
        """As :meth:`LossSurface.slope`."""
        return super().slope(log_params, log_compute) if self.is_shifted else self._slopes(log_params, log_compute)[:2]

    def along(self, log_params: Floats, log_compute: Floats) -> Floats:
        """As :meth:`LossSurface.along`."""
        return super().along(log_params, log_compute) if self.is_shifted else self._slopes(log_params, log_compute)[2]

    def newton(self, log_params: Floats, log_compute: Floats) -> tuple[Floats, Floats]:
        """As :meth:`LossSurface.newton`."""
        if self.is_shifted:
            return super().newton(log_params, log_compute)
        here, ahead = self.slope(log_params + STENCIL * np.array([[0.0], [1.0]]), log_compute)[1]
        return here, (ahead - here) / STENCIL

    def curvature(self, log_params: Floats, log_compute: Floats) -> Floats:
        """As :meth:`LossSurface.curvature`."""
        if self.is_shifted:
            return super().curvature(log_params, log_compute)
        low, high = self.slope(log_params + STENCIL * np.array([[-1.0], [1.0]]), log_compute)[1]
        return np.asarray((high - low) / (2 * STENCIL))

    def _slopes(self, log_params: Floats, log_compute: Floats) -> tuple[Floats, Floats, Floats]:
        """Log loss (...), its derivative in log params at a given compute, and in log compute at given params: analytic."""
        log_params, log_compute = np.broadcast_arrays(log_params, log_compute)
        # Tokens against params and against compute, from the rule alone.
        log_tokens, of_params, of_compute = (
            np.log(tokens_for(np.exp(log_compute + in_compute), np.exp(log_params + in_params), self.flops))
            for in_params, in_compute in ((0.0, 0.0), (RULE_STEP, 0.0), (0.0, RULE_STEP))
        )
        settings = self._settings(np.exp(log_params), np.exp(log_tokens))
        log_loss, by_params, by_tokens = (
            values.reshape(log_params.shape)
            for values in twopoint.log_loss_slopes(self.parameters, settings, self.reference_params)
        )
        along, across = ((moved - log_tokens) / RULE_STEP for moved in (of_params, of_compute))
        return log_loss, by_params + by_tokens * along, by_tokens * across


def frontier(
    parameters: Mapping[str, float],
    compute: Floats,
    *,
    reference_params: float,
    learning_rate: float,
    batch_size: float,
    dataset_size: float = np.inf,
    test_eigenvalues: Floats | None = None,
    flops: FlopsRule = FLOPS_RULES["6ND"],
    start: Floats | None = None,
) -> Frontier:
    """Minimise the predicted loss over model size at each compute.

    Parameters
    ----------
    parameters : mapping
        All parameters of the two-point law.
    compute : ndarray, shape (compute,)
        FLOPs.
    reference_params : float
        Size that the amplitudes refer to.
    learning_rate, batch_size, dataset_size : float
        Of the runs planned, constant; ``dataset_size`` limits the unique tokens.
    test_eigenvalues : ndarray, shape (mode,), optional
        Measured variance of the test inputs along the modes.
    flops : callable
        Compute of (params, tokens).
    start : ndarray, shape (compute,), optional
        Sizes near the optimum; the default scans all sizes.

    Returns
    -------
    Frontier

    Raises
    ------
    ConvergenceError
        If the loss has no minimum inside the sizes searched: then it says at which compute and on which side.

    Examples
    --------
    >>> law = twopoint.complete(dict(alpha=1.5, r=0.3, width_scale=100.0, width_exponent=1.0))
    >>> best = frontier(law, np.array([1e12, 1e13]), reference_params=1e4, learning_rate=0.1, batch_size=100.0)
    >>> bool(best.params[1] > best.params[0]), bool(best.loss[1] < best.loss[0])
    (True, True)
    """
    if not np.isfinite(parameters["width_scale"]) and parameters["unlearnable"] == 0:
        raise ParameterError(
            "width_scale, unlearnable: model size has no effect on this law, so no size is optimal; "
            "fit runs of three or more sizes"
        )

    runs = TwoPointRuns(parameters, reference_params, learning_rate, batch_size, dataset_size, test_eigenvalues, flops)
    if start is None and runs.is_shifted:
        # Sizes are found many times as fast without the shift, and do not move far.
        unshifted = replace(runs, parameters={**parameters, "shift": 0.0}, test_eigenvalues=None)
        start = optimal_sizes(unshifted, compute).params
    return optimal_sizes(runs, compute, start)


def frontier_band(
    values: Mapping[str, float], covariance: Floats | None, compute: Floats, **plan: Any
) -> tuple[Frontier, Frontier]:
    """Frontier at the best fit, and standard errors from the fit's covariance, to first order.

    First order is what the covariance stands for: along directions that the runs do not determine, a common rescaling
    of ``scale``, ``time_scale`` and ``width_scale`` above all, the frontier does not change and no error arises.

    Parameters
    ----------
    values : mapping
        All parameters of the two-point law at the best fit.
    covariance : ndarray, shape (parameter, parameter), or None
        In the order of ``values``; without it the errors are zero.
    compute : ndarray, shape (compute,)
        FLOPs.
    **plan
        Keywords of :func:`frontier`.

    Returns
    -------
    best, stderr : Frontier
        The errors of ``loss``, ``params`` and ``tokens`` are those of their logarithms.

    Notes
    -----
    At the optimum the loss has no slope in size, so that in a parameter d ln L is the partial derivative, and
    d ln params = -(mixed second derivative) / (second derivative in size). Errors are smooth in compute: they are found at
    half a dozen computes or more, and interpolated; the derivative along compute is that of the exponent.

    Examples
    --------
    >>> law = twopoint.complete(dict(alpha=1.5, r=0.3, width_scale=100.0, width_exponent=1.0))
    >>> best, stderr = frontier_band(law, None, np.array([1e12]), reference_params=1e4, learning_rate=0.1,
    ...     batch_size=100.0)
    >>> stderr.loss.tolist()
    [0.0]
    """
    from scipy.interpolate import CubicSpline

    best = frontier(values, compute, **plan)
    names = list(values)
    uncertain = [] if covariance is None else [n for n, v in zip(names, np.diag(covariance), strict=True) if v > 0]
    derivative = np.zeros((len(fields(Frontier)), compute.size, len(names)))
    if uncertain:
        nodes = spaced(np.log(compute), NODES)
        runs = TwoPointRuns(values, **{name: value for name, value in plan.items() if name != "start"})
        order = np.argsort(compute)
        start = np.interp(nodes, np.log(compute[order]), np.log(best.params[order]))
        sizes = optimal_log_params(runs, nodes, start)
        curvature = runs.curvature(sizes, nodes)
        log_compute, log_params = np.log(compute), np.log(best.params)
        # Slope of tokens in size at fixed compute and, along the frontier, in compute.
        shift = np.log(tokens_for(compute, np.exp(log_params + RULE_STEP), runs.flops) / best.tokens) / RULE_STEP
        for name in uncertain:
            step = BAND_STEP * max(abs(values[name]), 1e-3)
            above, below = (
                np.stack(replace(runs, parameters={**values, name: values[name] + sign * step}).slope(sizes, nodes))
                for sign in (1, -1)
            )
            change, mixed = (above - below) / (2 * step)
            moves = CubicSpline(nodes, np.stack([change, -mixed / curvature], axis=1))
            of_loss, of_params = moves(log_compute).T
            of_loss_exponent, of_size_exponent = moves(log_compute, 1).T
            derivative[:, :, names.index(name)] = [
                of_loss, of_params, shift * of_params, of_size_exponent, shift * of_size_exponent, of_loss_exponent,
            ]  # fmt: skip
    matrix = np.zeros((len(names), len(names))) if covariance is None else covariance
    return best, Frontier(*propagate(derivative, matrix))
