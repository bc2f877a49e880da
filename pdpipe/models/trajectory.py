"""What a sampler passes on its way from noise to images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdpipe.diffusion import Denoiser, Sampler, State


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The states of n images along N steps: float32 on the CPU, the times float64.

    Attributes:
        t: the times of the grid, (N + 1,), from 1 (noise) to 0 (data).
        z: the state at each time, (N + 1, n, C, H, W); `z[0]` is the noise, `z[-1]` the images.
        x_hat: the prediction of the images from `z[i]` at `t[i]`, (N, n, C, H, W), clipped where
            the sampler clips. The last is the images themselves for samplers that end with their
            last prediction, as DDIM does.

    Examples:
        >>> student = pdpipe.load("models/student-4.safetensors")
        >>> x, path = student.sample(n=3, return_trajectory=True)
        >>> path
        Trajectory(4 steps of 3 images)
        >>> path.t
        tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000], dtype=torch.float64)
        >>> path.z.shape, path.x_hat.shape
        (torch.Size([5, 3, 1, 8, 8]), torch.Size([4, 3, 1, 8, 8]))
        >>> torch.equal(path.z[-1], x)
        True
    """

    t: Tensor
    z: Tensor
    x_hat: Tensor

    def __repr__(self) -> str:
        return f"Trajectory({len(self.x_hat)} steps of {self.z.shape[1]} images)"

    @classmethod
    def joined(cls, parts: Sequence[Trajectory]) -> Trajectory:
        """The same of all the images of some batches, one batch or more."""
        z, x_hat = (torch.cat([getattr(p, name) for p in parts], dim=1) for name in ("z", "x_hat"))
        return cls(parts[0].t, z, x_hat)


class _Watched:
    """A denoiser that keeps the x_hat of its first call in each step, at the step's own state."""

    def __init__(self, denoiser: Denoiser, sampler: Sampler) -> None:
        self.evaluations_per_call: int = getattr(denoiser, "evaluations_per_call", 1)
        self.steps = 0  # finished
        self.x_hat: list[Tensor] = []
        self._denoiser, self._sampler = denoiser, sampler

    def __call__(self, z_t: Tensor, t: Tensor) -> Tensor:
        v_hat = self._denoiser(z_t, t)
        if len(self.x_hat) == self.steps:
            self.x_hat.append(_kept(self._sampler.x_hat(v_hat, z_t, t)))
        return v_hat


def traced(
    sampler: Sampler,
    denoiser: Denoiser,
    z_1: Tensor,
    grid: Tensor,
    generators: Sequence[torch.Generator],
) -> tuple[State, Trajectory]:
    """The last state of `sampler.states` of the same arguments, and all that it passed."""
    watched, passed = _Watched(denoiser, sampler), [_kept(z_1)]
    for state in sampler.states(watched, z_1, grid, generators):
        watched.steps += 1
        passed.append(_kept(state.z))
        last = state
    return last, Trajectory(grid, torch.stack(passed), torch.stack(watched.x_hat))


def _kept(z: Tensor) -> Tensor:
    return z.float().cpu()
