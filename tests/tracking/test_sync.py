"""What a server missed, or lost, is sent later, and nothing twice; a way out for each trouble."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pdpipe.tracking import Chain, open_tracker, sync_project
from pdpipe.tracking.local import Point, RunRecord
from pdpipe.tracking.server import TrackingError

if TYPE_CHECKING:
    from conftest import LocalRecord, Store

Start = Callable[..., subprocess.Popen[str]]
AWAY = "http://127.0.0.1:9"
ONE_RUN = """
import sys
from pdpipe.tracking.server import connect, server_address
connection = connect(server_address())
client = connection.client
run = client.create_run(connection.experiment_id)
client.log_artifact(run.info.run_id, sys.argv[1])
for run in client.search_runs([connection.experiment_id]):
    if [found.path for found in client.list_artifacts(run.info.run_id)] == ["a.txt"]:
        print(run.info.run_id)
"""


def run_stage(stage: str, points: int, chain: Chain | None = None) -> None:
    """A stage of which no server hears."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PDPIPE_TRACKING", "off")
        tracker = open_tracker(stage, {"updates": points}, chain="c")
    for step in range(1, points + 1):
        tracker.log(step, {"loss": 1.0 / step})
    tracker.finish("FINISHED", {f"models/{stage}": stage[0] * 64}, {"final": 0.5}, chain)


def contents(store: Store) -> list[tuple[str, str, int, int, int]]:
    """Of each run: name, status, points, single figures, params."""
    return sorted(
        (
            run.info.run_name,
            run.info.status,
            len(store.points(run, "loss")),
            len(store.points(run, "final")),
            len(run.data.params),
        )
        for run in store.runs()
    )


def test_all_that_a_server_missed_is_sent_once(
    store: Store, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    run_stage("teacher", 30)
    run_stage("teacher", 40)
    run_stage("halve@4", 10)
    report = project / "report.html"
    report.write_text("first")
    chain = Chain("c", {"a": 1}, {"teacher": "t" * 64}, {"fid": 0.8}, [report], name="chain c")
    run_stage("report", 1, chain)
    report.write_text("of another chain")
    with pytest.raises(TrackingError, match=r"cannot be used .*: start it, and run this again"):
        sync_project()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    assert sync_project() == (4, store.uri)
    for _ in range(2):
        assert sync_project() == (0, store.uri)
    expected = [
        ("chain c", "FINISHED", 0, 0, 1),
        ("halve@4", "FINISHED", 10, 1, 1),
        ("report", "FINISHED", 1, 1, 1),
        ("teacher", "FINISHED", 30, 1, 1),
        ("teacher", "FINISHED", 40, 1, 1),
    ]
    assert contents(store) == expected
    (parent,) = store.runs(chain="c")
    path = store.client().download_artifacts(parent.info.run_id, "report.html")
    assert Path(path).read_text() == "first"
    sync_project(everything=True)
    assert contents(store) == expected, "asked for all of it again, nothing is there twice"
    assert store.points(parent, "fid") == [(0, 0.8)]


def test_the_next_stage_sends_what_was_left(
    store: Store, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_stage("teacher", 30)
    with open_tracker("guide", {}) as tracker:
        tracker.log(1, {"loss": 1.0})
        deadline = time.monotonic() + 100
        while "teacher" not in [run[0] for run in contents(store)]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert ("teacher", "FINISHED", 30, 1, 1) in contents(store)


def test_another_server_gets_everything(
    store: Store, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_stage("teacher", 5)
    assert sync_project()[0] == 1
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "a new one")
    other = type(store)(store.uri, "a new one")
    assert sync_project()[0] == 0
    assert sync_project(everything=True)[0] == 1
    assert ("teacher", "FINISHED", 5, 1, 1) in contents(other)


def test_a_killed_stage_is_not_left_running(
    store: Store, project: Path, start: Start, local: LocalRecord
) -> None:
    """Killed with its uploader, as by a machine that goes down, then closed by the next sync."""
    process = start("40", "--idle-after", "20")
    assert process.stdout is not None
    process.stdout.readline()
    store.wait_for(1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (*map(int, children), process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    sync_project()
    (run,) = store.runs()
    assert run.info.status == local.run()["status"] == "KILLED"
    assert run.data.tags["pdpipe.error"] == "killed: the process ended without a word"
    assert len(store.points(run, "loss")) == 27


def test_what_the_server_refuses_holds_up_nothing_else(
    store: Store, local: LocalRecord, capfd: pytest.CaptureFixture[str]
) -> None:
    run_stage("teacher", 3)
    RunRecord(local.latest()).append(Point(4, -1, {"loss": 0.5}))  # a time before time
    run_stage("guide", 3)
    assert sync_project()[0] == 1
    assert ("guide", "FINISHED", 3, 1, 1) in contents(store)
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith("tracking: MLflow takes no more of .pdpipe/tracking/teacher/")
    assert local.confirmed("teacher") == {}


def test_a_damaged_record_is_said_and_its_other_points_are_sent(
    store: Store, local: LocalRecord, capfd: pytest.CaptureFixture[str]
) -> None:
    for stage in ("teacher", "guide"):
        run_stage(stage, 4)
    points, about = local.latest() / "metrics.jsonl", local.latest("guide") / "run.json"
    points.write_text(points.read_text().replace('"loss": 0.25', '"loss": 0.35'))
    about.write_text(about.read_text().replace('"FINISHED"', '"FAILED"'))
    for _ in range(2):
        sync_project()
    said = capfd.readouterr().err.splitlines()
    assert sorted(line.partition("/")[2].partition("/")[2].split("/")[2] for line in said) == [
        "metrics.jsonl is damaged: the points that are wrong are left out",
        "run.json is damaged: its run is not sent",
    ]
    (run,) = store.runs(stage="teacher")
    assert [step for step, _ in store.points(run, "loss")] == [1, 2, 3]


def test_a_copied_project_in_any_folder_has_its_own_artifacts(tmp_path: Path) -> None:
    """The original is not touched; whatever signs the path has, the database is in the project."""
    name = "50%2F50 #1? größe"
    original, copy = tmp_path / "original", tmp_path / name
    original.mkdir()
    (tmp_path / "a.txt").write_text("a")

    def one_run(folder: Path) -> tuple[list[str], str]:
        """Ids of the runs that have their artifact after one more, and what was said."""
        done = subprocess.run(
            [sys.executable, "-c", ONE_RUN, str(tmp_path / "a.txt")],
            cwd=folder, capture_output=True, text=True, check=True, timeout=100,
        )  # fmt: skip
        return done.stdout.split(), done.stderr

    assert len(one_run(original)[0]) == 1
    shutil.copytree(original, copy)
    before = sorted(original.rglob("*"))
    runs, said = one_run(copy)
    assert said.count("\n") == 1
    assert f"mlflow.db was copied or moved from {original}" in said
    assert len(runs) == 2
    for run in runs:
        assert (copy / f"mlruns/pdpipe/{run}/artifacts/a.txt").read_text() == "a"
    assert sorted(original.rglob("*")) == before
    assert one_run(copy)[1] == ""
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == sorted(
        {"original", "project", name}
    )


def test_a_deleted_experiment_has_a_way_out(store: Store, project: Path) -> None:
    run_stage("teacher", 3)
    sync_project()
    client = store.client()
    experiment = client.get_experiment_by_name(store.experiment).experiment_id
    client.delete_experiment(experiment)
    with pytest.raises(
        TrackingError,
        match=rf"is deleted: run `mlflow experiments restore --experiment-id {experiment}`",
    ):
        sync_project(everything=True)
    client.restore_experiment(experiment)
    assert sync_project(everything=True)[0] == 1


def test_another_schema_has_a_way_out(
    store: Store, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(store.uri.removeprefix("sqlite:///"), project / "mlflow.db")
    with contextlib.closing(sqlite3.connect(project / "mlflow.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
        connection.commit()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    command = "import sys; sys.argv = ['pdpipe', 'sync']; from pdpipe.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, timeout=100
    )
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith("error: MLflow at sqlite:///mlflow.db cannot be used")
    assert "run `mlflow db upgrade sqlite:///mlflow.db`" in line
    assert "run `pip install -U mlflow`" in line


@pytest.mark.parametrize("uri", ["file:./mlruns", "mlruns"])
def test_a_file_store_has_a_way_out(
    project: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match=r"no longer takes a folder .*migrate-filestore"):
        sync_project()
