"""The statistics and labels of the stdlib-lm recipe; made-up numbers test formulas, they enter no data set."""

from dataclasses import replace

import numpy as np
import pytest

from scalingeq.datasets import is_constant_rate
from scalingeq.datasets.recipes.assemble import Run, assemble, card, file_deviations, recent_mean, split_errors
from scalingeq.datasets.recipes.corpus import CONTEXT, Corpus
from scalingeq.datasets.recipes.plan import Plan, plans
from scalingeq.errors import DataError

FILES = np.repeat(np.arange(40), np.random.default_rng(0).integers(2, 15, 40))


def window_losses(points=3, seed=0):
    """Windows that share the level of their file, by the same factor at every point."""
    rng = np.random.default_rng(seed)
    level = np.random.default_rng(9).normal(0, 0.2, 40)[FILES]
    mean = np.linspace(3, 2, points)[:, None]
    return mean * np.exp(level + rng.normal(0, 0.1, (points, FILES.size)))


def test_clustered_error_agrees_with_a_bootstrap_of_files():
    losses = window_losses()
    total, _ = split_errors(file_deviations(losses, FILES))
    rng = np.random.default_rng(1)
    sums = np.stack([np.bincount(FILES, row) for row in losses])
    sizes = np.bincount(FILES)
    draws = rng.integers(0, 40, (4000, 40))
    means = sums[:, draws].sum(2) / sizes[draws].sum(1)
    np.testing.assert_allclose(total, np.log(means).std(1), rtol=0.06)
    naive = losses.std(1) / losses.mean(1) / np.sqrt(FILES.size)
    assert (total > 2 * naive).all()


def test_split_finds_the_common_offset():
    rng = np.random.default_rng(2)
    pattern, own = rng.normal(0, 1, 40), rng.normal(0, 0.01, (50, 40))
    amplitude = rng.uniform(0.5, 2, 50)
    total, common = split_errors(amplitude[:, None] * pattern + own)
    np.testing.assert_allclose(common, amplitude * np.linalg.norm(pattern), rtol=0.02)
    np.testing.assert_allclose(np.sqrt(total**2 - common**2), 0.01 * np.sqrt(40), rtol=0.5)
    opposite = split_errors(np.array([[1.0, 0.0], [2.0, 0.0], [-0.1, 0.0]]))[1]
    np.testing.assert_allclose(opposite, [1, 2, 0], atol=1e-12)


def test_recent_mean_is_of_the_last_tenth():
    assert recent_mean(np.arange(1.0, 101.0), np.array([1, 10, 100])).tolist() == [1.0, 10.0, 95.5]


def fake_corpus():
    stream = np.zeros(1000, np.uint8)
    return Corpus(stream, stream[:50], np.arange(FILES.size), FILES, tuple(map(str, range(40))), 700, "abc123")


def fake_run(plan, seed=0):
    steps = plan.evaluation_steps()
    about = {"name": plan.name, "width": plan.width, "batch": plan.batch, "unique_bytes": plan.unique_bytes,
             "schedule": plan.schedule, "seed": plan.seed, "non_embedding": 12 * plan.width**2, "seconds": 60.0,
             "total_parameters": 13 * plan.width**2, "hardware": "a processor", "torch": "2", "python": "3.11",
             "corpus_sha256": "abc123"}  # fmt: skip
    rates = np.array([plan.rate(step) for step in range(1, plan.steps + 1)])
    return Run(about, steps, window_losses(steps.size, seed), np.full(plan.steps, 2.0), rates)


PLANNED = [
    Plan("long", 16, 200 * 8 * CONTEXT),
    Plan("repeat", 16, 100 * 8 * CONTEXT, unique_bytes=1000),
    Plan("cosine", 32, 200 * 8 * CONTEXT, schedule="cosine"),
    Plan("never", 64, 200 * 8 * CONTEXT),
]


def test_assemble_labels_what_is_there():
    runs = [fake_run(plan, seed) for seed, plan in enumerate(PLANNED[:3])]
    ds = assemble(runs[::-1], fake_corpus(), [plan.name for plan in PLANNED])
    assert ds.run.values.tolist() == ["long", "repeat", "cosine"]
    assert ds.attrs["missing_runs"] == "never"
    assert is_constant_rate(ds).values.tolist() == [True, True, False]
    assert ds.dataset_size.values.tolist() == [np.inf, 7 * CONTEXT, np.inf]
    count = runs[1].evaluation_step.size
    np.testing.assert_allclose(ds.loss[1, :count], runs[1].window_loss.mean(1))
    assert ds.loss[1, count:].isnull().all()
    np.testing.assert_array_equal(ds.tokens, ds.step * ds.batch_size)
    assert (ds.loss_stderr >= ds.offset_stderr).sum() == ds.loss.notnull().sum()
    assert ds.attrs["offset_share_of_variance"] > 0.7
    text = card(ds)
    assert "| repeat | 16 | 3,072 | 1024 | 0.00 MB | constant | 0 | 100 |" in text
    assert "not in the file**: never" in text


def test_assemble_refuses_what_does_not_belong():
    run = fake_run(PLANNED[0])
    broken = replace(run, window_loss=run.window_loss * np.nan)
    other = replace(run, about=run.about | {"corpus_sha256": "ffff", "name": "stray"})
    with pytest.raises(DataError) as error:
        assemble([broken, other], fake_corpus(), ["long"])
    assert len(error.value.problems) == 3
    with pytest.raises(DataError, match="no finished run"):
        assemble([], fake_corpus(), ["long"])


def test_plan_identifies_what_the_law_needs():
    every = plans()
    assert len({plan.name for plan in every}) == len(every)
    assert len({plan.batch for plan in every if plan.width == 64}) >= 3
    assert all(plan.evaluation_steps()[-1] == plan.steps for plan in every)
