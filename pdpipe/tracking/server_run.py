"""Runs on the server, opened or found again: a stage's, and its chain's, below which it hangs.

Like `server.py`, for the uploader and `pdpipe sync` only.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pdpipe.tracking.local import ERROR_TAG, Point
from pdpipe.tracking.names import MAX_PARAM, MAX_TAG, legal_key, legal_values
from pdpipe.tracking.server import Connection

ATTEMPT_TAG = "pdpipe.attempt"
OUTPUT_TAG = "pdpipe.output_sha256"
PARENT_TAG = "mlflow.parentRunId"  # how MLflow nests one run below another
CHAIN_TAG = "pdpipe.chain"
FIRST_CHAIN_TAG = "pdpipe.first_chain"  # of a stage's run: the chain that ran it
NOTE_TAG = "mlflow.note.content"  # the Markdown that the MLflow UI shows on a run
Status = Literal["FINISHED", "FAILED", "KILLED"]
_CHAIN_STATUS = {"FINISHED": "SCHEDULED", "FAILED": "FAILED", "KILLED": "KILLED"}  # by a stage's
_PER_CALL = {"metrics": 1000, "params": 100, "tags": 100}  # what MLflow takes in one log_batch
_UNFINISHED = "Not finished: the stage `report` puts the headline, the report and the models here."


@dataclass
class ServerRun:
    """A run on the server, its chain's, and how many bytes of each file of points were sent."""

    run_id: str
    parent_id: str | None
    sent: dict[str, int] = field(default_factory=dict)


def open_run(connection: Connection, run: Mapping[str, Any]) -> ServerRun:
    """The run of this attempt: the one the server has, else a new one below its chain's.

    A run is found by a tag that was chosen here, so that it is found even when the answer to its
    creation never arrived.

    Args:
        connection: to the server.
        run: what run.json says.
    """
    client, tags = connection.client, {**run["tags"], ATTEMPT_TAG: run["attempt"]}
    parent_id, chain_id = None, tags.get(FIRST_CHAIN_TAG)
    if chain_id is not None:
        chain = chain_run(connection, chain_id, run.get("chain_name"), run["started"])
        parent_id = chain.info.run_id
        set_chain_status(client, parent_id, "RUNNING")
    found = next(iter(find_runs(connection, {ATTEMPT_TAG: run["attempt"]})), None)
    if parent_id is not None and (found is None or PARENT_TAG not in found.data.tags):
        tags[PARENT_TAG] = parent_id
    if found is None:
        found = client.create_run(
            connection.experiment_id,
            start_time=run["started"],
            tags=legal_values(tags, MAX_TAG),
            run_name=run.get("name", run["stage"]),
        )
    else:
        client.update_run(found.info.run_id, status="RUNNING")
        if ERROR_TAG in found.data.tags:
            client.delete_tag(found.info.run_id, ERROR_TAG)
        add_tags(client, found.info.run_id, tags)
    run_id = found.info.run_id
    add_params(client, found, run["params"])
    add_data(client, run_id, run.get("data"))
    return ServerRun(run_id, parent_id)


def add_points(client: Any, run_id: str, points: Iterable[Point]) -> None:
    """Log points; MLflow keeps a point of the same time, step and value once."""
    from mlflow.entities import Metric

    metrics = [
        Metric(legal_key(name), value, point.time, point.step)
        for point in points
        for name, value in point.values.items()
    ]
    log_batches(client, run_id, metrics=metrics)


def add_changed_points(
    client: Any, run: Any, curves: Mapping[str, Mapping[int, float]], time: int, **about: str
) -> None:
    """Log what the run does not say already; `about` can name a logged model by its model_id."""
    from mlflow.entities import Metric

    new = []
    for name, curve in curves.items():
        key = legal_key(name)
        known = client.get_metric_history(run.info.run_id, key) if key in run.data.metrics else []
        said = {p.step: p.value for p in sorted(known, key=lambda p: p.timestamp)}
        new += [Metric(key, v, time, i, **about) for i, v in curve.items() if said.get(i) != v]
    log_batches(client, run.info.run_id, metrics=new)


def close_run(client: Any, run: ServerRun, about: Mapping[str, Any]) -> None:
    """Close a run as its run.json says, and say on its chain's, unless finished, how it went."""
    final = {name: {0: float(value)} for name, value in about["metrics"].items()}
    add_changed_points(client, client.get_run(run.run_id), final, about["ended"])
    add_tags(client, run.run_id, about["tags"])
    client.set_terminated(run.run_id, about["status"], about["ended"])
    set_chain_status(client, run.parent_id, _CHAIN_STATUS[about["status"]])


def chain_run(connection: Connection, chain_id: str, name: str | None, started: int) -> Any:
    """The chain's run: the oldest with its tag, a new one of this name where there is none."""
    tags = {CHAIN_TAG: chain_id}
    found = find_runs(connection, tags)
    if found:
        return found[-1]
    return connection.client.create_run(
        connection.experiment_id,
        start_time=started,
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


def add_data(client: Any, run_id: str, data: Sequence[str] | None) -> None:
    """Name the data set, its name and digest, that a run uses; MLflow keeps it once."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    if data:
        place = json.dumps({"uri": "data/shards"})
        found = Dataset(data[0], data[1][:36], "local", place)  # the longest it takes
        client.log_inputs(run_id, [DatasetInput(found, [InputTag("mlflow.data.context", "data")])])


def add_tags(client: Any, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags, new values taking the place of old ones."""
    from mlflow.entities import RunTag

    legal = legal_values(tags, MAX_TAG)
    log_batches(client, run_id, tags=[RunTag(key, value) for key, value in legal.items()])


def add_images(client: Any, run_id: str, folder: Path) -> None:
    """Upload the images `<name>+step+<step>.png` that the run does not have.

    As `MlflowClient.log_image` does it for one, which takes 50 ms for each.
    """
    from mlflow.tracking.multimedia import compress_image_size
    from PIL import Image

    paths = sorted(folder.glob("*.png"))
    known = [Path(found.path).name for found in client.list_artifacts(run_id, "images") if paths]
    new = [path for path in paths if not any(n.startswith(f"{path.stem}+") for n in known)]
    with tempfile.TemporaryDirectory() as temporary:
        for number, path in enumerate(new):
            name = Path(temporary, f"{path.stem}+timestamp+{now_ms()}+{number}")
            with Image.open(path) as image:
                image.save(f"{name}.png")
                compress_image_size(image).save(f"{name}+compressed.webp")
        if new:
            client.log_artifacts(run_id, temporary, "images")
            client.set_tag(run_id, "mlflow.loggedImages", "True")


def now_ms() -> int:
    """The time in ms since the epoch, as MLflow counts it."""
    return time.time_ns() // 1_000_000
