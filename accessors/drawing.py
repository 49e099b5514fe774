"""Profiles and draws of an analysis as labelled datasets, and what they say of predictions and frontiers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from scalingeq.datasets.schema import check, from_curves, label, to_curves
from scalingeq.errors import ArchiveError, ParameterError
from scalingeq.inference.frontier import Frontier
from scalingeq.inference.laws import Law, Plan
from scalingeq.inference.laws import law as law_named
from scalingeq.inference.twopoint import LAW_NAME
from scalingeq.inference.uncertainty import COMBINATIONS, predicted_band, value_of_combination

from .groups import FittedLaw, read_values, stored_weight
from .mapping import TEXT, Output, map_elements

if TYPE_CHECKING:
    from lmfit import Parameters

    from scalingeq.inference.algorithms import Algorithm
    from scalingeq.inference.bootstrap import Resampling
    from scalingeq.inference.curves import Floats
    from scalingeq.inference.objective import Objective
    from scalingeq.inference.profile import Profile
    from scalingeq.inference.sampling import Chains

PROFILE_DRAWS = 400


def objective_of(tree: xr.DataTree, params: Parameters) -> Objective:
    """Return what the fit of an analysis minimised, from its stored curves and weights.

    Raises
    ------
    ArchiveError
        If the analysis was written before weights were kept.
    """
    from scalingeq.inference.objective import Objective

    parameters = tree["parameters"].to_dataset()
    observed, weight = tree["observed"].to_dataset(), stored_weight(tree)
    if "misfit_scale" not in parameters:
        raise ArchiveError("parameters: the analysis keeps no misfit_scale; fit the curves again")
    scale, irreducible_prior = (float(parameters[name]) for name in ("misfit_scale", "irreducible_prior"))
    return Objective(to_curves(observed), weight, scale, params, irreducible_prior)


def profile_dataset(
    quantities: Sequence[str], levels: Sequence[float], found: Profile, group: xr.Dataset
) -> xr.Dataset:
    """Label a profile: ends of the intervals over ``(quantity, level)``."""
    ds = xr.Dataset(
        coords={
            "quantity": ("quantity", list(quantities), _about("parameter, or combination of parameters", "1")),
            "level": ("level", np.asarray(levels, float), _about("probability of the interval", "1")),
            "quantity_units": ("quantity", units_of(quantities, group), _about("unit of each quantity", "1")),
        }
    )
    mixed = "see quantity_units"
    ds["value"] = ("quantity", found.value, _about("best fit", mixed))
    ds["stderr"] = ("quantity", found.stderr, _about("standard error of the covariance", mixed))
    for name, values in (("lower", found.lower), ("upper", found.upper)):
        text = f"{name} end of the interval by profile likelihood (NaN: none up to the bound)"
        ds[name] = (("quantity", "level"), values, _about(text, mixed))
    ds.attrs = {"method": "profile likelihood", "notes": "\n".join(found.notes)}
    return ds


def bootstrap_variables(made: Resampling, seeds: xr.DataArray, progress: bool) -> dict[str, xr.Variable]:
    """Draws of a bootstrap: ``value`` and ``failure`` over ``draw``; lazy where the seeds are chunked."""
    from tqdm import tqdm

    outputs = {
        "value": Output(("parameter",), "f8", {}),
        "failure": Output((), TEXT, _about("what went wrong in the draw", "1")),
    }
    return map_elements(
        partial(_bootstrap_element, made=made), {"seed": seeds}, ["draw"], outputs, {"parameter": len(made.params)},
        progress=partial(tqdm, desc="bootstrap", disable=not progress),
    )  # fmt: skip


def _bootstrap_element(given: dict[str, np.ndarray], made: Resampling) -> dict[str, Any]:
    from scalingeq.inference.bootstrap import bootstrap_draw

    value, failure = bootstrap_draw(made, int(given["seed"]))
    return {"value": value, "failure": failure}


def profile_variables(
    objective: Objective, params: Parameters, quantities: Sequence[str], levels: Sequence[float], chunk: int | None,
    progress: bool,
) -> Profile:  # fmt: skip
    """Profile of each quantity by itself; lazy, ``chunk`` quantities a task, where that is given.

    Raises
    ------
    ParameterError
        As :func:`scalingeq.inference.profile.profile`.
    """
    from tqdm import tqdm

    from scalingeq.inference.profile import Profile, profile, profiled_by_default

    known = profiled_by_default(objective, params)
    # Refused before any work; of no quantity a profile is its checks alone.
    profile(objective, params, [name for name in quantities if name not in known], levels)
    names = xr.DataArray(list(quantities), dims="quantity")
    sizes = {"level": len(levels)}
    outputs = {name: Output((), "f8", {}) for name in ("value", "stderr")}
    outputs |= {name: Output(("level",), "f8", {}) for name in ("lower", "upper")} | {"notes": Output((), TEXT, {})}
    found = map_elements(
        partial(_profile_element, objective=objective, params=params, levels=tuple(levels)),
        {"quantity": names if chunk is None else names.chunk(quantity=chunk)}, ["quantity"], outputs, sizes,
        progress=partial(tqdm, desc="profile", disable=not progress),
    )  # fmt: skip
    notes = [] if chunk is not None else [*found["notes"].values.tolist(), *found["message"].values.tolist()]
    value, stderr, lower, upper = (found[name].data for name in ("value", "stderr", "lower", "upper"))
    return Profile(value, stderr, lower, upper, tuple(filter(None, notes)))


def _profile_element(
    given: dict[str, np.ndarray], objective: Objective, params: Parameters, levels: tuple[float, ...]
) -> dict[str, Any]:
    from scalingeq.inference.profile import profile

    found = profile(objective, params, [str(given["quantity"])], levels)
    ends = {"lower": found.lower[0], "upper": found.upper[0]}
    return {"value": found.value[0], "stderr": found.stderr[0], **ends, "notes": "\n".join(found.notes)}


def draws_dataset(values: Any, group: xr.Dataset, method: str, seed: int, notes: Iterable[str]) -> xr.Dataset:
    """Label draws: ``value`` over ``(draw, parameter)``, and the identified combinations; lazy where the values are."""
    kept = ("parameter", "parameter_units", "meaning")
    ds = xr.Dataset(coords={name: group[name].variable for name in kept})
    ds = ds.assign_coords(draw=("draw", np.arange(len(values)), _about("number of the draw", "1")))
    ds["value"] = (("draw", "parameter"), values, _about(f"value in each draw ({method})", "see parameter_units"))
    of_parameter = {str(name): ds["value"].variable[:, at] for at, name in enumerate(group["parameter"].values)}
    combined = [value_of_combination(name, of_parameter) for name in COMBINATIONS]
    ds = ds.assign_coords(combination=("combination", list(COMBINATIONS), _about("combination of parameters", "1")))
    stacked = xr.Variable.concat(combined, "combination")  # type: ignore[no-untyped-call]
    ds["combined"] = stacked.transpose("draw", "combination")
    ds["combined"].attrs = _about("what curves determine best", "1")
    ds.attrs = {"method": method, "seed": seed, "notes": "\n".join(notes)}
    return ds


def drawn_values(draws: xr.Dataset, law: Law, group: xr.Dataset) -> Iterator[dict[str, float]]:
    """Values of a law with its reference sizes in each draw: those of draws, or drawn from the margins of a profile.

    Raises
    ------
    ParameterError
        If the dataset is neither.
    """
    values, covariance = read_values(group, law)
    names = [name for name in values if name in law.parameters]
    if isinstance(draws, xr.DataTree):
        draws = draws.to_dataset()
    if not isinstance(draws, xr.Dataset) or not ({"draw", "parameter"} <= set(draws.dims) or "level" in draws.dims):
        raise ParameterError(
            "draws: neither draws nor a profile; pass what tree.twopoint.bootstrap, .sample or .profile gives"
        )
    if "draw" in draws.dims:
        if missing := [name for name in names if name not in draws["parameter"].values]:
            raise ParameterError(f"draws: {', '.join(missing)} missing; pass draws of this analysis")
        drawn = np.asarray(draws["value"].sel(parameter=names).transpose("draw", "parameter").values, float)
    else:
        drawn = _from_profile(draws, {name: values[name] for name in names}, covariance, group)
    return ({**values, **dict(zip(names, row, strict=True))} for row in drawn.tolist())


def _from_profile(profile: xr.Dataset, values: dict[str, float], covariance: Floats, group: xr.Dataset) -> Floats:
    """Draws (draw, parameter) with the margins of a profile and the covariance's correlations."""
    from scipy.special import ndtri

    from scalingeq.inference.draws import split_normal_draws

    names = list(values)
    innermost = profile.isel(level=int(np.argmin(profile["level"].values)))
    width = float(ndtri(0.5 + 0.5 * float(innermost["level"])))
    ends = {}
    for number, name in enumerate(map(str, innermost["quantity"].values)):
        row = innermost.isel(quantity=number)
        below, above = float(row["value"] - row["lower"]), float(row["upper"] - row["value"])
        stderr = float(row["stderr"]) * width
        ends[name] = (
            (below if np.isfinite(below) else stderr) / width,
            (above if np.isfinite(above) else stderr) / width,
        )
    drawn = split_normal_draws(values, covariance, ends, PROFILE_DRAWS)
    low, high = (group[name].sel(parameter=names).values for name in ("min", "max"))
    return np.clip(drawn, low, high)


def with_frontier_bands(
    ds: xr.Dataset, draws: xr.Dataset, group: xr.Dataset, law: Law, best: Frontier, plan: Plan
) -> xr.Dataset:
    """Put quantiles over draws in the place of those of the covariance."""
    from scalingeq.inference.draws import frontier_over_draws

    def find(values: Mapping[str, float]) -> Frontier:
        return law.frontier(values, ds["compute"].values, plan, start=best.params)

    found, failed = frontier_over_draws(drawn_values(draws, law, group), find, ds["quantile"].values.tolist())
    out = ds.copy()
    for field in fields(Frontier):
        out[field.name] = ds[field.name].copy(data=getattr(found, field.name).T)
    out["steps"] = ds["steps"].copy(data=(ds["best_steps"] / ds["best_tokens"] * out["tokens"]).values)
    method = str(draws.attrs.get("method", "draws"))
    out["quantile"].attrs["long_name"] = f"quantile over draws ({method})"
    out.attrs |= {"bands": method, "draws_without_frontier": failed}
    return out


def with_loss_bands(
    out: xr.Dataset,
    ds: xr.Dataset,
    draws: xr.Dataset,
    law: FittedLaw,
    group: xr.Dataset,
    algorithm: Algorithm,
    quantile: Sequence[float],
) -> xr.Dataset:
    """Add quantiles of the predicted loss over draws, and take the standard error from them."""
    from scalingeq.inference.draws import bands

    ds = check(label(ds).load(), needs_loss=False)
    curves = to_curves(ds, needs_loss=False)

    def losses(values: Mapping[str, float]) -> Floats:
        parameters = {name: values[name] for name in law.values}
        return predicted_band(parameters, None, curves, law.reference_params, algorithm)[0]

    found = bands(drawn_values(draws, law_named(LAW_NAME), group), losses, quantile)
    units, method = str(out["loss"].attrs["units"]), str(draws.attrs.get("method", "draws"))
    about = {"loss": (f"standard error of the predicted loss over draws ({method})", units)}
    out = out.load()
    out["loss_stderr"] = from_curves(ds, {"loss": found.stderr}, about)["loss"]
    about = {"loss": (f"quantile of the predicted loss over draws ({method})", units)}
    rows = [from_curves(ds, {"loss": row}, about)["loss"] for row in found.quantiles]
    share = xr.Variable("quantile", np.asarray(quantile, float), _about(f"quantile over draws ({method})", "1"))
    out["loss_quantile"] = xr.concat(rows, share)
    out.attrs["draws_without_prediction"] = found.failed
    return out


def with_chains(ds: xr.Dataset, found: Chains) -> xr.Dataset:
    """Add what tells how good the chains are."""
    return ds.assign(
        walker=("draw", found.walker, _about("chain of the draw", "1")),
        log_probability=("draw", found.log_probability, _about("log of the posterior, not normalised", "1")),
        acceptance_fraction=("walkers", found.acceptance_fraction, _about("share of the steps that were taken", "1")),
        autocorrelation_time=(
            "parameter",
            found.autocorrelation_time,
            _about("integrated autocorrelation time in steps of a chain (NaN: held)", "1"),
        ),
    )


def units_of(quantities: Sequence[str], group: xr.Dataset) -> list[str]:
    """Units of parameters, those of combinations being 1."""
    known = dict(zip(map(str, group["parameter"].values), map(str, group["parameter_units"].values), strict=True))
    return [known.get(name, "1") for name in quantities]


def _about(long_name: str, units: str) -> dict[str, str]:
    return {"long_name": long_name, "units": units}
