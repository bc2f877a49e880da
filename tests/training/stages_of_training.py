"""Real stages on the digits, started alike by the tests and by `training_worker.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pdpipe.data import load_split
from pdpipe.models import load_model
from pdpipe.networks import UNet
from pdpipe.params import Params, RuntimeParams
from pdpipe.training import Job, train_guide, train_halving, train_teacher

RUNTIME: dict[str, Any] = {
    "device": "cpu",
    "threads": 1,
    "workers": 0,
    "precision": "float32",
    "compile": False,
    "snapshot_seconds": 1e9,
    "weights": "",
}


class ListTracker:
    """All points logged, and how many of them are published."""

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


def make_job(
    folder: Path, stage: str = "student-2", snapshot_seconds: float = 1e9, **changes: Any
) -> Job:
    """A job on the CPU; without a `snapshot_seconds` it makes no snapshots."""
    values: dict[str, Any] = {
        "stage": stage,
        "seed": 0,
        "key": "0123456789abcdef" * 4,
        "snapshots_dir": folder / "snapshots",
        "runtime": RuntimeParams(**(RUNTIME | {"snapshot_seconds": snapshot_seconds})),
        "device": torch.device("cpu"),
        "tracker": ListTracker(),
        "autocast": contextlib.nullcontext,
    }
    return Job(**(values | changes))


def run_stage(job: Job, params: Params, shards: Path, models: Path) -> UNet:
    """The trained network of stage teacher, student-4 (guide) or student-2 (a halving)."""
    images = load_split(shards, "train")
    if job.stage == "teacher":
        return train_teacher(job, images, params.teacher, params.network, params.schedule, {})[0]
    if job.stage == "student-4":
        teacher = load_model(models / "teacher.safetensors", device="cpu")
        return train_guide(job, images, teacher, params.guide, {})[0]
    assert job.stage == "student-2"
    above = load_model(models / "student-4.safetensors", device="cpu")
    return train_halving(job, images, above, 2, params.ladder["2"], params.halve, {})[0]
