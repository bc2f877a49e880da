"""Algorithm 5 of GD: a conditional and an unconditional student instead of one guided one."""

from __future__ import annotations

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
from pdpipe.models import DiffusionModel, guided_denoiser, network_denoiser, with_null
from pdpipe.networks import Network
from pdpipe.training.draws import draw_i, draw_w
from pdpipe.training.job import Batch, Objective


def naive_objective(
    teacher: DiffusionModel,
    loss_weight: str,
    w_range: tuple[float, float],
    num_steps: int,
    ratio: int = 2,
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
        num_steps: the students' N.
        ratio: 2.

    Source: GD, Algorithm 5.
    """
    assert ratio == 2
    schedule, kind = teacher.schedule, teacher.info.parameterization

    def objective(student: Network, batch: Batch) -> Tensor:
        i = draw_i(batch, num_steps)
        times = decoding_times(i, num_steps)
        t, eps, w = times[0], batch.noise(), draw_w(batch, *w_range)
        alpha, sigma = schedule.alpha_sigma(t)
        z_t = diffuse(batch.x, eps, alpha, sigma)
        # From here on a batch of 2B: the first half conditional, the second unconditional.
        labels, weights, z_t = with_null(student, batch.labels), torch.cat([w, w]), twice(z_t)
        with torch.no_grad():
            guided = guided_denoiser(teacher.network, schedule, kind, batch.labels, w)
            plain = network_denoiser(teacher.network, schedule, kind, labels, weights)
            passed = [twice(time) for time in times]
            v_goal = target_along([of_half(guided), plain], z_t, passed, schedule)
        v_hat = network_denoiser(student, schedule, kind, labels, weights)(z_t, twice(t))
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
