"""The studies of this repository: what they ask can be run, and their projects are one text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pdpipe.params import Params, StudyParams, read_params, read_study
from pdpipe.studies import pipeline
from pdpipe.studies.project import CONFIG, IGNORED

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.parent.name for path in ROOT.glob("stages/*/dvc.yaml"))


@pytest.fixture(scope="module")
def params() -> Params:
    return read_params(ROOT / "params.yaml")


def settings(name: str, params: Params) -> StudyParams:
    return read_study(ROOT / "stages" / name / "params.yaml", params)


def test_all_of_them_are_here() -> None:
    assert NAMES == [
        "backbone", "baselines", "encoder", "ladders", "naive", "parameterization",
        "single-w", "smaller-student", "stochastic", "tract", "unguided",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_its_params_can_be_run(name: str, params: Params) -> None:
    found = settings(name, params)
    trained = set(found.teachers) | set(found.students)
    used = [student.from_ for student in found.students.values()]
    used += [arm.model for arm in found.arms.values()]
    if found.reconstruction is None:  # whose encoders are measured by a stage of their own
        own = {Path(path).stem for path in used if path.startswith(f"stages/{name}/")}
        assert trained == own, "what is trained is distilled from or measured"


@pytest.mark.parametrize("name", NAMES)
def test_its_project_is_that_of_every_study(name: str, params: Params) -> None:
    """So a stage that is mended in one of them is mended in all: they differ in one line."""
    folder, encoders = ROOT / "stages" / name, settings(name, params).reconstruction is not None
    assert (folder / "dvc.yaml").read_text() == pipeline(name, encoders=encoders)
    assert (folder / ".dvc/config").read_text() == CONFIG
    assert (folder / ".dvc/.gitignore").read_text() == IGNORED


def test_the_two_pipelines_train_alike() -> None:
    arms, encoders = (yaml.safe_load(pipeline("any", encoders=e))["stages"] for e in (False, True))
    for stage in ("code", "teach", "distil"):
        assert arms[stage] == encoders[stage]


def test_the_study_of_the_developers_guide_can_be_run(params: Params, tmp_path: Path) -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, name, block = re.split(r"<!-- example: stages/(\w+)/params.yaml -->\n```yaml\n", guide)
    path = tmp_path / name / "params.yaml"
    path.parent.mkdir()
    path.write_text(block.partition("```")[0], encoding="utf-8")
    assert read_study(path, params).students.keys() == {"patient-4"}
    assert f"pdpipe study {name} " in guide
