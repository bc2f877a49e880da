"""Precision and recall: how much of each side lies within the other's manifold.

A side's manifold is the union of balls, one around each of its samples, that reach to its 3rd
nearest neighbour of the same side (Kynkäänniemi et al. 2019). Precision is the share of generated
images within the manifold of the real ones (quality), recall the share of real images within that
of the generated ones (variety). The same figures as torch-fidelity's; computed here since the real
side's balls are made once, and the jackknife needs the generated side's without each group.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pdpipe.errors import EvaluationError
from pdpipe.evaluation.intervals import jackknife

NEIGHBOURS = 3
_BLOCK = 1024  # rows and columns of a distance matrix held at once


def radii(features: Tensor) -> Tensor:
    """The distance of each row of `features` (n, D) to its 3rd nearest other row, (n,).

    Raises:
        EvaluationError: 3 rows or fewer.
    """
    _check(len(features))
    blocks = torch.split(features, _BLOCK)
    found = []
    for part in blocks:
        nearest = part.new_empty(len(part), 0)
        for block in blocks:
            nearest = _nearest(nearest, torch.cdist(part, block))
        found.append(nearest.amax(dim=1))  # the nearest is itself
    return torch.cat(found)


def precision(
    fake: Tensor, real: Tensor, real_radii: Tensor, groups: Tensor | None
) -> tuple[float, float | None]:
    """The share of generated features within the real manifold, and its standard error.

    Args:
        fake: features of generated images, (n, D).
        real: features of real images, (m, D).
        real_radii: `radii(real)`.
        groups: the jackknife group of each generated image, (n,).
    """
    balls = [ball[:, None] for ball in torch.split(real_radii, _BLOCK)]
    inside = _covered(fake, real, balls).flatten()
    figure = float(inside.mean())
    if groups is None:
        return figure, None
    without = [float(inside[groups != g].mean()) for g in range(int(groups.max()) + 1)]
    return figure, jackknife(without)


def recall(fake: Tensor, real: Tensor, groups: Tensor | None) -> tuple[float, float | None]:
    """The share of real features within the generated manifold, and its standard error.

    It grows with the number of generated images: compare only equal numbers.

    Args:
        fake, real, groups: as for `precision`.

    Raises:
        EvaluationError: 3 generated images or fewer.
    """
    _check(len(fake))
    member = torch.zeros(len(fake), dtype=torch.int64) if groups is None else groups
    order = member.argsort(stable=True)  # so that a group's distances lie side by side
    fake, member = fake[order], member[order]
    parts = torch.split(fake, _BLOCK)
    reach = torch.cat([_reach(part, parts, member) for part in parts])  # (n, 1 + G)
    if groups is not None:  # a sample left out has no ball
        reach[torch.arange(len(fake)), 1 + member] = -1.0
    figure, *without = _covered(real, fake, torch.split(reach, _BLOCK)).mean(dim=0).tolist()
    return figure, None if groups is None else jackknife(without)


def _covered(points: Tensor, centres: Tensor, reach: Sequence[Tensor]) -> Tensor:
    """Whether each point is in any ball, for each of S sets of radii: (p, S) float64, 0 or 1.

    Args:
        points: (p, D).
        centres: of the balls, (n, D).
        reach: their radii, (n, S), in blocks of rows.
    """
    found = []
    for part in torch.split(points, _BLOCK):
        inside = torch.zeros(len(part), reach[0].shape[1], dtype=torch.bool)
        for block, radius in zip(torch.split(centres, _BLOCK), reach, strict=True):
            distance = torch.cdist(part, block)
            # Few pairs are within any of the radii: only these are compared with each.
            point, centre = (distance <= radius.amax(dim=1)).nonzero(as_tuple=True)
            covers = distance[point, centre, None] <= radius[centre]
            inside.index_put_((point,), covers, accumulate=True)
        found.append(inside)
    return torch.cat(found).double()


def _reach(part: Tensor, parts: Sequence[Tensor], member: Tensor) -> Tensor:
    """Radii of some rows' balls among all rows, then among all but each group: (p, 1 + G).

    Args:
        part: the rows whose balls these are, (p, D).
        parts: all rows, in blocks.
        member: the group of each of all rows, ascending.
    """
    # The nearest rows of each group are enough to find the nearest of any union of groups.
    nearest = [part.new_empty(len(part), 0) for _ in range(int(member.max()) + 1)]
    for block, its in zip(parts, torch.split(member, _BLOCK), strict=True):
        of_groups = torch.split(torch.cdist(part, block), its.bincount().tolist(), dim=1)
        for g, distance in enumerate(of_groups):
            if distance.shape[1]:
                nearest[g] = _nearest(nearest[g], distance)

    def radius(lists: list[Tensor]) -> Tensor:
        return _nearest(*lists).amax(dim=1)

    columns = [radius(nearest)]
    if len(nearest) > 1:
        columns += [radius(nearest[:g] + nearest[g + 1 :]) for g in range(len(nearest))]
    return torch.stack(columns, dim=1)


def _nearest(*distances: Tensor) -> Tensor:
    """The smallest `NEIGHBOURS` + 1 of each row over some matrices (p, ·), or all if fewer."""
    every = torch.cat(distances, dim=1)
    return every.topk(min(NEIGHBOURS + 1, every.shape[1]), dim=1, largest=False).values


def _check(count: int) -> None:
    if count <= NEIGHBOURS:
        raise EvaluationError(
            f"precision and recall need more than {NEIGHBOURS} images on each side, got {count}: "
            "raise evaluation.num_samples"
        )
