"""The target of a halving: landing where the teacher lands, by independent arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import mpmath
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import (
    SCHEDULES,
    CosineSchedule,
    Denoiser,
    GaussianMixture,
    GuidedDenoiser,
    LinearLogSNRSchedule,
    Schedule,
    ddim_step,
    diffuse,
    multi_step_target,
    x_from_v,
)

if TYPE_CHECKING:
    from conftest import Gaussian

COUNTS = [1, 2, 3, 5, 8, 64, 1000, 1024, 8192]
Teacher = Callable[[Tensor, Tensor], Tensor]


def smooth(z_t: Tensor, t: Tensor) -> Tensor:
    """Some nonlinear teacher whose v_hat depends on the time and on other pixels."""
    t = t.to(z_t.dtype)
    return torch.tanh(z_t.roll(1, -1) + 3.0 * t) - z_t * torch.cos(5.0 * t)


def indices(num_steps: int) -> Tensor:
    """Grid indices with both ends: all, or 1, 2, the middle, N - 1, N; (B, 1, 1, 1)."""
    ends = (1, 2, num_steps // 2, num_steps - 1, num_steps)
    some = range(1, num_steps + 1) if num_steps <= 8 else ends
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


@pytest.mark.parametrize("ratio", [2, 4])
@pytest.mark.parametrize("num_steps", [1, 2, 4, 1024, 8192])
@pytest.mark.parametrize("kind", list(SCHEDULES))
def test_gaussian_teacher_in_fifty_digits(
    kind: str, num_steps: int, ratio: int, gaussian: Gaussian
) -> None:
    """The whole of Algorithm 2 on a closed-form teacher, in arithmetic of 50 digits."""
    data = replace(gaussian, schedule=SCHEDULES[kind]())
    i = indices(num_steps)
    z_t, t = noisy(i), i / num_steps
    v_goal = multi_step_target(data, z_t, i, num_steps, data.schedule, ratio)
    x_goal = x_from_v(v_goal, z_t, *data.schedule.alpha_sigma(t))
    for k, index in enumerate(i.flatten().tolist()):
        pixels = (part[k].flatten().tolist() for part in (z_t, x_goal, v_goal))
        for z, *found in zip(*pixels, strict=True):
            exact = exact_target(z, int(index), num_steps, ratio, data)
            assert found == pytest.approx(exact, rel=0, abs=1e-12)


def exact_angle(schedule: Schedule, t: Any) -> Any:
    """phi_t in the current precision of mpmath, from the definitions."""
    low, high = mpmath.mpf(schedule.log_snr_min), mpmath.mpf(schedule.log_snr_max)
    if isinstance(schedule, CosineSchedule):
        first, last = (mpmath.atan(mpmath.exp(-end / 2)) for end in (high, low))
        return first + (last - first) * t
    if isinstance(schedule, LinearLogSNRSchedule):
        return mpmath.atan(mpmath.exp(-(high + (low - high) * t) / 2))
    b_0, b_1 = (1000 * mpmath.mpf(beta) for beta in (1e-4, 0.02))

    def u_of(log_snr: Any) -> Any:
        integral = mpmath.log(1 + mpmath.exp(-log_snr))
        return (-b_0 + mpmath.sqrt(b_0**2 + 2 * (b_1 - b_0) * integral)) / (b_1 - b_0)

    u = u_of(high) + (u_of(low) - u_of(high)) * t
    return mpmath.atan(mpmath.sqrt(mpmath.exp(b_0 * u + (b_1 - b_0) * u**2 / 2) - 1))


def exact_target(
    z: float, i: int, num_steps: int, ratio: int, data: Gaussian
) -> tuple[float, float]:
    """(x~, v~) of one pixel, by the papers' formula."""
    with mpmath.workdps(50):
        mean, variance = mpmath.mpf(data.mean), mpmath.mpf(data.std) ** 2
        times = [mpmath.mpf(ratio * i - j) / (ratio * num_steps) for j in range(ratio + 1)]
        phi = [exact_angle(data.schedule, t) for t in times]
        state = start = mpmath.mpf(z)
        for t, s in pairwise(phi):
            alpha, sigma = mpmath.cos(t), mpmath.sin(t)
            total = alpha**2 * variance + sigma**2
            x_hat = mean + alpha * variance * (state - alpha * mean) / total
            eps_hat = (state - alpha * x_hat) / sigma
            state = mpmath.cos(s) * x_hat + mpmath.sin(s) * eps_hat
        fraction = mpmath.sin(phi[-1]) / mpmath.sin(phi[0])
        alpha, sigma = mpmath.cos(phi[0]), mpmath.sin(phi[0])
        x_target = (state - fraction * start) / (mpmath.cos(phi[-1]) - fraction * alpha)
        return float(x_target), float((alpha * start - x_target) / sigma)


@pytest.mark.parametrize("ratio", [2, 3])
@pytest.mark.parametrize("num_steps", [1, 3, 64, 1024])
def test_point_mass_is_its_own_target(num_steps: int, ratio: int, point: Gaussian) -> None:
    i = indices(num_steps)
    z_t, t = noisy(i), i / num_steps
    v_goal = multi_step_target(point, z_t, i, num_steps, point.schedule, ratio)
    x_target = x_from_v(v_goal, z_t, *point.schedule.alpha_sigma(t))
    assert_close(x_target, torch.full_like(z_t, point.mean), rtol=0, atol=1e-9)


def gaussian_teacher(schedule: Schedule, t: Tensor, gaussian: Gaussian) -> tuple[Denoiser, Tensor]:
    """A teacher that computes in z's dtype, and any z_t."""
    return replace(gaussian, schedule=schedule), noisy(t, torch.float32)


def guided_teacher(schedule: Schedule, t: Tensor, gaussian: Gaussian) -> tuple[Denoiser, Tensor]:
    """25 sharp Gaussians in 5 classes, w = 1, and z_t of its data."""
    mixture, generator = GaussianMixture.grid(), torch.Generator().manual_seed(3)
    x, labels = mixture.sample(len(t), generator)
    both = torch.cat([labels, torch.full_like(labels, mixture.num_classes)])
    w = torch.ones(len(t), dtype=torch.float64)
    eps = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    z_t = diffuse(x, eps, *schedule.alpha_sigma(t))
    return GuidedDenoiser(mixture.denoiser(schedule, both), w), z_t.float()


@pytest.mark.parametrize("make", [gaussian_teacher, guided_teacher])
@pytest.mark.parametrize("ratio", [2, 4])
@pytest.mark.parametrize("kind", list(SCHEDULES))
def test_float32_keeps_its_digits_at_any_n(
    kind: str, ratio: int, make: Any, gaussian: Gaussian
) -> None:
    """x~ within 1e-6 of float64, i = 1, 2, N - 1, N included; the papers' form is off by 1e-3."""
    schedule = SCHEDULES[kind]()
    for num_steps in (1, 2, 8, 64, 1024, 4096, 8192):
        some = torch.linspace(1, num_steps, 60, dtype=torch.float64).round()
        i = torch.cat([some.view(-1, 1, 1, 1), indices(num_steps)])
        t = i / num_steps
        teacher, z_t = make(schedule, t, gaussian)
        v_coarse, v_fine = (
            multi_step_target(teacher, z, i, num_steps, schedule, ratio)
            for z in (z_t, z_t.double())
        )
        assert v_coarse.dtype == torch.float32
        coarse = x_from_v(v_coarse, z_t, *schedule.alpha_sigma(t)).double()
        fine = x_from_v(v_fine, z_t.double(), *schedule.alpha_sigma(t))
        assert (coarse - fine).abs().max().item() < 1e-6, num_steps


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
