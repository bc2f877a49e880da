"""The stages that make the data and the models: read, call, write; the packages compute."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from pdpipe.params import NetworkParams, Params, TeacherParams
    from pdpipe.pipeline import Stage
    from pdpipe.plan import Plan
    from pdpipe.training import Job


def prepare() -> None:
    """Write the training and held-out images as webdataset shards, with a manifest."""
    params = read_stage_params()
    from pdpipe.progress import Progress
    from pdpipe.sources import open_source, write_shards

    source = open_source(params.data)  # a wrong source is refused before anything starts
    say_notes(*source.notes())  # first: what is left out may be why the rest does not suffice
    check_source(source, params)
    used = {"seed": params.seed, "data": params.data.model_dump()}
    with stage_run(pipeline.PREPARE, params, used) as run:
        with Progress("prepare", len(source), "images") as progress:
            manifest = write_shards(
                source, params.data, params.seed, layout.SHARDS, lambda _: progress.advance()
            )
        run.write_stage_cost(len(source), 0)
        run.outputs.append(layout.SHARDS)
        run.final |= {f"{name}_images": float(s.count) for name, s in manifest.splits.items()}


def extractor() -> None:
    """Train the small classifier that FID and IS use, or take the one in the package."""
    params = read_stage_params()
    shipped = shipped_extractor(params.data.source, params.extractor.source)
    used = {"seed": params.seed, "extractor": params.extractor.model_dump()}
    with stage_run(pipeline.EXTRACTOR, params, used) as run:
        accuracy = _train_extractor(run) if shipped is None else _take_extractor(run, shipped)
        run.outputs.append(layout.EXTRACTOR)
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
    train_teacher(pipeline.TEACHER, params, params.teacher, params.network, params.seed)


def guide() -> None:
    """Stage one: distil the guided teacher, at every guidance weight w, into one student."""
    params = read_stage_params()
    from pdpipe.methods.tasks import guide_task

    used = {"seed": params.seed, "guide": params.guide.model_dump()}
    train_student(pipeline.guide(params), params, used, "guide", guide_task(params))


def halve(steps: Steps) -> None:
    """Stage two: distil the previous student of the ladder into one of fewer steps."""
    params = read_stage_params()
    check_rung(params, steps)
    from pdpipe.methods.tasks import rung_task

    used = {
        "seed": params.seed,
        "halve": params.halve.model_dump(),
        "rung": {"steps": steps, **params.ladder[str(steps)].model_dump(by_alias=True)},
    }
    stage, task = pipeline.halve(params, steps), rung_task(params, steps)
    train_student(stage, params, used, "halve", task)


def train_teacher(
    stage: Stage, params: Params, teacher: TeacherParams, network: NetworkParams, seed: int
) -> None:
    """Train a teacher of the chain or of a study by these sections of params, and write it."""
    images, schedule = load_images(params, "train"), params.schedule
    used = {
        "seed": seed,
        "teacher": teacher.model_dump(),
        "network": network.model_dump(),
        "schedule": schedule.model_dump(),
    }
    with stage_run(stage, params, used) as run:
        from pdpipe.methods.teacher import teacher_plan

        job, shape = run.job(seed, needs_float32(teacher.parameterization)), images.images.shape[1:]
        about = run.provenance()
        plan = teacher_plan(tuple(shape), images.classes, teacher, network, schedule, seed, about)
        _train(run, job, images, plan)


def train_student(
    stage: Stage, params: Params, used: dict[str, Any], method: str, task: Task
) -> None:
    """Distil the stage's second input by a method of the registry, and write the student.

    `used` holds the settings that determine the result, among them the `seed`.
    """
    images, seed = load_images(params, "train"), used["seed"]
    with stage_run(stage, params, used) as run:
        from pdpipe.methods import method_of

        chosen, teacher = method_of(method), run.load(stage.inputs[1])
        to_learn = task.steps if chosen.small_targets else 0
        job = run.job(seed, needs_float32(teacher.info.parameterization, to_learn))
        _train(run, job, images, chosen.plan(teacher, task, seed, run.provenance()))


def _train(run: StageRun, job: Job, images: ImageSet, plan: Plan) -> None:
    """Train, and write the model, which is called as its file is."""
    from pdpipe.models import ModelInfo, save_model
    from pdpipe.training import train

    trained, seconds = train(job, plan, images)
    assert isinstance(plan.info, ModelInfo)
    out = run.stage.outputs[0]
    save_model(out, trained, plan.info.model_copy(update={"name": out.stem}))
    run.write_training_cost(plan.work, seconds)
    run.outputs.append(out)
