"""Train a model in a stage's run and write it: the same for the chain and for studies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pdpipe.cli.run import StageRun
from pdpipe.params import NetworkParams, TeacherParams
from pdpipe.runtime import needs_float32

if TYPE_CHECKING:
    from pdpipe.data import ImageSet
    from pdpipe.methods.method import Task
    from pdpipe.plan import Plan
    from pdpipe.training import Job


@dataclass(frozen=True)
class Output:
    """Where a trained model goes."""

    model: Path
    name: str = ""  # that it has in its file; "": as its method calls it
    cost: Path | None = None  # None: where the chain has it


def train_teacher(
    run: StageRun,
    images: ImageSet,
    teacher: TeacherParams,
    network: NetworkParams,
    seed: int,
    out: Output,
) -> None:
    """Train a teacher by these sections of params.yaml, and write it."""
    from pdpipe.methods.teacher import teacher_plan

    job = run.job(seed, exact=needs_float32(teacher.parameterization))
    shape, schedule = tuple(images.images.shape[1:]), run.params.schedule
    plan = teacher_plan(shape, images.classes, teacher, network, schedule, seed, run.provenance())
    _train(run, job, images, plan, out)


def train_student(
    run: StageRun, images: ImageSet, method: str, teacher: Path, task: Task, seed: int, out: Output
) -> None:
    """Distil the model at `teacher` by a method of the registry, and write the student."""
    from pdpipe.methods import method_of

    chosen, model = method_of(method), run.load(teacher)
    to_learn = task.steps if chosen.small_targets else 0
    job = run.job(seed, exact=needs_float32(model.info.parameterization, to_learn))
    _train(run, job, images, chosen.plan(model, task, seed, run.provenance()), out)


def _train(run: StageRun, job: Job, images: ImageSet, plan: Plan, out: Output) -> None:
    from pdpipe.models import ModelInfo, save_model
    from pdpipe.training import train

    trained, seconds = train(job, plan, images)
    assert isinstance(plan.info, ModelInfo)
    renamed: Mapping[str, str] = {"name": out.name} if out.name else {}
    save_model(out.model, trained, plan.info.model_copy(update=renamed))
    run.write_training_cost(plan.work, seconds, out.cost)
    run.outputs["model"] = out.model
