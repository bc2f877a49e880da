"""Recall: the share of real images within the generated manifold (Kynkäänniemi et al. 2019)."""

from __future__ import annotations

from pdpipe.evaluation.metrics.metric import Figure, Images, Metric, Real


def measure(images: Images, real: Real) -> Figure:
    """Variety: it falls where images leave out a part of the data."""
    from pdpipe.evaluation.manifold import recall

    return recall(images.features, real.train_features, images.groups)


METRIC = Metric(
    key="recall",
    name="recall",
    means="share of the training images among the generated: variety",
    better="higher",
    measure=measure,
    least=0.0,
    most=1.0,
)
