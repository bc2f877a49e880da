"""Building blocks: embeddings, and the U-Net's residual block and attention (PD, released code)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def group_norm(channels: int, groups: int | None) -> nn.GroupNorm:
    """Group normalisation in so many groups.

    None is the rule of model files from before there was a setting: 32 groups, or as many as leave
    at least 4 channels in each, so that the number varies by layer.
    """
    if groups is None:
        groups = next(g for g in range(min(32, channels // 4), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels, eps=1e-6)


def zero_initialised(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """The layer with weight and bias at 0: its branch starts as nothing."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def sinusoidal(position: Tensor, width: int) -> Tensor:
    """Sinusoidal features (B, width) of positions (B,), periods from 2 pi to 2e4 pi."""
    half = width // 2
    frequency = torch.exp(
        torch.arange(half, device=position.device, dtype=torch.float32)
        * (-math.log(10_000.0) / max(half - 1, 1))
    )
    angle = position.float()[:, None] * frequency[None, :]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class TimeEmbedding(nn.Module):
    """(B, out) embedding of log-SNR (B,): valid at any time, whatever the number of steps.

    The log-SNR is mapped to `atan(exp(-log_snr / 2)) / (pi / 2)`, about t, times 1000.
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, out), nn.SiLU(), nn.Linear(out, out))

    def forward(self, log_snr: Tensor) -> Tensor:
        """The embedding of log_snr (B,), computed in float32."""
        time = torch.atan(torch.exp(-0.5 * log_snr.float())) / (math.pi / 2)
        out: Tensor = self.layers(sinusoidal(1000.0 * time, self.width))
        return out


class GuidanceEmbedding(nn.Module):
    """(B, out) Fourier embedding of the guidance weight w (B,); zero before the first update.

    The last layer starts at zero, so that a student initialised from a conditional teacher *is*
    that teacher, at every w, until it is trained (GD, section 3.1).
    """

    def __init__(self, num_frequencies: int, out: int, w_max: float) -> None:
        super().__init__()
        periods = max(w_max, 1e-6) * 4.0
        steps = torch.arange(num_frequencies, dtype=torch.float32)
        highest = 32.0  # periods of the finest feature within [0, 4 w_max]
        octaves = steps / max(num_frequencies - 1, 1) * math.log(highest)
        self.register_buffer("frequency", 2 * math.pi / periods * octaves.exp(), persistent=False)
        self.frequency: Tensor
        self.layers = nn.Sequential(
            nn.Linear(2 * num_frequencies, out),
            nn.SiLU(),
            zero_initialised(nn.Linear(out, out)),
        )

    def forward(self, w: Tensor) -> Tensor:
        """The embedding of w (B,), computed in float32."""
        angle = w.float()[:, None] * self.frequency[None, :]
        out: Tensor = self.layers(torch.cat([angle.sin(), angle.cos()], dim=1))
        return out


def doubled(h: Tensor) -> Tensor:
    """Each position of h (B, C, H, W) four times, (B, C, 2H, 2W): nearest-neighbour doubling.

    By copies, since `F.interpolate` takes three times as long on a CPU (a detour by channels last).
    """
    b, c, height, width = h.shape
    rows = torch.stack([h, h], dim=-1).reshape(b, c, height, 1, 2 * width)
    return torch.cat([rows, rows], dim=3).reshape(b, c, 2 * height, 2 * width)


class Resample(nn.Module):
    """Average pooling by 2 (`down`), nearest-neighbour doubling (`up`), or nothing (`""`)."""

    def __init__(self, direction: str) -> None:
        super().__init__()
        self.direction = direction

    def forward(self, h: Tensor) -> Tensor:
        """(B, C, H', W') from h (B, C, H, W)."""
        if self.direction == "down":
            return F.avg_pool2d(h, 2)
        if self.direction == "up":
            return doubled(h)
        return h


class ResBlock(nn.Module):
    """Residual block with scale-shift conditioning, optionally resampling by 2.

    norm, swish, [resample], conv 3x3, norm * (1 + scale) + shift, swish, dropout, conv 3x3 (zero);
    the shortcut is 1x1 only where the channels change.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        emb: int,
        dropout: float,
        direction: str = "",
        norm_groups: int | None = None,
    ) -> None:
        super().__init__()
        self.direction = direction
        self.resample = Resample(direction)
        self.norm_in = group_norm(channels, norm_groups)
        self.conv_in = nn.Conv2d(channels, out, 3, padding=1)
        self.embed = nn.Linear(emb, 2 * out)
        self.norm_out = group_norm(out, norm_groups)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zero_initialised(nn.Conv2d(out, out, 3, padding=1))
        self.shortcut = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        """(B, out, H', W') from h (B, channels, H, W) and the swished embedding (B, emb)."""
        residual = self.conv_in(self.resample(F.silu(self.norm_in(h))))
        scale, shift = self.embed(emb)[:, :, None, None].chunk(2, dim=1)
        residual = torch.addcmul(shift, self.norm_out(residual), 1 + scale)
        residual = self.conv_out(self.dropout(F.silu(residual)))
        out: Tensor = self.shortcut(self.resample(h)) + residual
        return out


def attend(qkv: Tensor, heads: int) -> Tensor:
    """Every token's attended values (B, L, C), from queries, keys and values (B, L, 3C)."""
    b, length, channels = qkv.shape
    split = qkv.reshape(b, length, 3, heads, channels // 3 // heads)
    q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, L, channels of a head)
    attended = F.scaled_dot_product_attention(q, k, v)
    return attended.transpose(1, 2).reshape(b, length, channels // 3)


class Attention(nn.Module):
    """Self-attention over the H*W positions, with a residual connection that starts at zero."""

    def __init__(self, channels: int, head_channels: int, norm_groups: int | None = None) -> None:
        super().__init__()
        if channels % head_channels:
            raise ValueError(f"heads of {head_channels} channels do not fill {channels}")
        self.heads = channels // head_channels
        self.norm = group_norm(channels, norm_groups)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = zero_initialised(nn.Linear(channels, channels))

    def forward(self, h: Tensor) -> Tensor:
        """(B, C, H, W), h plus its attended values."""
        b, c, height, width = h.shape
        positions = self.norm(h).flatten(2).transpose(1, 2)  # (B, H*W, C)
        out: Tensor = self.project(attend(self.qkv(positions), self.heads))
        return h + out.transpose(1, 2).reshape(b, c, height, width)
