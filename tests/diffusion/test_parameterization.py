"""Round trips between x, eps and v, and each prediction turned into v."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import (
    PARAMETERIZATIONS,
    CosineSchedule,
    clipped,
    diffuse,
    eps_from_v,
    v_from_eps,
    v_from_x,
    v_from_x_eps,
    v_target,
    x_from_v,
)
from pdpipe.diffusion.parameterization import scale


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """(x, eps), (40, 1, 2, 2) each, float64."""
    generator = torch.Generator().manual_seed(3)
    x = 2 * torch.rand(40, 1, 2, 2, generator=generator, dtype=torch.float64) - 1
    return x, torch.randn(40, 1, 2, 2, generator=generator, dtype=torch.float64)


@pytest.fixture
def coefficients(schedule: CosineSchedule) -> tuple[Tensor, Tensor]:
    """alpha and sigma of 40 times from 0 to 1, both ends included."""
    return schedule.alpha_sigma(torch.linspace(0, 1, 40, dtype=torch.float64).view(-1, 1, 1, 1))


def test_textbook_definitions(
    pair: tuple[Tensor, Tensor], coefficients: tuple[Tensor, Tensor]
) -> None:
    (x, eps), (alpha, sigma) = pair, coefficients
    assert_close(diffuse(x, eps, alpha, sigma), alpha * x + sigma * eps)
    assert_close(v_target(x, eps, alpha, sigma), alpha * eps - sigma * x)


def test_v_is_the_velocity_along_the_angle(
    pair: tuple[Tensor, Tensor], schedule: CosineSchedule
) -> None:
    x, eps = pair
    phi, h = schedule.angle(torch.tensor(0.37)), 1e-6
    ahead, behind = (diffuse(x, eps, p.cos(), p.sin()) for p in (phi + h, phi - h))
    velocity = (ahead - behind) / (2 * h)
    assert_close(v_target(x, eps, phi.cos(), phi.sin()), velocity, rtol=0, atol=1e-9)


def test_true_v_gives_back_x_and_eps_at_every_time(
    pair: tuple[Tensor, Tensor], coefficients: tuple[Tensor, Tensor]
) -> None:
    x, eps = pair
    z_t, v = (make(x, eps, *coefficients) for make in (diffuse, v_target))
    assert_close(x_from_v(v, z_t, *coefficients), x, rtol=0, atol=1e-14)
    assert_close(eps_from_v(v, z_t, *coefficients), eps, rtol=0, atol=1e-14)


def test_round_trips_of_any_prediction(
    pair: tuple[Tensor, Tensor], coefficients: tuple[Tensor, Tensor]
) -> None:
    """A wrong v_hat too goes to x_hat or eps_hat and back; 1/alpha and 1/sigma cost 5 digits."""
    z_t, v_hat = pair
    for there, back in ((x_from_v, v_from_x), (eps_from_v, v_from_eps)):
        again = back(there(v_hat, z_t, *coefficients), z_t, *coefficients)
        assert_close(again, v_hat, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", list(PARAMETERIZATIONS))
def test_each_prediction_of_the_truth_becomes_the_true_v(
    kind: str, pair: tuple[Tensor, Tensor], coefficients: tuple[Tensor, Tensor]
) -> None:
    x, eps = pair
    z_t, v = (make(x, eps, *coefficients) for make in (diffuse, v_target))
    truth = {"v": v, "x": x, "eps": eps, "x_eps": torch.cat([x, eps], dim=1)}[kind]
    assert_close(PARAMETERIZATIONS[kind].to_v(truth, z_t, *coefficients), v, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_results_have_the_dtype_of_the_images(
    dtype: torch.dtype, pair: tuple[Tensor, Tensor], coefficients: tuple[Tensor, Tensor]
) -> None:
    z_t, v_hat = (part.to(dtype) for part in pair)
    for convert in (x_from_v, eps_from_v, v_from_x, v_from_eps, diffuse, v_target):
        assert convert(v_hat, z_t, *coefficients).dtype == dtype


def test_coefficients_are_cast_once() -> None:
    third = torch.tensor(1 / 3, dtype=torch.float64)
    assert scale(third, torch.ones(1)).item() == torch.tensor(1 / 3, dtype=torch.float32).item()
    assert scale(third, torch.ones(1, dtype=torch.float64)).item() == 1 / 3


def test_two_heads_are_blended(
    pair: tuple[Tensor, Tensor], coefficients: tuple[Tensor, Tensor]
) -> None:
    """Of two heads that contradict each other, x_hat = sigma² x_out + alpha (z - sigma eps_out)."""
    (x_out, z_t), (alpha, sigma) = pair, coefficients
    eps_out = x_out.flip(0) * 1.3
    v_hat = v_from_x_eps(torch.cat([x_out, eps_out], dim=1), z_t, alpha, sigma)
    expected = sigma**2 * x_out + alpha * (z_t - sigma * eps_out)
    assert_close(x_from_v(v_hat, z_t, alpha, sigma), expected, rtol=0, atol=1e-14)


def test_no_error_of_two_heads_grows(coefficients: tuple[Tensor, Tensor]) -> None:
    alpha, sigma = coefficients
    error = torch.ones(40, 2, 2, 2, dtype=torch.float64)
    zero = torch.zeros(40, 1, 2, 2, dtype=torch.float64)
    assert v_from_x_eps(error, zero, alpha, sigma).abs().max() <= 2**0.5


def test_clipped_predictions_still_mix_to_z_t(
    pair: tuple[Tensor, Tensor], coefficients: tuple[Tensor, Tensor]
) -> None:
    (v_hat, z_t), (alpha, sigma) = pair, coefficients
    x_hat, eps_hat = clipped(3 * v_hat, z_t, alpha, sigma)
    free = x_from_v(3 * v_hat, z_t, alpha, sigma)
    assert ((free.abs() > 1).any(), x_hat.abs().max() <= 1) == (True, True)
    assert torch.equal(x_hat, free.clamp(-1, 1))
    assert_close(diffuse(x_hat, eps_hat, alpha, sigma), z_t, rtol=0, atol=1e-13)
