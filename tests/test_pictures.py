"""`pdpipe.to_pil`, `pdpipe.grid`, and images of any kind as uint8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import pdpipe
from pdpipe.data import to_unit
from pdpipe.errors import DataError
from pdpipe.pictures import as_uint8


def random_images(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("channels", [1, 3])
def test_pil_images_have_the_pixels_of_the_tensor(channels: int) -> None:
    images = random_images(3, channels, 5, 7)
    for given in (images, images.numpy(), to_unit(images), to_unit(images).double().numpy()):
        pictures = pdpipe.to_pil(given)
        assert [p.mode for p in pictures] == ["L" if channels == 1 else "RGB"] * 3
        assert torch.equal(as_uint8(pictures), images)
    big = np.asarray(pdpipe.to_pil(images, scale=3)[1]).reshape(15, 21, channels)
    assert np.array_equal(big[1::3, 1::3], images[1].permute(1, 2, 0).numpy())
    assert np.array_equal(big[::3, 2::3], big[2::3, ::3])


def test_what_leaves_the_range_is_clamped() -> None:
    first, second = pdpipe.to_pil(torch.tensor([-9.0, 9.0]).view(2, 1, 1, 1))
    assert (first.getpixel((0, 0)), second.getpixel((0, 0))) == (0, 255)


def test_a_grid_shows_each_image_in_its_place_between_white_lines() -> None:
    images = random_images(5, 3, 8, 8)
    drawn = np.asarray(pdpipe.grid(images, rows=2, scale=2))
    assert drawn.shape == (2 + 2 * 18, 2 + 3 * 18, 3)
    for k in range(5):
        top, left = 2 + k // 3 * 18, 2 + k % 3 * 18
        tile = drawn[top : top + 16 : 2, left : left + 16 : 2]
        assert np.array_equal(tile, images[k].permute(1, 2, 0).numpy())
    assert (drawn[20:, 38:] == 255).all()  # where a sixth would be
    lines = np.arange(drawn.shape[0]) % 18 < 2
    assert (drawn[lines] == 255).all()


def test_a_grid_by_default_is_about_square_and_can_be_seen() -> None:
    assert pdpipe.grid(random_images(12, 1, 8, 8)).size == (4 + 4 * 68, 4 + 3 * 68)
    assert pdpipe.grid(random_images(1, 1, 100, 100)).size == (106 + 6, 106 + 6)


def test_rows_of_images_are_drawn_as_rows() -> None:
    images = random_images(3, 2, 1, 4, 4)
    expected = pdpipe.grid(images.flatten(0, 1), rows=3)
    assert pdpipe.grid(images).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("images", "settings", "sentence"),
    [
        (torch.zeros(8, 8), {}, r"images are \(n, C, H, W\) .*, not of shape \(8, 8\): reshape"),
        (torch.zeros(1, 8, 8), {}, r"give x\[None\] for a single image"),
        (torch.zeros(2, 8, 8, 3), {}, r"move the channels forward"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int64), {}, r"not int64: convert them"),
        (torch.full((2, 1, 8, 8), torch.nan), {}, r"values that are not finite"),
        (torch.zeros(0, 1, 8, 8), {}, r"there are no images to draw"),
        (torch.zeros(2, 1, 8, 8), {"rows": 3}, r"rows is 3 for 2 images: give 1 to that many"),
        (torch.zeros(2, 1, 8, 8), {"scale": 0}, r"scale is 0: give a whole number"),
        (torch.zeros(2, 3, 1, 8, 8), {"rows": 3}, r"the images have 2 rows, not 3: leave rows out"),
    ],
)
def test_what_cannot_be_drawn(images: Tensor, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        pdpipe.grid(images, **settings)


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    images = random_images(3, 3, 6, 6)
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    places = ("a.png", "b/0.png", "c.png")
    for place, image in zip(places, pdpipe.to_pil(images), strict=True):
        image.save(tmp_path / place)
    (tmp_path / "notes.txt").write_text("no image")
    Image.new("RGB", (9, 9)).save(tmp_path / ".hidden/x.png")
    assert torch.equal(as_uint8(tmp_path), images)
    assert torch.equal(as_uint8(str(tmp_path)), images)
    assert as_uint8(tmp_path, channels=1).shape == (3, 1, 6, 6)


def test_what_is_not_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist: name one"):
        as_uint8(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"has no images: name one with image files"):
        as_uint8(tmp_path)
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    Image.new("L", (5, 4)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"differ in size, 4x4 of .*a.png and 5x4 of .*b.png"):
        as_uint8(tmp_path)
    (tmp_path / "b.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"b.png cannot be read .*: replace or remove it"):
        as_uint8(tmp_path)
    for given in ([], ["text"], 7 * [None]):
        with pytest.raises(DataError, match=r"or a list of PIL images, or the path of a folder"):
            as_uint8(given)  # type: ignore[arg-type]


def test_a_range_in_doubt_is_refused() -> None:
    unit = torch.rand(4, 1, 8, 8)
    with pytest.raises(DataError, match=r"none of these has a value below 0: give 2 \* x - 1"):
        as_uint8(unit)
    with pytest.raises(DataError, match=r"in \[-1, 1\], and these go from .* to 2.*: give uint8"):
        as_uint8(unit * 255)
    assert as_uint8(2 * unit - 1).dtype == torch.uint8
