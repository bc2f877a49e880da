"""DDIM's grid: N evaluations at t = N/N … 1/N, and the rule for the last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import DDIM, CosineSchedule, ddim_step, uniform_grid, x_from_v

if TYPE_CHECKING:
    from conftest import Gaussian


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 10, 16, 49, 1000])
def test_exactly_n_evaluations_at_the_grid(
    num_steps: int, z_1: Tensor, schedule: CosineSchedule
) -> None:
    seen = []

    def denoiser(z_t: Tensor, t: Tensor) -> Tensor:
        assert t.dtype == torch.float64
        seen.append(t.item())
        return torch.zeros_like(z_t)

    DDIM(schedule, clip=False).sample(denoiser, z_1, uniform_grid(num_steps))
    assert seen == [i / num_steps for i in range(num_steps, 0, -1)]


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_last_state_is_x_hat_at_the_first_grid_point(
    num_steps: int, z_1: Tensor, gaussian: Gaussian
) -> None:
    """Not z_0, which a further step would reach: that differs by less than 2e-4, but it does."""
    states = DDIM(gaussian.schedule).states(gaussian, z_1, uniform_grid(num_steps))
    *before, x = (state.z for state in states)
    assert len(before) == num_steps - 1
    z_t = before[-1] if before else z_1
    t = torch.tensor(1 / num_steps, dtype=torch.float64)
    v_hat = gaussian(z_t, t)
    x_hat = x_from_v(v_hat, z_t, *gaussian.schedule.alpha_sigma(t))
    assert torch.equal(x, x_hat)
    phi_t, phi_0 = gaussian.schedule.angle(t), gaussian.schedule.angle(0 * t)
    difference = (x - ddim_step(v_hat, z_t, phi_t, phi_0)).abs().max().item()
    assert 1e-6 < difference < 2e-4


def test_states_are_single_steps_of_the_grid(z_1: Tensor, gaussian: Gaussian) -> None:
    states = [s.z for s in DDIM(gaussian.schedule).states(gaussian, z_1, uniform_grid(4))]
    z = z_1
    for i, found in zip((4, 3, 2), states, strict=False):
        t, s = (torch.tensor(k / 4, dtype=torch.float64) for k in (i, i - 1))
        phi_t, phi_s = gaussian.schedule.angle(t), gaussian.schedule.angle(s)
        z = ddim_step(gaussian(z, t), z, phi_t, phi_s)
        assert torch.equal(found, z)


def test_clipped_samples_stay_in_range_and_unclipped_ones_do_not(
    z_1: Tensor, schedule: CosineSchedule
) -> None:
    def denoiser(z_t: Tensor, t: Tensor) -> Tensor:
        return -3.0 * z_t

    for num_steps in (1, 4):
        clipped = DDIM(schedule, clip=True).sample(denoiser, z_1, uniform_grid(num_steps))
        free = DDIM(schedule, clip=False).sample(denoiser, z_1, uniform_grid(num_steps))
        assert clipped.abs().max() <= 1
        assert free.abs().max() > 1.5


def test_float32_noise_gives_float32_images_near_those_of_float64(
    z_1: Tensor, gaussian: Gaussian
) -> None:
    for clip in (False, True):
        fine = DDIM(gaussian.schedule, clip=clip).sample(gaussian, z_1, uniform_grid(16))
        coarse = DDIM(gaussian.schedule, clip=clip).sample(gaussian, z_1.float(), uniform_grid(16))
        assert coarse.dtype == torch.float32
        assert_close(coarse.double(), fine, rtol=0, atol=5e-6)


def test_no_gradient_is_kept(z_1: Tensor, schedule: CosineSchedule) -> None:
    factor = torch.ones((), dtype=torch.float64, requires_grad=True)

    def denoiser(z_t: Tensor, t: Tensor) -> Tensor:
        return z_t * factor

    assert not DDIM(schedule, clip=False).sample(denoiser, z_1, uniform_grid(3)).requires_grad
