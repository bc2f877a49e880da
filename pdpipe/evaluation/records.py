"""The files that evaluation leaves: metrics, which reproduce bit for bit, and costs, which do not.

Every record is validated when it is built and when it is read: unknown or missing fields, wrong
types, ranges and NaN raise `EvaluationError`, one sentence. Floats are kept to 6 significant
digits, so that a result is the same text when only its rounding errors differ.
"""

from __future__ import annotations

from importlib.metadata import version
from keyword import iskeyword
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    create_model,
    model_validator,
)

from pdpipe.errors import EvaluationError, brief, counted
from pdpipe.evaluation.metrics import METRICS
from pdpipe.files import parse_json, sealed, unsealed, write_json

SIGNIFICANT_DIGITS = 6
LIBRARIES = ("numpy", "scipy", "torch", "torch-fidelity")  # that a figure passes through
BALANCED_LABELS = "equal counts per class"
STRATIFIED_SPLIT = "stratified split"
ROUNDED = "uint8, rounded"
JACKKNIFE_GROUPS = 10
JACKKNIFE_DOF = JACKKNIFE_GROUPS - 1
JACKKNIFE = f"jackknife over {JACKKNIFE_GROUPS} groups of the images, balanced as the whole is"
NEAREST_SAMPLES = 2000  # of each cell, whose nearest training image is sought
GUIDANCE = "x_hat_w = (1 + w) x_hat_c - w x_hat_u"

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Record(BaseModel):
    """A part of a metrics or cost file: immutable, no coercion, no unknown fields, no NaN."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, populate_by_name=True
    )

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = ".".join([cls.__name__, *map(str, problem["loc"])])
            raise EvaluationError(
                f"{where}: {problem['msg'][:1].lower()}{problem['msg'][1:]}, got "
                f"{_shortened(problem.get('input'))}: evaluate again; if it stays, train again"
            ) from None

    def plain(self) -> dict[str, Any]:
        """Its JSON value: the file's names, in the file's order, floats rounded."""
        rounded = round_floats(self.model_dump(by_alias=True))
        assert isinstance(rounded, dict)
        return rounded


def round_floats(value: Any) -> Any:
    """`value` (plain JSON data) with every float at 6 significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    if isinstance(value, dict):
        return {key: round_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [round_floats(item) for item in value]
    return value


def _shortened(value: Any, length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= length else text[: length - 1] + "…"


def versions() -> dict[str, str]:
    """{library: its version}; of torch without the mark of its build, such as +cpu."""
    return {name: version(name).partition("+")[0] for name in LIBRARIES}


def with_metrics(base: type[Record]) -> type[Record]:
    """A record with a field for each metric, and for its standard error, after those of `base`."""
    fields: dict[str, Any] = {}
    for key, metric in METRICS.items():
        value = Annotated[float, Field(ge=metric.least, le=metric.most)]
        default = None if metric.new else ...
        name = f"{key}_" if iskeyword(key) else key
        fields[name] = (value | None if metric.new else value, Field(default, alias=key))
        fields[f"{key}_se"] = (NotNegative | None, default)
    return create_model(base.__name__, __base__=base, __module__=__name__, **fields)


class Extractor(Record):
    """The feature network behind FID and the inception score."""

    name: str
    sha256: Sha256  # of its file
    features: Count  # a sample
    heldout_accuracy: Share | None  # None: it does not know the data's classes


class MeasuredModel(Record):
    """The model that was measured."""

    name: str
    kind: Literal["teacher", "student"]
    sha256: Sha256  # of its file
    made_from: dict[str, str]  # {path: sha256} of what it was trained on, and distilled from
    weights: str  # ema or raw
    parameters: Count


class Protocol(Record):
    """How the numbers of a model were made: figures compare only where this is equal."""

    extractor: Extractor
    sampler: str
    gamma: Share | None = None  # of the ancestral sampler
    grid: Literal["uniform", "ddpm"] = "uniform"  # ddpm: DDPM's 1000 steps, respaced
    clip: bool
    seed: Annotated[int, Field(ge=0)]
    seeds: Count = 1  # generation seeds of a cell of few steps; its own `seeds` says of which
    num_fake: Count  # of a cell at one seed
    num_real: Count
    real_split: str = "train"
    balance: str = BALANCED_LABELS
    quantization: str = ROUNDED
    standard_errors: str = JACKKNIFE  # of cells at one seed; of several, the spread of their mean
    is_splits: Count
    paired_with: str
    paired_samples: Count
    nearest_samples: Count
    guidance: str = GUIDANCE
    device: str  # cpu, cuda or mps
    precision: Literal["float32", "bfloat16"]
    libraries: dict[str, str]  # versions of those that a figure passes through


class _Place(Record):
    steps: Count
    w: NotNegative
    nfe: Count  # network evaluations a sample
    seeds: Count = 1  # generation seeds: of several, the figures are means over them
    se_dof: Count = JACKKNIFE_DOF  # degrees of freedom of the standard errors, for Student's t


class Cell(with_metrics(_Place)):  # type: ignore[misc]
    """What was measured at one step count and guidance weight.

    Beside its place it has a field for each of `METRICS` and, ending in `_se`, for its standard
    error; None: too few samples for one, or a file from before there was the metric.
    """

    accuracy: Share | None  # None: the model takes no labels
    paired_mse: NotNegative
    nearest_median: NotNegative
    nearest_close: Share


class MetricsRecord(Record):
    """results/metrics/{teacher,student-N}.json."""

    model: MeasuredModel
    protocol: Protocol
    cells: Annotated[list[Cell], Field(min_length=1)]

    @model_validator(mode="after")
    def _once(self) -> Self:
        _check_once(self.model.name, self.cells)
        return self


class FloorProtocol(Record):
    """How the floor was made."""

    extractor: Extractor
    num_heldout: Count
    num_train: Count
    balance: str = STRATIFIED_SPLIT
    standard_errors: str = JACKKNIFE
    libraries: dict[str, str]


class Floor(with_metrics(Record)):  # type: ignore[misc]
    """Held-out real images, measured against the training images as a model's are."""

    is_train: NotNegative  # of the training images
    accuracy_heldout: Share
    nearest_median: NotNegative
    nearest_close: Share
    nearest_threshold: NotNegative  # what counts as close, for the models too

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_called(cls, data: Any) -> Any:
        """The inception score by its names in earlier files."""
        names = {"is_heldout": "is", "is_heldout_se": "is_se"}
        if isinstance(data, dict) and "is" not in data:
            return {names.get(name, name): value for name, value in data.items()}
        return data


class FloorRecord(Record):
    """results/metrics/floor.json."""

    protocol: FloorProtocol
    floor: Floor


class Machine(Record):
    """Where a cost was measured; whatever else is known of it is kept."""

    model_config = ConfigDict(extra="allow")

    device: str
    name: str
    threads: Count
    torch: str
    pdpipe: str
    platform: str


class CellCost(Record):
    """What making the images of one cell cost."""

    steps: Count
    w: NotNegative
    nfe: Count
    seconds: NotNegative
    seconds_per_image: NotNegative


class _Cost(Record):
    stage: str
    seconds: NotNegative  # with those that earlier runs took for finished cells and parts
    machine: Machine
    # Files of earlier versions lack these two.
    made: str | None = Field(None, exclude_if=lambda found: found is None)  # 2026-11-29 05:30 UTC
    commit: str | None = Field(None, exclude_if=lambda found: found is None)  # a + after it: edited


class CostRecord(_Cost):
    """results/cost/evaluate-{teacher,student-N}.json."""

    cells: Annotated[list[CellCost], Field(min_length=1)]

    @model_validator(mode="after")
    def _once(self) -> Self:
        _check_once(self.stage, self.cells)
        return self


class TrainingCostRecord(_Cost):
    """results/cost/{extractor,teacher,student-N}.json, as the training stages write it."""

    updates: Annotated[int, Field(ge=0)]  # 0: an extractor that came with pdpipe
    batch_size: Count
    images_seen: Annotated[int, Field(ge=0)]
    network_evaluations: Annotated[int, Field(ge=0)]


class StageCostRecord(_Cost):
    """results/cost/{prepare,reference,rungs}.json: neither a training nor a model's cells."""

    images: Count  # written, measured or made
    network_evaluations: Annotated[int, Field(ge=0)]


class Drift(Record):
    """How far a student's images are from its own teacher's at one w, from the same noise."""

    w: NotNegative
    mse: NotNegative  # over pixels in [-1, 1], both clamped


class RungDistance(Record):
    """How well one student reproduces the teacher that it was distilled from."""

    student: str
    teacher: str
    steps: Count  # of the student
    teacher_steps: Count
    loss: NotNegative  # of its own algorithm, on held-out images, at random t and w
    drifts: Annotated[list[Drift], Field(min_length=1)]


class RungsProtocol(Record):
    """How the distances of the rungs were made."""

    seed: Annotated[int, Field(ge=0)]
    heldout_images: Count
    draws: Count  # of t, w and noise for each held-out image
    samples: Count  # images of each drift
    clip: bool
    device: str


class RungsRecord(Record):
    """results/metrics/rungs.json: stage one first, then the halvings, most steps first."""

    protocol: RungsProtocol
    rungs: Annotated[list[RungDistance], Field(min_length=1)]

    @property
    def images(self) -> int:
        """Images made for the drifts: a model's, once for each step count and w."""
        made = {
            (name, steps, drift.w)
            for rung in self.rungs
            for name, steps in ((rung.student, rung.steps), (rung.teacher, rung.teacher_steps))
            for drift in rung.drifts
        }
        return len(made) * self.protocol.samples


AnyRecord = TypeVar("AnyRecord", bound=Record)


def write_record(path: Path, record: Record) -> None:
    """Write a metrics or cost file with its digest, atomically; equal records give equal bytes."""
    write_json(path, sealed(record.plain()))


def read_record(path: Path, kind: type[AnyRecord], mend: str = "dvc repro") -> AnyRecord:
    """The record in a metrics or cost file, which the command `mend` makes.

    Raises:
        EvaluationError: the file is missing, damaged, or holds another kind of record.
    """
    try:
        return kind.model_validate(unsealed(parse_json(path.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        raise EvaluationError(f"{path} does not exist: run `{mend}`, which makes it") from None
    except (ValueError, EvaluationError) as error:
        detail = brief(error, 200)
        raise EvaluationError(f"{path} is damaged ({detail}): delete it and run `{mend}`") from None


def _check_once(name: str, cells: list[Cell] | list[CellCost]) -> None:
    seen: set[tuple[int, float]] = set()
    for cell in cells:
        if (cell.steps, cell.w) in seen:
            raise EvaluationError(
                f"{name} has two cells at {counted(cell.steps, 'step')}, w = {cell.w}: remove the "
                "double value from evaluation.w or evaluation.teacher_steps in params.yaml"
            )
        seen.add((cell.steps, cell.w))
