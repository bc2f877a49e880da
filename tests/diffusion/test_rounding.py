"""float32 against float64: what thousands of short steps round away does not add up.

Each step rounds its result by half a unit in the last place (eps / 2 of a number near 1), now up,
now down, so after N steps the error is about eps sqrt(N). A coefficient of z that is rounded before
it is multiplied errs the same way at each step, so by eps N.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pdpipe.diffusion import (
    DDIM,
    SAMPLERS,
    Sampler,
    encode,
    multi_step_target,
    uniform_grid,
)

if TYPE_CHECKING:
    from conftest import Gaussian

EPS = torch.finfo(torch.float32).eps


class SameNoise(TorchFunctionMode):
    """Noise in float64 is that of float32, so that samplers can be compared."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.randn:
            return func(*args, **(kwargs or {}))
        return func(*args, **{**kwargs, "dtype": torch.float32}).to(kwargs["dtype"])


def rounded_away(make: Callable[[Tensor], Tensor], z: Tensor) -> float:
    """The largest error of float32, in units of its eps."""
    z = z.float()
    with SameNoise():
        return (make(z).double() - make(z.double())).abs().max().item() / EPS


@pytest.mark.parametrize("num_steps", [64, 1024, 8192])
def test_ddim_does_not_drift(num_steps: int, z_1: Tensor, gaussian: Gaussian) -> None:
    """Unclipped; the flow of this Gaussian shrinks by 2 towards the data, and grows by 2 back."""
    grid, schedule = uniform_grid(num_steps), gaussian.schedule
    down = rounded_away(lambda z: DDIM(schedule).sample(gaussian, z, grid), z_1)
    up = rounded_away(lambda z: [*encode(gaussian, z, grid, schedule)][-1].z, z_1 / 2)
    assert down < 2.5 * num_steps**0.5
    assert up < 5.0 * num_steps**0.5


@pytest.mark.parametrize(
    ("name", "num_steps"),
    [
        ("stochastic", 4096),
        ("ddim, eta 0.5", 1024),
        ("ancestral", 1024),
        ("dpm_solver", 1024),
        ("euler", 1024),
        ("heun", 1024),
    ],
)
def test_no_sampler_drifts(name: str, num_steps: int, z_1: Tensor, gaussian: Gaussian) -> None:
    eta = {"eta": 0.5} if "eta" in name else {}
    sampler: Sampler = SAMPLERS[name.partition(",")[0]](gaussian.schedule, **eta)

    def make(z: Tensor) -> Tensor:
        return sampler.sample(
            gaussian, z, uniform_grid(num_steps), torch.Generator().manual_seed(1)
        )

    assert rounded_away(make, z_1) < 2.0 * num_steps**0.5


@pytest.mark.parametrize("num_steps", [32, 512, 4096])
@pytest.mark.parametrize("ratio", [2, 4])
def test_targets_do_not_drift(ratio: int, num_steps: int, z_1: Tensor, gaussian: Gaussian) -> None:
    """What a student of N steps is to predict is as good at every N."""
    i = torch.linspace(1, num_steps, len(z_1)).long().view(-1, 1, 1, 1)

    def target(z: Tensor) -> Tensor:
        return multi_step_target(gaussian, z, i, num_steps, gaussian.schedule, ratio)

    assert rounded_away(target, z_1) < 10
