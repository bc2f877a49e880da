"""Stage `halve`, the second of the distillation: a student that takes one step where two were."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from pdpipe.data import ImageSet
from pdpipe.diffusion import (
    Schedule,
    diffuse,
    multi_step_target,
    v_loss_weight,
    weighted_loss,
)
from pdpipe.models import DenoiserOf, DiffusionModel, ModelInfo, network_denoiser, w_student
from pdpipe.networks import Network, UNet
from pdpipe.params import HalveParams, Rung
from pdpipe.training.guide import draw_w
from pdpipe.training.job import Batch, Job, Objective, TrainingCost
from pdpipe.training.loop import train
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
) -> Objective:
    """(student, batch) -> loss against `ratio` DDIM steps of the teacher, on the student's grid.

    Args:
        teacher: the denoiser of given labels and w.
        schedule, parameterization: the student's.
        loss_weight: a key of `LOSS_WEIGHTS`.
        w_range: w is uniform between them.
        num_steps, ratio: the student's N, and how many of the teacher's steps one of its is.

    Source: PD, Algorithm 2, and GD, Algorithm 2.
    """

    def objective(student: Network, batch: Batch) -> Tensor:
        i = torch.floor(batch.uniform() * num_steps) + 1  # uniform in 1 … N, exact in float64
        t, eps, w = i / num_steps, batch.noise(), draw_w(batch, *w_range)
        alpha, sigma = schedule.alpha_sigma(t)
        z_t = diffuse(batch.x, eps, alpha, sigma)
        with torch.no_grad():
            v_goal = multi_step_target(teacher(batch.labels, w), z_t, i, num_steps, schedule, ratio)
        v_hat = network_denoiser(student, schedule, parameterization, batch.labels, w)(z_t, t)
        return weighted_loss(v_hat, v_goal, v_loss_weight(loss_weight, alpha, sigma))

    return objective


def train_halving(
    job: Job,
    images: ImageSet,
    teacher: DiffusionModel,
    num_steps: int,
    rung: Rung,
    halve: HalveParams,
    provenance: dict[str, Any],
) -> tuple[UNet, ModelInfo, TrainingCost]:
    """The `num_steps` student's averaged network, its metadata and its cost.

    It starts from the weights of its teacher, the student at `rung.from_` steps.
    """
    student = copy.deepcopy(teacher.network).requires_grad_(True)
    objective = halving_objective(
        w_student(teacher.network, teacher.schedule, teacher.info.parameterization),
        teacher.schedule,
        teacher.info.parameterization,
        halve.loss_weight,
        (teacher.info.w_min, teacher.info.w_max or 0.0),
        num_steps,
        ratio_of(rung, num_steps),
    )
    settings = optimization(halve, rung.updates, rung.learning_rate)
    trained, seconds = train(job, student, objective, images, settings)
    info = teacher.info.model_copy(
        update={
            "name": f"student-{num_steps}",
            "steps": num_steps,
            "weights": "ema" if halve.ema_decay else "raw",
            "provenance": provenance,
        }
    )
    return trained, info, halving_work(halve, rung, num_steps).cost(seconds)
