"""The additive law, which every extrapolation is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..curves import Floats, TrainingCurves
from ..robust import huber_residual, point_weights

EXPONENT_GRID = np.geomspace(0.05, 2.0, 12)


@dataclass(frozen=True)
class AdditiveLaw:
    """Loss E + A (params/params₀)^-a + B (tokens/tokens₀)^-b (Hoffmann et al., arXiv:2203.15556, approach 3).

    Attributes
    ----------
    irreducible, size_amplitude, data_amplitude : float
        E, A and B, in units of the loss; the amplitudes refer to ``reference_params`` and ``reference_tokens``.
    size_exponent, data_exponent : float
        a and b.

    Examples
    --------
    >>> law = AdditiveLaw(1.0, 0.5, 0.5, 0.4, 0.5, 100.0, 100.0)
    >>> float(law.loss(np.array(100.0), np.array(1e4)))
    1.55
    """

    irreducible: float
    size_amplitude: float
    data_amplitude: float
    size_exponent: float
    data_exponent: float
    reference_params: float
    reference_tokens: float

    def loss(self, params: Floats, tokens: Floats) -> Floats:
        """Loss for model sizes and tokens seen, arrays that broadcast."""
        size = self.size_amplitude * (params / self.reference_params) ** -self.size_exponent
        data = self.data_amplitude * (tokens / self.reference_tokens) ** -self.data_exponent
        return np.asarray(self.irreducible + size + data)


def fit_additive(curves: TrainingCurves, huber_scale: float | None = None) -> AdditiveLaw:
    """Fit the additive law to all observations, residuals in log loss.

    Given the two exponents the law is linear, so a grid of exponents with non-negative linear solves finds the basin
    and one robust refinement the optimum.

    Parameters
    ----------
    curves : TrainingCurves
        Observations; every curve weighs as :data:`~scalingeq.inference.robust.POINTS_PER_CURVE` points.
    huber_scale : float, optional
        Residual in log loss beyond which the penalty is linear; the default takes the spread of the grid's best fit.

    Returns
    -------
    AdditiveLaw
        The law at the optimum. Where all runs have one size, the size term is zero.

    Examples
    --------
    >>> run = np.repeat(np.arange(3), 20)
    >>> params, step = np.array([1e4, 1e5, 1e6]), np.tile(np.geomspace(10, 1e4, 20), 3)
    >>> one = np.ones(3)
    >>> truth = AdditiveLaw(1.0, 0.5, 2.0, 0.4, 0.5, 1e5, 1e4)
    >>> curves = TrainingCurves(run, step, 100 * step, truth.loss(params[run], 100 * step), np.full(60, np.nan),
    ...     np.array(["a", "b", "c"]), params, one, 100 * one, np.inf * one, 0 * one)
    >>> round(fit_additive(curves).data_exponent, 4)
    0.5
    """
    from scipy.optimize import least_squares, nnls

    params = curves.params[curves.run]
    reference_params, reference_tokens = (float(np.exp(np.log(x).mean())) for x in (params, curves.tokens))
    log_params, log_tokens = np.log(params / reference_params), np.log(curves.tokens / reference_tokens)
    one_size = bool(np.ptp(log_params) == 0)
    weight, log_loss = point_weights(curves), np.log(curves.loss)

    def columns(a: float, b: float) -> Floats:
        size = np.zeros_like(log_params) if one_size else np.exp(-a * log_params)
        return np.stack([np.ones_like(size), size, np.exp(-b * log_tokens)], axis=1)

    best, start = np.inf, np.zeros(5)
    for a in EXPONENT_GRID[:1] if one_size else EXPONENT_GRID:
        for b in EXPONENT_GRID:
            # Dividing by the loss turns the linear residual into the one in log loss, to first order.
            amplitudes, residual = nnls(columns(a, b) * (weight / curves.loss)[:, None], weight)
            if residual < best:
                best, start = residual, np.array([*amplitudes, a, b])
    scale = huber_scale or max(float(best / np.sqrt(np.sum(weight**2))), 1e-6)

    def residuals(theta: Floats) -> Floats:
        return huber_residual(weight * (np.log(columns(theta[3], theta[4]) @ theta[:3]) - log_loss) / scale)

    floor = 1e-9 * float(curves.loss.min())
    start[:3] = np.maximum(start[:3], 2 * floor)
    # The exponents stay positive and the amplitudes inside what a loss can be: bounds that cannot bind silently.
    fit = least_squares(residuals, start, bounds=([floor] * 3 + [1e-3] * 2, [np.inf] * 3 + [10.0] * 2), x_scale="jac")
    irreducible, size_amplitude, data_amplitude, size_exponent, data_exponent = (float(x) for x in fit.x)
    return AdditiveLaw(
        irreducible=irreducible,
        size_amplitude=0.0 if one_size else size_amplitude,
        data_amplitude=data_amplitude,
        size_exponent=size_exponent,
        data_exponent=data_exponent,
        reference_params=reference_params,
        reference_tokens=reference_tokens,
    )
