"""The target of a halving: landing where the teacher lands, by independent arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import mpmath
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import CosineSchedule, ddim_step, multi_step_target, x_from_v

if TYPE_CHECKING:
    from conftest import Gaussian

COUNTS = [1, 2, 3, 5, 8, 64, 1000, 1024]
Teacher = Callable[[Tensor, Tensor], Tensor]


def smooth(z_t: Tensor, t: Tensor) -> Tensor:
    """Some nonlinear teacher whose v_hat depends on the time and on other pixels."""
    t = t.to(z_t.dtype)
    return torch.tanh(z_t.roll(1, -1) + 3.0 * t) - z_t * torch.cos(5.0 * t)


def indices(num_steps: int) -> Tensor:
    """Grid indices with both ends: all, or 1, 2, the middle, N - 1, N; (B, 1, 1, 1)."""
    some = range(1, num_steps + 1) if num_steps <= 8 else (1, 2, num_steps // 2, num_steps)
    return torch.tensor(list(some), dtype=torch.float64).view(-1, 1, 1, 1)


def noisy(i: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """States (B, 1, 2, 3) for these indices."""
    generator = torch.Generator().manual_seed(11)
    return torch.randn(len(i), 1, 2, 3, generator=generator, dtype=torch.float64).to(dtype)


def teachers_end(
    teacher: Teacher, z_t: Tensor, i: Tensor, num_steps: int, ratio: int, schedule: CosineSchedule
) -> Tensor:
    """z'' by `ratio` textbook DDIM steps, image by image, times made of fractions."""
    ends = []
    for z, index in zip(z_t, i.flatten().tolist(), strict=True):
        state = z[None]
        for j in range(ratio):
            t, s = (
                torch.tensor((ratio * index - k) / (ratio * num_steps), dtype=torch.float64)
                for k in (j, j + 1)
            )
            (alpha_t, sigma_t), (alpha_s, sigma_s) = (schedule.alpha_sigma(u) for u in (t, s))
            v_hat = teacher(state, t)
            x_hat, eps_hat = alpha_t * state - sigma_t * v_hat, sigma_t * state + alpha_t * v_hat
            state = alpha_s * x_hat + sigma_s * eps_hat
        ends.append(state)
    return torch.cat(ends)


@pytest.mark.parametrize("ratio", [1, 2, 3, 4])
@pytest.mark.parametrize("num_steps", COUNTS)
def test_a_student_that_predicts_it_lands_on_the_teachers_end(
    num_steps: int, ratio: int, schedule: CosineSchedule
) -> None:
    i = indices(num_steps)
    z_t = noisy(i)
    v_goal = multi_step_target(smooth, z_t, i, num_steps, schedule, ratio)
    phi_t, phi_s = schedule.angle(i / num_steps), schedule.angle((i - 1) / num_steps)
    expected = teachers_end(smooth, z_t, i, num_steps, ratio, schedule)
    assert_close(ddim_step(v_goal, z_t, phi_t, phi_s), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("num_steps", COUNTS)
def test_it_is_the_papers_x_target_at_every_i(num_steps: int, schedule: CosineSchedule) -> None:
    """x~ = (z'' - (sigma''/sigma_t) z_t) / (alpha'' - (sigma''/sigma_t) alpha_t), i = 1 too.

    The papers' form cancels like N; in float64 that leaves 1e-9.
    """
    i = indices(num_steps)
    z_t, t = noisy(i), i / num_steps
    (alpha_t, sigma_t), (alpha, sigma) = (schedule.alpha_sigma(u) for u in (t, t - 1 / num_steps))
    end = teachers_end(smooth, z_t, i, num_steps, 2, schedule)
    x_target = (end - sigma / sigma_t * z_t) / (alpha - sigma / sigma_t * alpha_t)
    v_goal = multi_step_target(smooth, z_t, i, num_steps, schedule)
    assert_close(x_from_v(v_goal, z_t, alpha_t, sigma_t), x_target, rtol=0, atol=1e-9)


@pytest.mark.parametrize("num_steps", [1, 4, 1024])
def test_gaussian_teacher_in_fifty_digits(num_steps: int, gaussian: Gaussian) -> None:
    """The whole of Algorithm 2 on a closed-form teacher, in arithmetic of 50 digits."""
    i = indices(num_steps)
    z_t = noisy(i)
    v_goal = multi_step_target(gaussian, z_t, i, num_steps, gaussian.schedule)
    for z, index, found in zip(z_t, i.flatten().tolist(), v_goal, strict=True):
        expected = exact_target(float(z.flatten()[0]), int(index), num_steps, gaussian)
        assert found.flatten()[0].item() == pytest.approx(expected, rel=1e-10, abs=1e-10)


def exact_target(z: float, i: int, num_steps: int, data: Gaussian) -> float:
    """v~ of one pixel, from x~ by the papers' formula."""
    with mpmath.workdps(50):
        b = mpmath.atan(mpmath.exp(-10))
        a = mpmath.atan(mpmath.exp(10)) - b
        mean, variance = mpmath.mpf(data.mean), mpmath.mpf(data.std) ** 2
        phi = [a * mpmath.mpf(2 * i - j) / (2 * num_steps) + b for j in range(3)]
        alpha, sigma = [mpmath.cos(p) for p in phi], [mpmath.sin(p) for p in phi]
        state = mpmath.mpf(z)
        for j in range(2):
            total = alpha[j] ** 2 * variance + sigma[j] ** 2
            x_hat = mean + alpha[j] * variance * (state - alpha[j] * mean) / total
            eps_hat = (state - alpha[j] * x_hat) / sigma[j]
            state = alpha[j + 1] * x_hat + sigma[j + 1] * eps_hat
        fraction = sigma[2] / sigma[0]
        x_target = (state - fraction * mpmath.mpf(z)) / (alpha[2] - fraction * alpha[0])
        return float((alpha[0] * mpmath.mpf(z) - x_target) / sigma[0])


@pytest.mark.parametrize("ratio", [2, 3])
@pytest.mark.parametrize("num_steps", [1, 3, 64, 1024])
def test_point_mass_is_its_own_target(num_steps: int, ratio: int, point: Gaussian) -> None:
    i = indices(num_steps)
    z_t, t = noisy(i), i / num_steps
    v_goal = multi_step_target(point, z_t, i, num_steps, point.schedule, ratio)
    x_target = x_from_v(v_goal, z_t, *point.schedule.alpha_sigma(t))
    assert_close(x_target, torch.full_like(z_t, point.mean), rtol=0, atol=1e-9)


@pytest.mark.parametrize("num_steps", [1, 8, 64, 1024, 4096, 8192])
def test_float32_keeps_its_digits_at_any_n(num_steps: int, gaussian: Gaussian) -> None:
    """x~ within 1e-6 of float64; the papers' form is off by 1e-3 at N = 4096."""
    i = torch.linspace(1, num_steps, 64, dtype=torch.float64).round().view(-1, 1, 1, 1)
    z_t = noisy(i, torch.float32)
    coefficients = gaussian.schedule.alpha_sigma(i / num_steps)
    coarse, fine = (
        x_from_v(
            multi_step_target(gaussian, z, i, num_steps, gaussian.schedule), z, *coefficients
        ).double()
        for z in (z_t, z_t.double())
    )
    assert multi_step_target(gaussian, z_t, i, num_steps, gaussian.schedule).dtype == torch.float32
    assert (coarse - fine).abs().max().item() < 1e-6


@pytest.mark.parametrize("num_steps", [3, 1000])
def test_integer_indices_are_as_good_as_float64_ones(
    num_steps: int, schedule: CosineSchedule
) -> None:
    i = indices(num_steps)
    z_t = noisy(i)
    found = multi_step_target(smooth, z_t, i.long(), num_steps, schedule)
    assert torch.equal(found, multi_step_target(smooth, z_t, i, num_steps, schedule))


def test_teacher_is_called_at_the_fractions_of_the_students_step(schedule: CosineSchedule) -> None:
    seen = []

    def teacher(z_t: Tensor, t: Tensor) -> Tensor:
        seen.append(t.flatten().tolist())
        return smooth(z_t, t)

    i = torch.tensor([1.0, 5.0], dtype=torch.float64).view(-1, 1, 1, 1)
    multi_step_target(teacher, noisy(i), i, 5, schedule, 3)
    assert seen == [[3 / 15, 15 / 15], [2 / 15, 14 / 15], [1 / 15, 13 / 15]]


def test_other_ends_of_the_log_snr(gaussian: Gaussian) -> None:
    schedule = CosineSchedule(log_snr_min=-9.0, log_snr_max=7.0)
    teacher = replace(gaussian, schedule=schedule)
    i = indices(4)
    z_t = noisy(i)
    v_goal = multi_step_target(teacher, z_t, i, 4, schedule)
    landed = ddim_step(v_goal, z_t, schedule.angle(i / 4), schedule.angle((i - 1) / 4))
    assert_close(landed, teachers_end(teacher, z_t, i, 4, 2, schedule), rtol=0, atol=1e-12)


def test_no_gradient_reaches_the_teacher(schedule: CosineSchedule) -> None:
    factor = torch.ones((), dtype=torch.float64, requires_grad=True)
    i = indices(2)

    def teacher(z_t: Tensor, t: Tensor) -> Tensor:
        return z_t * factor

    assert not multi_step_target(teacher, noisy(i), i, 2, schedule).requires_grad
