"""Shards, models and sources that are missing, damaged or unreadable: one sentence each."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from pdpipe.data import load_split, read_manifest

if TYPE_CHECKING:
    from conftest import Typed


def damaged(content: bytes) -> bytes:
    """The bytes with one in the middle flipped."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize("command", ["extractor", "teacher", "guide", "reference"])
@pytest.mark.parametrize(
    ("file", "damage", "sentence"),
    [
        ("train-000001.tar", None, r"the shard \S+train-000001.tar is missing: restore it with"),
        ("train-000000.tar", lambda c: c[:-512], "train-000000.tar is truncated"),
        ("train-000002.tar", damaged, "train-000002.tar is altered .*: restore it with"),
        ("manifest.json", None, r"manifest.json does not exist: run `dvc repro prepare`"),
        ("manifest.json", lambda c: c[:40], r"manifest.json is damaged .*`dvc checkout -f`"),
    ],
)
def test_shards_that_are_missing_or_damaged(
    typed: Typed,
    command: str,
    file: str,
    damage: Callable[[bytes], bytes] | None,
    sentence: str,
) -> None:
    path = typed.root / "data/shards" / file
    content = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(content))
    assert re.search(sentence, typed.refused(command))


@pytest.mark.parametrize(
    ("command", "missing", "sentence"),
    [
        (["guide"], "models/teacher.safetensors", "there is no model at {}: run `dvc repro`"),
        (["halve", "--steps", "2"], "models/student-4.safetensors", "there is no model at {}"),
        (["evaluate", "--steps", "2"], "models/student-2.safetensors", "there is no model at {}"),
        (["reference"], "models/extractor.safetensors", "there is no model at {}"),
        (["evaluate-teacher"], "models/extractor.safetensors", "there is no model at {}"),
        (["evaluate-teacher"], "results/reference.safetensors", "{} does not exist"),
        (["evaluate", "--steps", "2"], "results/samples/teacher.safetensors", "{} does not exist"),
        (["report"], "results/metrics/student-2.json", "{} does not exist: run `dvc repro`"),
        (["report"], "results/cost/teacher.json", "{} does not exist: run `dvc repro`"),
        (["report"], "results/samples/student-2.safetensors", "{} does not exist"),
    ],
)
def test_an_input_that_is_missing_or_damaged(
    typed: Typed, command: list[str], missing: str, sentence: str
) -> None:
    path = typed.root / missing
    content = path.read_bytes()
    path.unlink()
    assert sentence.format(missing) in typed.refused(*command)
    path.write_bytes(content[: len(content) // 3])
    assert re.match(rf"{missing} is .*damaged .*: .*run `dvc repro", typed.refused(*command))


# Sources.


def test_the_shards_of_an_image_folder(typed: Typed) -> None:
    """Grey and colour, in folders named by their class, become what was asked for."""
    generator = np.random.default_rng(0)
    for name, shape in (("cats", (12, 8)), ("dogs", (8, 8, 3))):
        (typed.root / "data/raw" / name).mkdir(parents=True)
        for index in range(5):
            pixels = generator.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(typed.root / f"data/raw/{name}/{index}.png")
    for channels in (1, 3):
        params = typed.params()
        params["data"] |= {"source": "folder", "path": "data/raw", "channels": channels}
        params["data"] |= {"heldout_fraction": 0.2}
        typed.write(params)
        assert typed.run("prepare").code == 0
        manifest = read_manifest(typed.root / "data/shards")
        assert manifest.classes == ["cats", "dogs"]
        assert {name: s.class_counts for name, s in manifest.splits.items()} == {
            "train": [4, 4],
            "heldout": [1, 1],
        }
        train = load_split(typed.root / "data/shards", "train")
        assert train.images.shape == (8, channels, 8, 8)
        cats = train.images[train.labels == 0]
        assert channels == 1 or (cats[:, :1] == cats).all()


def folder_of_images(typed: Typed, classes: list[str], each: int = 3) -> dict[str, Any]:
    """The params of a chain on a folder of so many images a class, which it makes."""
    for name in classes:
        (typed.root / "data/raw" / name).mkdir(parents=True, exist_ok=True)
        for index in range(each):
            pixels = np.zeros((8, 8), np.uint8)
            Image.fromarray(pixels).save(typed.root / f"data/raw/{name}/{index}.png")
    params = typed.params()
    params["data"] |= {"source": "folder", "path": "data/raw"}
    typed.write(params)
    return params


def test_images_that_cannot_be_read_are_told_at_once_and_nothing_is_written(typed: Typed) -> None:
    folder_of_images(typed, ["cats", "dogs"])
    for name in ("cats/1.png", "dogs/0.png"):
        (typed.root / "data/raw" / name).write_bytes(b"no image")
    sentence = typed.refused("prepare")
    assert re.match(
        r"2 of 6 images cannot be used: \S+cats/1\.png .*, \S+dogs/0\.png .*:", sentence
    )


def test_what_is_left_out_is_said_once_in_a_run_and_by_check(typed: Typed) -> None:
    folder_of_images(typed, ["cats", "dogs"])
    (typed.root / "data/raw/cats/a.heic").write_bytes(b"")
    note = "note: data/raw has what is left out: 1 .heic\n"
    assert typed.run("check").err == note
    assert typed.run("check", "--done", "results/checked").err == ""
    printed = typed.run("prepare")
    assert (printed.code, printed.err.startswith(note)) == (0, True)


def test_one_class_has_no_classifier(typed: Typed) -> None:
    folder_of_images(typed, ["cats"])
    for command in ("check", "prepare"):
        assert "telling classes apart, but the data have one class: set" in typed.refused(command)
    (typed.root / "data/raw/cats/a.heic").write_bytes(b"")  # may be why
    for command in (["check"], ["check", "--done", "results/checked"], ["prepare"]):
        assert typed.run(*command).err.startswith("note: data/raw has what is left out: 1 .heic\n")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            {"source": "cifar10"},
            "data/README.md is no archive, or is cut off: set data.path to cifar-10-python.tar.gz",
        ),
        ({"source": "digit"}, "data.source is 'digit': did you mean 'digits'?"),
        (
            {"channels": 3},
            "data.image_size is 8 and data.channels 3, but the images of data.source",
        ),
        ({"source": "folder"}, "data.path data/README.md is not a folder: set it to the folder of"),
        ({"source": "folder", "path": "nowhere"}, "data.path nowhere does not exist"),
        (
            {"source": "folder", "path": "models"},
            "data.path is models, which overlaps models",
        ),
    ],
)
def test_a_source_that_cannot_be_used(typed: Typed, data: dict[str, object], sentence: str) -> None:
    params = typed.params()
    params["data"] |= data
    typed.write(params)
    assert sentence in typed.refused("prepare")
