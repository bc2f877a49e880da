"""The numbers of one cell, a step count and a guidance weight, from its images."""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor, nn

from pdpipe.errors import EvaluationError
from pdpipe.evaluation.features import check_labels, extract_features
from pdpipe.evaluation.fidelity import feature_statistics, fid, inception_score
from pdpipe.evaluation.intervals import balanced_groups, standard_error
from pdpipe.evaluation.neighbours import nearest_distances, summarize_distances
from pdpipe.evaluation.reference import Reference

Measured = TypedDict(
    "Measured",
    {
        "fid": float,
        "fid_se": float | None,
        "is": float,
        "is_se": float | None,
        "accuracy": float | None,
        "nearest_median": float,
        "nearest_close": float,
    },
)


def measure_cell(
    images: Tensor,
    labels: Tensor | None,
    classifier: nn.Module,
    reference: Reference,
    *,
    batch_size: int = 250,
    device: torch.device | str = "cpu",
) -> Measured:
    """FID, inception score, accuracy and nearest distances of generated images, unrounded.

    Args:
        images: uint8 (n, C, H, W), n >= 2.
        labels: the labels (n,) int64 that they were made for, as `balanced_labels` orders them;
            None (no labels) has no accuracy.
        classifier: the extractor with which `reference` was made.
        reference: the real side.
        batch_size: most images given to the classifier at once.
        device: where it runs.

    Raises:
        EvaluationError: the images do not fit the labels or the reference, or cannot be measured.
    """
    if labels is not None:
        check_labels(labels, len(images))
    distances = nearest_distances(images, reference.train_images, device=device)
    found = extract_features(classifier, images, batch_size=batch_size, device=device)
    classes = 1 if labels is None else int(labels.max()) + 1
    groups = balanced_groups(len(images), classes)

    def fid_of(kept: Tensor) -> float:
        statistics = feature_statistics(found.features[kept], of="the generated images")
        return fid(statistics, reference.train)

    def is_of(kept: Tensor) -> float:
        return inception_score(found.logits[kept])

    everything = torch.ones(len(images), dtype=torch.bool)
    nearest = summarize_distances(distances, reference.nearest_threshold)
    return {
        "fid": fid_of(everything),
        "fid_se": None if groups is None else standard_error(fid_of, groups),
        "is": is_of(everything),
        "is_se": None if groups is None else standard_error(is_of, groups),
        "accuracy": None if labels is None else found.accuracy(labels),
        "nearest_median": nearest.median,
        "nearest_close": nearest.close,
    }


def paired_mse(x: Tensor, x_reference: Tensor) -> float:
    """The mean squared difference of images x in [-1, 1] made from the same noise.

    Both are clamped to [-1, 1] first; the mean is over samples, channels and pixels, in float64.

    Args:
        x: float (p, C, H, W).
        x_reference: float (p, C, H, W), the images to compare with, in the same order.

    Raises:
        EvaluationError: the shapes differ, there are no samples, or x is not finite.
    """
    if x.shape != x_reference.shape or len(x) == 0:
        raise EvaluationError(
            f"the paired error needs the same number of images of one shape, at least 1, got "
            f"{tuple(x.shape)} and {tuple(x_reference.shape)}: evaluate the teacher again with "
            "the same evaluation.paired_samples"
        )
    a, b = (side.cpu().double() for side in (x, x_reference))
    if not (a.isfinite().all() and b.isfinite().all()):
        raise EvaluationError(
            "the paired error is not finite: a model makes images that are not finite; train it "
            "again, with a lower learning rate"
        )
    return float((a.clamp(-1, 1) - b.clamp(-1, 1)).square().mean())
