"""The probability-flow ODE, which in the angle is just `dz/dphi = v_hat(z, t)`.

These integrate to the very end of the grid and return z there: at t = 0 it is x up to sigma_0,
4.5e-5 for a schedule that begins at log-SNR 20. An evaluation of the network is the unit of cost:
on N intervals Euler takes N, Heun 2 N, RK4 4 N. With `clip` the last interval is one evaluation,
whose x_hat is x: close to t = 0 the velocity of a clipped x_hat grows like 1/sigma. Source: SDE,
equation 13, in the variables of PD, appendix D.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pdpipe.diffusion.parameterization import clipped, scale, v_target
from pdpipe.diffusion.samplers.base import Counted, Denoiser, Noise, Sampler, State


@dataclass(frozen=True)
class _Flow(Sampler):
    """A one-step method for the flow."""

    def _states(
        self, denoise: Counted, z: Tensor, grid: Tensor, generator: Noise | None
    ) -> Iterator[State]:
        velocity = partial(self._velocity, denoise)
        for i in range(len(grid) - (2 if self.clip else 1)):
            t, s = grid[i], grid[i + 1]
            z = self._advance(velocity, z, t, s)
            yield State(z, float(s), denoise.evaluations)
        if self.clip:
            yield self._end(denoise, z, grid)

    def _velocity(self, denoise: Denoiser, z: Tensor, t: Tensor) -> Tensor:
        """dz/dphi at time t: v_hat, that of the clipped x_hat if the sampler clips."""
        v_hat = denoise(z, t)
        if not self.clip:
            return v_hat
        alpha, sigma = self.schedule.alpha_sigma(t)
        return v_target(*clipped(v_hat, z, alpha, sigma), alpha, sigma)

    def _h(self, z: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The step in the angle, phi_s - phi_t < 0, in z's dtype."""
        return scale(self.schedule.angle(s) - self.schedule.angle(t), z)

    @abstractmethod
    def _advance(self, velocity: Denoiser, z: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """z at s from z at t."""


@dataclass(frozen=True)
class Euler(_Flow):
    """Euler's method: order 1, one evaluation a step; a straight step where DDIM's rotates.

    Examples:
        >>> from pdpipe.diffusion import CosineSchedule, Euler, uniform_grid
        >>> sampler, z_1 = Euler(CosineSchedule()), torch.randn(2, 1, 8, 8)
        >>> sampler.final(lambda z_t, t: z_t, z_1, uniform_grid(4)).evaluations
        4
    """

    def _advance(self, velocity: Denoiser, z: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return z + self._h(z, t, s) * velocity(z, t)


@dataclass(frozen=True)
class Heun(_Flow):
    """Heun's method: order 2, two evaluations a step.

    Examples:
        >>> from pdpipe.diffusion import CosineSchedule, Heun, uniform_grid
        >>> sampler, z_1 = Heun(CosineSchedule()), torch.randn(2, 1, 8, 8)
        >>> sampler.final(lambda z_t, t: z_t, z_1, uniform_grid(4)).evaluations
        8
    """

    def _advance(self, velocity: Denoiser, z: Tensor, t: Tensor, s: Tensor) -> Tensor:
        h = self._h(z, t, s)
        k_1 = velocity(z, t)
        k_2 = velocity(z + h * k_1, s)
        return z + h / 2 * (k_1 + k_2)


@dataclass(frozen=True)
class RungeKutta4(_Flow):
    """The classical Runge-Kutta method: order 4, four evaluations a step.

    The midpoint is that of the times; a schedule whose angle is not linear in t is integrated in t,
    with `dz/dt = phi'(t) v_hat`.

    Examples:
        >>> from pdpipe.diffusion import CosineSchedule, RungeKutta4, uniform_grid
        >>> sampler, z_1 = RungeKutta4(CosineSchedule()), torch.randn(2, 1, 8, 8)
        >>> sampler.final(lambda z_t, t: z_t, z_1, uniform_grid(4)).evaluations
        16
    """

    def _advance(self, velocity: Denoiser, z: Tensor, t: Tensor, s: Tensor) -> Tensor:
        middle, h = (t + s) / 2, scale(s - t, z)

        def rate(z: Tensor, time: Tensor) -> Tensor:
            return scale(self.schedule.angle_rate(time), z) * velocity(z, time)

        k_1 = rate(z, t)
        k_2 = rate(z + h / 2 * k_1, middle)
        k_3 = rate(z + h / 2 * k_2, middle)
        k_4 = rate(z + h * k_3, s)
        return z + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)


@dataclass(frozen=True, kw_only=True)
class AdaptiveFlow(_Flow):
    """The reference: scipy's Dormand-Prince method of order 8 with adaptive steps, in float64.

    It evaluates as often as its tolerances need; the grid only says where states are wanted. The
    denoiser is given z in z_1's dtype: give float64 noise for more than seven digits.

    Examples:
        >>> from pdpipe.diffusion import AdaptiveFlow, CosineSchedule, uniform_grid
        >>> z_1 = torch.randn(2, 1, 8, 8, dtype=torch.float64)
        >>> sampler, denoise = AdaptiveFlow(CosineSchedule()), lambda z_t, t: 0.1 * z_t
        >>> x = sampler.sample(denoise, z_1, uniform_grid(1))
        >>> torch.allclose(x, z_1 * torch.exp(torch.tensor(-0.1 * torch.pi / 2)), atol=1e-3)
        True
    """

    tolerance: float = 1e-10  # relative and absolute

    def _advance(self, velocity: Denoiser, z: Tensor, t: Tensor, s: Tensor) -> Tensor:
        from scipy.integrate import solve_ivp

        def rate(time: float, flat: Any) -> Any:
            at = torch.tensor(time, dtype=torch.float64)
            state = torch.from_numpy(flat).view(z.shape).to(z)
            v_hat = velocity(state, at).cpu().double() * self.schedule.angle_rate(at)
            return v_hat.flatten().numpy()

        found = solve_ivp(
            rate,
            (float(t), float(s)),
            z.cpu().double().flatten().numpy(),
            method="DOP853",
            rtol=self.tolerance,
            atol=self.tolerance,
        )
        assert found.success, found.message
        return torch.from_numpy(found.y[:, -1].copy()).view(z.shape).to(z)
