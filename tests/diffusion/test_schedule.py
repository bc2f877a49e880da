"""The cosine schedule against its definition in 50 digits."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from torch.testing import assert_close

from pdpipe.diffusion import CosineSchedule

TIMES = torch.linspace(0.0, 1.0, 1001, dtype=torch.float64)


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
