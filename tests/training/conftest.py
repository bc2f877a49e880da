"""Jobs in a temporary folder, and a tracker that keeps what it is given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from pdpipe.params import RuntimeParams
from pdpipe.training.job import Job, Optimization

MakeJob = Callable[..., Job]
RUNTIME: dict[str, Any] = {
    "device": "cpu",
    "threads": 1,
    "workers": 0,
    "precision": "float32",
    "compile": False,
    "snapshot_seconds": 1e9,
}


class ListTracker:
    """All points logged, and those published."""

    def __init__(self) -> None:
        self.points: list[tuple[int, dict[str, float]]] = []
        self.published = 0

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.points.append((step, dict(metrics)))

    def publish(self) -> None:
        self.published = len(self.points)

    def state_dict(self) -> dict[str, Any]:
        return {"points": self.points}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.points = [(step, dict(metrics)) for step, metrics in state["points"]]

    @property
    def steps(self) -> list[int]:
        return [step for step, _ in self.points]


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    """A job on the CPU; without a `snapshot_seconds` it makes no snapshots."""

    def make(stage: str = "student-2", snapshot_seconds: float = 1e9, **changes: Any) -> Job:
        values: dict[str, Any] = {
            "stage": stage,
            "seed": 0,
            "key": "0123456789abcdef" * 4,
            "snapshots_dir": tmp_path / "snapshots",
            "runtime": RuntimeParams(**(RUNTIME | {"snapshot_seconds": snapshot_seconds})),
            "device": torch.device("cpu"),
            "tracker": ListTracker(),
            "autocast": contextlib.nullcontext,
        }
        return Job(**(values | changes))

    return make


@pytest.fixture
def settings() -> Callable[..., Optimization]:
    """Optimiser settings of a short run, with the given ones changed."""

    def make(**changes: Any) -> Optimization:
        values: dict[str, Any] = {
            "updates": 30,
            "batch_size": 6,
            "learning_rate": 0.01,
            "warmup": 3,
            "anneal": 0.5,
            "betas": (0.9, 0.99),
            "weight_decay": 0.02,
            "grad_clip": 0.5,
            "ema_decay": 0.8,
        }
        return Optimization(**(values | changes))

    return make
