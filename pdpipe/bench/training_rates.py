"""What an update of each training stage takes here, by the stage's own objective and the loop's."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from pdpipe.bench.counting import halving_kind
from pdpipe.bench.setting import random_images, untracked_job
from pdpipe.bench.timing import Rate, time_batches
from pdpipe.bench.untrained import Untrained
from pdpipe.methods import method_of
from pdpipe.methods.tasks import guide_task, rung_task
from pdpipe.params import Params
from pdpipe.plan import Plan
from pdpipe.runtime import autocast, needs_float32, precision
from pdpipe.training.loop import make_batch, update
from pdpipe.training.state import TrainState

MANY_UPDATES = 10**9  # the learning rate must not end while updates are timed


@dataclass(frozen=True)
class Training:
    """A training stage, of which an update is timed."""

    kind: str  # those of one kind take equally long
    plan: Plan
    exact: bool = False  # in float32, where the precision is `auto`


def trainings(params: Params, models: Untrained) -> Iterator[Training]:
    """The training stages, one of each kind."""
    predicted = models.teacher.info.parameterization
    exact = needs_float32(predicted)
    yield Training("extractor", models.extractor)
    yield Training("teacher", models.teacher_plan, exact)
    guide = method_of("guide").plan(models.teacher, guide_task(params), 0, {})
    yield Training("guide", guide, exact)
    for kind, n in {halving_kind(params, n): n for n in params.rungs()}.items():
        halve = method_of("halve").plan(models.student, rung_task(params, n), 0, {})
        yield Training(kind, halve, needs_float32(predicted, n))


def update_rate(
    params: Params, training: Training, classes: int, device: torch.device, budget: float
) -> Rate:
    """Seconds an image of an update, batch, optimiser and average included.

    Args:
        params: the settings.
        training: the stage; a copy of its network is trained.
        classes: of the random images.
        device: where it runs.
        budget: about how many seconds to spend.
    """
    settings = replace(training.plan.optimization, updates=MANY_UPDATES)
    images = random_images(params, classes, max(settings.batch_size, 1024))
    network = copy.deepcopy(training.plan.network).requires_grad_(True)
    state = TrainState(replace(training.plan, network=network, optimization=settings), device)
    with tempfile.TemporaryDirectory() as folder:
        context = partial(autocast, device, precision(device, params.runtime, training.exact))
        job = untracked_job(params, device, Path(folder), context)

        def one(size: int) -> None:
            batch = make_batch(job, images, size, state.step, training.plan.flip)
            update(job, state, batch)

        return time_batches(one, settings.batch_size, device, budget, training.kind)
