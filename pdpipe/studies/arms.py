"""One arm of a study: a model of the chain, measured with one sampler at equal evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch import Tensor

from pdpipe.evaluation.evaluate import evaluate_model
from pdpipe.evaluation.observe import Instruments
from pdpipe.evaluation.records import CellCost, Count, Machine, MetricsRecord, Record
from pdpipe.evaluation.store import CellStore
from pdpipe.models import DiffusionModel, Sampling, most_steps
from pdpipe.params import ArmParams, EvaluationParams


class ArmRecord(Record):
    """stages/<study>/results/<arm>.json: a record for each setting of the sampler."""

    arm: str
    method: str  # in the report
    nfe: list[Count]  # most network evaluations an image, where those were asked for
    records: Annotated[list[MetricsRecord], Field(min_length=1)]


class ArmCost(Record):
    """stages/<study>/cost/<arm>.json: the cells' costs, for each setting of the sampler."""

    arm: str
    seconds: Annotated[float, Field(ge=0.0)]
    machine: Machine
    costs: list[list[CellCost]]


def samplings(arm: ArmParams) -> list[Sampling]:
    """The arm's sampler at each of its settings."""
    if arm.gammas is None:
        return [Sampling(arm.sampler, grid=arm.grid)]
    return [Sampling(arm.sampler, gamma=gamma, grid=arm.grid) for gamma in arm.gammas]


def places_within(
    model: DiffusionModel, sampling: Sampling, arm: ArmParams, *, clip: bool
) -> list[tuple[int, float]]:
    """(steps, w) of the arm's cells: the most steps within each number of evaluations an image.

    A guided teacher evaluates its network twice where a student does once; where not even one
    step is within the number, one step is taken. An arm that lists steps has exactly those.
    """
    if arm.steps:
        return [(steps, w) for steps in arm.steps for w in arm.w]
    sampler = sampling.sampler(model.schedule, clip=clip)
    found = [
        (most_steps(sampler, max(nfe // model.evaluations_per_step(w), 1)), w)
        for nfe in arm.nfe
        for w in arm.w
    ]
    return list(dict.fromkeys(found))


def measure_arm(
    model: DiffusionModel,
    instruments: Instruments,
    settings: EvaluationParams,
    arm: ArmParams,
    work: Path,
    paired: dict[float, Tensor],
) -> tuple[list[MetricsRecord], list[list[CellCost]], float]:
    """The records and costs of an arm, one for each setting of its sampler; and earlier seconds.

    These are what earlier runs took for the cells that are in the store.

    Args:
        model: the arm's.
        instruments: to measure with.
        settings: section `evaluation` of the main params.yaml.
        arm: what to measure.
        work: a folder for finished cells, to go on with after an interruption or at other cells.
        paired: the teacher's full-count images at each w, (p, C, H, W).

    Raises:
        EvaluationError: the images cannot be measured.
        ModelError, SamplerError: the model cannot be sampled so.
    """
    records, costs, earlier = [], [], 0.0
    for sampling in samplings(arm):
        found = evaluate_model(
            model,
            instruments,
            settings,
            places_within(model, sampling, arm, clip=settings.clip),
            CellStore(work / sampling.label),
            paired,
            sampling,
        )
        records.append(found.metrics)
        costs.append(found.costs)
        earlier += found.earlier_seconds
    return records, costs, earlier
