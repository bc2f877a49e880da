"""Stage `guide`, the first of the distillation: one student for every guidance weight w."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pdpipe.data import ImageSet
from pdpipe.diffusion import Schedule, diffuse, v_loss_weight, weighted_loss
from pdpipe.models import (
    DenoiserOf,
    DiffusionModel,
    ModelInfo,
    guided_teacher,
    network_denoiser,
)
from pdpipe.networks import Network, UNet
from pdpipe.params import GuideParams
from pdpipe.seeds import derive_seed
from pdpipe.training.draws import draw_w
from pdpipe.training.job import Batch, Job, Objective, TrainingCost
from pdpipe.training.loop import train
from pdpipe.training.optimization import optimization
from pdpipe.training.work import guide_work


def guide_objective(
    teacher: DenoiserOf,
    schedule: Schedule,
    parameterization: str,
    loss_weight: str,
    w_range: tuple[float, float],
) -> Objective:
    """(student, batch) -> loss against the guided teacher, at a random t and a random w.

    Args:
        teacher: the guided denoiser of given labels and w.
        schedule, parameterization: the student's.
        loss_weight: a key of `LOSS_WEIGHTS`.
        w_range: w is uniform between them.

    Source: GD, Algorithm 1.
    """

    def objective(student: Network, batch: Batch) -> Tensor:
        t, eps, w = batch.uniform(), batch.noise(), draw_w(batch, *w_range)
        alpha, sigma = schedule.alpha_sigma(t)
        z_t = diffuse(batch.x, eps, alpha, sigma)
        with torch.no_grad():
            v_w = teacher(batch.labels, w)(z_t, t)
        v_hat = network_denoiser(student, schedule, parameterization, batch.labels, w)(z_t, t)
        return weighted_loss(v_hat, v_w, v_loss_weight(loss_weight, alpha, sigma))

    return objective


def student_of(teacher: UNet, w_frequencies: int, w_max: float) -> UNet:
    """The teacher's network with an embedding of w added, its weights the teacher's.

    The embedding's last layer is zero: the student is the conditional teacher at every w.
    """
    config = replace(teacher.config, w_frequencies=w_frequencies, w_max=w_max, dropout=0.0)
    student = UNet(config)
    missing, unexpected = student.load_state_dict(teacher.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("embed_w.") for name in missing)
    return student


def student_info(
    teacher: ModelInfo, student: UNet, guide: GuideParams, provenance: dict[str, Any]
) -> ModelInfo:
    """The metadata of the stage-one student of a teacher."""
    return teacher.model_copy(
        update={
            "kind": "student",
            "guidance": "input",
            "name": f"student-{guide.steps}",
            "network": vars(student.config).copy(),
            "steps": guide.steps,
            "w_min": guide.w_min,
            "w_max": guide.w_max,
            "weights": "ema" if guide.ema_decay else "raw",
            "provenance": provenance,
        }
    )


def train_guide(
    job: Job,
    images: ImageSet,
    teacher: DiffusionModel,
    guide: GuideParams,
    provenance: dict[str, Any],
) -> tuple[UNet, ModelInfo, TrainingCost]:
    """The stage-one student's averaged network, its metadata and its cost."""
    torch.manual_seed(derive_seed(job.seed, "guide network"))
    student = student_of(teacher.network, guide.w_frequencies, guide.w_max)
    objective = guide_objective(
        guided_teacher(teacher.network, teacher.schedule, teacher.info.parameterization),
        teacher.schedule,
        teacher.info.parameterization,
        guide.loss_weight,
        (guide.w_min, guide.w_max),
    )
    settings = optimization(guide, guide.updates, guide.learning_rate)
    trained, seconds = train(job, student, objective, images, settings)
    info = student_info(teacher.info, student, guide, provenance)
    work = guide_work(guide, conditional=teacher.network.config.num_classes > 0)
    return trained, info, work.cost(seconds)
