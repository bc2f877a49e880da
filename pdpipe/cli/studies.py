"""The stages of a study: train its models, measure an arm, and conclude for the report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pdpipe import layout, pipeline
from pdpipe.cli.evaluations import cell_store, load_instruments, main_outputs
from pdpipe.cli.run import (
    StageRun,
    digest_input,
    load_images,
    project_params,
    read_stage_params,
    stage_run,
)
from pdpipe.cli.stages import train_student, train_teacher
from pdpipe.errors import ParamsError, StudyError, did_you_mean
from pdpipe.files import digest_file, write_json
from pdpipe.runtime import machine

if TYPE_CHECKING:
    from pdpipe.data import ImageSet
    from pdpipe.params import Params, StudyParams, TransferParams
    from pdpipe.studies.coding import Rig
    from pdpipe.studies.reconstruction import Row

Study = Annotated[str, typer.Argument(help="A folder of stages/, such as baselines.")]
Key = Annotated[str, typer.Argument(help="A key of the study's params.")]
_Entry = TypeVar("_Entry")


def study(
    study: Study,
    pull: Annotated[
        bool, typer.Option(help="Take from DVC's remote what is there, instead of making it.")
    ] = False,
) -> None:
    """Run a study, after what it needs of the chain: what is up to date already stays."""
    params, settings = _read(study)
    _check_other_studies(study, settings)
    from pdpipe.studies import run_study

    makers = {path: stage for stage, path in main_outputs(params).items()}
    stages = [makers[path] for path in _files_of_chain(settings)]
    stages += ["extractor", "reference", "evaluate-teacher"] if settings.arms else ["extractor"]
    run_study(study, stages, encoders=settings.reconstruction is not None, pull=pull)
    print(f"study {study} is up to date: `dvc repro` takes it up in the report")


def _check_other_studies(study: str, settings: StudyParams) -> None:
    """Refuse a model of another study that is not there."""
    for path in _models(settings):
        maker = layout.study_of(path)
        if maker not in (None, study) and not path.is_file():
            raise StudyError(
                f"study {study} uses {path}, which is not there: run `pdpipe study {maker}` first"
            )


def _check_chain(study: str, settings: StudyParams) -> None:
    """Refuse to go on without the chain's files, as in the folder of an experiment's own."""
    missing = [path for path in _files_of_chain(settings) if not path.exists()]
    if missing and layout.in_experiment():
        raise StudyError(
            "an experiment of a study needs the chain's files, which git does not hold: leave out "
            "--temp and --queue, and run it where `pdpipe study` runs"
        )
    if missing:
        raise StudyError(
            f"study {study} uses {missing[0]}, which is not there: run `pdpipe study {study}`"
        )


def code(study: Study) -> None:
    """Write the digests of the code that a study's other stages depend on."""
    from pdpipe.projects.package import check_package

    _, settings = _read(study)  # they wait for this one: it says what DVC would stumble over
    check_package()
    _check_other_studies(study, settings)
    _check_chain(study, settings)
    for part in pipeline.STUDY_CODE:
        write_json(layout.study_code(study, part), pipeline.study_digests(part))


def teach(study: Study, key: Key) -> None:
    """Train one of a study's own teachers."""
    from pdpipe.params import teacher_settings

    params, settings = read_settings(study)
    taught = _entry(study, "teacher", key, settings.teachers)
    teacher, network = teacher_settings(taught, params, f"teachers.{key}")
    seed = params.seed if taught.seed is None else taught.seed
    train_teacher(pipeline.teach(study, key), params, teacher, network, seed)


def distil(study: Study, key: Key) -> None:
    """Distil one of a study's students, by any of the papers' algorithms."""
    from pdpipe.params import guide_settings, halve_settings

    params, settings = read_settings(study)
    student = _entry(study, "student", key, settings.students)
    guide = guide_settings(student, params, f"students.{key}")
    halve = halve_settings(student, params, f"students.{key}")
    seed = params.seed if student.seed is None else student.seed
    from pdpipe.methods.tasks import study_task

    stage_one = student.algorithm == "guide"
    used = {
        "seed": seed,
        "student": student.model_dump(by_alias=True),
        "settings": (guide if stage_one else halve).model_dump(),
        "w": [guide.w_frequencies, guide.w_max],
    }
    stage, task = pipeline.distil(study, key, student.from_), study_task(student, guide, halve)
    train_student(stage, params, used, student.algorithm, task)


def read_settings(study: str) -> tuple[Params, StudyParams]:
    """The main params and the study's."""
    return _read(study, read_stage_params())


def _read(study: str, params: Params | None = None) -> tuple[Params, StudyParams]:
    from pdpipe.params import read_study

    known = sorted(path.parent.name for path in layout.STUDIES.parent.glob("*/params.yaml"))
    if not known:
        raise ParamsError("there are no studies in stages/ here: change to the project's folder")
    if study not in known:
        raise ParamsError(f"there is no study {study!r}: {did_you_mean(study, known)}")
    params = params or project_params()
    return params, read_study(layout.study_params(study), params)


def _entry(study: str, kind: str, key: str, known: Mapping[str, _Entry]) -> _Entry:
    """What a study's params say under a key."""
    if key not in known:
        options = did_you_mean(key, known) if known else "it trains none"
        raise ParamsError(f"study {study} has no {kind} {key!r}: {options}")
    return known[key]


def measure(
    study: Study, arm: Annotated[str, typer.Argument(help="A key of its params' arms.")]
) -> None:
    """Measure one arm of a study on the chain's models."""
    params, settings = read_settings(study)
    chosen = _entry(study, "arm", arm, settings.arms)
    from pdpipe.evaluation.records import Machine, write_record
    from pdpipe.evaluation.sheets import load_paired
    from pdpipe.studies.arms import ArmCost, ArmRecord, measure_arm

    used = {"arm": chosen.model_dump(), "evaluation": params.evaluation.model_dump()}
    with stage_run(pipeline.measure(study, arm, chosen.model), params, used) as run:
        model = run.load(run.stage.inputs[0])
        store = cell_store(run, model)
        paired = load_paired(layout.samples("teacher"), chosen.w)
        records, costs, earlier = measure_arm(
            model, load_instruments(run), params.evaluation, chosen, store.folder, paired
        )
        record = ArmRecord(arm=arm, method=chosen.method, nfe=chosen.nfe, records=records)
        write_record(run.stage.outputs[0], record)
        cost = ArmCost(
            arm=arm,
            seconds=time.monotonic() - run.started + earlier,
            machine=Machine.model_validate(machine(run.device)),
            costs=costs,
        )
        write_record(run.stage.outputs[1], cost)
        store.forget_others()
        run.outputs.append(run.stage.outputs[0])
        run.final["lowest_fid"] = min(cell.fid for record in records for cell in record.cells)


def reconstruct(study: Study) -> None:
    """Lead held-out images to noise and back, by a study's encoders, and across classes."""
    params, settings = read_settings(study)
    asked, transfer = settings.reconstruction, settings.transfer
    if asked is None:
        raise ParamsError(
            f"study {study} reconstructs nothing: add a section `reconstruction` to "
            f"{layout.study_params(study)}, or measure its arms with `pdpipe measure`"
        )
    from pdpipe.evaluation.records import write_record
    from pdpipe.studies.reconstruction import (
        ReconstructionRecord,
        check_transfer,
        measure_reconstruction,
    )

    heldout = load_images(params, "heldout")
    used = {
        "study": settings.model_dump(include={"baseline", "reconstruction", "transfer"}),
        "evaluation": params.evaluation.model_dump(),
    }
    with stage_run(pipeline.reconstruct(study, settings), params, used) as run:
        rig = _rig(run)
        if transfer is not None:
            check_transfer(rig, transfer)  # before what takes long
        rows = measure_reconstruction(rig, heldout, asked, settings.baseline)
        if transfer is not None:
            rows += _transfer(run, rig, heldout, transfer)
        record = ReconstructionRecord(
            baseline=settings.baseline,
            judge=rig.judge.name,
            judge_sha256=rig.judge.sha256,
            clip=params.evaluation.clip,
            seed=params.evaluation.seed,
            rows=rows,
        )
        write_record(run.stage.outputs[0], record)
        run.outputs.insert(0, run.stage.outputs[0])
        run.final["lowest_mse"] = min(row.mse for row in rows if row.part == "reconstruction")


def _rig(run: StageRun) -> Rig:
    """The stage's models, which are its inputs after the shards and the extractor, its judge."""
    from pdpipe.models import load_classifier
    from pdpipe.studies.coding import Judge, Rig

    classifier, info = load_classifier(layout.EXTRACTOR, device=str(run.device))
    return Rig(
        models={path.as_posix(): run.load(path, exact=True) for path in run.stage.inputs[2:]},
        judge=Judge(classifier, info.name, digest_file(layout.EXTRACTOR)),
        settings=run.params.evaluation,
    )


def _transfer(run: StageRun, rig: Rig, heldout: ImageSet, transfer: TransferParams) -> list[Row]:
    """The rows of the style transfer, whose picture is written."""
    from pdpipe.studies.reconstruction import measure_transfer, save_pictures

    rows, blocks = measure_transfer(rig, heldout, transfer)
    out = run.stage.outputs[1]
    named = [[heldout.classes[label] for label in pair] for pair in transfer.pairs]
    save_pictures(
        out,
        blocks,
        title="Style transfer",
        shows=f"the same images, encoded by {rig.name(transfer.encoder)}, and decoded as another "
        f"class by {rig.name(transfer.decoder)}",
        rows=[f"{source} → {target}" for source, target in named],
        columns=["source", *(f"w = {w:g}" for w in transfer.w)],
    )
    run.outputs.append(out)
    return rows


def conclude(study: Study) -> None:
    """Gather a study's measurements, for the report to take up."""
    params, settings = read_settings(study)
    from filelock import FileLock

    encoders = settings.reconstruction is not None
    stage = pipeline.conclude(study, settings)
    with stage_run(stage, params, settings.model_dump()) as run:
        used = {path.as_posix(): digest_input(path) for path in _files_of_chain(settings)}
        if encoders and params.evaluation.extractor == "classifier":
            used["extractor"] = digest_input(layout.EXTRACTOR)  # it judged the images
        about = settings.model_dump(include={"title", "question", "baseline"})
        about["made_from"] = used
        layout.WORK.mkdir(exist_ok=True)
        with FileLock(layout.WORK / "studies.lock"):  # studies may run at once, and share a file
            (_conclude_reconstruction if encoders else _conclude_arms)(study, settings, about)
        run.outputs.append(layout.study_table(study))


def _conclude_arms(study: str, settings: StudyParams, about: dict[str, Any]) -> None:
    from pdpipe.evaluation.records import read_record
    from pdpipe.reporting.studies import write_study
    from pdpipe.studies.arms import ArmCost, ArmRecord

    again = f"pdpipe study {study}"
    arms = {
        arm: (
            read_record(layout.study_metrics(study, arm), ArmRecord, again),
            read_record(layout.study_cost(study, arm), ArmCost, again),
        )
        for arm in settings.arms
    }
    write_study(study, about, arms, layout.study_table(study), layout.STUDIES)


def _conclude_reconstruction(study: str, settings: StudyParams, about: dict[str, Any]) -> None:
    from pdpipe.evaluation.records import read_record
    from pdpipe.reporting.studies import write_reconstruction
    from pdpipe.studies.reconstruction import ReconstructionRecord

    again = f"pdpipe study {study}"
    record = read_record(layout.study_reconstruction(study), ReconstructionRecord, again)
    images = None if settings.transfer is None else layout.study_images(study)
    table = layout.study_table(study)
    write_reconstruction(study, about, record, images, table, layout.STUDIES)


def _files_of_chain(settings: StudyParams) -> list[Path]:
    """The main chain's files that a study trains on, distils from or measures."""
    of_chain = [path for path in _models(settings) if path.parts[0] != "stages"]
    if settings.teachers or settings.students or settings.reconstruction is not None:
        of_chain.insert(0, layout.SHARDS)
    return of_chain


def _models(settings: StudyParams) -> list[Path]:
    """Every model, of whomever, that a study distils from or measures."""
    from pdpipe.params import models_of

    models = {student.from_ for student in settings.students.values()}
    models |= {arm.model for arm in settings.arms.values()}
    if settings.reconstruction is not None:
        models |= set(models_of(settings.reconstruction, settings.transfer).values())
    return [Path(model) for model in sorted(models)]
