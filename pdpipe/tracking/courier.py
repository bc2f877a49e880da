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
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pdpipe.tracking.local import Point
from pdpipe.tracking.publisher import PATIENCE, MlflowPublisher
from pdpipe.tracking.server import ServerAddress, server_address
from pdpipe.tracking.server_run import Ending, RunDescription

_COMMAND = [sys.executable, "-P", "-c", "from pdpipe.tracking.courier import serve; serve()"]
_GRACE = 10.0  # seconds beyond what the process itself waits: to start, and to answer
_LAST_SECONDS = 5.0  # for it to end when there is nothing left to do


class Courier:
    """The stage's side: hands over points, says that the server is away, ends the run.

    A thread writes to the process and another reads from it, so that neither a process that is
    stuck nor one that has died holds up the stage; its points are in the local record anyway.
    """

    def __init__(self, address: ServerAddress, directory: Path) -> None:
        """Start the process in `directory`, for the server that it finds from there."""
        self.address = address
        self.directory = directory
        self.complete = False  # the server has the whole run, its ending included
        self.run_id: str | None = None
        self._announce: Callable[[str], None] | None = None
        self._unannounced: list[str] = []
        self._announcing = threading.Lock()
        self._outbox: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # None: no more
        self._threads: list[threading.Thread] = []
        try:
            self._process = subprocess.Popen(
                _COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=directory,
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

    def announce_with(self, announce: Callable[[str], None]) -> None:
        """Have `announce` take the reason whenever the server cannot be used, from now on."""
        with self._announcing:
            self._announce = announce
            earlier, self._unannounced = self._unannounced, []
        for reason in earlier:
            announce(reason)

    def send(self, run: RunDescription, points: Sequence[Point]) -> None:
        """Hand over points of `run`; comes back at once."""
        self._tell({"run": asdict(run), "points": [asdict(point) for point in points]})

    def finish(self, ending: Ending) -> None:
        """Close the run, waiting a bounded time for what is still to be sent."""
        paths = [str(Path(path).absolute()) for path in ending.artifacts]
        self._tell({"ending": {**asdict(ending), "artifacts": paths}})
        self.close(patience=PATIENCE[ending.status] + _GRACE)

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
        with self._announcing:
            announce = self._announce
            if announce is None:
                self._unannounced.append(reason)
        if announce is not None:
            announce(reason)


def serve() -> None:
    """The process: serve the stage at the other end of standard input until that ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what MLflow prints is no answer

    def answer(**message: Any) -> None:
        with contextlib.suppress(OSError):  # the stage has died
            print(json.dumps(message), file=answers, flush=True)

    here = Path.cwd()
    publisher = MlflowPublisher(server_address(here), here, lambda reason: answer(away=reason))
    for line in sys.stdin:
        try:
            message = json.loads(line)
        except ValueError:  # cut short by a kill of the stage
            break
        if "run" in message:
            points = [Point(**point) for point in message["points"]]
            publisher.send(RunDescription(**message["run"]), points)
        else:
            publisher.finish(_ending(message["ending"]))
            answer(run_id=publisher.run_id, complete=publisher.complete)
            break
    else:
        answer(bye=True)  # the stage has nothing to send
    os._exit(0)  # a thread that hangs on a server would hold up the exit


def _ending(message: dict[str, Any]) -> Ending:
    artifacts = [Path(path) for path in message["artifacts"]]
    return Ending(message["status"], message["tags"], Point(**message["metrics"]), artifacts)
