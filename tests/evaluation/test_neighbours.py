"""Nearest distances against the plain definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pdpipe.data import ImageSet
from pdpipe.errors import EvaluationError
from pdpipe.evaluation.neighbours import nearest_distances


def random_images(n: int, *shape: int, low: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(n)
    return torch.randint(low, 256, (n, *shape), dtype=torch.uint8, generator=g)


def brute_force(images: Tensor, reference: Tensor) -> np.ndarray:
    a, b = (
        side.flatten(1).numpy().astype(np.longdouble) / 127.5 - 1 for side in (images, reference)
    )
    return np.array([np.sqrt(((b - row) ** 2).sum(axis=1)).min() for row in a], dtype=np.float64)


@pytest.mark.parametrize("chunk", [1, 7, 33, 1024])
def test_distances_are_those_of_the_definition(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdpipe.evaluation.neighbours._NUMBERS", chunk * 3 * 6 * 5)
    images, reference = random_images(33, 3, 6, 5), random_images(50, 3, 6, 5)
    found = nearest_distances(images, reference)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), brute_force(images, reference), rtol=1e-14)


def test_digits_agree_too(train: ImageSet, heldout: ImageSet) -> None:
    found = nearest_distances(heldout.images, train.images)
    np.testing.assert_allclose(found.numpy(), brute_force(heldout.images, train.images), rtol=1e-13)


def test_nothing_cancels_where_images_are_large_and_bright() -> None:
    reference = random_images(40, 3, 64, 64, low=250)
    images = reference.flip(0).clone()
    assert torch.equal(nearest_distances(images, reference), torch.zeros(40, dtype=torch.float64))
    images[:, 1, 2, 3] -= 1  # one grey value of one pixel
    expected = torch.full((40,), 1 / 127.5, dtype=torch.float64)
    torch.testing.assert_close(nearest_distances(images, reference), expected, rtol=1e-15, atol=0)


def test_black_to_white_is_two_a_pixel() -> None:
    black, white = torch.zeros(1, 1, 4, 4).byte(), torch.full((1, 1, 4, 4), 255).byte()
    assert float(nearest_distances(black, white)) == 2 * 4


def test_images_that_do_not_compare_say_why() -> None:
    images = random_images(3, 1, 8, 8)
    with pytest.raises(
        EvaluationError, match=r"shape \(1, 8, 8\) .* reference of shape \(3, 8, 8\)"
    ):
        nearest_distances(images, random_images(3, 3, 8, 8))
    with pytest.raises(EvaluationError, match="no reference images: run the `prepare` stage"):
        nearest_distances(images, images[:0])
    with pytest.raises(AssertionError):
        nearest_distances(images.float(), images)
