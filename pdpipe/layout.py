"""Where the pipeline keeps its files, from the project's folder on; `dvc.yaml` says the same."""

from __future__ import annotations

from pathlib import Path

PARAMS = Path("params.yaml")
SHARDS = Path("data/shards")
EXTRACTOR = Path("models/extractor.safetensors")
TEACHER = Path("models/teacher.safetensors")
RESULTS = Path("results")
REFERENCE = RESULTS / "reference.safetensors"
REPORTS = Path("reports")
PUBLISHED = Path("docs/results")  # what pdpipe's own runs gave; no stage writes there
WORK = Path(".pdpipe")  # snapshots, evaluated cells, local copies of what is tracked
SNAPSHOTS = WORK / "snapshots"


def in_experiment() -> bool:
    """Whether this is a folder that DVC made for one experiment, with what git and DVC hold."""
    return "/.dvc/tmp/exps/" in Path.cwd().as_posix()


def model(name: str) -> Path:
    """The model file of `teacher` or `student-4`."""
    return Path(f"models/{name}.safetensors")


def student(steps: int | str) -> Path:
    """The model file of the student of `steps` steps."""
    return model(f"student-{steps}")


def metrics(name: str) -> Path:
    """The metrics file of `teacher`, `student-4` or `floor`."""
    return RESULTS / "metrics" / f"{name}.json"


def cost(name: str) -> Path:
    """The cost file of a training stage, or of an evaluation (`evaluate-student-4`)."""
    return RESULTS / "cost" / f"{name}.json"


def samples(name: str) -> Path:
    """The sample sheets of `teacher` or `student-4`; of `real`, the held-out images."""
    return RESULTS / "samples" / f"{name}.safetensors"


STUDIES = Path("stages/studies.json")  # the studies that were run, for the report


def study_params(study: str) -> Path:
    """The params of a study."""
    return Path("stages") / study / "params.yaml"


def study_code(study: str, part: str) -> Path:
    """The digests of the code on which a study's `training`, `evaluation` or `conclusion` hangs."""
    return Path("stages") / study / "code" / f"{part}.json"


def study_model(study: str, key: str) -> Path:
    """A model that a study trains: a teacher's or a student's key of its params."""
    return Path("stages") / study / "models" / f"{key}.safetensors"


def study_of(path: Path) -> str | None:
    """The study in whose folder a model file lies, as `study_model` names it; None for none."""
    parts = path.parts
    inside = len(parts) == 4 and (parts[0], parts[2]) == ("stages", "models")
    return parts[1] if inside else None


def study_training(study: str, key: str) -> Path:
    """The cost of training it."""
    return Path("stages") / study / "training" / f"{key}.json"


def study_metrics(study: str, arm: str) -> Path:
    """The metrics file of one arm of a study."""
    return Path("stages") / study / "results" / f"{arm}.json"


def study_cost(study: str, arm: str) -> Path:
    """The cost file of one arm of a study."""
    return Path("stages") / study / "cost" / f"{arm}.json"


def study_table(study: str) -> Path:
    """Every measurement of a study, as the report reads it."""
    return Path("stages") / study / "table.csv"


def study_reconstruction(study: str) -> Path:
    """What a study of encoders measured."""
    return study_metrics(study, "reconstruction")


def study_images(study: str) -> Path:
    """The images that a study shows in the report, if it shows any."""
    return Path("stages") / study / "images.safetensors"
