"""What each run of the stdlib-lm recipe does: size, data, batch and the schedule of its rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .corpus import CONTEXT

PEAK_RATE = 5e-3  # of the base width; hidden layers and head have it times BASE_WIDTH / width
BASE_WIDTH = 64
WARMUP_STEPS = 50
COSINE_FLOOR = 0.1  # share of the peak at the end of a cosine
POINTS_PER_DECADE = 10
WIDTHS = (16, 32, 48, 64, 80, 96, 128, 192)
MILLION = 1_000_000


@dataclass(frozen=True)
class Plan:
    """What one run does. ``unique_bytes`` None draws every window once; ``batch`` counts windows of CONTEXT bytes."""

    name: str
    width: int
    total_bytes: int
    schedule: str = "constant"
    batch: int = 8
    unique_bytes: int | None = None
    seed: int = 0

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.total_bytes // (self.batch * CONTEXT)

    def rate(self, step: int) -> float:
        """Learning rate of the update number ``step`` (from 1) at the base width."""
        warm = min(1.0, step / WARMUP_STEPS)
        if self.schedule == "constant":
            return PEAK_RATE * warm
        phase = (step - WARMUP_STEPS) / (self.steps - WARMUP_STEPS)
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(max(phase, 0.0), 1.0)))
        return PEAK_RATE * warm * (COSINE_FLOOR + (1.0 - COSINE_FLOOR) * cosine)

    def evaluation_steps(self) -> np.ndarray:
        """Steps after which the held-out loss is measured: evenly spaced in log, the last one included."""
        points = round(POINTS_PER_DECADE * math.log10(self.steps)) + 1
        return np.unique(np.geomspace(1, self.steps, points).round().astype(int))


def plans() -> list[Plan]:
    """Every run of the data set: first the sizes, then what identifies noise, data and schedule; long runs first."""
    sizes = [Plan(f"width-{w}", w, 10 * MILLION) for w in WIDTHS]
    batches = [Plan(f"width-64-batch-{b}", 64, 10 * MILLION, batch=b) for b in (2, 4, 32)]
    unique = [
        Plan(f"width-{w}-unique-{megabytes}MB", w, 10 * MILLION, unique_bytes=round(megabytes * MILLION))
        for w in (32, 96)
        for megabytes in (0.1, 0.4, 1.6, 6.4)
    ]
    cosine = [Plan(f"width-{w}-cosine", w, 3 * MILLION, schedule="cosine") for w in (16, 32, 48, 64, 96, 128)]
    seeds = [Plan(f"width-{w}-seed-{s}", w, 10 * MILLION, seed=s) for w in (16, 32, 64) for s in (1, 2)]
    return [plan for group in (sizes, batches, unique, cosine, seeds) for plan in sorted(group, key=lambda p: -p.width)]
