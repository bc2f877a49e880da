"""DDIM steps against the textbook form, the exact flow, and diffusers' scheduler."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import (
    DDIM,
    CosineSchedule,
    clipped_ddim_step,
    ddim_step,
    eps_from_v,
    uniform_grid,
    x_from_v,
)

if TYPE_CHECKING:
    from conftest import Gaussian

PAIRS = [(1.0, 0.0), (1.0, 0.5), (0.6, 0.59), (0.25, 0.0), (1e-3, 0.0), (0.3, 0.7), (0.0, 1.0)]


def times(*values: float) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(value, dtype=torch.float64) for value in values)


@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_step_is_the_textbook_formula(
    t: float, s: float, z_1: Tensor, schedule: CosineSchedule
) -> None:
    """alpha_s x_hat + sigma_s eps_hat, for any v_hat, towards the data and back."""
    v_hat = z_1.flip(0) * 1.7
    at_t, at_s = times(t, s)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (schedule.alpha_sigma(u) for u in (at_t, at_s))
    x_hat = x_from_v(v_hat, z_1, alpha_t, sigma_t)
    eps_hat = eps_from_v(v_hat, z_1, alpha_t, sigma_t)
    found = ddim_step(v_hat, z_1, schedule.angle(at_t), schedule.angle(at_s))
    assert_close(found, alpha_s * x_hat + sigma_s * eps_hat, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("t", "s"), [p for p in PAIRS if p[0] > 0])
def test_clipped_step_recomputes_eps(
    t: float, s: float, z_1: Tensor, schedule: CosineSchedule
) -> None:
    """x_hat reaches 8, so most of it is clipped; keeping the old eps_hat would be far off."""
    at_t, at_s = times(t, s)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (schedule.alpha_sigma(u) for u in (at_t, at_s))
    x_hat = 4 * z_1.flip(0)
    assert (x_hat.abs() > 1).double().mean() > 0.5
    v_hat = (alpha_t * z_1 - x_hat) / sigma_t
    clipped = x_hat.clamp(-1, 1)
    eps_hat = (z_1 - alpha_t * clipped) / sigma_t
    found = clipped_ddim_step(v_hat, z_1, schedule.angle(at_t), schedule.angle(at_s))
    assert_close(found, alpha_s * clipped + sigma_s * eps_hat, rtol=1e-9, atol=1e-11)
    if sigma_s > 0.01 and alpha_t > 0.01:
        stale = alpha_s * clipped + sigma_s * eps_from_v(v_hat, z_1, alpha_t, sigma_t)
        assert (found - stale).abs().max() > 0.01


def test_clipping_changes_nothing_where_x_hat_is_within_range(
    z_1: Tensor, schedule: CosineSchedule
) -> None:
    at_t, at_s = times(0.8, 0.4)
    alpha, sigma = schedule.alpha_sigma(at_t)
    v_hat = (alpha * z_1 - z_1.flip(0).clamp(-1, 1)) / sigma
    phi_t, phi_s = schedule.angle(at_t), schedule.angle(at_s)
    found = clipped_ddim_step(v_hat, z_1, phi_t, phi_s)
    assert_close(found, ddim_step(v_hat, z_1, phi_t, phi_s), rtol=0, atol=1e-14)


def test_a_time_for_each_image(z_1: Tensor, schedule: CosineSchedule) -> None:
    t = torch.linspace(0.1, 1.0, 8, dtype=torch.float64).view(-1, 1, 1, 1)
    v_hat = z_1.flip(0)
    for step in (ddim_step, clipped_ddim_step):
        whole = step(v_hat, z_1, schedule.angle(t), schedule.angle(t / 2))
        for k in range(8):
            phi_t, phi_s = schedule.angle(t[k]), schedule.angle(t[k] / 2)
            assert_close(step(v_hat[k], z_1[k], phi_t, phi_s), whole[k], rtol=0, atol=1e-15)


def test_step_there_and_back(z_1: Tensor, schedule: CosineSchedule) -> None:
    """A step with the true v, in the angle, is a rotation: its inverse brings z_t back."""
    phi_t, phi_s = (schedule.angle(t) for t in times(0.9, 0.2))
    x, eps = z_1.flip(0), z_1
    z_t, v_t = phi_t.cos() * x + phi_t.sin() * eps, phi_t.cos() * eps - phi_t.sin() * x
    z_s = ddim_step(v_t, z_t, phi_t, phi_s)
    v_s = phi_s.cos() * eps - phi_s.sin() * x
    assert_close(z_s, phi_s.cos() * x + phi_s.sin() * eps, rtol=0, atol=1e-14)
    assert_close(ddim_step(v_s, z_s, phi_s, phi_t), z_t, rtol=0, atol=1e-14)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 64])
def test_ddim_is_exact_on_a_point_mass(num_steps: int, z_1: Tensor, point: Gaussian) -> None:
    for clip in (False, True):
        x = DDIM(point.schedule, clip=clip).sample(point, z_1, uniform_grid(num_steps))
        assert_close(x, torch.full_like(z_1, point.mean), rtol=0, atol=1e-9)


def test_ddim_converges_to_the_probability_flow_at_first_order(
    z_1: Tensor, gaussian: Gaussian
) -> None:
    start, end = times(1.0, 0.0)
    exact = gaussian.flow(z_1, start, end)
    sample = DDIM(gaussian.schedule).sample
    errors = [
        (sample(gaussian, z_1, uniform_grid(n)) - exact).abs().max().item()
        for n in (32, 64, 128, 256, 512)
    ]
    assert errors[0] < 0.2
    for coarse, fine in pairwise(errors):
        assert 1.8 < coarse / fine < 2.2, errors


def diffusers_states(
    denoiser: Callable[[Tensor, Tensor], Tensor],
    z_1: Tensor,
    num_steps: int,
    schedule: CosineSchedule,
    clip: bool,
) -> tuple[list[Tensor], Tensor]:
    """States and last x_hat of diffusers' DDIM on our own coefficients at t = 1/N … N/N."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import DDIMScheduler

        scheduler: Any = DDIMScheduler(
            num_train_timesteps=num_steps,
            prediction_type="v_prediction",
            clip_sample=clip,
            timestep_spacing="trailing",
        )
    grid = torch.arange(1, num_steps + 1, dtype=torch.float64) / num_steps
    scheduler.alphas_cumprod = schedule.alpha_sigma(grid)[0] ** 2
    scheduler.set_timesteps(num_steps)
    states, z = [], z_1
    for k in scheduler.timesteps:
        v_hat = denoiser(z, grid[k])
        out = scheduler.step(v_hat, int(k), z, eta=0.0, use_clipped_model_output=clip)
        z = out.prev_sample
        states.append(z)
    return states[:-1], out.pred_original_sample


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("num_steps", [1, 5, 16])
def test_same_states_as_diffusers(
    num_steps: int, clip: bool, z_1: Tensor, schedule: CosineSchedule
) -> None:
    def denoiser(z_t: Tensor, t: Tensor) -> Tensor:
        """Some smooth v_hat, whose x_hat leaves [-1, 1]."""
        return torch.tanh(2.0 * z_t.roll(1, -1)) - 1.5 * z_t * torch.sin(2.0 * t)

    states, x = diffusers_states(denoiser, z_1, num_steps, schedule, clip)
    grid = uniform_grid(num_steps)
    *ours, last = (s.z for s in DDIM(schedule, clip=clip).states(denoiser, z_1, grid))
    assert len(ours) == len(states) == num_steps - 1
    for found, expected in zip(ours, states, strict=True):
        assert_close(found, expected, rtol=0, atol=1e-12)
    assert_close(last, x, rtol=0, atol=1e-12)
    if clip and num_steps == 16:
        free, _ = diffusers_states(denoiser, z_1, num_steps, schedule, False)
        assert (free[-1] - states[-1]).abs().max() > 0.05, "nothing was clipped"
