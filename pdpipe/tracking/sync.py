"""Brings the server up to the local records: may be run at any time, and as often as one likes.

Nothing is sent twice: a run is found by a tag that was chosen here, MLflow keeps equal points once,
and what a record's `server.json` says is confirmed is not looked at again.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from filelock import FileLock

from pdpipe.tracking.chain import publish
from pdpipe.tracking.local import LOCAL_DIR, METRICS, SYSTEM, RunRecord, records
from pdpipe.tracking.names import without_password
from pdpipe.tracking.server import (
    Connection,
    ServerAddress,
    TrackingError,
    connect,
    is_tracking_on,
    project_root,
    say,
    server_address,
    why,
)
from pdpipe.tracking.server_run import (
    ServerRun,
    add_images,
    add_points,
    close_run,
    open_run,
)

_REFUSED = 400  # the HTTP status of what is wrong with the request, not with the server


class Sync:
    """One server, and the runs that are open there; to be used in the project's root.

    Args:
        address: the server.
        everything: whether to send again what a server has confirmed, such as to another one.
    """

    def __init__(self, address: ServerAddress, everything: bool = False) -> None:
        self._address, self._everything = address, everything
        self._connection: Connection | None = None
        LOCAL_DIR.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(LOCAL_DIR / ".sync")  # of two at once, one makes an experiment, a run
        self._runs: dict[Path, ServerRun] = {}  # open, by the folders of their records
        self._done: set[Path] = set()  # folders of the runs that have ended

    def send(self) -> int:
        """Send what the records have more, in the order in which their runs began.

        Returns:
            how many records had something to send.

        Raises:
            Exception: whatever MLflow or the network raises where the server cannot be used.
        """
        try:
            if self._connection is None:
                with self._lock:
                    self._connection = connect(self._address)
            return sum(
                self._try(self._connection, record)
                for record in records(LOCAL_DIR)
                if record.folder not in self._done
            )
        except Exception:  # opened anew, the runs show what arrived
            self._connection = None
            self._runs.clear()
            raise

    def _try(self, connection: Connection, record: RunRecord) -> bool:
        """Send one record; where the server refuses it, say so and leave it for another time."""
        from mlflow.exceptions import MlflowException

        try:
            with self._lock:
                return self._send(connection, record)
        except MlflowException as error:
            if error.get_http_status_code() != _REFUSED:
                raise
            say(f"tracking: MLflow takes no more of {record.folder.as_posix()} ({why(error)})")
            self._done.add(record.folder)
            return False

    def _send(self, connection: Connection, record: RunRecord) -> bool:
        """Send what a record has more; whether there was anything."""
        if not self._everything and record.is_sent():
            self._done.add(record.folder)
            return False
        record.close_if_dead()
        run, state, client = record.run(), record.state(), connection.client
        if not run:
            return False
        found = self._runs.get(record.folder)
        if found is None:
            found = self._runs[record.folder] = open_run(connection, run)
        new = False
        for name in (METRICS, SYSTEM):
            points, found.sent[name] = record.points(name, found.sent.get(name, 0))
            add_points(client, found.run_id, points)
            new = new or bool(points)
        if run["status"] == "RUNNING":
            return new
        close_run(client, found, run)
        add_images(client, found.run_id, record.images)
        whole = "report" not in run or publish(connection, record, run)
        self._done.add(record.folder)
        del self._runs[record.folder]
        if whole:
            where = without_password(self._address.uri)
            record.mark_sent(
                state, run_id=found.run_id, server=where, experiment=self._address.experiment
            )
        return True


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
    address = server_address()
    where = without_password(address.uri)
    with contextlib.chdir(project_root()):
        try:
            return Sync(address, everything).send(), where
        except Exception as error:
            again = "" if isinstance(error, TrackingError) else ": start it, and run this again"
            said = f"MLflow at {where} cannot be used ({why(error)}){again}"
            raise TrackingError(said) from error
