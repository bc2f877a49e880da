"""Each loss weight on the v error against its definition on x, eps and v."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import (
    LOSS_WEIGHTS,
    CosineSchedule,
    diffuse,
    eps_from_v,
    v_loss_weight,
    v_target,
    weighted_loss,
    x_from_v,
)
from pdpipe.errors import ModelError

TIMES = torch.linspace(0.005, 0.995, 25, dtype=torch.float64).view(-1, 1, 1, 1)
# omega(log_snr), the weight on ||x - x_hat||²: PD, section 4
OMEGA: dict[str, Callable[[Tensor], Tensor]] = {
    "constant": torch.ones_like,
    "snr": torch.exp,
    "snr_truncated": lambda log_snr: log_snr.exp().clamp(min=1.0),
    "snr_plus_one": lambda log_snr: 1 + log_snr.exp(),
}


@pytest.fixture
def errors(schedule: CosineSchedule) -> dict[str, Tensor]:
    """Mean squared errors (25,) of one wrong v_hat, in x, in eps and in v."""
    generator = torch.Generator().manual_seed(5)
    x, eps, wrong = torch.randn(3, 25, 1, 4, 4, generator=generator, dtype=torch.float64)
    coefficients = schedule.alpha_sigma(TIMES)
    z_t, v = (make(x, eps, *coefficients) for make in (diffuse, v_target))
    v_hat = v + wrong
    pairs = {
        "x": (x_from_v(v_hat, z_t, *coefficients), x),
        "eps": (eps_from_v(v_hat, z_t, *coefficients), eps),
        "v": (v_hat, v),
    }
    return {name: (a - b).square().mean(dim=(1, 2, 3)) for name, (a, b) in pairs.items()}


def test_every_weight_is_tested() -> None:
    assert set(OMEGA) == set(LOSS_WEIGHTS)


@pytest.mark.parametrize("name", OMEGA)
def test_weight_on_v_is_the_papers_weight_on_x(
    name: str, errors: dict[str, Tensor], schedule: CosineSchedule
) -> None:
    weight = v_loss_weight(name, *schedule.alpha_sigma(TIMES)).reshape(-1)
    expected = OMEGA[name](schedule.log_snr(TIMES)).reshape(-1) * errors["x"]
    assert_close(weight * errors["v"], expected, rtol=1e-8, atol=0)


def test_weights_are_the_errors_in_x_eps_v_and_the_larger(
    errors: dict[str, Tensor], schedule: CosineSchedule
) -> None:
    expected = {
        "constant": errors["x"],
        "snr": errors["eps"],
        "snr_truncated": torch.maximum(errors["x"], errors["eps"]),
        "snr_plus_one": errors["v"],
    }
    coefficients = schedule.alpha_sigma(TIMES)
    for name, error in expected.items():
        weight = v_loss_weight(name, *coefficients).reshape(-1)
        assert_close(weight * errors["v"], error, rtol=1e-8, atol=0)


@pytest.mark.parametrize("name", OMEGA)
def test_bounded_at_both_ends(name: str, schedule: CosineSchedule) -> None:
    weight = v_loss_weight(name, *schedule.alpha_sigma(torch.tensor([0.0, 0.5, 1.0])))
    assert weight.dtype == torch.float64
    assert (weight > 0).all()
    assert (weight <= 1 + 1e-15).all()


def test_truncated_snr_keeps_its_weight_at_pure_noise(schedule: CosineSchedule) -> None:
    """Plain SNR would leave 2e-9 there, so a one-step student would learn nothing."""
    coefficients = schedule.alpha_sigma(torch.tensor(1.0))
    assert v_loss_weight("snr_truncated", *coefficients).item() == pytest.approx(1.0)
    assert v_loss_weight("snr", *coefficients).item() == pytest.approx(2.06e-9, rel=1e-2)


def test_loss_is_a_mean_over_pixels_then_over_the_weighted_batch() -> None:
    v_hat = torch.zeros(2, 1, 2, 2)
    goal = torch.tensor([[1.0, 1.0, 1.0, 3.0], [2.0, 2.0, 2.0, 2.0]]).view(2, 1, 2, 2)
    weight = torch.tensor([0.5, 0.25], dtype=torch.float64).view(2, 1, 1, 1)
    loss = weighted_loss(v_hat, goal, weight)
    assert loss.shape == ()
    assert loss.item() == pytest.approx((0.5 * 3.0 + 0.25 * 4.0) / 2)


def test_loss_of_low_precision_predictions_is_summed_in_float32() -> None:
    v_hat = torch.full((1, 1, 64, 64), 0.1, dtype=torch.bfloat16)
    loss = weighted_loss(v_hat, torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 1, 1))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(v_hat[0, 0, 0, 0].item() ** 2, rel=1e-5)


def test_a_name_that_is_no_loss_weight() -> None:
    one = torch.ones(1, dtype=torch.float64)
    with pytest.raises(ModelError, match=r"no loss weight 'snrr': did you mean 'snr'\?"):
        v_loss_weight("snrr", one, one)
