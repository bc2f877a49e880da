"""The building blocks against the formulas they stand for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from pdpipe.diffusion import CosineSchedule
from pdpipe.networks.layers import (
    Attention,
    Resample,
    ResBlock,
    TimeEmbedding,
    group_norm,
    sinusoidal,
)


@pytest.mark.parametrize(
    ("channels", "groups"), [(4, 1), (8, 2), (12, 3), (20, 5), (44, 11), (128, 32), (192, 32)]
)
def test_the_old_rule_of_groups(channels: int, groups: int) -> None:
    """They divide, and have four channels or more."""
    norm = group_norm(channels, None)
    assert norm.num_groups == groups
    assert norm(torch.randn(2, channels, 2, 2)).isfinite().all()


def test_sinusoidal_features() -> None:
    found = sinusoidal(torch.tensor([0.0, 3.0]), 8)
    frequency = [10_000 ** (-k / 3) for k in range(4)]
    expected = [math.sin(3 * f) for f in frequency] + [math.cos(3 * f) for f in frequency]
    assert_close(found[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    assert_close(found[1], torch.tensor(expected))


def test_time_embedding_sees_about_t_whatever_the_number_of_steps() -> None:
    """log-SNR back to t, times 1000: neighbours on a grid of 8192 steps are told apart."""
    torch.manual_seed(0)
    embed = TimeEmbedding(32, 64)
    t = torch.tensor([0.25, 0.5, 0.75, 1.0])
    log_snr = CosineSchedule().log_snr(t)
    assert_close(embed(log_snr), embed.layers(sinusoidal(1000 * t, 32)), rtol=0, atol=2e-2)
    grid = CosineSchedule().log_snr(torch.arange(1, 8193) / 8192)
    assert ((embed(grid)[1:] - embed(grid)[:-1]).abs().amax(1) > 1e-4).all()


def test_attention_is_softmax_attention_over_positions() -> None:
    torch.manual_seed(1)
    layer = Attention(12, 4)  # 3 heads
    nn.init.normal_(layer.project.weight)
    h = torch.randn(2, 12, 3, 2)
    normed = layer.norm(h).flatten(2)  # (B, C, positions)
    weight = layer.qkv.weight
    q, k, v = (weight @ normed + layer.qkv.bias[:, None]).chunk(3, dim=1)
    heads = []
    for head in range(3):
        part = slice(4 * head, 4 * head + 4)
        scores = q[:, part].transpose(1, 2) @ k[:, part] / math.sqrt(4)
        heads.append(v[:, part] @ scores.softmax(-1).transpose(1, 2))
    projected = layer.project.weight @ torch.cat(heads, dim=1)
    assert_close(layer(h), h + projected.view_as(h), rtol=0, atol=1e-5)


@pytest.mark.parametrize("direction", ["", "down", "up"])
def test_residual_block_by_its_formula(direction: str) -> None:
    torch.manual_seed(2)
    block = ResBlock(8, 16, 10, 0.0, direction)
    nn.init.normal_(block.conv_out.weight)
    nn.init.normal_(block.norm_out.weight)
    h, emb = torch.randn(3, 8, 4, 4), torch.randn(3, 10)
    resample = {
        "": lambda x: x,
        "down": lambda x: x.view(*x.shape[:2], 2, 2, 2, 2).mean(dim=(3, 5)),
        "up": lambda x: x.repeat_interleave(2, -1).repeat_interleave(2, -2),
    }[direction]
    scale, shift = block.embed(emb).chunk(2, dim=1)
    residual = block.conv_in(resample(F.silu(block.norm_in(h))))
    residual = block.norm_out(residual) * (1 + scale[..., None, None]) + shift[..., None, None]
    expected = block.shortcut(resample(h)) + block.conv_out(F.silu(residual))
    assert_close(block(h, emb), expected, rtol=0, atol=1e-5)
    assert_close(Resample(direction)(h), resample(h), rtol=0, atol=1e-6)


@pytest.mark.parametrize("direction", ["", "down", "up"])
def test_branches_start_as_nothing(direction: str) -> None:
    h = torch.randn(2, 8, 4, 4)
    block = ResBlock(8, 8, 10, 0.0, direction)
    assert torch.equal(block(h, torch.randn(2, 10)), Resample(direction)(h))
    assert torch.equal(Attention(8, 4)(h), h)
