"""The stages that make the data and the models: read, call, write; the packages compute."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pdpipe import layout, pipeline
from pdpipe.cli.checking import check_source, say_notes
from pdpipe.cli.run import (
    StageRun,
    Steps,
    check_rung,
    load_images,
    read_stage_params,
    stage_run,
)
from pdpipe.extractors import shipped_extractor, trained_name
from pdpipe.files import replacing
from pdpipe.runtime import needs_float32

if TYPE_CHECKING:
    from pdpipe.data import ImageSet
    from pdpipe.methods.method import Task
    from pdpipe.params import NetworkParams, TeacherParams
    from pdpipe.plan import Plan
    from pdpipe.training import Job


def prepare() -> None:
    """Turn the data source into webdataset shards, train and held-out, with a manifest."""
    params = read_stage_params()
    from pdpipe.progress import Progress
    from pdpipe.sources import open_source, write_shards

    source = open_source(params.data)  # a wrong source is refused before anything starts
    say_notes(source.notes())  # first: what is left out may be why the rest does not suffice
    check_source(source, params)
    used = {"seed": params.seed, "data": params.data.model_dump()}
    with stage_run(pipeline.PREPARE, params, used) as run:
        with Progress("prepare", len(source), "images") as progress:
            manifest = write_shards(
                source, params.data, params.seed, layout.SHARDS, lambda _: progress.advance()
            )
        run.write_stage_cost("prepare", len(source), 0)
        run.outputs["shards"] = layout.SHARDS
        run.final |= {f"{name}_images": float(s.count) for name, s in manifest.splits.items()}


def extractor() -> None:
    """Train the small classifier whose features stand behind FID and IS."""
    params = read_stage_params()
    shipped = shipped_extractor(params.data.source, params.extractor.source)
    used = {"seed": params.seed, "extractor": params.extractor.model_dump()}
    with stage_run(pipeline.EXTRACTOR, params, used) as run:
        accuracy = _train_extractor(run) if shipped is None else _take_extractor(run, shipped)
        run.outputs["extractor"] = layout.EXTRACTOR
        run.final["heldout_accuracy"] = accuracy


def _train_extractor(run: StageRun) -> float:
    """The held-out accuracy of the extractor that it trains and writes."""
    from pdpipe.methods.extractor import extractor_info, extractor_plan
    from pdpipe.models import save_classifier
    from pdpipe.training import train

    params, settings = run.params, run.params.extractor
    images, heldout = load_images(params, "train"), load_images(params, "heldout")
    channels, classes = images.images.shape[1], len(images.classes)
    plan = extractor_plan(channels, classes, settings, params.seed)
    trained, seconds = train(run.job(params.seed), plan, images)
    name = trained_name(params.data.source)
    info = extractor_info(trained, heldout, name, settings.min_accuracy, run.provenance())
    save_classifier(layout.EXTRACTOR, trained, info)
    run.write_training_cost(plan.work, seconds)
    return info.heldout_accuracy


def _take_extractor(run: StageRun, shipped: Path) -> float:
    """The held-out accuracy of a shipped extractor, which it copies, byte for byte."""
    from pdpipe.methods.extractor import extractor_work
    from pdpipe.models import load_classifier

    _, info = load_classifier(shipped, device="cpu")  # a damaged file is refused
    with replacing(layout.EXTRACTOR) as temporary:
        shutil.copyfile(shipped, temporary)
    work = extractor_work(run.params.extractor, shipped=True)
    run.write_training_cost(work, time.monotonic() - run.started)
    print(f"extractor: {info.name}, which comes with pdpipe for {run.params.data.source}")
    return info.heldout_accuracy


def teacher() -> None:
    """Train the teacher: class-conditional, ready for classifier-free guidance."""
    params = read_stage_params()
    images = load_images(params, "train")
    used = {
        "seed": params.seed,
        "teacher": params.teacher.model_dump(),
        "network": params.network.model_dump(),
        "schedule": params.schedule.model_dump(),
    }
    with stage_run(pipeline.TEACHER, params, used) as run:
        out = Output(layout.TEACHER)
        train_teacher(run, images, params.teacher, params.network, params.seed, out)


def guide() -> None:
    """Stage one: distil the guided teacher, at every w, into one student."""
    params = read_stage_params()
    from pdpipe.methods.tasks import guide_task

    images = load_images(params, "train")
    used = {"seed": params.seed, "guide": params.guide.model_dump()}
    task, out = guide_task(params), layout.student(params.guide.steps)
    with stage_run(pipeline.guide(params), params, used) as run:
        train_student(run, images, "guide", layout.TEACHER, task, params.seed, Output(out))


def halve(steps: Steps) -> None:
    """Stage two: distil the student above this rung into one of fewer steps."""
    params = read_stage_params()
    check_rung(params, steps)
    from pdpipe.methods.tasks import rung_task

    images = load_images(params, "train")
    rung = params.ladder[str(steps)]
    used = {
        "seed": params.seed,
        "halve": params.halve.model_dump(),
        "rung": {"steps": steps, **rung.model_dump(by_alias=True)},
    }
    above, out = layout.student(rung.from_), layout.student(steps)
    task = rung_task(params, steps)
    with stage_run(pipeline.halve(params, steps), params, used) as run:
        train_student(run, images, "halve", above, task, params.seed, Output(out))


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
