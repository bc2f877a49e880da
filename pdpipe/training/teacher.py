"""Stage `teacher`: a class-conditional diffusion model, trained for classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pdpipe.data import ImageSet
from pdpipe.diffusion import (
    PARAMETERIZATIONS,
    Schedule,
    build_schedule,
    diffuse,
    v_loss_weight,
    v_target,
    weighted_loss,
)
from pdpipe.models import ModelInfo, network_denoiser
from pdpipe.networks import UNet, UNetConfig
from pdpipe.params import NetworkParams, ScheduleParams, TeacherParams
from pdpipe.seeds import derive_seed
from pdpipe.training.job import Batch, Job, Objective, TrainingCost
from pdpipe.training.loop import train
from pdpipe.training.optimization import optimization
from pdpipe.training.work import teacher_work


def teacher_objective(
    schedule: Schedule, parameterization: str, loss_weight: str, label_dropout: float
) -> Objective:
    """(network, batch) -> loss: denoising at t ~ U[0, 1], the label dropped now and then.

    Source: DDPM, Algorithm 1, in continuous time; CFG, Algorithm 1.
    """

    def objective(network: UNet, batch: Batch) -> Tensor:
        t, eps = batch.uniform(), batch.noise()
        dropped = batch.uniform().reshape(-1).to(batch.labels.device) < label_dropout
        labels = torch.where(dropped, network.null_label, batch.labels)
        alpha, sigma = schedule.alpha_sigma(t)
        z_t = diffuse(batch.x, eps, alpha, sigma)
        v_hat = network_denoiser(network, schedule, parameterization, labels)(z_t, t)
        weight = v_loss_weight(loss_weight, alpha, sigma)
        return weighted_loss(v_hat, v_target(batch.x, eps, alpha, sigma), weight)

    return objective


def teacher_config(
    image_shape: Sequence[int], num_classes: int, teacher: TeacherParams, network: NetworkParams
) -> UNetConfig:
    """The teacher's network for images of a shape (C, H, W) and so many classes."""
    return UNetConfig(
        image_size=image_shape[1],
        channels=image_shape[0],
        num_classes=num_classes if network.conditional else 0,
        dropout=teacher.dropout,
        heads=PARAMETERIZATIONS[teacher.parameterization].heads,
        **network.model_dump(exclude={"conditional"}),
    )


def teacher_info(
    config: UNetConfig,
    classes: Sequence[str],
    teacher: TeacherParams,
    schedule: ScheduleParams,
    provenance: dict[str, Any],
) -> ModelInfo:
    """The metadata of a teacher with this network."""
    return ModelInfo(
        kind="teacher",
        name="teacher",
        guidance="mixture",
        sampler="ddim",
        network=vars(config).copy(),
        schedule=schedule.model_dump(),
        parameterization=teacher.parameterization,
        steps=None,
        w_min=0.0,
        w_max=None if config.num_classes else 0.0,
        classes=list(classes),
        weights="ema" if teacher.ema_decay else "raw",
        provenance=provenance,
    )


def train_teacher(
    job: Job,
    images: ImageSet,
    teacher: TeacherParams,
    network: NetworkParams,
    schedule: ScheduleParams,
    provenance: dict[str, Any],
) -> tuple[UNet, ModelInfo, TrainingCost]:
    """The teacher's averaged network, its metadata and its cost.

    Args:
        job: the stage's run.
        images: the training split.
        teacher, network, schedule: their sections of params.yaml.
        provenance: stored with the model.
    """
    shape = tuple(images.images.shape[1:])
    config = teacher_config(shape, len(images.classes), teacher, network)
    torch.manual_seed(derive_seed(job.seed, "teacher network"))
    untrained = UNet(config)
    info = teacher_info(config, images.classes, teacher, schedule, provenance)
    objective = teacher_objective(
        build_schedule(**info.schedule),
        teacher.parameterization,
        teacher.loss_weight,
        teacher.label_dropout if network.conditional else 0.0,
    )
    settings = optimization(teacher, teacher.updates, teacher.learning_rate)
    trained, seconds = train(job, untrained, objective, images, settings, flip=teacher.flip)
    return trained, info, teacher_work(teacher).cost(seconds)
