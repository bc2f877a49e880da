"""Images of one's own in data/raw: with `dvc add`, and without."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Project

ANOTHER = ("-S", "data.heldout_fraction=0.3", "prepare")


@pytest.fixture(scope="module")
def own(unbuilt: Project) -> Project:
    """A repository whose shards were made from images in data/raw, all but these committed."""
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        folder = unbuilt.root / "data/raw" / name
        folder.mkdir(parents=True)
        for index in range(10):
            pixels = generator.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    unbuilt.set("data.source", "folder")
    unbuilt.set("data.path", "data/raw")
    assert unbuilt.repro("prepare") == ["check", "prepare"]
    unbuilt.commit()
    assert "data/raw" not in unbuilt.run("git", "ls-files")
    return unbuilt


@pytest.fixture
def project(own: Project, copy_of: Callable[..., Project], tmp_path: Path) -> Project:
    return copy_of(own, tmp_path / "project")


def images(project: Project) -> int:
    """How many images the shards hold."""
    splits = project.json("data/shards/manifest.json")["splits"]
    return sum(split["count"] for split in splits.values())


def add_image(project: Project, name: str) -> None:
    folder = project.root / "data/raw/cat"
    shutil.copy(folder / "0.png", folder / name)


def test_without_dvc_add_changes_are_followed(project: Project) -> None:
    assert images(project) == 20
    add_image(project, "another.png")
    assert project.repro("prepare") == ["prepare"]
    assert images(project) == 21


def test_with_dvc_add_too_and_a_clone_pulls_them(
    project: Project, clone_of: Callable[..., Project], tmp_path: Path
) -> None:
    project.run("dvc", "add", "data/raw")
    assert project.repro("prepare") == []  # the same images
    add_image(project, "another.png")
    assert project.repro("prepare") == ["prepare"]
    assert images(project) == 21
    project.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    project.commit()
    assert "data/raw/" not in project.run("git", "ls-files")

    project.run("dvc", "exp", "run", "--temp", "--name", "less", *ANOTHER)
    assert "less" in project.run("dvc", "exp", "list", "--name-only").split()

    project.run("dvc", "push")
    clone = clone_of(project, tmp_path / "clone")
    clone.run("dvc", "pull", "data/raw.dvc", "check", "prepare")
    assert clone.files("data/raw", "data/shards") == project.files("data/raw", "data/shards")
    assert clone.repro("prepare") == []


def test_an_experiment_in_its_own_folder_says_that_it_needs_dvc_add(project: Project) -> None:
    said = project.run("dvc", "exp", "run", "--temp", *ANOTHER, fails=True)
    assert "error: data.path data/raw is not in the folder of this experiment" in said
    assert "run `dvc add data/raw` and commit data/raw.dvc" in said
    assert "Traceback" not in said
