"""The studies of every preset: valid, of the papers' settings, and for the digits the project's."""

from __future__ import annotations

import fnmatch
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pdpipe.layout import study_params
from pdpipe.params import Params, StudyParams, read_params, read_study
from pdpipe.presets import left_out, preset_files, preset_names
from pdpipe.presets.ladders import halvings
from pdpipe.presets.text import block, number

ROOT = Path(__file__).parents[2]
OF_THE_DIGITS = {"backbone", "tract"}  # studies that no preset has
STUDIES = sorted(
    path.parent.name
    for path in (ROOT / "stages").glob("*/params.yaml")
    if path.parent.name not in OF_THE_DIGITS
)
PAPERS = ["cifar10", "imagenet64"]
GRID = [0.0, 0.3, 1.0, 2.0, 4.0]
REFRESH = (
    "stages/{0}/params.yaml was edited: copy it, or all of them, into the digits preset with\n"
    "cd pdpipe/presets/digits; "
    'for s in *.yaml; do cp "../../../stages/${{s%.yaml}}/params.yaml" "$s"; done'
)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(preset, study) -> the preset's params, and the study's."""
    root = tmp_path_factory.mktemp("presets")

    @cache
    def read(preset: str, study: str) -> tuple[Params, StudyParams]:
        files = preset_files(preset, root / preset / "params.yaml")
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        params = read_params(root / preset / "params.yaml")
        return params, read_study(root / preset / study_params(study), params)

    return read


@pytest.mark.parametrize("study", STUDIES)
def test_the_digits_preset_is_the_projects_study(study: str) -> None:
    text = (ROOT / "stages" / study / "params.yaml").read_text(encoding="utf-8")
    assert preset_files("digits")[study_params(study)] == text, REFRESH.format(study)


def test_every_preset_has_every_study_that_its_data_allow() -> None:
    for name in preset_names():
        none = ["encoder", "naive", "single-w"] if name == "lsun-church128" else []
        assert left_out(name) == none
        studies = [path.parent.name for path in preset_files(name)][1:]
        assert studies == [study for study in STUDIES if study not in none]


PAIRS = [(name, path.parent.name) for name in preset_names() for path in [*preset_files(name)][1:]]


@pytest.mark.parametrize(("preset", "study"), PAIRS)
def test_a_study_of_a_preset_is_valid_and_of_that_chain(read: Any, preset: str, study: str) -> None:
    """Beyond `read_study`: models that no stage would make before they are used."""
    params, found = read(preset, study)
    made = {"models/teacher.safetensors"}
    made |= {f"models/student-{n}.safetensors" for n in params.student_steps()}
    made |= {f"stages/{study}/models/{key}.safetensors" for key in found.teachers}
    for key, student in found.students.items():
        assert student.from_ in made
        made.add(f"stages/{study}/models/{key}.safetensors")
    assert {arm.model for arm in found.arms.values()} <= made
    assert {w for arm in found.arms.values() for w in arm.w} <= set(params.evaluation.w)


@pytest.mark.parametrize(("preset", "study"), PAIRS)
def test_a_study_asks_what_it_asks_of_the_digits(read: Any, preset: str, study: str) -> None:
    (_, ours), (_, theirs) = read("digits", study), read(preset, study)
    assert theirs.baseline == ours.baseline
    if (preset, study) != ("imagenet64", "unguided"):  # whose teacher has labels
        assert (theirs.title, theirs.question) == (ours.title, ours.question)


@pytest.mark.parametrize("preset", ["cifar10", "imagenet64", "lsun-church128"])
def test_every_ladder_has_the_papers_training(read: Any, preset: str) -> None:
    """GD, C.3 and PD: 50k updates a halving, 100k at 2 and 1 steps, from 1e-4."""
    for study in STUDIES:
        if study in ("ladders", "smaller-student", *left_out(preset)):
            continue
        for key, student in read(preset, study)[1].students.items():
            if student.algorithm != "guide":
                assert student.updates == (100_000 if student.steps <= 2 else 50_000), key
                assert student.learning_rate == 1e-4


def steps_of(found: StudyParams, name: str) -> list[int]:
    """Of the students of one ladder."""
    return [s.steps for key, s in found.students.items() if key.rpartition("-")[0] == name]


@pytest.mark.parametrize("preset", PAPERS)
def test_the_other_students_of_the_guided_paper(read: Any, preset: str) -> None:
    params, stochastic = read(preset, "stochastic")
    assert steps_of(stochastic, "stochastic") == [2**k for k in range(10, 0, -1)]
    assert steps_of(read(preset, "naive")[1], "naive") == [2**k for k in range(9, -1, -1)]
    assert steps_of(read(preset, "encoder")[1], "encoder") == [2**k for k in range(9, -1, -1)]
    single = read(preset, "single-w")[1].students
    guided = {key: s for key, s in single.items() if s.algorithm == "guide"}
    assert [s.guide["w_min"] for s in guided.values()] == GRID[1:]
    assert all(s.guide["w_min"] == s.guide["w_max"] for s in guided.values())
    assert all(s.learning_rate == params.guide.learning_rate for s in guided.values())
    assert single["w0-512"].teacher_steps == 1024


@pytest.mark.parametrize(
    ("preset", "start", "seeds", "prediction"),
    [
        ("cifar10", 8192, 4, "x"),
        ("imagenet64", 1024, 1, "x_eps"),
        ("lsun-church128", 1024, 1, "x_eps"),
    ],
)
def test_the_first_paper(read: Any, preset: str, start: int, seeds: int, prediction: str) -> None:
    _, found = read(preset, "unguided")
    for seed in range(seeds):
        assert steps_of(found, f"seed{seed}") == halvings(start)
    assert {s.seed for s in found.students.values()} == set(range(seeds))
    assert found.students[f"seed0-{start // 2}"].teacher_steps == start
    taught = found.teachers["teacher"]
    assert taught.teacher["parameterization"] == prediction
    assert taught.network == ({"conditional": False} if preset == "cifar10" else {})
    assert found.arms["ancestral"].gammas == [k / 10 for k in range(11)]


@pytest.mark.parametrize("preset", ["cifar10", "imagenet64", "lsun-church128"])
def test_the_fast_schedules(read: Any, preset: str) -> None:
    students = read(preset, "ladders")[1].students
    for name, updates in (("half", 25_000), ("fifth", 10_000), ("tenth", 5_000)):
        assert students[f"{name}-4"].updates == updates
    assert steps_of(read(preset, "ladders")[1], "four") == [256, 64, 16, 4, 1]
    rates = {"fifth": 1e-4, "slow": 5e-5, "fast": 2e-4, "faster": 3e-4}
    for name, rate in rates.items():
        assert students[f"{name}-4"].learning_rate == rate
        assert students[f"{'fifth-' * (name != 'fifth')}{name}-4"].updates == 10_000


def test_a_value_as_yaml() -> None:
    value = {"a": [1, 1e-4, True], "b": "x: y", "c": {"d": "models/t", "e": ((1, 7), (3, 8))}}
    assert block(value) == (
        "a:\n- 1\n- 1.0e-4\n- true\nb: 'x: y'\n"
        "c:\n  d: models/t\n  e:\n  - - 1\n    - 7\n  - - 3\n    - 8"
    )
    assert [number(v) for v in (0.0, 4.0, 0.3, 1e-4, 2.5e-3)] == [
        "0.0", "4.0", "0.3", "1.0e-4", "2.5e-3",
    ]  # fmt: skip


def test_an_installed_package_has_every_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["pdpipe"]
    package = ROOT / "pdpipe"
    for path in package.rglob("*"):
        name = path.relative_to(package).as_posix()
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            packed = [
                p for p in patterns if fnmatch.fnmatch(name, p) and p.count("/") == name.count("/")
            ]
            assert packed, f"{name} is in no pattern of package-data in pyproject.toml"


@pytest.mark.parametrize("preset", preset_names())
def test_each_prediction_is_distilled_from_a_teacher_that_is_one(read: Any, preset: str) -> None:
    """That of eps was trained by its own error: with the other weights it is none."""
    found = read(preset, "parameterization")[1]
    first = {Path(s.from_).stem for s in found.students.values()} & found.teachers.keys()
    assert first == {"x-snr-truncated", "v-snr-truncated", "x-eps-snr-truncated", "eps-snr"}
