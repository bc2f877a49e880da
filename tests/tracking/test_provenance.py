"""Names that MLflow takes, and the tags that say where a run comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdpipe.tracking.names import flatten, legal_folder, legal_key, without_password
from pdpipe.tracking.provenance import git_tags, provenance_tags
from pdpipe.tracking.server import server_address


def test_a_repository_of_another_user_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own way to try this
    monkeypatch.chdir(tmp_path)
    assert git_tags() == {}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tracking: the run has no commit, since {tmp_path} belongs to another")
    assert f"run `git config --global --add safe.directory {tmp_path}`" in line


@given(st.text(max_size=300))
def test_any_name_becomes_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import (
        _validate_metric_name,
        _validate_param_name,
        _validate_tag_name,
    )

    key = legal_key(name)
    _validate_metric_name(key)
    _validate_param_name(key)
    _validate_tag_name(key)
    assert 0 < len(key) <= 250


@pytest.mark.parametrize(
    ("name", "key", "folder"),
    [
        ("halve@4", "halve-4", "halve@4"),
        ("fid/student-4", "fid/student-4", "fid-student-4"),
        ("studies/x/dvc.yaml:sweep@1", "studies/x/dvc.yaml-sweep-1", "studies-x-dvc.yaml-sweep@1"),
        ("../escape", "escape", "-escape"),
    ],
)
def test_names_stay_readable(name: str, key: str, folder: str) -> None:
    assert legal_key(name) == key
    assert legal_folder(name) == folder


def test_flatten_keeps_text_and_writes_the_rest_as_json() -> None:
    nested = {"a": {"b": None, "c": True, "d": {"e": [1, 2.5]}}, "f": "text", "g": {}}
    assert flatten(nested) == {
        "a.b": "null",
        "a.c": "true",
        "a.d.e": "[1, 2.5]",
        "f": "text",
    }


def test_passwords_are_left_out() -> None:
    text = "https://user:pw@host:5000/x and postgresql://u:p@h/db"
    assert without_password(text) == "https://host:5000/x and postgresql://h/db"


def test_the_address_is_the_environments_or_the_projects(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server_address().uri == "sqlite:///mlflow.db"  # where the uploader stands
    assert server_address().experiment == "pdpipe"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert server_address().uri == "http://host"
    assert server_address().experiment == "mine"


def test_git_tags_tell_changed_sources_from_changed_results(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", *identity, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert git_tags() == {}
    git("init")
    assert git_tags() == {}, "a repository without a commit"
    for name in ("params.yaml", "dvc.lock"):
        (project / name).write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    (project / "dvc.lock").write_text("2")
    (project / "untracked").write_text("2")
    assert git_tags() == {"mlflow.source.git.commit": commit, "pdpipe.git_dirty": "false"}
    (project / "params.yaml").write_text("2")
    assert git_tags()["pdpipe.git_dirty"] == "true"


def test_no_git_and_no_dvc_is_no_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project))
    tags = provenance_tags("teacher")
    assert tags["dvc.stage"] == tags["pdpipe.stage"] == "teacher"
    assert "mlflow.source.git.commit" not in tags
