"""What the benchmarks share: a network and images of params.yaml, a run, and a clock."""

from __future__ import annotations

import contextlib
import copy
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pdpipe.data import ImageSet
from pdpipe.diffusion import Condition
from pdpipe.methods.teacher import teacher_network
from pdpipe.networks import Network
from pdpipe.params import Params
from pdpipe.plan import Plan
from pdpipe.training import Job, train
from pdpipe.training.loop import make_batch, update
from pdpipe.training.state import TrainState

CLASSES = 10  # of the random images, unless another number is asked for
MANY_UPDATES = 10**9  # the learning rate must not end while updates are timed


def untrained(params: Params) -> Network:
    """The teacher's network for ten classes."""
    shape = (params.data.channels, params.data.image_size, params.data.image_size)
    return teacher_network(shape, CLASSES, params.teacher, params.network)


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


@contextlib.contextmanager
def training(
    plan: Plan,
    params: Params,
    device: torch.device,
    images: ImageSet,
    beside: Path | None = None,
    autocast: Callable[[], Any] = contextlib.nullcontext,
) -> Iterator[tuple[Job, TrainState, Callable[[int], None]]]:
    """A run of a copy of the plan's network, without tracking: job, state, `one_update(size)`.

    Args:
        plan: what is trained, for any number of updates.
        params: the settings.
        device: where it runs.
        images: of each update, `size` are drawn.
        beside: where the folder of its snapshots is; by default with other temporary ones.
        autocast: the context of its networks.
    """
    network = copy.deepcopy(plan.network).requires_grad_(True)
    settings = replace(plan.optimization, updates=MANY_UPDATES)
    state = TrainState(replace(plan, network=network, optimization=settings), device)
    with tempfile.TemporaryDirectory(dir=beside, prefix=".pdpipe-bench-") as folder:
        job = Job(
            stage="bench",
            seed=0,
            key="bench",
            snapshots_dir=Path(folder),
            runtime=params.runtime,
            device=device,
            tracker=_NoTracker(),
            autocast=autocast,
        )

        def one_update(size: int) -> None:
            update(job, state, make_batch(job, images, size, state.step, plan.flip))

        yield job, state, one_update


def trained(
    plan: Plan, params: Params, device: torch.device, images: ImageSet
) -> tuple[torch.nn.Module, float]:
    """The network that the plan trains on images, and the seconds it took; nothing is kept."""
    with training(plan, params, device, images) as (job, _, _):
        return train(replace(job, stage="trial"), plan, images)


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
