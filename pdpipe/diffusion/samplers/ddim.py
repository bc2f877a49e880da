"""DDIM: deterministic or with noise, and backwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pdpipe.diffusion.parameterization import clipped, eps_from_v, scale
from pdpipe.diffusion.samplers.base import (
    Counted,
    Denoiser,
    Noise,
    Sampler,
    State,
    check_grid,
    draw,
)
from pdpipe.diffusion.schedule import Schedule
from pdpipe.diffusion.steps import clipped_ddim_step, ddim_step, posterior_std
from pdpipe.errors import SamplerError


@dataclass(frozen=True, kw_only=True)
class DDIM(Sampler):
    """DDIM with eta in [0, 1]: 0 is deterministic, 1 is ancestral with gamma = 0.

    N evaluations on N intervals: the last one's x_hat is x, since a further step to t = 0 would
    change it by about sigma_0 (4.5e-5 at log-SNR 20).

    Raises:
        SamplerError: eta is out of range.

    Source: DDIM, equation 12; PD, equation 8.

    Examples:
        >>> from pdpipe.diffusion import DDIM, CosineSchedule, uniform_grid
        >>> sampler = DDIM(CosineSchedule(), clip=True)
        >>> x = sampler.sample(lambda z_t, t: z_t, torch.randn(2, 1, 8, 8), uniform_grid(8))
        >>> x.shape, bool(x.abs().max() <= 1)
        (torch.Size([2, 1, 8, 8]), True)
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.eta <= 1.0:
            raise SamplerError(f"eta is {self.eta:g}: give a number from 0 to 1")

    def _states(
        self, denoise: Counted, z: Tensor, grid: Tensor, generator: Noise | None
    ) -> Iterator[State]:
        for i in range(len(grid) - 2):
            t, s = grid[i], grid[i + 1]
            z = self._step(denoise(z, t), z, t, s, generator)
            yield State(z, float(s), denoise.evaluations)
        yield self._end(denoise, z, grid)

    def _step(
        self, v_hat: Tensor, z: Tensor, t: Tensor, s: Tensor, generator: Noise | None
    ) -> Tensor:
        phi_t, phi_s = self.schedule.angle(t), self.schedule.angle(s)
        z_s = (clipped_ddim_step if self.clip else ddim_step)(v_hat, z, phi_t, phi_s)
        if self.eta == 0.0:
            return z_s
        alpha_t, sigma_t = phi_t.cos(), phi_t.sin()
        if self.clip:
            _, eps_hat = clipped(v_hat, z, alpha_t, sigma_t)
        else:
            eps_hat = eps_from_v(v_hat, z, alpha_t, sigma_t)
        std = self.eta * posterior_std(phi_t, phi_s, gamma=0.0)
        # eps keeps sigma_s sqrt(1 - eta² share), share = 1 - ratio: the root's argument is >= 0.
        ratio = (phi_s.tan() / phi_t.tan()) ** 2
        less = phi_s.sin() * (1.0 - (1.0 - self.eta**2 + self.eta**2 * ratio).sqrt())
        return z_s - scale(less, z) * eps_hat + scale(std, z) * draw(z, generator)


@torch.no_grad()
def encode(denoiser: Denoiser, x: Tensor, grid: Tensor, schedule: Schedule) -> Iterator[State]:
    """DDIM backwards: the states from x, taken as z_0, to z_1, its noise.

    Args:
        denoiser: (z_t, t) -> v_hat.
        x: images, (B, C, H, W).
        grid: the times of the decoding, from 1 down to 0; they are taken from the end.
        schedule: the noise schedule.

    Raises:
        SamplerError: the grid is no such grid.

    Source: DDIM, section 5.4; GD, Algorithm 4 (its teacher).

    Examples:
        >>> from pdpipe.diffusion import DDIM, CosineSchedule, encode, uniform_grid
        >>> schedule, grid = CosineSchedule(), uniform_grid(64)
        >>> x, denoise = torch.rand(2, 1, 8, 8, dtype=torch.float64), lambda z_t, t: 0.01 * z_t
        >>> for state in encode(denoise, x, grid, schedule):
        ...     z_1 = state.z
        >>> torch.allclose(DDIM(schedule).sample(denoise, z_1, grid), x, atol=0.1)
        True
    """
    check_grid(grid)
    denoise, z = Counted(denoiser), x
    for i in range(len(grid) - 1, 0, -1):
        s, t = grid[i], grid[i - 1]
        z = ddim_step(denoise(z, s), z, schedule.angle(s), schedule.angle(t))
        yield State(z, float(t), denoise.evaluations)
