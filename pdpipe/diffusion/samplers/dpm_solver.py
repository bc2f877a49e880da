"""DPM-Solver++(2M): what one would pick today without distilling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from pdpipe.diffusion.parameterization import scale
from pdpipe.diffusion.samplers.base import Counted, Noise, Sampler, State
from pdpipe.diffusion.steps import step_from_x


@dataclass(frozen=True)
class DPMSolver(Sampler):
    """DPM-Solver++(2M): second order from the x_hat of two evaluations, one of them new.

    With half log-SNRs, `h = (log_snr_s - log_snr_t) / 2`, and r the quotient of the previous h and
    this one, `D = x_hat_i + (x_hat_i - x_hat_(i-1)) / (2 r)` takes the place of x_hat in a step of
    DDIM: `z_s = (sigma_s / sigma_t) z_t + alpha_s (1 - exp(-h)) D`. The first step is DDIM itself;
    the last evaluation's x_hat is x.

    Source: Lu et al. 2022 (DPM-Solver++), Algorithm 2.

    Examples:
        >>> from pdpipe.diffusion import CosineSchedule, DPMSolver, uniform_grid
        >>> sampler, z_1 = DPMSolver(CosineSchedule()), torch.randn(2, 1, 8, 8)
        >>> sampler.final(lambda z_t, t: z_t, z_1, uniform_grid(4)).evaluations
        4
    """

    def _states(
        self, denoise: Counted, z: Tensor, grid: Tensor, generator: Noise | None
    ) -> Iterator[State]:
        before: Tensor | None = None  # the x_hat and the h of the step before
        h_before = grid.new_zeros(())
        for i in range(len(grid) - 2):
            t, s = grid[i], grid[i + 1]
            x_hat = self.x_hat(denoise(z, t), z, t)
            h = (self.schedule.log_snr(s) - self.schedule.log_snr(t)) / 2
            ahead = x_hat
            if before is not None:
                ahead = x_hat + scale(h / (2 * h_before), z) * (x_hat - before)
            z = step_from_x(ahead, z, self.schedule.angle(t), self.schedule.angle(s))
            before, h_before = x_hat, h
            yield State(z, float(s), denoise.evaluations)
        yield self._end(denoise, z, grid)
