"""DVC's own views of the chain: metrics, plots, artifacts and experiments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Chain, Project

pytestmark = pytest.mark.slow


def test_metrics_show_has_the_headline(chain: Chain) -> None:
    shown = json.loads(chain.project.run("dvc", "metrics", "show", "--json"))
    metrics = shown[""]["data"]["reports/metrics.json"]["data"]
    assert metrics == json.loads((chain.project.root / "reports/metrics.json").read_text())
    students = json.loads((chain.project.root / "results/metrics/student-1.json").read_text())
    (cell,) = (cell for cell in students["cells"] if cell["w"] == metrics["w"])
    assert metrics["fid"]["student_1"] == cell["fid"]


def test_plots_show_has_the_curves_and_the_pictures(project: Project) -> None:
    project.run("dvc", "plots", "show")
    html = (project.root / "dvc_plots/index.html").read_text()
    assert "FID against sampling steps" in html
    assert '"kind": "student"' in html
    for picture in ("fid_by_steps", "fid_is", "samples_by_steps", "samples_by_class"):
        assert f"reports_{picture}.png" in html or f"reports/{picture}.png" in html
    assert "<DVC_METRIC" not in html
    assert project.run("git", "status", "--porcelain") == ""  # the page is ignored


def test_an_experiment_changes_a_rung_and_is_shown(project: Project) -> None:
    output = project.run("dvc", "exp", "run", "--name", "longer", "-S", "ladder.1.updates=12")
    assert [f"Running stage '{stage}':" for stage in ("halve@1", "evaluate@1", "report")] == [
        line for line in output.splitlines() if line.startswith("Running stage")
    ]
    assert list(project.params()["ladder"]) == ["2", "1"]  # the keys are still text
    assert project.params()["ladder"]["1"]["updates"] == 12
    shown = project.run("dvc", "exp", "show", "--csv")
    header, *rows = [line.split(",") for line in shown.splitlines()]
    by_name = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    (longer,) = (row for row in by_name.values() if "longer" in row.values())
    updates = next(name for name in header if name.endswith("ladder.1.updates"))
    assert longer[updates] == "12"
    fid = next(name for name in header if name.endswith("fid.student_1"))
    metrics = json.loads((project.root / "reports/metrics.json").read_text())
    assert float(longer[fid]) == pytest.approx(metrics["fid"]["student_1"], rel=1e-4)
    assert project.params()["ladder"]["1"]["updates"] == 12


def test_an_artifact_can_be_taken_away(chain: Chain, tmp_path: object) -> None:
    output = chain.project.run(
        "dvc", "artifacts", "get", ".", "teacher", "--out", f"{tmp_path}/teacher.safetensors"
    )
    print(output)
