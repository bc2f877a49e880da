"""Syncs a project in a process of its own, so that no stage waits for MLflow.

Importing MLflow and opening its database keep Python's lock for seconds. On a thread of the stage
they would halt it that long, since each operation of the training has to ask for the lock.

The process looks at the local records once a second, until its standard input is closed, as also a
kill of the stage does; then for the last time. It leaves the stage's session: no Ctrl-C meets it.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

from pdpipe.tracking.local import LOCAL_DIR, records
from pdpipe.tracking.names import without_password
from pdpipe.tracking.server import ServerAddress, project_root, say, server_address, why

_COMMAND = [sys.executable, "-P", "-c", "from pdpipe.tracking.uploader import serve; serve()"]
_EVERY = 1.0  # seconds
# How long the end of a stage waits, in seconds: for a database, a server, after a failure or
# Ctrl-C, and for one that has not answered.
_DATABASE, _SERVER, _BROKEN, _AWAY = 60.0, 20.0, 10.0, 4.0
_GRACE = 10.0  # beyond that, for the process to start and to end


class Uploader:
    """The stage's side: starts the process, and ends it when the stage does."""

    def __init__(self, address: ServerAddress) -> None:
        """Start the process, for the server that it finds from this folder."""
        self.address = address
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                _COMMAND, stdin=subprocess.PIPE, stdout=2, start_new_session=True
            )
        except OSError as error:
            _say_away(address, f"no process could be started: {error}", LOCAL_DIR)

    def close(self) -> None:
        """Have the process send the rest, which takes a bounded time, and end."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            died = self._process.wait(_DATABASE + _GRACE) != 0
        except subprocess.TimeoutExpired:
            died = True
            self._process.kill()
            self._process.wait()
        if died:
            _say_away(self.address, "the process that talks to it has ended", LOCAL_DIR)


def serve() -> None:
    """The process: sync the project until standard input ends."""
    from pdpipe.tracking.sync import Sync

    started, folder, address = time.time() - 30, (Path.cwd() / LOCAL_DIR), server_address()
    os.chdir(project_root())
    sync, said, ended = Sync(address, folder), False, False
    reason = ""
    while True:
        last = ended
        if last:
            _bound(address, folder, away=bool(reason))
        try:
            while sync.step(started if last else 0.0):
                if not last and _is_closed(0.0):
                    break
            reason = ""
        except Exception as error:  # whatever it is, the stage goes on
            reason = why(error)
        kept = sync.newest(started) if reason else None
        if kept is not None and not said:
            said = True
            _say_away(address, reason, kept.relative_to(folder.parents[1]))
        if last:
            os._exit(0)  # a thread that hangs on a server would hold up the exit
        ended = _is_closed(_EVERY)


def _bound(address: ServerAddress, folder: Path, away: bool) -> None:
    """End the process after as long as the stage may wait."""
    seconds = _DATABASE if address.uri.startswith("sqlite") else _SERVER
    newest = next(records(folder), None)
    if newest is not None and newest.run().get("status") != "FINISHED":
        seconds = _BROKEN
    seconds = _AWAY if away else seconds

    def end() -> None:
        if not away:
            kept = (newest.metrics_path if newest else folder).relative_to(folder.parents[1])
            _say_away(address, f"no answer within {seconds:.0f} s", kept)
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _is_closed(seconds: float) -> bool:
    """Whether standard input ends within so many seconds."""
    return bool(select.select([0], [], [], seconds)[0]) and not os.read(0, 1)


def _say_away(address: ServerAddress, reason: str, kept: Path) -> None:
    where = without_password(address.uri)
    say(
        f"tracking: MLflow at {where} cannot be used ({reason}); what is logged is "
        f"in {kept.as_posix()}, and is sent by the next stage or `pdpipe sync`"
    )
