"""Algorithm 4: what an encoder must predict, and the way from an image to noise and back."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import (
    DDIM,
    SCHEDULES,
    CosineSchedule,
    Denoiser,
    GaussianMixture,
    ddim_step,
    diffuse,
    encode,
    encoding_times,
    multi_step_target,
    uniform_grid,
)

if TYPE_CHECKING:
    from conftest import Gaussian


def from_zero(num_steps: int) -> Tensor:
    """Every index of Algorithm 4, or 0, 1, the middle and N - 1: t = i / N; (B, 1, 1, 1)."""
    ends = {0, 1, num_steps // 2, num_steps - 1} & {*range(num_steps)}
    some = range(num_steps) if num_steps <= 8 else sorted(ends)
    return torch.tensor([*some], dtype=torch.float64).view(-1, 1, 1, 1)


def noisy(count: int) -> Tensor:
    """States (count, 1, 2, 3)."""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(count, 1, 2, 3, generator=generator, dtype=torch.float64)


def two_steps(data: Gaussian, z: Tensor, i: Tensor, num_steps: int) -> Tensor:
    """z'' of Algorithm 4 by its own lines: x_hat and eps_hat of the Gaussian, taken to t', t''."""
    for t, later in (
        (i / num_steps, (i + 0.5) / num_steps),
        ((i + 0.5) / num_steps, (i + 1) / num_steps),
    ):
        (alpha, sigma), (alpha_l, sigma_l) = map(data.schedule.alpha_sigma, (t, later))
        mean, std = data.marginal(t)
        x_hat = data.mean + alpha * data.std**2 * (z - mean) / std**2
        eps_hat = sigma * (z - mean) / std**2
        z = alpha_l * x_hat + sigma_l * eps_hat
    return z


@pytest.mark.parametrize("kind", list(SCHEDULES))
@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 16, 1000, 8192])
def test_one_step_of_an_encoder_lands_on_the_teachers_two(
    num_steps: int, kind: str, gaussian: Gaussian
) -> None:
    data = replace(gaussian, schedule=SCHEDULES[kind]())
    i = from_zero(num_steps)
    z_t = noisy(len(i))
    times = encoding_times(i + 1, num_steps)
    assert torch.equal(times[0], i / num_steps)
    v_goal = multi_step_target(
        data, z_t, i + 1, num_steps, data.schedule, ratio=2, times=encoding_times
    )
    landed = ddim_step(v_goal, z_t, *(data.schedule.angle(t) for t in (times[0], times[-1])))
    assert_close(landed, two_steps(data, z_t, i, num_steps), rtol=0, atol=1e-9)


@pytest.mark.parametrize("ratio", [2, 4])
def test_on_a_mixture_it_lands_where_the_reversed_teacher_does(
    ratio: int, schedule: CosineSchedule
) -> None:
    """25 sharp Gaussians in 5 classes, and the whole way from t = 0 for N = 1."""
    mixture, generator = GaussianMixture.grid(), torch.Generator().manual_seed(3)
    x, labels = mixture.sample(12, generator)
    teacher = mixture.denoiser(schedule, labels)
    *_, end = encode(teacher, x, uniform_grid(ratio), schedule)
    i = torch.ones(len(x), 1, 1, 1, dtype=torch.float64)
    v_goal = multi_step_target(teacher, x, i, 1, schedule, ratio, encoding_times)
    *_, landed = encode(lambda *_: v_goal, x, uniform_grid(1), schedule)
    assert_close(landed.z, end.z, rtol=0, atol=1e-9)
    assert landed.evaluations == 1


def test_a_perfect_encoder_of_one_step_is_the_teachers_two_on_noisy_states(
    schedule: CosineSchedule,
) -> None:
    mixture, generator = GaussianMixture.grid(), torch.Generator().manual_seed(4)
    x, labels = mixture.sample(9, generator)
    eps = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    i = torch.arange(1, 10, dtype=torch.float64).view(-1, 1, 1, 1)
    times, teacher = encoding_times(i, 9), mixture.denoiser(schedule, labels)
    z_t = diffuse(x, eps, *schedule.alpha_sigma(times[0]))
    z = z_t
    for t, later in pairwise(times):
        z = ddim_step(teacher(z, t), z, schedule.angle(t), schedule.angle(later))
    v_goal = multi_step_target(teacher, z_t, i, 9, schedule, 2, encoding_times)
    landed = ddim_step(v_goal, z_t, schedule.angle(times[0]), schedule.angle(times[-1]))
    assert_close(landed, z, rtol=0, atol=1e-9)


@pytest.mark.parametrize("data", ["gaussian", "mixture"])
def test_an_image_comes_back_through_many_exact_steps(
    data: str, gaussian: Gaussian, schedule: CosineSchedule
) -> None:
    """The error of encoding and decoding falls like 1/N."""
    mixture, generator = GaussianMixture.grid(), torch.Generator().manual_seed(5)
    x, labels = mixture.sample(20, generator)
    denoiser: Denoiser = gaussian if data == "gaussian" else mixture.denoiser(schedule, labels)
    errors = []
    for n in (100, 200, 400):
        *_, end = encode(denoiser, x, uniform_grid(n), schedule)
        back = DDIM(schedule).sample(denoiser, end.z, uniform_grid(n))
        errors.append((back - x).abs().max().item())
    assert errors[-1] < 0.05
    for coarse, fine in pairwise(errors):
        assert 1.6 < coarse / fine < 2.5
