"""Distances by a kernel: unbiased at any number of images, unlike FID.

`E k(f, f') + E k(r, r') - 2 E k(f, r)` over pairs of different samples, the squared maximum mean
discrepancy (Gretton et al. 2012). It is of all pairs at once, whose sums by groups give the
jackknife without a second pass.

It is unbiased for independent samples. Where every class is drawn equally often, pairs of one class
are rarer than among independent ones, which lowers it by an amount that falls as 1/n: good images
lie below 0 then, and real held-out ones, which are fewer, further below.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pdpipe.errors import EvaluationError
from pdpipe.evaluation.intervals import jackknife

_BLOCK = 2048  # rows and columns of a kernel matrix held at once


@dataclass(frozen=True)
class Kernel:
    """k, in float64."""

    pairs: Callable[[Tensor, Tensor], Tensor]  # of each row of a (n, D) with each of b: (n, m)
    own: Callable[[Tensor], Tensor]  # of each row (n, D) with itself: (n,)


def cubic() -> Kernel:
    """`(a·b / D + 1)³`, of KID (Binkowski et al. 2018)."""

    def pairs(a: Tensor, b: Tensor) -> Tensor:
        one = torch.ones(1, dtype=torch.float64, device=a.device)
        return torch.addmm(one, a.double(), b.double().T, alpha=1 / a.shape[1]).pow_(3)

    def own(rows: Tensor) -> Tensor:
        return (rows.double().square().sum(dim=1) / rows.shape[1] + 1) ** 3

    return Kernel(pairs, own)


def gaussian(width: float) -> Kernel:
    """`exp(-|a - b|² / (2 width²))`, of CMMD (Jayasumana et al. 2024)."""

    def pairs(a: Tensor, b: Tensor) -> Tensor:
        return (torch.cdist(a.double(), b.double()).square() / (-2 * width**2)).exp()

    def own(rows: Tensor) -> Tensor:
        return torch.ones(len(rows), dtype=torch.float64, device=rows.device)

    return Kernel(pairs, own)


def kernel_mean(features: Tensor, kernel: Kernel) -> float:
    """The mean of k over all pairs of different rows of `features` (n, D), in float64.

    Raises:
        EvaluationError: fewer than 2 rows.
    """
    n = len(features)
    _check(n)
    blocks = torch.split(features, _BLOCK)
    total = math.fsum(float(kernel.pairs(a, b).sum()) for a in blocks for b in blocks)
    return (total - float(_own(features, kernel).sum())) / (n * (n - 1))


def kernel_distance(
    fake: Tensor, real: Tensor, real_mean: float, groups: Tensor | None, kernel: Kernel
) -> tuple[float, float | None]:
    """The distance of generated from real features, and its standard error; None without groups.

    Around 0, and below it by chance, when both sides are alike.

    Args:
        fake: features of generated images, (n, D).
        real: features of real images, (m, D).
        real_mean: `kernel_mean(real, kernel)`.
        groups: the jackknife group of each generated image, (n,).
        kernel: k.

    Raises:
        EvaluationError: fewer than 2 generated images.
    """
    _check(len(fake))
    member = torch.zeros(len(fake), dtype=torch.int64) if groups is None else groups
    one_hot = torch.nn.functional.one_hot(member).double()  # (n, G)
    # Sums of k within and between the groups, and of each group with the real side.
    within = torch.zeros(one_hot.shape[1], one_hot.shape[1], dtype=torch.float64)
    across = torch.zeros(one_hot.shape[1], dtype=torch.float64)
    blocks = list(zip(torch.split(fake, _BLOCK), torch.split(one_hot, _BLOCK), strict=True))
    for part, mine in blocks:
        for other, its in blocks:
            within += mine.T @ (kernel.pairs(part, other) @ its)
        for other in torch.split(real, _BLOCK):
            across += mine.T @ kernel.pairs(part, other).sum(dim=1)
    within -= torch.diag(one_hot.T @ _own(fake, kernel))
    count = one_hot.sum(dim=0)

    def value(pairs: Tensor, crossed: Tensor, n: Tensor) -> float:
        return float(pairs / (n * (n - 1)) + real_mean - 2 * crossed / (n * len(real)))

    figure = value(within.sum(), across.sum(), count.sum())
    if groups is None:
        return figure, None
    without = [
        value(
            within.sum() - 2 * within[g].sum() + within[g, g],
            across.sum() - across[g],
            count.sum() - count[g],
        )
        for g in range(len(count))
    ]
    return figure, jackknife(without)


def _own(rows: Tensor, kernel: Kernel) -> Tensor:
    return torch.cat([kernel.own(part) for part in torch.split(rows, _BLOCK)])


def _check(count: int) -> None:
    if count < 2:
        raise EvaluationError(
            "a kernel distance is over pairs of different images and needs at least 2, got "
            f"{count}: evaluate more images"
        )
