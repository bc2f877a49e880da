"""Samplers that add noise: DDPM's ancestral one, and the N-step one of the guided paper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from pdpipe.diffusion.parameterization import scale
from pdpipe.diffusion.samplers.base import Counted, Noise, Sampler, State, draw
from pdpipe.diffusion.steps import (
    add_noise,
    clipped_ddim_step,
    ddim_step,
    posterior_mean,
    posterior_std,
)
from pdpipe.errors import SamplerError


@dataclass(frozen=True, kw_only=True)
class Ancestral(Sampler):
    """DDPM's ancestral sampling; gamma in [0, 1] interpolates the log-variance.

    0 is the lower bound of the variance, 1 the upper. The *tuned stochastic sampler* of PD, figure
    6, is the best of 11 gammas for each N. No noise is added in the last step, whose x_hat is x.
    On `discrete_grid` this is DDPM itself, respaced.

    Raises:
        SamplerError: gamma is out of range.

    Source: DDPM, Algorithm 2; PD, section 2.

    Examples:
        >>> from pdpipe.diffusion import Ancestral, CosineSchedule, uniform_grid
        >>> sampler = Ancestral(CosineSchedule(), clip=True, gamma=0.3)
        >>> noise, z_1 = torch.Generator().manual_seed(0), torch.randn(2, 1, 8, 8)
        >>> sampler.sample(lambda z_t, t: z_t, z_1, uniform_grid(8), noise).shape
        torch.Size([2, 1, 8, 8])
    """

    gamma: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.gamma <= 1.0:
            raise SamplerError(f"gamma is {self.gamma:g}: give a number from 0 to 1")

    def _states(
        self, denoise: Counted, z: Tensor, grid: Tensor, generator: Noise | None
    ) -> Iterator[State]:
        for i in range(len(grid) - 2):
            t, s = grid[i], grid[i + 1]
            phi_t, phi_s = self.schedule.angle(t), self.schedule.angle(s)
            mean = posterior_mean(self.x_hat(denoise(z, t), z, t), z, phi_t, phi_s)
            std = posterior_std(phi_t, phi_s, self.gamma)
            z = mean + scale(std, z) * draw(z, generator)
            yield State(z, float(s), denoise.evaluations)
        yield self._end(denoise, z, grid)


@dataclass(frozen=True)
class StochasticDDIM(Sampler):
    """Two steps forward, one step of noise back; for N evaluations on N intervals.

    For i = N … 2: a DDIM step of twice the length, from t = i/N to k = (i - 2)/N, then noise up to
    s = (i - 1)/N. At i = 1 the x_hat is x; N = 1 is one deterministic step.

    Source: GD, equations 4 and 5.

    Examples:
        >>> from pdpipe.diffusion import CosineSchedule, StochasticDDIM, uniform_grid
        >>> sampler, z_1 = StochasticDDIM(CosineSchedule(), clip=True), torch.randn(2, 1, 8, 8)
        >>> sampler.final(lambda z_t, t: z_t, z_1, uniform_grid(4)).evaluations
        4
    """

    def _states(
        self, denoise: Counted, z: Tensor, grid: Tensor, generator: Noise | None
    ) -> Iterator[State]:
        step = clipped_ddim_step if self.clip else ddim_step
        for i in range(len(grid) - 2):
            t, s, k = grid[i], grid[i + 1], grid[i + 2]
            phi_t, phi_s, phi_k = (self.schedule.angle(time) for time in (t, s, k))
            z_k = step(denoise(z, t), z, phi_t, phi_k)
            z = add_noise(z_k, draw(z, generator), phi_k, phi_s)
            yield State(z, float(s), denoise.evaluations)
        yield self._end(denoise, z, grid)
