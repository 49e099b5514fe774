"""Fits to training runs under real schedules, made by others: what they predict, and their noise beside measured noise.

``python tests/benchmarks/report.py`` writes the tables. The records lie in ``shared/data`` beside the checkout.
"""

import csv
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import scalingeq
from scalingeq.theory import PowerLaw

DATA = next((data for parent in Path(__file__).resolve().parents if (data := parent / "shared/data").is_dir()), None)
needs_data = pytest.mark.skipif(DATA is None, reason="needs the training records of shared/data beside the checkout")

FITTED = ("constant_24000", "cosine_24000", "wsdcon_9")
PREDICTED = ("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18")
#: Published mean RMSE of the 7-parameter MultiPowerLaw on the six schedules (arXiv:2503.12811).
PUBLISHED = {"25": 0.00465, "100": 0.00592}


def multipower(size, names):
    """Loss curves of one model under several schedules; logged after a warm-up of 2160 steps."""
    runs = [np.loadtxt(DATA / f"multipower_law/csv_{size}/{name}.csv", delimiter=",", skiprows=1) for name in names]
    step, rate, loss = np.concatenate(runs).T
    coords = {
        "step": ("obs", step), "learning_rate": ("obs", rate), "row_size": ("run", [len(run) for run in runs]),
        "run": list(names), "params": float(size) * 1e6, "batch_size": 1.0, "warmup_steps": 2160.0,
    }  # fmt: skip
    return xr.Dataset({"loss": ("obs", loss, {"units": "nats per token"})}, coords)


@needs_data
@pytest.mark.parametrize("size", PUBLISHED)
def test_unseen_schedules_are_predicted_better_than_published(record_property, size):
    """The default fit of three schedules, and the mean over six others of the RMSE per curve."""
    tree = multipower(size, FITTED).twopoint.fit()
    predicted = tree.twopoint.predict(multipower(size, PREDICTED))
    error = (predicted.loss - predicted.measured_loss).values
    curves = np.split(error, np.cumsum(predicted.row_size.values)[:-1])
    rmse = {name: float(np.sqrt(np.mean(curve**2))) for name, curve in zip(PREDICTED, curves, strict=True)}
    mean = float(np.mean(list(rmse.values())))
    record_property("schedules", {f"{size}M": rmse | {"mean": mean, "published mean": PUBLISHED[size]}})
    fit = tree["parameters"]
    free = [str(name) for name in fit.parameter.values[fit.vary.values == 1]]
    record_property(
        "parameters",
        {f"{size}M": {n: tuple(float(fit[what].sel(parameter=n)) for what in ("value", "stderr")) for n in free}},
    )
    assert len(free) == 7
    assert mean < PUBLISHED[size]


def supercollapse(width, schedules):
    """Loss curves of one width over 1e9 samples under several schedules, 150 points each, with the measured noise."""
    folder = DATA / "supercollapse"
    with (folder / "mlp_schedules_runs.csv").open(encoding="utf-8") as file:
        rows = [
            row for row in csv.DictReader(file) if row["width"] == str(width) and row["horizon_tokens"] == "1000000000"
        ]
    table = np.loadtxt(folder / "mlp_schedules_curves.csv", delimiter=",", skiprows=1)
    names, runs = [], []
    for row in rows:
        if (name := f"{row['schedule']} {row['decay_frac']}") in schedules:
            run = table[table[:, 0] == int(row["run"])]
            chosen = np.unique(np.searchsorted(run[:, 1], np.geomspace(100, run[-1, 1], 150)))
            names.append(name)
            runs.append(run[chosen])
    step, loss, rate, noise = np.concatenate(runs)[:, 1:].T
    coords = {
        "step": ("obs", step), "learning_rate": ("obs", rate), "row_size": ("run", [len(run) for run in runs]),
        "run": names, "params": float(rows[0]["params"]), "batch_size": 4096.0,
    }  # fmt: skip
    data = {"loss": ("obs", loss, {"units": "1"}), "gradient_noise": ("obs", noise, {"units": "1"})}
    return xr.Dataset(data, coords)


@needs_data
@pytest.mark.exhaustive
@pytest.mark.parametrize("width", [512, 1024, 2048])
def test_fitted_noise_beside_the_measured_gradient_noise(record_property, width):
    """The noise rate of the fit and the one that the measured noise stands for, at the peak of the learning rate.

    The loss that noise leaves is, when all has settled, noise_rate Tr(Sigma) L / 2 in theory. It is Buvar / 4 where the
    noise is measured preconditioned, in units of the peak rate over the batch: then noise_rate = Buvar / (2 Tr(Sigma) L).
    """
    ds = supercollapse(width, ("const 1.0", "linear 1.0", "multicosine 1.0"))
    tree = ds.drop_vars("gradient_noise").twopoint.fit()
    value = tree["parameters"].value.to_series()
    constant = scalingeq.datasets.select_runs(ds, ds.run == "const 1.0")
    late = constant.step.values > 0.02 * constant.step.values[-1]
    loss, noise = constant.loss.values[late], constant.gradient_noise.values[late]
    trace = PowerLaw(value["alpha"], 0.5).nodes(1.0).trace
    fitted = value["noise_scale"] * 1e-3 / 4096
    implied = np.mean(noise / (2 * trace * loss))
    reducible = loss - value["irreducible"]
    slopes = [float(np.polyfit(np.log(of), np.log(noise), 1)[0]) for of in (loss, reducible)]
    record_property(
        "noise",
        {str(width): {
            "fitted noise rate": fitted, "implied by Buvar": implied, "ratio": fitted / implied,
            "slope of Buvar in the loss": slopes[0], "in the reducible loss": slopes[1],
            "rate exponent": value["rate_exponent"],
        }},
    )  # fmt: skip
    # The same order of magnitude, and noise that follows the loss: what a theory without its preconditioner can say.
    assert 0.5 < fitted / implied < 2
    assert 0.5 < slopes[1] < 1.5
