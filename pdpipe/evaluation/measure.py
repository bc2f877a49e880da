"""The figures of a cell, and of the floor, from what was seen of their images."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from pdpipe.errors import EvaluationError
from pdpipe.evaluation.intervals import seeds_error, stratified_groups
from pdpipe.evaluation.metrics import METRICS, Images
from pdpipe.evaluation.observe import Observed
from pdpipe.evaluation.records import Floor, FloorProtocol, FloorRecord, versions
from pdpipe.evaluation.reference import Reference

Measured = dict[str, float | None]
"""All that the images of one cell give by themselves, by the names of `records.Cell`."""


def measure(seen: Observed, reference: Reference, *, errors: bool = True) -> Measured:
    """Every figure of one cell at one generation seed, unrounded.

    Args:
        seen: of its images.
        reference: the real side.
        errors: with standard errors by the jackknife.

    Raises:
        EvaluationError: too few images for a figure, or features that are not finite.
    """
    groups = stratified_groups(seen.labels) if errors else None
    images = Images(features=seen.features, logits=seen.logits, labels=seen.labels, groups=groups)
    found: Measured = {}
    for key, metric in METRICS.items():
        found[key], found[f"{key}_se"] = metric.measure(images, reference)
    close = seen.distances < reference.nearest_threshold
    return {
        **found,
        "accuracy": seen.accuracy,
        "nearest_median": float(seen.distances.double().quantile(0.5)),
        "nearest_close": float(close.double().mean()),
    }


def floor_record(reference: Reference) -> FloorRecord:
    """What a perfect model would score: held-out real images, measured as a model's are.

    Its FID is of fewer images than a model's, which raises it: a model that makes more images can
    score below it. Fewer images also lower its recall.
    """
    found = measure(reference.heldout, reference)
    return FloorRecord(
        protocol=FloorProtocol(
            extractor=reference.extractor,
            num_heldout=reference.num_heldout,
            num_train=reference.num_train,
            libraries=versions(),
        ),
        floor=Floor(
            is_train=float(reference.state["is"]["train"]),
            accuracy_heldout=found.pop("accuracy") or 0.0,
            nearest_threshold=reference.nearest_threshold,
            **found,
        ),
    )


def mean_over_seeds(measured: Sequence[Measured]) -> Measured:
    """The figures of a cell from those at each of its generation seeds, one or more.

    Each is the mean, and its standard error that of the mean, by the spread of the seeds; of one
    seed they stay as they are.
    """
    if len(measured) == 1:
        return measured[0]
    found: Measured = {}
    for name in (key for key in measured[0] if not key.endswith("_se")):
        values = [one[name] for one in measured]
        known = [value for value in values if value is not None]
        whole = len(known) == len(values)
        found[name] = math.fsum(known) / len(known) if whole else None
        if f"{name}_se" in measured[0]:
            found[f"{name}_se"] = seeds_error(known) if whole else None
    return found


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
