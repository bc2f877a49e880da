"""How much a figure would move with other images: standard errors.

A cell that is measured at several generation seeds has its error from their spread, which is
unbiased for every figure. With one seed, a grouped jackknife estimates it from the images.

The plain bootstrap is biased for FID: a resample repeats images, which adds to its bias, and upsets
the balance of the classes, so that its interval can miss the figure itself. The jackknife leaves
out one group of images at a time, each with every class in its share. The bias of FID at n images
is nearly the same in all of these, and their spread tells how FID at n images varies. For recall,
whose balls grow when images are left out, it is too wide by up to a half.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from pdpipe.evaluation.records import JACKKNIFE_GROUPS

_NUMBERS = 2**26  # float64 numbers held at a time, by all threads: 512 MiB


def stratified_groups(labels: Tensor) -> Tensor | None:
    """The group of each sample, 0 … 9: (n,) int64; each class is shared evenly, in its order.

    None where a class has fewer samples than there are groups. Where groups are not quite even,
    the bias of FID differs a little between them and adds to the spread.

    Args:
        labels: class indices, (n,) int64; zeros for images of one kind.
    """
    groups = torch.empty_like(labels)
    for label in range(int(labels.max()) + 1):
        members = (labels == label).nonzero().flatten()
        if 0 < len(members) < JACKKNIFE_GROUPS:
            return None
        groups[members] = torch.arange(len(members)) * JACKKNIFE_GROUPS // max(len(members), 1)
    return groups


def with_leave_outs(
    statistic: Callable[[Tensor], float], groups: Tensor | None, count: int, *, numbers: int = 1
) -> tuple[float, float | None]:
    """A statistic of `count` samples, and its jackknife's standard error; None without groups.

    Runs up to one task per torch thread (fewer if memory is short) and divides the threads of
    linear algebra among them.

    Args:
        statistic: the figure of the samples that a mask (count,) keeps.
        groups: the group of each sample, (count,); every group has samples.
        count: of the samples.
        numbers: about how many float64 numbers `statistic` holds at once.
    """
    available = max(torch.get_num_threads(), 1)
    threads = max(min(available, _NUMBERS // numbers), 1)
    kept = [torch.ones(count, dtype=torch.bool)]
    if groups is not None:
        kept += [groups != g for g in range(int(groups.max()) + 1)]
    with (
        threadpool_limits(available // threads, "blas"),
        ThreadPoolExecutor(threads) as pool,
    ):
        figure, *others = pool.map(statistic, kept)
    return figure, jackknife(others) if others else None


def jackknife(values: Sequence[float]) -> float:
    """The standard error of a figure from its values without each of G groups.

    `se² = (G - 1) / G sum_g (s_g - mean s)²`, s_g the figure without group g (Tukey 1958; for
    groups: Shao & Wu 1989).
    """
    mean = math.fsum(values) / len(values)
    spread = math.fsum((value - mean) ** 2 for value in values)
    return math.sqrt(spread * (len(values) - 1) / len(values))


def seeds_error(values: Sequence[float]) -> float:
    """The standard error of the mean of a figure at K >= 2 independent generation seeds.

    `se² = sum_k (s_k - mean s)² / (K (K - 1))`, with K - 1 degrees of freedom.
    """
    return statistics.stdev(values) / math.sqrt(len(values))
