"""w = 0 is no guidance; the formula is the same in x, eps and v."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import CosineSchedule, eps_from_v, guided, x_from_v


@pytest.fixture
def predictions() -> tuple[Tensor, Tensor, Tensor]:
    """z_t, conditional v_hat, unconditional v_hat: (5, 1, 3, 3), float64."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 5, 1, 3, 3, generator=generator, dtype=torch.float64).unbind()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_w_0_is_the_conditional_prediction_bit_for_bit(
    predictions: tuple[Tensor, Tensor, Tensor], dtype: torch.dtype
) -> None:
    _, conditional, unconditional = (p.to(dtype) for p in predictions)
    assert torch.equal(guided(conditional, unconditional, 0.0), conditional)
    zeros = torch.zeros(5, 1, 1, 1, dtype=dtype)
    assert torch.equal(guided(conditional, unconditional, zeros), conditional)


def test_the_formula_with_a_weight_for_each_image(
    predictions: tuple[Tensor, Tensor, Tensor],
) -> None:
    _, conditional, unconditional = predictions
    w = torch.tensor([0.0, 0.3, 1.0, 2.0, 4.0], dtype=torch.float64)
    found = guided(conditional, unconditional, w.view(-1, 1, 1, 1))
    for k in range(5):
        expected = (1 + w[k]) * conditional[k] - w[k] * unconditional[k]
        assert_close(found[k], expected, rtol=0, atol=1e-14)


def test_w_minus_1_would_be_the_unconditional_prediction(
    predictions: tuple[Tensor, Tensor, Tensor],
) -> None:
    _, conditional, unconditional = predictions
    assert_close(guided(conditional, unconditional, -1.0), unconditional, rtol=0, atol=1e-14)


@pytest.mark.parametrize("convert", [x_from_v, eps_from_v])
@pytest.mark.parametrize("time", [0.0, 0.2, 0.9, 1.0])
def test_guiding_v_is_guiding_x_and_eps(
    predictions: tuple[Tensor, Tensor, Tensor],
    convert: Callable[..., Tensor],
    time: float,
    schedule: CosineSchedule,
) -> None:
    z_t, conditional, unconditional = predictions
    coefficients = schedule.alpha_sigma(torch.tensor(time))
    first = convert(guided(conditional, unconditional, 3.0), z_t, *coefficients)
    parts = (convert(v, z_t, *coefficients) for v in (conditional, unconditional))
    assert_close(first, guided(*parts, 3.0), rtol=0, atol=1e-13)
