"""`pdpipe new`: what a project is made of, by a checkout and by a wheel; what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from pdpipe.cli import main
from pdpipe.params import read_params
from pdpipe.pipeline import CODE
from pdpipe.presets import preset_files, preset_names
from pdpipe.projects.files import FILES
from pdpipe.projects.package import installed, package_text
from pdpipe.projects.template import project_files, template_digests

ROOT = Path(__file__).parents[2]


def call(folder: Path, *arguments: str) -> int:
    """The exit code of the command, run in `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["pdpipe", *arguments])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def files(folder: Path) -> set[str]:
    """Every file of a project but git's."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if path.parts[0] != ".git"}


@pytest.mark.parametrize("preset", preset_names())
def test_a_project_has_what_it_needs(tmp_path: Path, preset: str) -> None:
    assert call(tmp_path, "new", "project", "--preset", preset, "--studies", "baselines") == 0
    project = tmp_path / "project"
    own = {"README.md", "package.yaml", "params.yaml", "stages/studies.json"}
    assert files(project) == {*FILES, *own, "stages/baselines/params.yaml"}
    assert (project / ".git").is_dir()
    params = project / "params.yaml"
    assert params.read_text() == preset_files(preset)[Path("params.yaml")]
    assert read_params(params).data
    assert (project / "package.yaml").read_text() == package_text(installed(template_digests()))


def test_stages_depend_on_digests_where_those_of_the_repository_depend_on_files() -> None:
    theirs = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    ours = yaml.safe_load(project_files()[Path("dvc.yaml")])
    assert ours["stages"].keys() - {"check"} == CODE.keys()
    for name, stage in theirs["stages"].items():
        mine = ours["stages"].pop(name)
        stage, mine = stage.get("do", stage), mine.get("do", mine)
        if name in CODE:
            mine["params"].remove({"package.yaml": [f"stages.{name}"]})
            stage["deps"] = [dep for dep in stage["deps"] if not dep.startswith("pdpipe/")]
        assert mine == stage
    assert ours.pop("stages") == {}
    del theirs["stages"]
    assert ours == theirs


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name, said in (("full", "is not empty"), ("file", "is not a folder"), (".", "not empty")):
        assert call(tmp_path, "new", name) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert said in line
    assert call(tmp_path, "new", "other", "--studies", "baseline") == 2
    assert "did you mean 'baselines'?" in capsys.readouterr().err
    assert {path.name for path in tmp_path.rglob("*")} == {"full", "file", "mine.txt"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--hours 2", "--hours, --trial and --copy are about --images"),
        ("--images images --hours 2 --trial", "leave one of them out"),
        ("--preset digits --images images", "leave one of them out"),
        ("--preset digit", "did you mean 'digits'?"),
        ("--images nowhere", "--images nowhere does not exist"),
        ("--images .", "project lies in --images ., whose folders are classes"),
        ("--images images --hours 0", "0.01"),
    ],
)
def test_options_that_do_not_go_together_are_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, said: str
) -> None:
    assert call(tmp_path, "new", "project", *arguments.split()) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert [*tmp_path.iterdir()] == []


def test_the_next_command_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, "new", "my first; project") == 0
    assert "next: cd 'my first; project' && pdpipe" in capsys.readouterr().out


def test_without_git_there_is_a_sentence_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert call(tmp_path, "new", "project", "--images", "images") == 2
    assert "git is not installed" in capsys.readouterr().err


def test_in_a_repository_it_is_a_part_of_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    assert call(tmp_path, "new", "inside") == 0
    assert "in the git repository around it" in capsys.readouterr().out
    assert not (tmp_path / "inside/.git").exists()
    status = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(status, cwd=tmp_path / "inside", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "prepare" in done.stdout
    (tmp_path / ".gitignore").write_text("/scratch/\n")
    assert call(tmp_path, "new", "scratch/project") == 2
    assert "which ignores it" in capsys.readouterr().err
    assert not (tmp_path / "scratch").exists()


def test_an_empty_clone_is_taken(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    assert call(tmp_path, "new", ".") == 0
    assert (tmp_path / "dvc.yaml").is_file()


def test_a_wheel_makes_the_same_project_as_a_checkout(tmp_path: Path) -> None:
    """The wheel holds the root's files, and all the code that stages depend on."""
    source = tmp_path / "source"
    for name in ("pdpipe", "setup.py", "pyproject.toml", "README.md", "LICENSE", *FILES):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    build = "wheel --quiet --no-deps --no-build-isolation --wheel-dir ../wheels ."
    subprocess.run([sys.executable, "-m", "pip", *build.split()], cwd=source, check=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    assert not (site / "dvc.yaml").exists()
    environment = {**os.environ, "PYTHONPATH": str(site)}
    code = "import pdpipe.cli; pdpipe.cli.main()"
    subprocess.run(
        [sys.executable, "-c", code, "new", "by-wheel"], cwd=tmp_path, env=environment, check=True
    )
    assert call(tmp_path, "new", "by-checkout") == 0
    ours, theirs = tmp_path / "by-checkout", tmp_path / "by-wheel"
    assert files(ours) == files(theirs)
    for name in files(ours) - {"README.md"}:  # which has the project's name
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
