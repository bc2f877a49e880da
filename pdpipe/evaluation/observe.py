"""Images are seen once by each instrument, a part at a time, and go.

What is kept of them are a few numbers each, so that any number of them fits in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pdpipe.evaluation.features import extract_features
from pdpipe.evaluation.neighbours import nearest_distances
from pdpipe.evaluation.records import NEAREST_SAMPLES

if TYPE_CHECKING:
    from pdpipe.evaluation.reference import Reference


@dataclass(frozen=True, eq=False)
class Observed:
    """What is known of n images, in their order."""

    features: Tensor  # (n, D) float32
    logits: Tensor  # (n, K) float32
    labels: Tensor  # (n,) int64; zeros for images without classes
    right: Tensor  # (n,) bool: the judge sees the label; empty for images without classes
    distances: Tensor  # float64, of the first images, each to the nearest training image

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Observed:
        """From its tensors by name; further ones are left aside."""
        return cls(**{f.name: tensors[f.name] for f in fields(cls)})

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name, to be stored."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def accuracy(self) -> float | None:
        """The share of the images whose label the judge sees; None without classes."""
        return float(self.right.double().mean()) if len(self.right) else None


@dataclass(frozen=True, eq=False)
class Instruments:
    """What images are measured with."""

    extractor: nn.Module  # x (B, C, H, W) in [-1, 1] -> (features (B, D), logits (B, K))
    judge: nn.Module  # the same for a classifier of the data's own classes; may be the extractor
    reference: Reference  # made with that extractor
    device: torch.device | str = "cpu"


def observe(
    images: Tensor, labels: Tensor | None, instruments: Instruments, *, first: int = 0
) -> Observed:
    """What the instruments see in some images.

    Args:
        images: uint8 (n, C, H, W).
        labels: the labels (n,) int64 that they were made for; None for a model without classes.
        instruments: to look with.
        first: the index of the first image in its cell; the nearest training image is sought for
            the first `NEAREST_SAMPLES` of a cell.

    Raises:
        EvaluationError: the images do not fit the labels or the reference.
    """
    device, judge = instruments.device, instruments.judge
    near = images[: max(NEAREST_SAMPLES - first, 0)]
    distances = nearest_distances(near, instruments.reference.train_images, device=device)
    found = extract_features(instruments.extractor, images, device=device)
    if labels is None:
        right = torch.empty(0, dtype=torch.bool)
        labels = torch.zeros(len(images), dtype=torch.int64)
    else:
        judged = found
        if judge is not instruments.extractor:
            judged = extract_features(judge, images, device=device)
        right = judged.right(labels)
    return Observed(found.features, found.logits, labels, right, distances)
