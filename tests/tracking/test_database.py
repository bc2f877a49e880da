"""The default store: a sqlite database in the project, made by whichever process comes first."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from conftest import Store

Start = Callable[..., subprocess.Popen[str]]


def test_a_kill_while_the_database_is_made_leaves_none(
    start: Start, project: Path, default_store: Store
) -> None:
    """And two stages that start at once both make it work, in one experiment."""
    process = start("10")
    deadline = time.monotonic() + 60
    while not list(project.glob("mlflow.db.*.new")):
        assert time.monotonic() < deadline, "the database was never begun"
        time.sleep(0.002)
    for one in (*psutil.Process(process.pid).children(), process):
        one.kill()
    process.communicate()
    assert not (project / "mlflow.db").exists()
    (project / "snapshot-teacher.json").unlink(missing_ok=True)

    both = [start("30", "--stage", "teacher"), start("30", "--stage", "extractor")]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err) == (0, "", "")
    runs = default_store.runs()
    assert sorted(run.info.run_name for run in runs) == ["extractor", "teacher", "teacher"]
    first, *whole = runs  # it was killed when it had ended, and is sent by those that follow
    assert len(default_store.points(first, "loss")) == 10
    assert all(len(default_store.points(run, "loss")) == 30 for run in whole)
    assert not list(project.glob("mlflow.db.*.new"))
    experiment = default_store.client().get_experiment_by_name("pdpipe")
    assert experiment.artifact_location == (project / "mlruns" / "pdpipe").as_uri()
