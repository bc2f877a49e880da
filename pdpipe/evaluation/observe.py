"""Images are seen once by each instrument, a part at a time, and go."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pdpipe.evaluation.features import extract_features
from pdpipe.evaluation.neighbours import nearest_distances
from pdpipe.evaluation.observed import Observed
from pdpipe.evaluation.records import NEAREST_SAMPLES
from pdpipe.evaluation.reference import Reference


@dataclass(frozen=True, eq=False)
class Instruments:
    """What images are measured with."""

    extractor: nn.Module  # x (B, C, H, W) in [-1, 1] -> (features (B, D), logits (B, K))
    judge: nn.Module  # the same for a classifier of the data's own classes; may be the extractor
    reference: Reference  # made with that extractor
    device: torch.device | str = "cpu"


def observe(
    images: Tensor,
    labels: Tensor | None,
    instruments: Instruments,
    *,
    first: int = 0,
    batch_size: int | None = None,
) -> Observed:
    """What the instruments see in some images.

    Args:
        images: uint8 (n, C, H, W).
        labels: the labels (n,) int64 that they were made for; None for a model without classes.
        instruments: to look with.
        first: the index of the first image in its cell; the nearest training image is sought for
            the first `NEAREST_SAMPLES` of a cell.
        batch_size: most images given to a network at once; see `extract_features`.

    Raises:
        EvaluationError: the images do not fit the labels or the reference.
    """
    device, judge = instruments.device, instruments.judge
    near = images[: max(NEAREST_SAMPLES - first, 0)]
    distances = nearest_distances(near, instruments.reference.train_images, device=device)
    found = extract_features(instruments.extractor, images, batch_size=batch_size, device=device)
    if labels is None:
        right = torch.empty(0, dtype=torch.bool)
        labels = torch.zeros(len(images), dtype=torch.int64)
    else:
        judged = found
        if judge is not instruments.extractor:
            judged = extract_features(judge, images, batch_size=batch_size, device=device)
        right = judged.right(labels)
    return Observed(found.features, found.logits, labels, right, distances)
