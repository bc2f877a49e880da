"""Stage `teacher`: a class-conditional diffusion model, trained for classifier-free guidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pdpipe.diffusion import (
    PARAMETERIZATIONS,
    Schedule,
    build_schedule,
    diffuse,
    v_loss_weight,
    v_target,
    weighted_loss,
)
from pdpipe.models import ModelInfo, Predictor
from pdpipe.networks import Network, described, network_of
from pdpipe.params import NetworkParams, ScheduleParams, TeacherParams
from pdpipe.plan import Batch, Objective, Optimization, Plan, Work
from pdpipe.seeds import derive_seed


def teacher_objective(
    schedule: Schedule, parameterization: str, loss_weight: str, label_dropout: float
) -> Objective:
    """(network, batch) -> loss: denoising at t ~ U[0, 1], the label dropped now and then.

    Source: DDPM, Algorithm 1, in continuous time; CFG, Algorithm 1.
    """

    def objective(network: Network, batch: Batch) -> Tensor:
        # x ~ D is batch.x, (B, C, H, W); t ~ U[0, 1], (B, 1, 1, 1); eps ~ N(0, I)
        t, eps = batch.uniform(), batch.noise()
        dropped = batch.uniform().reshape(-1).to(batch.x.device) < label_dropout
        given = batch.given.replaced(dropped, network.null(batch.given))  # CFG: c <- null
        alpha, sigma = schedule.alpha_sigma(t)
        z_t = diffuse(batch.x, eps, alpha, sigma)
        v_hat = Predictor(network, schedule, parameterization).denoiser(given)(z_t, t)
        weight = v_loss_weight(loss_weight, alpha, sigma)
        return weighted_loss(v_hat, v_target(batch.x, eps, alpha, sigma), weight)

    return objective


def teacher_network(
    image_shape: Sequence[int], num_classes: int, teacher: TeacherParams, network: NetworkParams
) -> Network:
    """The teacher's network, untrained, for images of a shape (C, H, W) and so many classes."""
    kind = network_of(network.name)
    return kind(
        kind.Config(
            image_size=image_shape[1],
            channels=image_shape[0],
            num_classes=num_classes if network.conditional else 0,
            dropout=teacher.dropout,
            heads=PARAMETERIZATIONS[teacher.parameterization].heads,
            **network.sizes,
        )
    )


def teacher_plan(
    image_shape: Sequence[int],
    classes: Sequence[str],
    teacher: TeacherParams,
    network: NetworkParams,
    schedule: ScheduleParams,
    seed: int,
    provenance: Mapping[str, Any],
) -> Plan:
    """The training of a teacher.

    Args:
        image_shape: (C, H, W).
        classes: names, by label.
        teacher, network, schedule: their sections of params.yaml.
        seed: of the run.
        provenance: stored with the model.
    """
    torch.manual_seed(derive_seed(seed, "teacher network"))
    untrained = teacher_network(image_shape, len(classes), teacher, network)
    optimization = Optimization.of(teacher, teacher.updates, teacher.learning_rate)
    info = ModelInfo(
        kind="teacher",
        name="teacher",
        guidance="mixture",
        sampler="ddim",
        network=described(untrained),
        schedule=schedule.model_dump(),
        parameterization=teacher.parameterization,
        steps=None,
        w_min=0.0,
        w_max=None if untrained.conditional else 0.0,
        classes=list(classes),
        weights="ema" if teacher.ema_decay else "raw",
        provenance=dict(provenance),
    )
    objective = teacher_objective(
        build_schedule(**info.schedule),
        teacher.parameterization,
        teacher.loss_weight,
        teacher.label_dropout if network.conditional else 0.0,
    )
    return Plan(
        network=untrained,
        objective=objective,
        optimization=optimization,
        info=info,
        work=teacher_work(teacher),
        flip=teacher.flip,
    )


def teacher_work(teacher: TeacherParams) -> Work:
    """What its training costs."""
    return Work(updates=teacher.updates, batch_size=teacher.batch_size, forwards=1)
