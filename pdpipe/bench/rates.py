"""What the units of a chain's work take here: all that a forecast multiplies."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pdpipe.bench.counting import sampling_kind
from pdpipe.bench.evaluation_rates import (
    MeasuringRate,
    SamplingRate,
    measuring_rate,
    sampling_rate,
)
from pdpipe.bench.setting import random_images, seconds
from pdpipe.bench.timing import LEAST_TIMINGS, Rate, Seconds
from pdpipe.bench.training_rates import trainings, update_rate
from pdpipe.bench.untrained import DataSize, Untrained
from pdpipe.data import ImageSet, load_split
from pdpipe.models import Sampling
from pdpipe.params import Params
from pdpipe.sources import Source, write_shards

SHARDED_IMAGES = 256


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Seconds of this machine."""

    updates: dict[str, Rate]  # by the kind of the training
    sampling: dict[str, SamplingRate]  # by the kind of the cell
    measuring: MeasuringRate
    writing: Seconds  # an image into a shard
    reading: Seconds  # an image from a shard

    @property
    def batched(self) -> dict[str, Rate]:
        """Everything that was timed batch by batch."""
        return self.updates | {kind: found.rate for kind, found in self.sampling.items()}


def measure_rates(
    params: Params, models: Untrained, size: DataSize, device: torch.device, budget: float
) -> Rates:
    """Time every unit, for about `budget` seconds in all."""
    units = list(trainings(params, models))
    cells = {
        sampling_kind(model, w): (model, w, sampling)
        for model, sampling in (
            (models.teacher, Sampling.called(params.evaluation.teacher_sampler)),
            (models.student, Sampling()),
        )
        for w in params.evaluation.w
    }
    share = 0.8 * budget / (len(units) + len(cells))
    writing, reading = _shard_rates(params)
    return Rates(
        updates={
            unit.kind: update_rate(params, unit, size.classes, device, share) for unit in units
        },
        sampling={
            kind: sampling_rate(params, model, w, sampling, share)
            for kind, (model, w, sampling) in cells.items()
        },
        measuring=measuring_rate(params, models, size, device),
        writing=writing,
        reading=reading,
    )


class _RandomSource(Source):
    """Noise as a data source."""

    def __init__(self, images: ImageSet) -> None:
        self.name = "random"
        self.classes = list(images.classes)
        self.labels = images.labels.numpy()
        self._images = images.images.permute(0, 2, 3, 1).contiguous().numpy()

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image `index` as uint8 (H, W, C)."""
        return self._images[index]  # type: ignore[no-any-return]


def _shard_rates(params: Params) -> tuple[Seconds, Seconds]:
    """Seconds an image to write shards, and to read them back."""
    source = _RandomSource(random_images(params, 2, SHARDED_IMAGES))
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def write() -> None:
            write_shards(source, params.data, params.seed, folder)

        def read() -> int:
            return len(load_split(folder, "train"))

        write()
        count = read()
        timings = range(LEAST_TIMINGS)
        writing = Seconds.of(seconds(write, cpu) / len(source) for _ in timings)
        reading = Seconds.of(seconds(read, cpu) / count for _ in timings)
    return writing, reading
