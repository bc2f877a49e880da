"""The kernels between two times against joint Gaussians, 50 digits, and diffusers' DDPM."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import (
    DDIM,
    SCHEDULES,
    CosineSchedule,
    add_noise,
    posterior_mean,
    posterior_std,
    transition_share,
    x_from_v,
)

SCHEDULE = CosineSchedule()
PAIRS = [(1.0, 0.0), (1.0, 1 - 1 / 8192), (0.5, 0.25), (1 / 8192, 0.0), (0.9, 0.1), (0.31, 0.3)]
every_schedule = pytest.mark.parametrize("kind", list(SCHEDULES))


def angles(t: float, s: float, kind: str = "cosine") -> tuple[Tensor, Tensor]:
    phi = SCHEDULES[kind]().angle(torch.tensor([t, s], dtype=torch.float64))
    return phi[0], phi[1]


@every_schedule
@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_share_in_fifty_digits(t: float, s: float, kind: str) -> None:
    """1 - exp(log_snr_t - log_snr_s) of the very angles, at neighbouring times too."""
    phi_t, phi_s = angles(t, s, kind)
    with mpmath.workdps(50):
        ratio = mpmath.tan(mpmath.mpf(phi_s.item())) / mpmath.tan(mpmath.mpf(phi_t.item()))
        exact = float(1 - ratio**2)
    assert transition_share(phi_t, phi_s).item() == pytest.approx(exact, rel=2e-15)


@every_schedule
@pytest.mark.parametrize("num_steps", [1, 2, 3, 64, 1024, 8192])
def test_every_step_of_a_grid_has_the_marginals(num_steps: int, kind: str) -> None:
    """From t = 0 to t = 1, to machine precision: q(z_t | x) by adding noise, q(z_s | x) without."""
    grid = SCHEDULES[kind]().angle(torch.arange(num_steps + 1, dtype=torch.float64) / num_steps)
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for length in (1, 2) if num_steps > 1 else (1,):
        phi_t, phi_s = grid[length:], grid[:-length]
        shrink, added = (add_noise(*pair, phi_s, phi_t) for pair in ((one, zero), (zero, one)))
        keep, add = (posterior_mean(*pair, phi_t, phi_s) for pair in ((zero, one), (one, zero)))
        std, upper = (posterior_std(phi_t, phi_s, gamma) for gamma in (0.0, 1.0))
        identities = {
            "mean of z_t": (shrink * phi_s.cos(), phi_t.cos()),
            "variance of z_t": ((shrink * phi_s.sin()) ** 2 + added**2, phi_t.sin() ** 2),
            "mean of z_s": (keep * phi_t.cos() + add, phi_s.cos()),
            "variance of z_s": ((keep * phi_t.sin()) ** 2 + std**2, phi_s.sin() ** 2),
            "upper bound": (upper, added),
        }
        for name, (found, exact) in identities.items():
            assert_close(found, exact, rtol=2e-15, atol=0, msg=f"{name}, {length} intervals")


def eta_step(z: Tensor, v_hat: Tensor, eps: Tensor, phi: tuple[Tensor, Tensor], eta: float) -> Any:
    """DDIM, equation 12, with coefficients in 50 digits: mean and standard deviation."""
    with mpmath.workdps(50):
        t, s = (mpmath.mpf(p.item()) for p in phi)
        alpha_t, sigma_t, alpha_s, sigma_s = (
            f(p) for p in (t, s) for f in (mpmath.cos, mpmath.sin)
        )
        share = 1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2
        variance = mpmath.mpf(eta) ** 2 * share * sigma_s**2
        kept = mpmath.sqrt(sigma_s**2 - variance)
        of_z, of_v = alpha_s * alpha_t + kept * sigma_t, kept * alpha_t - alpha_s * sigma_t
        return float(of_z) * z + float(of_v) * v_hat + float(mpmath.sqrt(variance)) * eps


def is_ddim_with_noise(kind: str, times: list[float], eta: float) -> None:
    """Each state from the one before it by `eta_step`, all finite."""
    schedule, grid = SCHEDULES[kind](), torch.tensor(times, dtype=torch.float64)
    theirs, noise = (torch.Generator().manual_seed(5) for _ in range(2))
    z = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    states = DDIM(schedule, eta=eta).states(lambda z_t, _: torch.tanh(-2 * z_t), z, grid, theirs)
    for phi, state in zip(pairwise(schedule.angle(grid[:-1])), states, strict=False):
        eps = torch.randn(z.shape, generator=noise, dtype=z.dtype)
        assert state.z.isfinite().all()
        assert_close(state.z, eta_step(z, torch.tanh(-2 * z), eps, phi, eta), rtol=0, atol=1e-13)
        z = state.z
    (last,) = states
    assert last.z.isfinite().all()


@every_schedule
@pytest.mark.parametrize("eta", [0.1, 0.5, 1.0])
def test_noise_of_ddim_on_steps_that_leave_none(eta: float, kind: str) -> None:
    """From t = 1 almost to 0 in one step all noise is new: rounding must not make it more."""
    for middle in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-9):
        is_ddim_with_noise(kind, [1.0, middle, 0.0], eta)


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(list(SCHEDULES)),
    decades=st.sets(st.floats(-9.0, -1e-9), min_size=1, max_size=6),
    eta=st.floats(1e-3, 1.0),
)
def test_noise_of_ddim_on_any_grid(kind: str, decades: set[float], eta: float) -> None:
    inner = sorted({10.0**power for power in decades} - {1.0}, reverse=True)
    is_ddim_with_noise(kind, [1.0, *inner, 0.0], eta)


@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_posterior_is_the_conditional_of_the_joint_gaussian(t: float, s: float) -> None:
    """Given x, (z_s, z_t) is jointly normal with Cov(z_s, z_t) = (alpha_t / alpha_s) sigma_s²."""
    phi_t, phi_s = angles(t, s)
    x, z_t = 0.7, -1.3
    with mpmath.workdps(50):
        alpha_t, sigma_t, alpha_s, sigma_s = (
            f(mpmath.mpf(p.item())) for p in (phi_t, phi_s) for f in (mpmath.cos, mpmath.sin)
        )
        covariance = alpha_t / alpha_s * sigma_s**2
        mean = alpha_s * x + covariance / sigma_t**2 * (z_t - alpha_t * x)
        variance = sigma_s**2 - covariance**2 / sigma_t**2
        exact_mean, exact_std = float(mean), float(mpmath.sqrt(variance))
    found = posterior_mean(
        torch.tensor(x, dtype=torch.float64), torch.tensor(z_t, dtype=torch.float64), phi_t, phi_s
    )
    assert found.item() == pytest.approx(exact_mean, abs=1e-11)
    assert posterior_std(phi_t, phi_s, 0.0).item() == pytest.approx(exact_std, rel=1e-9)


@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_upper_bound_is_the_forward_variance(t: float, s: float) -> None:
    """q(z_t | z_s) has what is missing: (alpha_t / alpha_s)² sigma_s² + std² = sigma_t²."""
    phi_t, phi_s = angles(t, s)
    std = posterior_std(phi_t, phi_s, 1.0)
    kept = (phi_t.cos() / phi_s.cos() * phi_s.sin()) ** 2
    assert (kept + std**2).item() == pytest.approx((phi_t.sin() ** 2).item(), rel=1e-13)


@given(gamma=st.floats(0, 1), t=st.floats(0.01, 1.0), share=st.floats(0.0, 0.99))
def test_gamma_interpolates_the_log_variance(gamma: float, t: float, share: float) -> None:
    phi_t, phi_s = angles(t, share * t)
    low, high = (posterior_std(phi_t, phi_s, g).log().item() for g in (0.0, 1.0))
    found = posterior_std(phi_t, phi_s, gamma).log().item()
    assert found == pytest.approx((1 - gamma) * low + gamma * high, abs=1e-12)
    assert low <= high + 1e-12


@given(s=st.floats(0.0, 0.999), step=st.floats(1e-3, 1.0), std=st.floats(0.0, 2.0))
def test_noise_on_top_has_the_marginal_variance(s: float, step: float, std: float) -> None:
    """Of data of any variance: the identity behind the stochastic sampler, to machine precision."""
    t = min(s + step, 1.0)
    phi_t, phi_s = angles(t, s)
    one = torch.ones(1, dtype=torch.float64)
    shrink = add_noise(one, 0 * one, phi_s, phi_t)
    added = add_noise(0 * one, one, phi_s, phi_t)
    before = (phi_s.cos() * std) ** 2 + phi_s.sin() ** 2
    after = (phi_t.cos() * std) ** 2 + phi_t.sin() ** 2
    assert (shrink**2 * before + added**2).item() == pytest.approx(after.item(), rel=1e-14)


@pytest.mark.parametrize(("gamma", "variance_type"), [(0.0, "fixed_small"), (1.0, "fixed_large")])
def test_ancestral_steps_are_those_of_diffusers(
    gamma: float, variance_type: str, z_1: Tensor
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import DDPMScheduler

        scheduler: Any = DDPMScheduler(
            num_train_timesteps=16,
            prediction_type="v_prediction",
            variance_type=variance_type,
            clip_sample=False,
        )
    times = torch.arange(1, 17, dtype=torch.float64) / 16
    scheduler.alphas_cumprod = SCHEDULE.alpha_sigma(times)[0] ** 2
    scheduler.set_timesteps(16)
    for k in (15, 8, 1):
        v_hat = torch.tanh(z_1.roll(1, -1))
        noise = torch.Generator().manual_seed(k)
        out = scheduler.step(v_hat, k, z_1, generator=noise).prev_sample
        phi_t, phi_s = angles((k + 1) / 16, k / 16)
        x_hat = x_from_v(v_hat, z_1, phi_t.cos(), phi_t.sin())
        eps = torch.randn(
            z_1.shape, generator=torch.Generator().manual_seed(k), dtype=torch.float64
        )
        found = posterior_mean(x_hat, z_1, phi_t, phi_s) + posterior_std(phi_t, phi_s, gamma) * eps
        assert_close(found, out, rtol=0, atol=1e-9)
