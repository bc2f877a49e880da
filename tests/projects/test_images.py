"""`pdpipe new --images`: settings that run as they are, by the forecast's measurements."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pdpipe.cli import main
from pdpipe.params import read_params
from pdpipe.projects import fitting


def call(folder: Path, *arguments: str) -> int:
    """The exit code of the command, run in `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["pdpipe", *arguments])
        patch.setenv("PDPIPE_TRACKING", "off")
        patch.setattr(fitting, "_BUDGET", 1.0)
        patch.setattr(fitting, "_TRIAL_SECONDS", 2.0)
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


@pytest.mark.slow
def test_settings_for_images_run_as_they_are(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path, "new", "project", "--images", str(images), "--hours", "0.01") == 0
    printed = capsys.readouterr()
    project = tmp_path / "project"
    assert f"data/raw: a link to {images}" in printed.out
    assert "note: the least that makes sense takes" in printed.err  # 36 s are too few
    params = read_params(project / "params.yaml")
    assert (params.data.image_size, params.data.channels) == (12, 3)
    assert params.extractor.min_accuracy < 1.0
    assert params.teacher.updates == 650, "the least there is"
    for stage in ("prepare", "extractor", "reference"):
        assert call(project, stage) == 0
    tracked = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"], cwd=project, capture_output=True
    )
    assert b"data/raw" not in tracked.stdout
