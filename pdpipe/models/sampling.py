"""A sampler by its name, as users give it: on the command line or to `DiffusionModel.sample`."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from pdpipe.diffusion import (
    DDIM,
    SAMPLERS,
    Ancestral,
    Sampler,
    Schedule,
    discrete_grid,
    uniform_grid,
)
from pdpipe.errors import ModelError, did_you_mean


@dataclass(frozen=True)
class Sampling:
    """A way to sample, as it is written in records: a sampler, its setting, its kind of grid."""

    name: str = "ddim"  # a key of `SAMPLERS`
    gamma: float | None = None  # of ancestral
    grid: Literal["uniform", "ddpm"] = "uniform"  # ddpm: steps of DDPM's 1000, respaced

    @classmethod
    def called(cls, name: str) -> Sampling:
        """The sampler of that name at its default setting, written out."""
        return cls(name, gamma=0.0 if name == "ancestral" else None)

    @property
    def label(self) -> str:
        """Its name in file names: `ancestral-0.5-ddpm`."""
        return f"{self.name}-{self.gamma}-{self.grid}"

    def sampler(self, schedule: Schedule, *, clip: bool) -> Sampler:
        """The sampler on a model's schedule; raises what `make_sampler` does."""
        return make_sampler(self.name, schedule, clip=clip, gamma=self.gamma)

    def times(self, schedule: Schedule, num_steps: int) -> Tensor:
        """The N + 1 times of its grid; raises what `uniform_grid` and `discrete_grid` do."""
        if self.grid == "ddpm":
            return discrete_grid(schedule, num_steps)
        return uniform_grid(num_steps)


def make_sampler(
    name: str,
    schedule: Schedule,
    *,
    clip: bool = True,
    eta: float | None = None,
    gamma: float | None = None,
) -> Sampler:
    """The sampler of that name.

    Args:
        name: a key of `SAMPLERS`.
        schedule: the model's.
        clip: clip x_hat to [-1, 1] at every step.
        eta: of ddim, 0 (deterministic, the default) to 1.
        gamma: of ancestral, 0 (the smaller variance, the default) to 1.

    Raises:
        ModelError: an unknown name, or a setting that the sampler does not have.
        SamplerError: a setting out of range.
    """
    if name not in SAMPLERS:
        raise ModelError(f"there is no sampler {name!r}: {did_you_mean(name, SAMPLERS)}")
    for setting, value, owner in (("eta", eta, "ddim"), ("gamma", gamma, "ancestral")):
        if value is not None and name != owner:
            raise ModelError(f"{setting} is a setting of {owner}, not of {name}: leave it out")
    if name == "ddim":
        return DDIM(schedule, clip=clip, eta=eta or 0.0)
    if name == "ancestral":
        return Ancestral(schedule, clip=clip, gamma=gamma or 0.0)
    return SAMPLERS[name](schedule, clip=clip)


def evaluations_of(sampler: Sampler, num_steps: int) -> int:
    """How often the sampler calls a denoiser on N uniform steps: counted, on one pixel of noise."""
    pixel, noise = torch.zeros(1, 1, 1, 1), torch.Generator()
    end = sampler.final(lambda z_t, _: torch.zeros_like(z_t), pixel, uniform_grid(num_steps), noise)
    return end.evaluations


def most_steps(sampler: Sampler, evaluations: int) -> int:
    """The largest number of steps that calls a denoiser at most so often (1 or more)."""
    # No sampler makes more steps than evaluations, and more steps never take fewer evaluations.
    candidates = range(1, evaluations + 1)
    fitting = bisect_right(candidates, evaluations, key=partial(evaluations_of, sampler))
    return max(fitting, 1)
