"""The process beside a stage: syncs the project once a second, until the stage ends or dies.

It learns of that by the end of its standard input, and then sends what is left of this stage's run.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from pdpipe.tracking.local import LOCAL_DIR, records
from pdpipe.tracking.server import ServerAddress, project_root, server_address, why
from pdpipe.tracking.sync import Sync
from pdpipe.tracking.uploader import LONGEST, say_away

_EVERY = 1.0  # seconds
# How long the end of a stage waits, in seconds (for a database, LONGEST): for a server, after a
# failure or Ctrl-C, and for a server that has not answered.
_SERVER, _BROKEN, _AWAY = 20.0, 10.0, 4.0


class _Stage:
    """The stage at the other end of standard input, which closes when it ends or is killed."""

    def __init__(self, address: ServerAddress, folder: Path) -> None:
        self.ended = threading.Event()
        self.away = False  # whether the server could not be used when it was tried last
        self._address, self._folder = address, folder
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """From the end of the stage on, leave this process only so long as the stage may wait."""
        while os.read(0, 1):
            pass
        newest = next(records(self._folder), None)
        seconds = LONGEST if self._address.uri.startswith("sqlite") else _SERVER
        if newest is not None and newest.run().get("status") != "FINISHED":
            seconds = _BROKEN
        seconds = _AWAY if self.away else seconds
        self.ended.set()
        time.sleep(seconds)
        if not self.away:
            kept = newest.metrics_path if newest else self._folder
            reason = f"no answer within {seconds:.0f} s"
            say_away(self._address, reason, kept.relative_to(self._folder.parents[1]))
        os._exit(0)


def serve() -> None:
    """The process: sync the project until standard input ends."""
    started, folder, address = time.time() - 30, Path.cwd() / LOCAL_DIR, server_address()
    os.chdir(project_root())
    stage, sync, said = _Stage(address, folder), Sync(address, folder), False
    while True:
        last, reason = stage.ended.is_set(), ""
        try:
            while sync.step(started if last else 0.0) and (last or not stage.ended.is_set()):
                pass
        except Exception as error:  # whatever it is, the stage goes on
            reason = why(error)
        stage.away = bool(reason)
        kept = sync.newest(started) if reason else None
        if kept is not None and not said:
            said = True
            say_away(address, reason, kept.relative_to(folder.parents[1]))
        if last:
            break
        stage.ended.wait(_EVERY)
    os._exit(0)  # a thread that hangs on a server would hold up the exit
