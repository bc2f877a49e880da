"""The small convolutional classifier whose features and logits the metrics use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """Everything that determines the classifier's layout; plain values, stored with it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)
    channels: Annotated[int, Field(ge=1, le=2**16)]  # of the images
    num_classes: Annotated[int, Field(ge=1, le=2**20)]
    features: Annotated[int, Field(ge=1, le=2**20)]  # penultimate width
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)]


class Classifier(nn.Module):
    """Three convolutions with batch normalisation, two max-poolings, a linear layer to `features`.

    In use a batch normalisation is a fixed affine map of each channel, so the contrast of an image,
    which a metric must see, is kept; a group normalisation would remove it. Works at any image
    side from 4 pixels up: what the first pooling leaves is pooled to 2 x 2.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        width = 8 * max(config.features // 32, 1)
        self.body = nn.Sequential(
            *_convolution(config.channels, width),
            *_convolution(width, 2 * width),
            nn.MaxPool2d(2),
            *_convolution(2 * width, 2 * width),
            nn.AdaptiveMaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(config.dropout),
            nn.Linear(8 * width, config.features),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.features, config.num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(features (B, D), logits (B, num_classes)) of images x in [-1, 1], (B, C, H, W)."""
        features: Tensor = self.body(x)
        logits: Tensor = self.head(self.dropout(features))
        return features, logits


def _convolution(channels: int, out: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
