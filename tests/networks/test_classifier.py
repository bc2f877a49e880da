"""The classifier behind the metrics."""

from __future__ import annotations

import pytest
import torch

from pdpipe.networks import Classifier, ClassifierConfig


def classifier(**changes: int | float) -> Classifier:
    values = {"channels": 1, "num_classes": 10, "features": 64, "dropout": 0.2} | changes
    torch.manual_seed(0)
    return Classifier(ClassifierConfig(**values))  # type: ignore[arg-type]


@pytest.mark.parametrize("side", [4, 5, 8, 32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("features", [16, 128])
def test_features_and_logits_at_any_side(side: int, channels: int, features: int) -> None:
    network = classifier(channels=channels, features=features, num_classes=7).eval()
    found, logits = network(torch.rand(5, channels, side, side) * 2 - 1)
    assert found.shape == (5, features)
    assert logits.shape == (5, 7)
    assert (found >= 0).all(), "features come after a ReLU"


def test_logits_are_linear_in_the_features() -> None:
    network = classifier().eval()
    features, logits = network(torch.rand(5, 1, 8, 8) * 2 - 1)
    assert torch.equal(network.head(features), logits)


def test_every_weight_is_used() -> None:
    network = classifier(dropout=0.0)
    _, logits = network(torch.rand(32, 1, 8, 8) * 2 - 1)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_dropout_only_while_training() -> None:
    network, x = classifier(dropout=0.5), torch.rand(5, 1, 8, 8)
    assert not torch.equal(network(x)[1], network(x)[1])
    network.eval()
    assert torch.equal(network(x)[1], network(x)[1])


def test_in_use_an_image_is_measured_by_itself_and_its_contrast_counts() -> None:
    network, x = classifier(), torch.rand(64, 1, 8, 8) * 2 - 1
    for _ in range(3):
        network(x)  # moves the running statistics of its batch normalisations
    network.eval()
    alone, faint = network(x[:1])[0], network(0.5 * x[:1])[0]
    torch.testing.assert_close(alone, network(x)[0][:1])
    assert (faint - alone).abs().max() > 0.1 * alone.abs().max()
