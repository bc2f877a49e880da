"""A project that `pdpipe new` made: what another package makes stale, and a colleague's clone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pdpipe import __version__
from pdpipe.projects.files import FILES

if TYPE_CHECKING:
    from conftest import Project

ROOT = Path(__file__).parents[2]
MEASURED = [
    "reference",
    "rungs",
    "evaluate-teacher",
    *(f"evaluate@{2**n}" for n in range(5, -1, -1)),
]


def install(place: Path) -> str:
    """A copy of the package, with the root's files, for a PYTHONPATH."""
    for name in ("pdpipe", *FILES):
        source, target = ROOT / name, place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return str(place)


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, unbuilt: Project, copy_of: Callable[..., Project]
) -> Project:
    """A project in which the first two stages have run, committed; `../one` is its package."""
    root = tmp_path_factory.mktemp("new")
    package = install(root / "one")
    unbuilt.run("pdpipe", "new", str(root / "project"), PYTHONPATH=package)
    project = type(unbuilt)(root / "project", unbuilt.environment)
    project.set("extractor.updates", 2)
    ran = project.repro("extractor", PYTHONPATH=package)
    assert ran == ["check", "prepare", "extractor"]
    project.run("git", "config", "user.name", "A Tester")
    project.run("git", "config", "user.email", "tester@example.org")
    project.commit()
    return project


def test_the_same_package_anew_and_elsewhere_makes_nothing_stale(
    made: Project, tmp_path: Path
) -> None:
    elsewhere = install(tmp_path / "site")
    assert made.repro("extractor", PYTHONPATH=elsewhere) == []
    assert made.run("git", "status", "--porcelain") == ""


def test_another_package_runs_nothing_until_the_upgrade_which_says_what_it_makes_stale(
    made: Project, copy_of: Callable[..., Project], tmp_path: Path
) -> None:
    project, package = copy_of(made, tmp_path / "project"), install(tmp_path / "two")
    cells = tmp_path / "two/pdpipe/evaluation/cells.py"
    cells.write_text(cells.read_text() + "# a comment\n")
    assert project.repro("extractor", PYTHONPATH=package) == []  # all is done already
    said = project.run("dvc", "repro", "teacher", fails=True, PYTHONPATH=package)
    assert f"error: the installed pdpipe {__version__} has other code than the one that" in said
    init = tmp_path / "two/pdpipe/__init__.py"
    init.write_text(init.read_text().replace(f'"{__version__}"', '"99.0"'))
    said = project.run("dvc", "repro", "teacher", fails=True, PYTHONPATH=package)
    assert (
        f"pdpipe 99.0 is installed, and this project is for {__version__}: run `pdpipe up" in said
    )
    assert "Traceback" not in said

    said = project.run("pdpipe", "upgrade", PYTHONPATH=package)
    assert said.splitlines() == [
        f"this project is for pdpipe 99.0 now (before: {__version__})",
        f"`dvc repro` runs again: {', '.join(MEASURED)}",
        "and, where a result changes by that: report",
    ]
    assert project.repro("extractor", PYTHONPATH=package) == []
    assert project.run("git", "diff", "--name-only").split() == ["package.yaml"]
    again = project.run("pdpipe", "upgrade", PYTHONPATH=package)
    assert "no stage of the chain has to run again" in again


def test_an_upgrade_rewrites_the_pipeline_but_not_one_with_edits(
    made: Project, copy_of: Callable[..., Project], tmp_path: Path
) -> None:
    project, package = copy_of(made, tmp_path / "project"), install(tmp_path / "two")
    template, pipeline = tmp_path / "two/dvc.yaml", project.root / "dvc.yaml"
    text = template.read_text().replace("desc: the diffusion teacher", "desc: a teacher")
    new = text.replace(
        "[seed, teacher, network, schedule]", "[seed, teacher, network, schedule, halve]"
    )
    assert new != text
    template.write_text(new + "# an addition of pdpipe's\n")
    said = project.run("pdpipe", "upgrade", PYTHONPATH=package)
    assert "rewrote dvc.yaml" in said
    assert "`dvc repro` runs again: teacher\n" in said
    assert pipeline.read_text().endswith("# an addition of pdpipe's\n")
    project.append("dvc.yaml", "# an edit\n")
    assert "dvc.yaml" not in project.run("pdpipe", "upgrade", PYTHONPATH=package)
    template.write_text(template.read_text() + "# and another\n")
    said = project.run("pdpipe", "upgrade", PYTHONPATH=package)
    assert "take over what you want from .pdpipe/upgrade/dvc.yaml" in said
    assert pipeline.read_text().endswith("# an addition of pdpipe's\n# an edit\n")
    assert (project.root / ".pdpipe/upgrade/dvc.yaml").read_text().endswith("# and another\n")


def test_a_clone_pulls_what_was_made_and_runs_nothing(
    made: Project,
    copy_of: Callable[..., Project],
    clone_of: Callable[..., Project],
    tmp_path: Path,
) -> None:
    project, package = copy_of(made, tmp_path / "project"), install(tmp_path / "one")
    project.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    project.commit()
    project.run("dvc", "push")
    clone = clone_of(project, tmp_path / "clone")
    clone.run("dvc", "pull", "--allow-missing")
    assert clone.repro("extractor", PYTHONPATH=package) == []
    assert clone.files("models", "data") == project.files("models", "data")


def test_outside_of_a_project_there_is_nothing_to_upgrade(unbuilt: Project) -> None:
    said = unbuilt.run("pdpipe", "upgrade", fails=True)
    assert "error: there is no package.yaml here" in said
