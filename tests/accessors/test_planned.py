"""``tree.twopoint.plan``: labels, what is refused, and what is said that the data cannot tell."""

import numpy as np
import pytest

from scalingeq import ParameterError


@pytest.fixture
def noisy(made_up_analysis):
    """An analysis that knows the noise of its batches: 3000 ± 500."""
    tree = made_up_analysis()
    group = tree["parameters"].to_dataset().load()
    number = group.parameter.values.tolist().index("noise_scale")
    for name, value in (("value", 3000.0), ("stderr", 500.0), ("vary", 1)):
        group[name].values[number] = value
    group["covariance"].values[number, number] = 500.0**2
    tree["parameters"] = group
    return tree


def test_without_known_noise_nothing_but_the_size_is_recommended(made_up_analysis):
    tree = made_up_analysis()
    found = tree.twopoint.plan(1e14)
    assert found.schedule.values.tolist() == ["constant"]
    assert "no batch size, learning rate or schedule is recommended" in found.attrs["notes"]
    front = tree.twopoint.frontier(1e14)
    assert found.params.item() == pytest.approx(front.best_params.item(), rel=0.03)
    with pytest.raises(ParameterError, match=r"batch_size: 256 to 4096, and the runs do not tell.*pass one value"):
        tree.twopoint.plan(1e14, batch_size=(256, 4096))


def test_with_known_noise_schedules_are_compared(noisy):
    found = noisy.twopoint.plan(1e14, batch_size=(64, 1e5), schedules=("constant", "linear"))
    assert all({"units", "long_name"} <= found[name].attrs.keys() for name in found.variables)
    np.testing.assert_allclose(6 * found.params * found.tokens, 1e14, rtol=1e-9)
    assert found.best_schedule.item() == "linear"
    assert found.excess.sel(schedule="linear").item() == 0
    assert found.excess.sel(schedule="constant").item() > 0
    assert (found.batch_size >= 64 * (1 - 1e-9)).all()
    assert "fewer than two schedules were measured" in found.attrs["notes"]
    assert "one batch size" in found.attrs["notes"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedules": ("steps",)}, "no 'steps'"),
        ({"stability": 2.0}, "stability"),
        ({"batch_size": (10, 1)}, "batch_size"),
        ({"data_limit": 1e6}, "samples_scale is infinite"),
    ],
)
def test_bad_plans_are_refused(made_up_analysis, arguments, message):
    with pytest.raises(ParameterError, match=message):
        made_up_analysis().twopoint.plan(1e14, **arguments)
