"""The two-point law as one of the laws: its mathematics is in :mod:`scalingeq.inference.twopoint` and beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import twopoint
from ..curves import Floats, TrainingCurves
from ..frontier import Frontier
from ..twopoint_frontier import frontier, frontier_band
from ..uncertainty import predicted_band
from .interface import Law, Plan

if TYPE_CHECKING:
    from lmfit import Parameters

    from ..fitting import TwoPointFit


class TwoPoint(Law):
    """Loss of SGD on random features, by two-point deterministic equivalence.

    Examples
    --------
    >>> from .interface import planned_runs
    >>> runs = planned_runs(np.array([1e4]), np.array([[10.0, 100.0]]), Plan(learning_rate=0.1))
    >>> values = twopoint.complete(dict(alpha=1.5, r=0.4)) | {"reference_params": 1e4}
    >>> TwoPoint().loss(values, runs).shape
    (2,)
    """

    name: ClassVar[str] = twopoint.LAW_NAME
    version: ClassVar[str] = twopoint.LAW_VERSION
    title: ClassVar[str] = "two-point theory"
    citation: ClassVar[str] = "Atanasov et al., arXiv:2502.05074"
    parameters: ClassVar[Mapping[str, twopoint.ParameterInfo]] = twopoint.PARAMETERS
    needs: ClassVar[tuple[str, ...]] = ("learning_rate", "batch_size")

    def default_parameters(self, curves: TrainingCurves) -> tuple[Parameters, tuple[str, ...]]:
        """As :func:`scalingeq.inference.fitting.default_parameters`."""
        from ..fitting import default_parameters

        return default_parameters(curves)

    def fit(
        self,
        curves: TrainingCurves,
        params: Parameters | None = None,
        *,
        weights: Floats | None = None,
        progress: Callable[[float], object] | None = None,
    ) -> TwoPointFit:
        """As :func:`scalingeq.inference.fitting.fit_two_point`."""
        from ..fitting import fit_two_point

        return fit_two_point(curves, params, weights=weights, progress=progress)

    def loss(self, values: Mapping[str, float], curves: TrainingCurves) -> Floats:
        """Loss (obs,); ``values`` has ``reference_params`` as well."""
        return self.loss_band(values, None, curves)[0]

    def loss_band(
        self, values: Mapping[str, float], covariance: Floats | None, curves: TrainingCurves
    ) -> tuple[Floats, Floats | None]:
        """As :func:`scalingeq.inference.uncertainty.predicted_band`."""
        parameters, reference_params = _split(values)
        return predicted_band(parameters, covariance, curves, reference_params)

    def frontier(
        self, values: Mapping[str, float], compute: Floats, plan: Plan, *, start: Floats | None = None
    ) -> Frontier:
        """As :func:`scalingeq.inference.twopoint_frontier.frontier`."""
        parameters, reference_params = _split(values)
        return frontier(parameters, compute, start=start, **_keywords(plan, reference_params))

    def frontier_band(
        self, values: Mapping[str, float], covariance: Floats | None, compute: Floats, plan: Plan
    ) -> tuple[Frontier, Frontier]:
        """As :func:`scalingeq.inference.twopoint_frontier.frontier_band`."""
        parameters, reference_params = _split(values)
        return frontier_band(parameters, covariance, compute, **_keywords(plan, reference_params))

    def plan_problems(self, values: Mapping[str, float], plan: Plan) -> list[str]:
        """A limit of data needs a fit that saw repeated data."""
        if np.isfinite(plan.dataset_size) and np.isinf(values["samples_scale"]):
            return [
                "data_limit: this fit saw no run that repeats its data (samples_scale is infinite), so it cannot tell "
                "what a limit costs; fit runs with a finite dataset_size, or pass None"
            ]
        return []


def _split(values: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """Parameters in the order of ``values``, and the size that amplitudes refer to."""
    return {name: value for name, value in values.items() if name in twopoint.PARAMETERS}, values["reference_params"]


def _keywords(plan: Plan, reference_params: float) -> dict[str, Any]:
    """What :func:`scalingeq.inference.twopoint_frontier.frontier` needs of a plan."""
    return {
        "reference_params": reference_params,
        "learning_rate": plan.learning_rate,
        "batch_size": plan.batch_size,
        "dataset_size": plan.dataset_size,
        "test_eigenvalues": plan.test_eigenvalues,
        "flops": plan.flops,
    }
