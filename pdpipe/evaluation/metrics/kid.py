"""The kernel distance KID (Binkowski et al. 2018).

torch-fidelity averages it over random subsets of equal size; here it is of all pairs at once, which
has the same expectation and no noise of the subsets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdpipe.evaluation.metrics.metric import Figure, Images, Metric, Real

if TYPE_CHECKING:
    from torch import Tensor


def of_real(real: Images) -> dict[str, Tensor]:
    """The mean of the kernel over pairs of training images."""
    import torch

    from pdpipe.evaluation.kernels import cubic, kernel_mean

    return {"mean": torch.tensor(kernel_mean(real.features, cubic()), dtype=torch.float64)}


def measure(images: Images, real: Real) -> Figure:
    """Around 0 when both sides are alike."""
    from pdpipe.evaluation.kernels import cubic, kernel_distance

    mean = float(real.state["kid"]["mean"])
    return kernel_distance(images.features, real.train_features, mean, images.groups, cubic())


METRIC = Metric(
    key="kid",
    name="KID",
    means="a distance as FID, but unbiased: about 0, also below, where images are alike",
    better="lower",
    measure=measure,
    of_real=of_real,
    decimals=4,
    note="Balanced classes lower KID, the more the fewer images.",
)
