"""What an update costs beyond its network evaluations, measured as a ratio in one run."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from pdpipe.bench.setting import (
    Ratio,
    config_of,
    inputs,
    quartiles,
    random_images,
    seconds,
    untracked_job,
)
from pdpipe.data import ImageSet
from pdpipe.diffusion import build_schedule
from pdpipe.models import guided_teacher, w_student
from pdpipe.networks import UNet
from pdpipe.params import OptimizerParams, Params
from pdpipe.training.guide import guide_objective, student_of
from pdpipe.training.halve import halving_objective
from pdpipe.training.job import Batch, Objective
from pdpipe.training.loop import make_batch, update
from pdpipe.training.optimization import optimization
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
    images = random_images(params)
    teacher = UNet(config_of(params)).to(device).eval().requires_grad_(False)
    student = student_of(teacher, params.guide.w_frequencies, params.guide.w_max).to(device)
    above = student_of(teacher, params.guide.w_frequencies, params.guide.w_max)
    above = above.to(device).eval().requires_grad_(False)
    schedule = build_schedule(**params.schedule.model_dump())
    w_range = (params.guide.w_min, params.guide.w_max)
    kind = params.teacher.parameterization
    stage_one = guide_objective(
        guided_teacher(teacher, schedule, kind), schedule, kind, params.guide.loss_weight, w_range
    )
    halving = halving_objective(
        w_student(above, schedule, kind), schedule, kind, params.halve.loss_weight, w_range, 4, 2
    )
    both = 2 if params.network.conditional else 1
    yield _measure(
        "stage one", params, device, images, student, stage_one, params.guide,
        lambda: _forward(teacher, images, params.guide.batch_size * both, device), repeats,
    )  # fmt: skip
    yield _measure(
        "halving", params, device, images, student, halving, params.halve,
        lambda: [_forward(above, images, params.halve.batch_size, device)
                 for _ in range(2)], repeats,
    )  # fmt: skip


def bench_snapshots(params: Params, device: torch.device, repeats: int) -> SnapshotResult:
    """Time the snapshots of the student's training, written to the project's file system."""
    teacher = UNet(config_of(params)).to(device)
    student = student_of(teacher, params.guide.w_frequencies, params.guide.w_max).to(device)
    settings = optimization(params.guide, repeats, 1e-5)
    images = random_images(params)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".pdpipe-bench-") as folder:
        job = untracked_job(params, device, Path(folder))
        state = TrainState(student, settings, device)
        batch = make_batch(job, images, settings.batch_size, 0, False)
        update(job, state, _squared_output, batch, settings)  # fills the optimiser's state
        times = [seconds(lambda: save_snapshot(job, state), device) for _ in range(repeats)]
    return SnapshotResult(statistics.median(times), params.runtime.snapshot_seconds)


def _squared_output(network: UNet, batch: Batch) -> torch.Tensor:
    zeros = torch.zeros(len(batch.x), device=batch.x.device)
    loss: torch.Tensor = network(batch.x, zeros, batch.labels, zeros).square().mean()
    return loss


@torch.no_grad()
def _forward(network: UNet, images: ImageSet, size: int, device: torch.device) -> None:
    network(*inputs(images, size, device))


def _measure(
    name: str,
    params: Params,
    device: torch.device,
    images: ImageSet,
    student: UNet,
    objective: Objective,
    section: OptimizerParams,
    teacher_forwards: Callable[[], object],
    repeats: int,
) -> BenchResult:
    settings = optimization(section, repeats + 10, 1e-5)
    state = TrainState(student, settings, device)
    with tempfile.TemporaryDirectory() as folder:
        job = untracked_job(params, device, Path(folder))

        def whole() -> None:
            batch = make_batch(job, images, settings.batch_size, state.step, False)
            update(job, state, objective, batch, settings)

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
