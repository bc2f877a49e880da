"""A server that refuses, hangs, or goes away and comes back: the stage goes on all the same."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from pdpipe.tracking import open_tracker, sync_project

if TYPE_CHECKING:
    from conftest import LocalRecord, Store

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
    assert "what is logged is in .pdpipe/tracking, and is sent by the next stage" in err
    assert "secret" not in err
    assert [point["step"] for point in local.points()] == list(range(1, 2001))
    run = local.run()
    assert (run["status"], run["metrics"]) == ("FINISHED", {"final": 0.25})
    assert local.confirmed() == {}


@pytest.fixture
def hung_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_hung_server_does_not_hold_up_the_work(
    hung_server: str,
    local: LocalRecord,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """All the work is done before the first request to the server has even timed out."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", hung_server)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with open_tracker("teacher", {}) as tracker:
        for step in range(1000):
            tracker.log(step, {"loss": 1.0})
            tracker.publish()
        assert capfd.readouterr().err == "", (
            "the server was still being waited for when the work was done"
        )
        asked = time.monotonic()
        tracker.finish()
        assert time.monotonic() - asked < 30
    assert capfd.readouterr().err.count("\n") == 1
    assert len(local.points()) == 1000


class Relay:
    """A door to a server that can be shut, which breaks its connections, and opened again."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open: list[socket.socket] = []
        self.door, self.delay = 0, 0.0  # seconds before each answer
        self.open()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.door}"

    def open(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.door))
        self.door = listener.getsockname()[1]
        self._open.append(listener)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        while self._open:
            connection = self._open.pop()
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(("127.0.0.1", self._target))
                self._open += [here, there]
                for ends in ((here, there, False), (there, here, True)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay if answers else 0)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def relay(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """The door to a real tracking server over the tests' database."""
    tmp_path = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = [f"--backend-store-uri={database}", f"--artifacts-destination={tmp_path}/artifacts"]
    address = ["--host=127.0.0.1", f"--port={port}", "--workers=1"]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *options, *address],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + 90
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        assert server.poll() is None, (tmp_path / "server.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    relay = Relay(port)
    yield relay
    relay.shut()
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@pytest.mark.slow
def test_server_that_comes_back_gets_what_it_missed(
    relay: Relay,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", relay.address)
    said = ""

    def wait_until(true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.1)

    def is_said() -> bool:
        nonlocal said
        out, err = capfd.readouterr()
        assert out == ""
        said += err
        return bool(said)

    def update(steps: range) -> None:
        for step in steps:
            tracker.log(step, {"loss": 1.0 / step, "nan": float("nan")})
        tracker.publish()

    with open_tracker("teacher", {"a": 1}) as tracker:
        update(range(1, 11))
        wait_until(lambda: [len(store.points(r, "loss")) for r in store.runs()] == [10])
        relay.shut()
        update(range(11, 21))
        wait_until(is_said)
        update(range(21, 31))
        relay.open()
        update(range(31, 41))
        tracker.finish(metrics={"final": 0.5})
    (run,) = store.runs()
    assert run.info.status == "FINISHED"
    assert store.points(run, "loss") == [(step, 1.0 / step) for step in range(1, 41)]
    assert len(store.points(run, "nan")) == 40
    assert store.points(run, "final") == [(0, 0.5)]
    assert said.count("\n") == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_server_that_answers_after_5_s_delays_no_stage_and_gets_it_all_once(
    relay: Relay, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", relay.address)
    monkeypatch.setattr("pdpipe.tracking.uploader._SERVER", 7.0)  # seconds
    relay.delay = 5.0
    started = time.monotonic()
    with open_tracker("teacher", {"a": 1}, chain="c") as tracker:
        for step in range(1, 101):
            tracker.log(step, {"loss": 1.0 / step})
            tracker.publish()
        assert time.monotonic() - started < 3, "no work waits"
        asked = time.monotonic()
        tracker.finish(outputs={"models/teacher": "a" * 64}, metrics={"final": 0.5})
    assert time.monotonic() - asked < 9, "neither does the end, for long"
    relay.delay = 0.0
    sync_project()
    assert sync_project()[0] == 0
    (run,), (_,) = store.runs(stage="teacher"), store.runs(chain="c")
    assert run.info.status == "FINISHED"
    assert store.points(run, "loss") == [(step, 1.0 / step) for step in range(1, 101)]
    assert store.points(run, "final") == [(0, 0.5)]
