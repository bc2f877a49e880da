"""The process beside a stage: syncs the project once a second, until the stage ends or dies.

It learns of that by the end of its standard input, and then sends what is left of this stage's run.
"""

from __future__ import annotations

import os
import select
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


def serve() -> None:
    """The process: sync the project until standard input ends."""
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
            say_away(address, reason, kept.relative_to(folder.parents[1]))
        if last:
            os._exit(0)  # a thread that hangs on a server would hold up the exit
        ended = _is_closed(_EVERY)


def _bound(address: ServerAddress, folder: Path, away: bool) -> None:
    """End the process after as long as the stage may wait."""
    seconds = LONGEST if address.uri.startswith("sqlite") else _SERVER
    newest = next(records(folder), None)
    if newest is not None and newest.run().get("status") != "FINISHED":
        seconds = _BROKEN
    seconds = _AWAY if away else seconds

    def end() -> None:
        if not away:
            kept = (newest.metrics_path if newest else folder).relative_to(folder.parents[1])
            say_away(address, f"no answer within {seconds:.0f} s", kept)
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _is_closed(seconds: float) -> bool:
    """Whether standard input ends within so many seconds."""
    return bool(select.select([0], [], [], seconds)[0]) and not os.read(0, 1)
