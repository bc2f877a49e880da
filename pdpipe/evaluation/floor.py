"""The floor: what a perfect model would score."""

from __future__ import annotations

from pdpipe.evaluation.intervals import stratified_groups
from pdpipe.evaluation.measure import figures
from pdpipe.evaluation.metrics import Images
from pdpipe.evaluation.neighbours import summarize_distances
from pdpipe.evaluation.records import Floor, FloorProtocol, FloorRecord
from pdpipe.evaluation.reference import Reference
from pdpipe.evaluation.versions import versions


def floor_record(reference: Reference) -> FloorRecord:
    """Held-out real images measured against the training set, as a model's images are.

    Its FID is of fewer images than a model's, which raises it: a model that makes more images can
    score below it. Fewer images also lower its recall.
    """
    held, threshold = reference.heldout, reference.nearest_threshold
    nearest = summarize_distances(held.distances, threshold)
    groups = stratified_groups(held.labels)
    images = Images(features=held.features, logits=held.logits, groups=groups)
    return FloorRecord(
        protocol=FloorProtocol(
            extractor=reference.extractor,
            num_heldout=reference.num_heldout,
            num_train=reference.num_train,
            libraries=versions(),
        ),
        floor=Floor.model_validate(
            {
                **figures(images, reference),
                "is_train": float(reference.state["is"]["train"]),
                "accuracy_heldout": held.accuracy or 0.0,
                "nearest_median": nearest.median,
                "nearest_close": nearest.close,
                "nearest_threshold": threshold,
            }
        ),
    )
