"""Noise schedules: which mixture of data and noise belongs to a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Schedule(Protocol):
    """A variance-preserving schedule, given by the angle of each time."""

    def angle(self, t: Tensor) -> Tensor:
        """phi_t in [0, pi/2], increasing in t; float64, shaped like t (any t in [0, 1])."""
        ...

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t) = (cos phi_t, sin phi_t); float64, shaped like t."""
        ...

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha_t**2 / sigma_t**2), decreasing in t; float64, shaped like t."""
        ...


@dataclass(frozen=True, kw_only=True)
class CosineSchedule:
    """The cosine schedule between two log-SNR ends (PD, section 2 and appendix).

    `phi_t = a t + b` with `b = atan(exp(-log_snr_max / 2))` and
    `a = atan(exp(-log_snr_min / 2)) - b`, so that a uniform grid of times is a uniform grid of
    angles, and both ends stay finite: sigma_0 = alpha_1 = 4.5e-5 for log-SNR within ±20.
    """

    log_snr_min: float = -20.0
    log_snr_max: float = 20.0

    def angle(self, t: Tensor) -> Tensor:
        """phi_t in (0, pi/2), float64, shaped like t."""
        data_end = math.atan(math.exp(-self.log_snr_max / 2))
        noise_end = math.atan(math.exp(-self.log_snr_min / 2))
        return data_end + t.to(torch.float64) * (noise_end - data_end)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t), float64, shaped like t."""
        phi = self.angle(t)
        return phi.cos(), phi.sin()

    def log_snr(self, t: Tensor) -> Tensor:
        """`-2 log tan(phi_t)`, float64, shaped like t."""
        return -2.0 * self.angle(t).tan().log()
