"""Train one run of the stdlib-lm recipe: checkpointed, resumable, with its log in a plain NumPy archive."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from .corpus import CONTEXT, Corpus, windows
from .plan import BASE_WIDTH, PEAK_RATE, Plan
from .transformer import Transformer

CHECKPOINT_SECONDS = 60.0
EVALUATION_BATCH = 64


class WindowOrder:
    """The training windows in the order a run sees them: a new shuffle in every epoch of its unique data."""

    def __init__(self, plan: Plan, stream: np.ndarray) -> None:
        available = (stream.size - 1) // CONTEXT
        # The unique windows come from all files and are the same for every width and seed.
        every = np.random.default_rng(0).permutation(available)
        self.unique = every if plan.unique_bytes is None else every[: plan.unique_bytes // CONTEXT]
        self.stream, self.plan, self.epoch, self.order = stream, plan, -1, np.empty(0, int)

    def batch(self, step: int) -> np.ndarray:
        """Windows (batch, CONTEXT + 1) of the update number ``step`` (from 1)."""
        position = np.arange((step - 1) * self.plan.batch, step * self.plan.batch)
        turns = zip(*divmod(position, self.unique.size), strict=True)
        return windows(
            self.stream, CONTEXT * np.array([self._window(int(epoch), int(offset)) for epoch, offset in turns])
        )

    def _window(self, epoch: int, offset: int) -> int:
        if epoch != self.epoch:
            self.epoch = epoch
            self.order = np.random.default_rng([self.plan.seed, epoch]).permutation(self.unique)
        return int(self.order[offset])


def make_optimiser(model: Transformer, width: int) -> torch.optim.Optimizer:
    """AdamW without decay; the rate of matrices that act on the residual stream scales as 1/width."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embedding" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embedding" in name]
    groups = [{"params": matrices, "multiplier": BASE_WIDTH / width}, {"params": others, "multiplier": 1.0}]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)


def cross_entropy(model: Transformer, batch: torch.Tensor) -> torch.Tensor:
    """Nats a byte, (window, CONTEXT), of windows (window, CONTEXT + 1)."""
    logits = model(batch[:, :-1])
    return functional.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none")


@torch.no_grad()
def evaluate(model: Transformer, held_out: torch.Tensor) -> np.ndarray:
    """Mean loss (window,) of every evaluation window, nats a byte."""
    parts = [cross_entropy(model, part).mean(1).cpu() for part in held_out.split(EVALUATION_BATCH)]
    losses: np.ndarray = torch.cat(parts).numpy()
    return losses


def train(plan: Plan, corpus: Corpus, folder: Path, report: Callable[[int], None]) -> None:
    """Run ``plan``, or what is left of it, and write ``folder/<name>.npz``; ``report`` is told the bytes done."""
    result, checkpoint = folder / f"{plan.name}.npz", folder / f"{plan.name}.pt"
    if result.exists():
        report(plan.total_bytes)
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)  # runs are parallel, not the arithmetic of one: two processes beat two threads
    torch.manual_seed(plan.seed)
    model = Transformer(plan.width, CONTEXT).to(device)
    optimiser = make_optimiser(model, plan.width)
    held_out = torch.from_numpy(windows(corpus.held_out, corpus.evaluation_start)).long().to(device)
    order = WindowOrder(plan, corpus.training)
    evaluation_steps = plan.evaluation_steps()
    train_loss = torch.full((plan.steps,), math.nan)
    window_loss = torch.full((evaluation_steps.size, len(held_out)), math.nan)
    done, seconds = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        train_loss, window_loss = state["train_loss"].cpu(), state["window_loss"].cpu()
        done, seconds = state["done"], state["seconds"]
        report(done * plan.batch * CONTEXT)
    started = saved = time.perf_counter()
    for step in range(done + 1, plan.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = plan.rate(step) * group["multiplier"]
        batch = torch.from_numpy(order.batch(step)).long().to(device)
        loss = cross_entropy(model, batch).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        train_loss[step - 1] = loss.item()
        if not math.isfinite(train_loss[step - 1]):
            raise FloatingPointError(f"run {plan.name}: training loss is {loss.item()} at step {step}")
        where = np.searchsorted(evaluation_steps, step)
        if evaluation_steps[where] == step:
            window_loss[where] = torch.from_numpy(evaluate(model, held_out))
        report(plan.batch * CONTEXT)
        if time.perf_counter() - saved > CHECKPOINT_SECONDS:
            saved = time.perf_counter()
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "done": step}
            state |= {"train_loss": train_loss, "window_loss": window_loss, "seconds": seconds + saved - started}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
    seconds += time.perf_counter() - started
    about = asdict(plan) | {
        "non_embedding": model.non_embedding(),
        "total_parameters": sum(p.numel() for p in model.parameters()),
        "seconds": seconds,
        "hardware": torch.cuda.get_device_name() if device.type == "cuda" else cpu_name() + ", one thread",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "corpus_sha256": corpus.sha256,
    }
    temporary = result.with_suffix(".tmp.npz")
    np.savez_compressed(
        temporary,
        about=np.array(json.dumps(about)),
        evaluation_step=evaluation_steps,
        window_loss=window_loss.numpy(),
        train_loss=train_loss.numpy(),
        learning_rate=np.array([plan.rate(step) for step in range(1, plan.steps + 1)]),
    )
    os.replace(temporary, result)
    checkpoint.unlink(missing_ok=True)


def cpu_name() -> str:
    """The processor as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
