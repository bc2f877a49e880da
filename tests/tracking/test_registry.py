"""Models in the registry: a version for each file, with its figures; no registry, no harm."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pdpipe.tracking import Chain, registry
from pdpipe.tracking.registry import TrackedModel

if TYPE_CHECKING:
    from conftest import Store

PATH = Path("models/student-4.safetensors")
FID = "FID-1500-digits-cnn/w_0.3"


def make_student(store: Store, project: Path, content: bytes, fid: float = 0.28) -> TrackedModel:
    """A model's file, as stage halve@4 leaves it, and its run."""
    (project / PATH).parent.mkdir(exist_ok=True)
    (project / PATH).write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    with store.stage("halve@4", {}) as tracker:
        tracker.finish(outputs={PATH.as_posix(): sha256})
    return student(content, fid)


def student(content: bytes, fid: float = 0.28) -> TrackedModel:
    return TrackedModel(
        name="student-4",
        kind="student",
        path=PATH,
        sha256=hashlib.sha256(content).hexdigest(),
        stage="halve@4",
        steps=4,
        figures={FID: fid},
        about="The student at 4 sampling steps.",
    )


def report(store: Store, model: TrackedModel, name: str = "chain") -> bool:
    return store.publish(Chain(name, {}, {model.stage: model.sha256}, {}, models=[model]))


def versions(store: Store) -> list[Any]:
    """The versions of the registered model, oldest first."""
    found = store.client().search_model_versions(f"name = '{store.experiment}-student-4'")
    return sorted(found, key=lambda version: int(version.version))


def logged_models(store: Store) -> list[Any]:
    found = store.client().get_experiment_by_name(store.experiment)
    return list(store.client().search_logged_models([found.experiment_id]))


def current(store: Store) -> int:
    name = f"{store.experiment}-student-4"
    return int(store.client().get_model_version_by_alias(name, "current").version)


def test_a_model_is_registered_once_with_its_figures_and_its_file(
    store: Store, project: Path, tmp_path: Path
) -> None:
    import mlflow

    model = make_student(store, project, b"weights")
    for name in ("first", "first", "second"):
        assert report(store, model, name)
    (version,) = versions(store)
    (run,) = store.runs(stage="halve@4")
    (logged,) = logged_models(store)
    assert version.run_id == run.info.run_id == logged.source_run_id
    assert version.tags["pdpipe.sha256"] == model.sha256
    assert "The student at 4 sampling steps." in version.description
    assert f'"models:/{store.experiment}-student-4/1"' in version.description
    assert [(m.key, m.value) for m in logged.metrics] == [(FID, 0.28)]
    assert str(logged.status) == "READY"
    assert [output.model_id for output in run.outputs.model_outputs] == [logged.model_id]
    assert store.points(run, FID) == [(0, 0.28)]
    mlflow.set_tracking_uri(store.uri)  # as a user does who follows the description
    name = f"models:/{store.experiment}-student-4"
    for place in ("1", "current"):
        uri = f"{name}/{place}" if place == "1" else f"{name}@{place}"
        folder = mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path / place))
        assert (Path(folder) / PATH.name).read_bytes() == b"weights"


def test_another_file_is_another_version_and_an_old_one_comes_back(
    store: Store, project: Path
) -> None:
    first, second = (
        make_student(store, project, b"weights"),
        make_student(store, project, b"other weights"),
    )
    assert [report(store, second), current(store)] == [True, 1]
    (project / PATH).write_bytes(b"weights")  # as `dvc checkout` brings it back
    assert [report(store, first), current(store)] == [True, 2]
    (project / PATH).write_bytes(b"other weights")
    assert [report(store, second), current(store)] == [True, 1]
    digests = [version.tags["pdpipe.sha256"] for version in versions(store)]
    assert digests == [second.sha256, first.sha256]


def test_a_new_figure_of_the_same_file_is_added(store: Store, project: Path) -> None:
    assert report(store, make_student(store, project, b"weights", fid=0.28))
    assert report(store, student(b"weights", fid=0.27))
    assert report(store, student(b"weights", fid=0.27))
    (logged,) = logged_models(store)
    (run,) = store.runs(stage="halve@4")
    assert len(versions(store)) == 1
    assert store.points(run, FID) == [(0, 0.27), (0, 0.28)]
    newest = max(logged.metrics, key=lambda metric: metric.timestamp)
    assert newest.value == 0.27


def test_a_large_file_stays_with_dvc(
    store: Store, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "UPLOADED_BYTES", 3)
    model = make_student(store, project, b"weights")
    assert report(store, model)
    (version,), (logged,) = versions(store), logged_models(store)
    assert store.client().list_logged_model_artifacts(logged.model_id) == []
    assert "download_artifacts" not in version.description
    assert f"dvc checkout {PATH.as_posix()}" in version.description


def test_without_a_registry_the_chain_is_there_and_it_is_said_once(
    store: Store,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A tracking server that works, and a registry that does not."""
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://user:secret@127.0.0.1:9")
    models = [make_student(store, project, content) for content in (b"weights", b"other weights")]
    assert not store.publish(Chain("chain", {}, {}, {"fid": 0.8}, models=models))
    (sentence,) = capfd.readouterr().err.splitlines()
    assert "models could not be registered with MLflow" in sentence
    assert "secret" not in sentence
    (parent,) = store.runs(chain="chain")
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["fid"] == 0.8


def test_a_model_whose_run_is_elsewhere_is_registered_by_the_chain(
    store: Store, project: Path
) -> None:
    model = make_student(store, project, b"weights")
    assert store.publish(Chain("chain", {}, {}, {}, models=[model]))
    (version,), (parent,) = versions(store), store.runs(chain="chain")
    assert version.run_id == parent.info.run_id
    assert store.points(parent, FID) == [(4, 0.28)]
