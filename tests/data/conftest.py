from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pdpipe.params import DataParams
from pdpipe.sources import open_source, write_shards
from pdpipe.sources.source import Source

MakeParams = Callable[..., DataParams]


@pytest.fixture(scope="session")
def data_params() -> MakeParams:
    """The digits' params, with the given fields changed."""

    def make(**changes: Any) -> DataParams:
        values: dict[str, Any] = {
            "source": "digits",
            "path": "data/raw",
            "image_size": 8,
            "channels": 1,
            "sixteen_bit": "refuse",
            "heldout_fraction": 0.15,
            "images_per_shard": 512,
        }
        return DataParams.model_validate(values | changes)

    return make


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory: pytest.TempPathFactory, data_params: MakeParams) -> Path:
    """Shards of the digits; tests must not change them."""
    directory = tmp_path_factory.mktemp("digits")
    write_shards(open_source(data_params()), data_params(), seed=0, out_dir=directory)
    return directory


class NoiseSource(Source):
    """Random images made on demand, so that only a reader that keeps them fills the memory."""

    def __init__(self, counts: list[int], shape: tuple[int, int, int]) -> None:
        self.name = "noise"
        self.classes = [f"class {label}" for label in range(len(counts))]
        self.labels = np.repeat(np.arange(len(counts)), counts)
        self._shape = shape

    def __getitem__(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(256, size=self._shape, dtype=np.uint8)


@pytest.fixture(scope="session")
def noise_source() -> Callable[[list[int], tuple[int, int, int]], NoiseSource]:
    return NoiseSource


@pytest.fixture
def noise_dir(tmp_path: Path, data_params: MakeParams) -> Path:
    """A fresh folder of small colour shards: 3 classes, 4x4, 24 train and 6 held out in tens."""
    directory = tmp_path / "shards"
    params = data_params(image_size=4, channels=3, heldout_fraction=0.2, images_per_shard=10)
    write_shards(NoiseSource([10, 10, 10], (4, 4, 3)), params, seed=0, out_dir=directory)
    return directory
