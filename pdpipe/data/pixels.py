"""Between stored uint8 pixels and the [-1, 1] in which models work."""

from __future__ import annotations

import torch
from torch import Tensor


def to_unit(images: Tensor) -> Tensor:
    """Float32 x = images / 127.5 - 1 in [-1, 1], shaped like the uint8 `images`."""
    return images.to(torch.float32) / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """The uint8 images nearest to `x`: clamped to [-1, 1], rounded, shaped like `x`.

    Rounding, not truncation: truncated images shift the FID. `to_uint8(to_unit(images))` is
    `images` for all 256 values.
    """
    return ((x.to(torch.float32).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
