"""One MLflow database for all tests (creating one takes seconds), an experiment for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pdpipe.tracking import Chain, StageTracker, open_tracker, sync_project
from pdpipe.tracking.local import records
from pdpipe.tracking.server import ServerAddress, connect

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).parent / "training_process.py"
VARIABLES = (
    "DVC_ROOT",
    "DVC_STAGE",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
    "PDPIPE_TRACKING",
)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a database that exists."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    connect(ServerAddress(uri, "warm-up"))
    return uri


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project's folder, and nothing inherited from the caller's environment."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@dataclass
class Store:
    """What the server holds, read through a client of its own."""

    uri: str
    experiment: str

    @contextmanager
    def stage(self, *arguments: Any, **about: Any) -> Iterator[StageTracker]:
        """`open_tracker`, synced here and not in a process of its own, which takes seconds."""
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("PDPIPE_TRACKING", "off")
            tracker = open_tracker(*arguments, **about)
        try:
            with tracker:
                yield tracker
        finally:
            sync_project()

    def publish(self, chain: Chain) -> bool:
        """Run a stage `report` that puts a chain on its run; whether a server has all of it."""
        with self.stage("report", {}, chain=chain.chain_id) as tracker:
            tracker.finish(chain=chain)
        return records(Path(".pdpipe/tracking"))[-1].is_sent()

    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri)

    def runs(self, **tags: str) -> list[Any]:
        """The experiment's runs with these tags (`_` for `.`), oldest first."""
        client = self.client()
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            return []
        runs = client.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"])
        wanted = {f"pdpipe.{key}": value for key, value in tags.items()}
        return [run for run in runs if wanted.items() <= run.data.tags.items()]

    def wait_for(self, count: int) -> None:
        """Come back when so many runs are there: a stage that fails waits only 10 s for MLflow."""
        deadline = time.monotonic() + 120
        while len(self.runs()) < count:
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.1)

    def points(self, run: Any, metric: str) -> list[tuple[int, float]]:
        """All (step, value) that the server holds of a metric, doubles included."""
        history = self.client().get_metric_history(run.info.run_id, metric)
        return sorted((point.step, point.value) for point in history)


@pytest.fixture
def store(database: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Store:
    """The shared database as MLFLOW_TRACKING_URI, with an experiment of the test's own."""
    experiment = request.node.name
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", experiment)
    return Store(database, experiment)


@pytest.fixture
def default_store(project: Path) -> Store:
    """What is used when the environment names nothing: a database in the project's folder."""
    return Store(f"sqlite:///{project / 'mlflow.db'}", "pdpipe")


@pytest.fixture
def start(project: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a real training process in the project's folder (see training_process.py)."""

    def popen(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", str(WORKER), *arguments],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return popen


@dataclass
class LocalRecord:
    """The local record in a project's folder, as a reader without pdpipe would read it."""

    folder: Path

    def latest(self, stage: str = "teacher") -> Path:
        """The folder of the stage's latest run."""
        return max(path for path in (self.folder / stage).iterdir() if path.is_dir())

    def points(self, stage: str = "teacher") -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        path = self.latest(stage) / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def run(self, stage: str = "teacher") -> dict[str, Any]:
        """The run.json."""
        return json.loads((self.latest(stage) / "run.json").read_text())

    def confirmed(self, stage: str = "teacher") -> dict[str, Any]:
        """What a server has confirmed, as server.json says it; empty for nothing."""
        path = self.latest(stage) / "server.json"
        return json.loads(path.read_text()) if path.exists() else {}


@pytest.fixture
def local(project: Path) -> LocalRecord:
    """The project's local record."""
    return LocalRecord(project / ".pdpipe" / "tracking")
