from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pdpipe.errors import DataError
from pdpipe.sources.images import image_formats, read_image


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


@pytest.mark.parametrize("suffix", sorted(image_formats()))
def test_every_format_that_is_taken(tmp_path, suffix):
    pixels = np.full((16, 16, 3), 77, dtype=np.uint8)
    kind = image_formats()[suffix]
    options = {"lossless": True} if kind == "WEBP" else {}
    path = tmp_path / f"i{suffix}"
    save(path, pixels, format=kind, **options)
    found = read_image(path, 16, 3).astype(int)
    assert np.abs(found - pixels).max() <= (3 if kind in ("JPEG", "AVIF") else 0)


def test_an_image_under_the_suffix_of_another_format_is_taken(tmp_path):
    path = save(tmp_path / "i.png", noise(8, 8), format="BMP")
    assert np.array_equal(read_image(path, 8, 1)[:, :, 0], noise(8, 8))


SIXTEEN = np.array([[0, 1, 128, 129], [257, 30000, 65279, 65535]] * 2, dtype=np.uint16)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_refused_or_scaled_never_clipped(tmp_path, suffix):
    path = save(tmp_path / f"deep.{suffix}", SIXTEEN)
    message = (
        r"deep\.\w+ has more than 8 bits a channel .*8 bits, or set data.sixteen_bit to scale$"
    )
    with pytest.raises(DataError, match=message):
        read_image(path, 4, 1)
    expected = [[round(v / 257) for v in row] for row in SIXTEEN.tolist()]
    assert read_image(path, 4, 1, "scale")[:, :, 0].tolist() == expected
    assert read_image(path, 4, 3, "scale")[:, :, 2].tolist() == expected


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_more_than_sixteen_bits_are_refused(tmp_path, kind):
    path = save(tmp_path / "deep.tif", SIXTEEN.astype(kind))
    with pytest.raises(DataError, match=r"more than 8 bits a channel \(mode [IF]\): .*8 bits$"):
        read_image(path, 4, 1, "scale")


def test_eight_bits_are_the_same_whatever_is_done_with_sixteen(tmp_path):
    path = save(tmp_path / "c.png", noise(8, 8, 3))
    assert np.array_equal(read_image(path, 8, 3, "scale"), read_image(path, 8, 3))


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
def test_no_interpreter_is_reached_by_what_a_file_holds(tmp_path, suffix, monkeypatch):
    """A Ghostscript on the PATH that leaves a trace when it is started."""
    for name in ("gs", "gswin32c"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/reached\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    path = tmp_path / f"plan.{suffix}"
    path.write_bytes(POSTSCRIPT)
    with pytest.raises(
        DataError, match=r"plan\.\w+ cannot be read \(it is none of .*PNG, .*\): rep"
    ):
        read_image(path, 8, 1)
    assert not (tmp_path / "reached").exists()
    with pytest.raises(OSError), Image.open(path) as file:  # noqa: PT011
        file.load()
    assert (tmp_path / "reached").exists()  # Pillow alone would have


@pytest.mark.parametrize("pixels", [100_000_000, 200_000_000])
def test_a_large_image_gives_our_own_sentence_or_none(tmp_path, pixels, recwarn):
    path = tmp_path / "vast.pgm"
    path.write_bytes(b"P5 %d 10 255\n" % (pixels // 10))  # the head of one
    with pytest.raises(DataError) as caught:
        read_image(path, 8, 1)
    many = "it has more than 178,956,970 pixels"
    assert (many in str(caught.value)) == (pixels == 200_000_000)
    assert not recwarn.list


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
