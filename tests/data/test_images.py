from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pdpipe.data.images import read_image
from pdpipe.errors import DataError


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def test_an_image_of_the_right_size_is_kept_bit_for_bit(tmp_path):
    grey, colour = noise(8, 8), noise(8, 8, 3)
    assert np.array_equal(read_image(save(tmp_path / "g.png", grey), 8, 1)[:, :, 0], grey)
    assert np.array_equal(read_image(save(tmp_path / "c.png", colour), 8, 3), colour)


def test_a_larger_image_is_cropped_centrally_and_averaged(tmp_path):
    pixels = noise(16, 20, 3)
    blocks = pixels[:, 2:18].reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))
    found = read_image(save(tmp_path / "c.png", pixels), 8, 3)
    assert found.shape == (8, 8, 3)
    assert np.abs(found - blocks).max() <= 1  # Pillow rounds after each direction


def test_a_tall_image_is_cropped_centrally(tmp_path):
    pixels = noise(11, 8)
    found = read_image(save(tmp_path / "g.png", pixels), 8, 1)
    assert np.array_equal(found[:, :, 0], pixels[1:9])


def test_grey_becomes_rgb(tmp_path):
    grey = noise(4, 4)
    found = read_image(save(tmp_path / "g.png", grey), 4, 3)
    assert np.array_equal(found, np.stack([grey] * 3, axis=2))


def test_rgb_becomes_grey_by_luma(tmp_path):
    colour = noise(4, 4, 3)
    luma = colour @ np.array([0.299, 0.587, 0.114])
    found = read_image(save(tmp_path / "c.png", colour), 4, 1)
    assert found.shape == (4, 4, 1)
    assert np.abs(found[:, :, 0] - luma).max() < 1


@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_pixels_are_white(tmp_path, channels):
    pixels = np.zeros((2, 2, 4), dtype=np.uint8)
    pixels[0, 0, 3] = 255  # black where opaque, and hidden black elsewhere
    found = read_image(save(tmp_path / "t.png", pixels), 2, channels)
    assert found[:, :, 0].tolist() == [[0, 255], [255, 255]]


def test_the_transparent_colour_of_a_palette_is_white(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 1]], dtype=np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "p.png", transparency=1)
    found = read_image(tmp_path / "p.png", 2, 3)
    assert found[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_the_orientation_of_a_photograph_is_obeyed(tmp_path):
    pixels = np.zeros((16, 16), dtype=np.uint8)
    pixels[:8] = 255  # stored bright at the top
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    path = save(tmp_path / "photo.jpg", pixels, quality=95, exif=exif)
    found = read_image(path, 16, 1)[:, :, 0]
    assert found[:7].max() < 50
    assert found[9:].min() > 200


@pytest.mark.parametrize("suffix", ["webp", "bmp", "tif", "gif", "ppm"])
def test_other_formats(tmp_path, suffix):
    pixels = np.full((8, 8, 3), 77, dtype=np.uint8)
    options = {"lossless": True} if suffix == "webp" else {}
    found = read_image(save(tmp_path / f"i.{suffix}", pixels, **options), 8, 3)
    assert np.array_equal(found, pixels)


def test_sixteen_bits_are_refused_not_clipped(tmp_path):
    path = save(tmp_path / "deep.png", noise(8, 8).astype(np.uint16) * 256)
    with pytest.raises(DataError, match=r"deep\.png has more than 8 bits a channel .*8 bits$"):
        read_image(path, 8, 1)


def test_a_small_image_is_refused(tmp_path):
    path = save(tmp_path / "small.png", noise(9, 7))
    message = r"small\.png is 7x9, smaller than data\.image_size 8: remove it, or lower"
    with pytest.raises(DataError, match=message):
        read_image(path, 8, 1)


def damaged_files() -> dict[str, bytes]:
    stream = io.BytesIO()
    Image.fromarray(noise(64, 64)).save(stream, "PNG")
    good = stream.getvalue()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    stream = io.BytesIO()
    Image.fromarray(noise(64, 64)).save(stream, "JPEG")
    return {
        "empty": b"",
        "text": b"this is not an image\n",
        "truncated": good[: len(good) // 2],
        "flipped": bytes(flipped),
        "half a jpeg": stream.getvalue()[:800],
        "header only": good[:20],
    }


@pytest.mark.parametrize("kind", damaged_files())
def test_a_damaged_image_is_named_in_one_sentence(tmp_path, kind):
    path = tmp_path / "bad.png"
    path.write_bytes(damaged_files()[kind])
    with pytest.raises(DataError, match=r"bad\.png cannot be read .*: replace or remove it$") as e:
        read_image(path, 8, 1)
    assert "\n" not in str(e.value)
