"""MLflow's process: beside the stage, started ahead, and no harm when it dies."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pdpipe.tracking import open_tracker, start_ahead

if TYPE_CHECKING:
    from conftest import LocalRecord, Store

STAGE = """
import sys
from pdpipe.tracking import open_tracker, start_ahead
start_ahead()
with open_tracker("teacher", {}) as tracker:
    tracker.log(1, {"loss": 0.5})
print("mlflow" in sys.modules, "sqlalchemy" in sys.modules)
"""


def uploaders() -> list[psutil.Process]:
    """MLflow's processes of this one, which may have others, left by other tests."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any("pdpipe.tracking.uploader" in argument for argument in child.cmdline()):
                found.append(child)
    return found


def test_a_stage_never_imports_mlflow(store: Store) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STAGE], capture_output=True, text=True, check=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("False False\n", "")
    (run,) = store.runs()
    assert store.points(run, "loss") == [(1, 0.5)]


def test_a_process_started_ahead_is_the_trackers(store: Store) -> None:
    start_ahead()
    (ahead,) = uploaders()
    with open_tracker("teacher", {}) as tracker:
        assert uploaders() == [ahead]
        tracker.log(1, {"loss": 0.5})
    assert uploaders() == []
    assert len(store.runs()) == 1


def test_a_stage_that_is_refused_leaves_no_process(project: Path) -> None:
    """Such as one whose shards are missing: it ends between the two."""
    script = "from pdpipe.tracking import start_ahead; start_ahead(); raise SystemExit(1)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    # The pipe of its standard error closes only when MLflow's process has ended too.
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_the_process_dies_and_the_stage_goes_on(
    store: Store, local: LocalRecord, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_tracker("teacher", {}) as tracker:
        tracker.log(1, {"loss": 0.5})
        (process,) = uploaders()
        process.kill()
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        for step in range(2, 5):
            tracker.log(step, {"loss": 0.5})
            tracker.publish()
        asked = time.monotonic()
        tracker.finish()
        assert time.monotonic() - asked < 5
    (sentence,) = capfd.readouterr().err.splitlines()
    assert "cannot be used (the process that talks to it has ended)" in sentence
    assert len(local.points()) == 4
    assert local.run()["status"] == "FINISHED"
    assert local.confirmed() == {}


def test_a_process_that_is_stuck_holds_up_nothing(store: Store, local: LocalRecord) -> None:
    """More than a pipe holds is handed over at once; all of it arrives when the process goes on."""
    with open_tracker("teacher", {}) as tracker:
        (process,) = uploaders()
        process.suspend()
        for step in range(5000):
            tracker.log(step, {"a name that is rather long for a metric": 0.5})
        asked = time.monotonic()
        tracker.publish()
        assert time.monotonic() - asked < 1
        process.resume()
    (run,) = store.runs()
    assert len(store.points(run, "a name that is rather long for a metric")) == 5000
    assert local.confirmed()["run_id"] == run.info.run_id


def test_the_process_dies_while_the_stage_waits_for_its_answer(
    store: Store, local: LocalRecord, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_tracker("teacher", {}) as tracker:
        tracker.log(1, {"loss": 0.5})
        (process,) = uploaders()
        process.suspend()
        threading.Timer(0.5, process.kill).start()
        asked = time.monotonic()
        tracker.finish()
        assert time.monotonic() - asked < 5
    (sentence,) = capfd.readouterr().err.splitlines()
    assert "the process that talks to it has ended" in sentence
    assert local.confirmed() == {}


def test_no_process_can_be_started(
    store: Store,
    local: LocalRecord,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("pdpipe.tracking.uploader._COMMAND", ["/nowhere/python"])
    with open_tracker("teacher", {}) as tracker:
        tracker.log(1, {"loss": 0.5})
    (sentence,) = capfd.readouterr().err.splitlines()
    assert "no process could be started" in sentence
    assert len(local.points()) == 1
