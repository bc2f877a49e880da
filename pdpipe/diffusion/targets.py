"""Regression targets of the distillation: what one student step must predict (PD, Algorithm 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from pdpipe.diffusion.parameterization import scale
from pdpipe.diffusion.samplers.base import Denoiser
from pdpipe.diffusion.schedule import Schedule
from pdpipe.diffusion.steps import ddim_step


@torch.no_grad()
def multi_step_target(
    teacher: Denoiser, z_t: Tensor, i: Tensor, num_steps: int, schedule: Schedule, ratio: int = 2
) -> Tensor:
    """v_target: one student DDIM step that predicts it lands where `ratio` teacher steps land.

    The student's step i of `num_steps` goes from t = i/N to t'' = (i - 1)/N; the teacher goes the
    same way through the times (ratio i - j) / (ratio N), j = 0 … ratio. With z'' the teacher's end,
    `v_target = (cos(D) z_t - z'') / sin(D)`, D = phi_t - phi_t''. It is accumulated here in the
    form without cancellation: of `z'' = c z_t - sum_j b_j v_j` only the differences enter,

        v_target = (sum_j b_j v_j + r z_t) / sin(D),    r = cos(D) - c,
        c = prod_j cos(d_j),    b_j = sin(d_j) prod_{l > j} cos(d_l),

    with all coefficients in float64. r is small and is accumulated too, by the addition theorem:
    `r <- cos(d_j) r - sin(D_j) sin(d_j)`, D_j the angle turned before step j. `x_target =
    alpha_t z_t - sigma_t v_target` is the papers'
    `(z'' - (sigma''/sigma_t) z_t) / (alpha'' - (sigma''/sigma_t) alpha_t)`, at every i.

    Args:
        teacher: the frozen denoiser, (z_t, t) -> v_hat.
        z_t: noisy images at t = i / num_steps, (B, C, H, W).
        i: the student's grid index, integers in 1 … num_steps, (B, 1, 1, 1).
        num_steps: N, the student's number of steps.
        schedule: the noise schedule.
        ratio: teacher steps for each student step; 2 halves.

    Returns:
        v_target, (B, C, H, W), in the dtype of z_t.

    Source: PD, Algorithm 2, and GD, Algorithm 2 (ratio 2); PD, figure 12 (ratio 4).
    """
    i = i.to(torch.float64)  # the quotients of integer tensors would be float32
    phi = [schedule.angle((ratio * i - j) / (ratio * num_steps)) for j in range(ratio + 1)]
    whole = phi[0] - phi[ratio]
    z, weighted, rest = z_t, torch.zeros_like(z_t), torch.zeros_like(whole)
    for j in range(ratio):
        v_hat = teacher(z, (ratio * i - j) / (ratio * num_steps))
        d = phi[j] - phi[j + 1]
        z = ddim_step(v_hat, z, phi[j], phi[j + 1])
        weighted = scale(d.cos(), z_t) * weighted + scale(d.sin() / whole.sin(), z_t) * v_hat
        rest = d.cos() * rest - (phi[0] - phi[j]).sin() * d.sin()
    return weighted + scale(rest / whole.sin(), z_t) * z_t
