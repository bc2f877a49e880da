"""The U-Net is the field's: diffusers' UNet2DModel with our weights gives our outputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pdpipe.bench.setting import untrained
from pdpipe.diffusion import Condition, CosineSchedule
from pdpipe.evaluation._torchvision import import_torchvision
from pdpipe.networks import UNet, UNetConfig
from pdpipe.networks.layers import Attention, Resample, ResBlock, sinusoidal
from pdpipe.params import read_params

MakeUNet = Callable[..., UNet]
ROOT = Path(__file__).parents[2]
W = (0.0, 1.5)  # the weights of guidance in the table of classes
STEPS = 8


def kinds(config: UNetConfig, direction: str) -> list[str]:
    """The names of diffusers' blocks, from the largest images down."""
    found = []
    for level in range(len(config.channel_multipliers)):
        attended = config.image_size // 2**level in config.attention_resolutions
        plain = (
            f"Resnet{direction}sampleBlock2D" if config.resample_blocks else f"{direction}Block2D"
        )
        found.append(f"Attn{direction}Block2D" if attended else plain)
    return found


def common(config: UNetConfig) -> Any:
    """An untrained UNet2DModel of our layout."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_torchvision()
        from diffusers import UNet2DModel

        sampling = "resnet" if config.resample_blocks else "conv"
        return UNet2DModel(
            sample_size=config.image_size,
            in_channels=config.channels,
            out_channels=config.heads * config.channels,
            time_embedding_type="learned",
            time_embedding_dim=config.embedding_channels,
            num_train_timesteps=STEPS,
            down_block_types=tuple(kinds(config, "Down")),
            up_block_types=tuple(kinds(config, "Up")[::-1]),
            block_out_channels=tuple(config.base_channels * m for m in config.channel_multipliers),
            layers_per_block=config.blocks_per_level,
            downsample_type=sampling,
            upsample_type=sampling,
            attention_head_dim=config.head_channels,
            norm_num_groups=config.norm_groups,
            attn_norm_num_groups=config.norm_groups,  # of the middle
            norm_eps=1e-6,
            resnet_time_scale_shift="scale_shift",
            num_class_embeds=(config.num_classes + 1) * len(W),
        ).eval()


def copy_into(theirs: Any, ours: nn.Module) -> None:
    """Give a layer of diffusers the weights of ours."""
    if isinstance(ours, ResBlock):
        for name, layer in (
            ("norm1", ours.norm_in), ("conv1", ours.conv_in), ("time_emb_proj", ours.embed),
            ("norm2", ours.norm_out), ("conv2", ours.conv_out),
        ):  # fmt: skip
            copy_into(getattr(theirs, name), layer)
        if not isinstance(ours.shortcut, nn.Identity):
            copy_into(theirs.conv_shortcut, ours.shortcut)
    elif isinstance(ours, Attention):
        copy_into(theirs.group_norm, ours.norm)
        copy_into(theirs.to_out[0], ours.project)
        parts = zip(ours.qkv.weight.chunk(3), ours.qkv.bias.chunk(3), strict=True)
        for name, (weight, bias) in zip(("to_q", "to_k", "to_v"), parts, strict=True):
            getattr(theirs, name).load_state_dict({"weight": weight, "bias": bias})
    elif isinstance(ours, Resample):  # a mean of four, or a copy, as a convolution
        nn.init.zeros_(theirs.conv.bias)
        nn.init.zeros_(theirs.conv.weight)
        for channel, kernel in enumerate(theirs.conv.weight.data):
            if ours.direction == "down":
                kernel[channel, 1:, 1:] = 0.25
            else:
                kernel[channel, 1, 1] = 1.0
    else:
        theirs.load_state_dict(ours.state_dict())


def layers(theirs: Any) -> list[Any]:
    """A block of diffusers in the order of ours: each residual layer with its attention."""
    found = []
    attentions = list(getattr(theirs, "attentions", None) or [])
    for k, resnet in enumerate(theirs.resnets):
        found += [resnet, *attentions[k : k + 1]]
    ends = getattr(theirs, "downsamplers", None) or getattr(theirs, "upsamplers", None) or []
    return [*found, *ends]


@torch.no_grad()
def converted(network: UNet, schedule: CosineSchedule) -> Any:
    """The UNet2DModel with our weights; its time k is (k + 1) / STEPS, its class c + (C + 1) j."""
    theirs = common(network.config)
    t = schedule.log_snr(torch.arange(1, STEPS + 1) / STEPS)
    time = torch.atan(torch.exp(-0.5 * t.float())) / (torch.pi / 2)
    theirs.time_proj.weight.copy_(sinusoidal(1000.0 * time, network.config.base_channels))
    copy_into(theirs.time_embedding.linear_1, network.embed_time.layers[0])
    copy_into(theirs.time_embedding.linear_2, network.embed_time.layers[2])
    assert network.embed_label is not None
    assert network.embed_w is not None
    given = [network.embed_label.weight + network.embed_w(torch.tensor([w])) for w in W]
    theirs.class_embedding.weight.copy_(torch.cat(given))
    for name in ("conv_in", "conv_out"):
        copy_into(getattr(theirs, name), getattr(network, name))
    copy_into(theirs.conv_norm_out, network.norm_out)
    mid = theirs.mid_block
    both = [mid.resnets[0], mid.attentions[0], mid.resnets[1]]
    pairs = list(zip(both, network.middle, strict=True))
    for blocks, levels in ((theirs.down_blocks, network.down), (theirs.up_blocks, network.up)):
        flat = [layer for level in levels for layer in level.children()]
        pairs += zip([layer for block in blocks for layer in layers(block)], flat, strict=True)
    for layer, ours in pairs:
        copy_into(layer, ours)
    return theirs


def same(network: UNet) -> tuple[Tensor, Tensor]:
    """Outputs at every time, several classes and both w: (ours, theirs)."""
    schedule, c = CosineSchedule(), network.config
    k = torch.arange(STEPS)
    z_t = torch.randn(STEPS, c.channels, c.image_size, c.image_size, generator=torch.Generator())
    labels, j = k % (c.num_classes + 1), k % len(W)
    log_snr = schedule.log_snr((k + 1) / STEPS).float()
    ours = network(z_t, log_snr, Condition(labels, torch.tensor(W)[j]))
    theirs = converted(network, schedule)(z_t, k, labels + (c.num_classes + 1) * j).sample
    return ours, theirs


@pytest.mark.parametrize(
    "layout",
    [
        {"channel_multipliers": [1, 2], "blocks_per_level": 2, "norm_groups": 4},
        {"channel_multipliers": [1, 3], "resample_blocks": True, "attention_resolutions": [8, 4]},
    ],
)
def test_any_layout_is_a_common_one(layout: dict[str, Any], make_unet: MakeUNet) -> None:
    with torch.no_grad():
        ours, theirs = same(make_unet(**layout, w_frequencies=4, w_max=4.0))
    assert ours.abs().mean() > 0.1
    assert_close(theirs, ours, rtol=1e-4, atol=2e-5)


def test_the_digits_network_is_a_common_one(make_unet: MakeUNet) -> None:
    config = vars(untrained(read_params(ROOT / "pdpipe/presets/digits.yaml")).config)
    with torch.no_grad():
        ours, theirs = same(make_unet(**config | {"w_frequencies": 4, "w_max": 4.0}))
    assert_close(theirs, ours, rtol=1e-4, atol=2e-5)


def test_the_old_rule_of_groups_is_not_a_common_one(make_unet: MakeUNet) -> None:
    network = make_unet(channel_multipliers=[1, 3], w_frequencies=4, w_max=4.0, norm_groups=None)
    groups = {m.num_groups for m in network.modules() if isinstance(m, nn.GroupNorm)}
    assert len(groups) > 1
