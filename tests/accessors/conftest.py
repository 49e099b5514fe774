from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from scalingeq.datasets.schema import check, from_curves, label, to_curves

SIZES = np.array([9216.0, 36864.0, 147456.0, 589824.0, 1327104.0])
mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def measured_curves():
    """Maker of training records in the shapes of the schema."""
    return measured


@pytest.fixture
def made_up_analysis():
    """Maker of analyses that took no fit."""
    return analysis


@pytest.fixture
def made_up_frontier():
    return frontier()


def law(params, tokens):
    return 0.6 + 0.5 * (params / 1e5) ** -0.3 + 1.2 * (tokens / 1e5) ** -0.35


def measured(shape: str = "grid") -> xr.Dataset:
    """Losses of an additive law with a little noise, in one of the shapes of the schema."""
    rng = np.random.default_rng(3)
    steps = np.unique(np.geomspace(10, 8000, 28).round())
    batch = 1024.0
    units = {"loss": "nats per byte", "tokens": "bytes"}
    fixed = {"learning_rate": 5e-3, "batch_size": batch, "warmup_steps": 20.0}

    def noisy(params, step):
        return law(params, batch * step) * np.exp(0.006 * rng.standard_normal(np.broadcast(params, step).shape))

    names = [f"size-{number}" for number in range(SIZES.size)]
    if shape == "one run":
        ds = xr.Dataset({"loss": ("step", noisy(SIZES[0], steps))}, {"step": steps, "params": SIZES[0]})
    elif shape == "grid":
        ds = xr.Dataset({"loss": (("run", "step"), noisy(SIZES[:, None], steps))}, {"step": steps})
        ds = ds.assign_coords(run=names, params=("run", SIZES))
    elif shape == "padded":
        step = np.tile(steps, (SIZES.size, 1))
        step[1, -4:] = np.nan
        ds = xr.Dataset({"loss": (("run", "obs"), noisy(SIZES[:, None], step))})
        ds = ds.assign_coords(step=(("run", "obs"), step), run=names, params=("run", SIZES))
    elif shape == "ragged":
        counts = np.array([steps.size, steps.size - 4, 10, steps.size, steps.size])
        step = np.concatenate([steps[:count] for count in counts])
        ds = xr.Dataset({"loss": ("obs", noisy(np.repeat(SIZES, counts), step))}, {"step": ("obs", step)})
        ds = ds.assign_coords(run=names, row_size=("run", counts), params=("run", SIZES))
    else:  # table of final losses
        ds = xr.Dataset({"loss": ("run", noisy(SIZES, steps[-1]))}, {"tokens": ("run", batch * steps[-1] + 0 * SIZES)})
        ds = ds.assign_coords(run=names, params=("run", SIZES))
    ds = ds.assign_coords(fixed)
    return check(label(ds, units=units))


NAMES = {
    "alpha": (1.53, 0.21, 1.02, 8.0, 1, "1"),
    "r": (0.18, 0.02, 0.02, 3.0, 1, "1"),
    "scale": (2.1, 0.3, 1e-12, np.inf, 1, "nats per byte"),
    "irreducible": (0.6, 0.05, 0.0, np.inf, 1, "nats per byte"),
    "unlearnable": (0.8, 0.1, 0.0, np.inf, 1, "nats per byte"),
    "unlearnable_exponent": (0.31, 0.03, 0.0, 5.0, 1, "1"),
    "time_scale": (40.0, 9.0, 1e-12, np.inf, 1, "1"),
    "width_scale": (30.0, np.nan, 30.0, np.inf, 1, "1"),
    "width_exponent": (0.6, 0.1, 0.0, 5.0, 1, "1"),
    "samples_scale": (np.inf, np.nan, 1e-12, np.inf, 0, "1/bytes"),
    "noise_scale": (0.0, np.nan, 0.0, np.inf, 0, "bytes"),
}


def parameters() -> xr.Dataset:
    columns = zip(("value", "stderr", "min", "max", "vary"), zip(*NAMES.values(), strict=True), strict=False)
    ds = xr.Dataset({name: ("parameter", np.array(values)) for name, values in columns})
    ds = ds.assign_coords(
        parameter=list(NAMES),
        parameter_=("parameter_", list(NAMES)),
        parameter_units=("parameter", [row[5] for row in NAMES.values()]),
        meaning=("parameter", [f"meaning of {name}" for name in NAMES]),
    )
    ds["initial"] = ds["value"]
    ds["expr"] = ("parameter", [""] * len(NAMES))
    ds["covariance"] = (("parameter", "parameter_"), np.diag(np.nan_to_num(ds["stderr"].values) ** 2))
    ds["reference_params"], ds["residual_scale"] = ((), SIZES[0]), ((), 0.007)
    ds.attrs["notes"] = "noise_scale held at 0: all runs share one ratio of learning rate to batch size"
    return ds


def analysis(shape: str = "grid", *, hold_out: str | None = "largest", theory_error: float = 0.01) -> xr.DataTree:
    """An analysis with the layout that a fit gives, its numbers made up."""
    ds = measured(shape)
    curves = to_curves(ds)
    role = np.where(curves.step < 160, 0.0, 1.0)
    if hold_out == "largest":
        role[curves.params[curves.run] == SIZES[-1]] = 2.0
    elif hold_out == "late":
        role[curves.step > 2000] = 2.0
    loss = law(curves.params[curves.run], curves.tokens) * np.where(role == 2, np.exp(theory_error), 1.0)
    values = {"loss": loss, "loss_stderr": loss * np.where(role == 2, 0.012, 0.003), "additive_loss": loss * 1.01}
    values |= {"log_residual": np.log(curves.loss / loss), "role": role}
    units = "nats per byte"
    labels = {name: (name, units if "loss" in name else "1") for name in values}
    prediction = from_curves(ds, values, labels)
    prediction["role"].attrs |= {"flag_values": [0.0, 1.0, 2.0], "flag_meanings": "not_used fitted held_out"}
    prediction = prediction.assign_coords(law=["twopoint", "additive"])
    prediction["fitted_error"] = ("law", [0.0061, 0.0072])
    if hold_out:
        prediction["held_out_error"] = ("law", [theory_error, 0.02])
        prediction["held_out_end_error"] = ("law", [theory_error, -0.02])
        prediction["held_out_end_error"].attrs["long_name"] = "log error at the end of the longest held-out run, size-4"
    additive = {"irreducible": 0.6, "size_amplitude": 0.5, "data_amplitude": 1.2, "size_exponent": 0.3}
    additive |= {"data_exponent": 0.35, "reference_params": 1e5, "reference_tokens": 1e5}
    tree = xr.DataTree.from_dict(
        {"observed": ds, "parameters": parameters(), "prediction": prediction, "additive": xr.Dataset(additive)}
    )
    tree.attrs["title"] = "Two-point theory fitted to measured loss curves"
    tree.attrs["provenance"] = '{"law": "twopoint", "law_version": 1, "versions": {"numpy": "2"}, "data_sha256": "ab"}'
    return tree


def frontier(points: int = 25) -> xr.Dataset:
    compute = np.geomspace(1e11, 1e16, points)
    quantile = np.array([0.025, 0.16, 0.5, 0.84, 0.975])
    normal = np.array([-1.96, -1.0, 0.0, 1.0, 1.96])
    relative = np.exp(normal * 0.01 * np.log(compute[:, None] / 1e10) / np.log(10))
    best = {"params": 1e4 * (compute / 1e11) ** 0.52}
    best["tokens"] = compute / 6 / best["params"]
    best["steps"] = best["tokens"] / 1024
    best["loss"] = law(best["params"], best["tokens"])
    slope = np.gradient(np.log(best["loss"]), np.log(compute))
    best |= {"size_exponent": 0.52 + 0 * compute, "data_exponent": 0.48 + 0 * compute, "loss_exponent": slope}
    units = {"loss": "nats per byte", "tokens": "bytes"}
    ds = xr.Dataset(coords={"compute": compute, "quantile": quantile})
    ds["compute"].attrs = {"long_name": "training compute", "units": "FLOP"}
    for name, values in best.items():
        about = {"long_name": f"{name} on the frontier", "units": units.get(name, "1")}
        ds[name] = (("compute", "quantile"), values[:, None] * relative, about)
        ds[f"best_{name}"] = ("compute", values, about)
    ds.attrs = {"flops": "6ND", "learning_rate": 5e-3, "batch_size": 1024.0, "data_limit": np.inf}
    return ds
