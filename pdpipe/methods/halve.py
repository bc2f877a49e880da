"""Stage `halve`, the second of the distillation: one student step replaces two teacher steps."""

from __future__ import annotations

import torch
from torch import Tensor

from pdpipe.diffusion import (
    Schedule,
    Times,
    decoding_times,
    diffuse,
    multi_step_target,
    v_loss_weight,
    weighted_loss,
)
from pdpipe.methods.method import Method, Task
from pdpipe.models import DenoiserOf, DiffusionModel, Predictor
from pdpipe.networks import Network
from pdpipe.plan import Batch, Objective


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
        teacher: the denoiser of a given condition.
        schedule, parameterization: the student's.
        loss_weight: a key of `LOSS_WEIGHTS`.
        w_range: w is uniform between them.
        num_steps: the student's N.
        ratio: teacher steps per student step.
        times: those that the teacher passes; `decoding_times` halves.

    Source: PD, Algorithm 2, and GD, Algorithm 2; with other times GD, Algorithms 3 and 4.
    """

    def objective(student: Network, batch: Batch) -> Tensor:
        # Right of each line: Algorithm 2 of PD, whose x ~ D is batch.x, (B, C, H, W).
        i = batch.intervals(num_steps)  # i ~ Cat[1, …, N]: (B, 1, 1, 1)
        t, eps = times(i, num_steps, ratio)[0], batch.noise()  # t = i/N; eps ~ N(0, I)
        given = batch.given.at(batch.weights(*w_range))  # GD: w ~ U[w_min, w_max], (B,)
        alpha, sigma = schedule.alpha_sigma(t)  # (B, 1, 1, 1)
        z_t = diffuse(batch.x, eps, alpha, sigma)  # z_t = alpha_t x + sigma_t eps
        with torch.no_grad():
            # t' = t - 0.5/N, t'' = t - 1/N; z_t' and z_t'': two DDIM steps of the teacher;
            # x~ = (z_t'' - (sigma_t''/sigma_t) z_t) / (alpha_t'' - (sigma_t''/sigma_t) alpha_t)
            v_goal = multi_step_target(teacher(given), z_t, i, num_steps, schedule, ratio, times)
        v_hat = Predictor(student, schedule, parameterization).denoiser(given)(z_t, t)
        # L = w(lambda_t) |x~ - x_hat(z_t)|², by the error of v: v = (alpha_t z_t - x) / sigma_t
        return weighted_loss(v_hat, v_goal, v_loss_weight(loss_weight, alpha, sigma))

    return objective


class Halve(Method):
    """PD, Algorithm 2, and GD, Algorithm 2; a ratio above 2 is PD, figure 12."""

    times = staticmethod(decoding_times)

    def complaint(self, teacher: DiffusionModel) -> str | None:
        """Two mixed students are refused: only one of their predictions would be distilled."""
        if teacher.info.guidance == "mixture" and teacher.network.takes_w:
            return (
                "is two students mixed by w, of which this algorithm would distil one alone: use "
                "algorithm naive, or another model"
            )
        return super().complaint(teacher)

    def objective(self, teacher: DiffusionModel, student: Network, task: Task) -> Objective:
        """One evaluation a step, unguided: a teacher that takes w has it as an input."""
        return halving_objective(
            teacher.predictor.denoiser,
            teacher.schedule,
            teacher.info.parameterization,
            task.halve.loss_weight,
            (teacher.info.w_min, student.config.w_max),
            task.steps,
            task.ratio,
            self.times,
        )


METHOD = Halve()
