"""docs/tutorial.md, followed word for word with 60 images, but for the one edit that it offers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    """The commands below a marker."""
    (found,) = re.findall(rf"<!-- tutorial: {name} -->\n```(?:sh|python)\n(.*?)```", TUTORIAL, re.S)
    return found


def draw_photos(folder: Path) -> None:
    """60 RGB images in three classes, stripes in three directions."""
    generator = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(32), np.arange(32))
    for name, count, along in (("ant", 15, across), ("bee", 20, down), ("cat", 25, across + down)):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            colour = generator.integers(64, 256, 3)
            stripes = (along + generator.integers(8)) // 4 % 2
            pixels = (stripes[:, :, None] * colour).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index:04d}.png")


@pytest.mark.slow
def test_the_tutorial_leads_from_images_to_a_page_and_samples(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    steps = re.findall(r"<!-- tutorial: (\w+) -->", TUTORIAL)
    assert steps == ["install", "new", "run", "sample", "python", "keep"]
    assert "pip install ./pdpipe" in block("install")  # as it is here already
    assert "`--trial` in place of `--hours 8`" in TUTORIAL
    make = block("new").replace("--hours 8", "--trial")
    assert make != block("new")
    in_python = f"python - <<'END'\n{block('python')}END\n"
    script = "\n".join([make, block("run"), block("sample"), in_python, block("keep")])

    draw_photos(tmp_path / "photos")
    names = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
    author = {f"GIT_{name}": "somebody" for name in names}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**environment, **author, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    project = tmp_path / "animals"
    assert (project / "data/raw").resolve() == tmp_path / "photos"
    page = (project / "reports/index.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("ant", "bee", "cat"))
    for name, columns in (("grid.png", 3), ("twelve.png", None)):
        with Image.open(project / name) as image:
            assert image.mode == "RGB"
            assert min(image.size) > 32 * (columns or 1)
    status = ["git", "status", "--porcelain"]
    assert subprocess.run(status, cwd=project, capture_output=True, check=True).stdout == b""
