"""How much a figure would move with other generated images: standard errors by a grouped jackknife.

The plain bootstrap is biased for FID: a resample repeats images, which adds to its bias, and upsets
the balance of the classes, so that its interval can miss the figure itself. The jackknife leaves
out one group of images at a time, each with every class equally often. The bias of FID at n images
is nearly the same in all of these, and their spread tells how FID at n images varies.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pdpipe.evaluation.records import JACKKNIFE_GROUPS


def balanced_groups(num_samples: int, num_classes: int) -> Tensor | None:
    """The group of each sample: (n,) int64, 0 … 9.

    A round is one sample of each class, as `balanced_labels` orders them; a group is of whole
    rounds next to each other, as even as can be. None if there are fewer rounds than groups. Where
    groups are not quite even, the bias of FID differs a little between them and adds to the spread.
    """
    rounds = num_samples // num_classes
    if rounds < JACKKNIFE_GROUPS:
        return None
    return (torch.arange(num_samples) // num_classes) * JACKKNIFE_GROUPS // rounds


def standard_error(statistic: Callable[[Tensor], float], groups: Tensor) -> float:
    """The jackknife's standard error of a statistic of samples.

    `se² = (G - 1) / G sum_g (s_g - mean s)²`, s_g the statistic without group g (Tukey 1958;
    for groups: Shao & Wu 1989).

    Args:
        statistic: the figure of the samples that a mask (n,) keeps.
        groups: the group of each sample, (n,); every group has samples.
    """
    values = [statistic(groups != g) for g in range(int(groups.max()) + 1)]
    mean = math.fsum(values) / len(values)
    spread = math.fsum((value - mean) ** 2 for value in values)
    return math.sqrt(spread * (len(values) - 1) / len(values))
