"""Where a run happens: tags that name the stage, the commit, the versions and the machine."""

from __future__ import annotations

import getpass
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pdpipe

# What a run of the pipeline itself rewrites says nothing about the sources it ran with.
_WRITTEN_BY_RUNS = ("dvc.lock", "results", "reports")
_GIT_SECONDS = 5


def provenance_tags(stage: str) -> dict[str, str]:
    """Tags of a run of `stage` in this folder; what cannot be found out is left out.

    `mlflow.*` are the keys that the MLflow UI shows in columns of its own.
    """
    torch = sys.modules.get("torch")  # only where it is loaded already: importing it would be slow
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    tags = {
        "pdpipe.stage": stage,
        "dvc.stage": os.environ.get("DVC_STAGE", stage),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": command,
        "mlflow.user": _user(),
        "pdpipe.platform": platform.platform(),
        "pdpipe.threads": "" if torch is None else str(torch.get_num_threads()),
        "pdpipe.version.python": platform.python_version(),
        "pdpipe.version.pdpipe": pdpipe.__version__,
        "pdpipe.version.torch": version("torch"),
        **git_tags(),
    }
    return {key: value for key, value in tags.items() if value}


def git_tags() -> dict[str, str]:
    """The commit, and whether tracked files differ from it; nothing outside a git work tree."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    outside = [f":(exclude){path}" for path in _WRITTEN_BY_RUNS]
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *outside)
    dirty = {} if changes is None else {"pdpipe.git_dirty": "true" if changes else "false"}
    return {"mlflow.source.git.commit": commit, **dirty}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except subprocess.CalledProcessError as error:
        _say_if_owned_by_another(error.stderr)
        return None
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _say_if_owned_by_another(complaint: str) -> None:
    """Say why runs have no commit, where git refuses to read a repository of another user's."""
    found = re.search(r"dubious ownership in repository at '(.*)'", complaint)
    if found is not None:
        print(
            f"tracking: the run has no commit, since {found[1]} belongs to another user and git "
            "does not read it; if you trust it, run `git config --global --add safe.directory "
            f"{found[1]}`",
            file=sys.stderr,
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        return ""
