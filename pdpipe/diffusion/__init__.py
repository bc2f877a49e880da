"""The diffusion process and its distillation, as small pure functions of tensors.

Conventions, everywhere in pdpipe:

- `x` is data in [-1, 1], `eps` standard normal noise, `z_t = alpha_t x + sigma_t eps` with
  `alpha_t**2 + sigma_t**2 = 1`. Time runs from 0 (data) to 1 (noise); t > s.
- `phi_t = atan2(sigma_t, alpha_t)` is the angle of time t. In it the process is a rotation:
  `z_t = cos(phi_t) x + sin(phi_t) eps`, `v = dz/dphi = alpha_t eps - sigma_t x`.
- A denoiser is any callable `(z_t, t) -> v_hat`. v is the prediction that is well conditioned at
  both ends; `x_hat` and `eps_hat` follow from it (`parameterization`). Callers bind label and w.
- Times are float64 tensors that broadcast against z: shape (B, 1, 1, 1), or () for a whole batch.
  Grids are indexed by integers: t = i / N, i = 1 … N.
- The guidance weight w is 0 for no guidance: `x_hat_w = (1 + w) x_hat_c - w x_hat_u`.

Reading order: `schedule`, `parameterization`, `losses` (what is learned), `steps`, `samplers`,
`guidance` (how it is used), `targets` (what the distillation regresses on), `mixtures` (data whose
denoiser is known exactly).

Sources: PD = Salimans & Ho 2022 (progressive distillation); GD = Meng et al. 2022 (distillation of
guided models); DDPM = Ho et al. 2020; DDIM = J. Song et al. 2021; SDE = Y. Song et al. 2021 (score
SDEs); CFG = Ho & Salimans 2022.
"""

from pdpipe.diffusion.condition import Condition
from pdpipe.diffusion.guidance import GuidedDenoiser, guided
from pdpipe.diffusion.losses import LOSS_WEIGHTS, v_loss_weight, weighted_loss
from pdpipe.diffusion.mixtures import GaussianMixture
from pdpipe.diffusion.parameterization import (
    PARAMETERIZATIONS,
    clipped,
    eps_from_v,
    v_from_eps,
    v_from_x,
    v_from_x_eps,
    v_target,
    x_from_v,
)
from pdpipe.diffusion.samplers import (
    DDIM,
    SAMPLERS,
    AdaptiveFlow,
    Ancestral,
    Denoiser,
    DPMSolver,
    Euler,
    Heun,
    RungeKutta4,
    Sampler,
    State,
    StochasticDDIM,
    discrete_grid,
    encode,
    uniform_grid,
)
from pdpipe.diffusion.schedule import (
    SCHEDULES,
    CosineSchedule,
    LinearBetaSchedule,
    LinearLogSNRSchedule,
    Schedule,
    build_schedule,
    ddpm_alphas_squared,
)
from pdpipe.diffusion.steps import (
    add_noise,
    clipped_ddim_step,
    ddim_step,
    diffuse,
    posterior_mean,
    posterior_std,
    step_from_x,
    transition_share,
)
from pdpipe.diffusion.targets import (
    Times,
    decoding_times,
    encoding_times,
    multi_step_target,
    stochastic_times,
    target_along,
)

__all__ = [
    "DDIM",
    "LOSS_WEIGHTS",
    "PARAMETERIZATIONS",
    "SAMPLERS",
    "SCHEDULES",
    "AdaptiveFlow",
    "Ancestral",
    "Condition",
    "CosineSchedule",
    "DPMSolver",
    "Denoiser",
    "Euler",
    "GaussianMixture",
    "GuidedDenoiser",
    "Heun",
    "LinearBetaSchedule",
    "LinearLogSNRSchedule",
    "RungeKutta4",
    "Sampler",
    "Schedule",
    "State",
    "StochasticDDIM",
    "Times",
    "add_noise",
    "build_schedule",
    "clipped",
    "clipped_ddim_step",
    "ddim_step",
    "ddpm_alphas_squared",
    "decoding_times",
    "diffuse",
    "discrete_grid",
    "encode",
    "encoding_times",
    "eps_from_v",
    "guided",
    "multi_step_target",
    "posterior_mean",
    "posterior_std",
    "step_from_x",
    "stochastic_times",
    "target_along",
    "transition_share",
    "uniform_grid",
    "v_from_eps",
    "v_from_x",
    "v_from_x_eps",
    "v_loss_weight",
    "v_target",
    "weighted_loss",
    "x_from_v",
]
