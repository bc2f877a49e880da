"""The stages that make the data and the models: read, call, write; the packages compute."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from pdpipe import layout
from pdpipe.cli.checking import check_source, say_notes
from pdpipe.cli.run import (
    DATA_CODE,
    TRAINING_CODE,
    StageRun,
    check_rung,
    load_images,
    read_stage_params,
    stage_run,
)
from pdpipe.extractors import shipped_extractor, trained_name
from pdpipe.files import replacing
from pdpipe.progress import Progress
from pdpipe.runtime import needs_float32


def prepare() -> None:
    """Stage `prepare`."""
    params = read_stage_params()
    from pdpipe.data import open_source, write_shards

    source = open_source(params.data)  # a wrong source is refused before anything starts
    say_notes(source.notes())  # first: what is left out may be why the rest does not suffice
    check_source(source, params)
    used = {"seed": params.seed, "data": params.data.model_dump()}
    with stage_run("prepare", "data", params, used, [], DATA_CODE) as run:
        with Progress("prepare", len(source), "images") as progress:
            manifest = write_shards(
                source, params.data, params.seed, layout.SHARDS, lambda _: progress.advance()
            )
        run.write_stage_cost("prepare", len(source), 0)
        run.outputs["shards"] = layout.SHARDS
        run.final |= {f"{name}_images": float(s.count) for name, s in manifest.splits.items()}


def extractor() -> None:
    """Stage `extractor`: the one that comes with pdpipe for these data, or else one is trained."""
    params = read_stage_params()
    shipped = shipped_extractor(params.data.source, params.extractor.source)
    used = {"seed": params.seed, "extractor": params.extractor.model_dump()}
    code = [*TRAINING_CODE, "extractors"]
    with stage_run("extractor", "extractor", params, used, [layout.SHARDS], code) as run:
        accuracy = _train_extractor(run) if shipped is None else _take_extractor(run, shipped)
        run.outputs["extractor"] = layout.EXTRACTOR
        run.final["heldout_accuracy"] = accuracy


def _train_extractor(run: StageRun) -> float:
    """The held-out accuracy of the extractor that it trains and writes."""
    from pdpipe.models import save_classifier
    from pdpipe.training import train_extractor

    params = run.params
    train, heldout = load_images(params, "train"), load_images(params, "heldout")
    name = trained_name(params.data.source)
    network, info, cost = train_extractor(
        run.job(), train, heldout, params.extractor, name, run.provenance()
    )
    save_classifier(layout.EXTRACTOR, network, info)
    run.write_training_cost(cost)
    return info.heldout_accuracy


def _take_extractor(run: StageRun, shipped: Path) -> float:
    """The held-out accuracy of a shipped extractor, which it copies, byte for byte."""
    from pdpipe.models import load_classifier
    from pdpipe.training.work import extractor_work

    _, info = load_classifier(shipped, device="cpu")  # a damaged file is refused
    with replacing(layout.EXTRACTOR) as temporary:
        shutil.copyfile(shipped, temporary)
    seconds = time.monotonic() - run.started
    run.write_training_cost(extractor_work(run.params.extractor, shipped=True).cost(seconds))
    print(f"extractor: {info.name}, which comes with pdpipe for {run.params.data.source}")
    return info.heldout_accuracy


def teacher() -> None:
    """Stage `teacher`."""
    params = read_stage_params()
    from pdpipe.models import save_model
    from pdpipe.training import train_teacher

    train = load_images(params, "train")
    used = {
        "seed": params.seed,
        "teacher": params.teacher.model_dump(),
        "network": params.network.model_dump(),
        "schedule": params.schedule.model_dump(),
    }
    with stage_run("teacher", "teacher", params, used, [layout.SHARDS], TRAINING_CODE) as run:
        network, info, cost = train_teacher(
            run.job(exact=needs_float32(params.teacher.parameterization)),
            train,
            params.teacher,
            params.network,
            params.schedule,
            run.provenance(),
        )
        save_model(layout.TEACHER, network, info)
        run.write_training_cost(cost)
        run.outputs["model"] = layout.TEACHER


def guide() -> None:
    """Stage `guide`."""
    params = read_stage_params()
    from pdpipe.models import save_model
    from pdpipe.training import train_guide

    train = load_images(params, "train")
    used = {"seed": params.seed, "guide": params.guide.model_dump()}
    name, out = f"student-{params.guide.steps}", layout.student(params.guide.steps)
    inputs = [layout.SHARDS, layout.TEACHER]
    with stage_run("guide", name, params, used, inputs, TRAINING_CODE) as run:
        model = run.load(layout.TEACHER)
        job = run.job(exact=needs_float32(model.info.parameterization))
        network, info, cost = train_guide(job, train, model, params.guide, run.provenance())
        save_model(out, network, info)
        run.write_training_cost(cost)
        run.outputs["model"] = out


def halve(steps: int) -> None:
    """Stage `halve`: one rung of the ladder."""
    params = read_stage_params()
    check_rung(params, steps)
    from pdpipe.models import save_model
    from pdpipe.training import train_halving

    train = load_images(params, "train")
    rung = params.ladder[str(steps)]
    used = {
        "seed": params.seed,
        "halve": params.halve.model_dump(),
        "rung": {"steps": steps, **rung.model_dump(by_alias=True)},
    }
    above, out = layout.student(rung.from_), layout.student(steps)
    inputs = [layout.SHARDS, above]
    with stage_run(
        f"halve@{steps}", f"student-{steps}", params, used, inputs, TRAINING_CODE
    ) as run:
        model = run.load(above)
        job = run.job(exact=needs_float32(model.info.parameterization, steps))
        network, info, cost = train_halving(
            job, train, model, steps, rung, params.halve, run.provenance()
        )
        save_model(out, network, info)
        run.write_training_cost(cost)
        run.outputs["model"] = out
