"""The sections of `params.yaml` as frozen, validated models.

Every field is required: what is not in the file would be invisible to `dvc params diff`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from pdpipe.errors import ParamsError
from pdpipe.files import digest
from pdpipe.params.checks import (
    check_digits,
    check_evaluation,
    check_ladder,
    check_network,
    check_path,
    check_report,
    check_source,
)
from pdpipe.params.networks import AnyNetworkParams
from pdpipe.params.section import (
    Batch,
    Count,
    Fraction,
    LearningRate,
    Positive,
    SamplerName,
    Section,
    Seed,
    Steps,
    Weight,
)

LossWeight = Literal["constant", "snr", "snr_truncated", "snr_plus_one"]
Parameterization = Literal["v", "x", "eps", "x_eps"]
MOST_THREADS = 1024  # more than any machine has; torch dies of thousands, without a word
FEW_STEPS = 8  # a cell of up to so many is cheap, and measured at `evaluation.seeds` seeds


class DataParams(Section):
    """Stage `prepare`: the source and its shards."""

    source: str
    path: str
    image_size: Annotated[int, Field(ge=4, le=2**12)]  # the classifier pools twice
    channels: Literal[1, 3]
    sixteen_bit: Literal["refuse", "scale"] = "refuse"  # grey images of 16 bits
    heldout_fraction: Annotated[float, Field(gt=0.0, le=0.5)]
    images_per_shard: Count

    @model_validator(mode="after")
    def _can_be_read(self) -> DataParams:
        check_source(self)
        check_path(self)
        return self


class ExtractorParams(Section):
    """Stage `extractor`: the small classifier whose features the metrics use."""

    source: Literal["auto", "train"] = "auto"  # files of earlier versions have none
    features: Annotated[int, Field(ge=1, le=2**13)]
    updates: Count
    batch_size: Batch
    learning_rate: LearningRate
    dropout: Fraction
    label_smoothing: Fraction
    min_accuracy: Annotated[float, Field(ge=0.0, le=1.0)]


class ScheduleParams(Section):
    """The noise schedule."""

    name: Literal["cosine", "linear_beta", "linear_log_snr"]
    log_snr_min: Annotated[float, Field(ge=-30.0, le=-5.0)]
    log_snr_max: Annotated[float, Field(ge=5.0, le=30.0)]


class OptimizerParams(Section):
    """What every diffusion training stage sets about its optimiser."""

    batch_size: Batch
    warmup: Annotated[int, Field(ge=0, le=10**9)]
    anneal: Annotated[float, Field(ge=0.0, le=1.0)]
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    weight_decay: Annotated[float, Field(ge=0.0, le=10.0)]
    grad_clip: Positive
    ema_decay: Fraction


class TeacherParams(OptimizerParams):
    """Stage `teacher`."""

    parameterization: Parameterization
    allow_unstable: bool
    loss_weight: LossWeight
    label_dropout: Fraction
    dropout: Fraction
    flip: bool
    updates: Count
    learning_rate: LearningRate


class GuideParams(OptimizerParams):
    """Stage `guide`: stage one of the distillation."""

    steps: Steps
    w_min: Weight
    w_max: Weight
    w_frequencies: Annotated[int, Field(ge=1, le=2**10)]
    loss_weight: LossWeight
    updates: Count
    learning_rate: LearningRate

    @model_validator(mode="after")
    def _ordered(self) -> GuideParams:
        if self.w_min > self.w_max:
            raise ParamsError(
                f"guide.w_min ({self.w_min}) is above guide.w_max ({self.w_max}): swap them"
            )
        return self


class HalveParams(OptimizerParams):
    """Stage `halve`: what all rungs of stage two share."""

    loss_weight: LossWeight


def _as_key(steps: object) -> object:
    """A step count without quotes, as a shell leaves it after `-S`, is the key that it names."""
    return str(steps) if type(steps) is int else steps


class RungParams(Section):
    """One rung of the ladder: a student distilled from the one at `from_` steps."""

    model_config = ConfigDict(populate_by_name=True)
    from_: Annotated[str, Field(alias="from"), BeforeValidator(_as_key)]
    updates: Count
    learning_rate: LearningRate


class EvaluationParams(Section):
    """The evaluation stages."""

    extractor: Literal["classifier", "inception-v3-compat"]
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{8,64}$")]
    num_samples: Annotated[int, Field(ge=4, le=10**8)]
    batch_size: Batch
    seed: Seed
    seeds: Annotated[int, Field(ge=1, le=1000)]
    w: Annotated[list[Weight], Field(min_length=1)]
    teacher_steps: Annotated[list[Steps], Field(min_length=1)]
    teacher_sampler: SamplerName
    clip: bool
    paired_samples: Count

    def places(self, steps: Iterable[int]) -> list[tuple[int, float]]:
        """(steps, w) of every cell at these step counts."""
        return [(n, w) for n in steps for w in self.w]

    def seeds_at(self, steps: int) -> int:
        """How many generation seeds a cell of so many steps is measured at."""
        return self.seeds if steps <= FEW_STEPS else 1

    @property
    def teacher_places(self) -> list[tuple[int, float]]:
        """(steps, w) of the teacher's cells, most steps first."""
        return self.places(sorted(self.teacher_steps, reverse=True))


class ReportParams(Section):
    """Stage `report`: the data set whose published figures stand beside this chain's."""

    published: Literal["none", "cifar10", "imagenet64"]


class RuntimeParams(Section):
    """Where and how it runs; `PDPIPE_<NAME>` in the environment overrides each field."""

    device: str
    threads: Annotated[int, Field(ge=0, le=MOST_THREADS)]
    workers: Annotated[int, Field(ge=0, le=MOST_THREADS)]
    precision: Literal["auto", "float32", "bfloat16"]
    compile: bool
    snapshot_seconds: Positive
    weights: str

    @property
    def weights_file(self) -> Path | None:
        """The file of Inception weights, a leading ~ followed; None: there is none."""
        return Path(os.path.expanduser(self.weights)) if self.weights else None  # noqa: PTH111


class Params(Section):
    """The whole of params.yaml."""

    seed: Seed
    data: DataParams
    extractor: ExtractorParams
    network: AnyNetworkParams
    schedule: ScheduleParams
    teacher: TeacherParams
    guide: GuideParams
    halve: HalveParams
    ladder: dict[str, RungParams]
    evaluation: EvaluationParams
    report: ReportParams
    runtime: RuntimeParams

    @model_validator(mode="after")
    def _combinations(self) -> Params:
        check_network(self)
        check_ladder(self)
        check_evaluation(self)
        check_report(self)
        check_digits(self.data)
        return self

    def rungs(self) -> list[int]:
        """The ladder's step counts, most steps first."""
        return sorted((int(key) for key in self.ladder), reverse=True)

    def student_steps(self) -> list[int]:
        """Every student's step count: the stage-one student's, then the rungs."""
        return [self.guide.steps, *self.rungs()]


def chain_params(params: Params) -> dict[str, Any]:
    """Everything in params that can change a figure, as plain values.

    That is all but `runtime`, and `report`, which chooses what is shown beside the figures.
    """
    return params.model_dump(exclude={"runtime", "report"}, by_alias=True)


def chain_id(params: Params, data_digest: str) -> str:
    """The identity of a chain: a digest (16 hex digits) of its params and of its data."""
    return digest({"params": chain_params(params), "data": data_digest})[:16]
