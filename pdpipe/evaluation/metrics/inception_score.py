"""The inception score of the extractor's logits (Salimans et al. 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdpipe.evaluation.metrics.metric import Figure, Images, Metric, Real

if TYPE_CHECKING:
    from torch import Tensor


def of_real(real: Images) -> dict[str, Tensor]:
    """The training images' own score, shown beside the others'."""
    import torch

    from pdpipe.evaluation.fidelity import inception_score, inception_score_splits

    splits = inception_score_splits(len(real.logits))
    score = inception_score(real.logits, splits=splits)
    return {"train": torch.tensor(score, dtype=torch.float64)}


def measure(images: Images, real: Real) -> Figure:
    """Its error is by leaving out each group in turn; the real side does not enter."""
    from pdpipe.evaluation.fidelity import inception_score, inception_score_splits
    from pdpipe.evaluation.intervals import with_leave_outs

    logits, splits = images.logits, inception_score_splits(len(images.logits))

    def without(kept: Tensor) -> float:
        return inception_score(logits, kept=kept, splits=splits)

    numbers = 8 * logits.numel() // splits
    return with_leave_outs(without, images.groups, len(logits), numbers=numbers)


METRIC = Metric(
    key="is",
    name="IS",
    means="how sure the extractor is of each image, and how even the classes are; average "
    "images score high",
    better="higher",
    measure=measure,
    of_real=of_real,
    least=0.0,
    against_steps=True,
)
