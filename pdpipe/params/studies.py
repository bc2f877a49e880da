"""The params of a study, `stages/<study>/params.yaml`: what it trains and measures.

What they do not set is as in the main params.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from pdpipe import layout
from pdpipe.errors import ParamsError, did_you_mean
from pdpipe.params.complaints import AnySection, validated
from pdpipe.params.dialect import spelled
from pdpipe.params.models import GuideParams, HalveParams, Params, TeacherParams
from pdpipe.params.networks import SECTIONS, NetworkParams
from pdpipe.params.reading import read_section
from pdpipe.params.reconstruction import (
    ReconstructionParams,
    TransferParams,
    complaints_of_reconstruction,
    models_of,
)
from pdpipe.params.section import (
    Count,
    LearningRate,
    MethodName,
    SamplerName,
    Section,
    Seed,
    Steps,
    Weight,
)

DDPM_STEPS = 1000  # of grid ddpm
Gamma = Annotated[float, Field(ge=0.0, le=1.0)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]  # its model's
Settings = dict[str, Any]  # of a section of params.yaml, in place of what stands there
_OWN = {"steps", "updates", "learning_rate"}  # of section guide, that a student says itself
_OF_W = {"w_frequencies", "w_max"}  # of section guide, that the first naive student uses


class TaughtParams(Section):
    """A teacher of a study's own."""

    teacher: Settings = Field(default_factory=dict)
    network: Settings = Field(default_factory=dict)
    seed: Seed | None = None


class DistilledParams(Section):
    """A student of a study's own: `guide` is stage one, all others belong to stage two."""

    model_config = ConfigDict(populate_by_name=True)
    algorithm: MethodName
    from_: Annotated[str, Field(alias="from")]  # the file of the model that it is distilled from
    steps: Steps
    teacher_steps: Steps | None = None  # of that model; by default its own count
    updates: Count
    learning_rate: LearningRate
    guide: Settings = Field(default_factory=dict)
    halve: Settings = Field(default_factory=dict)
    network: Settings = Field(default_factory=dict)  # of a student that is smaller than its teacher
    seed: Seed | None = None


class ArmParams(Section):
    """One arm of a study: a model, measured with one sampler, at some evaluations or steps."""

    method: str = ""  # what it is called in the report; arms of one method stand in one row
    model: str  # its file
    sampler: SamplerName
    gammas: Annotated[list[Gamma], Field(min_length=1)] | None = None  # of ancestral
    grid: Literal["uniform", "ddpm"] = "uniform"
    nfe: list[Steps] = Field(default_factory=list)  # most network evaluations an image
    steps: list[Steps] = Field(default_factory=list)  # instead of nfe: exactly so many steps
    w: Annotated[list[Weight], Field(min_length=1)]


class StudyParams(Section):
    """A study's params file."""

    title: str  # of its section in the report
    question: str
    baseline: str = ""  # the method that the others are compared with; "": the chain's students
    teachers: dict[FileName, TaughtParams] = Field(default_factory=dict)
    students: dict[FileName, DistilledParams] = Field(default_factory=dict)
    arms: dict[FileName, ArmParams] = Field(default_factory=dict)
    reconstruction: ReconstructionParams | None = None  # of a study of encoders, instead of arms
    transfer: TransferParams | None = None  # beside it


def read_study(path: Path, params: Params) -> StudyParams:
    """The validated params of a study of the chain in `params`; its folder has the study's name.

    Raises:
        ParamsError: the file is missing, is not YAML, or says what cannot be trained or measured.
    """
    found = read_section(path, StudyParams, "name a study, a folder of stages/")
    try:
        complaint = next(_complaints(path.parent.name, found, params), None)
    except ParamsError as error:
        complaint = str(error)
    if complaint is not None:
        raise ParamsError(f"{path}: {complaint}")
    return found


def teacher_settings(
    taught: TaughtParams, params: Params, where: str
) -> tuple[TeacherParams, NetworkParams]:
    """The sections `teacher` and `network` of a study's teacher; raises ParamsError."""
    return (
        _merged(params.teacher, taught.teacher, f"{where}.teacher"),
        _network(taught.network, params.network, params.data.image_size, where),
    )


def guide_settings(student: DistilledParams, params: Params, where: str) -> GuideParams:
    """The section `guide` of a study's stage-one or naive student; raises ParamsError."""
    own = {name: getattr(student, name) for name in _OWN}
    return _merged(params.guide, student.guide | own, f"{where}.guide")


def halve_settings(student: DistilledParams, params: Params, where: str) -> HalveParams:
    """The section `halve` of a study's student of stage two; raises ParamsError."""
    return _merged(params.halve, student.halve, f"{where}.halve")


def _merged(section: AnySection, changes: Settings, where: str) -> AnySection:
    return validated(type(section), section.model_dump() | changes, where)


def _network(
    changes: Settings, network: NetworkParams, image_size: int, where: str
) -> NetworkParams:
    """A section `network` with changes in it, which can be built; another network keeps no size."""
    name = changes.get("name", network.name)
    if not isinstance(name, str) or name not in SECTIONS:
        raise ParamsError(
            f"{where}.network.name is {spelled(name)}: {did_you_mean(str(name), SECTIONS)}"
        )
    kept = network.model_dump() if name == network.name else {"conditional": network.conditional}
    found = validated(SECTIONS[name], kept | changes, f"{where}.network")
    try:
        found.check(image_size)
    except ParamsError as error:
        raise ParamsError(f"{where}: {error}") from None
    return found


def _network_of(model: str, study: str, found: StudyParams, params: Params) -> NetworkParams:
    """The network that a model has, as far as this study and the chain say it."""
    own = {layout.study_model(study, key).as_posix(): key for key in found.students}
    taught = {layout.study_model(study, key).as_posix(): key for key in found.teachers}
    seen: set[str] = set()
    while model in own and model not in seen:
        seen.add(model)
        model = found.students[own[model]].from_
    if model not in taught:
        return params.network
    return teacher_settings(found.teachers[taught[model]], params, f"teachers.{taught[model]}")[1]


def _complaints(study: str, found: StudyParams, params: Params) -> Iterator[str]:
    """What cannot be run, by the key that has to be changed."""
    twice = sorted(found.teachers.keys() & found.students.keys())
    if twice:
        yield f"{twice[0]} is a teacher and a student: call one of them otherwise"
    own = [layout.study_model(study, key) for key in (*found.teachers, *found.students)]
    chain = [layout.TEACHER, *map(layout.student, params.student_steps())]
    models = [path.as_posix() for path in (*chain, *own)]
    for key, taught in found.teachers.items():
        teacher_settings(taught, params, f"teachers.{key}")
    for key, student in found.students.items():
        guide_settings(student, params, f"students.{key}")
        halve_settings(student, params, f"students.{key}")
        network = _network_of(student.from_, study, found, params)
        _network(student.network, network, params.data.image_size, f"students.{key}")
        if not _is_model(student.from_, models, study):
            yield f"students.{key}.from is {student.from_}: {did_you_mean(student.from_, models)}"
        for name in _without_effect(student):
            yield f"students.{key}.{name} has no effect on algorithm {student.algorithm}: remove it"
    yield from _complaints_of_measuring(found)
    methods = {arm.method for arm in found.arms.values()}
    if found.reconstruction is not None:
        methods |= {encoder.method for encoder in found.reconstruction.encoders.values()}
        for key, model in models_of(found.reconstruction, found.transfer).items():
            if not _is_model(model, models, study):
                yield f"{key}.model is {model}, which is no model: {did_you_mean(model, models)}"
    if found.baseline and found.baseline not in methods:
        yield f"baseline is {found.baseline!r}: {did_you_mean(found.baseline, sorted(methods))}"
    for key, arm in found.arms.items():
        for complaint in _complaints_of_arm(arm, params, models, study):
            yield f"arms.{key}.{complaint}"


def _complaints_of_measuring(found: StudyParams) -> Iterator[str]:
    """That a study measures arms or reconstructions, and these against one of them."""
    if bool(found.arms) == (found.reconstruction is not None):
        yield "arms and reconstruction are both given or both missing: keep one of them"
    if found.reconstruction is not None:
        if not found.baseline:
            yield "baseline is missing: name the method of encoding that others are compared with"
        yield from complaints_of_reconstruction(found.reconstruction, found.transfer)
    elif found.transfer is not None:
        yield "transfer is given without reconstruction: add that section too"


def _without_effect(student: DistilledParams) -> Iterator[str]:
    """The settings of a student that its algorithm does not use."""
    if student.algorithm == "guide":
        yield from (
            name for name in ("teacher_steps", "halve", "network") if getattr(student, name)
        )
    elif student.algorithm != "naive" and student.guide:
        yield "guide"
    used = _OF_W if student.algorithm == "naive" else GuideParams.model_fields.keys() - _OWN
    yield from (f"guide.{name}" for name in student.guide if name not in used)
    for name in student.network.keys() & {"conditional", "name"}:
        yield f"network.{name}"


def _is_model(name: str, models: list[str], study: str) -> bool:
    """Whether it is a model of the chain or of this study, or may be one of another study."""
    path = Path(name)
    other = layout.study_of(path)
    return name in models or (other not in (None, study) and ".." not in path.parts)


def _complaints_of_arm(
    arm: ArmParams, params: Params, models: list[str], study: str
) -> Iterator[str]:
    if not _is_model(arm.model, models, study):
        known = did_you_mean(arm.model, models)
        yield f"model is {arm.model}, which is no model to measure: {known}"
    if bool(arm.nfe) == bool(arm.steps):
        yield "nfe and steps are both given or both missing: list one of them"
    lists = (("gammas", arm.gammas or []), ("nfe", arm.nfe), ("steps", arm.steps), ("w", arm.w))
    for key, values in lists:
        if len(set(values)) != len(values):
            yield f"{key} repeats a value: list each one once"
    if arm.sampler == "ancestral":
        if arm.gammas is None:
            yield "gammas are missing, which sampler ancestral needs: list some from 0.0 to 1.0"
    elif arm.gammas is not None or arm.grid != "uniform":
        yield f"sampler is {arm.sampler}, which has no gammas and no grid: leave them out"
    most = max(arm.nfe + arm.steps, default=0)
    if arm.grid == "ddpm" and most > DDPM_STEPS:
        key = "nfe" if arm.nfe else "steps"
        yield f"{key} has {most}, more than the {DDPM_STEPS} steps of grid ddpm: lower it"
    absent = [w for w in arm.w if w not in params.evaluation.w]
    if absent:
        yield (
            f"w has {absent[0]}, which the chain was not evaluated at: use weights of "
            f"evaluation.w in params.yaml, {params.evaluation.w}"
        )
