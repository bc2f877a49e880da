"""The chain on the server: one parent run over the stage runs that made its results."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock

from pdpipe.files import digest_file, parse_json, write_json, write_text
from pdpipe.tracking.local import CHAINS, LOCAL_DIR
from pdpipe.tracking.names import flatten, legal_folder, legal_key, to_json_number
from pdpipe.tracking.provenance import provenance_tags
from pdpipe.tracking.registry import TrackedModel, register_models
from pdpipe.tracking.server import (
    Connection,
    is_tracking_on,
    say,
    server_address,
    set_environment,
    why,
)
from pdpipe.tracking.server_run import (
    FIRST_CHAIN_TAG,
    NOTE_TAG,
    OUTPUT_TAG,
    PARENT_TAG,
    add_artifacts,
    add_params,
    add_tags,
    chain_run,
    find_runs,
    log_batches,
    now_ms,
)
from pdpipe.tracking.uploader import Uploader


@dataclass(frozen=True)
class Chain:
    """What is known of a chain.

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
    """

    chain_id: str
    params: Mapping[str, Any]
    stages: Mapping[str, str]
    metrics: Mapping[str, float]
    artifacts: Sequence[Path] = ()
    curves: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    models: Sequence[TrackedModel] = ()
    table: str = ""
    name: str = ""  # of its run


def publish_chain(chain: Chain) -> bool:
    """Write the chain's record, and bring it to MLflow; returns whether the server has it all."""
    path = write_chain(chain)
    if not is_tracking_on():
        return False
    set_environment()
    Uploader(server_address()).close()
    return chain_is_sent(path)


def write_chain(chain: Chain) -> Path:
    """Write the chain's record, `.pdpipe/tracking/chains/<id>.json`; the uploader finds it there.

    Artifacts are copied beside it, so that it can be sent at any time.
    """
    path = (LOCAL_DIR / CHAINS / f"{legal_folder(chain.chain_id)}.json").absolute()
    kept = path.with_suffix("") / "artifacts"
    shutil.rmtree(kept, ignore_errors=True)
    for artifact in chain.artifacts:
        kept.mkdir(parents=True, exist_ok=True)
        if artifact.is_dir():
            shutil.copytree(artifact, kept / artifact.name)
        elif artifact.exists():
            shutil.copy2(artifact, kept)
    models = [
        asdict(model) | {"path": str(model.path.absolute()), "shown": model.path.as_posix()}
        for model in chain.models
    ]
    write_json(
        path,
        {
            "chain": chain.chain_id,
            "metrics": {name: to_json_number(float(v)) for name, v in chain.metrics.items()},
            "stages": dict(chain.stages),
            "params": flatten(chain.params),
            "curves": {name: dict(curve) for name, curve in chain.curves.items()},
            "models": models,
            "table": chain.table,
            "name": chain.name,
            "tags": provenance_tags("chain"),
        },
    )
    return path


def chain_is_sent(path: Path) -> bool:
    """Whether a server has confirmed the record as it is."""
    marker = path.with_suffix("") / "sent"
    return marker.is_file() and marker.read_text(encoding="utf-8") == digest_file(path)


def send_chain(connection: Connection, experiment: str, path: Path) -> None:
    """Bring a chain's run and its models up to its record.

    A stage's run is the newest finished one with that stage's name and that output, whichever chain
    it ran in: chains share the stages that they have in common. The first chain to come by becomes
    the run's parent; every chain names the run in a tag `pdpipe.run.<stage>` and in its note.
    Other runs of this chain, such as failed ones, are hung below it as well. Where models cannot be
    registered, that is said, and all else is on the server.
    """
    with FileLock(path.with_suffix(".sync")):
        _send_chain(connection, experiment, path)


def _send_chain(connection: Connection, experiment: str, path: Path) -> None:
    before = digest_file(path)
    raw = parse_json(path.read_text(encoding="utf-8"))
    numbers = {key: float(value) for key, value in raw["metrics"].items()}
    curves = {
        name: {int(step): float(value) for step, value in curve.items()}
        for name, curve in raw.get("curves", {}).items()
    }
    kept = path.with_suffix("") / "artifacts"
    artifacts = sorted(kept.iterdir()) if kept.exists() else []
    chain = Chain(
        raw["chain"], raw["params"], raw["stages"], numbers, artifacts, curves,
        table=raw.get("table", ""), name=raw.get("name", ""),
    )  # fmt: skip
    runs = _publish(connection, chain, raw.get("tags", {}))
    models = [
        TrackedModel(**{k: v for k, v in m.items() if k != "path"} | {"path": Path(m["path"])})
        for m in raw.get("models", [])
    ]
    try:
        register_models(connection, models, runs, experiment)
    except Exception as error:  # not every server has a registry
        reason = f"models could not be registered with MLflow ({why(error)})"
        say(f"tracking: {reason}; the chain's run is there all the same")
        return
    path.with_suffix("").mkdir(exist_ok=True)
    write_text(path.with_suffix("") / "sent", before)
    shutil.rmtree(kept, ignore_errors=True)


def _publish(connection: Connection, chain: Chain, tags: Mapping[str, str]) -> dict[str, Any]:
    """Bring the chain's run up to date; returns {stage: its run}, `chain` for the chain's."""
    client = connection.client
    parent = chain_run(connection, chain.chain_id)
    parent_id = parent.info.run_id
    stages: dict[str, Any | None] = {}
    for stage, sha256 in chain.stages.items():
        made = {"pdpipe.stage": stage, OUTPUT_TAG: sha256}
        stages[stage] = next(iter(find_runs(connection, made, finished=True)), None)
    runs = {stage: run for stage, run in stages.items() if run is not None}
    for run in [*runs.values(), *find_runs(connection, {FIRST_CHAIN_TAG: chain.chain_id})]:
        if PARENT_TAG not in run.data.tags:
            client.set_tag(run.info.run_id, PARENT_TAG, parent_id)
    links = {f"pdpipe.run.{stage}": run.info.run_id for stage, run in runs.items()}
    add_params(client, parent, flatten(chain.params))
    curves = {**{name: {0: float(value)} for name, value in chain.metrics.items()}, **chain.curves}
    _add_changed_points(client, parent, curves)
    note = {NOTE_TAG: _note(chain, stages, parent)} if chain.table or chain.name else {}
    add_tags(client, parent_id, {**tags, **links, **note})
    if chain.name:
        client.update_run(parent_id, name=chain.name)
    if parent.info.status != "FINISHED":  # a later report would make it last until then
        client.set_terminated(parent_id)
    add_artifacts(client, parent_id, chain.artifacts)
    return {**runs, "chain": parent}


def _add_changed_points(client: Any, run: Any, curves: Mapping[str, Mapping[int, float]]) -> None:
    """Log what the run does not say already, so that a second report adds no points."""
    from mlflow.entities import Metric

    now, new = now_ms(), []
    for name, curve in curves.items():
        key = legal_key(name)
        known = client.get_metric_history(run.info.run_id, key) if key in run.data.metrics else []
        said = {p.step: p.value for p in sorted(known, key=lambda p: (p.timestamp, p.value))}
        new += [Metric(key, v, now, step) for step, v in curve.items() if said.get(step) != v]
    log_batches(client, run.info.run_id, metrics=new)


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
