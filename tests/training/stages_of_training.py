"""Real stages on the digits, started alike by the tests and by `training_worker.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pdpipe.data import ImageSet, load_split
from pdpipe.methods import method_of
from pdpipe.methods.extractor import extractor_info, extractor_plan
from pdpipe.methods.method import Task
from pdpipe.methods.tasks import study_task
from pdpipe.methods.teacher import teacher_plan
from pdpipe.models import DiffusionModel, load_model
from pdpipe.networks import UNet
from pdpipe.params import (
    DistilledParams,
    GuideParams,
    HalveParams,
    Params,
    RungParams,
    RuntimeParams,
)
from pdpipe.plan import Objective, Optimization, Plan, Work
from pdpipe.training import Job, train

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


Trained = tuple[Any, Any, Work]
"""The trained network, its metadata and its cost."""


def make_plan(network: nn.Module, objective: Objective, optimization: Optimization) -> Plan:
    work = Work(updates=optimization.updates, batch_size=optimization.batch_size, forwards=1)
    return Plan(
        network=network, objective=objective, optimization=optimization, info=None, work=work
    )


def trained(job: Job, plan: Plan, images: ImageSet) -> Trained:
    network, _ = train(job, plan, images)
    return network, plan.info, plan.work


def train_teacher(
    job: Job, images: ImageSet, teacher: Any, network: Any, schedule: Any, provenance: Any
) -> Trained:
    shape, seed = tuple(images.images.shape[1:]), job.seed
    plan = teacher_plan(shape, images.classes, teacher, network, schedule, seed, provenance)
    return trained(job, plan, images)


def train_guide(
    job: Job, images: ImageSet, teacher: DiffusionModel, guide: GuideParams, provenance: Any
) -> Trained:
    halve: Any = None
    task = Task(
        steps=guide.steps,
        updates=guide.updates,
        learning_rate=guide.learning_rate,
        guide=guide,
        halve=halve,
    )
    return trained(job, method_of("guide").plan(teacher, task, job.seed, provenance), images)


def train_halving(
    job: Job,
    images: ImageSet,
    teacher: DiffusionModel,
    num_steps: int,
    rung: RungParams,
    halve: HalveParams,
    provenance: Any,
) -> Trained:
    guide: Any = None
    task = Task(
        steps=num_steps,
        teacher_steps=int(rung.from_),
        updates=rung.updates,
        learning_rate=rung.learning_rate,
        guide=guide,
        halve=halve,
    )
    return trained(job, method_of("halve").plan(teacher, task, job.seed, provenance), images)


def train_student(
    job: Job,
    images: ImageSet,
    teacher: DiffusionModel,
    student: DistilledParams,
    halve: HalveParams,
    guide: GuideParams,
    provenance: Any,
) -> Trained:
    method = method_of(student.algorithm)
    task = study_task(student, guide, halve)
    return trained(job, method.plan(teacher, task, job.seed, provenance), images)


def train_extractor(
    job: Job, images: ImageSet, heldout: ImageSet, extractor: Any, name: str, provenance: Any
) -> Trained:
    plan = extractor_plan(images.images.shape[1], len(images.classes), extractor, job.seed)
    network, _ = train(job, plan, images)
    info = extractor_info(network, heldout, name, extractor.min_accuracy, provenance)
    return network, info, plan.work


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
