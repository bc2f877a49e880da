"""Commands typed in a tiny project: in this process, where torch is loaded already."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pdpipe.cli import main

PRESET = Path(__file__).parents[2] / "pdpipe/presets/digits.yaml"
STAGES = (
    ["prepare"], ["extractor"], ["reference"], ["teacher"], ["guide"], ["halve", "--steps", "2"],
    ["rungs"], ["evaluate-teacher"], ["evaluate", "--steps", "2"], ["report"],
)  # fmt: skip


@dataclass(frozen=True)
class Printed:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Typed:
    """A project, and what commands typed in it do."""

    root: Path
    captured: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> Printed:
        """What a command prints, and its exit code."""
        self.captured.readouterr()
        code = call(self.root, *arguments)
        printed = self.captured.readouterr()
        return Printed(code, printed.out, printed.err)

    def refused(self, *arguments: str) -> str:
        """The one sentence with which a command is refused; what there was stays as it was."""
        before = self.contents()
        printed = self.run(*arguments)
        assert printed.code == 2, printed
        (line,) = printed.err.splitlines()
        assert line.startswith("error: ")
        assert printed.out == ""
        assert self.contents() == before
        return line.removeprefix("error: ")

    def params(self) -> dict[str, Any]:
        """The parsed params.yaml."""
        return yaml.safe_load((self.root / "params.yaml").read_text(encoding="utf-8"))

    def write(self, params: dict[Any, Any]) -> None:
        """Replace params.yaml."""
        text = yaml.safe_dump(params, sort_keys=False)
        (self.root / "params.yaml").write_text(text, encoding="utf-8")

    def contents(self) -> dict[str, bytes]:
        """Every file of the project but the work in progress."""
        files = {p.relative_to(self.root).as_posix(): p for p in self.root.rglob("*")}
        return {
            name: path.read_bytes()
            for name, path in files.items()
            if path.is_file() and not name.startswith(".pdpipe/")
        }


def call(folder: Path, *arguments: str) -> int:
    """The exit code of the command, run in `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["pdpipe", *arguments])
        patch.setenv("PDPIPE_TRACKING", "off")
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def tiny_params() -> dict[str, Any]:
    """The digits preset with next to no work in it, 4 -> 2 steps."""
    params: dict[str, Any] = yaml.safe_load(PRESET.read_text(encoding="utf-8"))
    params["extractor"] |= {"source": "train", "updates": 10, "features": 8, "min_accuracy": 0.0}
    params["network"] |= {"base_channels": 4, "head_channels": 4, "embedding_channels": 8}
    params["network"]["norm_groups"] = 2
    for section in ("teacher", "guide", "halve"):
        params[section] |= {"batch_size": 8}
    params["teacher"] |= {"updates": 10}
    params["guide"] |= {"updates": 2, "steps": 4, "w_frequencies": 4}
    params["ladder"] = {"2": {"from": "4", "updates": 2, "learning_rate": 5e-4}}
    params["evaluation"] |= {"num_samples": 20, "paired_samples": 10, "w": [0.0, 1.0]}
    params["evaluation"] |= {"teacher_steps": [2, 4], "batch_size": 20}
    params["runtime"] |= {"device": "cpu", "threads": 1}
    return params


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which each stage's command was typed, one after the other."""
    root = tmp_path_factory.mktemp("typed") / "project"
    root.mkdir()
    (root / "params.yaml").write_text(yaml.safe_dump(tiny_params(), sort_keys=False))
    (root / "data").mkdir()
    shutil.copy(PRESET.parents[2] / "data/README.md", root / "data")  # data.path of the digits
    for command in STAGES:
        assert call(root, *command) == 0
    return root


@pytest.fixture
def typed(finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Typed:
    """A copy of it, free to be changed."""
    return Typed(shutil.copytree(finished, tmp_path / "project"), capfd)
