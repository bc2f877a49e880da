"""What a diffusion network is to everything that uses one."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from pdpipe.diffusion import Condition

Count = Annotated[int, Field(ge=1, le=2**16)]
Side = Annotated[int, Field(ge=1, le=2**12)]


class Network(nn.Module):
    """A module that predicts from noisy images, their time, and a condition.

    `config` is a dataclass of plain values, from which it can be built again. Of these, every
    network of images has `image_size`, `channels`, `num_classes` (0: it takes no label), `dropout`,
    `w_frequencies` (0: it takes no w), `w_max` and `heads`.
    """

    name: ClassVar[str]  # its key in `NETWORKS`
    Config: ClassVar[Any]  # the class of its config

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @property
    def conditional(self) -> bool:
        """Whether it takes a label, so that there is something to guide."""
        return bool(self.config.num_classes > 0)

    @property
    def takes_w(self) -> bool:
        """Whether w is an input."""
        return bool(self.config.w_frequencies > 0)

    @property
    def null_label(self) -> int:
        """The label that stands for "no label": the index after the last class."""
        return int(self.config.num_classes)

    def null(self, given: Condition) -> Condition:
        """The unconditional twin of a condition: without its label, with the same w."""
        label = None if given.label is None else torch.full_like(given.label, self.null_label)
        return replace(given, label=label)

    def forward(self, z_t: Tensor, log_snr: Tensor, given: Condition) -> Tensor:
        """The prediction (B, heads * C, H, W) from z_t (B, C, H, W) and log_snr (B,)."""
        raise NotImplementedError
