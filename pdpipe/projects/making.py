"""A new project in a folder: its files, and a git repository where there is none."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pdpipe
from pdpipe.errors import ProjectError
from pdpipe.files import write_text
from pdpipe.projects.package import installed, write_package
from pdpipe.projects.template import README, project_files, readme, template_digests


def check_place(folder: Path) -> None:
    """Refuse a place where there is something already, or where git would not keep a project.

    Raises:
        ProjectError: the folder is not empty, is a file, or is ignored by the repository around it;
            or git is not installed.
    """
    _git(Path(), "--version")  # before the time that images take
    if os.path.lexists(folder):
        if not folder.is_dir():
            raise ProjectError(f"{folder} is not a folder: name a new or an empty one")
        if any(path.name != ".git" for path in folder.iterdir()):
            raise ProjectError(
                f"{folder} is not empty, and nothing in it is to be overwritten: name a new or an "
                "empty folder"
            )
    around = repository_around(folder)
    if around is not None and _git(around, "check-ignore", "--quiet", str(folder.resolve())) == 0:
        raise ProjectError(
            f"{folder} lies in the git repository {around}, which ignores it, so that git would "
            "not keep the project: name another place, or change its .gitignore"
        )


def repository_around(folder: Path) -> Path | None:
    """The work tree of the git repository in which a folder lies or would lie."""
    place = folder.resolve()
    return next((p for p in (place, *place.parents) if (p / ".git").exists()), None)


def make_project(folder: Path, texts: Mapping[Path, str]) -> bool:
    """Write a project, and let git know it: its own repository, or the one that it lies in.

    DVC takes a folder with `.dvc` as a project, also below git's root.

    Args:
        folder: where `check_place` found nothing.
        texts: {path: text} of its params files, from its folder on.

    Returns:
        Whether a repository was made.

    Raises:
        ProjectError: git is not installed, or refuses.
    """
    files = {**project_files(), **texts, README: readme(folder.resolve().name, pdpipe.__version__)}
    made = repository_around(folder) is None
    folder.mkdir(parents=True, exist_ok=True)
    if made:
        _git(folder, "init", "--quiet")
    for path, text in files.items():
        write_text(folder / path, text)
    write_package(folder, installed(template_digests()))
    return made


def _git(folder: Path, *arguments: str) -> int:
    """The exit code of git, 0 or 1."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        raise ProjectError("git is not installed, and DVC needs it: install git first") from None
    if done.returncode > 1:
        said = " ".join(done.stderr.split())[:200]
        raise ProjectError(f"git cannot be used in {folder} ({said}): mend that, and try again")
    return done.returncode
