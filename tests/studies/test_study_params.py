"""What a study's params may say: models of its own, and every sentence that refuses one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pdpipe.errors import ParamsError
from pdpipe.params import (
    Params,
    StudyParams,
    guide_settings,
    halve_settings,
    read_params,
    read_study,
    teacher_settings,
)

ROOT = Path(__file__).parents[2]
ARM = {"model": "models/teacher.safetensors", "sampler": "ddim", "steps": [4], "w": [0.0]}
TAUGHT: dict[str, Any] = {"teacher": {"parameterization": "x"}}
STUDENT: dict[str, Any] = {
    "algorithm": "naive", "from": "stages/mine/models/t.safetensors", "steps": 8,
    "teacher_steps": 16, "updates": 40, "learning_rate": 1.0e-3,
}  # fmt: skip
GUIDE = {"algorithm": "guide", "from": "models/teacher.safetensors", "teacher_steps": None}
HALVE = {"algorithm": "halve", "from": "models/student-4.safetensors", "steps": 2}


@pytest.fixture(scope="module")
def params() -> Params:
    return read_params(ROOT / "pdpipe/presets/digits.yaml")


def write(folder: Path, study: dict[str, Any] | str) -> Path:
    path = folder / "mine/params.yaml"
    path.parent.mkdir()
    path.write_text(study if isinstance(study, str) else yaml.safe_dump(study, sort_keys=False))
    return path


def study(
    student: dict[str, Any] | None = None,
    taught: dict[str, Any] | None = None,
    arm: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A study that can be run, with changes to its student, its teacher, its arm or itself."""
    whole = {
        "title": "Mine",
        "question": "What?",
        "teachers": {"t": TAUGHT | (taught or {})},
        "students": {"s": STUDENT | (student or {})},
        "arms": {"a": ARM | (arm or {})},
    }
    return whole | changes


def test_models_of_its_own_have_the_chains_settings_where_theirs_are_silent(
    tmp_path: Path, params: Params
) -> None:
    changes = {
        "guide": {"w_max": 2.0},
        "halve": {"ema_decay": 0.5},
        "network": {"blocks_per_level": 1},
    }
    found = read_study(write(tmp_path, study(changes)), params)
    assert isinstance(found, StudyParams)
    assert set(found.teachers) == {"t"}
    own, network = teacher_settings(found.teachers["t"], params, "teachers.t")
    assert own == params.teacher.model_copy(update={"parameterization": "x"})
    assert network == params.network
    student = found.students["s"]
    expected = {"steps": 8, "updates": 40, "learning_rate": 1e-3, "w_max": 2.0}
    assert guide_settings(student, params, "") == params.guide.model_copy(update=expected)
    assert halve_settings(student, params, "") == params.halve.model_copy(update={"ema_decay": 0.5})


@pytest.mark.parametrize(
    "name",
    [
        "models/teacher.safetensors",
        "models/student-16.safetensors",
        "stages/mine/models/t.safetensors",
        "stages/other/models/whatever.safetensors",
    ],
)
def test_a_student_is_distilled_from_any_model(name: str, tmp_path: Path, params: Params) -> None:
    found = read_study(write(tmp_path, study({"from": name}, arm={"model": name})), params)
    assert found.students["s"].from_ == found.arms["a"].model == name


def refused(path: Path, params: Params) -> str:
    """The one sentence with which the file is refused."""
    with pytest.raises(ParamsError) as error:
        read_study(path, params)
    said = str(error.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    return said.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"from": "models/student-3.safetensors"}, ".from is models/student-3.safe"),
        ({"from": "models/teachr.safetensors"}, "did you mean 'models/teacher.safetensors'?"),
        ({"from": "stages/mine/models/u.safetensors"}, "did you mean 'stages/mine/models/t."),
        ({"from": "stages/../models/x.safetensors"}, ".from is stages/../models"),
        ({"algorithm": "naiv"}, ".algorithm is 'naiv': did you mean 'naive'?"),
        ({"updatse": 3}, ".updatse: did you mean 'updates'?"),
        ({"steps": 0}, ".steps: input should be greater than or equal to 1, got 0"),
        ({"teacher_steps": 0}, ".teacher_steps: input should be greater"),
        ({"learning_rate": 0.0}, ".learning_rate: input should be greater than 0"),
        ({"learning_rate": "'1'"}, "learning_rate: input should be a valid number, got"),
        ({"seed": -1}, ".seed: input should be greater than or equal to 0"),
        ({"halve": {"ema": 0.5}}, ".halve: unknown key ema: choose from"),
        ({"halve": {"ema_decy": 0}}, ".halve: unknown key ema_decy: did you mean"),
        ({"guide": {"w_mx": 1.0}}, ".guide: unknown key w_mx: did you mean 'w_max'?"),
        ({"guide": {"w_min": 5.0}}, ".guide: guide.w_min (5.0) is above guide.w_max"),
        ({"guide": {"w_min": 0.5}}, ".guide.w_min has no effect on algorithm naive"),
        ({"guide": {"updates": 9}}, ".guide.updates has no effect on algorithm naive"),
        ({"network": {"width": 9}}, ".network: unknown key width"),
        ({"network": {"base_channels": 6}}, ".network: base_channels: input should"),
        ({"network": {"head_channels": 5}}, ": network.head_channels 5 does not"),
        ({"network": {"attention_resolutions": [3]}}, ": network.attention_resol"),
        ({"network": {"channel_multipliers": [1] * 5}}, ": data.image_size 8 cannot"),
        ({"network": {"conditional": False}}, ".network.conditional has no effect"),
        (HALVE | {"guide": {"w_max": 1.0}}, ".guide has no effect on algorithm halve"),
        (GUIDE | {"halve": {"ema_decay": 0.0}}, ".halve has no effect on algorithm"),
        (GUIDE | {"teacher_steps": 8}, ".teacher_steps has no effect on algorithm"),
        (GUIDE | {"network": {"blocks_per_level": 1}}, ".network has no effect on"),
    ],
)  # fmt: skip
def test_a_student_that_cannot_be_distilled_is_refused(
    changes: dict[str, Any], complaint: str, tmp_path: Path, params: Params
) -> None:
    assert complaint in refused(write(tmp_path, study(changes)), params).partition("students.s")[2]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (study(taught={"teacher": {"updats": 1}}), "teachers.t.teacher: unknown key updats: did"),
        (study(taught={"teacher": {"parameterization": "y"}}), "teachers.t.teacher: parameteriz"),
        (study(taught={"network": {"head_channels": 5}}), "teachers.t: network.head_channels 5"),
        (study(taught={"network": {"name": {"q": 1}}}), "teachers.t.network.name is {"),
        (study(taught={"netwrok": {}}), "unknown key teachers.t.netwrok: did you mean 'network'?"),
        (study(taught={"seed": 1.5}), "teachers.t.seed"),
        (study(teachers={"s": TAUGHT, "t": TAUGHT}), "s is a teacher and a student: call one"),
        (study(baseline="mine"), "baseline is 'mine': "),
        (study(arms={"a": ARM | {"method": "mine"}}, baseline="min"), "did you mean 'mine'?"),
        (study(arm={"nfe": [4]}), "arms.a.nfe and steps are both given or both missing: list one"),
        (study(arm={"steps": []}), "arms.a.nfe and steps are both given or both missing: list one"),
        (study(arm={"steps": [4, 4]}), "arms.a.steps repeats a value: list each one once"),
        (study(arm={"w": [0.0, 0.0]}), "arms.a.w repeats a value: list each one once"),
        (
            study(arm={"sampler": "ancestral", "gammas": [0.5, 0.5]}),
            "arms.a.gammas repeats a value: list each one once",
        ),
        (
            study(arm={"sampler": "ancestral", "gammas": [0.5], "grid": "ddpm", "steps": [1001]}),
            "arms.a.steps has 1001, more than the 1000 steps of grid ddpm: lower it",
        ),
        (study(arm={"model": "stages/mine/models/x.safetensors"}), "which is no model to measure"),
        (study(arms={}), "arms and reconstruction are both given or both missing"),
        (study(student_s={}), "unknown key student_s: did you mean 'students'?"),
        (study(students={4: STUDENT}), "students.4"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_or_measured_is_refused(
    changes: dict[str, Any], complaint: str, tmp_path: Path, params: Params
) -> None:
    assert complaint in refused(write(tmp_path, changes), params)


def test_a_key_twice_is_refused(tmp_path: Path, params: Params) -> None:
    text = yaml.safe_dump(study(), sort_keys=False)
    again = text.replace("arms:\n", "arms:\n  a: {}\n")
    with pytest.raises(ParamsError, match=r"key a comes twice, again in line \d+"):
        read_study(write(tmp_path, again), params)


def test_every_study_of_the_repository_is_valid(params: Params) -> None:
    found = sorted((ROOT / "stages").glob("*/params.yaml"))
    assert found
    for path in found:
        study = read_study(path, params)
        assert study.arms or study.reconstruction
