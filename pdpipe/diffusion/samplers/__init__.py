"""Samplers: from noise z_1 along a grid of times to images, all behind one interface.

    sampler = DDIM(schedule, clip=True)
    x = sampler.sample(denoiser, z_1, uniform_grid(8))
    for state in sampler.states(denoiser, z_1, uniform_grid(8)):
        state.z, state.t, state.evaluations

Read `base` (grid, states, end rule), then `ddim` and `ancestral`, whose loops are single lines of
the papers; `flow` integrates the probability-flow ODE, `dpm_solver` is the baseline of today.
"""

from pdpipe.diffusion.samplers.ancestral import Ancestral, StochasticDDIM
from pdpipe.diffusion.samplers.base import (
    Denoiser,
    Sampler,
    State,
    discrete_grid,
    uniform_grid,
)
from pdpipe.diffusion.samplers.ddim import DDIM, encode
from pdpipe.diffusion.samplers.dpm_solver import DPMSolver
from pdpipe.diffusion.samplers.flow import AdaptiveFlow, Euler, Heun, RungeKutta4

SAMPLERS: dict[str, type[Sampler]] = {
    "ddim": DDIM,
    "ancestral": Ancestral,
    "stochastic": StochasticDDIM,
    "euler": Euler,
    "heun": Heun,
    "rk4": RungeKutta4,
    "dpm_solver": DPMSolver,
}
"""Every sampler by its name on the command line: a class to make with a schedule."""

__all__ = [
    "DDIM",
    "SAMPLERS",
    "AdaptiveFlow",
    "Ancestral",
    "DPMSolver",
    "Denoiser",
    "Euler",
    "Heun",
    "RungeKutta4",
    "Sampler",
    "State",
    "StochasticDDIM",
    "discrete_grid",
    "encode",
    "uniform_grid",
]
