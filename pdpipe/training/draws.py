"""What the objectives of the distillation draw for each image, besides its noise."""

from __future__ import annotations

import torch
from torch import Tensor

from pdpipe.training.job import Batch


def draw_w(batch: Batch, w_min: float, w_max: float) -> Tensor:
    """w ~ U[w_min, w_max] for each image: (B,), float32, on the images' device."""
    w = w_min + (w_max - w_min) * batch.uniform().reshape(-1)
    return w.float().to(batch.x.device)


def draw_i(batch: Batch, num_steps: int) -> Tensor:
    """i uniform in 1 … N for each image: (B, 1, 1, 1), float64 and exact."""
    return torch.floor(batch.uniform() * num_steps) + 1
