"""The diffusion transformer: an image as tokens, one for each of its patches.

Source: Peebles & Xie 2023, "Scalable Diffusion Models with Transformers", with blocks of the kind
adaLN-Zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from pdpipe.diffusion import Condition
from pdpipe.networks.layers import (
    attend,
    sinusoidal,
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


@dataclass(frozen=True, kw_only=True)
class DiTConfig:
    """Everything that determines the network's layout; plain values, stored in model files."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)
    image_size: Side
    channels: Count  # of the images
    num_classes: NumClasses
    patch_size: Annotated[int, Field(ge=1, le=2**10)]  # side of a patch, in pixels
    width: Annotated[int, Field(ge=4, le=2**14, multiple_of=4)]  # channels of a token
    depth: Annotated[int, Field(ge=1, le=256)]  # blocks
    head_channels: Count  # of the attention
    mlp_ratio: Annotated[int, Field(ge=1, le=16)] = 4  # hidden channels of a block's MLP / width
    dropout: Dropout = 0.0
    w_frequencies: Frequencies = 0
    w_max: HighestW = 0.0
    heads: Heads = 1


class DiT(Network):
    """A transformer conditioned on log-SNR, and, where its config says so, on a label and on w.

    patches -> tokens, plus a fixed embedding of their places; `depth` blocks; tokens -> patches.
    Time, label and w are one sum of embeddings, which scales, shifts and gates every block (DiT,
    section 3.2); w's starts at nothing (GD, section 3.1). An untrained network outputs 0.
    """

    name = "dit"
    Config = DiTConfig

    def __init__(self, config: DiTConfig) -> None:
        super().__init__(config)
        width, side = config.width, config.image_size // config.patch_size
        patch = config.channels * config.patch_size**2
        self.add_embeddings(width, width)
        self.patches_in = nn.Linear(patch, width)
        along = sinusoidal(torch.arange(side), width // 2)
        self.register_buffer("along", along, persistent=False)
        self.along: Tensor  # (H / p, width / 2), of a row or a column
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.modulate_out = _Modulation(width, 2)
        self.patches_out = zero_initialised(nn.Linear(width, config.heads * patch))

    def forward(self, z_t: Tensor, log_snr: Tensor, given: Condition) -> Tensor:
        """The prediction (B, heads * C, H, W) from z_t (B, C, H, W) and log_snr (B,)."""
        emb = self.embedding(log_snr, given)  # (B, width)
        p, side = self.config.patch_size, self.config.image_size // self.config.patch_size
        patches = F.pixel_unshuffle(z_t, p).flatten(2).transpose(1, 2)  # (B, L, C p p)
        h = self.patches_in(patches) + self._places()  # (B, L, width)
        for block in self.blocks:
            h = block(h, emb)
        scale, shift = self.modulate_out(emb)
        patches = self.patches_out(_modulated(h, scale, shift))  # (B, L, heads C p p)
        return F.pixel_shuffle(patches.transpose(1, 2).unflatten(2, (side, side)), p)

    def _places(self) -> Tensor:
        """(L, width): features of each patch's row, and of its column."""
        side = len(self.along)
        rows, columns = self.along.repeat_interleave(side, dim=0), self.along.repeat(side, 1)
        return torch.cat([rows, columns], dim=1)


class _Block(nn.Module):
    """Attention and an MLP, each between adaptive norm and gate; it starts as the identity."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.mlp_ratio * config.width
        if width % config.head_channels:
            raise ValueError(f"heads of {config.head_channels} channels do not fill {width}")
        self.heads = width // config.head_channels
        self.modulate = _Modulation(width, 6)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(approximate="tanh"),
            nn.Dropout(config.dropout),
            nn.Linear(hidden, width),
        )

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        """(B, L, width) from h (B, L, width) and the swished embedding (B, width)."""
        scale, shift, gate, mlp_scale, mlp_shift, mlp_gate = self.modulate(emb)
        h = h + gate * self.project(attend(self.qkv(_modulated(h, scale, shift)), self.heads))
        out: Tensor = h + mlp_gate * self.mlp(_modulated(h, mlp_scale, mlp_shift))
        return out


class _Modulation(nn.Module):
    """`parts` tensors (B, 1, width) from the swished embedding; zero before the first update."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.layer = zero_initialised(nn.Linear(width, parts * width))

    def forward(self, emb: Tensor) -> tuple[Tensor, ...]:
        """Scales, shifts and gates."""
        return self.layer(emb)[:, None].chunk(self.parts, dim=2)  # type: ignore[no-any-return]


def _modulated(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Layer normalisation, whose scale and shift come from outside."""
    return torch.addcmul(shift, F.layer_norm(h, h.shape[-1:], eps=1e-6), 1 + scale)


NETWORK = DiT
