"""Precision: the share of generated images within the real manifold (Kynkäänniemi et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdpipe.evaluation.metrics.metric import Figure, Images, Metric, Real

if TYPE_CHECKING:
    from torch import Tensor


def of_real(real: Images) -> dict[str, Tensor]:
    """The radii of the balls that make the training images' manifold, (n,)."""
    from pdpipe.evaluation.manifold import radii

    return {"radii": radii(real.features)}


def measure(images: Images, real: Real) -> Figure:
    """Quality: it falls where images lie beside the data."""
    from pdpipe.evaluation.manifold import precision

    radii = real.state["precision"]["radii"]
    return precision(images.features, real.train_features, radii, images.groups)


METRIC = Metric(
    key="precision",
    name="precision",
    means="share of the generated images among the training images: quality",
    better="higher",
    measure=measure,
    of_real=of_real,
    least=0.0,
    most=1.0,
)
