"""The class-conditional U-Net of the teacher, which is also every student's network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdpipe.networks.layers import (
    Attention,
    GuidanceEmbedding,
    Resample,
    ResBlock,
    TimeEmbedding,
    group_norm,
    zero_initialised,
)


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Everything that determines the network's layout; plain values, stored in checkpoints."""

    image_size: int  # side in pixels
    channels: int  # of the images
    num_classes: int  # 0: unconditional
    base_channels: int
    channel_multipliers: list[int]  # one level each
    blocks_per_level: int
    attention_resolutions: list[int]  # image sides
    head_channels: int
    embedding_channels: int
    resample_blocks: bool = True  # resample inside a residual block; False: just pool and repeat
    dropout: float = 0.0
    w_frequencies: int = 0  # of the embedding of w; 0: the network takes no w
    w_max: float = 0.0  # scale of that embedding
    heads: int = 1  # outputs for each channel of the images: 2 where both x and eps are predicted
    norm_groups: int | None = None  # of every normalisation; None: the rule of older files


class UNet(nn.Module):
    """A U-Net conditioned on log-SNR, and, where its config says so, on a label and on w.

    conv, then per level `blocks_per_level` residual blocks (with attention at the listed image
    sides) and a downsampling one; a middle of block, attention, block; and the way up on the
    concatenated skips. The last convolution starts at zero, so an untrained network outputs 0.
    Layout: PD, released code; w enters where the time does (GD, section 3.1).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        width, emb = config.base_channels, config.embedding_channels
        self.embed_time = TimeEmbedding(width, emb)
        self.embed_label = nn.Embedding(config.num_classes + 1, emb) if config.num_classes else None
        self.embed_w = (
            GuidanceEmbedding(config.w_frequencies, emb, config.w_max)
            if config.w_frequencies
            else None
        )
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

    @property
    def null_label(self) -> int:
        """The label that stands for "no label": the index after the last class."""
        return self.config.num_classes

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

    def embedding(self, log_snr: Tensor, labels: Tensor | None, w: Tensor | None) -> Tensor:
        """The swished sum of the embeddings of time, label and w: (B, embedding_channels)."""
        emb: Tensor = self.embed_time(log_snr)
        if self.embed_label is not None:
            emb = emb + self.embed_label(labels)
        if self.embed_w is not None:
            emb = emb + self.embed_w(w)
        return F.silu(emb)

    def forward(
        self,
        z_t: Tensor,
        log_snr: Tensor,
        labels: Tensor | None = None,
        w: Tensor | None = None,
    ) -> Tensor:
        """The prediction (B, heads * C, H, W), in the teacher's parameterization.

        Args:
            z_t: noisy images, (B, C, H, W).
            log_snr: of each image's time, (B,).
            labels: class indices, `null_label` for none, (B,); ignored by unconditional networks.
            w: guidance weights, (B,); ignored by networks without an embedding of w.
        """
        emb = self.embedding(log_snr, labels, w)
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
