"""What the benchmarks share: a network and images of params.yaml, a run, a clock, and ratios."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pdpipe.data import ImageSet
from pdpipe.diffusion import Condition
from pdpipe.methods.teacher import teacher_network
from pdpipe.networks import Network
from pdpipe.params import Params
from pdpipe.training import Job

CLASSES = 10  # of the random images, unless another number is asked for


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A time over the time of the bare network evaluations in it, from measurements in turns."""

    ratio: float  # median of the paired ratios
    low: float  # first quartile of them
    high: float  # third quartile

    def spelled(self) -> str:
        """`ratio 1.012 (quartiles 0.974 to 1.038)`."""
        return f"ratio {self.ratio:.3f} (quartiles {self.low:.3f} to {self.high:.3f})"


def quartiles(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """The fields of `Ratio` from the two times of each pair."""
    low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
    return {"ratio": middle, "low": low, "high": high}


def untrained(params: Params, num_classes: int = CLASSES) -> Network:
    """The teacher's network, by default for ten classes."""
    shape = (params.data.channels, params.data.image_size, params.data.image_size)
    return teacher_network(shape, num_classes, params.teacher, params.network)


def random_images(params: Params, num_classes: int = CLASSES, count: int = 1024) -> ImageSet:
    """Images of noise, of the size of the data."""
    size = (count, params.data.channels, params.data.image_size, params.data.image_size)
    return ImageSet(
        images=torch.randint(0, 256, size, dtype=torch.uint8),
        labels=torch.arange(count) % num_classes,
        classes=tuple(str(k) for k in range(num_classes)),
        digest="",
    )


class _NoTracker:
    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def publish(self) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def untracked_job(
    params: Params,
    device: torch.device,
    folder: Path,
    autocast: Callable[[], Any] = contextlib.nullcontext,
) -> Job:
    """A training run without tracking, its snapshots in `folder`."""
    return Job(
        stage="bench",
        seed=0,
        key="bench",
        snapshots_dir=folder,
        runtime=params.runtime,
        device=device,
        tracker=_NoTracker(),
        autocast=autocast,
    )


def inputs(
    images: ImageSet, size: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, Condition]:
    """A batch for a network: (z_t, log_snr, its condition)."""
    z = torch.randn(size, *images.images.shape[1:], device=device)
    labels = torch.zeros(size, dtype=torch.int64, device=device)
    given = Condition(labels, torch.ones(size, device=device))
    return z, torch.zeros(size, device=device), given


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long `work` takes, on a GPU until that is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
