"""The training loop that every stage shares: update, average, log, snapshot, resume."""

from __future__ import annotations

import copy
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Generic, TypeVar

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pdpipe.data import ImageSet, batch_indices, to_unit
from pdpipe.errors import TrainingError
from pdpipe.progress import Progress
from pdpipe.seeds import derive_seed
from pdpipe.training.adamw import AdamW
from pdpipe.training.job import Batch, Job, Objective, Optimization

LOG_EVERY = 10  # updates; also how often the loss is checked to be finite
GRACE_SECONDS = 2.0  # that a snapshot may wait for the next log
Network = TypeVar("Network", bound=nn.Module)


class TrainState(Generic[Network]):
    """Everything that changes while training: network, its average, optimiser, step, seconds."""

    def __init__(
        self,
        network: Network,
        optimization: Optimization,
        device: torch.device,
        compile_network: bool = False,
    ) -> None:
        self.network = network.to(device).train()
        average = get_ema_multi_avg_fn(optimization.ema_decay)  # type: ignore[no-untyped-call]
        self.ema = AveragedModel(self.network, multi_avg_fn=average)
        self.optimizer = AdamW(
            self.network.parameters(),
            betas=optimization.betas,
            weight_decay=optimization.weight_decay,
        )
        if compile_network:
            self.network.compile()
        self.step = 0  # updates done
        self.seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same run."""
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]

    def averaged(self) -> Network:
        """A copy of the network with the averaged weights, in evaluation mode."""
        network: Network = copy.deepcopy(self.ema.module)  # type: ignore[assignment]
        return network.eval().requires_grad_(False)


def train(
    job: Job,
    network: Network,
    objective: Objective,
    images: ImageSet,
    optimization: Optimization,
    *,
    flip: bool = False,
) -> tuple[Network, float]:
    """The trained network's exponential moving average, and the seconds its training took.

    Interrupted at any moment, the same call goes on from the last snapshot; on the CPU, with the
    same threads and versions, it ends with the same bits as an unbroken run. The last snapshot is
    of the finished training; it stays until `job.finish()`, when the model is written.

    Raises:
        TrainingError: the loss is not finite, or another process trains the same thing.
        KeyboardInterrupt: SIGINT or SIGTERM came; the snapshot is written.
    """
    state = TrainState(network, optimization, job.device, job.runtime.compile)
    with job.snapshots.hold(), _interruptible() as interrupted:
        _resume(job, state)
        with Progress(job.stage, optimization.updates, "updates", done=state.step) as progress:
            pace = _Pace(job, state, optimization, progress)
            while state.step < optimization.updates:
                batch = make_batch(job, images, optimization.batch_size, state.step, flip)
                loss = update(job, state, objective, batch, optimization)
                stopping = interrupted.is_set()  # asked once: the signal may come at any line
                pace.after_update(loss, ending=stopping or state.step == optimization.updates)
                if stopping:
                    raise KeyboardInterrupt
        return state.averaged(), state.seconds


class _Pace:
    """When to log and when to write a snapshot: asked after every update."""

    def __init__(
        self, job: Job, state: TrainState[Any], optimization: Optimization, progress: Progress
    ) -> None:
        self.job, self.state, self.optimization, self.progress = job, state, optimization, progress
        self.losses: list[torch.Tensor] = []  # since the last log
        self.last_snapshot = self.last_update = time.monotonic()

    def after_update(self, loss: torch.Tensor, ending: bool) -> None:
        """Log every few updates, write a snapshot when one is due, and both when `ending`."""
        now = time.monotonic()
        self.state.seconds += now - self.last_update
        self.last_update = now
        self.losses.append(loss)
        waited = now - self.last_snapshot - self.job.runtime.snapshot_seconds
        if len(self.losses) == LOG_EVERY or waited > GRACE_SECONDS or ending:
            self._log()
        if (waited >= 0 and not self.losses) or ending:
            save_snapshot(self.job, self.state)
            self.last_snapshot = time.monotonic()

    def _log(self) -> None:
        step = self.state.step
        loss = _mean_loss(self.job, self.losses, step)
        rate = self.optimization.rate(step - 1)
        self.job.tracker.log(step, {"loss": loss, "learning_rate": rate})
        self.progress.advance(len(self.losses), f"loss {loss:.4f}")
        self.losses = []


def make_batch(job: Job, images: ImageSet, size: int, step: int, flip: bool) -> Batch:
    """The data and generators of update `step`: a function of (seed, stage, step) alone."""
    chosen = batch_indices(
        step, count=len(images.labels), batch_size=size, seed=derive_seed(job.seed, "data")
    )
    seed = derive_seed(job.seed, job.stage, step)
    _seed_default(job.device, seed)  # dropout draws from the default generator
    generator = torch.Generator(job.device).manual_seed(seed)
    scalars = torch.Generator().manual_seed(derive_seed(seed, "scalars"))
    x = to_unit(images.images[chosen])
    if flip:
        mirrored = torch.rand(len(x), 1, 1, 1, generator=scalars) < 0.5
        x = torch.where(mirrored, x.flip(-1), x)
    labels = images.labels[chosen]
    return Batch(x.to(job.device), labels.to(job.device), generator, scalars)


def _seed_default(device: torch.device, seed: int) -> None:
    """Seed the default generators of the CPU and of `device`.

    `torch.manual_seed` seeds every kind of device, and notes a stack trace for each kind that is
    not in use: a hundredth of a small network's update.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def update(
    job: Job,
    state: TrainState[Any],
    objective: Objective,
    batch: Batch,
    optimization: Optimization,
) -> torch.Tensor:
    """One optimiser step; returns the loss, detached."""
    with job.autocast():
        loss = objective(state.network, batch)
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.network.parameters(), optimization.grad_clip)
    state.optimizer.step(optimization.rate(state.step))
    state.ema.update_parameters(state.network)
    state.step += 1
    return loss.detach()


def _mean_loss(job: Job, losses: list[torch.Tensor], step: int) -> float:
    loss = float(torch.stack(losses).mean())
    if not torch.isfinite(torch.tensor(loss)):
        raise TrainingError(
            f"the loss of {job.stage} is not finite at update {step}: lower its learning_rate, or "
            "its grad_clip, in params.yaml"
        )
    return loss


def _conditions(job: Job) -> dict[str, str]:
    """What must be unchanged for a resumed run to have the same bits."""
    return {
        "torch": str(torch.__version__),
        "threads": str(torch.get_num_threads()),
        "device": str(job.device),
        "precision": job.precision,
        "compile": str(job.runtime.compile),
    }


def save_snapshot(job: Job, state: TrainState[Any]) -> None:
    """Write the snapshot, then hand over the metrics logged up to it."""
    saved = {
        **state.state_dict(),
        "tracker": job.tracker.state_dict(),
        "conditions": _conditions(job),
    }
    job.snapshots.save(saved)
    job.tracker.publish()


def _resume(job: Job, state: TrainState[Any]) -> None:
    saved = job.snapshots.load()
    if saved is None:
        return
    state.load_state_dict(saved)
    job.tracker.load_state_dict(saved["tracker"])
    print(f"{job.stage}: going on from update {state.step}", file=sys.stderr)
    now = _conditions(job)
    changed = [f"{k} {v} -> {now[k]}" for k, v in saved["conditions"].items() if v != now.get(k)]
    if changed:
        print(
            f"{job.stage}: since the snapshot, {', '.join(changed)} changed: the result will be as "
            "good, but not bit-identical to an unbroken run",
            file=sys.stderr,
        )


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that the loop can stop between two updates."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        interrupted.set()

    previous = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
