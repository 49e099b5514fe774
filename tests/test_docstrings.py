"""Every example in a docstring runs, under the names that users import (two of the rooms live in other folders)."""

import doctest
import importlib
import pkgutil

import pytest

import scalingeq

PACKAGES = (scalingeq, *(importlib.import_module(f"scalingeq.{room}") for room in ("accessors", "datasets")))
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
NEEDS_TORCH = {"scalingeq.datasets.recipes.training", "scalingeq.datasets.recipes.transformer"}


def modules():
    for package in PACKAGES:
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            yield found.name


@pytest.mark.parametrize("name", sorted(set(modules())))
def test_examples(name, tmp_path, monkeypatch):
    if name in NEEDS_TORCH:
        pytest.importorskip("torch", reason="the recipes' training needs the extra [recipes]")
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=OPTIONS)
    assert result.failed == 0


@pytest.mark.parametrize("name", scalingeq.__all__)
def test_public_names_have_docstrings(name):
    assert getattr(scalingeq, name).__doc__
