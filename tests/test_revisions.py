"""A project's files at commits, tags, branches and experiments of a real git and DVC repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pdpipe.errors import RevisionError
from pdpipe.revisions import TABLE, WORKSPACE, open_tree

PARAMS = Path("params.yaml")


def run(folder: Path, *command: str) -> str:
    """What a program prints, with no settings of the caller's."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "DVC_"))}
    ours = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "DVC_NO_ANALYTICS": "1",
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=kept | ours | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def fill(folder: Path, text: str) -> None:
    (folder / "reports").mkdir(exist_ok=True)
    (folder / TABLE).write_text(text)
    (folder / PARAMS).write_text(f"value: {text}\n")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits, a tag, an experiment, a report that DVC keeps on a branch, edits on top."""
    root = tmp_path_factory.mktemp("repository")
    run(root, "git", "init", "--quiet", "--initial-branch=main")
    run(root, "git", "config", "user.name", "A Tester")
    run(root, "git", "config", "user.email", "tester@example.org")
    run(root, "dvc", "init", "--quiet")
    fill(root, "first")
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "-m", "first")
    run(root, "git", "tag", "v1")
    fill(root, "second")
    run(root, "git", "commit", "--quiet", "-am", "second")
    fill(root, "tried")
    run(root, "dvc", "exp", "save", "--quiet", "--name", "better-idea")
    run(root, "git", "checkout", "--quiet", "-f", "-b", "cached")
    run(root, "git", "rm", "--quiet", "--cached", str(TABLE))
    (root / TABLE).write_text("from the cache")
    run(root, "dvc", "add", "--quiet", str(TABLE))
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "-m", "the table in DVC's cache")
    run(root, "git", "checkout", "--quiet", "-f", "main")
    run(root, "git", "rm", "--quiet", "-r", "reports")
    run(root, "git", "commit", "--quiet", "-m", "no report")
    fill(root, "edited")
    return root


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("v1", "first"),
        ("main~1", "second"),
        ("better-idea", "tried"),
        ("cached", "from the cache"),
        (WORKSPACE, "edited"),
        ("reports", "edited"),
        ("reports/table.csv", "edited"),
    ],
)
def test_files_of_a_name(repository: Path, name: str, text: str) -> None:
    with open_tree(name, repository) as tree:
        assert tree.read(TABLE) == text
        expected = "second" if name == "cached" else text
        assert tree.read(PARAMS) == f"value: {expected}\n"
        assert tree.read(Path("results/metrics/none.json")) is None


def test_a_revision_without_the_file(repository: Path) -> None:
    with open_tree("main", repository) as tree:
        assert tree.read(TABLE) is None


def test_a_commit_is_called_by_its_name_and_its_number(repository: Path) -> None:
    commit = run(repository, "git", "rev-parse", "v1").strip()
    for name, shown in (("v1", f"v1 ({commit[:7]})"), (commit[:9], commit[:9])):
        with open_tree(name, repository) as tree:
            assert tree.name == shown


def test_a_table_away_from_its_project_is_only_that(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / "reports", tmp_path / "kept")
    (tmp_path / PARAMS).write_text("value: of something else\n")
    for name in ("kept", "kept/table.csv"):
        with open_tree(str(tmp_path / name), repository) as tree:
            assert tree.read(TABLE) == "edited"
            assert tree.read(PARAMS) is None


def test_a_kept_report_has_what_lies_beside_its_table(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / "reports", tmp_path / "kept")
    (tmp_path / "kept/metrics").mkdir()
    (tmp_path / "kept/metrics/teacher.json").write_text("{}")
    (tmp_path / "kept" / PARAMS).write_text("value: kept\n")
    with open_tree(str(tmp_path / "kept"), repository) as tree:
        assert tree.read(PARAMS) == "value: kept\n"
        assert tree.read(Path("results/metrics/teacher.json")) == "{}"
        assert tree.read(Path("results/metrics/student-1.json")) is None


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mian", r"no revision 'mian' .*did you mean 'main'\?$"),
        ("better-ide", r"no revision 'better-ide' .*did you mean 'better-idea'\?$"),
        (
            "0123abc",
            r"no revision '0123abc' .*choose from workspace, cached, main, v1, better-idea",
        ),
        ("v1^{tree}~3", r"no revision"),
        ("kept/table.csv", r"there is no report at kept/table.csv: give the folder of one"),
    ],
)
def test_names_of_nothing(repository: Path, name: str, sentence: str) -> None:
    with pytest.raises(RevisionError, match=sentence), open_tree(name, repository):
        pass


def test_a_folder_that_is_no_project(tmp_path: Path) -> None:
    with (
        pytest.raises(RevisionError, match="revisions are those of a DVC project"),
        open_tree("main", tmp_path),
    ):
        pass


def test_a_project_without_git(tmp_path: Path) -> None:
    run(tmp_path, "dvc", "init", "--quiet", "--no-scm")
    with pytest.raises(RevisionError, match="not in git"), open_tree("main", tmp_path):
        pass


def test_a_table_that_is_not_text(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(b"\xff\xfe\x00")
    with open_tree(str(tmp_path), repository) as tree, pytest.raises(RevisionError, match="read"):
        tree.read(TABLE)


def test_a_project_below_gits_root(repository: Path, tmp_path: Path) -> None:
    """Of its own files: those that git keeps, and those in DVC's cache."""
    folder = tmp_path / "below/the/root"
    folder.mkdir(parents=True)
    run(tmp_path, "git", "init", "--quiet")
    run(tmp_path, "git", "config", "user.name", "A Tester")
    run(tmp_path, "git", "config", "user.email", "tester@example.org")
    run(folder, "dvc", "init", "--quiet", "--subdir")
    fill(folder, "first")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "-m", "first")
    run(folder, "git", "rm", "--quiet", "--cached", str(TABLE))
    run(folder, "dvc", "add", "--quiet", str(TABLE))
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "-m", "the table in DVC's cache")
    (folder / TABLE).unlink()
    for name in ("HEAD", "HEAD~1"):
        with open_tree(name, folder) as tree:
            assert tree.read(TABLE) == "first"
            assert tree.read(PARAMS) == "value: first\n"
            assert tree.read(Path("nothing.csv")) is None


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root can give files away")
def test_a_repository_of_another_user(repository: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(repository, tmp_path / "theirs", symlinks=True)
    for path in (copied, *copied.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    with pytest.raises(RevisionError) as caught, open_tree("v1", copied):
        pass
    assert str(caught.value) == (
        f"git cannot read this repository: {copied} belongs to another user; if you trust it, run "
        f"`git config --global --add safe.directory {copied}`"
    )
