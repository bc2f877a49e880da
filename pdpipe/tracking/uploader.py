"""Syncs a project in a process of its own, so that no stage waits for MLflow.

Importing MLflow and opening its database keep Python's lock for seconds. On a thread of the stage
they would halt it that long, since each operation of the training has to ask for the lock.

The process leaves the stage's session, so that no Ctrl-C meets it. It learns the folder of the
stage's record from its standard input, and that the stage has ended, or was killed, from its end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from pdpipe.tracking.local import LOCAL_DIR, RunRecord, records
from pdpipe.tracking.machine import MachineLoad
from pdpipe.tracking.names import without_password
from pdpipe.tracking.server import ServerAddress, project_root, say, server_address, why
from pdpipe.tracking.sync import Sync

_COMMAND = [sys.executable, "-P", "-c", "from pdpipe.tracking.uploader import serve; serve()"]
_EVERY = 1.0  # seconds between two looks at the records
# How many seconds the end of a stage waits: for a database, for a server, after a failure or
# Ctrl-C, and for a server that could not be used just before.
_DATABASE, _SERVER, _BROKEN, _AWAY = 60.0, 20.0, 10.0, 4.0


class Uploader:
    """The stage's side: starts the process, and ends it when the stage does."""

    def __init__(self, address: ServerAddress) -> None:
        """Start the process, for the server that it finds from this folder."""
        self.address = address
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                _COMMAND, stdin=subprocess.PIPE, stdout=2, start_new_session=True, bufsize=0
            )
        except OSError as error:
            _say_away(address, f"no process could be started: {error}")

    def follow(self, record: RunRecord) -> None:
        """Say which record is the stage's."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it has died
                self._process.stdin.write(os.fsencode(record.folder))

    def close(self, finished: bool = True) -> None:
        """Have the process send the rest, for a bounded time, and end; less where work failed."""
        if self._process is None or self._process.stdin is None:
            return
        seconds = _patience(self.address) if finished else _BROKEN
        self._process.stdin.close()
        try:
            if self._process.wait(seconds) != 0:
                _say_away(self.address, "the process that talks to it has ended")
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            _say_away(self.address, f"no answer within {seconds:.0f} s")


def _patience(address: ServerAddress) -> float:
    return _DATABASE if address.uri.startswith("sqlite") else _SERVER


class _Stage:
    """The stage, as the process sees it: the end of standard input is its end."""

    def __init__(self, address: ServerAddress) -> None:
        self.ended, self.away = threading.Event(), False
        self._seconds = _patience(address)
        self._folder = b""
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def record(self) -> RunRecord | None:
        """Its record, where it has begun one."""
        return RunRecord(Path(os.fsdecode(self._folder))) if self._folder else None

    def _watch(self) -> None:
        """From its end on, leave this process a bounded time, whatever it waits for."""
        while said := os.read(0, 4096):
            self._folder += said
        if self.record is None:  # it was refused before it did anything
            os._exit(0)
        killed = self.record.run().get("status") == "RUNNING"  # no one else sees to the time
        self.ended.set()
        time.sleep(_AWAY if self.away else _BROKEN if killed else self._seconds + 1)
        os._exit(0)


def serve() -> None:
    """The process: sync the project until the stage has ended, and once more then."""
    address = server_address()
    os.chdir(project_root())
    stage, sync, machine, said = _Stage(address), Sync(address), None, False
    while True:
        last, record = stage.ended.is_set(), stage.record
        if last and record is not None:
            record.close_if_dead(patience=1.0)
        try:
            sync.send()
            stage.away = False
            machine = machine or MachineLoad(address.uri)
            if record is not None and not last:
                machine.sample(record)
        except Exception as error:  # whatever it is, the stage goes on
            if not said and (said := bool(records(LOCAL_DIR))):
                _say_away(address, why(error))
            stage.away = True
        if last:
            os._exit(0)  # a thread that hangs on a server would hold up the exit
        stage.ended.wait(_EVERY)


def _say_away(address: ServerAddress, reason: str) -> None:
    """Say that the server cannot be used, and where the record is: one sentence."""
    where = without_password(address.uri)
    say(
        f"tracking: MLflow at {where} cannot be used ({reason}); what is logged is in "
        f"{LOCAL_DIR.as_posix()}, and is sent by the next stage or `pdpipe sync`"
    )
