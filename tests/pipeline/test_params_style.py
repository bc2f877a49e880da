"""Params files are written as DVC writes them: one setting changed is one line changed."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dvc.utils.hydra import apply_overrides

from pdpipe.layout import PARAMS
from pdpipe.presets import preset_files, preset_names

if TYPE_CHECKING:
    from conftest import Project

PIPELINE = "stages:\n  rung:\n    cmd: echo a rung\n    params: [ladder.1]\n"


def changed_lines(before: str, after: str) -> list[str]:
    """The new text of the lines that differ."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line[2:] for line in lines if line.startswith("+ ")]


@pytest.mark.parametrize("preset", preset_names())
def test_dvc_keeps_every_other_line_of_a_preset(preset: str, tmp_path: Path) -> None:
    """Comments too."""
    path = tmp_path / PARAMS
    for name, text in preset_files(preset).items():
        path.write_text(text, encoding="utf-8")
        key = "ladder.1.updates" if name == PARAMS else "title"
        apply_overrides(path, [f"{key}=123456"])
        (line,) = changed_lines(text, path.read_text(encoding="utf-8"))
        assert line.split() == [f"{key.split('.')[-1]}:", "123456"], name


def test_an_experiment_changes_one_line_in_git(unbuilt: Project) -> None:
    shutil.copy(Path(__file__).parents[2] / PARAMS, unbuilt.root)
    (unbuilt.root / "dvc.yaml").write_text(PIPELINE)
    unbuilt.commit()
    unbuilt.run("dvc", "exp", "run", "-S", "ladder.1.updates=1000")
    assert unbuilt.run("git", "diff", "--numstat").split() == ["1", "1", "params.yaml"]
    assert unbuilt.params()["ladder"]["1"]["updates"] == 1000
