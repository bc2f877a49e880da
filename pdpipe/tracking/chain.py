"""The chain on the server: one parent run over the stage runs that made its results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import ConfigDict, TypeAdapter

from pdpipe.tracking.local import RunRecord
from pdpipe.tracking.names import flatten
from pdpipe.tracking.registry import TrackedModel, register_models
from pdpipe.tracking.server import Connection, say, why
from pdpipe.tracking.server_run import (
    NOTE_TAG,
    OUTPUT_TAG,
    PARENT_TAG,
    add_changed_points,
    add_data,
    add_params,
    add_tags,
    chain_run,
    find_runs,
)


@dataclass(frozen=True)
class Chain:
    """What is known of a chain: the report puts it on the chain's run.

    Attributes:
        chain_id: its identity.
        params: all its settings, nested as in params.yaml.
        stages: {stage name: sha256 of its main output}, in the order in which to list them.
        metrics: headline figures.
        artifacts: small files or folders to upload; those that do not exist are passed over.
        curves: {metric: {step: value}}, such as figures against sampling steps.
        models: those to register, each as a version of `<experiment>-<name>`.
        name: what its run is called.
        table: the headline as Markdown. An address in it can be `artifact:<path>`, such as
            artifact:reports/index.html.
        folder: where the models' paths begin.
    """

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="strings")

    chain_id: str
    params: Mapping[str, Any]
    stages: Mapping[str, str]
    metrics: Mapping[str, float]
    artifacts: Sequence[Path] = ()
    curves: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    models: Sequence[TrackedModel] = ()
    table: str = ""
    name: str = ""
    folder: Path = field(default_factory=Path.cwd)


_SHARED_TAGS = ("mlflow.", "pdpipe.version.", "pdpipe.git")  # with the report's own run
CHAIN: TypeAdapter[Chain] = TypeAdapter(Chain)  # to JSON and back


def publish(connection: Connection, record: RunRecord, run: Mapping[str, Any]) -> bool:
    """Bring a chain's run and its models up to a report's record; returns whether all is there.

    A stage's run is the newest finished one with that stage's name and that output, whichever chain
    it ran in: chains share the stages that they have in common. The first chain to come by becomes
    the run's parent; every chain names the run in a tag `pdpipe.run.<stage>` and in its note.
    Where models cannot be registered, that is said, and all else is on the server.
    """
    chain, client = CHAIN.validate_python(run["report"]), connection.client
    parent = chain_run(connection, chain.chain_id, chain.name, run["started"])
    parent_id = parent.info.run_id
    stages = {
        stage: next(iter(find_runs(connection, _made(stage, sha256), finished=True)), None)
        for stage, sha256 in chain.stages.items()
    }
    runs = {stage: made for stage, made in stages.items() if made is not None}
    for made in runs.values():
        if PARENT_TAG not in made.data.tags:
            client.set_tag(made.info.run_id, PARENT_TAG, parent_id)
    add_params(client, parent, flatten(chain.params))
    add_data(client, parent_id, run.get("data"))
    curves = {name: {0: value} for name, value in chain.metrics.items()} | dict(chain.curves)
    add_changed_points(client, parent, curves, run["ended"])
    links = {f"pdpipe.run.{stage}": made.info.run_id for stage, made in runs.items()}
    about = {key: value for key, value in run["tags"].items() if key.startswith(_SHARED_TAGS)}
    add_tags(client, parent_id, {**about, **links, NOTE_TAG: _note(chain, stages, parent)})
    if chain.name:
        client.update_run(parent_id, name=chain.name)
    if parent.info.status != "FINISHED":  # a later report would make it last until then
        client.set_terminated(parent_id, end_time=run["ended"])
    if record.artifacts.exists():
        client.log_artifacts(parent_id, str(record.artifacts))
    try:
        places = {**runs, "chain": parent}
        register_models(connection, chain.models, places, chain.folder)
    except Exception as error:  # not every server has a registry
        reason = f"models could not be registered with MLflow ({why(error)})"
        say(f"tracking: {reason}; the chain's run is there all the same")
        return False
    return True


def _made(stage: str, sha256: str) -> dict[str, str]:
    return {"pdpipe.stage": stage, OUTPUT_TAG: sha256}


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
