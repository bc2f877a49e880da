"""Precision and recall: how much of each side lies within the other's manifold.

A side's manifold is the union of balls, one around each of its samples, that reach to its 3rd
nearest neighbour of the same side (Kynkäänniemi et al. 2019). Precision is the share of generated
images within the manifold of the real ones (quality), recall the share of real images within that
of the generated ones (variety). The same figures as torch-fidelity's; computed here since the real
side's balls are made once, and the jackknife needs the generated side's without each group.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pdpipe.errors import EvaluationError
from pdpipe.evaluation.intervals import jackknife

NEIGHBOURS = 3
_CHUNK = 1024  # rows of a distance matrix held at once


def radii(features: Tensor) -> Tensor:
    """The distance of each row of `features` (n, D) to its 3rd nearest other row, (n,).

    Raises:
        EvaluationError: 3 rows or fewer.
    """
    _check(len(features))
    found = [
        torch.cdist(part, features).kthvalue(NEIGHBOURS + 1).values  # the nearest is itself
        for part in torch.split(features, _CHUNK)
    ]
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
    inside = torch.cat(
        [(torch.cdist(part, real) <= real_radii).any(dim=1) for part in torch.split(fake, _CHUNK)]
    ).double()
    figure = float(inside.mean())
    if groups is None:
        return figure, None
    without = [float(inside[groups != g].mean()) for g in range(int(groups.max()) + 1)]
    return figure, jackknife(without)


def recall(fake: Tensor, real: Tensor, groups: Tensor | None) -> tuple[float, float | None]:
    """The share of real features within the generated manifold, and its standard error.

    It grows with the number of generated images: compare only equal numbers.

    Args:
        fake: features of generated images, (n, D).
        real: features of real images, (m, D).
        groups: the jackknife group of each generated image, (n,).

    Raises:
        EvaluationError: 3 generated images or fewer.
    """
    _check(len(fake))
    member = torch.zeros(len(fake), dtype=torch.int64) if groups is None else groups
    reach = torch.cat(
        [_reach(part, fake, member) for part in torch.split(fake, _CHUNK)]
    )  # (n, 1 + G)
    if groups is not None:  # a sample left out has no ball
        reach[torch.arange(len(fake)), 1 + groups] = -1.0
    covered = [
        torch.stack([(distance <= r).any(dim=1) for r in reach.T], dim=1)
        for distance in (torch.cdist(part, fake) for part in torch.split(real, _CHUNK))
    ]
    figure, *without = torch.cat(covered).double().mean(dim=0).tolist()
    return figure, None if groups is None else jackknife(without)


def _reach(part: Tensor, fake: Tensor, member: Tensor) -> Tensor:
    """Radii of some rows' balls among all rows, then among all but each group: (p, 1 + G)."""
    distance = torch.cdist(part, fake)
    groups = [distance[:, member == g] for g in range(int(member.max()) + 1)]
    # The nearest rows of each group are enough to find the nearest of any union of groups.
    nearest = [d.topk(min(NEIGHBOURS + 1, d.shape[1]), largest=False).values for d in groups]

    def radius(lists: list[Tensor]) -> Tensor:
        found = torch.cat(lists, dim=1)
        return found.kthvalue(min(NEIGHBOURS + 1, found.shape[1])).values

    columns = [radius(nearest)]
    if len(nearest) > 1:
        columns += [radius(nearest[:g] + nearest[g + 1 :]) for g in range(len(nearest))]
    return torch.stack(columns, dim=1)


def _check(count: int) -> None:
    if count <= NEIGHBOURS:
        raise EvaluationError(
            f"precision and recall need more than {NEIGHBOURS} images on each side, got {count}: "
            "raise evaluation.num_samples"
        )
