"""Where the time goes, and how far the whole is from the least arithmetic of one curve."""

import cProfile
import importlib.util
import pstats
from pathlib import Path

import numpy as np
import pytest

from scalingeq.inference.fitting import fit_two_point
from scalingeq.theory import PowerLaw, flow_loss

TOP = 6
TIMES, SPECTRUM = np.geomspace(1, 1e7, 200), PowerLaw(1.5, 0.4, 1e9)


def sibling(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def functions():
    """What is profiled, and how often in one profile."""
    curves = sibling("test_joint_fit").measured()
    return {
        "one pass": (lambda: flow_loss(TIMES, SPECTRUM, width=1e4, noise_rate=0.1), 50),
        "finite data, small batches": (lambda: flow_loss(TIMES, SPECTRUM, width=1e4, samples=3e4, noise_rate=0.1), 20),
        "default fit of 20 curves of 100 points": (lambda: fit_two_point(curves), 1),
    }


def name_of(where):
    """Module and function, or the function of the interpreter."""
    path, _, name = where
    name = name.strip("<>").replace("built-in method ", "").replace("method ", "")
    return name if path == "~" else f"{Path(path).stem}.{name}"


@pytest.mark.parametrize("case", ["one pass", "finite data, small batches", "default fit of 20 curves of 100 points"])
def test_profile(turns, unit, record_property, case, loops):
    function, times = functions()[case]
    seconds, units = turns(function, unit, rounds=5 if times > 1 else 2)
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(times):
        function()
    profile.disable()
    stats = pstats.Stats(profile)
    total = sum(row[2] for row in stats.stats.values())
    own = {}
    for where, row in stats.stats.items():
        own[name_of(where)] = own.get(name_of(where), 0.0) + row[2]
    top = sorted(own.items(), key=lambda item: -item[1])[:TOP]
    shares = ", ".join(f"{name} {share / total:.0%}" for name, share in top)
    record_property(
        "profiles",
        {f"{case}; {loops}": {"units": np.median(seconds / units), "ms": 1e3 * np.median(seconds), "own time": shares}},
    )
    assert total > 0
