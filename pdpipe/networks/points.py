"""A residual network for points of few dimensions, with the inputs of the U-Net."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdpipe.diffusion import Condition
from pdpipe.networks.network import Network


@dataclass(frozen=True, kw_only=True)
class PointNetworkConfig:
    """Everything that determines the network's layout."""

    dimensions: int
    num_classes: int
    width: int = 128
    blocks: int = 4
    octaves: int = 4  # of sine and cosine features of each coordinate, from period 2 down
    w_frequencies: int = 16
    w_max: float = 4.0


class PointNetwork(Network):
    """Points (B, D, 1, 1) in, predictions of the same shape out; zero before it is trained.

    Residual blocks of two layers, each scaled and shifted by the sum of the embeddings of time,
    label and w, as the U-Net's are.
    """

    name = "points"  # of no setting
    Config = PointNetworkConfig

    def __init__(self, config: PointNetworkConfig) -> None:
        super().__init__(config)
        width = config.width
        self.add_embeddings(64, width)
        octaves = math.pi * 2.0 ** torch.arange(config.octaves, dtype=torch.float32)
        self.register_buffer("octaves", octaves, persistent=False)
        self.octaves: Tensor
        self.first = nn.Linear(config.dimensions * (1 + 2 * config.octaves), width)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(config.blocks))
        self.outer = nn.ModuleList(nn.Linear(width, width) for _ in range(config.blocks))
        self.modulate = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(config.blocks))
        self.last = nn.Linear(width, config.dimensions)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, z_t: Tensor, log_snr: Tensor, given: Condition) -> Tensor:
        """The prediction, shaped like z_t (B, D, 1, 1), at labels and w (0 where there is none)."""
        w = torch.zeros_like(log_snr) if given.w is None else given.w
        emb = self.embedding(log_snr, replace(given, w=w))
        z = z_t.flatten(1)
        angle = (z[:, :, None] * self.octaves).flatten(1)
        h = self.first(torch.cat([z, angle.sin(), angle.cos()], dim=1))
        for inner, outer, modulate in zip(self.inner, self.outer, self.modulate, strict=True):
            scale, shift = modulate(emb).chunk(2, dim=1)
            h = h + outer(F.silu(torch.addcmul(shift, inner(F.silu(h)), 1 + scale)))
        out: Tensor = self.last(F.silu(h))
        return out.view_as(z_t)
