"""The groups ``candidates`` and ``check`` of an analysis: candidate fits that are averaged, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from scalingeq.datasets.schema import from_curves
from scalingeq.inference.bands import AveragedLaw, Prediction, Reach
from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.twopoint import PARAMETERS
from scalingeq.inference.validation import AveragedFit

QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)

TASKS = {
    "size": "the largest model sizes",
    "horizon": "the ends of all runs",
    "schedule": "one schedule after the other",
    "repetition": "the runs that repeat their data most",
}
"""What a check leaves out, in words."""

SCALARS = {
    "reference_params": ("model size that amplitudes refer to", "1"),
    "noise": ("spread of the log residuals", "1"),
    "freedom": ("degrees of freedom of the Student-t bands", "1"),
}
REACH = {
    "params": "largest model size fitted",
    "tokens": "largest number of tokens fitted",
    "compute": "largest product of model size and tokens fitted",
    "dataset_size": "smallest number of unique tokens fitted (infinite: every run sees its data once)",
    "schedules": "whether bands are those of another schedule (1) or of sizes, durations and repeats (0)",
}


def candidates_group(average: AveragedFit) -> xr.Dataset:
    """Label the candidates of an averaged fit, the heaviest first."""
    law, names = average.law, list(average.fits)
    parameters = list(law.values[0])
    errors = [
        [np.nan if one.stderr is None else one.stderr for one in fit.params.values()] for fit in average.fits.values()
    ]
    about = {
        "value": (("candidate", "parameter"), [list(values.values()) for values in law.values], "best fit"),
        "stderr": (("candidate", "parameter"), errors, "standard error (NaN: not fitted)"),
        "weight": ("candidate", law.weights, "weight in the average"),
        "score": ("candidate", average.scores, "RMS log error on what was left out"),
    }
    mixed = {"value": "see parameter_units in parameters", "stderr": "see parameter_units in parameters"}
    ds = xr.Dataset(
        {
            name: (dims, np.asarray(of, float), _about(text, mixed.get(name, "1")))
            for name, (dims, of, text) in about.items()
        }
    )
    for name, (text, units) in SCALARS.items():
        ds[name] = ((), float(getattr(law, name)), _about(text, units))
    for name, text in REACH.items():
        ds[f"reach_{name}"] = ((), float(getattr(law.reach, name)), _about(text))
    for dim, values, text in (
        ("candidate", names, "variant of the fit"),
        ("parameter", parameters, "parameter of the two-point law"),
    ):
        ds = ds.assign_coords({dim: (dim, values, _about(text))})
    ds.attrs["task"] = average.task
    ds.attrs["failures"] = "\n".join(f"{name}: {reason}" for name, reason in average.failures.items())
    return ds


def read_average(group: xr.Dataset) -> AveragedLaw:
    """Law of :func:`candidates_group`."""
    group = group.load()
    names = [str(name) for name in group["parameter"].values]
    keep = [number for number, name in enumerate(names) if name in PARAMETERS]
    names = [names[number] for number in keep]
    reach = {name: float(group[f"reach_{name}"]) for name in REACH if name != "schedules"}
    return AveragedLaw(
        values=tuple(dict(zip(names, map(float, row[keep]), strict=True)) for row in group["value"].values),
        weights=group["weight"].values,
        reach=Reach(**reach, schedules=bool(group["reach_schedules"])),
        **{name: float(group[name]) for name in SCALARS},
    )


def check_group(ds: xr.Dataset, curves: TrainingCurves, average: AveragedFit) -> xr.Dataset:
    """Label what was predicted of the part that was left out, beside what was measured there."""
    units, found = str(ds["loss"].attrs["units"]), average.left_out_prediction
    loss, error = np.full((2, curves.run.size), np.nan)
    loss[average.left_out] = np.exp(found.log_loss)
    error[average.left_out] = np.exp(found.log_loss) * found.stderr
    labels = {
        "loss": ("loss predicted by fits that did not see this observation", units),
        "loss_stderr": ("spread of the residuals and of the candidates there", units),
    }
    out = from_curves(ds, {"loss": loss, "loss_stderr": error}, labels)
    out["measured_loss"] = ds["loss"]
    test = curves.select(average.left_out)
    misfit = found.log_loss - np.log(test.loss)
    last = int(np.argmax(test.params[test.run] * (1 + test.tokens / test.tokens.max())))
    text = f"log error at the end of the largest run left out, {test.name[test.run[last]]}"
    out["error"] = ((), float(np.sqrt(np.mean(misfit**2))), _about("RMS log error of what was left out"))
    out["end_error"] = ((), float(misfit[last]), _about(text))
    out.attrs["task"] = average.task
    return out


def averaged_losses(ds: xr.Dataset, law: AveragedLaw, found: Prediction, units: str) -> xr.Dataset:
    """Label the losses of an average of candidates, with the quantiles of its bands."""
    loss = np.exp(found.log_loss)
    labels = {
        "loss": ("test loss predicted by the two-point theory, mean of its candidates", units),
        "loss_stderr": ("scale of the predictive band: noise, scatter of the candidates and distance", units),
    }
    out = from_curves(ds, {"loss": loss, "loss_stderr": loss * found.stderr}, labels)
    bands = [
        from_curves(ds, {"band": one}, {"band": quantile_label(units)})["band"]
        for one in law.quantiles(found, QUANTILES)
    ]
    out["loss_quantile"] = xr.concat(bands, xr.Variable(*quantile_coordinate()))
    return out


def quantile_label(units: str) -> tuple[str, str]:
    """Words for, and units of, the quantiles of a prediction."""
    return "quantile of the predictive Student-t band", units


def quantile_coordinate(quantiles: Sequence[float] = QUANTILES) -> tuple[str, list[float], dict[str, str]]:
    """Quantiles as the coordinate of their dimension."""
    return "quantile", list(quantiles), _about("probability of a loss below")


def _about(long_name: str, units: str = "1") -> dict[str, str]:
    return {"long_name": long_name, "units": units}
