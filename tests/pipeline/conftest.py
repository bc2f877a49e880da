"""The pipeline itself, tiny, in a temporary repository: the real `dvc` runs the real `pdpipe`.

The chain is built once. A test that changes something works on a copy of it.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# What the pipeline consists of; a copy of the package, so that tests may change its code.
PARTS = (
    "dvc.yaml",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvc/plots",
    ".dvcignore",
    ".gitattributes",
    ".gitignore",
    "data/README.md",
    "pdpipe",
)
COPY_VERSION = "0.0.0+copy"  # of the copied package: its outputs show that it was the one that ran


@dataclass(frozen=True)
class Project:
    """A repository with the pipeline in it, and the ways to use it."""

    root: Path
    environment: Mapping[str, str]

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """A command on its way in the repository, its stdout and stderr in one pipe."""
        return subprocess.Popen(
            command,
            cwd=self.root,
            env={**self.environment, "PYTHONPATH": str(self.root), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, fails: bool = False, **environment: str) -> str:
        """What a command prints; asserts that it succeeds, or that it fails."""
        process = self.start(*command, **environment)
        output, _ = process.communicate()
        assert (process.returncode != 0) == fails, output
        return output

    def repro(self, *arguments: str, **environment: str) -> list[str]:
        """The stages that `dvc repro` ran, in order."""
        return find_stages(self.run("dvc", "repro", *arguments, **environment))

    def status(self) -> dict[str, Any]:
        """What `dvc status` finds changed, {} for nothing."""
        return json.loads(self.run("dvc", "status", "--json").splitlines()[-1])

    def json(self, path: str) -> Any:
        """What a JSON file holds."""
        return json.loads((self.root / path).read_text(encoding="utf-8"))

    def params(self) -> dict[str, Any]:
        """The parsed params.yaml."""
        return yaml.safe_load((self.root / "params.yaml").read_text(encoding="utf-8"))

    def set(self, key: str, value: object) -> None:
        """Change one setting, such as ladder.1.updates."""
        params = self.params()
        *sections, name = key.split(".")
        place = params
        for section in sections:
            place = place[section]
        assert name in place
        place[name] = value
        self.write_params(params)

    def write_params(self, params: dict[str, Any]) -> None:
        """Replace params.yaml."""
        text = yaml.safe_dump(params, sort_keys=False)
        (self.root / "params.yaml").write_text(text, encoding="utf-8")

    def append(self, path: str, text: str) -> None:
        """Add text to the end of a file."""
        with (self.root / path).open("a", encoding="utf-8") as file:
            file.write(text)

    def commit(self) -> None:
        """Commit everything that git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "a state")

    def locked(self) -> dict[str, Any]:
        """The stages in dvc.lock."""
        text = (self.root / "dvc.lock").read_text(encoding="utf-8")
        return yaml.safe_load(text)["stages"]

    def files(self, *folders: str) -> dict[str, bytes]:
        """{path: contents} of everything in some folders."""
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for folder in folders
            for path in sorted((self.root / folder).rglob("*"))
            if path.is_file()
        }


def find_stages(output: str) -> list[str]:
    """The stages whose commands DVC says it started."""
    return re.findall(r"^Running stage '(.*)':$", output, re.MULTILINE)


@pytest.fixture(scope="session")
def stages_run() -> Callable[[str], list[str]]:
    """Finds the stages that ran in what DVC printed."""
    return find_stages


@pytest.fixture(scope="session")
def read_csv() -> Callable[[str], list[dict[str, str]]]:
    """Reads the table that DVC printed."""

    def read(output: str) -> list[dict[str, str]]:
        return list(csv.DictReader(output[output.index("Experiment,") :].splitlines()))

    return read


def tiny_params() -> dict[str, Any]:
    """The digits preset with next to no work in it: 4 -> 2 -> 1 steps."""
    params = yaml.safe_load((ROOT / "pdpipe/presets/digits.yaml").read_text(encoding="utf-8"))
    params["extractor"] |= {
        "source": "train",
        "updates": 30,
        "features": 16,
        "batch_size": 32,
        "min_accuracy": 0.0,
    }
    params["network"] |= {"base_channels": 4, "head_channels": 4, "embedding_channels": 8}
    params["network"]["norm_groups"] = 2
    for section in ("teacher", "guide", "halve"):
        params[section] |= {"batch_size": 8}
    params["teacher"] |= {"updates": 120}  # enough for a kill in the middle
    params["guide"] |= {"updates": 10, "steps": 4, "w_frequencies": 4}
    params["ladder"] = {
        "2": {"from": "4", "updates": 10, "learning_rate": 5e-4},
        "1": {"from": "2", "updates": 10, "learning_rate": 5e-4},
    }
    params["evaluation"] |= {"num_samples": 20, "paired_samples": 10}
    params["evaluation"] |= {"w": [0.0, 1.0], "teacher_steps": [1, 2, 4]}
    params["runtime"] |= {"device": "cpu", "threads": 1}
    return params


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The programs of this virtual environment, and no settings of the caller's."""
    settings = tmp_path_factory.mktemp("settings")
    (settings / "config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    ours = ("PDPIPE_", "MLFLOW_", "DVC_", "GIT_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "PDPIPE_TRACKING": "off",
        "DVC_GLOBAL_CONFIG_DIR": str(settings),
        "DVC_SYSTEM_CONFIG_DIR": str(settings / "none"),
        "DVC_SITE_CACHE_DIR": str(settings / "cache"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }


def new_project(root: Path, environment: Mapping[str, str]) -> Project:
    """A committed repository with the pipeline at a tiny setting; nothing has run in it."""
    for part in PARTS:
        source, target = ROOT / part, root / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    code = root / "pdpipe/__init__.py"
    text, count = re.subn(
        r"(?m)^__version__ = .*$", f'__version__ = "{COPY_VERSION}"', code.read_text()
    )
    assert count == 1
    code.write_text(text)
    project = Project(root, environment)
    project.write_params(tiny_params())
    (root / "stages").mkdir()
    (root / "stages/studies.json").write_text("{}\n")
    project.run("git", "init", "--quiet")
    set_author(project)
    project.commit()
    return project


def set_author(project: Project) -> None:
    """Let git commit in this repository."""
    project.run("git", "config", "user.name", "A Tester")
    project.run("git", "config", "user.email", "tester@example.org")


@pytest.fixture(scope="module")
def unbuilt(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Project:
    """A repository in which nothing has run."""
    return new_project(tmp_path_factory.mktemp("unbuilt") / "project", environment)


@dataclass(frozen=True)
class Chain:
    """The finished chain: what its building said, and how long the second `dvc repro` took."""

    project: Project
    output: str
    second: list[str]
    second_seconds: float


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Chain:
    """The chain, built once and committed; tests must not change it."""
    project = new_project(tmp_path_factory.mktemp("chain") / "project", environment)
    output = project.run("dvc", "repro")
    started = time.monotonic()
    second = project.repro()
    seconds = time.monotonic() - started
    project.commit()
    return Chain(project, output, second, seconds)


@pytest.fixture(scope="session")
def copy_of(environment: dict[str, str]) -> Callable[[Project, Path], Project]:
    """Copies a project, its cache and repository included."""

    def copy(project: Project, root: Path) -> Project:
        shutil.copytree(project.root, root, symlinks=True)
        return Project(root, environment)

    return copy


@pytest.fixture(scope="session")
def clone_of(environment: dict[str, str]) -> Callable[[Project, Path], Project]:
    """Clones a project with git: without its cache, and without what git ignores."""

    def clone(project: Project, root: Path) -> Project:
        project.run("git", "clone", "--quiet", str(project.root), str(root))
        cloned = Project(root, environment)
        set_author(cloned)
        return cloned

    return clone


@pytest.fixture
def project(chain: Chain, copy_of: Callable[[Project, Path], Project], tmp_path: Path) -> Project:
    """A copy of the finished chain, free to be changed."""
    return copy_of(chain.project, tmp_path / "project")
