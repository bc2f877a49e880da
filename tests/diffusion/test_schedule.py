"""Every schedule against its definition in 50 digits, autograd and quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import (
    SCHEDULES,
    CosineSchedule,
    LinearBetaSchedule,
    LinearLogSNRSchedule,
    Schedule,
    build_schedule,
    ddpm_alphas_squared,
)
from pdpipe.errors import ModelError

TIMES = torch.linspace(0.0, 1.0, 1001, dtype=torch.float64)
ALL = [
    CosineSchedule(),
    CosineSchedule(log_snr_min=-8.0, log_snr_max=12.0),
    LinearLogSNRSchedule(),
    LinearLogSNRSchedule(log_snr_min=-10.0, log_snr_max=15.0),
    LinearBetaSchedule(),
    LinearBetaSchedule(log_snr_min=-20.0),
    LinearBetaSchedule(log_snr_max=9.0),
]
every_schedule = pytest.mark.parametrize("any_schedule", ALL, ids=repr)


def test_ends_of_the_log_snr(schedule: CosineSchedule) -> None:
    ends = schedule.log_snr(torch.tensor([0.0, 1.0]))
    assert_close(ends, torch.tensor([20.0, -20.0], dtype=torch.float64), rtol=0, atol=1e-9)
    alpha, sigma = schedule.alpha_sigma(torch.tensor([0.0, 1.0]))
    assert sigma[0] == pytest.approx(4.5398e-5, rel=1e-4)
    assert alpha[1] == pytest.approx(4.5398e-5, rel=1e-4)


@pytest.mark.parametrize(("low", "high"), [(-20.0, 20.0), (-8.0, 12.0)])
def test_agrees_with_fifty_digits(low: float, high: float) -> None:
    schedule = CosineSchedule(log_snr_min=low, log_snr_max=high)
    alpha, sigma = schedule.alpha_sigma(TIMES)
    log_snr = schedule.log_snr(TIMES)
    with mpmath.workdps(50):
        b = mpmath.atan(mpmath.exp(mpmath.mpf(-high) / 2))
        a = mpmath.atan(mpmath.exp(mpmath.mpf(-low) / 2)) - b
        for k in range(0, 1001, 50):
            exact = -2 * mpmath.log(mpmath.tan(a * mpmath.mpf(TIMES[k].item()) + b))
            assert log_snr[k].item() == pytest.approx(float(exact), rel=1e-10, abs=1e-10)
            signal, noise = (mpmath.sqrt(1 / (1 + mpmath.exp(q))) for q in (-exact, exact))
            # an angle near pi/2 is known to 2e-16, so alpha, 4.5e-5 there, to 1e-11 of itself
            assert alpha[k].item() == pytest.approx(float(signal), rel=1e-11)
            assert sigma[k].item() == pytest.approx(float(noise), rel=1e-11)


def test_identities(schedule: CosineSchedule) -> None:
    alpha, sigma = schedule.alpha_sigma(TIMES)
    assert_close(alpha**2 + sigma**2, torch.ones_like(TIMES), rtol=0, atol=1e-15)
    assert_close(schedule.log_snr(TIMES), (alpha**2 / sigma**2).log(), rtol=1e-10, atol=1e-10)
    assert_close(schedule.angle(TIMES), torch.atan2(sigma, alpha), rtol=0, atol=1e-15)


def test_monotone_with_uniform_angles(schedule: CosineSchedule) -> None:
    assert (schedule.log_snr(TIMES).diff() < 0).all()
    steps = schedule.angle(TIMES).diff()
    assert_close(steps, torch.full_like(steps, (math.pi / 2 - 2 * 4.5399930e-5) / 1000))


def test_middle_is_equal_parts(schedule: CosineSchedule) -> None:
    alpha, sigma = schedule.alpha_sigma(torch.tensor(0.5))
    assert alpha.item() == pytest.approx(math.sqrt(0.5), abs=1e-12)
    assert sigma.item() == pytest.approx(math.sqrt(0.5), abs=1e-12)


@pytest.mark.parametrize("shape", [(), (5,), (5, 1, 1, 1)])
def test_float64_of_any_shape_even_from_float32(
    schedule: CosineSchedule, shape: tuple[int, ...]
) -> None:
    t = torch.full(shape, 0.25, dtype=torch.float32)
    for found in (*schedule.alpha_sigma(t), schedule.log_snr(t), schedule.angle(t)):
        assert found.dtype == torch.float64
        assert found.shape == shape


@every_schedule
def test_every_schedule_keeps_its_ends(any_schedule: Any) -> None:
    ends = any_schedule.log_snr(torch.tensor([0.0, 1.0]))
    expected = [any_schedule.log_snr_max, any_schedule.log_snr_min]
    assert ends.tolist() == pytest.approx(expected, abs=1e-9)
    assert (any_schedule.log_snr(TIMES).diff() < 0).all()


@pytest.mark.parametrize("end", [-10.05, -20.0])
def test_linear_beta_agrees_with_fifty_digits(end: float) -> None:
    schedule = LinearBetaSchedule(log_snr_min=end)
    alpha, sigma = schedule.alpha_sigma(TIMES)
    with mpmath.workdps(50):
        b_0, b_1 = (1000 * mpmath.mpf(beta) for beta in (1e-4, 0.02))

        def u_of(log_snr: float) -> Any:
            integral = mpmath.log(1 + mpmath.exp(-mpmath.mpf(log_snr)))
            return (-b_0 + mpmath.sqrt(b_0**2 + 2 * (b_1 - b_0) * integral)) / (b_1 - b_0)

        u_0, u_1 = u_of(20.0), u_of(end)
        for k in range(0, 1001, 50):
            u = u_0 + (u_1 - u_0) * mpmath.mpf(TIMES[k].item())
            kept = mpmath.exp(-(b_0 * u + (b_1 - b_0) * u**2 / 2))
            assert alpha[k].item() == pytest.approx(float(mpmath.sqrt(kept)), rel=1e-11)
            assert sigma[k].item() == pytest.approx(float(mpmath.sqrt(1 - kept)), rel=1e-9)


def test_linear_log_snr_is_sigmoids() -> None:
    schedule = LinearLogSNRSchedule(log_snr_min=-12.0, log_snr_max=16.0)
    log_snr = 16.0 - 28.0 * TIMES
    alpha, sigma = schedule.alpha_sigma(TIMES)
    assert_close(alpha, log_snr.sigmoid().sqrt(), rtol=1e-12, atol=0)
    assert_close(sigma, (-log_snr).sigmoid().sqrt(), rtol=1e-12, atol=0)


@every_schedule
@given(t=st.floats(0.0, 1.0))
def test_time_is_the_inverse_of_log_snr(any_schedule: Schedule, t: float) -> None:
    time = torch.tensor(t, dtype=torch.float64)
    log_snr = any_schedule.log_snr(time)
    assert any_schedule.time(log_snr).item() == pytest.approx(t, abs=1e-9)
    assert any_schedule.log_snr(any_schedule.time(log_snr)).item() == pytest.approx(
        log_snr.item(), abs=1e-9
    )


def slope(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The derivative by autograd."""
    at = at.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(function(at).sum(), at)
    return found


@every_schedule
def test_derivatives_are_those_of_autograd(any_schedule: Schedule) -> None:
    """At both ends too."""
    found = {
        "angle": any_schedule.angle_rate(TIMES),
        "log_snr": any_schedule.log_snr_rate(TIMES),
    }
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "angle": any_schedule.angle,
        "log_snr": any_schedule.log_snr,
    }
    for name, function in functions.items():
        assert_close(found[name], slope(function, TIMES), rtol=1e-9, atol=1e-12, msg=name)


@every_schedule
def test_density_of_log_snr(any_schedule: Any) -> None:
    """The slope of the inverse; and it integrates to 1."""
    low, high = any_schedule.log_snr_min, any_schedule.log_snr_max
    log_snr = torch.linspace(low, high, 101, dtype=torch.float64)[1:-1]
    assert_close(
        any_schedule.density(log_snr), -slope(any_schedule.time, log_snr), rtol=1e-8, atol=0
    )

    def density(value: float) -> float:
        return float(any_schedule.density(torch.tensor(value, dtype=torch.float64)))

    assert quad(density, low, high, limit=200, epsabs=1e-9)[0] == pytest.approx(1.0, abs=1e-7)


def test_ddpms_discrete_grid_is_that_of_diffusers_and_close_to_the_continuous_one() -> None:
    from diffusers import DDPMScheduler

    alphas = ddpm_alphas_squared()
    theirs = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear").alphas_cumprod
    assert_close(alphas.float(), theirs, rtol=2e-5, atol=0)
    log_snr = alphas.log() - torch.log1p(-alphas)
    times = LinearBetaSchedule().time(log_snr)
    steps = torch.arange(1, 1001, dtype=torch.float64) / 1000
    assert (times - steps).abs().max() < 6e-3  # the sum of betas against their integral


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_schedules_are_built_by_name(name: str) -> None:
    schedule = build_schedule(name, log_snr_min=-9.0, log_snr_max=11.0)
    assert isinstance(schedule, SCHEDULES[name])
    ends = schedule.log_snr(torch.tensor([0.0, 1.0]))
    assert ends.tolist() == pytest.approx([11.0, -9.0])


def test_a_name_that_is_no_schedule() -> None:
    with pytest.raises(ModelError, match=r"no schedule 'cosin': did you mean 'cosine'\?"):
        build_schedule("cosin")
    with pytest.raises(ModelError, match="choose from cosine, linear_beta, linear_log_snr"):
        build_schedule("sqrt")


@pytest.mark.parametrize("name", list(SCHEDULES))
@pytest.mark.parametrize(("low", "high"), [(20.0, -20.0), (3.0, 3.0), (math.nan, 20.0)])
def test_ends_in_the_wrong_order(name: str, low: float, high: float) -> None:
    with pytest.raises(ModelError, match=f"log_snr_min is {low:g} and log_snr_max {high:g}: the"):
        build_schedule(name, log_snr_min=low, log_snr_max=high)
