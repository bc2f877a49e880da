"""Whatever the shape, dtype, time and schedule: conversions, steps, targets and samplers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import (
    DDIM,
    PARAMETERIZATIONS,
    SAMPLERS,
    SCHEDULES,
    Schedule,
    clipped_ddim_step,
    ddim_step,
    diffuse,
    encode,
    eps_from_v,
    multi_step_target,
    uniform_grid,
    v_target,
    x_from_v,
)

ROUNDING = {torch.float64: 1e-14, torch.float32: 2e-6, torch.bfloat16: 0.1}
TIMES = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.0, 1.0))


@dataclass(frozen=True)
class Case:
    """Images of some shape, a time for each and a schedule."""

    schedule: Schedule
    x: Tensor  # (B, C, H, W), in [-1, 1]
    eps: Tensor  # (B, C, H, W)
    t: Tensor  # (B, 1, 1, 1), or (), float64
    generator: torch.Generator

    def like(self, found: Tensor) -> bool:
        """Whether this is a tensor of such images: shape, dtype, finite."""
        whole = (found.shape, found.dtype) == (self.x.shape, self.x.dtype)
        return whole and bool(found.isfinite().all())


@st.composite
def cases(draw: st.DrawFn) -> Case:
    shape = tuple(draw(st.integers(1, 4)) for _ in range(4))
    dtype = draw(st.sampled_from(list(ROUNDING)))
    schedule = SCHEDULES[draw(st.sampled_from(list(SCHEDULES)))]()
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    x = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    eps = torch.randn(shape, generator=generator, dtype=torch.float64)
    if draw(st.booleans()):
        t = torch.tensor(draw(TIMES), dtype=torch.float64)
    else:
        times = draw(st.lists(TIMES, min_size=shape[0], max_size=shape[0]))
        t = torch.tensor(times, dtype=torch.float64).view(-1, 1, 1, 1)
    return Case(schedule, x.to(dtype), eps.to(dtype), t, generator)


def curved(z_t: Tensor, t: Tensor) -> Tensor:
    """Some v_hat that depends on the time, in z_t's dtype."""
    return torch.tanh(z_t) * torch.cos(2 * t).to(z_t.dtype) - 0.4 * z_t


@settings(deadline=None, max_examples=60)
@given(case=cases())
def test_x_eps_and_v_there_and_back(case: Case) -> None:
    coefficients = case.schedule.alpha_sigma(case.t)
    z_t, v = (make(case.x, case.eps, *coefficients) for make in (diffuse, v_target))
    x, eps = (back(v, z_t, *coefficients) for back in (x_from_v, eps_from_v))
    assert all(case.like(found) for found in (z_t, v, x, eps))
    atol = ROUNDING[case.x.dtype]
    assert_close(x, case.x, rtol=0, atol=atol)
    assert_close(eps, case.eps, rtol=0, atol=atol)
    assert_close(diffuse(x, eps, *coefficients), z_t, rtol=0, atol=2 * atol)
    truth = {"v": v, "x": case.x, "eps": case.eps, "x_eps": torch.cat([case.x, case.eps], dim=1)}
    alpha, sigma = (float(c.min()) for c in coefficients)
    grows = {"v": 1.0, "x": 1 / sigma, "eps": 1 / alpha, "x_eps": 1.0}
    for kind, prediction in truth.items():
        found = PARAMETERIZATIONS[kind].to_v(prediction, z_t, *coefficients)
        assert case.like(found)
        assert_close(found, v, rtol=0, atol=2 * atol * grows[kind])


@settings(deadline=None, max_examples=60)
@given(case=cases(), s=TIMES)
def test_a_step_with_the_true_v_stays_on_the_path_of_x_and_eps(case: Case, s: float) -> None:
    """Towards the data or away from it, from a time for each image to one for all."""
    at_s = torch.tensor(s, dtype=torch.float64)
    phi_t, phi_s = case.schedule.angle(case.t), case.schedule.angle(at_s)
    z_t, v = (make(case.x, case.eps, phi_t.cos(), phi_t.sin()) for make in (diffuse, v_target))
    z_s = ddim_step(v, z_t, phi_t, phi_s)
    assert case.like(z_s)
    expected = diffuse(case.x, case.eps, phi_s.cos(), phi_s.sin())
    assert_close(z_s, expected, rtol=0, atol=2 * ROUNDING[case.x.dtype])
    assert case.like(clipped_ddim_step(v, z_t, phi_t, phi_s))


@settings(deadline=None, max_examples=60)
@given(case=cases(), num_steps=st.integers(1, 8192), ratio=st.integers(1, 4), data=st.data())
def test_a_students_step_lands_where_the_teachers_do(
    case: Case, num_steps: int, ratio: int, data: st.DataObject
) -> None:
    """`ratio` DDIM steps of the teacher, in the images' own dtype."""
    batch = len(case.x)
    some = st.one_of(st.sampled_from([1, num_steps]), st.integers(1, num_steps))
    i = torch.tensor(data.draw(st.lists(some, min_size=batch, max_size=batch))).view(-1, 1, 1, 1)
    schedule, z = case.schedule, case.eps
    v_goal = multi_step_target(curved, z, i, num_steps, schedule, ratio)
    assert case.like(v_goal)
    times = [(ratio * i.double() - j) / (ratio * num_steps) for j in range(ratio + 1)]
    for t, s in pairwise(times):
        z = ddim_step(curved(z, t), z, schedule.angle(t), schedule.angle(s))
    landed = ddim_step(v_goal, case.eps, schedule.angle(times[0]), schedule.angle(times[-1]))
    assert_close(landed, z, rtol=0, atol=4 * ROUNDING[case.x.dtype])


@pytest.mark.parametrize("name", list(SAMPLERS))
@settings(deadline=None, max_examples=20)
@given(case=cases(), num_steps=st.integers(1, 6), clip=st.booleans())
def test_samples_are_images_like_the_noise(
    name: str, case: Case, num_steps: int, clip: bool
) -> None:
    sampler = SAMPLERS[name](case.schedule, clip=clip)
    grid = uniform_grid(num_steps)
    states = list(sampler.states(curved, case.eps, grid, case.generator))
    assert len(states) == num_steps
    assert all(case.like(state.z) for state in states)
    assert not clip or states[-1].z.abs().max() <= 1


@settings(deadline=None, max_examples=20)
@given(case=cases(), num_steps=st.integers(1, 6), eta=st.floats(0.0, 1.0), clip=st.booleans())
def test_so_are_those_of_ddim_with_noise_and_encodings(
    case: Case, num_steps: int, eta: float, clip: bool
) -> None:
    grid = uniform_grid(num_steps)
    sampler = DDIM(case.schedule, eta=eta, clip=clip)
    assert case.like(sampler.sample(curved, case.eps, grid, case.generator))
    assert all(case.like(state.z) for state in encode(curved, case.x, grid, case.schedule))
