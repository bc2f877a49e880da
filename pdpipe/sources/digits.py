"""The digits of scikit-learn, which every rebuild starts from by default."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pdpipe.sources.source import Source


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
