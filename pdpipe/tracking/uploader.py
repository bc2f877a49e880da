"""Syncs a project in a process of its own, so that no stage waits for MLflow.

Importing MLflow and opening its database keep Python's lock for seconds. On a thread of the stage
they would halt it that long, since each operation of the training has to ask for the lock.

The process (`serving.py`) leaves the stage's session, so that no Ctrl-C meets it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pdpipe.tracking.local import LOCAL_DIR
from pdpipe.tracking.names import without_password
from pdpipe.tracking.server import ServerAddress, say

_COMMAND = [sys.executable, "-P", "-c", "from pdpipe.tracking.serving import serve; serve()"]
LONGEST = 60.0  # seconds that the process takes to end, once it is asked to
_GRACE = 10.0  # beyond that, for it to start


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
            say_away(address, f"no process could be started: {error}", LOCAL_DIR)

    def close(self) -> None:
        """Have the process send the rest, which takes a bounded time, and end."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            died = self._process.wait(LONGEST + _GRACE) != 0
        except subprocess.TimeoutExpired:
            died = True
            self._process.kill()
            self._process.wait()
        if died:
            say_away(self.address, "the process that talks to it has ended", LOCAL_DIR)


def say_away(address: ServerAddress, reason: str, kept: Path) -> None:
    """Say that the server cannot be used, and where the record is: one sentence."""
    where = without_password(address.uri)
    say(
        f"tracking: MLflow at {where} cannot be used ({reason}); what is logged is "
        f"in {kept.as_posix()}, and is sent by the next stage or `pdpipe sync`"
    )
