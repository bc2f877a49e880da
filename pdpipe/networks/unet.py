"""A U-Net, with label and w where its config says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from pdpipe.diffusion import Condition
from pdpipe.networks.layers import (
    Attention,
    Resample,
    ResBlock,
    group_norm,
    zero_initialised,
)
from pdpipe.networks.network import (
    Count,
    Dropout,
    Frequencies,
    Heads,
    HighestW,
    Network,
    NumClasses,
    Side,
)

Levels = Annotated[list[Count], Field(min_length=1, max_length=16)]


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Everything that determines the network's layout; plain values, stored in model files."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)
    image_size: Side
    channels: Count  # of the images
    num_classes: NumClasses
    base_channels: Count
    channel_multipliers: Levels  # one level each
    blocks_per_level: Annotated[int, Field(ge=1, le=64)]
    attention_resolutions: Annotated[list[Count], Field(max_length=16)]  # image sides
    head_channels: Count
    embedding_channels: Count
    resample_blocks: bool = True  # resample inside a residual block; False: just pool and repeat
    dropout: Dropout = 0.0
    w_frequencies: Frequencies = 0
    w_max: HighestW = 0.0
    heads: Heads = 1
    norm_groups: Count | None = None  # of every normalisation; None: the rule of older files


class UNet(Network):
    """A U-Net conditioned on log-SNR, and, where its config says so, on a label and on w.

    conv, then per level `blocks_per_level` residual blocks (with attention at the listed image
    sides) and a downsampling one; a middle of block, attention, block; and the way up on the
    concatenated skips. The last convolution starts at zero, so an untrained network outputs 0.
    Layout: PD, released code; w enters where the time does (GD, section 3.1).
    """

    name = "unet"
    Config = UNetConfig

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        width, emb = config.base_channels, config.embedding_channels
        self.add_embeddings(width, emb)
        self.conv_in = nn.Conv2d(config.channels, width, 3, padding=1)
        self.down, skips, channels = self._build_down()
        self.middle = nn.ModuleList(
            [
                self._residual(channels, channels),
                Attention(channels, config.head_channels, config.norm_groups),
                self._residual(channels, channels),
            ]
        )
        self.up, channels = self._build_up(skips, channels)
        self.norm_out = group_norm(channels, config.norm_groups)
        self.conv_out = zero_initialised(
            nn.Conv2d(channels, config.heads * config.channels, 3, padding=1)
        )

    def _build_down(self) -> tuple[nn.ModuleList, list[int], int]:
        """The levels on the way down, the channels of each skip, and of the last output."""
        c = self.config
        levels, skips = nn.ModuleList(), [c.base_channels]
        channels, side = c.base_channels, c.image_size
        for level, multiplier in enumerate(c.channel_multipliers):
            for _ in range(c.blocks_per_level):
                block = self._block(channels, c.base_channels * multiplier, side)
                channels = c.base_channels * multiplier
                levels.append(block)
                skips.append(channels)
            if level < len(c.channel_multipliers) - 1:
                levels.append(self._resampling(channels, "down"))
                skips.append(channels)
                side //= 2
        return levels, skips, channels

    def _build_up(self, skips: list[int], channels: int) -> tuple[nn.ModuleList, int]:
        """The levels on the way up, which take the skips back, and the channels of the last."""
        c = self.config
        levels, skips = nn.ModuleList(), list(skips)
        side = c.image_size // 2 ** (len(c.channel_multipliers) - 1)
        for level, multiplier in reversed(list(enumerate(c.channel_multipliers))):
            for _ in range(c.blocks_per_level + 1):
                block = self._block(channels + skips.pop(), c.base_channels * multiplier, side)
                channels = c.base_channels * multiplier
                levels.append(block)
            if level:
                levels.append(self._resampling(channels, "up"))
                side *= 2
        return levels, channels

    def _block(self, channels: int, out: int, side: int) -> nn.ModuleList:
        c = self.config
        layers: list[nn.Module] = [self._residual(channels, out)]
        if side in c.attention_resolutions:
            layers.append(Attention(out, c.head_channels, c.norm_groups))
        return nn.ModuleList(layers)

    def _resampling(self, channels: int, direction: str) -> nn.ModuleList:
        c = self.config
        if not c.resample_blocks:
            return nn.ModuleList([Resample(direction)])
        return nn.ModuleList([self._residual(channels, channels, direction)])

    def _residual(self, channels: int, out: int, direction: str = "") -> ResBlock:
        c = self.config
        return ResBlock(channels, out, c.embedding_channels, c.dropout, direction, c.norm_groups)

    def forward(self, z_t: Tensor, log_snr: Tensor, given: Condition) -> Tensor:
        """The prediction (B, heads * C, H, W), in the teacher's parameterization.

        Args:
            z_t: noisy images, (B, C, H, W).
            log_snr: of each image's time, (B,).
            given: its label (`null_label` for none) and w, as far as the network takes them.
        """
        emb = self.embedding(log_snr, given)
        h = self.conv_in(z_t)
        skips = [h]
        for layers in self.down:
            h = _apply(layers, h, emb)
            skips.append(h)
        h = _apply(self.middle, h, emb)
        for layers in self.up:
            if not _is_upsampling(layers):
                h = torch.cat([h, skips.pop()], dim=1)
            h = _apply(layers, h, emb)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out


def _is_upsampling(layers: nn.Module) -> bool:
    first = next(layers.children())
    return isinstance(first, ResBlock | Resample) and first.direction == "up"


def _apply(layers: nn.Module, h: Tensor, emb: Tensor) -> Tensor:
    for layer in layers.children():
        h = layer(h, emb) if isinstance(layer, ResBlock) else layer(h)
    return h


NETWORK = UNet
