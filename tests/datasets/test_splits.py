"""The splits of the scoreboard are fixed: what is held out, and how many runs, observations and sizes that leaves."""

from pathlib import Path

import numpy as np
import pytest

from scalingeq.datasets.splits import SPLITS, chosen_points

FOLDER = next((found for above in Path(__file__).parents if (found := above / "shared" / "data").is_dir()), None)

#: Runs and sizes fitted, runs and sizes held out, observations of both.
FIXED = {
    ("stdlib-lm", "large sizes"): (14, 5, 3, 3, 168, 36),
    ("stdlib-lm", "long horizons"): (17, 8, 17, 8, 203, 119),
    ("stdlib-lm", "unseen schedules"): (17, 8, 6, 6, 204, 66),
    ("stdlib-lm", "25 passes"): (8, 4, 2, 2, 96, 24),
    ("stdlib-lm", "100 passes"): (10, 4, 2, 2, 120, 24),
    ("mlp", "large sizes"): (5, 5, 3, 3, 70, 42),
    ("mlp", "long horizons"): (8, 8, 8, 8, 112, 112),
    ("mlp", "unseen schedules"): (6, 3, 19, 3, 84, 266),
    ("c5m", "large sizes"): (5, 5, 3, 3, 70, 42),
    ("c5m", "long horizons"): (8, 8, 8, 8, 111, 112),
    ("gemstones", "large sizes"): (12, 12, 10, 10, 168, 140),
    ("gemstones", "long horizons"): (22, 22, 22, 22, 176, 220),
    ("misfitting", "large sizes"): (67, 7, 13, 4, 537, 159),
    ("xlstm", "large sizes"): (67, 12, 15, 9, 402, 90),
    ("multipower-law 25M", "unseen schedules"): (3, 1, 6, 1, 128, 262),
    ("multipower-law 100M", "unseen schedules"): (3, 1, 6, 1, 128, 262),
    ("porian rw tuned", "large budgets"): (91, 16, 30, 9, 91, 30),
    ("porian rw decayed", "large budgets"): (62, 15, 26, 8, 62, 26),
    ("porian owt2 tuned", "large budgets"): (86, 16, 30, 9, 86, 30),
    ("porian owt2 decayed", "large budgets"): (62, 15, 26, 8, 62, 26),
    ("chinchilla", "large budgets"): (177, 112, 63, 37, 177, 63),
}


def test_every_split_is_listed_once():
    assert sorted((split.data, split.name) for split in SPLITS) == sorted(FIXED)


@pytest.mark.parametrize("split", [pytest.param(s, id=f"{s.data}, {s.name}") for s in SPLITS])
def test_splits_are_what_they_were(split):
    if not split.is_present(FOLDER):
        pytest.skip("the folder shared/data of measured records is not beside this checkout")
    curves, held = split.curves(FOLDER)
    parts = [curves.run[~held], curves.run[held]]
    runs = [np.unique(part).size for part in parts]
    sizes = [np.unique(curves.params[part]).size for part in parts]
    assert (runs[0], sizes[0], runs[1], sizes[1], *(part.size for part in parts)) == FIXED[split.data, split.name]
    # Nothing that is held out is fitted as well: other runs, or later steps.
    if isinstance(split.holds_out, float):
        for run in np.unique(curves.run):
            mine = curves.run == run
            assert curves.step[mine & ~held].max() <= split.holds_out * curves.step[mine].max()
            assert curves.step[mine & held].min() > split.holds_out * curves.step[mine].max()
    else:
        assert not np.intersect1d(*parts).size


def test_points_are_the_nearest_to_even_ones():
    """Beside a search over all steps for each of the wanted ones."""
    step = np.unique(np.random.default_rng(0).integers(1, 10_000, 500)).astype(float)
    low = max(step[0], 1e-3 * step[-1])
    wanted = np.concatenate([np.geomspace(low, step[-1], 8), np.linspace(low, step[-1], 8)])
    nearest = np.unique(np.abs(np.log(step) - np.log(wanted)[:, None]).argmin(axis=1))
    chosen = chosen_points(step, 16)
    assert chosen.size <= 16
    assert chosen[-1] == step.size - 1
    # Nearest in step or in log step: neighbours at most.
    assert np.abs(chosen[:, None] - nearest).min(axis=0).max() <= 1
    assert chosen_points(step[:5], 16).tolist() == [0, 1, 2, 3, 4]
