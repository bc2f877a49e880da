"""The U-Net: the published sizes, what it is at initialisation, and what reaches its output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import Condition
from pdpipe.networks import UNet, UNetConfig

MakeUNet = Callable[..., UNet]
PUBLISHED = {
    "CIFAR-10": (
        {
            "image_size": 32,
            "channels": 3,
            "num_classes": 0,
            "base_channels": 256,
            "channel_multipliers": [1, 1, 1],
            "attention_resolutions": [16, 8],
            "head_channels": 256,
            "embedding_channels": 1024,
        },
        60_004_099,
    ),
    # those with two heads, x and eps, have 6 output channels; 6 input channels are ours
    "ImageNet 64x64": (
        {
            "image_size": 64,
            "channels": 6,
            "num_classes": 1000,
            "base_channels": 192,
            "channel_multipliers": [1, 2, 3, 4],
            "attention_resolutions": [32, 16, 8],
            "head_channels": 64,
            "embedding_channels": 768,
        },
        295_905_222 + 3 * 192 * 9,
    ),
    "LSUN 128x128": (
        {
            "image_size": 128,
            "channels": 6,
            "num_classes": 0,
            "base_channels": 64,
            "channel_multipliers": [1, 2, 4, 6, 8],
            "attention_resolutions": [32, 16, 8],
            "head_channels": 64,
            "embedding_channels": 768,
        },
        139_578_502 + 3 * 64 * 9,
    ),
}


def inputs(network: UNet, count: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """(z_t, log_snr, labels), every label another class."""
    generator = torch.Generator().manual_seed(seed)
    c = network.config
    z_t = torch.randn(count, c.channels, c.image_size, c.image_size, generator=generator)
    labels = torch.arange(count) % max(c.num_classes, 1)
    return z_t, torch.linspace(-8, 8, count), labels


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_networks_have_the_published_number_of_parameters(name: str) -> None:
    fields, expected = PUBLISHED[name]
    config: dict[str, Any] = {"blocks_per_level": 3, **fields}
    with torch.device("meta"):
        network = UNet(UNetConfig(**config))
    assert sum(p.numel() for p in network.parameters()) == expected


LAYOUTS: list[dict[str, Any]] = [
    {},
    {"resample_blocks": True},
    {"channel_multipliers": [1], "attention_resolutions": []},
    {"image_size": 4, "channel_multipliers": [1, 2, 2], "attention_resolutions": [2, 1]},
    {"image_size": 12, "channels": 3, "channel_multipliers": [1, 2, 3], "blocks_per_level": 2},
    {
        "image_size": 16,
        "channel_multipliers": [2, 1, 4, 1],
        "attention_resolutions": [16, 2],
        "resample_blocks": True,
    },
    {"base_channels": 12, "head_channels": 4, "num_classes": 0, "attention_resolutions": [8]},
    {"base_channels": 4, "head_channels": 4, "channels": 3, "blocks_per_level": 3},
    {"base_channels": 12, "head_channels": 4, "channel_multipliers": [1, 3], "norm_groups": 6},
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_output_is_shaped_like_the_image_and_depends_on_every_weight(
    layout: dict[str, Any], make_unet: MakeUNet
) -> None:
    network = make_unet(**layout).requires_grad_(True)
    z_t, log_snr, labels = inputs(network)
    out = network(z_t, log_snr, Condition(labels))
    assert out.shape == z_t.shape
    assert out.isfinite().all()
    out.square().sum().backward()
    still = [
        name
        for name, p in network.named_parameters()
        if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert not still


@pytest.mark.parametrize("layout", LAYOUTS)
def test_untrained_network_outputs_exactly_zero(layout: dict[str, Any]) -> None:
    config: dict[str, Any] = {
        "image_size": 8,
        "channels": 1,
        "num_classes": 10,
        "base_channels": 8,
        "channel_multipliers": [1, 1],
        "blocks_per_level": 1,
        "attention_resolutions": [4],
        "head_channels": 8,
        "embedding_channels": 16,
    }
    network = UNet(UNetConfig(**(config | layout)))
    z_t, log_snr, labels = inputs(network)
    assert not network(z_t, log_snr, Condition(labels)).any()


def test_attention_sits_at_the_listed_sides_and_in_the_middle(make_unet: MakeUNet) -> None:
    def sides(**fields: Any) -> list[int]:
        network, found = make_unet(image_size=16, channel_multipliers=[1, 1, 1], **fields), []
        for module in network.modules():
            if type(module).__name__ == "Attention":
                module.register_forward_hook(lambda m, i, out: found.append(out.shape[-1]))
        z_t, log_snr, labels = inputs(network)
        network(z_t, log_snr, Condition(labels))
        return found

    assert sides(attention_resolutions=[]) == [4]
    assert sides(attention_resolutions=[8]) == [8, 4, 8, 8]
    assert sides(attention_resolutions=[16, 4]) == [16, 4, 4, 4, 4, 16, 16]


def test_resampling_blocks_have_weights_and_plain_resampling_has_none(make_unet: MakeUNet) -> None:
    with_blocks, plain = (make_unet(resample_blocks=value) for value in (True, False))
    width, emb = 8, 16
    one_block = 2 * (9 * width**2 + width) + 4 * width + emb * 2 * width + 2 * width
    counts = [sum(p.numel() for p in network.parameters()) for network in (with_blocks, plain)]
    assert counts[0] - counts[1] == 2 * one_block  # one on the way down, one up


def test_every_image_for_itself(make_unet: MakeUNet) -> None:
    network = make_unet()
    z_t, log_snr, labels = inputs(network)
    together = network(z_t, log_snr, Condition(labels))
    for k in range(len(z_t)):
        alone = network(z_t[k : k + 1], log_snr[k : k + 1], Condition(labels[k : k + 1]))
        assert_close(alone[0], together[k], rtol=0, atol=1e-5)


def test_time_label_and_null_label_matter(make_unet: MakeUNet) -> None:
    network = make_unet()
    assert network.null_label == 10
    z_t, log_snr, labels = inputs(network)
    out = network(z_t, log_snr, Condition(labels))
    null = torch.full_like(labels, network.null_label)
    for other in (
        network(z_t, log_snr + 1, Condition(labels)),
        network(z_t, log_snr, Condition((labels + 1) % 10)),
        network(z_t, log_snr, Condition(null)),
    ):
        assert ((out - other).abs().amax(dim=(1, 2, 3)) > 1e-3).all()


def test_unconditional_network_ignores_labels_and_w(make_unet: MakeUNet) -> None:
    network = make_unet(num_classes=0)
    z_t, log_snr, labels = inputs(network)
    out = network(z_t, log_snr, Condition())
    assert torch.equal(out, network(z_t, log_snr, Condition(labels + 3, torch.ones(len(z_t)))))


def test_embedding_of_w_is_inert_at_first_for_every_w(make_unet: MakeUNet) -> None:
    teacher = make_unet()
    student = UNet(UNetConfig(**(vars(teacher.config) | {"w_frequencies": 8, "w_max": 4.0})))
    student.load_state_dict(teacher.state_dict(), strict=False)
    z_t, log_snr, labels = inputs(teacher)
    expected = teacher(z_t, log_snr, Condition(labels))
    for w in (0.0, 0.3, 1.0, 4.0, 17.0):
        found = student(z_t, log_snr, Condition(labels, torch.full((len(z_t),), w)))
        assert torch.equal(found, expected)


def test_embedding_of_w_learns_from_the_first_update_on(make_unet: MakeUNet) -> None:
    torch.manual_seed(0)
    student = make_unet(w_frequencies=8, w_max=4.0).requires_grad_(True)
    last = student.get_submodule("embed_w.layers.2")
    torch.nn.init.zeros_(last.get_parameter("weight"))
    torch.nn.init.zeros_(last.get_parameter("bias"))
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    z_t, log_snr, labels = inputs(student)
    for w in (0.0, 4.0):
        student(
            z_t, log_snr, Condition(labels, torch.full((len(z_t),), w))
        ).square().mean().backward()
    optimizer.step()
    low, high = (student(z_t, log_snr, Condition(labels, torch.full((6,), w))) for w in (0.0, 4.0))
    assert (low - high).abs().max() > 1e-4


def test_w_is_told_apart_over_its_whole_range(make_unet: MakeUNet) -> None:
    """Fine features repeat within [0, w_max], but never all of them at once."""
    network = make_unet(w_frequencies=8, w_max=4.0)
    assert network.embed_w is not None
    embedded = network.embed_w(torch.linspace(0, 4, 41))
    gaps = torch.cdist(embedded, embedded) + torch.eye(41) * 9
    assert gaps.min() > 1e-3


def test_w_max_0_is_possible(make_unet: MakeUNet) -> None:
    network = make_unet(num_classes=0, w_frequencies=4, w_max=0.0)
    z_t, log_snr, labels = inputs(network)
    assert network(z_t, log_snr, Condition(labels, torch.zeros(6))).isfinite().all()


def test_dropout_only_while_training(make_unet: MakeUNet) -> None:
    network = make_unet(dropout=0.5)
    z_t, log_snr, labels = inputs(network)
    assert torch.equal(
        network(z_t, log_snr, Condition(labels)), network(z_t, log_snr, Condition(labels))
    )
    network.train()
    assert not torch.equal(
        network(z_t, log_snr, Condition(labels)), network(z_t, log_snr, Condition(labels))
    )


@pytest.mark.parametrize(
    ("resample_blocks", "expected"),
    [
        (False, [-0.13453, -0.29594, -0.51503, -0.46809, -0.3066, -0.28706]),
        (True, [0.6354, 0.42549, 0.36124, 0.19595, 0.09624, 0.21333]),
    ],
)
def test_stored_weights_keep_their_meaning(
    resample_blocks: bool, expected: list[float], make_unet: MakeUNet
) -> None:
    """Given weights give given outputs: else every stored model would make other images."""
    network = make_unet(
        channel_multipliers=[1, 2],
        resample_blocks=resample_blocks,
        w_frequencies=4,
        w_max=4.0,
        norm_groups=None,
    )
    z_t = torch.linspace(-2, 2, 64).view(1, 1, 8, 8)
    out = network(z_t, torch.tensor([0.7]), Condition(torch.tensor([3]), torch.tensor([1.5])))
    found = out.flatten()[[0, 9, 18, 27, 36, 63]]
    assert_close(found, torch.tensor(expected), rtol=0, atol=1e-3)
