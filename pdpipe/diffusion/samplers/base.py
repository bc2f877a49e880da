"""What all samplers share: the grid of times, the states they pass, the noise, and the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdpipe.diffusion.parameterization import x_from_v
from pdpipe.diffusion.schedule import Schedule, ddpm_alphas_squared
from pdpipe.errors import SamplerError

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(z_t, t) -> v_hat: z_t (B, C, H, W); t float64, broadcasting, () or (B, 1, 1, 1).

One that evaluates a network more than once a call says so in `evaluations_per_call`.
"""

Noise = torch.Generator | Sequence[torch.Generator]
"""One generator for the whole batch, or one for each image, whatever batch it is in."""


@dataclass(frozen=True)
class State:
    """Where a sampler is: z at time t, after so many network evaluations of each image.

    The last state's z is x, and its t the end of the grid. Most samplers take the x_hat of their
    last evaluation, at the last time but one; those of the flow integrate to the end.

    Examples:
        >>> from pdpipe.diffusion import DDIM, CosineSchedule, uniform_grid
        >>> sampler, z_1 = DDIM(CosineSchedule()), torch.randn(2, 1, 8, 8)
        >>> for state in sampler.states(lambda z_t, t: z_t, z_1, uniform_grid(2)):
        ...     print(state.t, state.evaluations)
        0.5 1
        0.0 2
    """

    z: Tensor
    t: float
    evaluations: int


def uniform_grid(num_steps: int) -> Tensor:
    """The times N/N, (N - 1)/N … 0/N of num_steps steps, N: (N + 1,), float64.

    Raises:
        SamplerError: N is not a whole number, 1 or more.

    Examples:
        >>> from pdpipe.diffusion import uniform_grid
        >>> uniform_grid(4)
        tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000], dtype=torch.float64)
    """
    if not (num_steps >= 1 and float(num_steps).is_integer()):
        raise SamplerError(f"the number of steps is {num_steps}: use a whole number, 1 or more")
    return torch.arange(num_steps, -1, -1, dtype=torch.float64) / num_steps


def discrete_grid(
    schedule: Schedule,
    num_steps: int,
    train_steps: int = 1000,
    beta_min: float = 1e-4,
    beta_max: float = 0.02,
) -> Tensor:
    """The times of a `train_steps`-step DDPM respaced to N of its steps, then 0: (N + 1,).

    The kept steps k are evenly spaced and end with the last, T; their times are those at which
    the schedule has the log-SNR of DDPM's alpha_k (linear betas). Ancestral steps along this grid
    are DDPM's with the betas computed anew on the subsequence, `1 - alpha_k² / alpha_(k-1)²`,
    since the posterior depends on the kept alphas alone (Nichol & Dhariwal 2021, section 4).

    Args:
        schedule: with a log-SNR range that holds DDPM's, -10.12 to 9.21.
        num_steps: N, from 1 to train_steps.
        train_steps, beta_min, beta_max: T and the ends of its betas; those of 1000 steps fit no
            other T.

    Raises:
        SamplerError: more steps than there are, or a schedule that ends before they do.

    Examples:
        >>> from pdpipe.diffusion import CosineSchedule, discrete_grid
        >>> grid = discrete_grid(CosineSchedule(), 50)
        >>> grid.shape, float(grid[-1])
        (torch.Size([51]), 0.0)
    """
    if not 1 <= num_steps <= train_steps:
        raise SamplerError(f"{num_steps} of {train_steps} discrete steps: take 1 to {train_steps}")
    kept = (torch.arange(num_steps, 0, -1) * train_steps) // num_steps
    alpha_squared = ddpm_alphas_squared(train_steps, beta_min, beta_max)[kept - 1]
    log_snr = alpha_squared.log() - torch.log1p(-alpha_squared)
    high, low = schedule.log_snr(torch.tensor([0.0, 1.0])).tolist()
    if log_snr.min() < low or log_snr.max() > high:
        raise SamplerError(
            f"the schedule's log-SNR goes from {high:.2f} to {low:.2f}, that of the discrete steps "
            f"from {log_snr.max():.2f} to {log_snr.min():.2f}: widen log_snr_min and log_snr_max"
        )
    return torch.cat([schedule.time(log_snr), torch.zeros(1, dtype=torch.float64)])


class Counted:
    """A denoiser that counts the network evaluations of each image as they are made."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.evaluations = 0
        self._denoiser = denoiser
        self._each: int = getattr(denoiser, "evaluations_per_call", 1)

    def __call__(self, z_t: Tensor, t: Tensor) -> Tensor:
        """v_hat of the denoiser, counted."""
        self.evaluations += self._each
        return self._denoiser(z_t, t)


@dataclass(frozen=True)
class Sampler(ABC):
    """A way from z_1 to x along a grid of times; its settings are fields, each with a default.

    Examples:
        >>> from pdpipe.diffusion import SAMPLERS, CosineSchedule, uniform_grid
        >>> z_1 = torch.randn(2, 1, 8, 8)
        >>> for name in ("ddim", "heun", "rk4"):
        ...     sampler = SAMPLERS[name](CosineSchedule())
        ...     print(name, sampler.final(lambda z_t, t: z_t, z_1, uniform_grid(4)).evaluations)
        ddim 4
        heun 8
        rk4 16
    """

    schedule: Schedule
    clip: bool = field(default=False, kw_only=True)  # x_hat to [-1, 1], eps_hat recomputed

    @torch.no_grad()
    def states(
        self, denoiser: Denoiser, z_1: Tensor, grid: Tensor, generator: Noise | None = None
    ) -> Iterator[State]:
        """The state after each step, the last one x.

        Args:
            denoiser: (z_t, t) -> v_hat.
            z_1: standard normal noise, (B, C, H, W).
            grid: N + 1 decreasing times in [0, 1], from that of z_1 to the end, 0 as a rule;
                float64, on the CPU.
            generator: of the noise that stochastic samplers add.

        Raises:
            SamplerError: the grid is no such grid, or the generators are not one for each image.
        """
        check_grid(grid)
        if isinstance(generator, Sequence) and len(generator) != len(z_1):
            raise SamplerError(
                f"{len(generator)} generators for {len(z_1)} images: give one for each, or one for "
                "all"
            )
        yield from self._states(Counted(denoiser), z_1, grid, generator)

    @abstractmethod
    def _states(
        self, denoise: Counted, z: Tensor, grid: Tensor, generator: Noise | None
    ) -> Iterator[State]:
        """The loop of `states`."""

    def _end(self, denoise: Counted, z: Tensor, grid: Tensor) -> State:
        """The last state of most samplers: x_hat of the evaluation at the last time but one."""
        t = grid[-2]
        x = self.x_hat(denoise(z, t), z, t)
        return State(x, float(grid[-1]), denoise.evaluations)

    @torch.no_grad()
    def sample(
        self, denoiser: Denoiser, z_1: Tensor, grid: Tensor, generator: Noise | None = None
    ) -> Tensor:
        """x, the z of the last state: (B, C, H, W)."""
        return self.final(denoiser, z_1, grid, generator).z

    @torch.no_grad()
    def final(
        self, denoiser: Denoiser, z_1: Tensor, grid: Tensor, generator: Noise | None = None
    ) -> State:
        """The last state: x, and what it took."""
        for state in self.states(denoiser, z_1, grid, generator):
            last = state  # the states before it are let go
        return last

    def x_hat(self, v_hat: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        """The prediction of x at time t, clipped if the sampler clips."""
        x = x_from_v(v_hat, z_t, *self.schedule.alpha_sigma(t))
        return x.clamp(-1.0, 1.0) if self.clip else x


def check_grid(grid: Tensor) -> None:
    """Raise SamplerError unless `grid` is float64 times that decrease within [0, 1]."""
    if grid.dim() != 1 or len(grid) < 2 or grid.dtype != torch.float64:
        raise SamplerError("a grid is a float64 tensor of two times or more: see uniform_grid")
    if not (grid.diff() < 0).all() or grid[0] > 1 or grid[-1] < 0:
        raise SamplerError("the times of a grid decrease, from at most 1 to at least 0")


def draw(like: Tensor, generator: Noise | None) -> Tensor:
    """Standard normal noise shaped like `like`, drawn where its generators are."""
    if generator is None or isinstance(generator, torch.Generator):
        device = like.device if generator is None else generator.device
        noise = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=device)
    else:
        rows = [
            torch.randn(like.shape[1:], generator=one, dtype=like.dtype, device=one.device)
            for one in generator
        ]
        noise = torch.stack(rows)
    return noise.to(like.device)
