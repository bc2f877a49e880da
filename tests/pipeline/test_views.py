"""DVC's own views of the chain: metrics and plots; and taking a model away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pdpipe

if TYPE_CHECKING:
    from conftest import Chain

pytestmark = pytest.mark.slow


def test_metrics_show_has_the_headline_and_nothing_else(chain: Chain) -> None:
    shown = json.loads(chain.project.run("dvc", "metrics", "show", "--json"))
    (path,) = shown[""]["data"]
    metrics = shown[""]["data"][path]["data"]
    assert path == "reports/metrics.json"
    assert metrics == chain.project.json(path)
    cells = chain.project.json("results/metrics/student-1.json")["cells"]
    (cell,) = (cell for cell in cells if cell["w"] == metrics["w"])
    assert metrics["fid"]["student_1"] == cell["fid"]


def test_plots_show_has_the_curves_and_the_pictures(chain: Chain, tmp_path: Path) -> None:
    chain.project.run("dvc", "plots", "show", "--out", str(tmp_path / "plots"))
    html = (tmp_path / "plots/index.html").read_text()
    assert "FID against sampling steps" in html
    assert "FID against w, student-1" in html
    assert '"kind": "student"' in html
    for picture in (
        "fid_by_steps",
        "is_by_steps",
        "fid_is",
        "samples_by_steps",
        "samples_by_class",
    ):
        assert f"reports_figures_{picture}.png" in html
    assert "<DVC_METRIC" not in html


def test_a_model_can_be_taken_away(chain: Chain, tmp_path: Path) -> None:
    """`dvc get` fetches it from the repository by its path, and it is whole."""
    out = tmp_path / "taken.safetensors"
    root = str(chain.project.root)
    chain.project.run("dvc", "get", root, "models/student-1.safetensors", "--out", str(out))
    model = pdpipe.load(out, device="cpu")
    assert (model.info.name, model.info.steps) == ("student-1", 1)
