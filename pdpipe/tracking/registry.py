"""Models in MLflow's registry: a version for each model file, told apart by its sha256.

A version is also one of MLflow's logged models, which has the figures as metrics: the experiment's
page `Models` compares them. Files of up to 32 MiB are uploaded; larger ones stay with DVC, which
has every model anyway, and the version says where.

Like `server.py`, for the uploader and `pdpipe sync` only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdpipe.files import digest_file
from pdpipe.tracking.server import Connection
from pdpipe.tracking.server_run import NOTE_TAG, add_changed_points, now_ms

SHA256_TAG = "pdpipe.sha256"
CURRENT = "current"  # the alias of the version that the last report was about
UPLOADED_BYTES = 32 * 2**20  # a larger file is left to DVC


@dataclass(frozen=True)
class TrackedModel:
    """A model of a chain, and what was measured of it."""

    name: str  # student-4
    kind: str  # student
    path: Path  # from the project's folder on
    sha256: str
    stage: str  # whose run made it: halve@4
    steps: int  # of sampling, at which its figures were measured
    figures: Mapping[str, float]  # {metric: value}
    about: str  # Markdown: what it is, and its figures with their names in full


def register_models(
    connection: Connection,
    models: Iterable[TrackedModel],
    runs: Mapping[str, Any],
    folder: Path,
) -> None:
    """Have a version of each model in the registry, its figures and description up to date.

    The figures are also logged to the run that made the model. Where that is not on the server the
    chain's run stands in; models share the names of figures there, so each is at its step count.

    Args:
        connection: to a server that has a registry.
        models: what to register, each as a version of `<experiment>-<name>`.
        runs: {stage: its run}, `chain` for the chain's.
        folder: where the models' paths begin.

    Raises:
        Exception: whatever mlflow or the network raises where there is no registry.
    """
    for model in models:
        run, step = runs.get(model.stage), 0
        if run is None:
            run, step = runs["chain"], model.steps
        logged = _logged_model(connection, model, run.info.run_id)
        figures = {name: {step: value} for name, value in model.figures.items()}
        add_changed_points(connection.client, run, figures, now_ms(), model_id=logged.model_id)
        _register(connection.client, model, logged, f"{connection.experiment}-{model.name}", folder)


def _register(
    client: Any, model: TrackedModel, logged: Any, registered_name: str, folder: Path
) -> None:
    """Have a version of a logged model, uploading its file with a new one."""
    path = folder / model.path
    versions = client.search_model_versions(
        f"name = '{registered_name}' and tags.`{SHA256_TAG}` = '{model.sha256}'"
    )
    found = max(versions, key=lambda version: int(version.version), default=None)
    if found is None:
        if _is_uploaded(model, path):
            client.log_model_artifact(logged.model_id, str(path))
        client.finalize_logged_model(logged.model_id, "READY")
        if not client.search_registered_models(f"name = '{registered_name}'"):
            client.create_registered_model(registered_name, tags={"pdpipe.kind": model.kind})
        found = client.create_model_version(
            registered_name,
            logged.artifact_location,
            logged.source_run_id,
            tags={SHA256_TAG: model.sha256},
            model_id=logged.model_id,
            await_creation_for=0,
        )
        # By this tag the page of a logged model links its version, as MLflow's server sets it.
        link = [{"name": registered_name, "version": int(found.version)}]
        client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": json.dumps(link)})
    uploaded = _is_uploaded(model, path)
    about = _description(model, uploaded, f"{registered_name}/{found.version}")
    client.update_model_version(registered_name, found.version, about)
    client.set_logged_model_tags(logged.model_id, {NOTE_TAG: about})
    current = _description(model, uploaded, f"{registered_name}@{CURRENT}")
    client.update_registered_model(registered_name, f"The model of the last report. {current}")
    client.set_registered_model_alias(registered_name, CURRENT, found.version)


def _is_uploaded(model: TrackedModel, path: Path) -> bool:
    """Whether the file is small enough, and still the one that was measured."""
    small = path.is_file() and path.stat().st_size <= UPLOADED_BYTES
    return small and digest_file(path) == model.sha256


def _logged_model(connection: Connection, model: TrackedModel, run_id: str) -> Any:
    """The experiment's logged model of these bytes, a new one where there is none."""
    from mlflow.entities import LoggedModelOutput

    client = connection.client
    found = client.search_logged_models(
        [connection.experiment_id],
        filter_string=f"name = '{model.name}' and tags.`{SHA256_TAG}` = '{model.sha256}'",
    )
    if found:
        return found[0]
    logged = client.create_logged_model(
        connection.experiment_id,
        name=model.name,
        source_run_id=run_id,
        tags={SHA256_TAG: model.sha256},
        params={"steps": str(model.steps), "path": model.path.as_posix()},
        model_type=model.kind,
    )
    client.log_outputs(run_id, models=[LoggedModelOutput(logged.model_id, step=0)])
    return logged


def _description(model: TrackedModel, uploaded: bool, place: str) -> str:
    """What the page of the version says: what it is, its figures, how to load it."""
    path = model.path.as_posix()
    in_project = f'`dvc checkout {path}` (or `dvc pull`), then `pdpipe.load("{path}")`'
    if uploaded:
        how = (
            "```python\nimport mlflow, pdpipe\n\n"
            f'path = mlflow.artifacts.download_artifacts("models:/{place}")\n'
            f'model = pdpipe.load(f"{{path}}/{model.path.name}")\n```\n\n'
            f"or, in the project, at the commit of its run: {in_project}."
        )
    else:
        how = f"The file is not uploaded. In the project, at the commit of its run: {in_project}."
    return f"{model.about}\n\n{how}\n\nsha256 `{model.sha256}`"
