"""Distances to the nearest training image, in pixels: does a model repeat what it was shown."""

from __future__ import annotations

import torch
from torch import Tensor

from pdpipe.errors import EvaluationError

_NUMBERS = 2**22  # pixels held in float64 at once, of either set


def nearest_distances(
    images: Tensor, reference: Tensor, *, device: torch.device | str = "cpu"
) -> Tensor:
    """Each image's smallest Euclidean distance, x in [-1, 1], to a reference image; (n,) float64.

    Exact: the squared distances |a|² + |b|² - 2 a·b are taken between the uint8 values, where every
    product and partial sum is an integer that float64 holds exactly (below 2^53 up to 10^10
    pixels). So nothing cancels, an image that is in the reference is at 0, and the speed is that of
    a matrix product.

    Args:
        images: uint8 (n, C, H, W).
        reference: uint8 (m, C, H, W).
        device: where to compute; on `mps`, which has no float64, the CPU does it.

    Raises:
        EvaluationError: the images' shapes differ, or there are no reference images.
    """
    assert images.dtype == reference.dtype == torch.uint8, (images.dtype, reference.dtype)
    if images.shape[1:] != reference.shape[1:]:
        raise EvaluationError(
            f"images of shape {tuple(images.shape[1:])} cannot be compared with a reference of "
            f"shape {tuple(reference.shape[1:])}: make the reference from the same data"
        )
    if len(reference) == 0:
        raise EvaluationError("there are no reference images: run the `prepare` stage again")
    chunk = max(min(1024, _NUMBERS // max(images[0:1].numel(), 1)), 1)
    device = torch.device("cpu" if torch.device(device).type == "mps" else device)
    nearest = [
        torch.stack([_squared(a, b, device) for b in torch.split(reference, chunk)]).amin(dim=0)
        for a in torch.split(images, chunk)
    ]
    return torch.cat(nearest).sqrt().cpu() / 127.5


def _squared(images: Tensor, reference: Tensor, device: torch.device) -> Tensor:
    """Smallest squared distance in uint8 steps of each image to a reference image; (n,)."""
    a = images.to(device, torch.float64).flatten(1)
    b = reference.to(device, torch.float64).flatten(1)
    squares = (a * a).sum(dim=1)[:, None] + (b * b).sum(dim=1) - 2 * (a @ b.T)
    return squares.amin(dim=1)
