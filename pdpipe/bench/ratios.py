"""What updates and samplers cost beyond their network evaluations: ratios, measured in one run."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pdpipe.bench.setting import CLASSES, inputs, random_images, seconds, training, untrained
from pdpipe.bench.untrained import DataSize, untrained_models
from pdpipe.diffusion import SAMPLERS, Sampler, build_schedule, uniform_grid
from pdpipe.errors import counted
from pdpipe.methods import method_of
from pdpipe.methods.tasks import guide_task
from pdpipe.models import DiffusionModel, Predictor
from pdpipe.params import Params
from pdpipe.plan import Plan
from pdpipe.training.resume import save_snapshot

SIZE = DataSize(classes=CLASSES, train=0, heldout=0, known=False)
STEPS = 8  # of each sampler


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A time over the time of the bare network evaluations in it, from measurements in turns."""

    name: str
    ratio: float  # median of the paired ratios
    low: float  # first quartile of them
    high: float  # third quartile

    def spelled(self) -> str:
        """`ratio 1.012 (quartiles 0.974 to 1.038)`."""
        return f"ratio {self.ratio:.3f} (quartiles {self.low:.3f} to {self.high:.3f})"


def quartiles(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """The fields of `Ratio` from the two times of each pair."""
    low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
    return {"ratio": middle, "low": low, "high": high}


@dataclass(frozen=True, kw_only=True)
class BenchResult(Ratio):
    """Median seconds of an update and of its network evaluations alone, measured in turns."""

    update: float
    evaluations: float

    def __str__(self) -> str:
        return (
            f"{self.name}: update {self.update * 1e3:.1f} ms, its teacher forwards and student "
            f"forward + backward alone {self.evaluations * 1e3:.1f} ms, {self.spelled()}"
        )


def bench_updates(params: Params, device: torch.device, repeats: int) -> Iterator[BenchResult]:
    """Time the updates of stage one and of a halving, with untrained networks and random images.

    Each is measured in turns with its bare network evaluations: the teacher's forwards without
    gradient (stage one: one of the doubled batch; a halving: two) and the student's forward and
    backward. What remains is the target, the optimiser, the average and the batch.
    """
    models = untrained_models(params, SIZE, device)
    of_first = guide_task(params)
    first = method_of("guide").plan(models.teacher, of_first, 0, {})
    rung = method_of("halve").plan(
        models.student, replace(of_first, steps=4, teacher_steps=8), 0, {}
    )
    both = 2 if params.network.conditional else 1
    forwards = [params.guide.batch_size * both]
    yield _measure("stage one", first, models.teacher, forwards, params, repeats)
    forwards = [params.halve.batch_size] * 2
    yield _measure("halving", rung, models.student, forwards, params, repeats)


def _measure(
    name: str,
    plan: Plan,
    teacher: DiffusionModel,
    forwards: list[int],  # images of each of the teacher's
    params: Params,
    repeats: int,
) -> BenchResult:
    size, images, device = plan.optimization.batch_size, random_images(params), teacher.device
    with training(plan, params, device, images) as (_, state, one_update):

        def bare() -> None:
            with torch.no_grad():
                for several in forwards:
                    teacher.network(*inputs(images, several, device))
            state.network.zero_grad(set_to_none=True)
            state.network(*inputs(images, size, device)).square().mean().backward()

        pairs = [
            (seconds(lambda: one_update(size), device), seconds(bare, device))
            for _ in range(repeats + 5)
        ][5:]
    update, evaluations = map(statistics.median, zip(*pairs, strict=True))
    return BenchResult(name=name, update=update, evaluations=evaluations, **quartiles(pairs))


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


def bench_snapshots(params: Params, device: torch.device, repeats: int) -> SnapshotResult:
    """Time the snapshots of stage one, written to the project's file system."""
    teacher = untrained_models(params, SIZE, device).teacher
    plan = method_of("guide").plan(teacher, guide_task(params), 0, {})
    with training(plan, params, device, random_images(params), Path.cwd()) as (job, state, update):
        update(plan.optimization.batch_size)  # fills the optimiser's state
        times = [seconds(lambda: save_snapshot(job, state), device) for _ in range(repeats)]
    return SnapshotResult(statistics.median(times), params.runtime.snapshot_seconds)


@dataclass(frozen=True, kw_only=True)
class SamplerResult(Ratio):
    """A sampler's time over that of as many bare network evaluations, measured in turns."""

    evaluations: int

    def __str__(self) -> str:
        return f"sampler {self.name}: {counted(self.evaluations, 'evaluation')}, {self.spelled()}"


@torch.inference_mode()
def bench_samplers(params: Params, device: torch.device, repeats: int) -> Iterator[SamplerResult]:
    """Time every sampler on an untrained network, a batch of `evaluation.batch_size` images."""
    network = untrained(params).to(device).eval()
    schedule = build_schedule(**params.schedule.model_dump())
    batch = inputs(random_images(params), params.evaluation.batch_size, device)
    denoiser = Predictor(network, schedule, params.teacher.parameterization).denoiser(batch[2])
    grid, noise = uniform_grid(STEPS), torch.Generator(device).manual_seed(0)
    for name, make in SAMPLERS.items():
        sampler = make(schedule)
        count = sampler.final(denoiser, batch[0], grid, noise).evaluations

        def whole(sampler: Sampler = sampler) -> None:
            sampler.sample(denoiser, batch[0], grid, noise)

        def bare(count: int = count) -> None:
            for _ in range(count):
                network(*batch)

        pairs = [(seconds(whole, device), seconds(bare, device)) for _ in range(repeats)]
        yield SamplerResult(name=name, evaluations=count, **quartiles(pairs))
