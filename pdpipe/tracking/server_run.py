"""One stage's run on the server: opened, or found again, and brought up to what is known here.

Like `server.py`, for a background thread only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pdpipe.tracking.local import Point
from pdpipe.tracking.names import legal_key, legal_params, legal_tags
from pdpipe.tracking.server import Connection

ATTEMPT_TAG = "pdpipe.attempt"
ERROR_TAG = "pdpipe.error"
PARENT_TAG = "mlflow.parentRunId"  # how MLflow nests one run below another
Status = Literal["FINISHED", "FAILED", "KILLED"]
METRICS_PER_CALL = 1000  # what MLflow takes in one log_batch
_PARAMS_PER_CALL = 100
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class RunDescription:
    """What a run is called and made with; `started` in ms since the epoch."""

    stage: str
    attempt: str
    started: int
    params: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Ending:
    """What is said about a run when it ends."""

    status: Status
    tags: Mapping[str, str]
    metrics: Point
    artifacts: Sequence[Path]


class ServerRun:
    """A run on the server; it never holds two points of one metric at one step."""

    def __init__(self, client: Any, run_id: str, known_steps: dict[str, set[int]]) -> None:
        self.run_id = run_id
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
        for batch in batches(metrics, METRICS_PER_CALL):
            self._client.log_batch(self.run_id, metrics=batch)

    def finish(self, ending: Ending) -> None:
        """Log what is known at the end, close the run, then upload its artifacts."""
        self.add([ending.metrics])
        add_tags(self._client, self.run_id, ending.tags)
        self._client.set_terminated(self.run_id, status=ending.status)
        add_artifacts(self._client, self.run_id, ending.artifacts)


def open_run(
    connection: Connection, description: RunDescription, parent_id: str | None
) -> ServerRun:
    """The run of this attempt: the one the server has, else a new one below the parent's.

    A run is found by a tag that was chosen here, so that it is found even when the answer to its
    creation never arrived.
    """
    client = connection.client
    below = {} if parent_id is None else {PARENT_TAG: parent_id}
    attempt = {ATTEMPT_TAG: description.attempt}
    found = find_runs(connection, attempt)
    if not found:
        run = client.create_run(
            connection.experiment_id,
            start_time=description.started,
            tags=legal_tags({**description.tags, **attempt, **below}),
            run_name=description.stage,
        )
        add_params(client, run, description.params)
        return ServerRun(client, run.info.run_id, {})
    run = found[0]
    run_id = run.info.run_id
    client.update_run(run_id, status="RUNNING")
    if ERROR_TAG in run.data.tags:
        client.delete_tag(run_id, ERROR_TAG)
    add_params(client, run, description.params)
    add_tags(client, run_id, {**below, **description.tags, **_kept_parent(run)})
    known = {
        key: {metric.step for metric in client.get_metric_history(run_id, key)}
        for key in run.data.metrics
    }
    return ServerRun(client, run_id, known)


def _kept_parent(run: Any) -> dict[str, str]:
    """The tag of a run that is below another one already."""
    return {key: value for key, value in run.data.tags.items() if key == PARENT_TAG}


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


def add_params(client: Any, run: Any, params: Mapping[str, str]) -> None:
    """Log the params that `run` does not have: MLflow refuses to change one."""
    from mlflow.entities import Param

    new = {k: v for k, v in legal_params(params).items() if k not in run.data.params}
    for batch in batches([Param(key, value) for key, value in new.items()], _PARAMS_PER_CALL):
        client.log_batch(run.info.run_id, params=batch)


def add_tags(client: Any, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags, new values taking the place of old ones."""
    from mlflow.entities import RunTag

    entries = [RunTag(key, value) for key, value in legal_tags(tags).items()]
    for batch in batches(entries, _PARAMS_PER_CALL):
        client.log_batch(run_id, tags=batch)


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


def batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """`items` in order, at most `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
