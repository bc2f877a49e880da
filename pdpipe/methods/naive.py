"""Algorithm 5 of GD: a conditional and an unconditional student instead of one guided one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdpipe.diffusion import (
    Denoiser,
    decoding_times,
    diffuse,
    target_along,
    v_loss_weight,
    weighted_loss,
)
from pdpipe.methods.method import Method, Task, wanted
from pdpipe.methods.sizes import fitted, with_w
from pdpipe.models import DiffusionModel
from pdpipe.networks import Network
from pdpipe.plan import Batch, Objective


def naive_objective(
    teacher: DiffusionModel, loss_weight: str, w_range: tuple[float, float], num_steps: int
) -> Objective:
    """(student, batch) -> the loss of both students, each an input of the guided mixture.

    The two are one network, called with the label and with the null label, as its teacher is; both
    take w. The teacher's first step is guided, x_hat_w; the second is made once with x_hat_c and
    once with x_hat_u, which gives the target of each. `(1 + w) x_target_c - w x_target_u` is the
    target of Algorithm 2.

    Args:
        teacher: the guided teacher, or the students of the round before.
        loss_weight: a key of `LOSS_WEIGHTS`.
        w_range: w is uniform between them.
        num_steps: the students' N; one of their steps replaces two of the teacher's.

    Source: GD, Algorithm 5.
    """
    schedule, predictor = teacher.schedule, teacher.predictor

    def objective(student: Network, batch: Batch) -> Tensor:
        i = batch.intervals(num_steps)  # i ~ Cat[1, …, N]: (B, 1, 1, 1)
        times = decoding_times(i, num_steps)
        t, eps = times[0], batch.noise()
        given = batch.given.at(batch.weights(*w_range))
        alpha, sigma = schedule.alpha_sigma(t)
        z_t = diffuse(batch.x, eps, alpha, sigma)
        # From here on a batch of 2B: the first half conditional, the second unconditional.
        both, z_t = given.then(student.null(given)), twice(z_t)
        with torch.no_grad():
            steps = [of_half(predictor.guided(given)), predictor.denoiser(both)]
            v_goal = target_along(steps, z_t, [twice(time) for time in times], schedule)
        v_hat = predictor.of(student).denoiser(both)(z_t, twice(t))
        return weighted_loss(v_hat, v_goal, v_loss_weight(loss_weight, twice(alpha), twice(sigma)))

    return objective


def twice(first: Tensor) -> Tensor:
    """A batch of 2B whose halves are equal."""
    return torch.cat([first, first])


def of_half(denoiser: Denoiser) -> Denoiser:
    """The denoiser of a batch of 2B whose halves are equal: evaluated on one of them."""

    def denoise(z_t: Tensor, t: Tensor) -> Tensor:
        return twice(denoiser(z_t.chunk(2)[0], t.chunk(2)[0]))

    return denoise


class Naive(Method):
    """Two students mixed by w at two evaluations a step: the papers report that it fails."""

    def complaint(self, teacher: DiffusionModel) -> str | None:
        """It takes two predictions to mix."""
        if teacher.info.guidance == "mixture" and teacher.network.conditional:
            return super().complaint(teacher)
        return super().complaint(teacher) or (
            "has no two predictions to mix, which algorithm naive distils one by one: take a "
            "class-conditional teacher, or a naive student"
        )

    def wrong_ratio(self, teacher_steps: int, steps: int) -> str | None:
        """It halves."""
        return None if teacher_steps == 2 * steps else wanted("naive", steps, 2 * steps)

    def first_network(self, teacher: DiffusionModel, task: Task) -> Network:
        """The teacher's; with w, which the first teacher does not take."""
        network: Network = teacher.network
        if not network.takes_w:
            network = with_w(network, task.guide.w_frequencies, task.guide.w_max)
        return fitted(network, {"dropout": 0.0, **task.network})

    def objective(self, teacher: DiffusionModel, student: Network, task: Task) -> Objective:
        """Both are trained at once."""
        w_range = (teacher.info.w_min, student.config.w_max)
        return naive_objective(teacher, task.halve.loss_weight, w_range, task.steps)

    def forwards(self, ratio: int, *, conditional: bool) -> int:
        """The students are two, and so are the evaluations of each of their teacher's steps."""
        return 2 * (1 + ratio)

    def becomes(self, task: Task) -> dict[str, Any]:
        """Its guidance is a mixture, as its teacher's."""
        return {"guidance": "mixture"}


METHOD = Naive()
