"""Frontiers under a limit of unique tokens: repeats, cost beside the unlimited frontier, and what more compute goes to."""

import numpy as np
import pytest


@pytest.fixture
def repeated(made_up_analysis):
    """An analysis that knows what repeating costs; without errors, so that no bands are asked for."""
    tree = made_up_analysis()
    group = tree["parameters"].to_dataset().load()
    group["value"].values[group.parameter.values.tolist().index("samples_scale")] = 1e-3
    group["covariance"].values[:] = 0
    tree["parameters"] = group
    return tree


def test_repeats_and_cost_are_told(repeated):
    limit, compute = 1e7, np.array([1e14, 1e16, 1e12])  # in any order
    found = repeated.twopoint.frontier(compute, data_limit=limit)
    free = repeated.twopoint.frontier(compute)
    assert all({"units", "long_name"} <= found[name].attrs.keys() for name in found.variables)
    np.testing.assert_allclose(found.best_epochs, found.best_tokens / limit)
    np.testing.assert_allclose(found.unlimited_loss, free.best_loss, rtol=1e-6)
    np.testing.assert_allclose(found.limit_cost, found.best_loss / free.best_loss - 1, atol=1e-6)
    assert found.limit_cost[1] > found.limit_cost[0] > found.limit_cost[2] > 0
    known = found.limit_compute.dropna("cost")
    assert ((known > 1e12) & (known < 1e16)).all()
    size, data = (found[f"best_{name}_exponent"][1].item() for name in ("size", "data"))
    advice = "enlarge the model rather" if size > data else "repeat the data rather"
    assert advice in found.attrs["repeat_or_enlarge"]
    assert found.attrs["data_limit"] == limit


def test_without_a_limit_nothing_is_added(repeated):
    found = repeated.twopoint.frontier(1e14)
    assert "epochs" not in found
    assert found.attrs["data_limit"] == np.inf
