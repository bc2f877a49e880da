"""What makes a study's folder a DVC project: its pipeline, its cache and its remotes."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from pdpipe import layout
from pdpipe.errors import StudyError
from pdpipe.files import write_text

CONFIG = "[core]\n    analytics = false\n[cache]\n    dir = ../../../.dvc/cache\n"
IGNORED = "/config.local\n/tmp\n/cache\n"
_SHARED = ("core", "cache", "remote")  # sections of the root's configuration


def pipeline(study: str, *, encoders: bool = False) -> str:
    """The text of a study's dvc.yaml, of one that reconstructs images by `encoders`."""
    name = "encoders.yaml" if encoders else "arms.yaml"
    text = (resources.files("pdpipe") / "studies" / name).read_text(encoding="utf-8")
    return text.replace("STUDY", study)


def make_project(study: str, *, encoders: bool = False) -> Path:
    """The study's folder, after what it lacks of a DVC project was added.

    The root's cache and remotes are the study's: they are copied to its `.dvc/config.local`.

    Raises:
        StudyError: the current folder is no DVC project, its configuration cannot be read, or the
            study's dvc.yaml is of a version in which studies were no projects.
    """
    folder = layout.study_params(study).parent
    if not Path(".dvc").is_dir():
        raise StudyError("this folder is no DVC project: change to the one with .dvc and dvc.yaml")
    missing = {
        folder / "dvc.yaml": pipeline(study, encoders=encoders),
        folder / ".dvc/config": CONFIG,
        folder / ".dvc/.gitignore": IGNORED,
    }
    if (folder / "dvc.yaml").exists() and not (folder / ".dvc").exists():
        raise StudyError(
            f"{folder / 'dvc.yaml'} is of an older version, for the root's DVC project: delete it "
            f"and dvc.lock beside it, and run `pdpipe study {study}` again, which writes a new one"
        )
    for path, text in missing.items():
        if not path.exists():
            write_text(path, text)
    _share_configuration(folder)
    return folder


def _share_configuration(folder: Path) -> None:
    """Let the study's cache and remotes be those of the root's project."""
    from dvc.config import Config, ConfigError, merge

    try:
        root = Config(".dvc", validate=False)
        shared: dict[str, Any] = {}
        for level in Config.REPO_LEVELS:
            merge(shared, root.load_one(level))
        with Config(str(folder / ".dvc"), validate=False).edit("local", validate=False) as local:
            local.update({section: shared[section] for section in _SHARED})
    except (ConfigError, OSError) as error:
        reason = " ".join(str(error).split())
        raise StudyError(
            f"DVC's configuration in .dvc or {folder / '.dvc'} cannot be read or written "
            f"({reason}): mend the file"
        ) from None
