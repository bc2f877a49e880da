"""The chain on the server: one parent run over the stage runs that made its results."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pdpipe.files import write_json
from pdpipe.tracking.names import flatten, legal_key, to_json_number
from pdpipe.tracking.opening import is_tracking_on, say_on_stderr
from pdpipe.tracking.parent import (
    FIRST_CHAIN_TAG,
    NOTE_TAG,
    chain_record,
    chain_run,
    hang_below,
)
from pdpipe.tracking.provenance import provenance_tags
from pdpipe.tracking.registry import TrackedModel, register_models
from pdpipe.tracking.server import (
    Connection,
    connect,
    say_away,
    server_address,
    set_environment,
    why,
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

_PATIENCE = 60.0  # seconds


@dataclass(frozen=True)
class Chain:
    """What is known of a chain: `stages` holds each stage's main output's sha256."""

    chain_id: str
    params: Mapping[str, str]
    stages: Mapping[str, str]
    metrics: Mapping[str, float]
    curves: Mapping[str, Mapping[int, float]]
    models: tuple[TrackedModel, ...]
    table: str
    artifacts: tuple[Path, ...]


def publish_chain(
    chain_id: str,
    params: Mapping[str, Any],
    stages: Mapping[str, str],
    metrics: Mapping[str, float],
    artifacts: Iterable[Path] = (),
    *,
    curves: Mapping[str, Mapping[int, float]] | None = None,
    models: Iterable[TrackedModel] = (),
    table: str | None = None,
    directory: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> bool:
    """Find or make the chain's parent run, link its stage runs, put the headline on it.

    A stage's run is the newest finished one with that stage's name and that output, whichever chain
    it ran in: chains share the stages that they have in common. The first chain to come by becomes
    the run's parent; every chain names the run in a tag `pdpipe.run.<stage>` and in its note.
    Other runs of this chain, such as failed ones, are hung below it as well. Where models cannot be
    registered, that is said, and all else is on the server.

    Args:
        chain_id: the identity of the chain.
        params: all its settings, nested as in params.yaml.
        stages: {stage name: sha256 of its main output}, in the order in which to list them.
        metrics: headline figures.
        curves: {metric: {step: value}}, such as figures against sampling steps.
        models: those to register, each as a version of `<experiment>-<name>`.
        artifacts: small files or folders to upload; those that do not exist are passed over.
        table: the headline as Markdown; by default a table of `metrics`. An address in it can be
            `artifact:<path>`, such as artifact:reports/index.html.
        directory: the project's folder; the current one by default.
        say: takes the one sentence about a server that is away; prints to stderr by default.

    Returns:
        whether the server has it all; the same is in `.pdpipe/tracking/chains/<id>.json` anyway.
    """
    directory = directory or Path.cwd()
    record = chain_record(chain_id)
    chain = Chain(
        chain_id=chain_id,
        params=flatten(params),
        stages=dict(stages),
        metrics={name: float(value) for name, value in metrics.items()},
        curves=curves or {},
        models=tuple(models),
        table=table or _metrics_table(metrics),
        artifacts=tuple(artifacts),
    )
    _write_record(chain, directory / record)
    if not is_tracking_on():
        return False
    set_environment()
    address = server_address(directory)
    tags, say = provenance_tags("chain", directory), say or say_on_stderr
    unregistered: list[Exception] = []

    def publish() -> None:
        connection = connect(address)
        runs = _publish(connection, chain, tags, directory)
        try:
            register_models(connection, chain.models, runs, address.experiment, directory)
        except Exception as error:  # not every server has a registry
            unregistered.append(error)

    published = _in_background(
        publish,
        lambda reason: say_away(
            address, reason, f"the chain's overview is in {record.as_posix()}", say
        ),
    )
    for error in unregistered:
        reason = f"models could not be registered with MLflow ({why(error)})"
        say(f"tracking: {reason}; the chain's run is there all the same")
    return published and not unregistered


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
    connection: Connection, chain: Chain, tags: Mapping[str, str], directory: Path
) -> dict[str, Any]:
    """Bring the chain's run up to date; returns {stage: its run}, `chain` for the chain's."""
    client = connection.client
    parent = chain_run(connection, chain.chain_id, directory)
    parent_id = parent.info.run_id
    stages = {stage: _stage_run(connection, stage, sha) for stage, sha in chain.stages.items()}
    runs = {stage: run for stage, run in stages.items() if run is not None}
    for run in [*runs.values(), *find_runs(connection, {FIRST_CHAIN_TAG: chain.chain_id})]:
        hang_below(connection, run, parent)
    links = {f"pdpipe.run.{stage}": run.info.run_id for stage, run in runs.items()}
    add_params(client, parent, chain.params)
    curves = {**{name: {0: value} for name, value in chain.metrics.items()}, **chain.curves}
    _add_changed_points(client, parent, curves)
    add_tags(client, parent_id, {**tags, **links, NOTE_TAG: _note(chain, stages, parent)})
    if parent.info.status != "FINISHED":  # a later report would make it last until then
        client.set_terminated(parent_id)
    add_artifacts(client, parent_id, chain.artifacts)
    return {**runs, "chain": parent}


def _stage_run(connection: Connection, stage: str, sha256: str) -> Any | None:
    """The newest finished run of `stage` that made these bytes."""
    found = find_runs(connection, {"pdpipe.stage": stage, OUTPUT_TAG: sha256}, finished=True)
    return found[0] if found else None


def _add_changed_points(client: Any, run: Any, curves: Mapping[str, Mapping[int, float]]) -> None:
    """Log what the run does not say already, so that a second report adds no points."""
    from mlflow.entities import Metric

    now, new = now_ms(), []
    for name, curve in curves.items():
        key = legal_key(name)
        known = client.get_metric_history(run.info.run_id, key) if key in run.data.metrics else []
        said = {p.step: p.value for p in sorted(known, key=lambda p: (p.timestamp, p.value))}
        new += [Metric(key, v, now, step) for step, v in curve.items() if said.get(step) != v]
    for batch in batches(new, METRICS_PER_CALL):
        client.log_batch(run.info.run_id, metrics=batch)


def _note(chain: Chain, stages: Mapping[str, Any | None], parent: Any) -> str:
    """The Markdown that the MLflow UI shows on the chain's run."""
    lines = ["| stage | run |", "| --- | --- |"]
    for stage, run in stages.items():
        if run is None:
            shown = "none here: its output came from a cache, or its run is tracked elsewhere"
        else:
            shown = f"[{run.info.run_id[:8]}]({_place(run)})"
        lines.append(f"| {stage} | {shown} |")
    return "\n".join([_resolved(chain.table, parent), "", "**Stages**", "", *lines])


def _resolved(markdown: str, run: Any) -> str:
    """`markdown`, its addresses `artifact:<path>` leading to the artifacts of the run."""

    def address(found: re.Match[str]) -> str:
        mark, text, path = found.groups()
        picture = f"get-artifact?path={quote(path)}&run_uuid={run.info.run_id}"
        return f"{mark}[{text}]({picture if mark else f'{_place(run)}/artifacts/{quote(path)}'})"

    return re.sub(r"(!?)\[([^\]]*)\]\(artifact:([^)]*)\)", address, markdown)


def _place(run: Any) -> str:
    """Where the MLflow UI shows a run."""
    return f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


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
