"""Sampling loops over an integer time grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pdpipe.diffusion.parameterization import x_from_v
from pdpipe.diffusion.schedule import Schedule
from pdpipe.diffusion.steps import clipped_ddim_step, ddim_step

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(z_t, t) -> v_hat: z_t (B, C, H, W); t float64, broadcasting, () or (B, 1, 1, 1)."""


@torch.no_grad()
def ddim_states(
    denoiser: Denoiser, z_1: Tensor, num_steps: int, schedule: Schedule, *, clip: bool
) -> Iterator[Tensor]:
    """The states z_s of deterministic DDIM at s = (N - 1)/N … 1/N, and at last x_hat at t = 1/N.

    The denoiser is called exactly N times, at t = N/N … 1/N: the last state is its x_hat, since a
    further step to t = 0 would change it by less than 2e-4.

    Args:
        denoiser: (z_t, t) -> v_hat.
        z_1: standard normal noise, (B, C, H, W).
        num_steps: N >= 1.
        schedule: the noise schedule.
        clip: clip x_hat to [-1, 1] at every step and recompute eps_hat from it.

    Source: DDIM, equation 12 with eta = 0; PD, equation 8.
    """
    step = clipped_ddim_step if clip else ddim_step
    z = z_1
    for i in range(num_steps, 0, -1):
        t, s = (torch.tensor(k / num_steps, dtype=torch.float64) for k in (i, i - 1))
        v_hat = denoiser(z, t)
        if i > 1:
            z = step(v_hat, z, schedule.angle(t), schedule.angle(s))
            yield z
        else:
            x_hat = x_from_v(v_hat, z, *schedule.alpha_sigma(t))
            yield x_hat.clamp(-1.0, 1.0) if clip else x_hat


def sample_ddim(
    denoiser: Denoiser, z_1: Tensor, num_steps: int, schedule: Schedule, *, clip: bool
) -> Tensor:
    """x, the last of `ddim_states`: N evaluations from noise z_1 to images, (B, C, H, W)."""
    *_, x = ddim_states(denoiser, z_1, num_steps, schedule, clip=clip)
    return x
