"""`params.yaml` as frozen, validated models: the only place where a setting is read.

Unknown keys, wrong types, ranges and combinations raise `ParamsError`, one sentence that names the
key and the mend. Every field is required: what is not in the file would be invisible to
`dvc params diff`.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pdpipe.errors import ParamsError, did_you_mean
from pdpipe.files import digest

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
LossWeight = Literal["constant", "snr", "snr_truncated", "snr_plus_one"]
Parameterization = Literal["v", "x", "eps"]


class Section(BaseModel):
    """A section of params.yaml: unknown keys forbidden, immutable, no coercion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataParams(Section):
    """Stage `prepare`: the source and its shards."""

    source: str
    path: str
    image_size: Count
    channels: Literal[1, 3]
    heldout_fraction: Annotated[float, Field(gt=0.0, le=0.5)]
    images_per_shard: Count


class ExtractorParams(Section):
    """Stage `extractor`: the small classifier whose features the metrics use."""

    features: Count
    updates: Count
    batch_size: Count
    learning_rate: Positive
    dropout: Fraction
    label_smoothing: Fraction
    min_accuracy: Annotated[float, Field(ge=0.0, le=1.0)]


class NetworkParams(Section):
    """The U-Net that teacher and students share."""

    base_channels: Annotated[int, Field(ge=4, multiple_of=4)]
    channel_multipliers: Annotated[list[Count], Field(min_length=1)]
    blocks_per_level: Count
    attention_resolutions: list[Count]
    head_channels: Count
    embedding_channels: Annotated[int, Field(ge=2, multiple_of=2)]
    resample_blocks: bool
    conditional: bool


class ScheduleParams(Section):
    """The noise schedule."""

    name: Literal["cosine"]
    log_snr_min: Annotated[float, Field(ge=-30.0, le=-5.0)]
    log_snr_max: Annotated[float, Field(ge=5.0, le=30.0)]


class OptimizerParams(Section):
    """What every diffusion training stage sets about its optimiser."""

    batch_size: Count
    warmup: Annotated[int, Field(ge=0)]
    anneal: Annotated[float, Field(ge=0.0, le=1.0)]
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    weight_decay: Annotated[float, Field(ge=0.0)]
    grad_clip: Positive
    ema_decay: Fraction


class TeacherParams(OptimizerParams):
    """Stage `teacher`."""

    parameterization: Parameterization
    loss_weight: LossWeight
    label_dropout: Fraction
    dropout: Fraction
    flip: bool
    updates: Count
    learning_rate: Positive


class GuideParams(OptimizerParams):
    """Stage `guide`: stage one of the distillation."""

    steps: Count
    w_min: Annotated[float, Field(ge=0.0)]
    w_max: float
    w_frequencies: Count
    loss_weight: LossWeight
    updates: Count
    learning_rate: Positive

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


class Rung(Section):
    """One rung of the ladder: a student distilled from the one at `from_` steps."""

    model_config = ConfigDict(populate_by_name=True)
    from_: Annotated[str, Field(alias="from")]
    updates: Count
    learning_rate: Positive


class EvaluationParams(Section):
    """The evaluation stages."""

    num_samples: Annotated[int, Field(ge=2)]
    batch_size: Count
    seed: Annotated[int, Field(ge=0)]
    w: Annotated[list[Annotated[float, Field(ge=0.0)]], Field(min_length=1)]
    teacher_steps: Annotated[list[Count], Field(min_length=1)]
    clip: bool
    paired_samples: Count


class RuntimeParams(Section):
    """Where and how it runs; `PDPIPE_<NAME>` in the environment overrides each field."""

    device: str
    threads: Annotated[int, Field(ge=0)]
    workers: Annotated[int, Field(ge=0)]
    precision: Literal["float32", "bfloat16"]
    compile: bool
    snapshot_seconds: Positive


class Params(Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    data: DataParams
    extractor: ExtractorParams
    network: NetworkParams
    schedule: ScheduleParams
    teacher: TeacherParams
    guide: GuideParams
    halve: HalveParams
    ladder: dict[str, Rung]
    evaluation: EvaluationParams
    runtime: RuntimeParams

    @model_validator(mode="after")
    def _combinations(self) -> Params:
        _check_network(self)
        _check_ladder(self)
        _check_evaluation(self)
        return self

    def rungs(self) -> list[int]:
        """The ladder's step counts, most steps first."""
        return sorted((int(key) for key in self.ladder), reverse=True)

    def student_steps(self) -> list[int]:
        """Every student's step count: the stage-one student's, then the rungs."""
        return [self.guide.steps, *self.rungs()]


def read_params(path: Path = Path("params.yaml")) -> Params:
    """The validated contents of a params file.

    Raises:
        ParamsError: the file is missing, is not YAML, or says something that cannot be run.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            f"{path} does not exist here: change to the project's folder, or write one with "
            "`pdpipe preset digits`"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())
        raise ParamsError(f"{path} is not valid YAML: {detail}") from None
    return parse_params(raw, path)


def parse_params(raw: object, path: Path = Path("params.yaml")) -> Params:
    """The validated models of a params file's parsed YAML; raises `ParamsError`."""
    if not isinstance(raw, dict):
        raise ParamsError(f"{path} holds no settings: write one with `pdpipe preset digits`")
    _check_keys_are_text(raw, path)
    with_environment = _with_environment(raw)
    try:
        return Params.model_validate(with_environment)
    except ParamsError as error:
        raise ParamsError(f"{path}: {error}") from None
    except ValidationError as error:
        raise ParamsError(f"{path}: {_one_sentence(error)}") from None


def chain_params(params: Params) -> dict[str, Any]:
    """Everything in params that can change a result (all but `runtime`), as plain values."""
    return params.model_dump(exclude={"runtime"}, by_alias=True)


def chain_id(params: Params, data_digest: str) -> str:
    """The identity of a chain: a digest (16 hex digits) of its params and of its data."""
    return digest({"params": chain_params(params), "data": data_digest})[:16]


def _check_keys_are_text(raw: dict[Any, Any], path: Path) -> None:
    ladder = raw.get("ladder")
    for key in ladder if isinstance(ladder, dict) else ():
        if not isinstance(key, str):
            raise ParamsError(
                f'{path}: ladder key {key} must be quoted, "{key}": DVC drops unquoted number keys'
            )


def _with_environment(raw: dict[Any, Any]) -> dict[Any, Any]:
    """`raw` with `runtime` fields replaced by PDPIPE_DEVICE, PDPIPE_THREADS, … where set."""
    runtime = raw.get("runtime")
    if not isinstance(runtime, dict):
        return raw
    changed = dict(runtime)
    for name in RuntimeParams.model_fields:
        variable = f"PDPIPE_{name.upper()}"
        if variable in os.environ:
            changed[name] = _environment_value(variable, name)
    return {**raw, "runtime": changed}


def _environment_value(variable: str, name: str) -> object:
    text = os.environ[variable]
    try:
        value = yaml.safe_load(text)
        RuntimeParams.model_validate({**_RUNTIME_DEFAULTS, name: value})
    except yaml.YAMLError:
        raise ParamsError(
            f"environment variable {variable} is {text!r}, which is not valid YAML: give a plain "
            f"value such as {_RUNTIME_DEFAULTS[name]}"
        ) from None
    except ValidationError as error:
        sentence = _one_sentence(error).replace(name, variable, 1)
        raise ParamsError(f"environment variable {sentence}") from None
    return value


_RUNTIME_DEFAULTS: dict[str, Any] = {
    "device": "auto",
    "threads": 0,
    "workers": 0,
    "precision": "float32",
    "compile": False,
    "snapshot_seconds": 10.0,
}


def _one_sentence(error: ValidationError) -> str:
    """The first complaint of pydantic, as `section.key: what is wrong, how to mend it`."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    kind, given = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        *parents, name = (str(part) for part in problem["loc"])
        return f"unknown key {where}: {did_you_mean(name, _known_keys(parents))}"
    if kind == "missing":
        return f"{where} is missing: add it (`pdpipe preset digits` shows every key)"
    if kind == "literal_error":
        expected = str(problem["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
        return f"{where} is {given!r}: {did_you_mean(str(given), expected.split(', '))}"
    if kind in ("float_type", "int_type") and isinstance(given, str) and _is_number(given):
        number = float(given)
        shown = int(number) if kind == "int_type" and number.is_integer() else number
        return f"{where} is the text {given!r}: write it as {shown!r} without quotes"
    if kind == "string_type" and isinstance(given, int):
        return f'{where} is {given!r}, a number: write it in quotes, "{given}"'
    return f"{where}: {_lower_first(str(problem['msg']))}, got {given!r}"


def _known_keys(parents: list[str]) -> list[str]:
    model: Any = Params
    for part in parents:
        annotation = model.model_fields[part].annotation if part in model.model_fields else Rung
        model = annotation if isinstance(annotation, type) else Rung
        if not issubclass(model, BaseModel):
            model = Rung
    return [field.alias or name for name, field in model.model_fields.items()]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _check_network(p: Params) -> None:
    """Every level but the last halves the image; attention sits at a side that occurs."""
    halvings = len(p.network.channel_multipliers) - 1
    if p.data.image_size % 2**halvings:
        raise ParamsError(
            f"data.image_size {p.data.image_size} cannot be halved {halvings} times, once for each "
            f"level of network.channel_multipliers but the last: use a multiple of {2**halvings} "
            "or fewer levels"
        )
    sides = [p.data.image_size // 2**level for level in range(halvings + 1)]
    for side in p.network.attention_resolutions:
        if side not in sides:
            raise ParamsError(
                f"network.attention_resolutions has {side}, but the image sides in the network "
                f"are {', '.join(map(str, sides))}: choose from those"
            )
    for side, multiplier in zip(sides, p.network.channel_multipliers, strict=True):
        width = p.network.base_channels * multiplier
        attended = side == sides[-1] or side in p.network.attention_resolutions  # the middle always
        if attended and width % p.network.head_channels:
            raise ParamsError(
                f"network.head_channels {p.network.head_channels} does not divide the level width "
                f"{width} (base_channels x multiplier): use a divisor of it"
            )
    if not p.network.conditional and (p.guide.w_max > 0 or any(p.evaluation.w)):
        raise ParamsError(
            "network.conditional is false, so there is nothing to guide: set guide.w_min and "
            "guide.w_max to 0.0 and evaluation.w to [0.0], or make the network conditional"
        )
    if p.guide.w_max > 0 and p.teacher.label_dropout == 0:
        raise ParamsError(
            "teacher.label_dropout is 0, so the teacher never learns the unconditional model that "
            "guidance needs: set it to about 0.1, or guide.w_max to 0.0"
        )
    if p.teacher.parameterization == "eps":
        _check_eps(p)


def _check_eps(p: Params) -> None:
    if p.ladder:
        raise ParamsError(
            "teacher.parameterization is eps, which cannot be distilled to few steps (at t = 1 its "
            "error is magnified by 1/alpha = 2e4): use v or x, or empty the ladder (`ladder: {}`)"
        )


def _check_ladder(p: Params) -> None:
    """Every `from` exists, is a larger multiple, and leads to guide.steps without a circle."""
    counts = {str(p.guide.steps), *p.ladder}
    for key, rung in p.ladder.items():
        where = f'ladder."{key}"'
        if not key.isdecimal() or int(key) < 1 or str(int(key)) != key:
            raise ParamsError(f"{where} must be a whole number of steps, 1 or more, in quotes")
        if int(key) == p.guide.steps:
            raise ParamsError(
                f"{where} is guide.steps, the stage-one student's own count: remove this rung"
            )
        if rung.from_ not in counts:
            raise ParamsError(
                f'{where}.from is "{rung.from_}", which is neither guide.steps '
                f"({p.guide.steps}) nor a rung: {did_you_mean(rung.from_, sorted(counts))}"
            )
    for key in p.ladder:
        _check_leads_to_top(p, key)
    for key, rung in p.ladder.items():
        if int(rung.from_) <= int(key) or int(rung.from_) % int(key):
            raise ParamsError(
                f'ladder."{key}".from is "{rung.from_}": the teacher must take a multiple of '
                f"{key} steps (2 x {key} = {2 * int(key)} halves them)"
            )


def _check_leads_to_top(p: Params, key: str) -> None:
    path = [key]
    while path[-1] != str(p.guide.steps):
        path.append(p.ladder[path[-1]].from_)
        if path[-1] in path[:-1]:
            raise ParamsError(
                f"the ladder is circular ({' <- '.join(path)}): let every `from` lead up to "
                f'"{p.guide.steps}" (guide.steps)'
            )


def _check_evaluation(p: Params) -> None:
    e = p.evaluation
    for key, values in (("w", e.w), ("teacher_steps", e.teacher_steps)):
        if len(set(values)) != len(values):
            raise ParamsError(f"evaluation.{key} repeats a value: list each one once")
    outside = [w for w in e.w if not p.guide.w_min <= w <= p.guide.w_max]
    if outside:
        raise ParamsError(
            f"evaluation.w has {outside[0]}, outside the range the students are trained on "
            f"(guide.w_min {p.guide.w_min} to guide.w_max {p.guide.w_max}): remove it or widen that"
        )
    absent = [n for n in p.rungs() if n not in e.teacher_steps]
    if absent:
        raise ParamsError(
            f"evaluation.teacher_steps lacks {absent[0]}, a rung of the ladder, so that student "
            "would have nothing to stand beside: add it"
        )
    if e.paired_samples > e.num_samples:
        raise ParamsError(
            f"evaluation.paired_samples ({e.paired_samples}) is above evaluation.num_samples "
            f"({e.num_samples}): lower it"
        )
