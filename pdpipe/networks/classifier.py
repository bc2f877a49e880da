"""The small convolutional classifier whose features and logits the metrics use."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """Everything that determines the classifier's layout; plain values, stored with it."""

    channels: int  # of the images
    num_classes: int
    features: int  # penultimate width
    dropout: float


class Classifier(nn.Module):
    """Three convolutions with two max-poolings, and a linear layer to `features`.

    Nothing is normalised: the contrast of an image is part of what a metric must see. Works at
    any image side from 4 pixels up: what the first pooling leaves is pooled to 2 x 2.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        width = 8 * max(config.features // 32, 1)
        self.body = nn.Sequential(
            nn.Conv2d(config.channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.ReLU(),
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
