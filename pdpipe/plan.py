"""What a method hands to the training: what is trained, on what, how, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from pdpipe.diffusion import Condition
from pdpipe.params import OptimizerParams


@dataclass(frozen=True)
class Batch:
    """One update's data: x (B, C, H, W) in [-1, 1], its condition, and two random generators.

    `generator` draws what has the images' size, on their device; `scalars` draws a few numbers
    for each image (times, weights), on the CPU. Both are seeded by (seed, stage, step), so an
    update is the same whether the run was broken before it or not.
    """

    x: Tensor
    given: Condition  # of the data: their labels
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

    def weights(self, w_min: float, w_max: float) -> Tensor:
        """w ~ U[w_min, w_max] for each image: (B,), float32, on the images' device."""
        w = w_min + (w_max - w_min) * self.uniform().reshape(-1)
        return w.float().to(self.x.device)

    def intervals(self, num_steps: int) -> Tensor:
        """i uniform in 1 … N for each image: (B, 1, 1, 1), float64 and exact."""
        return torch.floor(self.uniform() * num_steps) + 1


Objective = Callable[[Any, Batch], Tensor]
"""(network, batch) -> scalar loss. It knows one method's mathematics; the training knows none.

One that has a state of its own, which changes while it trains, is a `StatefulObjective`.
"""


@runtime_checkable
class StatefulObjective(Protocol):
    """An objective with tensors of its own, such as an average of the network as a teacher."""

    def __call__(self, network: Any, batch: Batch) -> Tensor:
        """The loss."""

    def after_update(self, network: Any) -> None:
        """Called with the network after each update."""

    def state_dict(self) -> dict[str, Any]:
        """What a snapshot keeps of it: tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""


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

    @classmethod
    def of(cls, section: OptimizerParams, updates: int, learning_rate: float) -> Optimization:
        """Those of a section of params.yaml; a rung has updates and learning rate of its own."""
        shared = section.model_dump(include=set(OptimizerParams.model_fields))
        shared |= {"betas": tuple(section.betas)}
        return cls(**shared | {"updates": updates, "learning_rate": learning_rate})

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
class Work:
    """A training run, in updates and network evaluations, counted before it starts."""

    updates: int
    batch_size: int
    forwards: int  # network evaluations of an image in an update, the student's and its teacher's

    @property
    def images_seen(self) -> int:
        """Training images drawn, with repetition."""
        return self.updates * self.batch_size

    @property
    def network_evaluations(self) -> int:
        """Images through a network, forward; a backward counts as none."""
        return self.forwards * self.images_seen


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training: made by a method, run by `training`, timed by `bench`."""

    network: nn.Module  # as it is before the first update
    objective: Objective
    optimization: Optimization
    info: BaseModel | None  # what is stored beside the trained weights; None: known afterwards
    work: Work
    flip: bool = False  # mirror half of the images
