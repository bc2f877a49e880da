"""The bench measures what it says, and leaves nothing behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from pdpipe.bench import bench_samplers, bench_snapshots, bench_updates
from pdpipe.diffusion import SAMPLERS
from pdpipe.params import Params

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_updates_against_their_network_evaluations(tiny_params: Params, empty_folder: Path) -> None:
    found = list(bench_updates(tiny_params, CPU, 7))
    assert [result.name for result in found] == ["stage one", "halving"]
    for result in found:
        assert result.evaluations > 0
        assert result.update > 0
        assert 0 < result.low <= result.ratio <= result.high
        assert re.search(r"ratio \d\.\d{3} \(quartiles ", str(result))
    assert not list(empty_folder.iterdir())


def test_snapshots_as_a_share_of_the_time(tiny_params: Params, empty_folder: Path) -> None:
    found = bench_snapshots(tiny_params, CPU, 5)
    assert found.every == tiny_params.runtime.snapshot_seconds
    assert found.seconds > 0
    assert f"{found.seconds / found.every:.2%} of the time" in str(found)
    assert not list(empty_folder.iterdir())


def test_samplers_against_as_many_evaluations(tiny_params: Params) -> None:
    few = tiny_params.evaluation.model_copy(update={"batch_size": 10})
    found = list(bench_samplers(tiny_params.model_copy(update={"evaluation": few}), CPU, 3))
    assert [result.name for result in found] == list(SAMPLERS)
    assert [result.evaluations for result in found] == [8, 8, 8, 8, 16, 32, 8]
    for result in found:
        assert 0 < result.low <= result.ratio <= result.high
