"""The stages that measure the models and report: read, call, write; the packages compute."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdpipe import layout, pipeline
from pdpipe.cli import overview
from pdpipe.cli.run import (
    StageRun,
    Steps,
    check_rung,
    digest_input,
    load_images,
    read_stage_params,
    stage_run,
)
from pdpipe.files import digest, digest_file
from pdpipe.runtime import machine

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdpipe.evaluation.observe import Instruments
    from pdpipe.evaluation.store import CellStore
    from pdpipe.models import DiffusionModel
    from pdpipe.params import Params


def reference() -> None:
    """Measure the real images once: what metrics compare with, and the held-out images."""
    params = read_stage_params()
    from pdpipe.evaluation.measure import floor_record
    from pdpipe.evaluation.records import write_record
    from pdpipe.evaluation.reference import build_reference, save_reference
    from pdpipe.evaluation.sheets import save_real

    train, heldout = load_images(params, "train"), load_images(params, "heldout")
    used = {"extractor": params.evaluation.extractor}
    with stage_run(pipeline.REFERENCE, params, used) as run:
        extractor = load_extractor(run)
        measured = build_reference(
            train,
            heldout,
            extractor.network,
            extractor.judge,
            extractor_name=extractor.name,
            extractor_sha256=extractor.sha256,
            device=run.device,
        )
        save_reference(layout.REFERENCE, measured)
        record = floor_record(measured)
        write_record(layout.metrics("floor"), record)
        save_real(layout.samples("real"), heldout)
        judged = 0 if extractor.judge is extractor.network else len(heldout)
        images = len(train) + len(heldout)
        run.write_stage_cost(images, images + judged)
        run.outputs += pipeline.REFERENCE.outputs[:-1]
        run.final["floor_fid"] = record.floor.fid


def rungs(
    steps: Annotated[
        int | None, typer.Option(help="Only the student of this step count; print, write nothing.")
    ] = None,
) -> None:
    """Measure how far each student is from its own teacher: where quality is lost."""
    params = read_stage_params()
    from pdpipe.evaluation.records import write_record
    from pdpipe.rungs import measure_rungs, rungs_of

    chosen = rungs_of(params)
    if steps is not None:
        check_rung(params, steps)
        chosen = [rung for rung in chosen if rung.steps == steps]
    heldout = load_images(params, "heldout")
    names = dict.fromkeys(name for rung in chosen for name in (rung.teacher, rung.student))
    inputs = [layout.SHARDS, *map(layout.model, names)]
    used = {
        "evaluation": params.evaluation.model_dump(),
        "loss_weights": [params.guide.loss_weight, params.halve.loss_weight],
        "steps": steps,
    }
    with stage_run(pipeline.rungs(params), params, used, inputs) as run:
        evaluations = 0  # images through the models' networks

        def count(_network: nn.Module, _args: object, out: Tensor) -> None:
            nonlocal evaluations
            evaluations += len(out)

        def load(name: str) -> DiffusionModel:
            model = run.load(layout.model(name), exact=True)
            model.network.register_forward_hook(count)
            return model

        found = measure_rungs(chosen, load, heldout, params)
        for rung in found.rungs:
            drifts = ", ".join(f"{d.mse:.2g} at w = {d.w:g}" for d in rung.drifts)
            print(f"{rung.student} from {rung.teacher}: loss {rung.loss:.3g}; drift {drifts}")
            run.final[f"loss/{rung.student}"] = rung.loss
        if steps is None:
            write_record(layout.metrics("rungs"), found)
            run.write_stage_cost(found.images, evaluations)
            run.outputs.append(layout.metrics("rungs"))


def evaluate_teacher() -> None:
    """Measure the teacher at every step count and guidance weight of the settings."""
    params = read_stage_params()
    used = {"evaluation": params.evaluation.model_dump()}
    with stage_run(pipeline.EVALUATE_TEACHER, params, used) as run:
        _evaluate(run, params.evaluation.teacher_places)


def evaluate(steps: Steps) -> None:
    """Measure one student at every guidance weight of the settings."""
    params = read_stage_params()
    check_rung(params, steps)
    used = {"evaluation": params.evaluation.model_dump(), "steps": steps}
    with stage_run(pipeline.evaluate(steps), params, used) as run:
        _evaluate(run, params.evaluation.places([steps]))


def _evaluate(run: StageRun, places: list[tuple[int, float]]) -> None:
    """Measure the stage's first input, at places (sampling steps, w)."""
    from pdpipe.evaluation.evaluate import evaluate_model
    from pdpipe.evaluation.records import CostRecord, Machine, write_record
    from pdpipe.evaluation.sheets import load_paired, save_samples
    from pdpipe.models import Sampling

    settings, student = run.params.evaluation, run.stage is not pipeline.EVALUATE_TEACHER
    model, (metrics, samples, cost) = run.load(run.stage.inputs[0]), run.stage.outputs
    store = cell_store(run, model)
    found = evaluate_model(
        model,
        load_instruments(run),
        settings,
        places,
        store,
        load_paired(layout.samples("teacher"), settings.w) if student else None,
        Sampling.called("ddim" if student else settings.teacher_sampler),
    )
    full = None if student else found.at(max(steps for steps, _ in places))
    per_class = settings.num_samples // len(found.classes)
    save_samples(samples, found.cells, found.classes, per_class, full)
    write_record(metrics, found.metrics)
    record = CostRecord(
        stage=f"evaluate-{run.stage.makes}",
        seconds=time.monotonic() - run.started + found.earlier_seconds,
        machine=Machine.model_validate(machine(run.device)),
        cells=found.costs,
        **run.made(),
    )
    write_record(cost, record)
    store.forget_others()
    run.outputs += [metrics, samples]
    for cell in found.metrics.cells:
        # The curves of the run are against sampling steps.
        run.tracker.log(cell.steps, overview.cell_figures(found.metrics.protocol, cell))
    for steps, w, picture in overview.sample_grids(run.stage.makes):
        run.tracker.log_image(steps, f"samples/w_{w:g}", picture)


def cell_store(run: StageRun, model: DiffusionModel) -> CellStore:
    """Where a run's finished cells are kept, for it to go on and for later cells to be added.

    The folder belongs to all that a cell depends on but its place: so not to the lists of weights
    and step counts, nor to the number of seeds, nor to the teacher's images, which are compared
    with anew.
    """
    from pdpipe.evaluation.records import versions
    from pdpipe.evaluation.store import CellStore

    settings = run.params.evaluation.model_dump(exclude={"w", "teacher_steps", "seeds"})
    instruments = [digest_input(layout.EXTRACTOR), digest_input(layout.REFERENCE)]
    machine_part = [versions(), run.device.type, model.precision]
    key = digest([model.sha256, settings, instruments, run.code, machine_part])
    return CellStore(layout.WORK / "cells" / run.stage.makes / key[:32])


@dataclass(frozen=True)
class LoadedExtractor:
    """The feature network that the params name, on the run's device, and the labels' judge."""

    network: nn.Module
    judge: nn.Module
    name: str
    sha256: str


def load_extractor(run: StageRun) -> LoadedExtractor:
    """Stage `extractor`'s classifier, or the Inception network beside it as the judge."""
    from pdpipe.models import load_classifier

    classifier, info = load_classifier(layout.EXTRACTOR, device=str(run.device))
    settings, runtime = run.params.evaluation, run.params.runtime
    if settings.extractor == "classifier":
        return LoadedExtractor(classifier, classifier, info.name, digest_file(layout.EXTRACTOR))
    from pdpipe.evaluation.inception import load_inception

    path = runtime.weights_file
    network, sha256 = load_inception(path, settings.weights_sha256)
    print(f"{settings.extractor}: {path}, sha256 {sha256}")
    return LoadedExtractor(network.to(run.device), classifier, settings.extractor, sha256)


def load_instruments(run: StageRun) -> Instruments:
    """The extractor and the judge, and the real side that was measured with them."""
    from pdpipe.evaluation.observe import Instruments
    from pdpipe.evaluation.reference import load_reference

    extractor = load_extractor(run)
    reference = load_reference(layout.REFERENCE, extractor_sha256=extractor.sha256)
    return Instruments(extractor.network, extractor.judge, reference, run.device)


def report() -> None:
    """Write reports/: tables, curves, sample grids, one HTML page."""
    params = read_stage_params()
    from pdpipe.params import chain_params
    from pdpipe.reporting import write_report

    outputs = main_outputs(params)
    used = {
        "ladder": chain_params(params)["ladder"],
        "evaluation": params.evaluation.model_dump(),
        "report": params.report.model_dump(),
        "schedule": params.schedule.model_dump(),
    }
    inputs = [*outputs.values(), layout.STUDIES]
    with stage_run(pipeline.REPORT, params, used, inputs) as run:
        found = write_report(params, layout.RESULTS, layout.REPORTS, layout.STUDIES)
        print(found.sentence)
        run.outputs.append(layout.REPORTS / "metrics.json")
        run.final |= overview.saved(found)
        run.chain = overview.chain(params, found, outputs)


def main_outputs(params: Params) -> dict[str, Path]:
    """{stage: its main output} of all before the report; its digest finds the run that made it."""
    stages = pipeline.chain(params)
    return {name: stage.outputs[0] for name, stage in stages.items() if name != "report"}
