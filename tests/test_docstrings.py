"""Every example in a docstring runs, under the names that users import (two of the rooms live in other folders)."""

import doctest
import importlib
import inspect
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


def public():
    for package in ("scalingeq", "scalingeq.theory", "scalingeq.datasets"):
        module = importlib.import_module(package)
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isfunction(thing) or (inspect.isclass(thing) and not issubclass(thing, (Exception, tuple))):
                yield f"{package}.{name}", thing
    faces = ("MeasuredTwoPoint", "AnalysisTwoPoint", "MeasuredLaws", "AnalysisLaws")
    for face in {above for name in faces for above in getattr(scalingeq.accessors, name).__mro__[:-1]}:
        for name, thing in vars(face).items():
            if inspect.isfunction(thing) and not name.startswith("_"):
                yield f"{face.__name__}.{name}", thing


@pytest.mark.parametrize("thing", [pytest.param(thing, id=name) for name, thing in public()])
def test_public_things_have_an_example(thing):
    assert ">>>" in thing.__doc__
