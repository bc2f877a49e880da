"""The figures of one cell, a step count and a guidance weight, from what was seen of its images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypedDict, cast

from torch import Tensor

from pdpipe.errors import EvaluationError
from pdpipe.evaluation.fidelity import (
    feature_statistics,
    fid,
    inception_score,
    inception_score_splits,
)
from pdpipe.evaluation.intervals import seeds_error, stratified_groups, with_leave_outs
from pdpipe.evaluation.kid import kid
from pdpipe.evaluation.manifold import precision, recall
from pdpipe.evaluation.neighbours import summarize_distances
from pdpipe.evaluation.observed import Observed
from pdpipe.evaluation.reference import Reference

Figures = TypedDict(
    "Figures",
    {
        "fid": float,
        "fid_se": float | None,
        "is": float,
        "is_se": float | None,
        "kid": float,
        "kid_se": float | None,
        "precision": float,
        "precision_se": float | None,
        "recall": float,
        "recall_se": float | None,
    },
)


class Measured(Figures):
    """All that the images of one cell give by themselves."""

    accuracy: float | None
    nearest_median: float
    nearest_close: float


def figures(features: Tensor, logits: Tensor, groups: Tensor | None, real: Reference) -> Figures:
    """The figures that have a standard error, of some images against the training images.

    Args:
        features: of the images, (n, D).
        logits: of the images, (n, K).
        groups: the jackknife group of each, (n,); without, there are no standard errors.
        real: the real side.

    Raises:
        EvaluationError: too few images for a figure, or features that are not finite.
    """
    n, splits = len(features), inception_score_splits(len(features))

    def fid_of(kept: Tensor) -> float:
        return fid(feature_statistics(features, kept=kept, of="the generated images"), real.train)

    def is_of(kept: Tensor) -> float:
        return inception_score(logits, kept=kept, splits=splits)

    found_fid, fid_se = with_leave_outs(fid_of, groups, n, numbers=10 * features.shape[1] ** 2)
    found_is, is_se = with_leave_outs(is_of, groups, n, numbers=8 * logits.numel() // splits)
    found_kid, kid_se = kid(features, real.train_features, real.kernel_mean, groups)
    quality, quality_se = precision(features, real.train_features, real.train_radii, groups)
    variety, variety_se = recall(features, real.train_features, groups)
    return {
        "fid": found_fid,
        "fid_se": fid_se,
        "is": found_is,
        "is_se": is_se,
        "kid": found_kid,
        "kid_se": kid_se,
        "precision": quality,
        "precision_se": quality_se,
        "recall": variety,
        "recall_se": variety_se,
    }


def measure(seen: Observed, reference: Reference, *, errors: bool = True) -> Measured:
    """Every figure of one cell at one generation seed, unrounded.

    Args:
        seen: of its images.
        reference: the real side.
        errors: with standard errors by the jackknife.

    Raises:
        EvaluationError: too few images for a figure, or features that are not finite.
    """
    nearest = summarize_distances(seen.distances, reference.nearest_threshold)
    groups = stratified_groups(seen.labels) if errors else None
    found = figures(seen.features, seen.logits, groups, reference)
    return {
        **found,
        "accuracy": seen.accuracy,
        "nearest_median": nearest.median,
        "nearest_close": nearest.close,
    }


def mean_over_seeds(measured: Sequence[Measured]) -> Measured:
    """The figures of a cell from those at each of its generation seeds, one or more.

    Each is the mean, and its standard error that of the mean, by the spread of the seeds; of one
    seed they stay as they are.
    """
    if len(measured) == 1:
        return measured[0]
    found: dict[str, Any] = {}
    for name in (key for key in measured[0] if not key.endswith("_se")):
        values = [cast(dict[str, Any], one)[name] for one in measured]
        found[name] = None if None in values else math.fsum(values) / len(values)
        if f"{name}_se" in measured[0]:
            found[f"{name}_se"] = seeds_error(values)
    return cast(Measured, found)


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
