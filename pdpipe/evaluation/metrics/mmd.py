"""The kernel distance of CMMD (Jayasumana et al. 2024), in the extractor's own features.

Its Gaussian kernel weighs close pairs most, where KID's cubic one weighs large features. CMMD takes
CLIP's features and a width of 10, which fits these; here the width is half the median distance of
the training images from each other, so that any extractor has one that fits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdpipe.evaluation.metrics.metric import Figure, Images, Metric, Real

if TYPE_CHECKING:
    from torch import Tensor

MEDIAN_OF = 2000  # the first so many training images


def of_real(real: Images) -> dict[str, Tensor]:
    """The kernel's width, and its mean over pairs of training images."""
    import torch

    from pdpipe.evaluation.kernels import gaussian, kernel_mean

    distances = torch.pdist(real.features[:MEDIAN_OF].double())
    width = distances.median() / 2
    mean = kernel_mean(real.features, gaussian(float(width)))
    return {"width": width, "mean": torch.tensor(mean, dtype=torch.float64)}


def measure(images: Images, real: Real) -> Figure:
    """Around 0 when both sides are alike."""
    from pdpipe.evaluation.kernels import gaussian, kernel_distance

    state = real.state["mmd"]
    kernel, mean = gaussian(float(state["width"])), float(state["mean"])
    return kernel_distance(images.features, real.train_features, mean, images.groups, kernel)


METRIC = Metric(
    key="mmd",
    name="MMD",
    means="as KID, with the Gaussian kernel of CMMD",
    better="lower",
    measure=measure,
    of_real=of_real,
    decimals=4,
    note="Balanced classes lower MMD, the more the fewer images.",
    new=True,
)
