"""FID of as many images at a time as are held out: what compares with the floor.

FID falls as counts grow, so a model's FID of many images says nothing beside that of the few real
images that were held out. Here a model's images are parted into sets of just their number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pdpipe.evaluation.metrics.metric import Figure, Images, Metric, Real

if TYPE_CHECKING:
    from torch import Tensor


def measure(images: Images, real: Real) -> Figure:
    """The mean over the sets, and its standard error by their spread; of one set, the jackknife's.

    No value for fewer images than are held out.
    """
    import torch

    from pdpipe.evaluation.fidelity import Statistics, feature_statistics, fid
    from pdpipe.evaluation.intervals import seeds_error, with_leave_outs

    features, size, state = images.features, real.num_heldout, real.state["fid"]
    train = Statistics(state["mu"], state["sigma"], real.num_train)

    def of(kept: Tensor) -> float:
        return fid(feature_statistics(features, kept=kept, of="the generated images"), train)

    if len(features) < 2 * size:
        whole = len(features) == size
        return with_leave_outs(of, images.groups, size) if whole else (None, None)
    found = []
    for rows in torch.split(class_by_class(images.labels), size)[: len(features) // size]:
        kept = torch.zeros(len(features), dtype=torch.bool)
        kept[rows] = True
        found.append(of(kept))
    return math.fsum(found) / len(found), _widened(seeds_error(found), len(found) - 1)


def class_by_class(labels: Tensor) -> Tensor:
    """The rows (n,), one of each class in turn: any stretch of them is balanced as the whole is."""
    import torch

    rank = torch.empty(len(labels), dtype=torch.float64)
    for label in range(int(labels.max()) + 1):
        members = (labels == label).nonzero().flatten()
        rank[members] = (torch.arange(len(members)) + 0.5).double() / len(members)
    return rank.argsort(stable=True)


def _widened(error: float, dof: int) -> float:
    """A standard error of `dof` degrees of freedom, to be read with the jackknife's."""
    from scipy.special import stdtrit

    from pdpipe.evaluation.records import JACKKNIFE_DOF

    return float(error * stdtrit(dof, 0.975) / stdtrit(JACKKNIFE_DOF, 0.975))


METRIC = Metric(
    key="fid_heldout",
    name="FID at the held-out count",
    means="FID of as many images at a time as are held out",
    better="lower",
    measure=measure,
    least=0.0,
    note="Of as many images at a time as are held out, so that real and generated compare.",
    of_heldout=True,
    new=True,
)
