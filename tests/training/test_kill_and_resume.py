"""Real processes, really killed: the run goes on where it was and ends with the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml

from pdpipe.models import DiffusionModel, save_model
from pdpipe.params import Params
from pdpipe.training import Job

if TYPE_CHECKING:
    from pdpipe.networks import UNet

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).parent / "training_worker.py"


@pytest.fixture(scope="session")
def models(
    tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., DiffusionModel]
) -> Path:
    """A folder with a teacher and a student of four steps, untrained."""
    folder = tmp_path_factory.mktemp("models")
    for name, fields in (("teacher", {}), ("student-4", {"w_frequencies": 4, "w_max": 4.0})):
        model = make_model(fields)
        save_model(folder / f"{name}.safetensors", model.network, model.info)
    return folder


class Runs:
    """One stage, in this process or in another, in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        shards: Path,
        params: Params,
        stage: str,
        make_job: Callable[..., Job],
        run_stage: Callable[..., UNet],
    ) -> None:
        self.folder, self.shards, self.params, self.stage = folder, shards, params, stage
        self.make_job, self.run_stage = make_job, run_stage
        text = yaml.safe_dump(params.model_dump(by_alias=True))
        (folder / "params.yaml").write_text(text)

    def job(self, **changes: Any) -> Job:
        return self.make_job(self.folder, self.stage, **changes)

    def here(self, job: Job) -> UNet:
        return self.run_stage(job, self.params, self.shards, self.folder)

    def start(self, where: str, signal_name: str = "") -> subprocess.Popen[str]:
        arguments = [str(self.shards), str(self.folder), self.stage, where, signal_name]
        return subprocess.Popen(
            [sys.executable, "-W", "error", str(WORKER), *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def snapshot(self) -> Path:
        return self.folder / "snapshots" / self.stage / self.job().key[:32] / "state.pt"


@pytest.fixture
def make_runs(
    tmp_path: Path,
    shards: Path,
    models: Path,
    tiny_params: Params,
    make_job_in: Callable[..., Job],
    run_stage: Callable[..., UNet],
) -> Callable[..., Runs]:
    def make(stage: str) -> Runs:
        for path in models.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        return Runs(tmp_path, shards, tiny_params, stage, make_job_in, run_stage)

    return make


CASES = [
    ("teacher", "update:17", "SIGKILL", 10),
    ("student-4", "update:21", "SIGKILL", 20),
    ("student-2", "update:29", "SIGKILL", 20),
    ("student-2", "writing:2", "SIGKILL", 10),
    ("teacher", "publish:2", "SIGKILL", 20),
    ("student-4", "update:17", "SIGTERM", 17),
    ("student-2", "update:23", "SIGINT", 23),
]


@pytest.mark.parametrize(("stage", "where", "name", "at"), CASES)
def test_a_killed_stage_goes_on_and_ends_with_the_bits_of_an_unbroken_run(
    stage: str,
    where: str,
    name: str,
    at: int,
    make_runs: Callable[..., Runs],
    tmp_path_factory: pytest.TempPathFactory,
    capfd: pytest.CaptureFixture[str],
) -> None:
    runs = make_runs(stage)
    process = runs.start(where, name)
    _, said = process.communicate(timeout=120)
    expected = -signal.SIGKILL if name == "SIGKILL" else 130
    assert process.returncode == expected, said
    saved = runs.job().snapshots.load()
    assert saved is not None
    assert saved["step"] == at

    job = runs.job()
    resumed = runs.here(job)
    assert f"{stage}: going on from update {at}\n" in capfd.readouterr().err
    assert not runs.snapshot().exists(), "a finished training needs its weights alone"
    steps = job.tracker.steps  # type: ignore[attr-defined]
    assert steps == sorted(set(steps)), "doubled points"
    assert set(steps) >= {10, 30, at}

    elsewhere = runs.make_job(tmp_path_factory.mktemp("unbroken"), stage)
    unbroken = runs.here(elsewhere)
    assert "going on" not in capfd.readouterr().err
    assert resumed.state_dict().keys() == unbroken.state_dict().keys()
    for key, tensor in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], tensor), key
