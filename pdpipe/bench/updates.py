"""What an update costs beyond its network evaluations, measured as a ratio in one run."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pdpipe.bench.setting import (
    CLASSES,
    Ratio,
    inputs,
    quartiles,
    random_images,
    seconds,
    untracked_job,
)
from pdpipe.bench.untrained import DataSize, Untrained, untrained_models
from pdpipe.data import ImageSet
from pdpipe.methods import method_of
from pdpipe.methods.tasks import guide_task
from pdpipe.networks import Network
from pdpipe.params import Params
from pdpipe.plan import Batch, Optimization, Plan, Work
from pdpipe.training.loop import make_batch, update
from pdpipe.training.resume import save_snapshot
from pdpipe.training.state import TrainState


@dataclass(frozen=True, kw_only=True)
class BenchResult(Ratio):
    """Median seconds of an update and of its network evaluations alone, measured in turns."""

    name: str
    update: float
    evaluations: float

    def __str__(self) -> str:
        return (
            f"{self.name}: update {self.update * 1e3:.1f} ms, its teacher forwards and student "
            f"forward + backward alone {self.evaluations * 1e3:.1f} ms, {self.spelled()}"
        )


@dataclass(frozen=True)
class SnapshotResult:
    """What the snapshots of a training stage cost."""

    seconds: float  # median, of one
    every: float  # seconds between two

    def __str__(self) -> str:
        return (
            f"snapshot: {self.seconds * 1e3:.1f} ms every {self.every:g} s, "
            f"{self.seconds / self.every:.2%} of the time"
        )


def bench_updates(params: Params, device: torch.device, repeats: int) -> Iterator[BenchResult]:
    """Time the updates of stage one and of a halving, with untrained networks and random images.

    Each is measured in turns with its bare network evaluations: the teacher's forwards without
    gradient (stage one: one of the doubled batch; a halving: two) and the student's forward and
    backward. What remains is the target, the optimiser, the average and the batch.
    """
    models, images = _models(params, device), random_images(params)
    guide = method_of("guide").plan(models.teacher, guide_task(params), 0, {})
    task = replace(guide_task(params), steps=4, teacher_steps=8)
    halve = method_of("halve").plan(models.student, task, 0, {})
    both = 2 if params.network.conditional else 1
    teacher, above = models.teacher.network, models.student.network
    yield _measure(
        "stage one", params, device, images, guide,
        lambda: _forward(teacher, images, params.guide.batch_size * both, device), repeats,
    )  # fmt: skip
    yield _measure(
        "halving", params, device, images, halve,
        lambda: [_forward(above, images, params.halve.batch_size, device)
                 for _ in range(2)], repeats,
    )  # fmt: skip


def _models(params: Params, device: torch.device) -> Untrained:
    size = DataSize(classes=CLASSES, train=0, heldout=0, known=False)
    return untrained_models(params, size, device)


def bench_snapshots(params: Params, device: torch.device, repeats: int) -> SnapshotResult:
    """Time the snapshots of the student's training, written to the project's file system."""
    student = _models(params, device).student.network.requires_grad_(True)
    settings = Optimization.of(params.guide, repeats, 1e-5)
    images = random_images(params)
    work = Work(updates=repeats, batch_size=settings.batch_size, forwards=1)
    plan = Plan(
        network=student, objective=_squared_output, optimization=settings, info=None, work=work
    )
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".pdpipe-bench-") as folder:
        job = untracked_job(params, device, Path(folder))
        state = TrainState(plan, device)
        batch = make_batch(job, images, settings.batch_size, 0, False)
        update(job, state, batch)  # fills the optimiser's state
        times = [seconds(lambda: save_snapshot(job, state), device) for _ in range(repeats)]
    return SnapshotResult(statistics.median(times), params.runtime.snapshot_seconds)


def _squared_output(network: Network, batch: Batch) -> torch.Tensor:
    zeros = torch.zeros(len(batch.x), device=batch.x.device)
    prediction: torch.Tensor = network(batch.x, zeros, batch.given.at(zeros))
    return prediction.square().mean()


@torch.no_grad()
def _forward(network: Network, images: ImageSet, size: int, device: torch.device) -> None:
    network(*inputs(images, size, device))


def _measure(
    name: str,
    params: Params,
    device: torch.device,
    images: ImageSet,
    plan: Plan,
    teacher_forwards: Callable[[], object],
    repeats: int,
) -> BenchResult:
    settings = replace(plan.optimization, updates=repeats + 10, learning_rate=1e-5)
    state = TrainState(replace(plan, optimization=settings), device)
    student = state.network
    with tempfile.TemporaryDirectory() as folder:
        job = untracked_job(params, device, Path(folder))

        def whole() -> None:
            batch = make_batch(job, images, settings.batch_size, state.step, False)
            update(job, state, batch)

        def bare() -> None:
            teacher_forwards()
            student.zero_grad(set_to_none=True)
            out = student(*inputs(images, settings.batch_size, device))
            out.square().mean().backward()

        pairs = [(seconds(whole, device), seconds(bare, device)) for _ in range(repeats + 5)][5:]
    return BenchResult(
        name=name,
        update=statistics.median(a for a, _ in pairs),
        evaluations=statistics.median(b for _, b in pairs),
        **quartiles(pairs),
    )
