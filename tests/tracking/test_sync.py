"""What a server missed, or lost, is sent later, and nothing twice; a way out for each trouble."""

from __future__ import annotations

import contextlib
import json
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

from pdpipe.tracking import Chain, open_tracker, publish_chain, sync_project
from pdpipe.tracking.server import TrackingError

if TYPE_CHECKING:
    from conftest import Store

Start = Callable[..., subprocess.Popen[str]]
AWAY = "http://127.0.0.1:9"
ONE_RUN = """
import sys
from pathlib import Path
from pdpipe.tracking.server import connect, server_address
from pdpipe.tracking.server_run import add_artifacts
connection = connect(server_address())
client = connection.client
run = client.create_run(connection.experiment_id)
add_artifacts(client, run.info.run_id, [Path(sys.argv[1])])
for run in client.search_runs([connection.experiment_id]):
    if [found.path for found in client.list_artifacts(run.info.run_id)] == ["a.txt"]:
        print(run.info.run_id)
"""


def run_stage(stage: str, points: int) -> None:
    with open_tracker(stage, {"updates": points}, chain="c") as tracker:
        for step in range(1, points + 1):
            tracker.log(step, {"loss": 1.0 / step})
        tracker.finish(outputs={f"models/{stage}": stage[0] * 64}, metrics={"final": 0.5})


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
    run_stage("teacher", 40)  # takes the folder of the first
    run_stage("halve@4", 10)
    report = project / "report.html"
    report.write_text("first")
    chain = Chain("c", {"a": 1}, {"teacher": "t" * 64}, {"fid": 0.8}, [report], name="chain c")
    assert not publish_chain(chain)
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
    monkeypatch.setenv("PDPIPE_TRACKING", "off")
    run_stage("teacher", 30)
    monkeypatch.setenv("PDPIPE_TRACKING", "on")
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
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "a new one")
    other = type(store)(store.uri, "a new one")
    assert sync_project()[0] == 0
    assert sync_project(everything=True)[0] == 1
    assert ("teacher", "FINISHED", 5, 1, 1) in contents(other)


def test_a_killed_stage_is_not_left_running(store: Store, project: Path, start: Start) -> None:
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
    assert run.info.status == "KILLED"
    assert run.data.tags["pdpipe.error"] == "killed: the process ended without a word"
    assert len(store.points(run, "loss")) == 20


def test_records_of_the_version_before_are_read(store: Store, project: Path) -> None:
    folder = project / ".pdpipe/tracking/teacher"
    (folder / "earlier").mkdir(parents=True)
    run = {
        "stage": "teacher", "started": 1700000000000, "status": "FINISHED", "tags": {"t": "1"},
        "ended": 1700000001000, "outputs": {}, "metrics": {"final": 0.5}, "params": {"a": "1"},
    }  # fmt: skip
    line = '{"step": 1, "time": 1700000000000, "loss": 0.5}\n'
    for prefix, attempt, published in (("", "one", True), ("earlier/two.", "two", False)):
        about = run | {"attempt": attempt, "published": published}
        (folder / f"{prefix}run.json").write_text(json.dumps(about))
        (folder / f"{prefix}metrics.jsonl").write_text(line)
    assert sync_project()[0] == 1
    (found,) = store.runs()
    assert found.data.tags["pdpipe.attempt"] == "two"
    assert store.points(found, "loss") == [(1, 0.5)]


@pytest.mark.parametrize("name", ["50%2F50 #1? größe", "plain"])
def test_a_copied_project_in_any_folder_has_its_own_artifacts(tmp_path: Path, name: str) -> None:
    """The original is not touched; whatever signs the path has, the database is in the project."""
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


@pytest.mark.parametrize(
    ("revision", "way_out"),
    [
        ("451aebb31d03", "run `mlflow db upgrade sqlite:///mlflow.db`"),
        ("ffffffffffff", "run `pip install -U mlflow`, or move it away"),
    ],
)
def test_another_schema_has_a_way_out(
    store: Store, project: Path, monkeypatch: pytest.MonkeyPatch, revision: str, way_out: str
) -> None:
    shutil.copy(store.uri.removeprefix("sqlite:///"), project / "mlflow.db")
    with contextlib.closing(sqlite3.connect(project / "mlflow.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    command = "import sys; sys.argv = ['pdpipe', 'sync']; from pdpipe.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, timeout=100
    )
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert line.startswith("error: MLflow at sqlite:///mlflow.db cannot be used")
    assert way_out in line


@pytest.mark.parametrize("uri", ["file:./mlruns", "mlruns"])
def test_a_file_store_has_a_way_out(
    project: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match=r"no longer takes a folder .*migrate-filestore"):
        sync_project()
