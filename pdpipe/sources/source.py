"""What every source of images has: classes, labels known in advance, random access; the digits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Source(Protocol):
    """Labelled images of one size; subclasses set the three attributes and `__getitem__`.

    Labels must be known without decoding an image, and images be reachable in any order: that is
    what lets a data set of any size be split by class and shuffled while one image is in memory.
    """

    name: str  # as in params.yaml
    classes: list[str]  # names, by label
    labels: NDArray[np.int64]  # (n,), each in 0 .. len(classes) - 1
    heldout: NDArray[np.bool_] | None = None  # (n,), where the data set has a split of its own

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image `index` as uint8 (H, W, C); raises `DataError` when it cannot be read."""
        ...

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def notes(self) -> list[str]:
        """What the user should know of the source before it is read, a sentence each."""
        return []


def num_heldout(count: int, fraction: float) -> int:
    """How many of a class of `count` images, 2 or more, are held out: at least one, never all."""
    return min(max(round(fraction * count), 1), count - 1)


class OneAfterAnother:
    """Arrays of images as one, without a copy: what is mapped from files stays there."""

    def __init__(self, parts: Sequence[NDArray[np.uint8]]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image `index`, counted through all of them."""
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        image: NDArray[np.uint8] = self._parts[part][index - int(self._starts[part])]
        return image


class DigitsSource(Source):
    """scikit-learn's 1797 handwritten digits, 8x8 grey; they come with the package, no download."""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits  # slow to import, and only needed here

        digits = load_digits()
        self.name = "digits"
        self.classes = [str(name) for name in digits.target_names]
        self.labels = digits.target.astype(np.int64)
        self._images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # stored as 0 .. 16

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Digit `index` as uint8 (8, 8, 1)."""
        return self._images[index, :, :, None]  # type: ignore[no-any-return]
