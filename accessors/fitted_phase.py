"""The phase of a fit as a labelled dataset: its name and exponents, how sure it is, and how far the data are from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from scalingeq.errors import ConvergenceError, ParameterError
from scalingeq.inference.asymptote import asymptote, boundary_distances, loss_floor, phase_probabilities
from scalingeq.inference.curves import Floats, TrainingCurves
from scalingeq.inference.measured_losses import last_points, measured_compute
from scalingeq.inference.twopoint_frontier import frontier_band
from scalingeq.theory.phases import phase

from .groups import FittedLaw

BEYOND = (1e2, 1e4)  # times the largest measured compute: where a frontier may be asked for
LOCAL = {
    "size_exponent": "local exponent of the optimal size in compute, d ln params / d ln compute",
    "data_exponent": "local exponent of the optimal tokens in compute, d ln tokens / d ln compute",
    "loss_exponent": "local exponent of the reducible loss in compute",
}


def default_compute(curves: TrainingCurves) -> Floats:
    """Computes of the cheapest and dearest run's end, and of frontiers beyond.

    Examples
    --------
    >>> import scalingeq
    >>> curves = scalingeq.datasets.to_curves(scalingeq.datasets.load("stdlib-lm"))
    >>> print(["%.0e" % compute for compute in default_compute(curves)])
    ['2e+11', '8e+13', '8e+15', '8e+17']
    """
    ends = measured_compute(last_points(curves))
    return np.unique([ends.min(), ends.max(), *(factor * ends.max() for factor in BEYOND)])


def phase_dataset(
    law: FittedLaw, curves: TrainingCurves, compute: Floats | None, plan: Mapping[str, float] | str
) -> xr.Dataset:
    """Label the phase of a fit.

    ``plan`` are learning rate and batch size of the frontier, or says why there is none. Without ``compute`` a frontier
    that does not exist is noted, and else raised.
    """
    alpha, r = law.values["alpha"], law.values["r"]
    position = [list(law.values).index(name) for name in ("alpha", "r")]
    block = np.zeros((2, 2)) if law.covariance is None else law.covariance[np.ix_(position, position)]
    theory, limit = phase(alpha, r), asymptote(law.values)
    probability, distance = phase_probabilities(alpha, r, block), boundary_distances(alpha, r, block)
    one: dict[str, tuple[Any, str]] = {
        "phase": (theory.name, "phase of compute-optimal scaling at the fitted alpha and r (arXiv:2405.15074)"),
        "phase_balance": (" = ".join(theory.balance), "terms of the loss that balance in this phase"),
        "phase_size_exponent": (theory.size_exponent, "exponent of the optimal number of features in this phase"),
        "phase_loss_exponent": (theory.loss_exponent, "exponent of the loss in this phase"),
        "asymptote_balance": (
            " = ".join(limit.balance),
            "terms of the loss that balance at infinite compute, with the fitted width exponent and unlearnable part",
        ),
        "asymptote_size_exponent": (limit.size_exponent, "exponent of the optimal size at infinite compute"),
        "asymptote_data_exponent": (limit.data_exponent, "exponent of the optimal tokens at infinite compute"),
        "asymptote_loss_exponent": (limit.loss_exponent, "exponent of the reducible loss at infinite compute"),
    }
    ds = xr.Dataset({name: ((), value, _about(text)) for name, (value, text) in one.items()})
    ds = ds.assign_coords(
        phase_name=("phase_name", list(probability), _about("phase")),
        boundary=("boundary", list(distance), _about("boundary, by the phases below and above it in r")),
    )
    ds["probability"] = (
        "phase_name", list(probability.values()), _about("probability of each phase under the fit's covariance"),
    )  # fmt: skip
    texts = (
        "how far r is above the boundary at the fitted alpha",
        "distance of the boundary in standard errors of the fit",
    )
    for name, column, text in zip(("distance", "sigma"), zip(*distance.values(), strict=True), texts, strict=True):
        ds[f"boundary_{name}"] = ("boundary", list(column), _about(text))
    return _with_local_exponents(ds, law, curves, compute, plan)


def _with_local_exponents(
    ds: xr.Dataset, law: FittedLaw, curves: TrainingCurves, compute: Floats | None, plan: Mapping[str, float] | str
) -> xr.Dataset:
    """Add the exponents of the law's frontier at finite compute."""
    at = default_compute(curves) if compute is None else compute
    values = np.full((len(LOCAL), 2, at.size), np.nan)
    try:
        if isinstance(plan, str):
            raise ParameterError(plan)
        best, stderr = frontier_band(
            law.values, law.covariance, at, reference_params=law.reference_params,
            test_eigenvalues=curves.test_eigenvalues, **plan,
        )  # fmt: skip
        reducible = best.loss / (best.loss - loss_floor(law.values, **plan))
        for number, name in enumerate(LOCAL):
            factor = reducible if name == "loss_exponent" else 1.0
            values[number] = factor * np.stack([getattr(best, name), getattr(stderr, name)])
    except (ConvergenceError, ParameterError) as error:
        if compute is not None:
            raise
        ds.attrs["note"] = f"no local exponents: {error}"
    ds = ds.assign_coords(compute=("compute", at, _about("training compute") | {"units": "FLOP"}))
    for (name, text), (value, error_of) in zip(LOCAL.items(), values, strict=True):
        ds[f"local_{name}"] = ("compute", value, _about(text))
        ds[f"local_{name}_stderr"] = ("compute", error_of, _about(f"standard error of the {text}"))
    return ds


def _about(long_name: str) -> dict[str, str]:
    return {"long_name": long_name, "units": "1"}
