"""Data distributions whose best denoiser, and whose probability flow, are known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from pdpipe.diffusion import CosineSchedule, Schedule


@dataclass(frozen=True)
class Gaussian:
    """Pixels drawn from N(mean, std²); std = 0 is the point mass."""

    schedule: Schedule
    mean: float = 0.3
    std: float = 0.5

    def __call__(self, z_t: Tensor, t: Tensor) -> Tensor:
        """v_hat = alpha E[eps | z_t] - sigma E[x | z_t], by the rule for jointly normal variables.

        With S = alpha² std² + sigma², the variance of z_t, and r = z_t - alpha mean:
        E[x | z_t] = mean + alpha std² r / S and E[eps | z_t] = sigma r / S.
        """
        alpha, sigma = (c.to(z_t.dtype) for c in self.schedule.alpha_sigma(t))
        centred = (z_t - alpha * self.mean) / (alpha**2 * self.std**2 + sigma**2)
        return alpha * sigma * (1 - self.std**2) * centred - sigma * self.mean

    def flow(self, z_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """z_s on the exact probability flow: quantiles go to quantiles."""
        (mean_t, std_t), (mean_s, std_s) = (self.marginal(t), self.marginal(s))
        return mean_s + std_s * (z_t - mean_t) / std_t

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of z_t."""
        alpha, sigma = self.schedule.alpha_sigma(t)
        return alpha * self.mean, (alpha**2 * self.std**2 + sigma**2).sqrt()


@pytest.fixture
def schedule() -> CosineSchedule:
    return CosineSchedule()


@pytest.fixture
def gaussian(schedule: CosineSchedule) -> Gaussian:
    return Gaussian(schedule)


@pytest.fixture
def point(schedule: CosineSchedule) -> Gaussian:
    return Gaussian(schedule, mean=0.7, std=0.0)


@pytest.fixture
def z_1() -> Tensor:
    """Standard normal noise (8, 2, 3, 3), float64."""
    return torch.randn(8, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
