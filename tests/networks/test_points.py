"""The network for points: its inputs count, and untrained it says nothing."""

from __future__ import annotations

import pytest
import torch

from pdpipe.diffusion import Condition
from pdpipe.networks import PointNetwork, PointNetworkConfig

Z = torch.randn(6, 2, 1, 1, generator=torch.Generator().manual_seed(0))
LOG_SNR, LABELS, W = torch.linspace(-5, 5, 6), torch.tensor([0, 1, 2, 3, 0, 1]), torch.rand(6)


@pytest.fixture
def network() -> PointNetwork:
    torch.manual_seed(0)
    return PointNetwork(PointNetworkConfig(dimensions=2, num_classes=3, width=16, blocks=2))


def test_untrained_it_is_zero_with_a_gradient_for_every_weight_in_reach(
    network: PointNetwork,
) -> None:
    out = network(Z, LOG_SNR, Condition(LABELS, W))
    assert out.shape == Z.shape
    assert torch.equal(out, torch.zeros_like(Z))
    torch.nn.init.normal_(network.last.weight)
    torch.nn.init.normal_(network.embed_w.layers[-1].weight)
    network(Z, LOG_SNR, Condition(LABELS, W)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_every_input_reaches_the_output(network: PointNetwork) -> None:
    torch.nn.init.normal_(network.last.weight)
    torch.nn.init.normal_(network.embed_w.layers[-1].weight)
    before = network(Z, LOG_SNR, Condition(LABELS, W))
    others = [
        network(Z.flip(0), LOG_SNR, Condition(LABELS, W)),
        network(Z, LOG_SNR + 1, Condition(LABELS, W)),
        network(Z, LOG_SNR, network.null(Condition(LABELS, W))),
        network(Z, LOG_SNR, Condition(LABELS, W + 1)),
    ]
    for other in others:
        assert (other - before).abs().max() > 1e-3
    without = network(Z, LOG_SNR, Condition(LABELS))
    assert torch.equal(without, network(Z, LOG_SNR, Condition(LABELS, 0 * W)))
