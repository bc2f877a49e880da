"""Brings the server up to the local records: may be run at any time, and as often as one likes.

Nothing is sent twice: a run is found by a tag that was chosen here, its points by their steps, and
what a record's `server.json` says is confirmed is not looked at again.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from filelock import FileLock

from pdpipe.tracking.chain import chain_is_sent, send_chain
from pdpipe.tracking.local import CHAINS, LOCAL_DIR, Point, RunRecord, records
from pdpipe.tracking.names import without_password
from pdpipe.tracking.server import (
    Connection,
    ServerAddress,
    TrackingError,
    connect,
    is_tracking_on,
    project_root,
    server_address,
    set_environment,
    why,
)
from pdpipe.tracking.server_run import ERROR_TAG, DataSet, RunDescription, ServerRun, open_run

_KILLED = {ERROR_TAG: "killed: the process ended without a word"}


class Sync:
    """One server, and the runs that were sent to it; to be used in the project's root.

    Args:
        address: the server.
        folder: a project's `.pdpipe/tracking`.
        everything: whether to send again what a server has confirmed, such as to another one.
    """

    def __init__(self, address: ServerAddress, folder: Path, everything: bool = False) -> None:
        self._address, self._folder, self._everything = address, folder, everything
        self._connection: Connection | None = None
        self._runs: dict[str, ServerRun] = {}  # by their attempts
        self._seen: dict[Path, Any] = {}  # what of each record was sent

    def connect(self) -> Connection:
        """The connection, made ahead of need; raises whatever MLflow or the network raises."""
        if self._connection is None:
            self._connection = connect(self._address)
        return self._connection

    def step(self, since: float = 0.0) -> bool:
        """Send what one record has more, the newest first, the chains' last.

        Args:
            since: only of records that were changed since then, in seconds since the epoch.

        Returns:
            whether there was anything to send.

        Raises:
            Exception: as `connect`; then the runs are opened anew, to see what arrived.
        """
        try:
            return self._step(since)
        except Exception:
            self._connection = None
            self._runs.clear()
            raise

    def newest(self, since: float) -> Path | None:
        """The file of the record that was changed last, since then."""
        found = [(_changed(r.run_path), r.metrics_path) for r in records(self._folder)]
        found += [(_changed(path), path) for path in self._chains()]
        return max((f for f in found if f[0] >= since), default=(0, None))[1]

    def _step(self, since: float) -> bool:
        connection = self.connect()
        for record in records(self._folder):
            if _changed(record.run_path) < since:
                break
            state = {**record.state(), "alive": record.is_alive()}
            known = self._seen.get(record.folder) == state
            if known or (record.is_sent() and not self._everything):
                continue
            sent = self._send(connection, record)
            self._seen[record.folder] = state
            if sent:
                return True
        for path in self._chains():
            done = self._seen.get(path) or (chain_is_sent(path) and not self._everything)
            if _changed(path) < since or done:
                continue
            send_chain(connection, self._address.experiment, path)
            self._seen[path] = True
            return True
        return False

    def _send(self, connection: Connection, record: RunRecord) -> bool:
        """Whether there was anything to send of a run's record."""
        with FileLock(record.folder / ".sync"):
            run, state = record.run(), record.state()
            if not run:
                return False
            status, points = run["status"], record.points()
            running = status == "RUNNING"
            if running and not points:
                return False  # killed before it published anything, it leaves nothing
            server_run = self._runs.get(run["attempt"])
            if server_run is None:
                named = run.get("name", run["stage"])
                about = RunDescription(
                    named, run["attempt"], run["started"], run["params"], run["tags"],
                    run.get("chain_name"), DataSet(**run["data"]) if run.get("data") else None,
                )  # fmt: skip
                server_run = self._runs[run["attempt"]] = open_run(connection, about)
            final = {name: float(value) for name, value in run.get("metrics", {}).items()}
            server_run.add([*points, Point(0, run.get("ended", 0), final)])
            if running and record.is_alive():
                return True
            server_run.finish(*(("KILLED", _KILLED) if running else (status, run["tags"])))
            del self._runs[run["attempt"]]
            where = without_password(self._address.uri)
            record.mark_sent(
                state, run_id=server_run.run_id, server=where, experiment=self._address.experiment
            )
            return True

    def _chains(self) -> list[Path]:
        return sorted((self._folder / CHAINS).glob("*.json"), key=_changed, reverse=True)


def sync_project(everything: bool = False) -> tuple[int, str]:
    """Bring the server up to all the records of the project in this folder.

    Args:
        everything: whether to send again what a server has confirmed, such as to another one.

    Returns:
        how many records had something to send, and the server's address.

    Raises:
        TrackingError: MLflow cannot be used, or is switched off.
    """
    if not is_tracking_on():
        raise TrackingError("PDPIPE_TRACKING is off: run `PDPIPE_TRACKING=on pdpipe sync`")
    set_environment()
    address, folder = server_address(), Path.cwd() / LOCAL_DIR
    where, count = without_password(address.uri), 0
    with contextlib.chdir(project_root()):
        sync = Sync(address, folder, everything)
        try:
            while sync.step():
                count += 1
        except Exception as error:
            again = "" if isinstance(error, TrackingError) else ": start it, and run this again"
            said = f"MLflow at {where} cannot be used ({why(error)}){again}"
            raise TrackingError(said) from error
    return count, where


def _changed(path: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0
