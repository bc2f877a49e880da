"""The chain on the server: one parent run over the stage runs that made its results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock

from pdpipe.files import write_json
from pdpipe.tracking.names import flatten, legal_folder, legal_key, to_json_number
from pdpipe.tracking.opening import LOCAL_DIR, is_tracking_on, say_on_stderr
from pdpipe.tracking.provenance import provenance_tags
from pdpipe.tracking.server import (
    Connection,
    connect,
    project_root,
    say_away,
    server_address,
    set_environment,
)
from pdpipe.tracking.server_run import (
    METRICS_PER_CALL,
    add_artifacts,
    add_params,
    add_tags,
    batches,
    find_runs,
    now_ms,
)
from pdpipe.tracking.tracker import OUTPUT_TAG

CHAIN_TAG = "pdpipe.chain"
_PARENT_TAG = "mlflow.parentRunId"  # how MLflow nests one run below another
_PATIENCE = 60.0  # seconds


@dataclass(frozen=True)
class Chain:
    """What is known of a chain: `stages` holds each stage's main output's sha256."""

    chain_id: str
    params: Mapping[str, str]
    stages: Mapping[str, str]
    metrics: Mapping[str, float]
    table: str
    artifacts: tuple[Path, ...]


def publish_chain(
    chain_id: str,
    params: Mapping[str, Any],
    stages: Mapping[str, str],
    metrics: Mapping[str, float],
    artifacts: Iterable[Path] = (),
    *,
    table: str | None = None,
    directory: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> bool:
    """Find or make the chain's parent run, link its stage runs, put the headline on it.

    A stage's run is the newest finished one with that stage's name and that output, whichever chain
    it ran in: chains share the stages that they have in common. The first chain to come by becomes
    the run's parent; every chain names the run in a tag `pdpipe.run.<stage>` and in its note.

    Args:
        chain_id: the identity of the chain.
        params: all its settings, nested as in params.yaml.
        stages: {stage name: sha256 of its main output}, in the order in which to list them.
        metrics: headline figures.
        artifacts: small files or folders to upload; those that do not exist are passed over.
        table: the headline as Markdown; by default a table of `metrics`.
        directory: the project's folder; the current one by default.
        say: takes the one sentence about a server that is away; prints to stderr by default.

    Returns:
        whether the server has it all; the same is in `.pdpipe/tracking/chains/<id>.json` anyway.
    """
    directory = directory or Path.cwd()
    record = LOCAL_DIR / "chains" / f"{legal_folder(chain_id)}.json"
    chain = Chain(
        chain_id=chain_id,
        params=flatten(params),
        stages=dict(stages),
        metrics={name: float(value) for name, value in metrics.items()},
        table=table or _metrics_table(metrics),
        artifacts=tuple(artifacts),
    )
    _write_record(chain, directory / record)
    if not is_tracking_on():
        return False
    set_environment()
    address = server_address(directory)
    tags = provenance_tags("chain", directory)
    lock = FileLock((project_root(directory) / record).with_suffix(".lock"))
    return _in_background(
        lambda: _publish(connect(address), chain, tags, lock),
        lambda reason: say_away(
            address, reason, f"the chain's overview is in {record.as_posix()}", say or say_on_stderr
        ),
    )


def _in_background(work: Callable[[], None], failed: Callable[[Exception | str], None]) -> bool:
    """Whether `work` succeeded on a thread of its own, within bounded time."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            work()
        except Exception as error:  # whatever it is, the report goes on
            errors.append(error)

    thread = threading.Thread(target=run, name="pdpipe-mlflow-chain", daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    if thread.is_alive():
        failed(f"no answer within {_PATIENCE:.0f} s")
    elif errors:
        failed(errors[0])
    return not thread.is_alive() and not errors


def _publish(
    connection: Connection, chain: Chain, tags: Mapping[str, str], lock: BaseFileLock
) -> None:
    client = connection.client
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    with lock:  # of two reports at once, one makes the parent
        parent = _parent(connection, chain.chain_id)
    parent_id = parent.info.run_id
    runs = {stage: _stage_run(connection, stage, sha256) for stage, sha256 in chain.stages.items()}
    for run in filter(None, runs.values()):
        if _PARENT_TAG not in run.data.tags:
            client.set_tag(run.info.run_id, _PARENT_TAG, parent_id)
    links = {f"pdpipe.run.{stage}": run.info.run_id for stage, run in runs.items() if run}
    add_params(client, parent, chain.params)
    _add_changed_metrics(client, parent, chain.metrics)
    add_tags(client, parent_id, {**tags, **links, "mlflow.note.content": _note(chain, runs)})
    client.set_terminated(parent_id)
    add_artifacts(client, parent_id, chain.artifacts)


def _parent(connection: Connection, chain_id: str) -> Any:
    """The chain's run: the oldest with its tag, a new one where there is none."""
    tags = {CHAIN_TAG: chain_id}
    found = find_runs(connection, tags)
    if found:
        return found[-1]
    return connection.client.create_run(
        connection.experiment_id, start_time=now_ms(), tags=tags, run_name=f"chain {chain_id}"
    )


def _stage_run(connection: Connection, stage: str, sha256: str) -> Any | None:
    """The newest finished run of `stage` that made these bytes."""
    found = find_runs(connection, {"pdpipe.stage": stage, OUTPUT_TAG: sha256}, finished=True)
    return found[0] if found else None


def _add_changed_metrics(client: Any, run: Any, metrics: Mapping[str, float]) -> None:
    """Log what the run does not say already, so that a second report adds no points."""
    from mlflow.entities import Metric

    said, now = run.data.metrics, now_ms()
    changed = [
        Metric(legal_key(name), value, now, 0)
        for name, value in metrics.items()
        if said.get(legal_key(name)) != value
    ]
    for batch in batches(changed, METRICS_PER_CALL):
        client.log_batch(run.info.run_id, metrics=batch)


def _note(chain: Chain, runs: Mapping[str, Any]) -> str:
    """The Markdown that the MLflow UI shows on the parent run."""
    lines = ["| stage | run |", "| --- | --- |"]
    for stage, run in runs.items():
        if run is None:
            shown = "none here: its output came from a cache, or its run is tracked elsewhere"
        else:
            place = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
            shown = f"[{run.info.run_id[:8]}]({place})"
        lines.append(f"| {stage} | {shown} |")
    return "\n".join([chain.table, "", "Stages", "", *lines])


def _metrics_table(metrics: Mapping[str, float]) -> str:
    rows = [f"| {name} | {value:.4g} |" for name, value in metrics.items()]
    return "\n".join(["| metric | value |", "| --- | --- |", *rows])


def _write_record(chain: Chain, path: Path) -> None:
    metrics = {name: to_json_number(value) for name, value in chain.metrics.items()}
    write_json(
        path,
        {
            "chain": chain.chain_id,
            "metrics": metrics,
            "stages": dict(chain.stages),
            "params": dict(chain.params),
        },
    )
