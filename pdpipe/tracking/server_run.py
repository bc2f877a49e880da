"""Runs on the server, opened or found again: a stage's, and its chain's, below which it hangs.

Like `server.py`, for the uploader and `pdpipe sync` only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from pdpipe.tracking.local import CHAINS, LOCAL_DIR, Point
from pdpipe.tracking.names import MAX_PARAM, MAX_TAG, legal_folder, legal_key, legal_values
from pdpipe.tracking.server import Connection

ATTEMPT_TAG = "pdpipe.attempt"
ERROR_TAG = "pdpipe.error"
OUTPUT_TAG = "pdpipe.output_sha256"
PARENT_TAG = "mlflow.parentRunId"  # how MLflow nests one run below another
CHAIN_TAG = "pdpipe.chain"
FIRST_CHAIN_TAG = "pdpipe.first_chain"  # of a stage's run: the chain that ran it
NOTE_TAG = "mlflow.note.content"  # the Markdown that the MLflow UI shows on a run
Status = Literal["FINISHED", "FAILED", "KILLED"]
_CHAIN_STATUS = {"FINISHED": "SCHEDULED", "FAILED": "FAILED", "KILLED": "KILLED"}  # by a stage's
_PER_CALL = {"metrics": 1000, "params": 100, "tags": 100}  # what MLflow takes in one log_batch
_UNFINISHED = "Not finished: the stage `report` puts the headline, the report and the models here."


@dataclass(frozen=True)
class DataSet:
    """What a run learns from or measures: the data's name, and the digest of the shards."""

    name: str
    digest: str


@dataclass(frozen=True)
class RunDescription:
    """What a run is called and made with; `started` in ms since the epoch."""

    name: str
    attempt: str
    started: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    chain_name: str | None = None
    data: DataSet | None = None


class ServerRun:
    """A run on the server; it never holds two points of one metric at one step."""

    def __init__(
        self, client: Any, run_id: str, parent_id: str | None, known_steps: dict[str, set[int]]
    ) -> None:
        self.run_id, self.parent_id = run_id, parent_id
        self._client = client
        self._known_steps = known_steps

    def add(self, points: Iterable[Point]) -> None:
        """Log the points that the server does not have yet."""
        from mlflow.entities import Metric

        metrics = []
        for point in points:
            for name, value in point.values.items():
                key = legal_key(name)
                known = self._known_steps.setdefault(key, set())
                if point.step not in known:
                    known.add(point.step)
                    metrics.append(Metric(key, value, point.time, point.step))
        log_batches(self._client, self.run_id, metrics=metrics)

    def finish(self, status: str, tags: Mapping[str, str]) -> None:
        """Close the run, and say on its chain's, unless that is finished, how it went."""
        add_tags(self._client, self.run_id, tags)
        self._client.set_terminated(self.run_id, status=status)
        set_chain_status(self._client, self.parent_id, _CHAIN_STATUS[status])


def open_run(connection: Connection, description: RunDescription) -> ServerRun:
    """The run of this attempt: the one the server has, else a new one below its chain's.

    A run is found by a tag that was chosen here, so that it is found even when the answer to its
    creation never arrived.
    """
    client = connection.client
    chain_id = description.tags.get(FIRST_CHAIN_TAG)
    parent_id = (
        None
        if chain_id is None
        else chain_run(connection, chain_id, description.chain_name).info.run_id
    )
    below = {} if parent_id is None else {PARENT_TAG: parent_id}
    set_chain_status(client, parent_id, "RUNNING")
    attempt = {ATTEMPT_TAG: description.attempt}
    found = find_runs(connection, attempt)
    if not found:
        run = client.create_run(
            connection.experiment_id,
            start_time=description.started,
            tags=legal_values({**description.tags, **attempt, **below}, MAX_TAG),
            run_name=description.name,
        )
        add_params(client, run, description.params)
        add_data(client, run.info.run_id, description.data)
        return ServerRun(client, run.info.run_id, parent_id, {})
    run = found[0]
    run_id = run.info.run_id
    client.update_run(run_id, status="RUNNING")
    if ERROR_TAG in run.data.tags:
        client.delete_tag(run_id, ERROR_TAG)
    add_params(client, run, description.params)
    add_data(client, run_id, description.data)
    if PARENT_TAG in run.data.tags:  # it stays where it is
        below = {}
    add_tags(client, run_id, {**below, **description.tags})
    known = {
        key: {metric.step for metric in client.get_metric_history(run_id, key)}
        for key in run.data.metrics
    }
    return ServerRun(client, run_id, parent_id, known)


def chain_run(connection: Connection, chain_id: str, name: str | None = None) -> Any:
    """The chain's run: the oldest with its tag, a new one of this name where there is none."""
    lock = LOCAL_DIR / CHAINS / f"{legal_folder(chain_id)}.lock"  # in the project's root
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
            run_name=name or f"chain {chain_id}",
        )


def set_chain_status(client: Any, run_id: str | None, status: str) -> None:
    """Say whether a stage of the chain is at work; nothing once its report is there."""
    if run_id is not None and client.get_run(run_id).info.status != "FINISHED":
        client.update_run(run_id, status=status)


def find_runs(
    connection: Connection, tags: Mapping[str, str], *, finished: bool = False
) -> list[Any]:
    """The experiment's runs that carry all of `tags`, newest first."""
    terms = [f"tags.`{legal_key(key)}` = '{value}'" for key, value in tags.items()]
    if finished:
        terms.append("attributes.status = 'FINISHED'")
    found = connection.client.search_runs(
        [connection.experiment_id],
        filter_string=" and ".join(terms),
        order_by=["attributes.start_time DESC"],
    )
    return list(found)


def log_batches(client: Any, run_id: str, **entries: Sequence[Any]) -> None:
    """Log `metrics`, `params` or `tags`, as many in one call as MLflow takes."""
    for kind, items in entries.items():
        size = _PER_CALL[kind]
        for start in range(0, len(items), size):
            client.log_batch(run_id, **{kind: items[start : start + size]})


def add_params(client: Any, run: Any, params: Mapping[str, str]) -> None:
    """Log the params that `run` does not have: MLflow refuses to change one."""
    from mlflow.entities import Param

    legal = legal_values(params, MAX_PARAM)
    new = [Param(key, value) for key, value in legal.items() if key not in run.data.params]
    log_batches(client, run.info.run_id, params=new)


def add_data(client: Any, run_id: str, data: DataSet | None) -> None:
    """Name the data set that a run uses; MLflow keeps it once."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    if data is not None:
        place = json.dumps({"uri": "data/shards"})
        found = Dataset(data.name, data.digest[:36], "local", place)  # the longest that it takes
        client.log_inputs(run_id, [DatasetInput(found, [InputTag("mlflow.data.context", "data")])])


def add_tags(client: Any, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags, new values taking the place of old ones."""
    from mlflow.entities import RunTag

    legal = legal_values(tags, MAX_TAG)
    log_batches(client, run_id, tags=[RunTag(key, value) for key, value in legal.items()])


def add_artifacts(client: Any, run_id: str, paths: Iterable[Path]) -> None:
    """Upload the files and folders that exist, folders whole under their own name."""
    for path in paths:
        if path.is_dir():
            client.log_artifacts(run_id, str(path), artifact_path=path.name)
        elif path.exists():
            client.log_artifact(run_id, str(path))


def now_ms() -> int:
    """The time in ms since the epoch, as MLflow counts it."""
    return time.time_ns() // 1_000_000
