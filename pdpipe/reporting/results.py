"""What the chain in params.yaml measured and spent, read from its own files and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pdpipe import layout
from pdpipe.errors import EvaluationError
from pdpipe.evaluation.records import (
    CostRecord,
    Extractor,
    FloorRecord,
    MetricsRecord,
    Protocol,
    RungsRecord,
    StageCostRecord,
    TrainingCostRecord,
    read_record,
)
from pdpipe.params import Params
from pdpipe.reporting import formats

OTHER_STAGES = ("prepare", "reference", "rungs")  # neither a training nor a model's cells
# What has to be equal for two figures to compare; the sampler may differ, and is a column.
COMPARABLE = (
    "extractor",
    "num_fake",
    "num_real",
    "real_split",
    "balance",
    "quantization",
    "is_splits",
    "precision",
    "seed",
    "clip",
)


@dataclass(frozen=True, kw_only=True)
class Results:
    """The records of one chain: exactly the cells that params.yaml asks for.

    `students` goes by step count, most first; `training`, `evaluation` and `other`, the costs, are
    in chain order.
    """

    floor: FloorRecord
    teacher: MetricsRecord
    students: dict[int, MetricsRecord]
    rungs: RungsRecord
    training: list[TrainingCostRecord]
    evaluation: list[CostRecord]
    other: list[StageCostRecord]

    @property
    def models(self) -> list[MetricsRecord]:
        """The teacher, then the students, most steps first."""
        return [self.teacher, *self.students.values()]

    @property
    def digests(self) -> dict[str, str]:
        """{path: sha256} of the models, of all they were made from, and of the `extractor`."""
        found = {"extractor": self.teacher.protocol.extractor.sha256}
        for metrics in self.models:
            found |= metrics.model.made_from
            found[layout.model(metrics.model.name).as_posix()] = metrics.model.sha256
        return found


def read_results(params: Params, results_dir: Path) -> Results:
    """The results of the ladder in `params`; files of other rungs are never looked at.

    Raises:
        EvaluationError: a file is missing, damaged, lacks a cell that params asks for, or was
            measured in another way than the rest.
    """
    metrics_dir, cost_dir = results_dir / "metrics", results_dir / "cost"
    floor_path = metrics_dir / "floor.json"
    floor = read_record(floor_path, FloorRecord)
    teacher_path = metrics_dir / "teacher.json"
    teacher = _read_model(teacher_path, params.evaluation.teacher_steps, params)
    _check_extractor(floor_path, floor, teacher)
    students = {}
    for steps in params.rungs():
        path = metrics_dir / f"{layout.student(steps).stem}.json"
        students[steps] = _read_model(path, [steps], params)
        _check_comparable(path, students[steps].protocol, teacher_path, teacher.protocol)
    trained = ["extractor", "teacher", *(layout.student(n).stem for n in params.student_steps())]
    evaluated = ["teacher", *(layout.student(n).stem for n in params.rungs())]
    return Results(
        floor=floor,
        teacher=teacher,
        students=students,
        rungs=read_record(metrics_dir / "rungs.json", RungsRecord),
        training=[read_record(cost_dir / f"{name}.json", TrainingCostRecord) for name in trained],
        evaluation=[
            read_record(cost_dir / f"evaluate-{name}.json", CostRecord) for name in evaluated
        ],
        other=[read_record(cost_dir / f"{name}.json", StageCostRecord) for name in OTHER_STAGES],
    )


def _read_model(path: Path, steps: Sequence[int], params: Params) -> MetricsRecord:
    """The metrics in `path`, cut to the cells `steps` x evaluation.w, all of which are there."""
    metrics = read_record(path, MetricsRecord)
    if metrics.model.name != path.stem:
        raise EvaluationError(
            f"{path} holds the figures of {metrics.model.name}, not of {path.stem}: "
            "run `dvc repro`, which measures it again"
        )
    wanted = {(n, w) for n in steps for w in params.evaluation.w}
    for n, w in sorted(wanted - {(cell.steps, cell.w) for cell in metrics.cells}):
        raise EvaluationError(
            f"{path} has no cell for {formats.steps(n)} at {formats.weight(w)}, which params.yaml "
            "asks for: run `dvc repro`, which measures it"
        )
    cells = [cell for cell in metrics.cells if (cell.steps, cell.w) in wanted]
    return metrics.model_copy(update={"cells": cells})


def _check_extractor(path: Path, floor: FloorRecord, teacher: MetricsRecord) -> None:
    ours, other = floor.protocol.extractor, teacher.protocol.extractor
    if ours != other:
        raise EvaluationError(
            f"{path} was measured with the extractor {_short(ours)}, the teacher with "
            f"{_short(other)}: run `dvc repro`, which measures both alike"
        )


def _check_comparable(path: Path, ours: Protocol, teacher_path: Path, other: Protocol) -> None:
    """Raise `EvaluationError` if the figures of the two files do not compare."""
    for key in COMPARABLE:
        mine, theirs = getattr(ours, key), getattr(other, key)
        if mine != theirs:
            raise EvaluationError(
                f"{path} has protocol.{key} {_short(mine)} where {teacher_path} has "
                f"{_short(theirs)}, so their figures do not compare: run `dvc repro`, which "
                "measures both alike"
            )


def _short(value: object) -> str:
    if isinstance(value, Extractor):
        return f"{value.name} ({value.sha256[:8]})"
    return repr(value)
