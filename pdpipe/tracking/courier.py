"""Takes a stage's points to MLflow in a process of its own, so that no stage waits for MLflow.

Importing MLflow and opening its database keep Python's lock for seconds. On a thread of the stage
they would halt it that long, since each operation of the training has to ask for the lock.

The stage writes lines of JSON to the process's standard input: what to send, at last the ending.
The process answers on its standard output: that the server is away, at last what became of the run.
It leaves the stage's session, so that no Ctrl-C meets it, and ends when the stage does.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from pdpipe.tracking.local import Point
from pdpipe.tracking.server import Connection, ServerAddress, connect, say_away, server_address
from pdpipe.tracking.server_run import Ending, RunDescription, ServerRun, open_run

_COMMAND = [sys.executable, "-P", "-c", "from pdpipe.tracking.courier import serve; serve()"]
_GRACE = 10.0  # seconds beyond what the process itself waits: to start, and to answer
_LAST_SECONDS = 5.0  # for it to end when there is nothing left to do
# How long the end of a stage waits, in seconds:
_PATIENCE = {"FINISHED": 60.0, "FAILED": 10.0, "KILLED": 10.0}  # for a server that works
_PATIENCE_AWAY = 4.0  # for one that has not answered


class Courier:
    """The stage's side: hands over points, says that the server is away, ends the run.

    A thread writes to the process and another reads from it, so that neither a process that is
    stuck nor one that has died holds up the stage; its points are in the local record anyway.
    """

    def __init__(self, address: ServerAddress) -> None:
        """Start the process, for the server that it finds from this folder."""
        self.address = address
        self.complete = False  # the server has the whole run, its ending included
        self.run_id: str | None = None
        self._record: str | None = None  # where the points are meanwhile, once that is known
        self._reason: str | None = None  # why the server cannot be used
        self._outbox: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # None: no more
        self._threads: list[threading.Thread] = []
        try:
            self._process = subprocess.Popen(
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                encoding="utf-8",
            )
        except OSError as error:
            self._away(f"no process could be started: {error}")
            return
        for work in (self._write, self._read):
            thread = threading.Thread(target=work, name=f"pdpipe-courier{work.__name__}")
            thread.daemon = True
            thread.start()
            self._threads.append(thread)

    def announce(self, record: str) -> None:
        """Say, from now on, when the server cannot be used, and that `record` has the points."""
        self._record = record
        if self._reason is not None:
            self._away(self._reason)

    def send(self, run: RunDescription, points: Sequence[Point]) -> None:
        """Hand over points of `run`; comes back at once."""
        self._tell({"run": asdict(run), "points": [asdict(point) for point in points]})

    def finish(self, ending: Ending) -> None:
        """Close the run, waiting a bounded time for what is still to be sent."""
        self._tell({"ending": asdict(ending)})
        self.close(patience=_PATIENCE[ending.status] + _GRACE)

    def close(self, patience: float = 0.0) -> None:
        """End the process, at once or when it has answered; what it has not sent stays unsent."""
        self._outbox.put(None)
        if not self._threads:
            return
        writer, reader = self._threads
        if patience:
            reader.join(patience)
            if reader.is_alive():
                self._away(f"no answer within {patience:.0f} s")
        try:
            self._process.wait(_LAST_SECONDS)  # it ends when its input does
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        writer.join()
        reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _tell(self, message: dict[str, Any]) -> None:
        self._outbox.put(json.dumps(message) + "\n")

    def _write(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError):  # it has died, which the reader sees
            while (line := self._outbox.get()) is not None:
                stdin.write(line)
                stdin.flush()
        with contextlib.suppress(OSError):
            stdin.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        answer: dict[str, Any] = {}
        for line in self._process.stdout:
            try:
                answer = json.loads(line)
            except ValueError:  # cut short by a kill
                break
            if "away" in answer:
                self._away(answer["away"])
        self.run_id = answer.get("run_id")
        self.complete = answer.get("complete", False)
        if "complete" not in answer and "bye" not in answer:
            self._away("the process that talks to it has ended")

    def _away(self, reason: str) -> None:
        self._reason = self._reason or reason
        if self._record is not None:
            say_away(self.address, reason, f"this run's metrics are in {self._record}")


def serve() -> None:
    """The process: serve the stage at the other end of standard input until that ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what MLflow prints is no answer

    def answer(**message: Any) -> None:
        with contextlib.suppress(OSError):  # the stage has died
            print(json.dumps(message), file=answers, flush=True)

    publisher = MlflowPublisher(server_address(), lambda reason: answer(away=reason))
    for line in sys.stdin:
        try:
            message = json.loads(line)
        except ValueError:  # cut short by a kill of the stage
            break
        if "run" in message:
            points = [Point(**point) for point in message["points"]]
            publisher.send(RunDescription(**message["run"]), points)
        else:
            ending = message["ending"]
            publisher.finish(Ending(**ending | {"metrics": Point(**ending["metrics"])}))
            answer(run_id=publisher.run_id, complete=publisher.complete)
            break
    else:
        answer(bye=True)  # the stage has nothing to send
    os._exit(0)  # a thread that hangs on a server would hold up the exit


class MlflowPublisher:
    """Sends one run's points to the server, in the order in which they were handed over.

    The connection is made ahead of need, the run with the first points: a process killed before it
    published anything leaves nothing on the server. What could not be sent is kept, and tried again
    whenever there is more to send.
    """

    def __init__(self, address: ServerAddress, announce: Callable[[str], None]) -> None:
        """Start the thread; `announce` takes the reason whenever the server cannot be used."""
        self.complete = False  # the server has the whole run, its ending included
        self.run_id: str | None = None
        self._address = address
        self._announce = announce
        self._changed = threading.Event()
        self._unsent: list[Point] = []  # the thread takes off its front what it has sent
        self._description: RunDescription | None = None
        self._ending: Ending | None = None
        self._connection: Connection | None = None
        self._run: ServerRun | None = None
        self._away = False
        self._thread = threading.Thread(target=self._work, name="pdpipe-mlflow", daemon=True)
        self._thread.start()

    def send(self, run: RunDescription, points: Sequence[Point]) -> None:
        """Hand over points of `run`; comes back at once."""
        self._description = run
        self._unsent.extend(points)
        self._changed.set()

    def finish(self, ending: Ending) -> None:
        """Close the run, waiting a bounded time for what is still to be sent."""
        self._ending = ending
        self._changed.set()
        patience, asked = _PATIENCE[ending.status], time.monotonic()
        while self._thread.is_alive():
            if time.monotonic() - asked > (_PATIENCE_AWAY if self._away else patience):
                break
            self._thread.join(0.05)
        if self._thread.is_alive():
            self._announce(f"no answer within {patience:.0f} s")

    def _work(self) -> None:
        while True:
            self._changed.clear()
            ending = self._ending  # before the points: with it, all of them are there
            try:
                self._deliver(ending)
                self._away = False
            except Exception as error:  # whatever it is, the stage goes on
                self._connection = self._run = None
                self._away = True
                self._announce(str(error).strip() or type(error).__name__)
            if ending is not None:
                return
            self._changed.wait()

    def _deliver(self, ending: Ending | None) -> None:
        """Send what waits; after a failure the run is opened anew, to see what arrived."""
        if self._connection is None:
            self._connection = connect(self._address)
        if self._description is None or not (self._unsent or ending):
            return
        if self._run is None:
            self._run = open_run(self._connection, self._description)
            self.run_id = self._run.run_id
        points = list(self._unsent)
        self._run.add(points)
        del self._unsent[: len(points)]
        if ending is not None:
            self._run.finish(ending)
            self.complete = True
