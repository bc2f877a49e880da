"""What every training stage is given, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdpipe.params import RuntimeParams
from pdpipe.tracking import Tracker
from pdpipe.training.snapshots import Snapshots


@dataclass(frozen=True)
class Batch:
    """One update's data: x (B, C, H, W) in [-1, 1], labels (B,), and its two random generators.

    `generator` draws what has the images' size, on their device; `scalars` draws a few numbers
    for each image (times, weights), on the CPU. Both are seeded by (seed, stage, step), so an
    update is the same whether the run was broken before it or not.
    """

    x: Tensor
    labels: Tensor
    generator: torch.Generator
    scalars: torch.Generator

    def noise(self) -> Tensor:
        """eps: standard normal, shaped like x."""
        return torch.randn(
            self.x.shape, generator=self.generator, device=self.x.device, dtype=self.x.dtype
        )

    def uniform(self) -> Tensor:
        """One number in [0, 1) for each image: (B, 1, 1, 1), float64, on the CPU."""
        return torch.rand(len(self.x), 1, 1, 1, generator=self.scalars, dtype=torch.float64)


Objective = Callable[[Any, Batch], Tensor]
"""(network, batch) -> scalar loss. It knows one stage's mathematics; the loop knows none."""


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """The optimiser settings of one training run (AdamW)."""

    updates: int
    batch_size: int
    learning_rate: float
    warmup: int
    anneal: float
    betas: tuple[float, float]
    weight_decay: float
    grad_clip: float
    ema_decay: float

    def rate(self, step: int) -> float:
        """The learning rate of update `step` (0-based).

        It rises over `warmup` updates, stays, and falls linearly to 0 over the final share
        `anneal` of the updates.
        """
        rising = min(1.0, (step + 1) / (self.warmup + 1))
        falling = 1.0
        if self.anneal > 0:
            falling = min(1.0, (self.updates - step) / (self.anneal * self.updates))
        return self.learning_rate * rising * falling


@dataclass(frozen=True, kw_only=True)
class Job:
    """One stage's run: its name, identity, place, and the ways out of it."""

    stage: str  # e.g. student-4
    seed: int
    key: str  # digest of everything that determines the result
    snapshots_dir: Path
    runtime: RuntimeParams
    device: torch.device
    tracker: Tracker
    autocast: Callable[[], Any] = field(repr=False)
    precision: str = "float32"  # of `autocast`

    @property
    def snapshots(self) -> Snapshots:
        """Where its snapshots are."""
        return Snapshots(self.snapshots_dir, self.stage, self.key)


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """What a run cost; `seconds` is wall time, over all its attempts."""

    updates: int
    batch_size: int
    network_evaluations: int  # images through a network, forward; a backward counts as none
    seconds: float

    @property
    def images_seen(self) -> int:
        """Training images drawn, with repetition."""
        return self.updates * self.batch_size
