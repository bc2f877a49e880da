"""The Fréchet distance of two sets of features (Heusel et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdpipe.evaluation.metrics.metric import Figure, Images, Metric, Real

if TYPE_CHECKING:
    from torch import Tensor


def of_real(real: Images) -> dict[str, Tensor]:
    """Mean (D,) and covariance (D, D) of the training images' features."""
    from pdpipe.evaluation.fidelity import feature_statistics

    found = feature_statistics(real.features, of="the training images")
    return {"mu": found.mu, "sigma": found.sigma}


def measure(images: Images, real: Real) -> Figure:
    """Its error is by leaving out each group in turn."""
    from pdpipe.evaluation.fidelity import Statistics, feature_statistics, fid
    from pdpipe.evaluation.intervals import with_leave_outs

    features, state = images.features, real.state["fid"]
    train = Statistics(state["mu"], state["sigma"], real.num_train)

    def without(kept: Tensor) -> float:
        return fid(feature_statistics(features, kept=kept, of="the generated images"), train)

    numbers = 10 * features.shape[1] ** 2
    return with_leave_outs(without, images.groups, len(features), numbers=numbers)


METRIC = Metric(
    key="fid",
    name="FID",
    means="distance of the generated images to the training images, in features",
    better="lower",
    measure=measure,
    of_real=of_real,
    least=0.0,
    against_steps=True,
)
