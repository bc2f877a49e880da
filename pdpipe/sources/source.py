"""Where images come from: every source has classes, labels known in advance, and random access."""

from __future__ import annotations

from collections.abc import Iterator
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

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image `index` as uint8 (H, W, C); raises `DataError` when it cannot be read."""
        ...

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def notes(self) -> list[str]:
        """What the user should know of the source before it is read, a sentence each."""
        return []

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], int]]:
        """Every (image, label), in the order of the source."""
        for index, label in enumerate(self.labels):
            yield self[index], int(label)
