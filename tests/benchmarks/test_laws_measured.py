"""Laws of learning-rate schedules on measured runs of others, beside what their authors published.

``python tests/benchmarks/report.py`` writes the tables. The records lie in ``shared/data`` beside the checkout.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scalingeq.datasets.schedules import find_schedule
from scalingeq.inference.curves import TrainingCurves
from scalingeq.inference.laws import LAWS
from scalingeq.inference.robust import HUBER_THRESHOLD
from scalingeq.theory.schedule import Schedule

DATA = next((data for parent in Path(__file__).resolve().parents if (data := parent / "shared/data").is_dir()), None)
pytestmark = pytest.mark.skipif(DATA is None, reason="needs the training records of shared/data beside the checkout")

FITTED = ("constant_24000", "cosine_24000", "wsdcon_9")
PREDICTED = ("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18")
WARMUP, PEAK, LOWEST = 2160, 3e-4, 3e-5
#: Parameters (L0, A, alpha, B, C, beta, gamma) and mean RMSE over the schedules predicted that the authors give, by
#: millions of parameters (arXiv:2503.12811 and its code).
PUBLISHED = {
    "25": ((3.04045406, 0.52468604, 0.50786857, 363.78751622, 2.06560812, 0.58279013, 0.64142257), 0.00465),
    "100": ((2.6514477, 0.60115152, 0.45295811, 437.9464276, 2.13245612, 0.59785199, 0.65523644), 0.00592),
}
DELTA = 1e-3  # of their Huber penalty on the log loss, summed over all points


def true_schedule(name):
    """Learning rate as it was, every 16 steps; the records give it every 128, and no step of a jump."""
    kind, *numbers = name.split("_")
    share = np.linspace(0, 1, 251)
    match kind:
        case "constant":
            step, rate = [WARMUP, int(numbers[0])], [PEAK, PEAK]
        case "cosine":
            step = np.linspace(WARMUP, int(numbers[0]), 4000)
            rate = LOWEST + (PEAK - LOWEST) * (1 + np.cos(np.pi * np.linspace(0, 1, 4000))) / 2
        case "wsdcon":
            step, rate = [WARMUP, 8000, 8000, 16000], [PEAK, PEAK, *2 * [int(numbers[0]) * 1e-5]]
        case _:
            decay = PEAK * (LOWEST / PEAK) ** share if kind == "wsd" else PEAK + (LOWEST - PEAK) * share
            step, rate = np.append(WARMUP, 20000 + 4000 * share), np.append(PEAK, decay)
    return Schedule(np.append(0, step), np.append(0.0, rate), np.zeros(len(step) + 1))


def curves_of(size, names, *, recorded=False):
    """Curves of one model under several schedules, as they were or as the record has them."""
    tables = [np.loadtxt(DATA / f"multipower_law/csv_{size}/{name}.csv", delimiter=",", skiprows=1) for name in names]
    step, _, loss = np.concatenate(tables).T
    one, run = np.ones(len(names)), np.repeat(np.arange(len(names)), [len(table) for table in tables])
    schedules = {
        number: find_schedule(table[:, 0], table[:, 1], np.ones(len(table)), WARMUP)
        if recorded
        else true_schedule(name)
        for number, (name, table) in enumerate(zip(names, tables, strict=True))
    }
    # The record counts the first step as 0.
    step = step if recorded else step + 1
    return TrainingCurves(
        run, step, step, loss, np.full(loss.size, np.nan), np.array(names), float(size) * 1e6 * one, PEAK * one, one,
        np.inf * one, WARMUP * one, schedules,
    )  # fmt: skip


def mean_rmse(law, values, curves):
    """Mean over the curves of the RMSE of each."""
    error = law.loss(values, curves) - curves.loss
    return float(np.mean([np.sqrt(np.mean(error[curves.run == run] ** 2)) for run in np.unique(curves.run)]))


def published_objective(law, values, curves):
    size = np.abs(np.log(law.loss(values, curves) / curves.loss))
    return float(np.sum(np.where(size < DELTA, size**2 / 2, DELTA * (size - DELTA / 2))))


def published_values(size):
    return dict(zip(("L0", "A", "alpha", "B", "C", "beta", "gamma"), PUBLISHED[size][0], strict=True))


def test_published_multipower_parameters_give_the_published_errors(record_property):
    law = LAWS["multipower"]
    errors = {size: mean_rmse(law, published_values(size), curves_of(size, PREDICTED)) for size in PUBLISHED}
    record_property("schedule_laws", {"multipower, published parameters": errors})
    assert errors == pytest.approx({size: expected for size, (_, expected) in PUBLISHED.items()}, abs=1e-5)


def test_the_published_multipower_parameters_are_not_at_the_minimum_of_their_objective(record_property):
    law, errors, penalties = type(LAWS["multipower"])(), {}, {}
    law.huber_scale = DELTA / HUBER_THRESHOLD
    for size in PUBLISHED:
        curves = curves_of(size, FITTED)
        values = law.fit(curves, weights=np.ones(curves.run.size)).values
        errors[size] = mean_rmse(law, values, curves_of(size, PREDICTED))
        penalties[size] = {
            "published parameters": published_objective(law, published_values(size), curves),
            "minimum": published_objective(law, values, curves),
        }
    record_property("schedule_laws", {"multipower, minimum of the published objective": errors})
    record_property("penalties", penalties)
    assert all(penalty["minimum"] < 0.5 * penalty["published parameters"] for penalty in penalties.values())


#: Mean RMSE on the six unseen schedules that each law keeps to, of 25M and 100M parameters.
KEPT = {"multipower": (0.0053, 0.0060), "annealing": (0.0066, 0.0067), "rate_noise": (0.0074, 0.0100)}


@pytest.mark.parametrize("recorded", [False, True], ids=["true", "recorded"])
@pytest.mark.parametrize("name", KEPT)
def test_unseen_schedules_are_predicted(name, recorded, record_property):
    law, errors = LAWS[name], {}
    for size in PUBLISHED:
        fit = law.fit(curves_of(size, FITTED, recorded=recorded))
        errors[size] = mean_rmse(law, fit.values, curves_of(size, PREDICTED, recorded=recorded))
    record_property("schedule_laws", {f"{name}, {'recorded' if recorded else 'true'} schedules": errors})
    assert all(error <= kept for error, kept in zip(errors.values(), KEPT[name], strict=True))


def test_the_multipower_law_is_fast_to_fit(turns, unit):
    """All nine curves of one size at once: processor time, in units of the least arithmetic of one theoretical curve."""
    curves = curves_of("25", FITTED + PREDICTED)
    assert LAWS["multipower"].fit(replace(curves)).values["B"] > 0
    seconds, units = turns(lambda: LAWS["multipower"].fit(replace(curves)), unit, rounds=3)
    assert np.median(seconds / units) < 20_000
