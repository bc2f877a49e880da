"""Noise schedules: which mixture of data and noise belongs to a time.

A schedule is the angle phi_t of each time; all else follows from it. Every schedule here is
bounded: its log-SNR is finite at t = 0 and t = 1, and so are all the derivatives.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pdpipe.errors import ModelError, did_you_mean

_DDPM_STEPS = 1000  # the T of DDPM, for which beta_min and beta_max are given


class Schedule(ABC):
    """A variance-preserving schedule: alpha_t = cos(phi_t), sigma_t = sin(phi_t), t in [0, 1].

    Times may have any shape and dtype; what comes back is float64, of the same shape. alpha and
    sigma are taken from the angle, neither as the root of 1 minus the other squared, so that both
    are good to 1e-11 of themselves at both ends (log-SNR ±20).

    Raises:
        ModelError: the log-SNR at t = 1 is not below that at t = 0.

    Examples:
        >>> from pdpipe.diffusion import CosineSchedule
        >>> schedule = CosineSchedule()
        >>> t = torch.tensor([0.25, 0.5, 0.75])
        >>> schedule.log_snr(t).round(decimals=2)
        tensor([ 1.7600, -0.0000, -1.7600], dtype=torch.float64)
        >>> schedule.time(schedule.log_snr(t))
        tensor([0.2500, 0.5000, 0.7500], dtype=torch.float64)
    """

    log_snr_min: float
    log_snr_max: float

    def __post_init__(self) -> None:
        if not self.log_snr_min < self.log_snr_max:
            raise ModelError(
                f"log_snr_min is {self.log_snr_min:g} and log_snr_max {self.log_snr_max:g}: the "
                "first must be below the second"
            )

    @abstractmethod
    def angle(self, t: Tensor) -> Tensor:
        """phi_t in (0, pi/2), increasing in t."""

    @abstractmethod
    def angle_rate(self, t: Tensor) -> Tensor:
        """dphi/dt > 0."""

    @abstractmethod
    def time(self, log_snr: Tensor) -> Tensor:
        """The time of a log-SNR: the inverse of `log_snr`."""

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t)."""
        phi = self.angle(t)
        return phi.cos(), phi.sin()

    def log_snr(self, t: Tensor) -> Tensor:
        """`log(alpha_t**2 / sigma_t**2) = -2 log tan(phi_t)`, decreasing in t."""
        return -2.0 * self.angle(t).tan().log()

    def log_snr_rate(self, t: Tensor) -> Tensor:
        """`dlog_snr/dt = -4 (dphi/dt) / sin(2 phi_t)`, negative."""
        return -4.0 * self.angle_rate(t) / (2.0 * self.angle(t)).sin()

    def density(self, log_snr: Tensor) -> Tensor:
        """The density of log-SNR when t ~ U[0, 1]: |dt/dlog_snr|, for log-SNRs of the schedule.

        A loss weight omega(log_snr) times it is the weight with the schedule's effect (PD, figure
        2, right).
        """
        return -1.0 / self.log_snr_rate(self.time(log_snr))


def angle_of_log_snr(log_snr: Tensor) -> Tensor:
    """phi = atan(exp(-log_snr / 2)), float64."""
    return torch.atan(torch.exp(-0.5 * log_snr.to(torch.float64)))


@dataclass(frozen=True, kw_only=True)
class CosineSchedule(Schedule):
    """The cosine schedule between two log-SNR ends (PD, section 2 and appendix).

    `phi_t = a t + b` with `b = atan(exp(-log_snr_max / 2))` and
    `a = atan(exp(-log_snr_min / 2)) - b`, so that a uniform grid of times is a uniform grid of
    angles, and both ends stay finite: sigma_0 = alpha_1 = 4.5e-5 for log-SNR within ±20.

    Examples:
        >>> from pdpipe.diffusion import CosineSchedule
        >>> alpha, sigma = CosineSchedule().alpha_sigma(torch.tensor([0.0, 0.5, 1.0]))
        >>> alpha
        tensor([1.0000e+00, 7.0711e-01, 4.5400e-05], dtype=torch.float64)
    """

    log_snr_min: float = -20.0
    log_snr_max: float = 20.0

    def _ends(self) -> tuple[float, float]:
        return math.atan(math.exp(-self.log_snr_max / 2)), math.atan(
            math.exp(-self.log_snr_min / 2)
        )

    def angle(self, t: Tensor) -> Tensor:
        """phi_t, linear in t."""
        data_end, noise_end = self._ends()
        return data_end + t.to(torch.float64) * (noise_end - data_end)

    def angle_rate(self, t: Tensor) -> Tensor:
        """dphi/dt, the same at all times."""
        data_end, noise_end = self._ends()
        return torch.full_like(t, noise_end - data_end, dtype=torch.float64)

    def time(self, log_snr: Tensor) -> Tensor:
        """The time of a log-SNR."""
        data_end, noise_end = self._ends()
        return (angle_of_log_snr(log_snr) - data_end) / (noise_end - data_end)


@dataclass(frozen=True, kw_only=True)
class LinearLogSNRSchedule(Schedule):
    """log-SNR linear in t, from log_snr_max at t = 0 to log_snr_min at t = 1.

    Examples:
        >>> from pdpipe.diffusion import LinearLogSNRSchedule
        >>> schedule = LinearLogSNRSchedule(log_snr_min=-10.0, log_snr_max=10.0)
        >>> schedule.log_snr(torch.tensor([0.0, 0.25]))
        tensor([10.,  5.], dtype=torch.float64)
    """

    log_snr_min: float = -20.0
    log_snr_max: float = 20.0

    def log_snr(self, t: Tensor) -> Tensor:
        """log-SNR, linear in t."""
        t = t.to(torch.float64)
        return self.log_snr_max * (1.0 - t) + self.log_snr_min * t

    def angle(self, t: Tensor) -> Tensor:
        """phi_t = atan(exp(-log_snr / 2))."""
        return angle_of_log_snr(self.log_snr(t))

    def angle_rate(self, t: Tensor) -> Tensor:
        """dphi/dt = (log_snr_max - log_snr_min) sin(2 phi_t) / 4."""
        return (self.log_snr_max - self.log_snr_min) / 4.0 * (2.0 * self.angle(t)).sin()

    def time(self, log_snr: Tensor) -> Tensor:
        """The time of a log-SNR."""
        span = self.log_snr_max - self.log_snr_min
        return (self.log_snr_max - log_snr.to(torch.float64)) / span


@dataclass(frozen=True, kw_only=True)
class LinearBetaSchedule(Schedule):
    """DDPM's linear betas in continuous time: `log(alpha_t**2) = -B`, the integral of beta.

    `B = b_0 u + (b_1 - b_0) u²/2` with b_0 = T beta_min, b_1 = T beta_max, T = 1000. u is linear in
    t, between the two log-SNR ends: at u = 0 the log-SNR has no bound, and DDPM's own end, u = 1,
    is where it is -10.05, the default (DDPM, section 4; SDE, equation 33).

    Examples:
        >>> from pdpipe.diffusion import LinearBetaSchedule
        >>> LinearBetaSchedule().log_snr(torch.tensor([0.0, 1.0]))
        tensor([ 20.0000, -10.0500], dtype=torch.float64)
    """

    beta_min: float = 1e-4
    beta_max: float = 0.02
    log_snr_min: float = -10.05
    log_snr_max: float = 20.0

    def _b(self) -> tuple[float, float]:
        return _DDPM_STEPS * self.beta_min, _DDPM_STEPS * self.beta_max

    def _u(self, log_snr: Tensor) -> Tensor:
        """u of a log-SNR: B = log(1 + exp(-log_snr)), then the root that does not cancel."""
        integral = F.softplus(-log_snr.to(torch.float64), threshold=700.0)
        b_0, b_1 = self._b()
        return 2.0 * integral / (b_0 + (b_0**2 + 2.0 * (b_1 - b_0) * integral).sqrt())

    def _ends(self) -> tuple[float, float]:
        ends = torch.tensor([self.log_snr_max, self.log_snr_min], dtype=torch.float64)
        u_0, u_1 = self._u(ends).tolist()
        return u_0, u_1

    def angle(self, t: Tensor) -> Tensor:
        """phi_t = atan2(sigma_t, alpha_t), with sigma_t² = -expm1(-B)."""
        (b_0, b_1), (u_0, u_1) = self._b(), self._ends()
        u = u_0 + (u_1 - u_0) * t.to(torch.float64)
        integral = b_0 * u + (b_1 - b_0) * u**2 / 2.0
        return torch.atan2((-torch.expm1(-integral)).sqrt(), torch.exp(-0.5 * integral))

    def angle_rate(self, t: Tensor) -> Tensor:
        """dphi/dt = (dB/dt) / (2 tan(phi_t))."""
        (b_0, b_1), (u_0, u_1) = self._b(), self._ends()
        u = u_0 + (u_1 - u_0) * t.to(torch.float64)
        return (u_1 - u_0) * (b_0 + (b_1 - b_0) * u) / (2.0 * self.angle(t).tan())

    def time(self, log_snr: Tensor) -> Tensor:
        """The time of a log-SNR."""
        u_0, u_1 = self._ends()
        return (self._u(log_snr) - u_0) / (u_1 - u_0)


def ddpm_alphas_squared(
    num_steps: int = _DDPM_STEPS, beta_min: float = 1e-4, beta_max: float = 0.02
) -> Tensor:
    """alpha_k² (DDPM's alpha-bar) at the steps k = 1 … T of its discrete grid: (T,), float64.

    `alpha_k² = prod_(j <= k) (1 - beta_j)`, T = num_steps, beta linear from beta_min to beta_max.

    Source: DDPM, section 4.

    Examples:
        >>> from pdpipe.diffusion import ddpm_alphas_squared
        >>> ddpm_alphas_squared()[[0, 499, 999]]
        tensor([9.9990e-01, 7.8...e-02, 4.0...e-05], dtype=torch.float64)
    """
    betas = torch.linspace(beta_min, beta_max, num_steps, dtype=torch.float64)
    return torch.exp(torch.log1p(-betas).cumsum(0))


SCHEDULES: dict[str, type[Schedule]] = {
    "cosine": CosineSchedule,
    "linear_beta": LinearBetaSchedule,
    "linear_log_snr": LinearLogSNRSchedule,
}
"""Every schedule by its name in params.yaml."""


def build_schedule(name: str, **settings: Any) -> Schedule:
    """The schedule of that name, a key of `SCHEDULES`, with its settings: its log-SNR ends.

    Args:
        name: `cosine`, `linear_beta` or `linear_log_snr`.
        settings: of its class, such as `log_snr_min` < `log_snr_max`, (-20, 20) for the cosine.

    Raises:
        ModelError: an unknown name.

    Examples:
        >>> from pdpipe.diffusion import build_schedule
        >>> build_schedule("cosine", log_snr_max=10.0)
        CosineSchedule(log_snr_min=-20.0, log_snr_max=10.0)
    """
    if name not in SCHEDULES:
        raise ModelError(f"there is no schedule {name!r}: {did_you_mean(name, SCHEDULES)}")
    return SCHEDULES[name](**settings)
