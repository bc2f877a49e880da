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


class Courier:
    """The stage's side: hands over points, says that the server is away, ends the run."""

    def __init__(self, address: ServerAddress, directory: Path) -> None:
        """Start the process in `directory`, for the server that it finds from there."""
        self.address = address
        self.directory = directory
        self.complete = False  # the server has the whole run, its ending included
        self.run_id: str | None = None
        self._announce: Callable[[str], None] | None = None
        self._unannounced: list[str] = []
        self._process = subprocess.Popen(
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=directory,
            start_new_session=True,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, name="pdpipe-courier", daemon=True)
        self._reader.start()

    def announce_with(self, announce: Callable[[str], None]) -> None:
        """Have `announce` take the reason whenever the server cannot be used, from now on."""
        self._announce = announce
        for reason in self._unannounced:
            announce(reason)

    def send(self, run: RunDescription, points: Sequence[Point]) -> None:
        """Hand over points of `run`; comes back at once."""
        self._tell({"run": asdict(run), "points": [asdict(point) for point in points]})

    def finish(self, ending: Ending) -> None:
        """Close the run, waiting a bounded time for what is still to be sent."""
        paths = [str(Path(path).absolute()) for path in ending.artifacts]
        self._tell({"ending": {**asdict(ending), "artifacts": paths}})
        patience = PATIENCE[ending.status] + _GRACE
        self._reader.join(patience)
        if self._reader.is_alive():
            self._away(f"no answer within {patience:.0f} s")
            self._process.kill()
        self.close()

    def close(self) -> None:
        """End the process; what it has not sent stays unsent."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):  # what it did not read any more
            self._process.stdin.close()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            self._away("the process that talks to it has ended")

    def _read(self) -> None:
        assert self._process.stdout is not None
        answer: dict[str, Any] = {}
        for line in self._process.stdout:
            answer = json.loads(line)
            if "away" in answer:
                self._away(answer["away"])
        self.run_id = answer.get("run_id")
        self.complete = answer.get("complete", False)

    def _away(self, reason: str) -> None:
        if self._announce is None:
            self._unannounced.append(reason)
        else:
            self._announce(reason)


def serve() -> None:
    """The process: serve the stage at the other end of standard input until that ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what MLflow prints is no answer

    def answer(**message: Any) -> None:
        with contextlib.suppress(OSError):  # the stage has died
            print(json.dumps(message), file=answers, flush=True)

    publisher = MlflowPublisher(server_address(Path.cwd()), lambda reason: answer(away=reason))
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
    os._exit(0)  # a thread that hangs on a server would hold up the exit


def _ending(message: dict[str, Any]) -> Ending:
    artifacts = [Path(path) for path in message["artifacts"]]
    return Ending(message["status"], message["tags"], Point(**message["metrics"]), artifacts)
