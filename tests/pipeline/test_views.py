"""DVC's own views of the chain: metrics and plots; and taking a model away."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pdpipe

if TYPE_CHECKING:
    from conftest import Chain, Project

pytestmark = pytest.mark.slow


def test_metrics_show_has_the_headline_and_nothing_else(chain: Chain) -> None:
    shown = json.loads(chain.project.run("dvc", "metrics", "show", "--json"))
    (path,) = shown[""]["data"]
    metrics = shown[""]["data"][path]["data"]
    assert path == "reports/metrics.json"
    assert metrics == chain.project.json(path)
    cells = chain.project.json("results/metrics/student-1.json")["cells"]
    (cell,) = (cell for cell in cells if cell["w"] == metrics["w"])
    assert metrics["fid_1"] == cell["fid"]


def test_plots_show_has_the_curves_and_the_pictures(chain: Chain, tmp_path: Path) -> None:
    chain.project.run("dvc", "plots", "show", "--out", str(tmp_path / "plots"))
    html = (tmp_path / "plots/index.html").read_text()
    assert "FID against sampling steps" in html
    assert "FID against w, student-1" in html
    assert '"kind": "student"' in html
    for picture in (
        "fid_by_steps",
        "is_by_steps",
        "fid_by_w",
        "fid_is",
        "samples_by_steps",
        "samples_by_class",
    ):
        assert f"reports_figures_{picture}.png" in html
    assert "<DVC_METRIC" not in html


def test_the_root_shows_few_fields_and_a_change_in_one_line(
    chain: Chain, copy_of: Callable[[Project, Path], Project], tmp_path: Path
) -> None:
    """As many as a person can use; none is of a study, which is no part of this project."""
    project = copy_of(chain.project, tmp_path / "project")
    project.set("ladder.1.updates", 11)
    project.run("dvc", "exp", "save", "--name", "longer")  # as `exp run` does in the end
    header = project.run("dvc", "exp", "show", "--csv").partition("Experiment,")[2].splitlines()[0]
    fields = header.split(",")
    assert len(fields) <= 200
    assert [field for field in fields if "stages/" in field] == ["stages/studies.json"]

    shown = project.run("dvc", "exp", "show", "--only-changed", "--no-pager", COLUMNS="160")
    table = [line for line in shown.splitlines() if "workspace" in line or "longer" in line]
    assert all(len(line) <= 160 for line in table)
    assert all(line.split()[-2:-1] == ["11"] or "11" in line.split() for line in table)
    assert "ladder.1.updates" in shown


def test_status_after_a_run_is_silent_and_quick(chain: Chain) -> None:
    started = time.monotonic()
    assert chain.project.run("dvc", "status") == "Data and pipelines are up to date.\n"
    print(f"dvc status took {time.monotonic() - started:.1f} s")


def test_a_second_clone_pulls_every_model(
    chain: Chain,
    copy_of: Callable[[Project, Path], Project],
    clone_of: Callable[[Project, Path], Project],
    tmp_path: Path,
) -> None:
    project = copy_of(chain.project, tmp_path / "project")
    project.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    project.commit()
    project.run("dvc", "push")
    clone = clone_of(project, tmp_path / "clone")
    clone.run("dvc", "pull")
    assert clone.files("models") == project.files("models")
    assert len(clone.files("models")) == 5 + 1  # and .gitignore
    assert not clone.status()


def test_line_ends_stay_where_git_is_told_to_change_them(chain: Chain, tmp_path: Path) -> None:
    root = tmp_path / "clone"
    chain.project.run(
        "git", "clone", "--quiet", "-c", "core.autocrlf=true", str(chain.project.root), str(root)
    )
    clone = replace(chain.project, root=root)
    cache = str(chain.project.root / ".dvc/cache")
    clone.run("dvc", "config", "--local", "cache.dir", cache)
    clone.run("dvc", "checkout")
    assert not clone.status()


def test_a_model_can_be_taken_away(chain: Chain, tmp_path: Path) -> None:
    """`dvc get` fetches it from the repository by its path, and it is whole."""
    out = tmp_path / "taken.safetensors"
    root = str(chain.project.root)
    chain.project.run("dvc", "get", root, "models/student-1.safetensors", "--out", str(out))
    model = pdpipe.load(out, device="cpu")
    assert (model.info.name, model.info.steps) == ("student-1", 1)
