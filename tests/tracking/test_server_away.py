"""A server that refuses, hangs, or goes away and comes back: the stage goes on all the same."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from pdpipe.tracking import open_tracker

if TYPE_CHECKING:
    from conftest import LocalRecord

Start = Callable[..., subprocess.Popen[str]]


def test_dead_server_is_said_once_and_costs_nothing(
    start: Start, local: LocalRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    process = start("2000")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == ""
    assert err.count("\n") == 1
    assert "MLflow at http://127.0.0.1:9 cannot be used" in err
    assert "Connection refused" in err
    assert ".pdpipe/tracking/teacher/metrics.jsonl" in err
    assert "secret" not in err
    assert [point["step"] for point in local.points()] == list(range(1, 2001))
    run = local.run()
    assert (run["status"], run["published"], run["metrics"]) == ("FINISHED", False, {"final": 0.25})


@pytest.fixture
def hung_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_hung_server_does_not_hold_up_the_work(
    hung_server: str, local: LocalRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All the work is done before the first request to the server has even timed out."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", hung_server)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    said: list[str] = []
    with open_tracker("teacher", {}, say=said.append) as tracker:
        for step in range(1000):
            tracker.log(step, {"loss": 1.0})
            tracker.publish()
        assert said == [], "the server was still being waited for when the work was done"
        asked = time.monotonic()
        tracker.finish()
        assert time.monotonic() - asked < 30
    assert len(said) == 1
    assert len(local.points()) == 1000
