"""`pdpipe sample`: the picture it writes, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

import pdpipe
from pdpipe.data import to_uint8

if TYPE_CHECKING:
    from conftest import Typed


@pytest.mark.parametrize(
    ("name", "options", "sampling"),
    [
        (
            "teacher",
            ["--steps", "3", "--w", "1.5", "--seed", "7"],
            {"steps": 3, "w": 1.5, "seed": 7},
        ),
        ("student-4", ["--w", "4"], {"steps": 4, "w": 4.0}),
        ("student-2", ["--no-clip"], {"steps": 2, "w": 0.0, "clip": False}),
        ("teacher", ["--steps", "3", "--sampler", "heun"], {"steps": 3, "sampler": "heun"}),
        (
            "teacher",
            ["--steps", "3", "--sampler", "ancestral", "--w", "1"],
            {"steps": 3, "sampler": "ancestral", "w": 1.0},
        ),
    ],
)
def test_sample_writes_the_images_that_python_gives(
    typed: Typed,
    name: str,
    options: list[str],
    sampling: dict[str, Any],
) -> None:
    model = f"models/{name}.safetensors"
    arguments = ("sample", "--model", model, "--labels", "0-3,9,9", "--rows", "2", *options)
    printed = typed.run(*arguments, "--out", "grid.png")
    assert printed.code == 0
    assert printed.out.startswith(f"wrote grid.png: 12 images by {name}, {sampling['steps']} steps")
    with Image.open(typed.root / "grid.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (4 + 6 * 68, 4 + 2 * 68))
        drawn = torch.from_numpy(np.asarray(image).copy())
    between = torch.arange(drawn.shape[1]) % 68 < 4  # columns of the white lines
    assert (drawn[:, between] == 255).all()
    shown = drawn[4:, 4:].unfold(0, 64, 68).unfold(1, 64, 68)[:, :, ::8, ::8]  # (2, 6, 8, 8)
    labels = [0, 1, 2, 3, 9, 9] * 2
    images = to_uint8(pdpipe.load(typed.root / model, device="cpu").sample(labels, **sampling))
    assert torch.equal(shown, images.view(2, 6, 8, 8))
    assert typed.run(*arguments, "--out", "again.png").code == 0
    assert (typed.root / "again.png").read_bytes() == (typed.root / "grid.png").read_bytes()


def test_sample_says_how_often_the_network_was_evaluated(typed: Typed) -> None:
    for sampler, w, evaluations in (("ddim", "0", 3), ("ddim", "1", 6), ("heun", "1", 10)):
        options = ("--sampler", sampler, "--w", w, "--steps", "3", "--labels", "1")
        printed = typed.run("sample", "--model", "models/teacher.safetensors", *options)
        assert f" {evaluations} network evaluations each" in printed.out


def test_sample_says_when_the_steps_are_not_the_students_own(typed: Typed) -> None:
    printed = typed.run("sample", "--model", "models/student-2.safetensors", "--steps", "5")
    assert printed.code == 0
    assert "student-2 was distilled for 2 steps" in printed.err


def test_sample_says_when_a_student_meets_another_sampler(typed: Typed) -> None:
    student = ("sample", "--model", "models/student-2.safetensors", "--sampler")
    assert "student-2 was distilled for ddim" in typed.run(*student, "heun").err
    assert typed.run(*student, "ddim").err == ""
    teacher = ("sample", "--model", "models/teacher.safetensors", "--sampler", "heun")
    assert typed.run(*teacher, "--steps", "2").err == ""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model", "nope"], "there is no model at nope: run `dvc repro` to train it"),
        (["--model", "params.yaml"], "params.yaml is damaged and cannot be used"),
        (
            ["--model", "models/extractor.safetensors"],
            "extractor.safetensors is not what is needed",
        ),
        (["--w", "4.5"], "guidance weights w from 0 to 4, not 4.5"),
        (["--w", "-1"], "guidance weights w from 0 to 4, not -1"),
        (["--w", "nan"], "not nan"),
        (["--labels", "3-1"], "--labels '3-1' has '3-1'"),
        (["--labels", "cat"], "--labels 'cat' has 'cat'"),
        (["--labels", "0,"], "--labels '0,' has ''"),
        (["--labels", "²"], "--labels '²' has '²'"),
        (["--labels", "0-9999999999"], "--labels '0-9999999999' has '0-9999999999'"),
        (["--labels", "0-12"], "label 10 is not a class of student-2: it has 10"),
        (["--sampler", "ddmi"], "there is no sampler 'ddmi': did you mean 'ddim'?"),
        (["--sampler", "euler_a"], "there is no sampler 'euler_a': did you mean 'euler'?"),
        (["--eta", "1.5"], "eta is 1.5: give a number from 0 to 1"),
        (["--gamma", "0.5"], "gamma is a setting of ancestral, not of ddim: leave it out"),
        (
            ["--sampler", "ancestral", "--gamma", "-0.1"],
            "gamma is -0.1: give a number from 0 to 1",
        ),
        (["--steps", "0"], "the number of steps is 0: use 1 or more"),
        (["--out", "nowhere/grid.png"], "the folder nowhere for --out does not exist"),
        (["--out", "models"], "--out models is a folder"),
        (["--out", "grid.jpg"], "--out grid.jpg does not end in .png"),
        (["--out", "/proc/grid.png"], "/proc/grid.png cannot be written"),
        (["--device", "gpu"], "--device) is 'gpu', which cannot be used here"),
    ],
)
def test_a_sample_that_cannot_be_made(typed: Typed, options: list[str], sentence: str) -> None:
    model = () if "--model" in options else ("--model", "models/student-2.safetensors")
    assert sentence in typed.refused("sample", *model, *options)


def test_the_environment_says_where_it_runs(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ("--model", "models/student-2.safetensors")
    monkeypatch.setenv("PDPIPE_DEVICE", "gpu")
    assert "PDPIPE_DEVICE, --device) is 'gpu'" in typed.refused("sample", *model)
    assert typed.run("sample", *model, "--device", "cpu").code == 0
    monkeypatch.setenv("PDPIPE_DEVICE", "")  # as if it were not set
    assert typed.run("sample", *model).code == 0


def test_without_labels_each_class_is_shown(typed: Typed) -> None:
    printed = typed.run("sample", "--model", "models/student-2.safetensors")
    assert printed.out.startswith("wrote grid.png: 10 images by student-2")
