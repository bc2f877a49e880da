"""The floor: what a perfect model would score."""

from __future__ import annotations

from pdpipe.evaluation.intervals import stratified_groups
from pdpipe.evaluation.measure import figures
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
    found = figures(held.features, held.logits, stratified_groups(held.labels), reference)
    return FloorRecord(
        protocol=FloorProtocol(
            extractor=reference.extractor,
            num_heldout=reference.num_heldout,
            num_train=reference.num_train,
            libraries=versions(),
        ),
        floor=Floor(
            fid=found["fid"],
            fid_se=found["fid_se"],
            is_train=reference.is_train,
            is_heldout=found["is"],
            is_heldout_se=found["is_se"],
            kid=found["kid"],
            kid_se=found["kid_se"],
            precision=found["precision"],
            precision_se=found["precision_se"],
            recall=found["recall"],
            recall_se=found["recall_se"],
            accuracy_heldout=held.accuracy or 0.0,
            nearest_median=nearest.median,
            nearest_close=nearest.close,
            nearest_threshold=threshold,
        ),
    )
