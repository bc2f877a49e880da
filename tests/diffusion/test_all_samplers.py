"""What every sampler promises, and each one's own mathematics."""

from __future__ import annotations

import math
import warnings
import weakref
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.testing import assert_close

from pdpipe import registry
from pdpipe.diffusion import (
    DDIM,
    SAMPLERS,
    SCHEDULES,
    AdaptiveFlow,
    Ancestral,
    CosineSchedule,
    DPMSolver,
    Euler,
    GaussianMixture,
    GuidedDenoiser,
    Heun,
    LinearBetaSchedule,
    RungeKutta4,
    Sampler,
    Schedule,
    StochasticDDIM,
    clipped,
    ddpm_alphas_squared,
    discrete_grid,
    encode,
    eps_from_v,
    posterior_std,
    uniform_grid,
    v_target,
    x_from_v,
)
from pdpipe.errors import SamplerError
from pdpipe.models import evaluations_of, make_sampler, most_steps

if TYPE_CHECKING:
    from conftest import Gaussian

EVALUATIONS = {"heun": 2, "rk4": 4}  # a step; 1 for all others
every_sampler = pytest.mark.parametrize("name", list(SAMPLERS))


def wavy(z_t: Tensor, t: Tensor) -> Tensor:
    """Some smooth v_hat, whose x_hat leaves [-1, 1]."""
    return torch.tanh(2.0 * z_t.roll(1, -1)) - 1.5 * z_t * torch.sin(2.0 * t)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_settings_know_every_sampler_by_its_name() -> None:
    assert tuple(SAMPLERS) == registry.SAMPLERS


@every_sampler
@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 10, 49])
def test_states_count_what_was_evaluated(
    name: str, num_steps: int, z_1: Tensor, schedule: CosineSchedule
) -> None:
    calls = []

    def denoiser(z_t: Tensor, t: Tensor) -> Tensor:
        calls.append(t)
        assert t.dtype == torch.float64
        return wavy(z_t, t)

    states = []
    for state in SAMPLERS[name](schedule).states(
        denoiser, z_1, uniform_grid(num_steps), generator()
    ):
        states.append(state)
        assert state.evaluations == len(calls)
    assert len(states) == num_steps
    assert len(calls) == num_steps * EVALUATIONS.get(name, 1)
    times = [i / num_steps for i in range(num_steps - 1, -1, -1)]
    assert [state.t for state in states] == times


@every_sampler
def test_a_guided_denoiser_counts_twice(name: str, z_1: Tensor, schedule: CosineSchedule) -> None:
    def both(z_t: Tensor, t: Tensor) -> Tensor:
        assert len(z_t) == 16, "both predictions in one batch"
        return wavy(z_t, t) * torch.linspace(0.5, 1.0, 16, dtype=torch.float64).view(-1, 1, 1, 1)

    guided = GuidedDenoiser(both, torch.full((8,), 0.7))
    state = SAMPLERS[name](schedule).final(guided, z_1, uniform_grid(5), generator())
    assert state.evaluations == 2 * 5 * EVALUATIONS.get(name, 1)


@every_sampler
def test_the_interface_needs_no_more_than_a_schedule(name: str, schedule: CosineSchedule) -> None:
    made = SAMPLERS[name](schedule)
    assert not made.clip
    assert [f.name for f in fields(made)][:2] == ["schedule", "clip"]


@every_sampler
def test_nothing_but_its_generator_makes_it_random(
    name: str, z_1: Tensor, schedule: CosineSchedule
) -> None:
    sampler, grid = SAMPLERS[name](schedule), uniform_grid(6)
    first, same, other = (sampler.sample(wavy, z_1, grid, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    stochastic = name in ("ancestral", "stochastic")
    assert torch.equal(first, other) != stochastic


@pytest.mark.parametrize(
    "make",
    [Ancestral, StochasticDDIM, lambda s: DDIM(s, eta=0.6)],
    ids=["ancestral", "stochastic", "ddim-eta"],
)
def test_generators_of_each_image_make_it_independent_of_its_batch(
    make: Any, schedule: CosineSchedule
) -> None:
    z_1 = torch.randn(6, 1, 2, 2, generator=generator(3))
    sampler, grid = make(schedule), uniform_grid(5)

    def denoiser(z_t: Tensor, t: Tensor) -> Tensor:
        return -0.4 * z_t

    whole = sampler.sample(denoiser, z_1, grid, [generator(k) for k in range(6)])
    parts = [
        sampler.sample(denoiser, z_1[k : k + 2], grid, [generator(k), generator(k + 1)])
        for k in (0, 2, 4)
    ]
    assert torch.equal(whole, torch.cat(parts))


FLOWS = ["euler", "heun", "rk4"]  # they return z_0 if they do not clip; all others end with x_hat


@every_sampler
@pytest.mark.parametrize("num_steps", [1, 2, 4, 8, 32])
def test_clipping_keeps_samples_in_range_and_near_the_data(
    name: str, num_steps: int, schedule: CosineSchedule
) -> None:
    """Points at the corners of the range, in float32, on the full grid."""
    corners = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    thirds = torch.full((3,), 1 / 3, dtype=torch.float64)
    mixture = GaussianMixture(corners, 1e-3, thirds, torch.arange(3))
    z_1 = torch.randn(200, 2, 1, 1, generator=generator())
    sampler = SAMPLERS[name](schedule, clip=True)
    x = sampler.sample(mixture.denoiser(schedule), z_1, uniform_grid(num_steps), generator())
    assert x.abs().max() <= 1
    if num_steps == 32:
        assert (x.abs() > 0.9).all(dim=1).double().mean() > 0.9, "few points are at a corner"


@every_sampler
def test_clipping_is_a_denoiser_with_clipped_predictions(
    name: str, z_1: Tensor, schedule: CosineSchedule
) -> None:
    """x_hat clipped and eps_hat recomputed, for every sampler alike."""

    def clipping(z_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = schedule.alpha_sigma(t)
        return v_target(*clipped(wavy(z_t, t), z_t, alpha, sigma), alpha, sigma)

    grid = uniform_grid(8)
    found, expected, free = (
        list(sampler.states(denoiser, z_1, grid, generator()))
        for sampler, denoiser in (
            (SAMPLERS[name](schedule, clip=True), wavy),
            (SAMPLERS[name](schedule), clipping),
            (SAMPLERS[name](schedule), wavy),
        )
    )
    for a, b in zip(found[:-1], expected, strict=False):
        assert_close(a.z, b.z, rtol=0, atol=1e-10)
    assert (free[-2].z - found[-2].z).abs().max() > 0.05, "nothing was clipped"


@pytest.mark.parametrize("name", [n for n in SAMPLERS if n not in FLOWS])
@pytest.mark.parametrize("kind", list(SCHEDULES))
def test_a_point_mass_is_found_whatever_the_schedule(name: str, kind: str, z_1: Tensor) -> None:
    """x_hat is the point at any z_t and t, so it is what they return."""
    schedule: Schedule = SCHEDULES[kind]()

    def denoiser(z_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = schedule.alpha_sigma(t)
        return (alpha * z_t - 0.7) / sigma

    x = SAMPLERS[name](schedule).sample(denoiser, z_1, uniform_grid(9), generator())
    assert_close(x, torch.full_like(x, 0.7), rtol=0, atol=1e-9)


def order(errors: list[float]) -> float:
    """The slope of log error against log step, steps halving from one error to the next."""
    steps = -math.log(2) * np.arange(len(errors))
    return float(np.polyfit(steps, np.log(errors), 1)[0])


@pytest.mark.parametrize(
    ("make", "expected", "counts"),
    [
        (Euler, 1, (64, 128, 256, 512)),
        (DDIM, 1, (64, 128, 256, 512)),
        (Heun, 2, (64, 128, 256, 512)),
        (RungeKutta4, 4, (32, 64, 128, 256)),
    ],
)
def test_orders_of_convergence_on_the_full_grid(
    make: type[Sampler], expected: int, counts: tuple[int, ...], z_1: Tensor, gaussian: Gaussian
) -> None:
    ends = uniform_grid(1)
    exact = gaussian.flow(z_1, ends[0], ends[1])
    sampler = make(gaussian.schedule)
    errors = [
        (sampler.sample(gaussian, z_1, uniform_grid(n)) - exact).abs().max().item() for n in counts
    ]
    assert order(errors) == pytest.approx(expected, abs=0.12), errors


def test_dpm_solver_has_order_2_inside(z_1: Tensor, gaussian: Gaussian) -> None:
    """From t = 0.95 to 0.05, the state before the last; DDIM on the same grid has order 1."""
    start, end = torch.tensor([0.95, 0.05], dtype=torch.float64)
    exact = gaussian.flow(z_1, start, end)
    for make, expected in ((DPMSolver, 2.0), (DDIM, 1.0)):
        errors = []
        for n in (32, 64, 128, 256):
            grid = torch.cat([0.95 - 0.9 * torch.arange(n + 1) / n, torch.zeros(1)]).double()
            grid[n] = end
            *_, before, _ = make(gaussian.schedule).states(gaussian, z_1, grid)
            assert before.t == 0.05
            errors.append((before.z - exact).abs().max().item())
        assert order(errors) == pytest.approx(expected, abs=0.2), errors


def textbook_flow(mixture: GaussianMixture, schedule: Schedule, z_1: Tensor) -> Tensor:
    """dz/dt = f z - g²/2 score by scipy; f = dlog(alpha)/dt, g² = d(sigma²)/dt - 2 f sigma²."""

    def rate(time: float, flat: Any) -> Any:
        t = torch.tensor(time, dtype=torch.float64)
        (alpha, sigma), angle_rate = schedule.alpha_sigma(t), schedule.angle_rate(t)
        alpha_rate, sigma_rate = -sigma * angle_rate, alpha * angle_rate
        f = alpha_rate / alpha
        g_squared = 2 * sigma * sigma_rate - 2 * f * sigma**2
        z = torch.from_numpy(flat).view(z_1.shape).requires_grad_(True)
        (score,) = torch.autograd.grad(mixture.log_density(z, alpha, sigma).sum(), z)
        return (f * z.detach() - g_squared / 2 * score).flatten().numpy()

    found = solve_ivp(rate, (0.999, 0.001), z_1.flatten().numpy(), rtol=1e-9, atol=1e-9)
    return torch.from_numpy(found.y[:, -1].copy()).view(z_1.shape)


@pytest.mark.parametrize("kind", list(SCHEDULES))
def test_flow_is_the_textbook_ode(kind: str) -> None:
    schedule, mixture = SCHEDULES[kind](), GaussianMixture.pair()
    z_1 = torch.randn(8, 2, 1, 1, generator=generator(), dtype=torch.float64)
    expected = textbook_flow(mixture, schedule, z_1)
    ends = torch.tensor([0.999, 0.001], dtype=torch.float64)
    denoiser = mixture.denoiser(schedule)
    adaptive = AdaptiveFlow(schedule).final(denoiser, z_1, ends)
    assert adaptive.evaluations > 20
    assert_close(adaptive.z, expected, rtol=0, atol=1e-6)
    grid = torch.linspace(0.999, 0.001, 801, dtype=torch.float64)
    assert_close(RungeKutta4(schedule).sample(denoiser, z_1, grid), expected, rtol=0, atol=1e-5)


def test_adaptive_flow_is_the_closed_form(z_1: Tensor, gaussian: Gaussian) -> None:
    ends = uniform_grid(1)
    found = AdaptiveFlow(gaussian.schedule).sample(gaussian, z_1, ends)
    assert_close(found, gaussian.flow(z_1, ends[0], ends[1]), rtol=0, atol=1e-8)


def test_encoding_follows_the_flow_backwards(z_1: Tensor, gaussian: Gaussian) -> None:
    """From t = 0, where sigma is 4.5e-5, at first order."""
    ends, x = uniform_grid(1), z_1 * 0.4
    exact = gaussian.flow(x, ends[1], ends[0])
    errors = []
    for n in (64, 128, 256):
        *_, state = encode(gaussian, x, uniform_grid(n), gaussian.schedule)
        assert (state.t, state.evaluations) == (1.0, n)
        errors.append((state.z - exact).abs().max().item())
    assert order(errors) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_ancestral_samples_have_the_exact_moments(gamma: float, gaussian: Gaussian) -> None:
    """Of N steps on a Gaussian they are known exactly: every step is linear in z plus noise."""
    grid, sampler = uniform_grid(40), Ancestral(gaussian.schedule, gamma=gamma)
    mean, variance = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)

    def x_hat(z: Tensor, t: Tensor) -> Tensor:
        return x_from_v(gaussian(z, t), z, *gaussian.schedule.alpha_sigma(t))

    for i in range(40):
        t, s = grid[i], grid[i + 1]
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (gaussian.schedule.alpha_sigma(u) for u in (t, s))
        zero, one = torch.zeros_like(mean), torch.ones_like(mean)
        offset, slope = x_hat(zero, t), x_hat(one, t) - x_hat(zero, t)
        if i == 39:
            mean, variance = offset + slope * mean, slope**2 * variance
            break
        r = (alpha_t / sigma_t) ** 2 * (sigma_s / alpha_s) ** 2
        a = r * alpha_s / alpha_t + (1 - r) * alpha_s * slope
        b = (1 - r) * alpha_s * offset
        noise = ((1 - r) * sigma_s**2) ** (1 - gamma) * ((1 - r) * sigma_t**2) ** gamma
        mean, variance = a * mean + b, a**2 * variance + noise
    count = 200_000
    z_1 = torch.randn(count, 1, 1, 1, generator=generator(1), dtype=torch.float64)
    x = sampler.sample(gaussian, z_1, grid, generator(2))
    error = math.sqrt(variance.item() / count)
    assert x.mean().item() == pytest.approx(mean.item(), abs=4 * error)
    assert x.var().item() == pytest.approx(variance.item(), rel=4 * math.sqrt(2 / count))


@pytest.mark.parametrize("make", [Ancestral, StochasticDDIM, lambda s: DDIM(s, eta=1.0)])
def test_stochastic_samplers_tend_to_the_data(make: Any, gaussian: Gaussian) -> None:
    z_1 = torch.randn(40_000, 1, 1, 1, generator=generator(1), dtype=torch.float64)
    x = make(gaussian.schedule).sample(gaussian, z_1, uniform_grid(500), generator(2))
    assert x.mean().item() == pytest.approx(gaussian.mean, abs=0.015)
    assert x.std().item() == pytest.approx(gaussian.std, rel=0.02)


def test_eta_1_is_ancestral_with_gamma_0(z_1: Tensor, schedule: CosineSchedule) -> None:
    grid = uniform_grid(7)
    for clip in (False, True):
        a = DDIM(schedule, eta=1.0, clip=clip).sample(wavy, z_1, grid, generator())
        b = Ancestral(schedule, gamma=0.0, clip=clip).sample(wavy, z_1, grid, generator())
        assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_eta_is_that_of_diffusers(
    eta: float, clip: bool, z_1: Tensor, schedule: CosineSchedule
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import DDIMScheduler

        scheduler: Any = DDIMScheduler(
            num_train_timesteps=8,
            prediction_type="v_prediction",
            clip_sample=clip,
            timestep_spacing="trailing",
        )
    grid = torch.arange(1, 9, dtype=torch.float64) / 8
    scheduler.alphas_cumprod = schedule.alpha_sigma(grid)[0] ** 2
    scheduler.set_timesteps(8)
    theirs, noise = z_1, generator()
    *ours, _ = DDIM(schedule, eta=eta, clip=clip).states(wavy, z_1, uniform_grid(8), generator())
    for k, found in zip(scheduler.timesteps, ours, strict=False):
        out = scheduler.step(
            wavy(theirs, grid[k]), int(k), theirs,
            eta=eta, use_clipped_model_output=clip, generator=noise,
        )  # fmt: skip
        theirs = out.prev_sample
        assert_close(found.z, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("num_steps", [5, 14, 20])
@pytest.mark.parametrize("kind", list(SCHEDULES))
def test_dpm_solver_is_that_of_diffusers(kind: str, num_steps: int, z_1: Tensor) -> None:
    """Up to log-SNR ±20; only the z that a step begins with is cast to float32 by diffusers."""
    schedule, grid = SCHEDULES[kind](), uniform_grid(num_steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import DPMSolverMultistepScheduler

        scheduler: Any = DPMSolverMultistepScheduler(
            num_train_timesteps=num_steps,
            prediction_type="v_prediction",
            algorithm_type="dpmsolver++",
            solver_order=2,
            solver_type="midpoint",
            lower_order_final=False,
            final_sigmas_type="zero",
            timestep_spacing="trailing",
        )
        scheduler.set_timesteps(num_steps)
    alpha, sigma = schedule.alpha_sigma(grid[:-1])
    scheduler.sigmas = torch.cat([sigma / alpha, torch.zeros(1, dtype=torch.float64)])
    theirs = z_1
    ours = DPMSolver(schedule).states(wavy, z_1, grid)
    for k, t, found in zip(scheduler.timesteps, grid, ours, strict=False):
        theirs = scheduler.step(wavy(theirs, t), k, theirs).prev_sample
        assert_close(found.z, theirs, rtol=0, atol=1e-5)
    assert found.t == 0.0
    assert theirs.dtype == torch.float64


def test_stochastic_sampler_of_one_step_is_deterministic(
    z_1: Tensor, schedule: CosineSchedule
) -> None:
    one = uniform_grid(1)
    found = StochasticDDIM(schedule).sample(wavy, z_1, one, generator())
    assert torch.equal(found, DDIM(schedule).sample(wavy, z_1, one))


def test_stochastic_sampler_by_the_papers_lines(z_1: Tensor, schedule: CosineSchedule) -> None:
    """GD, equations 4 and 5, in alphas and sigmas."""
    n, noise, z = 6, generator(), z_1
    for i in range(n, 1, -1):
        t, s, k = (torch.tensor(j / n, dtype=torch.float64) for j in (i, i - 1, i - 2))
        (alpha_t, sigma_t), (alpha_s, sigma_s), (alpha_k, sigma_k) = (
            schedule.alpha_sigma(u) for u in (t, s, k)
        )
        v_hat = wavy(z, t)
        x_hat = x_from_v(v_hat, z, alpha_t, sigma_t)
        z_k = alpha_k * x_hat + sigma_k * eps_from_v(v_hat, z, alpha_t, sigma_t)
        newer = -torch.expm1(schedule.log_snr(s) - schedule.log_snr(k)) * sigma_s**2
        eps = torch.randn(z.shape, generator=noise, dtype=z.dtype)
        z = alpha_s / alpha_k * z_k + newer.sqrt() * eps
    t = torch.tensor(1 / n, dtype=torch.float64)
    x = x_from_v(wavy(z, t), z, *schedule.alpha_sigma(t))
    found = StochasticDDIM(schedule).sample(wavy, z_1, uniform_grid(n), generator())
    assert_close(found, x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("num_steps", [1000, 500, 250, 50, 3, 1])
def test_respaced_grid_has_ddpms_betas_on_the_subsequence(
    num_steps: int, schedule: CosineSchedule
) -> None:
    grid = discrete_grid(schedule, num_steps)
    assert len(grid) == num_steps + 1
    kept = [1000 * i // num_steps for i in range(num_steps, 0, -1)]
    alphas = ddpm_alphas_squared()[torch.tensor(kept) - 1]
    found = schedule.alpha_sigma(grid[:-1])[0] ** 2
    assert_close(found, alphas, rtol=1e-9, atol=0)
    betas = 1 - alphas[:-1] / alphas[1:]
    phi_t, phi_s = schedule.angle(grid[:-2]), schedule.angle(grid[1:-1])
    assert_close(posterior_std(phi_t, phi_s, 1.0) ** 2, betas, rtol=1e-8, atol=0)


def test_discrete_steps_that_cannot_be_taken(schedule: CosineSchedule) -> None:
    for count in (0, 1001):
        with pytest.raises(SamplerError, match="take 1 to 1000"):
            discrete_grid(schedule, count)
    with pytest.raises(SamplerError, match=r"from 20.00 to -10.05, .* to -10.12: widen"):
        discrete_grid(LinearBetaSchedule(), 50)
    assert len(discrete_grid(LinearBetaSchedule(log_snr_min=-10.2), 50)) == 51


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_settings_out_of_range(value: float, schedule: CosineSchedule) -> None:
    with pytest.raises(SamplerError, match=r"eta is .*: give a number from 0 to 1"):
        DDIM(schedule, eta=value)
    with pytest.raises(SamplerError, match=r"gamma is .*: give a number from 0 to 1"):
        Ancestral(schedule, gamma=value)


@pytest.mark.parametrize(
    ("times", "sentence"),
    [
        ([0.0, 1.0], "decrease"),
        ([1.0, 0.5, 0.5, 0.0], "decrease"),
        ([1.2, 0.0], "from at most 1"),
        ([0.5, -0.1], "to at least 0"),
        ([1.0], "two times or more"),
        ([[1.0, 0.0]], "two times or more"),
    ],
)
def test_grids_that_are_none(
    times: Any, sentence: str, z_1: Tensor, schedule: CosineSchedule
) -> None:
    with pytest.raises(SamplerError, match=sentence):
        DDIM(schedule).sample(wavy, z_1, torch.tensor(times, dtype=torch.float64))
    with pytest.raises(SamplerError, match="float64"):
        DDIM(schedule).sample(wavy, z_1, torch.tensor([1.0, 0.0]))


def test_a_grid_to_encode_along_is_that_of_the_decoding(
    z_1: Tensor, schedule: CosineSchedule
) -> None:
    """Not turned round; and in float64."""
    grid = uniform_grid(4)
    assert len(list(encode(wavy, z_1, grid, schedule))) == 4
    for wrong, sentence in ((grid.flip(0), "decrease"), (grid.float(), "float64 tensor")):
        with pytest.raises(SamplerError, match=sentence):
            list(encode(wavy, z_1, wrong, schedule))


@pytest.mark.parametrize("count", [0, -1, 1.5])
def test_numbers_of_steps_that_are_none(count: Any) -> None:
    with pytest.raises(SamplerError, match=rf"is {count}: use a whole number, 1 or more"):
        uniform_grid(count)


@every_sampler
@pytest.mark.parametrize("clip", [False, True])
def test_most_steps_is_found_by_counting_up(name: str, clip: bool) -> None:
    sampler = make_sampler(name, CosineSchedule(), clip=clip)
    needed = {n: evaluations_of(sampler, n) for n in range(1, 18)}
    for budget in range(1, 18):
        fitting = [n for n, evaluations in needed.items() if evaluations <= budget]
        assert most_steps(sampler, budget) == max(fitting, default=1)


def test_one_generator_is_not_a_list_of_one(z_1: Tensor, schedule: CosineSchedule) -> None:
    with pytest.raises(SamplerError, match="1 generators for 8 images"):
        Ancestral(schedule).sample(wavy, z_1, uniform_grid(3), [generator()])


@every_sampler
def test_states_that_are_past_are_let_go(name: str, z_1: Tensor, schedule: CosineSchedule) -> None:
    """Of a long run only the last few are in memory."""
    seen: list[weakref.ref[Tensor]] = []

    def denoiser(z_t: Tensor, t: Tensor) -> Tensor:
        seen.append(weakref.ref(z_t))
        assert sum(ref() is not None for ref in seen) <= 4
        return -0.1 * z_t

    SAMPLERS[name](schedule).sample(denoiser, z_1, uniform_grid(30), generator())
    assert len(seen) >= 30
