"""Images of one's own, drawn in a moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Draw = Callable[..., None]


@pytest.fixture
def draw() -> Draw:
    """Writes images of one brightness a class, with a little noise."""

    def write(folder: Path, count: int, level: int, size: tuple[int, int] = (12, 12)) -> None:
        generator = np.random.default_rng(level)
        folder.mkdir(parents=True, exist_ok=True)
        there = len(list(folder.iterdir()))
        for index in range(there, there + count):
            noise = generator.integers(0, 40, (size[1], size[0], 3))
            pixels = (noise + np.array([level, 20, 255 - level])).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index:03d}.png")

    return write


@pytest.fixture
def images(tmp_path: Path, draw: Draw) -> Path:
    """60 RGB images in three classes of unequal sizes."""
    for name, count, level in (("ant", 15, 20), ("bee", 20, 120), ("cat", 25, 220)):
        draw(tmp_path / "images" / name, count, level)
    return tmp_path / "images"
