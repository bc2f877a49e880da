"""What the benchmarks share: a network of params.yaml, random images, a clock, and ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pdpipe.data import ImageSet
from pdpipe.diffusion import PARAMETERIZATIONS
from pdpipe.networks import UNetConfig
from pdpipe.params import Params


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


def config_of(params: Params) -> UNetConfig:
    """The teacher's network, for ten classes."""
    return UNetConfig(
        image_size=params.data.image_size,
        channels=params.data.channels,
        num_classes=10 if params.network.conditional else 0,
        heads=PARAMETERIZATIONS[params.teacher.parameterization].heads,
        **params.network.model_dump(exclude={"conditional"}),
    )


def random_images(params: Params) -> ImageSet:
    """1024 images of noise, of the size of the data."""
    size = (1024, params.data.channels, params.data.image_size, params.data.image_size)
    return ImageSet(
        images=torch.randint(0, 256, size, dtype=torch.uint8),
        labels=torch.arange(1024) % 10,
        classes=tuple(str(k) for k in range(10)),
        digest="",
    )


def inputs(images: ImageSet, size: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """A batch for a network: (z_t, log_snr, labels, w)."""
    z = torch.randn(size, *images.images.shape[1:], device=device)
    labels = torch.zeros(size, dtype=torch.int64, device=device)
    return z, torch.zeros(size, device=device), labels, torch.ones(size, device=device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long `work` takes, on a GPU until that is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
