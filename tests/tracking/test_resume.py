"""Killed (SIGKILL) and started again, a run has every point exactly once."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pdpipe.tracking import open_tracker, sync_project

if TYPE_CHECKING:
    from conftest import LocalRecord, Store


Start = Callable[..., subprocess.Popen[str]]


def finished(process: subprocess.Popen[str]) -> None:
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages without MLflow's process, which takes seconds: `sync_project` does its work here."""
    monkeypatch.setenv("PDPIPE_TRACKING", "off")


def synced() -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PDPIPE_TRACKING", "on")
        sync_project()


def assert_whole(store: Store, local: LocalRecord, updates: int) -> None:
    """One finished run, each point once on the server and once in the local record."""
    synced()
    (run,) = store.runs()
    steps = range(1, updates + 1)
    assert run.info.status == "FINISHED"
    assert store.points(run, "loss") == [(step, 1.0 / step) for step in steps]
    assert store.points(run, "rate") == [(step, step / 1000) for step in steps]
    assert store.points(run, "final") == [(0, 0.25)]
    assert [(p["step"], p["loss"]) for p in local.points()] == [(s, 1.0 / s) for s in steps]
    assert local.confirmed()["run_id"] == run.info.run_id


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@pytest.mark.usefixtures("alone")
def test_kill_between_snapshot_and_publication_loses_nothing(
    store: Store, local: LocalRecord, start: Start
) -> None:
    killed = start("40", "--die-before-publish", "20")
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    finished(start("40"))
    assert_whole(store, local, 40)


def test_kill_after_publication_doubles_nothing(
    store: Store, local: LocalRecord, start: Start
) -> None:
    process = start("40", "--idle-after", "20")
    assert process.stdout is not None
    assert process.stdout.readline() == "idle\n"
    wait_until(lambda: [len(store.points(run, "loss")) for run in store.runs()] == [27])
    assert len(local.points()) == 27
    process.kill()
    process.communicate()
    finished(start("40"))
    assert_whole(store, local, 40)


def test_kill_at_any_moment_and_again(store: Store, local: LocalRecord, start: Start) -> None:
    for seconds in (0.5, 1.4):
        process = start("1000")
        time.sleep(seconds)
        process.kill()
        process.communicate()
    finished(start("1000"))
    assert_whole(store, local, 1000)


@pytest.mark.usefixtures("alone")
def test_half_a_line_left_by_a_kill_is_dropped(
    store: Store, local: LocalRecord, start: Start, project: Path
) -> None:
    start("40", "--die-before-publish", "20").communicate(timeout=120)
    record = local.latest() / "metrics.jsonl"
    record.write_text(record.read_text() + '{"step": 20, "ti')
    finished(start("30"))
    assert [point["step"] for point in local.points()] == list(range(1, 31))


@pytest.mark.usefixtures("alone")
def test_another_run_in_between_takes_nothing_away(
    store: Store, local: LocalRecord, start: Start, project: Path
) -> None:
    """Changed params start another run; back to the first, its snapshot finds its own points."""
    start("40", "--die-before-publish", "20").communicate(timeout=120)
    snapshot = project / "snapshot-teacher.json"
    kept = snapshot.read_text()
    snapshot.unlink()
    start("40", "--die-before-publish", "10").communicate(timeout=120)
    snapshot.write_text(kept)
    finished(start("40"))
    synced()
    (run,) = store.runs(attempt=json.loads(kept)["tracker"]["attempt"])
    assert store.points(run, "loss") == [(step, 1.0 / step) for step in range(1, 41)]


@pytest.mark.usefixtures("alone")
def test_resume_on_a_server_that_lost_the_run_publishes_all_of_it(
    store: Store, local: LocalRecord, start: Start
) -> None:
    process = start("40", "--idle-after", "20")
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    synced()
    (run,) = store.runs()
    store.client().delete_run(run.info.run_id)
    finished(start("40"))
    assert_whole(store, local, 40)


def test_a_run_that_ended_and_is_taken_again_keeps_its_figures(
    store: Store, alone: None, tmp_path: Path
) -> None:
    """DVC was killed before it recorded the stage, which runs again and finds all done."""
    state: dict[str, object] = {}
    for seconds in (30.0, 0.5):
        tracker = open_tracker("teacher", {})
        if state:
            tracker.load_state_dict(state)
        with tracker:
            tracker.log(1, {"loss": 1.0})
            state = tracker.state_dict()
            tracker.finish(metrics={"wall_seconds": seconds})
        synced()
    (run,) = store.runs()
    assert store.points(run, "wall_seconds") == [(0, 30.0)]
    assert store.points(run, "loss") == [(1, 1.0)]
