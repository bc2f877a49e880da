"""A project's files as they are in the checkout, at a revision, or in a report that was kept.

The only module that imports DVC, and only when a revision is asked for: it knows experiments by
their names, and reads a file from git or from its cache, wherever the revision keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pdpipe import layout
from pdpipe.errors import RevisionError, brief, did_you_mean

if TYPE_CHECKING:
    from dvc.repo import Repo

WORKSPACE = "workspace"
TABLE = layout.REPORTS / "table.csv"
METRICS = layout.metrics("").parent


@dataclass(frozen=True)
class Tree:
    """Some files of a project, by their paths from its folder on."""

    name: str  # for the reader: a revision and its commit, a path, or the workspace
    read: Callable[[Path], str | None]  # the text of a file; None: there is no such file


@contextmanager
def open_tree(name: str, project: Path = Path()) -> Iterator[Tree]:
    """The files at `name`: `workspace`, a report's folder, its table.csv, or else a revision.

    A report that lies in its project (`…/reports` beside a `params.yaml`) comes with the project's
    files; any other with the `params.yaml` and `metrics/` beside its table, as in docs/results.

    Args:
        name: as the user gave it; a revision is a branch, tag, commit or DVC experiment.
        project: the project's folder, whose revisions are meant.

    Raises:
        RevisionError: there is no such revision, or no report at that path.
    """
    path = project / name
    if name == WORKSPACE:
        yield Tree(WORKSPACE, _reader(project))
    elif (path / TABLE.name).is_file() or path.is_file() or path.suffix == TABLE.suffix:
        yield _at_path(name, path)
    else:
        with _repository(project) as repo:
            yield _at_revision(name, repo)


def _reader(folder: Path) -> Callable[[Path], str | None]:
    def read(path: Path) -> str | None:
        try:
            return (folder / path).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise RevisionError(f"{folder / path} cannot be read ({brief(error)})") from None

    return read


def _at_path(name: str, path: Path) -> Tree:
    table = path / TABLE.name if path.is_dir() else path
    if not table.is_file():
        raise RevisionError(
            f"there is no report at {name}: give the folder of one, its {TABLE.name}, or a revision"
        )
    home = table.resolve().parents[1]
    if table.resolve() == home / TABLE and (home / layout.PARAMS).is_file():
        return Tree(name, _reader(home))
    read = _reader(table.parent)
    return Tree(name, lambda wanted: read(_kept(wanted, table)))


def _kept(wanted: Path, table: Path) -> Path:
    """Where a report that was kept has a file of its project, if it has it: beside its table."""
    if wanted == TABLE:
        return Path(table.name)
    if wanted.parent == METRICS:
        return Path(METRICS.name) / wanted.name
    return wanted


def _at_revision(name: str, repo: Repo) -> Tree:
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import RevError, resolve_rev

    try:
        commit = resolve_rev(repo.scm, name)
    except RevError:
        known = did_you_mean(name, [WORKSPACE, *_names(repo)][:20])
        raise RevisionError(
            f"there is no revision {name!r} (a branch, tag, commit or experiment) and no report "
            f"at such a path: {known}"
        ) from None
    files = DVCFileSystem(repo.root_dir, rev=commit, subrepos=True)  # from git's root on
    folder = Path(repo.root_dir).relative_to(repo.scm.root_dir)

    def read(path: Path) -> str | None:
        try:
            return str(files.read_text((folder / path).as_posix()))
        except FileNotFoundError:
            return None
        except (DvcException, OSError, UnicodeDecodeError) as error:
            raise RevisionError(f"{path} at {name} cannot be read ({brief(error)})") from None

    return Tree(name if commit.startswith(name) else f"{name} ({commit[:7]})", read)


@contextmanager
def _repository(project: Path) -> Iterator[Repo]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import NoSCM, SCMError
    from pygit2 import GitError

    try:
        repo = Repo(str(project.resolve()))
    except (DvcException, SCMError) as error:
        raise RevisionError(
            f"revisions are those of a DVC project ({brief(error)}): change to its folder, or "
            "compare the folders of two reports"
        ) from None
    try:
        if isinstance(repo.scm, NoSCM):
            raise RevisionError(
                "this project is not in git, so it has no revisions: compare the folders of two "
                "reports"
            )
        yield repo
    except GitError as error:
        raise RevisionError(f"git cannot read this repository: {_mend(error)}") from None
    finally:
        repo.close()


def _mend(error: Exception) -> str:
    """What git's library says, and what to do about it."""
    owned = re.search(r"repository path '(.*)' is not owned by current user", str(error))
    if owned is None:
        return f"{brief(error)}; mend what `git fsck` finds"
    return (
        f"{owned[1]} belongs to another user; if you trust it, run "
        f"`git config --global --add safe.directory {owned[1].rstrip('/')}`"
    )


def _names(repo: Repo) -> list[str]:
    """Every branch, tag and experiment."""
    from dvc.repo.experiments.utils import exp_refs

    experiments = [ref.name for ref in exp_refs(repo.scm) if ref.name]
    return [*repo.scm.list_branches(), *repo.scm.list_tags(), *experiments]
