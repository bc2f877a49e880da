"""Stage `halve`, the second of the distillation: a student that takes one step where two were.

The other students of GD are halvings too: `stochastic` and `encoding` with the teacher's times of
Algorithms 3 and 4, `naive` with its own objective (Algorithm 5).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pdpipe.data import ImageSet
from pdpipe.diffusion import (
    Schedule,
    Times,
    decoding_times,
    diffuse,
    encoding_times,
    multi_step_target,
    stochastic_times,
    v_loss_weight,
    weighted_loss,
)
from pdpipe.models import DenoiserOf, DiffusionModel, ModelInfo, network_denoiser, w_student
from pdpipe.networks import Network, UNet
from pdpipe.params import HalveParams, Rung
from pdpipe.training.draws import draw_i, draw_w
from pdpipe.training.job import Batch, Job, Objective, TrainingCost
from pdpipe.training.loop import train
from pdpipe.training.naive import naive_objective
from pdpipe.training.optimization import optimization
from pdpipe.training.work import halving_work, ratio_of


def halving_objective(
    teacher: DenoiserOf,
    schedule: Schedule,
    parameterization: str,
    loss_weight: str,
    w_range: tuple[float, float],
    num_steps: int,
    ratio: int,
    times: Times = decoding_times,
) -> Objective:
    """(student, batch) -> loss against the teacher's steps, on the student's grid.

    Args:
        teacher: the denoiser of given labels and w.
        schedule, parameterization: the student's.
        loss_weight: a key of `LOSS_WEIGHTS`.
        w_range: w is uniform between them.
        num_steps, ratio: the student's N, and how many of the teacher's steps one of its is.
        times: that the teacher passes; those of the decoding halve.

    Source: PD, Algorithm 2, and GD, Algorithm 2; with other times GD, Algorithms 3 and 4.
    """

    def objective(student: Network, batch: Batch) -> Tensor:
        i = draw_i(batch, num_steps)
        t, eps, w = times(i, num_steps, ratio)[0], batch.noise(), draw_w(batch, *w_range)
        alpha, sigma = schedule.alpha_sigma(t)
        z_t = diffuse(batch.x, eps, alpha, sigma)
        with torch.no_grad():
            denoise = teacher(batch.labels, w)
            v_goal = multi_step_target(denoise, z_t, i, num_steps, schedule, ratio, times)
        v_hat = network_denoiser(student, schedule, parameterization, batch.labels, w)(z_t, t)
        return weighted_loss(v_hat, v_goal, v_loss_weight(loss_weight, alpha, sigma))

    return objective


ObjectiveOf = Callable[[DiffusionModel, str, tuple[float, float], int, int], Objective]
"""(teacher, loss weight, range of w, N, ratio) -> what a student of N steps is trained on."""


@dataclass(frozen=True)
class Algorithm:
    """A way to distil: its objective, and what becomes of the student."""

    objective: ObjectiveOf
    becomes: Mapping[str, str] = field(default_factory=dict)  # fields of ModelInfo that change


def _along(times: Times) -> ObjectiveOf:
    def objective(
        teacher: DiffusionModel,
        loss_weight: str,
        w_range: tuple[float, float],
        num_steps: int,
        ratio: int,
    ) -> Objective:
        schedule, kind = teacher.schedule, teacher.info.parameterization
        goal = w_student(teacher.network, schedule, kind)
        return halving_objective(
            goal, schedule, kind, loss_weight, w_range, num_steps, ratio, times
        )

    return objective


ALGORITHMS: dict[str, Algorithm] = {
    "halve": Algorithm(_along(decoding_times)),
    "stochastic": Algorithm(_along(stochastic_times), {"sampler": "stochastic"}),
    "encoder": Algorithm(_along(encoding_times), {"kind": "encoder"}),
    "naive": Algorithm(naive_objective, {"guidance": "mixture"}),
}


def train_halving(
    job: Job,
    images: ImageSet,
    teacher: DiffusionModel,
    num_steps: int,
    rung: Rung,
    halve: HalveParams,
    provenance: dict[str, Any],
    *,
    algorithm: str = "halve",
    untrained: UNet | None = None,
) -> tuple[UNet, ModelInfo, TrainingCost]:
    """The `num_steps` student's averaged network, its metadata and its cost.

    Args:
        job: the stage's run.
        images: the training split.
        teacher: the student at `rung.from_` steps; a teacher is distilled without guidance.
        num_steps: the student's N.
        rung, halve: their sections of params.yaml.
        provenance: stored with the model.
        algorithm: a key of `ALGORITHMS`.
        untrained: the network to start from; by default the teacher's, with its weights.
    """
    chosen, ratio = ALGORITHMS[algorithm], ratio_of(rung, num_steps)
    student = copy.deepcopy(teacher.network) if untrained is None else untrained
    w_range = (teacher.info.w_min, student.config.w_max)
    objective = chosen.objective(teacher, halve.loss_weight, w_range, num_steps, ratio)
    settings = optimization(halve, rung.updates, rung.learning_rate)
    trained, seconds = train(job, student.requires_grad_(True), objective, images, settings)
    info = teacher.info.model_copy(
        update={
            "kind": "student",
            "guidance": "input",
            "sampler": "ddim",
            "name": f"student-{num_steps}",
            "network": vars(student.config).copy(),
            "steps": num_steps,
            "w_max": w_range[1],
            "weights": "ema" if halve.ema_decay else "raw",
            "provenance": provenance,
            **chosen.becomes,
        }
    )
    work = halving_work(halve, rung, num_steps, algorithm)
    return trained, info, work.cost(seconds)
