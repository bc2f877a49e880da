"""The stages that measure the models and report: read, call, write; the packages compute."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from pdpipe import layout
from pdpipe.cli.run import (
    EVALUATION_CODE,
    StageRun,
    check_rung,
    digest_input,
    load_images,
    read_stage_params,
    stage_run,
)
from pdpipe.params import Params, chain_id, chain_params
from pdpipe.runtime import machine

if TYPE_CHECKING:
    from torch import nn

    from pdpipe.evaluation.reference import Reference
    from pdpipe.reporting import Headline


def reference() -> None:
    """Stage `reference`."""
    params = read_stage_params()
    from pdpipe.evaluation.records import write_metrics
    from pdpipe.evaluation.reference import build_reference, floor_record, save_reference
    from pdpipe.files import digest_file
    from pdpipe.models import load_classifier

    train, heldout = load_images(params, "train"), load_images(params, "heldout")
    inputs = [layout.SHARDS, layout.EXTRACTOR]
    with stage_run("reference", "reference", params, {}, inputs, EVALUATION_CODE) as run:
        classifier, info = load_classifier(layout.EXTRACTOR, device=str(run.device))
        measured = build_reference(
            train,
            heldout,
            classifier,
            extractor_name=info.name,
            extractor_sha256=digest_file(layout.EXTRACTOR),
            device=run.device,
        )
        save_reference(layout.REFERENCE, measured)
        record = floor_record(measured)
        write_metrics(layout.metrics("floor"), record)
        run.outputs |= {"metrics": layout.metrics("floor"), "reference": layout.REFERENCE}
        run.final["floor_fid"] = record.floor.fid


def evaluate_teacher() -> None:
    """Stage `evaluate-teacher`."""
    params = read_stage_params()
    used = {"evaluation": params.evaluation.model_dump()}
    inputs = [layout.TEACHER, layout.EXTRACTOR, layout.REFERENCE]
    with stage_run("evaluate-teacher", "teacher", params, used, inputs, EVALUATION_CODE) as run:
        _evaluate(run, layout.TEACHER, "teacher", params.evaluation.teacher_places)


def evaluate_student(steps: int) -> None:
    """Stage `evaluate`: one student."""
    params = read_stage_params()
    check_rung(params, steps)
    name = f"student-{steps}"
    used = {"evaluation": params.evaluation.model_dump(), "steps": steps}
    inputs = [layout.student(steps), layout.EXTRACTOR, layout.REFERENCE, layout.samples("teacher")]
    with stage_run(f"evaluate@{steps}", name, params, used, inputs, EVALUATION_CODE) as run:
        _evaluate(run, layout.student(steps), name, params.evaluation.places([steps]))


def _evaluate(run: StageRun, model_path: Path, name: str, places: list[tuple[int, float]]) -> None:
    from pdpipe.evaluation.cells import CellStore, load_paired, save_samples
    from pdpipe.evaluation.evaluate import evaluate_model
    from pdpipe.evaluation.records import CostRecord, Machine, write_cost, write_metrics
    from pdpipe.models import Sampling

    settings, student = run.params.evaluation, name != "teacher"
    model = run.load(model_path)
    classifier, measured_with = load_instruments(run)
    found = evaluate_model(
        model,
        classifier,
        measured_with,
        settings,
        places,
        CellStore(run.work),
        load_paired(layout.samples("teacher"), settings.w) if student else None,
        Sampling("ddim" if student else settings.teacher_sampler),
    )
    full = None if student else found.at(max(steps for steps, _ in places))
    save_samples(layout.samples(name), found.cells, found.classes, full)
    write_metrics(layout.metrics(name), found.metrics)
    cost = CostRecord(
        stage=f"evaluate-{name}",
        seconds=time.monotonic() - run.started,
        machine=Machine.model_validate(machine(run.device)),
        cells=found.costs,
    )
    write_cost(layout.cost(f"evaluate-{name}"), cost)
    run.outputs |= {"metrics": layout.metrics(name), "samples": layout.samples(name)}
    for cell in found.metrics.cells:
        run.final[f"fid/steps_{cell.steps}/w_{cell.w:g}"] = cell.fid


def load_instruments(run: StageRun) -> tuple[nn.Module, Reference]:
    """The extractor, on the run's device, and the real side that was measured with it."""
    from pdpipe.evaluation.reference import load_reference
    from pdpipe.files import digest_file
    from pdpipe.models import load_classifier

    classifier, _ = load_classifier(layout.EXTRACTOR, device=str(run.device))
    reference = load_reference(layout.REFERENCE, extractor_sha256=digest_file(layout.EXTRACTOR))
    return classifier, reference


def report() -> None:
    """Stage `report`; the chain's run over the stages' runs is made here."""
    params = read_stage_params()
    from pdpipe.reporting import write_report
    from pdpipe.tracking import publish_chain

    outputs = main_outputs(params)
    used = {
        "ladder": chain_params(params)["ladder"],
        "evaluation": params.evaluation.model_dump(),
        "schedule": params.schedule.model_dump(),
    }
    code = ["diffusion", "reporting"]
    inputs = [*outputs.values(), layout.STUDIES]
    with stage_run("report", "report", params, used, inputs, code) as run:
        found = write_report(params, layout.RESULTS, layout.REPORTS, layout.STUDIES)
        print(found.sentence)
        run.outputs["metrics"] = layout.REPORTS / "metrics.json"
        run.final |= found.metrics
    publish_chain(
        chain_id(params, digest_input(layout.SHARDS)),
        chain_params(params),
        {stage: digest_input(path) for stage, path in outputs.items()}
        | {"report": digest_input(layout.REPORTS / "metrics.json")},
        found.metrics,
        [layout.REPORTS],
        table=_headline_markdown(found),
    )


def _headline_markdown(found: Headline) -> str:
    """The headline and its table, as the chain's run shows them."""
    columns = list(found.table)
    rows = zip(*found.table.values(), strict=True)
    lines = [columns, ["---"] * len(columns)]
    lines += [["-" if v is None else f"{v:.4g}" for v in row] for row in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{found.sentence}\n\n{found.figure}\n\n{table}"


def main_outputs(params: Params) -> dict[str, Path]:
    """{stage: its main output}, by whose digest the run that made it is found."""
    rungs = params.rungs()
    return {
        "prepare": layout.SHARDS,
        "extractor": layout.EXTRACTOR,
        "reference": layout.metrics("floor"),
        "teacher": layout.TEACHER,
        "guide": layout.student(params.guide.steps),
        **{f"halve@{n}": layout.student(n) for n in rungs},
        "evaluate-teacher": layout.metrics("teacher"),
        **{f"evaluate@{n}": layout.metrics(f"student-{n}") for n in rungs},
    }
