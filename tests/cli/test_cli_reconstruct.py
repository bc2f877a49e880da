"""`pdpipe reconstruct`: what it cannot do is said in a sentence, before anything is written."""

from __future__ import annotations

import subprocess
import sys
from threading import Timer
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from conftest import Typed

TEACHER, STUDENT = "models/teacher.safetensors", "models/student-2.safetensors"
STUDY: dict[str, Any] = {
    "title": "Encoders",
    "question": "?",
    "baseline": "reversed",
    "reconstruction": {
        "images": 4,
        "w": 0.0,
        "encoders": {"teacher": {"method": "reversed", "model": TEACHER, "steps": [2]}},
        "decoders": {"student": {"model": STUDENT, "steps": 2}},
    },
}
TRANSFER: dict[str, Any] = {
    "pairs": [[1, 7]],
    "w": [0.0],
    "encoder": {"model": TEACHER, "steps": 2},
    "decoder": {"model": STUDENT, "steps": 2},
    "images": 2,
    "shown": 2,
}
HOLDER = """
import sys
from filelock import FileLock
with FileLock(".pdpipe/studies.lock"):
    print("held", flush=True)
    sys.stdin.read()
"""
ARM = {"model": TEACHER, "sampler": "ddim", "steps": [2], "w": [0.0]}


def write(typed: Typed, study: dict[str, Any]) -> None:
    path = typed.root / "stages/mine/params.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(study), encoding="utf-8")


def test_a_study_without_style_transfer_needs_no_picture(typed: Typed) -> None:
    write(typed, STUDY)
    assert typed.run("reconstruct", "mine").code == 0
    assert not (typed.root / "stages/mine/images.safetensors").exists()
    assert typed.run("conclude", "mine").code == 0
    studies = yaml.safe_load((typed.root / "stages/studies.json").read_text())
    assert "images_sha256" not in studies["mine"]
    assert typed.run("report").code == 0


def test_a_study_waits_with_its_entry_while_another_writes_one(typed: Typed) -> None:
    write(typed, STUDY)
    assert typed.run("reconstruct", "mine").code == 0
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        cwd=typed.root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.read(4) == b"held"
    written: list[bool] = []

    def end() -> None:
        written.append((typed.root / "stages/studies.json").exists())
        other.communicate(b"enough")

    timer = Timer(3.0, end)  # longer than it takes to get there
    timer.start()
    assert typed.run("conclude", "mine").code == 0
    timer.join()
    assert written == [False]
    assert (typed.root / "stages/studies.json").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"w": [0.0, 9.0]}, "student-2 was trained for guidance weights w from 0 to 4, not 9"),
        ({"pairs": [[1, 10]]}, "label 10 is not a class of teacher: it has 10, numbered 0 to 9"),
        (
            {"encoder": {"model": "stages/mine/models/e.safetensors", "steps": 2}},
            "transfer.encoder.model is stages/mine/models/e.safetensors, which is no model: ",
        ),
        (
            {"encoder": {"model": "stages/other/models/e.safetensors", "steps": 2}},
            "there is no model at stages/other/models/e.safetensors",
        ),
    ],
)
def test_a_transfer_that_cannot_be_made_is_refused(
    typed: Typed, changes: dict[str, Any], complaint: str
) -> None:
    write(typed, STUDY | {"transfer": TRANSFER | changes})
    assert complaint in typed.refused("reconstruct", "mine")


def test_a_study_of_arms_and_one_that_is_not_there_are_refused(typed: Typed) -> None:
    study = {key: STUDY[key] for key in ("title", "question")} | {"arms": {"a": ARM}}
    write(typed, study)
    assert typed.refused("reconstruct", "mine") == (
        "study mine reconstructs nothing: add a section `reconstruction` to "
        "stages/mine/params.yaml, or measure its arms with `pdpipe measure`"
    )
    assert "there is no study 'mime': did you mean 'mine'?" in typed.refused("reconstruct", "mime")
    write(typed, STUDY)
    assert "run `pdpipe study mine`" in typed.refused("conclude", "mine")
