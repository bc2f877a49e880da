"""Stage `guide`, the first of the distillation: one student for every guidance weight w."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdpipe.diffusion import Schedule, diffuse, v_loss_weight, weighted_loss
from pdpipe.methods.method import Method, Task
from pdpipe.methods.sizes import with_w
from pdpipe.models import DenoiserOf, DiffusionModel, Predictor
from pdpipe.networks import Network
from pdpipe.plan import Batch, Objective, Optimization


def guide_objective(
    teacher: DenoiserOf,
    schedule: Schedule,
    parameterization: str,
    loss_weight: str,
    w_range: tuple[float, float],
) -> Objective:
    """(student, batch) -> loss against the guided teacher, at a random t and a random w.

    Args:
        teacher: the guided denoiser of a given condition.
        schedule, parameterization: the student's.
        loss_weight: a key of `LOSS_WEIGHTS`.
        w_range: w is uniform between them.

    Source: GD, Algorithm 1.
    """

    def objective(student: Network, batch: Batch) -> Tensor:
        # Right of each line: Algorithm 1 of GD, whose x ~ D is batch.x, (B, C, H, W).
        t, eps = batch.uniform(), batch.noise()  # t ~ U[0, 1], (B, 1, 1, 1); eps ~ N(0, I)
        given = batch.given.at(batch.weights(*w_range))  # w ~ U[w_min, w_max], (B,)
        alpha, sigma = schedule.alpha_sigma(t)  # (B, 1, 1, 1)
        z_t = diffuse(batch.x, eps, alpha, sigma)  # z_t = alpha_t x + sigma_t eps
        with torch.no_grad():  # x_hat_w = (1 + w) x_hat_c(z_t) - w x_hat_u(z_t), here of v
            v_w = teacher(given)(z_t, t)
        v_hat = Predictor(student, schedule, parameterization).denoiser(given)(z_t, t)
        # L = omega(lambda_t) |x_hat_w - x_hat(z_t, w)|², by the error of v
        return weighted_loss(v_hat, v_w, v_loss_weight(loss_weight, alpha, sigma))

    return objective


class Guide(Method):
    """GD, Algorithm 1: the teacher's network with an embedding of w, which starts as nothing."""

    small_targets = False
    random_start = "guide network"

    def complaint(self, teacher: DiffusionModel) -> str | None:
        """It begins at a teacher."""
        if super().complaint(teacher) is None and (
            teacher.network.takes_w or teacher.info.guidance != "mixture"
        ):
            return "is a student already, and stage one begins at a teacher: take that"
        return super().complaint(teacher)

    def teacher_steps(self, teacher: DiffusionModel, task: Task) -> int:
        """It matches its teacher at every time: as many as the ladder starts from."""
        return task.steps

    def first_network(self, teacher: DiffusionModel, task: Task) -> Network:
        """The teacher's, with w."""
        return with_w(teacher.network, task.guide.w_frequencies, task.guide.w_max)

    def objective(self, teacher: DiffusionModel, student: Network, task: Task) -> Objective:
        """Against the mixture of the teacher's two predictions."""
        return guide_objective(
            teacher.predictor.as_teacher,
            teacher.schedule,
            teacher.info.parameterization,
            task.guide.loss_weight,
            (task.guide.w_min, task.guide.w_max),
        )

    def forwards(self, ratio: int, *, conditional: bool) -> int:
        """The student, and its teacher with a label and, if `conditional`, without."""
        return 3 if conditional else 2

    def optimization(self, task: Task) -> Optimization:
        """That of its own section."""
        return Optimization.of(task.guide, task.updates, task.learning_rate)

    def becomes(self, task: Task) -> dict[str, Any]:
        """It can be used at the weights that it saw."""
        return {"w_min": task.guide.w_min}


METHOD = Guide()
