"""Each stage but `check`, said once: what it runs, reads, depends on and makes.

`dvc.yaml`, and the pipeline of every study, say the same in DVC's words: a test holds them to it.
The commands take a stage's identity from here, by which a broken run is known again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pdpipe import layout
from pdpipe.files import digest, digest_paths

if TYPE_CHECKING:
    from pdpipe.params import Params, StudyParams

PACKAGE = Path(__file__).parent

# Parts of the package that determine a result: not the command line, not tracking.
TRAINING = ("data", "diffusion", "models", "networks", "training", "plan.py", "seeds.py")
DISTILLING = tuple(f"methods/{name}.py" for name in ("method", "sizes", "tasks"))
EVALUATION = ("data", "diffusion", "evaluation", "models", "networks", "seeds.py")
REPORTING = ("diffusion", "evaluation/metrics", "evaluation/records.py", "reporting")
MEASURING = tuple(f"studies/{name}.py" for name in ("arms", "coding", "reconstruction"))
CODE = {  # of the chain's stages, by their names before the @
    "prepare": ("data", "sources"),
    "extractor": (*TRAINING, "extractors", "methods/extractor.py"),
    "reference": ("data", "evaluation", "models", "networks"),
    "teacher": (*TRAINING, "methods/teacher.py"),
    "guide": (*TRAINING, *DISTILLING, "methods/guide.py"),
    "halve": (*TRAINING, *DISTILLING, "methods/halve.py"),
    "rungs": (
        *(*EVALUATION, *DISTILLING),
        *("methods/guide.py", "methods/halve.py", "plan.py", "rungs.py"),
    ),
    "evaluate-teacher": EVALUATION,
    "evaluate": EVALUATION,
    "report": REPORTING,
}
STUDY_CODE = {  # of the stages of studies, which depend on the digests of these files
    "training": (*TRAINING, "methods"),
    "evaluation": (*EVALUATION, *MEASURING),
    "conclusion": ("evaluation", *MEASURING, "reporting/measurements.py", "reporting/studies"),
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the chain or of a study; paths are from the project's folder on."""

    name: str  # as DVC calls it: halve@4
    makes: str  # what its result is called: student-4
    command: str  # the arguments of `pdpipe`
    params: tuple[str, ...] = ()  # keys of params.yaml
    inputs: tuple[Path, ...] = ()  # files and folders
    code: tuple[str, ...] = ()  # files and folders of the package
    outputs: tuple[Path, ...]  # the main one first


def code_digest(parts: Iterable[str]) -> str:
    """sha256 of the contents of parts of the installed package, wherever it is installed."""
    return digest(sorted(digest_paths(PACKAGE / part for part in parts).values()))


def study_digests(part: str) -> dict[str, str]:
    """{path in the package: sha256} of a part of `STUDY_CODE`."""
    digests = digest_paths(PACKAGE / name for name in STUDY_CODE[part])
    return {Path(path).relative_to(PACKAGE).as_posix(): found for path, found in digests.items()}


def chain(params: Params) -> dict[str, Stage]:
    """{name: stage} of the main chain, from data to report, in the order in which they run."""
    stages = [
        *(PREPARE, EXTRACTOR, REFERENCE, TEACHER),
        guide(params),
        *(halve(params, steps) for steps in params.rungs()),
        rungs(params),
        EVALUATE_TEACHER,
        *(evaluate(steps) for steps in params.rungs()),
        REPORT,
    ]
    return {stage.name: stage for stage in stages}


PREPARE = Stage(
    name="prepare",
    makes="data",
    command="prepare",
    params=("seed", "data"),
    code=CODE["prepare"],
    outputs=(layout.SHARDS, layout.cost("prepare")),
)
EXTRACTOR = Stage(
    name="extractor",
    makes="extractor",
    command="extractor",
    params=("seed", "data.source", "extractor"),
    inputs=(layout.SHARDS,),
    code=CODE["extractor"],
    outputs=(layout.EXTRACTOR, layout.cost("extractor")),
)
REFERENCE = Stage(
    name="reference",
    makes="reference",
    command="reference",
    params=("evaluation.extractor", "evaluation.weights_sha256"),
    inputs=(layout.SHARDS, layout.EXTRACTOR),
    code=CODE["reference"],
    outputs=(
        layout.metrics("floor"),
        layout.REFERENCE,
        layout.samples("real"),
        layout.cost("reference"),
    ),
)
TEACHER = Stage(
    name="teacher",
    makes="teacher",
    command="teacher",
    params=("seed", "teacher", "network", "schedule"),
    inputs=(layout.SHARDS,),
    code=CODE["teacher"],
    outputs=(layout.TEACHER, layout.cost("teacher")),
)
EVALUATE_TEACHER = Stage(
    name="evaluate-teacher",
    makes="teacher",
    command="evaluate-teacher",
    params=("evaluation",),
    inputs=(layout.TEACHER, layout.EXTRACTOR, layout.REFERENCE),
    code=CODE["evaluate-teacher"],
    outputs=(layout.metrics("teacher"), layout.samples("teacher"), layout.cost("evaluate-teacher")),
)
REPORT = Stage(
    name="report",
    makes="report",
    command="report",
    params=("guide.steps", "ladder", "evaluation", "report", "schedule"),
    inputs=(*(layout.RESULTS / kind for kind in ("cost", "metrics", "samples")), layout.STUDIES),
    code=CODE["report"],
    outputs=(
        layout.REPORTS / "metrics.json",
        *(layout.REPORTS / f"table.{kind}" for kind in ("csv", "md", "tex", "parquet")),
        *(layout.REPORTS / name for name in ("fid_by_steps.csv", "costs.csv", "index.html")),
        layout.REPORTS / "figures",
    ),
)


def guide(params: Params) -> Stage:
    """Stage one."""
    name = f"student-{params.guide.steps}"
    return Stage(
        name="guide",
        makes=name,
        command="guide",
        params=("seed", "guide"),
        inputs=(layout.SHARDS, layout.TEACHER),
        code=CODE["guide"],
        outputs=(layout.model(name), layout.cost(name)),
    )


def halve(params: Params, steps: int) -> Stage:
    """Stage two: one rung of the ladder."""
    name = f"student-{steps}"
    return Stage(
        name=f"halve@{steps}",
        makes=name,
        command=f"halve --steps {steps}",
        params=("seed", "halve", f"ladder.{steps}"),
        inputs=(layout.SHARDS, layout.student(params.ladder[str(steps)].from_)),
        code=CODE["halve"],
        outputs=(layout.model(name), layout.cost(name)),
    )


def rungs(params: Params) -> Stage:
    """Each student against its own teacher."""
    names = ["teacher", *(f"student-{n}" for n in (params.guide.steps, *params.rungs()))]
    return Stage(
        name="rungs",
        makes="rungs",
        command="rungs",
        params=("guide", "halve.loss_weight", "ladder", "evaluation"),
        inputs=(layout.SHARDS, *map(layout.model, names)),
        code=CODE["rungs"],
        outputs=(layout.metrics("rungs"), layout.cost("rungs")),
    )


def evaluate(steps: int) -> Stage:
    """One student's evaluation."""
    name = f"student-{steps}"
    return Stage(
        name=f"evaluate@{steps}",
        makes=name,
        command=f"evaluate --steps {steps}",
        params=("evaluation",),
        inputs=(
            layout.student(steps),
            layout.EXTRACTOR,
            layout.REFERENCE,
            layout.samples("teacher"),
        ),
        code=CODE["evaluate"],
        outputs=(layout.metrics(name), layout.samples(name), layout.cost(f"evaluate-{name}")),
    )


def study(name: str, settings: StudyParams) -> dict[str, Stage]:
    """{name in DVC: stage} of a study's own project."""
    stages = [
        *(teach(name, key) for key in settings.teachers),
        *(distil(name, key, student.from_) for key, student in settings.students.items()),
        *(measure(name, key, arm.model) for key, arm in settings.arms.items()),
        *([] if settings.reconstruction is None else [reconstruct(name, settings)]),
        conclude(name, settings),
    ]
    return {stage.name.partition(".")[2]: stage for stage in stages}


def teach(study: str, key: str) -> Stage:
    """A teacher of a study's own."""
    return Stage(
        name=f"{study}.teach@{key}",
        makes=f"{study}-{key}",
        command=f"teach {study} {key}",
        params=(f"teachers.{key}", "seed", "teacher", "network", "schedule"),
        inputs=(layout.SHARDS,),
        code=STUDY_CODE["training"],
        outputs=(layout.study_model(study, key), layout.study_training(study, key)),
    )


def distil(study: str, key: str, source: str) -> Stage:
    """A student of a study's own, made from the model file `source`."""
    return Stage(
        name=f"{study}.distil@{key}",
        makes=f"{study}-{key}",
        command=f"distil {study} {key}",
        params=(f"students.{key}", "seed", "guide", "halve"),
        inputs=(layout.SHARDS, Path(source)),
        code=STUDY_CODE["training"],
        outputs=(layout.study_model(study, key), layout.study_training(study, key)),
    )


def measure(study: str, arm: str, model: str) -> Stage:
    """One arm of a study, which measures the model file `model`."""
    return Stage(
        name=f"{study}.measure@{arm}",
        makes=f"{study}-{arm}",
        command=f"measure {study} {arm}",
        params=(f"arms.{arm}", "evaluation"),
        inputs=(Path(model), layout.EXTRACTOR, layout.REFERENCE, layout.samples("teacher")),
        code=STUDY_CODE["evaluation"],
        outputs=(layout.study_metrics(study, arm), layout.study_cost(study, arm)),
    )


def reconstruct(study: str, settings: StudyParams) -> Stage:
    """What a study of encoders measures, with every model that it names."""
    from pdpipe.params import models_of

    assert settings.reconstruction is not None
    models = dict.fromkeys(models_of(settings.reconstruction, settings.transfer).values())
    return Stage(
        name=f"{study}.reconstruct",
        makes=study,
        command=f"reconstruct {study}",
        params=("baseline", "reconstruction", "transfer", "evaluation"),
        inputs=(layout.SHARDS, layout.EXTRACTOR, *map(Path, models)),
        code=STUDY_CODE["evaluation"],
        outputs=(layout.study_reconstruction(study), layout.study_images(study)),
    )


def conclude(study: str, settings: StudyParams) -> Stage:
    """A study's table, and its entry for the report."""
    params = {"arms"} if settings.reconstruction is None else {"reconstruction", "transfer"}
    inputs = [layout.study_metrics(study, arm) for arm in settings.arms]
    if settings.reconstruction is not None:
        inputs = [layout.study_reconstruction(study)]
    return Stage(
        name=f"{study}.conclude",
        makes=study,
        command=f"conclude {study}",
        params=("baseline", "question", "title", *sorted(params)),
        inputs=tuple(inputs),
        code=STUDY_CODE["conclusion"],
        outputs=(layout.study_table(study),),
    )
