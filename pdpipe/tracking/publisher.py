"""Brings the server up to what was handed over, from a background thread; see `courier.py`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pdpipe.tracking.local import Point
from pdpipe.tracking.parent import FIRST_CHAIN_TAG, chain_run
from pdpipe.tracking.server import Connection, ServerAddress, connect
from pdpipe.tracking.server_run import Ending, RunDescription, ServerRun, open_run

# How long the end of a stage waits, in seconds:
PATIENCE = {"FINISHED": 60.0, "FAILED": 10.0, "KILLED": 10.0}  # for a server that works
_PATIENCE_AWAY = 4.0  # for one that has not answered


class MlflowPublisher:
    """Sends one run's points to the server, in the order in which they were handed over.

    The connection is made ahead of need, the run with the first points: a process killed before it
    published anything leaves nothing on the server. What could not be sent is kept, and tried again
    whenever there is more to send.
    """

    def __init__(
        self, address: ServerAddress, directory: Path, announce: Callable[[str], None]
    ) -> None:
        """Start the thread; `announce` takes the reason whenever the server cannot be used."""
        self.complete = False  # the server has the whole run, its ending included
        self.run_id: str | None = None
        self._address = address
        self._directory = directory
        self._announce = announce
        self._changed = threading.Condition()
        self._outbox: list[Point] = []
        self._description: RunDescription | None = None
        self._ending: Ending | None = None
        self._unsent: list[Point] = []  # this and the next two belong to the thread
        self._connection: Connection | None = None
        self._run: ServerRun | None = None
        self._away = False
        self._thread = threading.Thread(target=self._work, name="pdpipe-mlflow", daemon=True)
        self._thread.start()

    def send(self, run: RunDescription, points: Sequence[Point]) -> None:
        """Hand over points of `run`; comes back at once."""
        with self._changed:
            self._description = run
            self._outbox.extend(points)
            self._changed.notify()

    def finish(self, ending: Ending) -> None:
        """Close the run, waiting a bounded time for what is still to be sent."""
        with self._changed:
            self._ending = ending
            self._changed.notify()
        patience, asked = PATIENCE[ending.status], time.monotonic()
        while self._thread.is_alive():
            if time.monotonic() - asked > (_PATIENCE_AWAY if self._away else patience):
                break
            self._thread.join(0.05)
        if self._thread.is_alive():
            self._announce(f"no answer within {patience:.0f} s")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._unsent += self._outbox
                self._outbox = []
                ending = self._ending
            try:
                self._deliver(ending)
                self._away = False
            except Exception as error:  # whatever it is, the stage goes on
                self._connection = self._run = None
                self._away = True
                self._announce(str(error).strip() or type(error).__name__)
            if ending is not None:
                return
            with self._changed:
                self._changed.wait_for(lambda: self._outbox or self._ending is not None)

    def _deliver(self, ending: Ending | None) -> None:
        """Send what waits; after a failure the run is opened anew, to see what arrived."""
        if self._connection is None:
            self._connection = connect(self._address)
        if self._description is None or not (self._unsent or ending):
            return
        if self._run is None:
            parent_id = self._parent_id(self._connection, self._description)
            self._run = open_run(self._connection, self._description, parent_id)
            self.run_id = self._run.run_id
        self._run.add(self._unsent)
        self._unsent = []
        if ending is not None:
            self._run.finish(ending)
            self.complete = True

    def _parent_id(self, connection: Connection, run: RunDescription) -> str | None:
        """The run of the chain that runs the stage, so that it shows below it from the start."""
        chain_id = run.tags.get(FIRST_CHAIN_TAG)
        if chain_id is None:
            return None
        return str(chain_run(connection, chain_id, self._directory).info.run_id)
