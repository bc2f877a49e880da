"""`pdpipe teach` and `pdpipe distil`: a study's own models, by every algorithm, and refusals."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import pdpipe

if TYPE_CHECKING:
    from conftest import Typed

OWN = "stages/mine/models/{}.safetensors"
SHARED = {"updates": 2, "learning_rate": 1.0e-3}
TEACHER, STUDENT = "models/teacher.safetensors", "models/student-4.safetensors"
STUDY: dict[str, Any] = {
    "title": "Mine",
    "question": "What?",
    "teachers": {"t": {"teacher": {"updates": 2, "parameterization": "x"}, "seed": 7}},
    "students": {
        "one": {"algorithm": "guide", "from": OWN.format("t"), "steps": 2, "guide": {"w_max": 2.0}},
        "naive": {"algorithm": "naive", "from": TEACHER, "steps": 2, "teacher_steps": 4, "seed": 5},
        "jump": {"algorithm": "stochastic", "from": STUDENT, "steps": 4},
        "back": {"algorithm": "encoder", "from": STUDENT, "steps": 2},
        "wrong": {"algorithm": "halve", "from": OWN.format("back"), "steps": 1},
    },
    "arms": {"a": {"model": TEACHER, "sampler": "ddim", "steps": [2], "w": [0.0]}},
}


@pytest.fixture
def project(typed: Typed) -> Typed:
    """The tiny project with a study in it."""
    params = typed.root / "stages/mine/params.yaml"
    params.parent.mkdir(parents=True)
    students = {key: SHARED | student for key, student in STUDY["students"].items()}
    params.write_text(yaml.safe_dump(STUDY | {"students": students}, sort_keys=False))
    return typed


def test_models_of_a_study(project: Typed) -> None:
    assert project.run("teach", "mine", "t").code == 0
    for key in ("one", "naive", "jump", "back"):
        assert project.run("distil", "mine", key).code == 0
    expected = {
        "t": ("teacher", "mixture", "ddim", None, None, 7),
        "one": ("student", "input", "ddim", 2, 2.0, 0),
        "naive": ("student", "mixture", "ddim", 2, 4.0, 5),
        "jump": ("student", "input", "stochastic", 4, 4.0, 0),
        "back": ("encoder", "input", "ddim", 2, 4.0, 0),
    }
    for key, values in expected.items():
        info = pdpipe.load(project.root / OWN.format(key), device="cpu").info
        seed = info.provenance["seed"]
        assert (info.kind, info.guidance, info.sampler, info.steps, info.w_max, seed) == values
        assert (info.name, info.provenance["precision"]) == (key, "float32")
        cost = json.loads((project.root / f"stages/mine/training/{key}.json").read_text())
        assert (cost["stage"], cost["updates"]) == (f"mine-{key}", 2)

    measured = project.run("precision", "--model", OWN.format("jump"))
    assert (measured.code, measured.err) == (0, "")
    assert re.search(r"jump predicts v; on .*\nN = 1: to learn .* in bfloat16\n", measured.out)
    assert "images of 4 steps: bfloat16 moves them by " in measured.out

    printed = project.run("sample", "--model", OWN.format("jump"), "--labels", "1", "--w", "1")
    assert (printed.code, printed.err) == (0, "")
    by_ddim = ("sample", "--model", OWN.format("jump"), "--sampler", "ddim")
    assert "jump was distilled for stochastic" in project.run(*by_ddim).err
    naive = ("sample", "--model", OWN.format("naive"), "--labels", "1", "--w")
    assert ", 4 network evaluations each" in project.run(*naive, "1").out
    assert ", 2 network evaluations each" in project.run(*naive, "0").out
    assert "back is an encoder" in project.refused("sample", "--model", OWN.format("back"))
    assert "back is an encoder, from which only" in project.refused("distil", "mine", "wrong")


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("teach", "mine", "u"), "study mine has no teacher 'u': choose from t"),
        (("teach", "mine", "naive"), "study mine has no teacher 'naive'"),
        (("distil", "mine", "naiv"), "study mine has no student 'naiv': did you mean 'naive'?"),
        (("distil", "mien", "naive"), "there is no study 'mien': did you mean 'mine'?"),
        (
            ("distil", "mine", "one"),
            f"there is no model at {OWN.format('t')}: run `pdpipe study mine`",
        ),
    ],
)
def test_a_model_that_cannot_be_trained(
    command: tuple[str, ...], sentence: str, project: Typed
) -> None:
    assert sentence in project.refused(*command)


def test_a_wrong_setting_is_one_sentence_before_any_work(project: Typed) -> None:
    params = project.root / "stages/mine/params.yaml"
    params.write_text(params.read_text().replace("w_max: 2.0", "w_mxa: 2.0"))
    said = project.refused("teach", "mine", "t")
    assert said.startswith(
        "stages/mine/params.yaml: students.one.guide: unknown key w_mxa: did you"
    )
