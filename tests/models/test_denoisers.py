"""From the network's output to v_hat, alone and guided."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close

from pdpipe.diffusion import PARAMETERIZATIONS, Condition, CosineSchedule
from pdpipe.models import Predictor
from pdpipe.networks import UNet

SCHEDULE = CosineSchedule()
LABELS = torch.tensor([0, 4, 9, 4])
Z = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def unit(
    network: UNet, z: torch.Tensor, t: float, label: int, w: float | None = None
) -> torch.Tensor:
    """The network's raw output for one image."""
    log_snr = SCHEDULE.log_snr(torch.tensor([t])).float()
    weights = None if w is None else torch.tensor([w])
    return network(z[None], log_snr, Condition(torch.tensor([label]), weights))[0]


@pytest.mark.parametrize("kind", ["v", "x", "eps", "x_eps"])
def test_each_parameterization_becomes_v(kind: str, make_unet: Callable[..., UNet]) -> None:
    network = make_unet(heads=PARAMETERIZATIONS[kind].heads)
    times = [0.1, 0.4, 0.7, 0.9]
    t = torch.tensor(times, dtype=torch.float64).view(-1, 1, 1, 1)
    found = Predictor(network, SCHEDULE, kind).denoiser(Condition(LABELS))(Z, t)
    for k, time in enumerate(times):
        alpha, sigma = (float(c) for c in SCHEDULE.alpha_sigma(torch.tensor(time)))
        out = unit(network, Z[k], time, int(LABELS[k]))
        first, last = out[:1], out[-1:]  # the same where there is one head
        expected = {
            "v": out,
            "x": (alpha * Z[k] - out) / sigma,
            "eps": (out - sigma * Z[k]) / alpha,
            "x_eps": alpha * last - sigma * first,
        }[kind]
        assert_close(found[k], expected, rtol=1e-5, atol=1e-5)


def test_one_time_for_the_whole_batch(make_unet: Callable[..., UNet]) -> None:
    denoise = Predictor(make_unet(), SCHEDULE, "v").denoiser(Condition(LABELS))
    whole = denoise(Z, torch.tensor(0.3, dtype=torch.float64))
    each = denoise(Z, torch.full((4, 1, 1, 1), 0.3, dtype=torch.float64))
    assert torch.equal(whole, each)


@pytest.mark.parametrize("kind", ["v", "x"])
@pytest.mark.parametrize("scalar", [True, False])
def test_guided_is_two_separate_evaluations(
    kind: str, scalar: bool, make_unet: Callable[..., UNet]
) -> None:
    """(1 + w) conditional - w unconditional, each image at its own w and time."""
    network, w = make_unet(), torch.tensor([0.0, 0.3, 4.0, 1.0])
    t = torch.tensor([0.2, 0.5, 0.8, 1.0], dtype=torch.float64).view(-1, 1, 1, 1)
    t = t[2, 0, 0, 0] if scalar else t
    found = Predictor(network, SCHEDULE, kind).guided(Condition(LABELS, w))(Z, t)
    conditional = Predictor(network, SCHEDULE, kind).denoiser(Condition(LABELS))(Z, t)
    null = torch.full_like(LABELS, network.null_label)
    unconditional = Predictor(network, SCHEDULE, kind).denoiser(Condition(null))(Z, t)
    w = w.view(-1, 1, 1, 1)
    assert_close(found, (1 + w) * conditional - w * unconditional, rtol=0, atol=2e-5)
    assert (conditional - unconditional).abs().max() > 0.05


def test_w_of_each_image_reaches_the_student(make_unet: Callable[..., UNet]) -> None:
    network = make_unet(w_frequencies=4, w_max=4.0)
    w = [0.0, 1.0, 2.5, 4.0]
    denoise = Predictor(network, SCHEDULE, "v").denoiser(Condition(LABELS, torch.tensor(w)))
    found = denoise(Z, torch.tensor(0.6, dtype=torch.float64))
    for k in range(4):
        assert_close(found[k], unit(network, Z[k], 0.6, int(LABELS[k]), w[k]), rtol=0, atol=1e-4)


def test_low_precision_networks_give_images_of_full_precision(
    make_unet: Callable[..., UNet],
) -> None:
    denoise = Predictor(make_unet(), SCHEDULE, "v").denoiser(Condition(LABELS))
    t = torch.tensor(0.6, dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = denoise(Z, t)
    assert rough.dtype == torch.float32
    assert 0 < (rough - denoise(Z, t)).abs().max() < 0.2
