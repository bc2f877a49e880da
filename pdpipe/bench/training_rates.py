"""What an update of each training stage takes here, by the stage's own objective and the loop's."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from pdpipe.bench.counting import halving_kind
from pdpipe.bench.setting import random_images, untracked_job
from pdpipe.bench.timing import Rate, time_batches
from pdpipe.bench.untrained import Untrained
from pdpipe.models import guided_teacher, w_student
from pdpipe.params import Params
from pdpipe.runtime import autocast, needs_float32, precision
from pdpipe.training.extractor import extractor_objective, extractor_optimization
from pdpipe.training.guide import guide_objective
from pdpipe.training.halve import halving_objective
from pdpipe.training.job import Objective, Optimization
from pdpipe.training.loop import make_batch, update
from pdpipe.training.optimization import optimization
from pdpipe.training.state import TrainState
from pdpipe.training.teacher import teacher_objective
from pdpipe.training.work import ratio_of

MANY_UPDATES = 10**9  # the learning rate must not end while updates are timed


@dataclass(frozen=True)
class Training:
    """A training stage's part in an update: the network that is trained, and how."""

    kind: str  # those of one kind take equally long
    network: nn.Module
    objective: Objective
    optimization: Optimization
    flip: bool = False
    exact: bool = False  # in float32, where the precision is `auto`


def trainings(params: Params, models: Untrained) -> Iterator[Training]:
    """The training stages, one of each kind."""
    schedule, predicted = models.teacher.schedule, models.teacher.info.parameterization
    w_range = (params.guide.w_min, params.guide.w_max)
    dropout = params.teacher.label_dropout if params.network.conditional else 0.0
    teacher, student = models.teacher.network, models.student.network
    yield Training(
        "extractor",
        models.classifier,
        extractor_objective(params.extractor.label_smoothing),
        extractor_optimization(params.extractor),
    )
    yield Training(
        "teacher",
        teacher,
        teacher_objective(schedule, predicted, params.teacher.loss_weight, dropout),
        optimization(params.teacher, params.teacher.updates, params.teacher.learning_rate),
        params.teacher.flip,
        exact=needs_float32(predicted),
    )
    guided = guided_teacher(teacher, schedule, predicted)
    yield Training(
        "guide",
        student,
        guide_objective(guided, schedule, predicted, params.guide.loss_weight, w_range),
        optimization(params.guide, params.guide.updates, params.guide.learning_rate),
        exact=needs_float32(predicted),
    )
    above = w_student(student, schedule, predicted)
    for kind, n in {halving_kind(params, n): n for n in params.rungs()}.items():
        ratio = ratio_of(params.ladder[str(n)], n)
        yield Training(
            kind,
            student,
            halving_objective(
                above, schedule, predicted, params.halve.loss_weight, w_range, n, ratio
            ),
            optimization(params.halve, MANY_UPDATES, params.ladder[str(n)].learning_rate),
            exact=needs_float32(predicted, n),
        )


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
    settings = replace(training.optimization, updates=MANY_UPDATES)
    images = random_images(params, classes, max(settings.batch_size, 1024))
    network = copy.deepcopy(training.network).requires_grad_(True)
    state = TrainState(network, settings, device)
    with tempfile.TemporaryDirectory() as folder:
        context = partial(autocast, device, precision(device, params.runtime, training.exact))
        job = untracked_job(params, device, Path(folder), context)

        def one(size: int) -> None:
            batch = make_batch(job, images, size, state.step, training.flip)
            update(job, state, training.objective, batch, settings)

        return time_batches(one, settings.batch_size, device, budget, training.kind)
