"""The measured curves that ship with the package: what the plan promised is in the file, labelled, small and sane."""

from pathlib import Path

import numpy as np
import pytest

import scalingeq
from scalingeq.datasets import catalogue, check, is_constant_rate, select_runs, to_curves

FOLDER = Path(catalogue.__file__).parent


@pytest.fixture(scope="module")
def ds():
    return scalingeq.datasets.load("stdlib-lm")


def test_the_file_is_small_and_has_a_card():
    assert (FOLDER / "stdlib_lm.nc").stat().st_size < 2_000_000
    assert "31 runs" in (FOLDER / "stdlib_lm.md").read_text()


def test_every_run_of_the_plan_is_there(ds):
    assert ds.attrs["missing_runs"] == "none"
    constant = is_constant_rate(ds)
    one_pass = np.isinf(ds.dataset_size)
    sizes = ds.width[constant & one_pass & (ds.batch_size == 1024) & (ds.seed == 0)]
    assert np.unique(sizes).size == 8
    assert np.unique(ds.batch_size[ds.width == 64]).size >= 3
    for width in (32, 96):
        assert np.unique(ds.dataset_size[(ds.width == width) & ~one_pass]) == pytest.approx(
            [1e5, 4e5, 1.6e6, 6.4e6],
            rel=2e-3,  # whole windows of 128 bytes
        )
    for width in (16, 32, 64):
        assert np.unique(ds.seed[ds.width == width]).tolist() == [0, 1, 2]
    assert np.unique(ds.width[~constant]).size == 6


def test_labels_and_provenance(ds):
    check(ds)
    for name, variable in ds.variables.items():
        assert variable.attrs["units"], name
        assert variable.attrs["long_name"], name
    assert ds.loss.units == "nats per byte"
    for name in ("python", "torch", "corpus_sha256", "architecture", "optimiser", "hardware", "license", "counting"):
        assert ds.attrs[name], name
    assert (ds.wall_seconds > 0).all()


def test_curves_are_dense_and_learn(ds):
    constant = select_runs(ds, is_constant_rate(ds))
    curves = to_curves(constant)
    for run in range(curves.name.size):
        step = curves.step[curves.run == run]
        late = step[step >= 100]
        assert late.size / np.log10(late[-1] / late[0]) > 8, curves.name[run]
    one_pass = constant.isel(run=np.flatnonzero(np.isinf(constant.dataset_size)))
    assert (one_pass.loss.max("obs") <= np.log(256) * 1.02).all()  # from a uniform guess of a byte ...
    assert (one_pass.loss.min("obs") < 2.0).all()  # ... to well below it


def test_errors_have_an_own_part(ds):
    own = (np.sqrt(ds.loss_stderr**2 - ds.offset_stderr**2) / ds.loss)[np.isinf(ds.dataset_size)]
    final = own.values[np.arange(own.sizes["run"]), np.isfinite(own.values).sum(axis=1) - 1]
    assert ((final > 0) & (final < 0.02)).all()
