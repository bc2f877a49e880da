"""TRACT: a student that jumps from anywhere in its interval to the interval's end.

Source: Berthelot et al. 2023, "TRACT: Denoising Diffusion Models with Transitive Closure
Time-Distillation". Many teacher steps become one in a single training: the first of them is the
teacher's own, the rest are one jump of the student itself, as it is on average.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from pdpipe.diffusion import diffuse, target_along, v_loss_weight, weighted_loss
from pdpipe.methods.halve import Halve
from pdpipe.methods.method import Task
from pdpipe.models import DiffusionModel
from pdpipe.networks import Network
from pdpipe.plan import Batch, Objective

SELF_TEACHER_DECAY = 0.5  # per update, of the average that is the second teacher


class TractObjective:
    """(student, batch) -> loss against a teacher step and the student's own jump from there.

    A student of N steps has the intervals [(i - 1)/N, i/N], in each of which its teacher takes
    `ratio` steps. The student begins at any of these, not only at the first as a halving does.

    It owns the average of the student that is its second teacher.
    """

    def __init__(self, teacher: DiffusionModel, student: Network, task: Task) -> None:
        self.teacher, self.task = teacher, task
        self.w_range = (teacher.info.w_min, student.config.w_max)
        self.average = copy.deepcopy(student).to(teacher.device).eval().requires_grad_(False)

    def __call__(self, student: Network, batch: Batch) -> Tensor:
        """One evaluation of each of the three networks."""
        schedule, n, ratio = self.teacher.schedule, self.task.steps, self.task.ratio
        i = batch.intervals(n)  # (B, 1, 1, 1), in 1 … N
        j = batch.intervals(ratio) - 1  # teacher steps from the interval's beginning, 0 … ratio - 1
        t = (ratio * i - j) / (ratio * n)  # each time (B, 1, 1, 1)
        after_one, end = (ratio * i - j - 1) / (ratio * n), (ratio * i - ratio) / (ratio * n)
        eps, given = batch.noise(), batch.given.at(batch.weights(*self.w_range))
        alpha, sigma = schedule.alpha_sigma(t)
        z_t = diffuse(batch.x, eps, alpha, sigma)
        first = self.teacher.predictor.denoiser(given)
        # At the last j, the second step has length 0.
        rest = self.teacher.predictor.of(self.average).denoiser(given)
        v_goal = target_along([first, rest], z_t, [t, after_one, end], schedule)
        v_hat = self.teacher.predictor.of(student).denoiser(given)(z_t, t)
        weight = v_loss_weight(self.task.halve.loss_weight, alpha, sigma)
        return weighted_loss(v_hat, v_goal, weight)

    @torch.no_grad()
    def after_update(self, student: Network) -> None:
        """average <- decay average + (1 - decay) student."""
        pairs = zip(self.average.parameters(), student.parameters(), strict=True)
        for average, new in pairs:
            average.lerp_(new, 1 - SELF_TEACHER_DECAY)

    def state_dict(self) -> dict[str, Any]:
        """The average."""
        return self.average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with another average."""
        self.average.load_state_dict(state)


class Tract(Halve):
    """A halving of any ratio but for its objective: the same teachers, the same student."""

    def objective(self, teacher: DiffusionModel, student: Network, task: Task) -> Objective:
        """With the average of the student, which begins as the student does."""
        return TractObjective(teacher, student, task)

    def forwards(self, ratio: int, *, conditional: bool) -> int:
        """The student, its teacher and its average, whatever the ratio."""
        return 3


METHOD = Tract()
