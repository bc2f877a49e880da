"""What a diffusion network is to everything that uses one."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from pdpipe.diffusion import Condition
from pdpipe.networks.layers import GuidanceEmbedding, TimeEmbedding

# The bounds of a config that is read from a file, which keep its layout small enough to look at.
Count = Annotated[int, Field(ge=1, le=2**16)]
Side = Annotated[int, Field(ge=1, le=2**12)]  # in pixels
NumClasses = Annotated[int, Field(ge=0, le=2**20)]  # 0: unconditional
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
Frequencies = Annotated[int, Field(ge=0, le=2**14)]  # of w's embedding; 0: it takes no w
HighestW = Annotated[float, Field(ge=0.0, le=1e6)]  # the scale of that embedding
Heads = Annotated[int, Field(ge=1, le=2)]  # for each image channel; 2: x and eps are predicted


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

    def add_embeddings(self, width: int, out: int) -> None:
        """Those of time, by `width` sinusoidal features, and of the label and w if it takes them.

        They are (B, out) each; w's starts at nothing (GD, section 3.1).
        """
        c = self.config
        self.embed_time = TimeEmbedding(width, out)
        self.embed_label = nn.Embedding(c.num_classes + 1, out) if self.conditional else None
        self.embed_w = GuidanceEmbedding(c.w_frequencies, out, c.w_max) if self.takes_w else None

    def embedding(self, log_snr: Tensor, given: Condition) -> Tensor:
        """The swished sum of these embeddings, (B, out), at log_snr (B,)."""
        emb: Tensor = self.embed_time(log_snr)
        if self.embed_label is not None:
            emb = emb + self.embed_label(given.label)
        if self.embed_w is not None:
            emb = emb + self.embed_w(given.w)
        return F.silu(emb)

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
