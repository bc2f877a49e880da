"""Mistakes in the settings: one sentence that names the key and the mend, before any work."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch._inductor.config
from PIL import Image

if TYPE_CHECKING:
    from conftest import Typed


def at(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    """A change of one setting of params.yaml."""

    def change(params: dict[str, Any]) -> None:
        *sections, name = key.split(".")
        place = params
        for section in sections:
            place = place[section]
        place[name] = value

    return change


def rungs(**ladder: str) -> Callable[[dict[str, Any]], None]:
    """A ladder of rungs, `s2="4"` for 2 steps from 4."""
    made = {k[1:]: {"from": f, "updates": 2, "learning_rate": 1e-3} for k, f in ladder.items()}
    return at("ladder", made)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (at("teacher.udpates", 5), "unknown key teacher.udpates: did you mean 'updates'?"),
        (at("sede", 5), "unknown key sede: did you mean 'seed'?"),
        (at("ladder.2.form", "4"), "unknown key ladder.2.form: did you mean 'from'?"),
        (at("teacher.updates", "many"), r"teacher.updates: .*integer, got 'many'"),
        (at("teacher.updates", 1.5), r"teacher.updates: .*integer"),
        (at("guide.learning_rate", "fast"), "should be a valid number, got 'fast'"),
        (at("teacher.updates", 0), "teacher.updates: .*greater than or equal to 1, got 0"),
        (at("seed", -1), "seed: .*greater than or equal to 0, got -1"),
        (at("guide.learning_rate", float("nan")), "guide.learning_rate: .*finite"),
        (at("data", None), "data is null: write a section"),
        (at("teacher.parameterization", "vv"), "teacher.parameterization is 'vv'"),
        (at("guide.w_min", 9.0), r"guide.w_min \(9.0\) is above guide.w_max \(4.0\): swap them"),
        (at("evaluation.w", [0.0, 9.0]), "evaluation.w has 9.0, outside the range"),
        (rungs(s2="8"), 'ladder."2".from is "8", which is neither guide.steps'),
        (rungs(s2="1", s1="2"), "the ladder is circular"),
        (rungs(s3="4"), 'ladder."3".from is "4": the teacher must take a multiple of 3'),
        (at("ladder", {2: {"from": "4"}}), 'ladder key 2 must be quoted, "2"'),
        (at("network.channel_multipliers", [1] * 5), "data.image_size 8 cannot be halved at every"),
        (at("runtime.device", "gpu"), "runtime.device .*'gpu'"),
    ],
)
@pytest.mark.parametrize("command", ["teacher", "prepare"])
def test_a_mistake_in_the_settings(
    typed: Typed,
    change: Callable[[dict[str, Any]], None],
    sentence: str,
    command: str,
) -> None:
    params = typed.params()
    change(params)
    typed.write(params)
    assert re.search(sentence, typed.refused(command))


def test_no_params_file_or_one_that_is_no_yaml(typed: Typed) -> None:
    (typed.root / "params.yaml").write_text("seed: [")
    assert "params.yaml is not valid YAML" in typed.refused("check")
    (typed.root / "params.yaml").unlink()
    assert "params.yaml does not exist here" in typed.refused("check")


def test_a_mistake_in_the_environment(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDPIPE_THREADS", "many")
    assert "environment variable PDPIPE_THREADS" in typed.refused("teacher")


def test_steps_that_are_no_rung(typed: Typed) -> None:
    for command in ("halve", "evaluate"):
        assert "--steps 3 is not a rung of the ladder" in typed.refused(command, "--steps", "3")


def test_samples_that_the_classes_cannot_share(typed: Typed) -> None:
    params = typed.params()
    params["evaluation"]["num_samples"] = 25
    typed.write(params)
    for command in ("check", "evaluate-teacher"):
        assert "evaluation.num_samples is 25" in typed.refused(command)


def test_check_looks_at_the_folder_and_at_the_device(typed: Typed) -> None:
    for name in ("cat", "dog", "yak"):
        folder = typed.root / "data/raw" / name
        folder.mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "one.png")
    params = typed.params()
    params["data"] |= {"source": "folder", "path": "data/raw"}
    params["evaluation"] |= {"num_samples": 20, "paired_samples": 10}
    typed.write(params)
    sentence = "which 3 classes cannot share equally: make it a multiple of 3, such as 18"
    assert sentence in typed.refused("check")
    params["evaluation"]["num_samples"] = 21
    params["runtime"]["device"] = "gpu"
    typed.write(params)
    assert "runtime.device (or PDPIPE_DEVICE, --device) is 'gpu'" in typed.refused("check")
    params["runtime"]["device"] = "cpu"
    typed.write(params)
    assert typed.run("check").code == 0


def test_check_says_what_the_chain_is(typed: Typed) -> None:
    assert typed.run("check").out == "params.yaml is valid: digits, ladder 4 -> 2\n"


def test_check_writes_the_same_file_for_all_settings_but_none_for_wrong_ones(typed: Typed) -> None:
    done, params = typed.root / "results/checked", typed.params()
    assert typed.run("check", "--done", "results/checked").code == 0
    content = done.read_bytes()
    done.unlink()
    params["teacher"]["updates"] += 1
    typed.write(params)
    assert typed.run("check", "--done", "results/checked").code == 0
    assert done.read_bytes() == content
    done.unlink()
    params["teacher"]["updates"] = -1
    typed.write(params)
    assert typed.run("check", "--done", "results/checked").code != 0
    assert not done.exists()


def test_check_says_what_dvc_would_miss(typed: Typed) -> None:
    params = typed.params()
    params["data"]["path"] = "data/raw"
    typed.write(params)
    sentence = "data.path data/raw does not exist, and DVC looks at it: put your images there, or"
    assert sentence in typed.refused("check", "--done", "results/checked")
    assert typed.run("check").code == 0


# What only a look at the machine shows.


def test_check_looks_at_the_inception_file_and_its_digest(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = typed.params()
    params["evaluation"]["extractor"] = "inception-v3-compat"
    typed.write(params)
    assert "needs a weights file: download https://" in typed.refused("check")
    monkeypatch.setenv("HOME", str(typed.root))
    monkeypatch.setenv("PDPIPE_WEIGHTS", "~/w.pth")
    assert f"the weights file {typed.root}/w.pth does not exist" in typed.refused("check")
    (typed.root / "w.pth").write_bytes(b"other weights")
    assert "does not begin with evaluation.weights_sha256 (6726825d)" in typed.refused("check")
    params["evaluation"]["weights_sha256"] = hashlib.sha256(b"other weights").hexdigest()
    typed.write(params)
    assert typed.run("check").code == 0


@pytest.mark.parametrize("folder", ["models", "results", "reports", "data", ".pdpipe"])
@pytest.mark.parametrize("place", ["a file", "/proc/self", "nowhere/at/all"])
def test_check_looks_at_the_places_that_stages_write_to(
    typed: Typed, folder: str, place: str
) -> None:
    path = typed.root / folder
    if path.exists():
        shutil.rmtree(path)
    if place == "a file":
        path.write_text("")
    else:
        path.symlink_to(place)
    assert f"nothing can be written to {folder}" in typed.refused("check")


def test_check_looks_at_the_name_of_the_projects_folder(typed: Typed) -> None:
    strange = typed.root.parent / os.fsdecode(b"caf\xe9")
    typed.root.rename(strange)
    project = dataclasses.replace(typed, root=strange)
    assert r"folder '" in project.refused("check")
    assert r"caf\xe9' has a name that is not UTF-8" in project.refused("check")


def test_check_looks_for_the_compiler(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDPIPE_COMPILE", "true")
    with torch._inductor.config.patch({"cpp.cxx": (None, "/nowhere/g++")}):
        sentence = typed.refused("check")
    assert "torch.compile does not work on cpu here (" in sentence
    assert sentence.endswith("install a C++ compiler such as g++, or set it to false")
