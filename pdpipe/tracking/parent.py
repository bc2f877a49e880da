"""A chain's run on the server, below which its stages' runs hang; the first that asks makes it.

Like `server.py`, for a background thread only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from filelock import FileLock

from pdpipe.tracking.names import legal_folder
from pdpipe.tracking.server import Connection, project_root
from pdpipe.tracking.server_run import PARENT_TAG, find_runs, now_ms

CHAIN_TAG = "pdpipe.chain"
FIRST_CHAIN_TAG = "pdpipe.first_chain"  # of a stage's run: the chain that ran it
NOTE_TAG = "mlflow.note.content"  # the Markdown that the MLflow UI shows on a run
LOCAL_DIR = Path(".pdpipe") / "tracking"
_UNFINISHED = "Not finished: the stage `report` puts the headline, the report and the models here."


def chain_record(chain_id: str) -> Path:
    """The local record of a chain, from the project's folder on."""
    return LOCAL_DIR / "chains" / f"{legal_folder(chain_id)}.json"


def chain_run(connection: Connection, chain_id: str, directory: Path) -> Any:
    """The chain's run: the oldest with its tag, a new one, as yet RUNNING, where there is none.

    Args:
        connection: to the server.
        chain_id: the identity of the chain.
        directory: the project's folder, or a copy of it in which DVC runs an experiment.
    """
    lock = (project_root(directory) / chain_record(chain_id)).with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    tags = {CHAIN_TAG: chain_id}
    with FileLock(lock):  # of two at once, one makes it
        found = find_runs(connection, tags)
        if found:
            return found[-1]
        return connection.client.create_run(
            connection.experiment_id,
            start_time=now_ms(),
            tags={**tags, NOTE_TAG: _UNFINISHED},
            run_name=f"chain {chain_id}",
        )


def hang_below(connection: Connection, run: Any, parent: Any) -> None:
    """Show a run below `parent`, unless it is below another already."""
    if PARENT_TAG not in run.data.tags:
        connection.client.set_tag(run.info.run_id, PARENT_TAG, parent.info.run_id)
