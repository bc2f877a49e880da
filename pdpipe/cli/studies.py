"""The stages of a study: measure an arm, and conclude for the report."""

from __future__ import annotations

import time

from pdpipe import layout
from pdpipe.cli.evaluations import cell_store, load_instruments
from pdpipe.cli.run import EVALUATION_CODE, read_stage_params, stage_run
from pdpipe.errors import ParamsError, did_you_mean
from pdpipe.params import read_study
from pdpipe.runtime import machine


def measure(study: str, arm: str) -> None:
    """Stage `measure` of a study: one of its arms."""
    params = read_stage_params()
    check_study(study)
    arms = read_study(layout.study_params(study), params).arms
    if arm not in arms:
        raise ParamsError(f"study {study} has no arm {arm!r}: {did_you_mean(arm, arms)}")
    chosen = arms[arm]
    from pdpipe.evaluation.arms import ArmCost, ArmRecord, measure_arm
    from pdpipe.evaluation.records import Machine, write_cost, write_metrics
    from pdpipe.evaluation.sheets import load_paired

    model_path = layout.model(chosen.model)
    inputs = [model_path, layout.EXTRACTOR, layout.REFERENCE, layout.samples("teacher")]
    used = {"arm": chosen.model_dump(), "evaluation": params.evaluation.model_dump()}
    name = f"{study}.measure@{arm}"
    with stage_run(name, f"{study}-{arm}", params, used, inputs, EVALUATION_CODE) as run:
        model = run.load(model_path)
        store = cell_store(run, model.sha256)
        paired = load_paired(layout.samples("teacher"), chosen.w)
        records, costs = measure_arm(
            model, load_instruments(run), params.evaluation, chosen, store.folder, paired
        )
        write_metrics(
            layout.study_metrics(study, arm), ArmRecord(arm=arm, nfe=chosen.nfe, records=records)
        )
        cost = ArmCost(
            arm=arm,
            seconds=time.monotonic() - run.started,
            machine=Machine.model_validate(machine(run.device)),
            costs=costs,
        )
        write_cost(layout.study_cost(study, arm), cost)
        store.forget_others()
        run.outputs["metrics"] = layout.study_metrics(study, arm)
        run.final["lowest_fid"] = min(cell.fid for record in records for cell in record.cells)


def conclude(study: str) -> None:
    """Stage `conclude` of a study: its table, and its entry among the studies that were run."""
    params = read_stage_params()
    check_study(study)
    settings = read_study(layout.study_params(study), params)
    from pdpipe.evaluation.arms import ArmCost, ArmRecord
    from pdpipe.evaluation.records import read_record
    from pdpipe.reporting.studies import write_study

    inputs = [layout.study_metrics(study, arm) for arm in settings.arms]
    again = f"dvc repro stages/{study}/dvc.yaml"
    name = f"{study}.conclude"
    with stage_run(name, study, params, settings.model_dump(), inputs, ["reporting"]) as run:
        arms = {
            arm: (
                read_record(layout.study_metrics(study, arm), ArmRecord, again),
                read_record(layout.study_cost(study, arm), ArmCost, again),
            )
            for arm in settings.arms
        }
        write_study(study, settings.question, arms, layout.study_table(study), layout.STUDIES)
        run.outputs["table"] = layout.study_table(study)


def check_study(study: str) -> None:
    """Refuse a name that is no folder of stages/ with params in it."""
    known = sorted(path.parent.name for path in layout.STUDIES.parent.glob("*/params.yaml"))
    if study not in known:
        raise ParamsError(f"there is no study {study!r}: {did_you_mean(study, known)}")
