"""What runs again after a change: exactly what the change can alter, shown by running it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from conftest import Chain, Project

TRAINING = ["extractor", "teacher", "guide", "halve@2", "halve@1"]
AFTER_TEACHER = [
    "teacher", "guide", "halve@2", "halve@1", "evaluate-teacher", "evaluate@2", "evaluate@1",
    "report",
]  # fmt: skip
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Rerun:
    """The chain with other updates of its last rung, and what running it did."""

    project: Project
    ran: list[str]
    ran_again: list[str]


@pytest.fixture(scope="module")
def rerun(
    chain: Chain,
    copy_of: Callable[[Project, Path], Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rerun]:
    """`ladder.1.updates` changed from 10 to 12, and run."""
    project = copy_of(chain.project, tmp_path_factory.mktemp("rerun") / "project")
    project.set("ladder.1.updates", 12)
    yield Rerun(project, project.repro(), project.repro())
    shutil.rmtree(project.root)


def test_the_last_rungs_updates_rerun_it_its_evaluation_and_the_report(rerun: Rerun) -> None:
    assert rerun.ran == ["halve@1", "evaluate@1", "report"]
    assert rerun.ran_again == []


def test_dvc_shows_the_differences(rerun: Rerun) -> None:
    metrics = rerun.project.run("dvc", "metrics", "diff")
    assert "fid.student_1" in metrics
    assert "fid.student_2" not in metrics  # it did not change
    params = rerun.project.run("dvc", "params", "diff")
    assert ["params.yaml", "ladder.1.updates", "10", "12"] in [
        line.split() for line in params.splitlines()
    ]


def test_going_back_restores_from_the_run_cache(
    chain: Chain, rerun: Rerun, copy_of: Callable[[Project, Path], Project], tmp_path: Path
) -> None:
    """Outputs that DVC caches, and those that git keeps."""
    project = copy_of(rerun.project, tmp_path / "project")
    folders = ("models", "results", "reports", "data/shards")
    project.set("ladder.1.updates", 10)
    assert project.repro() == []
    assert project.files(*folders) == chain.project.files(*folders)
    assert not project.status()
    project.set("ladder.1.updates", 12)  # and forward again
    assert project.repro() == []
    assert project.files(*folders) == rerun.project.files(*folders)


def test_the_teachers_settings_rerun_everything_after_it(project: Project) -> None:
    project.set("teacher.learning_rate", 2e-3)
    assert sorted(project.repro()) == sorted(AFTER_TEACHER)


def test_the_evaluations_settings_never_train(project: Project) -> None:
    before = project.files("models")
    project.set("evaluation.num_samples", 30)
    ran = project.repro()
    assert sorted(ran) == ["evaluate-teacher", "evaluate@1", "evaluate@2", "report"]
    assert project.files("models") == before


def test_a_change_of_the_report_reruns_only_the_report(project: Project) -> None:
    project.append("pdpipe/reporting/formats.py", "\n# another comment\n")
    assert project.repro() == ["report"]


@pytest.mark.parametrize(
    ("path", "stale"),
    [
        ("pdpipe/data/loading.py", {"prepare", "reference", *TRAINING, *AFTER_TEACHER} - {"report"}),
        ("pdpipe/training/loop.py", set(TRAINING)),
        ("pdpipe/networks/unet.py", {"reference", *TRAINING, *AFTER_TEACHER} - {"report"}),
        ("pdpipe/evaluation/measure.py", {"reference", *AFTER_TEACHER[4:-1]}),
        ("pdpipe/reporting/page.html.jinja", {"report"}),
    ],
)
def test_code_is_a_dependency_of_the_stages_whose_results_it_can_change(
    project: Project, path: str, stale: set[str]
) -> None:
    project.append(path, "\n")
    assert set(project.status()) == stale


def test_a_change_of_code_that_changes_no_result_is_accepted_by_commit(project: Project) -> None:
    project.append("pdpipe/training/loop.py", "\n# another comment\n")
    before = project.files("models", "results", "reports")
    assert project.status()
    project.run("dvc", "commit", "--force")
    assert not project.status()
    assert project.repro() == []
    assert project.files("models", "results", "reports") == before


def test_commands_tracking_and_runtime_settings_invalidate_nothing(project: Project) -> None:
    for path in ("cli/stages.py", "tracking/server.py", "runtime.py", "progress.py"):
        project.append(f"pdpipe/{path}", "\n# another comment\n")
    for name, value in {
        "device": "cuda:1",
        "threads": 8,
        "workers": 2,
        "precision": "bfloat16",
        "compile": True,
        "snapshot_seconds": 60.0,
    }.items():
        project.set(f"runtime.{name}", value)
    moved = {"PDPIPE_DEVICE": "cuda", "PDPIPE_THREADS": "4", "PDPIPE_PRECISION": "bfloat16"}
    assert not project.status()
    assert project.repro(**moved) == []


def test_byte_code_invalidates_nothing(project: Project) -> None:
    caches = list(project.root.glob("pdpipe/*/__pycache__"))
    assert caches  # the stages wrote them
    for folder in caches:
        (folder / "another.cpython-311.pyc").write_bytes(b"byte code")
    assert not project.status()


def test_images_added_to_the_data_folder_make_prepare_stale(project: Project) -> None:
    """And, with the digits as source, whose shards come out the same, nothing after it."""
    folder = project.root / "data/raw/cats"
    folder.mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "one.png")
    assert set(project.status()) == {"prepare"}
    assert project.repro() == ["prepare"]


def test_a_changed_or_lost_output_is_restored_without_a_run(project: Project) -> None:
    before = project.files("models", "results")
    (project.root / "models/student-1.safetensors").unlink()
    (project.root / "results/metrics/teacher.json").write_text("{}")
    assert project.repro() == []
    assert project.files("models", "results") == before
