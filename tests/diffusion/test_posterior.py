"""The kernels between two times against joint Gaussians, 50 digits, and diffusers' DDPM."""

from __future__ import annotations

import warnings
from typing import Any

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import (
    CosineSchedule,
    add_noise,
    posterior_mean,
    posterior_std,
    transition_share,
    x_from_v,
)

SCHEDULE = CosineSchedule()
PAIRS = [(1.0, 0.0), (1.0, 1 - 1 / 8192), (0.5, 0.25), (1 / 8192, 0.0), (0.9, 0.1), (0.31, 0.3)]


def angles(t: float, s: float) -> tuple[Tensor, Tensor]:
    phi = SCHEDULE.angle(torch.tensor([t, s], dtype=torch.float64))
    return phi[0], phi[1]


@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_share_in_fifty_digits(t: float, s: float) -> None:
    """1 - exp(log_snr_t - log_snr_s) of the very angles, at neighbouring times too."""
    phi_t, phi_s = angles(t, s)
    with mpmath.workdps(50):
        ratio = mpmath.tan(mpmath.mpf(phi_s.item())) / mpmath.tan(mpmath.mpf(phi_t.item()))
        exact = float(1 - ratio**2)
    assert transition_share(phi_t, phi_s).item() == pytest.approx(exact, rel=1e-10)


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
