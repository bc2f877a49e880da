"""The training loop that every training stage shares: update, average, log, snapshot, resume."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import nn

from pdpipe.data import ImageSet, batch_indices, to_unit
from pdpipe.diffusion import Condition
from pdpipe.errors import TrainingError
from pdpipe.plan import Batch, Optimization, Plan, StatefulObjective
from pdpipe.progress import Progress
from pdpipe.seeds import derive_seed
from pdpipe.training.job import Job
from pdpipe.training.resume import resume, save_finished, save_snapshot, take_finished
from pdpipe.training.state import TrainState

LOG_EVERY = 10  # updates; also how often the loss is checked to be finite
GRACE_SECONDS = 2.0  # that a snapshot may wait for the next log


def train(job: Job, plan: Plan, images: ImageSet) -> tuple[Any, float]:
    """The trained network's exponential moving average, and the seconds its training took.

    Interrupted at any moment, the same call goes on from the last snapshot; on the CPU, with the
    same threads and versions, it ends with the same bits as an unbroken run. A finished training is
    kept as well, and the same call then has nothing to do.

    Raises:
        TrainingError: the loss or the weights are not finite.
        KeyboardInterrupt: SIGINT or SIGTERM came; the snapshot is written.
    """
    finished = job.snapshots.load_finished()
    if finished is not None:
        return take_finished(job, plan.network, *finished)
    optimization = plan.optimization
    state = TrainState(plan, job.device, job.runtime.compile)
    with _interruptible() as interrupted:
        resume(job, state)
        with Progress(job.stage, optimization.updates, "updates", done=state.step) as progress:
            pace = _Pace(job, state, optimization, progress)
            while state.step < optimization.updates:
                batch = make_batch(job, images, optimization.batch_size, state.step, plan.flip)
                loss = update(job, state, batch)
                stopping = interrupted.is_set()  # asked once: the signal may come at any line
                pace.after_update(loss, ending=stopping or state.step == optimization.updates)
                if stopping:
                    raise KeyboardInterrupt
        return state.averaged(), state.seconds


class _Pace:
    """When to log and when to write a snapshot: asked after every update."""

    def __init__(
        self, job: Job, state: TrainState, optimization: Optimization, progress: Progress
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
            self._check_weights()
            if self.state.step == self.optimization.updates:
                save_finished(self.job, self.state)
            else:
                save_snapshot(self.job, self.state)
            self.last_snapshot = time.monotonic()

    def _log(self) -> None:
        step = self.state.step
        loss = float(torch.stack(self.losses).mean())
        if not math.isfinite(loss):
            raise self._not_finite("the loss")
        rate = self.optimization.rate(step - 1)
        self.job.tracker.log(step, {"loss": loss, "learning_rate": rate})
        self.progress.advance(len(self.losses), f"loss {loss:.4f}")
        self.losses = []

    def _check_weights(self) -> None:
        """That no weight is lost, of the network or its average, before they are written."""
        networks = (self.state.network, self.state.ema)
        weights = [weight for network in networks for weight in network.state_dict().values()]
        if not torch.stack([weight.isfinite().all() for weight in weights]).all():
            raise self._not_finite("a weight")

    def _not_finite(self, what: str) -> TrainingError:
        settings = ["learning_rate", "weight_decay", "grad_clip"]
        if self.optimization.weight_decay == 0:
            settings.remove("weight_decay")
        return TrainingError(
            f"{what} of {self.job.stage} is not finite at update {self.state.step}: lower its "
            f"{', its '.join(settings[:-1])} or its {settings[-1]} in params.yaml"
        )


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
    given = Condition(label=images.labels[chosen])
    return Batch(x.to(job.device), given.to(job.device), generator, scalars)


def _seed_default(device: torch.device, seed: int) -> None:
    """Seed the default generators of the CPU and of `device`.

    `torch.manual_seed` seeds every kind of device, and notes a stack trace for each kind that is
    not in use: a hundredth of a small network's update.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def update(job: Job, state: TrainState, batch: Batch) -> torch.Tensor:
    """One optimiser step; returns the loss, detached."""
    with job.autocast():
        loss = state.objective(state.network, batch)
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.network.parameters(), state.optimization.grad_clip)
    state.optimizer.step(state.optimization.rate(state.step))
    state.ema.update_parameters(state.network)
    if isinstance(state.objective, StatefulObjective):
        state.objective.after_update(state.network)
    state.step += 1
    return loss.detach()


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
