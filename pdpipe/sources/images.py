"""One image file, decoded to a square uint8 array."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features

from pdpipe.errors import DataError

_ALWAYS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG",
    ".bmp": "BMP", ".gif": "GIF", ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM", ".pgm": "PPM",
}  # fmt: skip
_WHERE_PILLOW_CAN = {
    "webp": {".webp": "WEBP"},
    "avif": {".avif": "AVIF"},
    "jpg_2000": {".jp2": "JPEG2000", ".j2k": "JPEG2000"},
}


@cache
def image_formats() -> dict[str, str]:
    """{suffix of a file that is taken for an image: its format in Pillow}, on this machine."""
    known = features.modules.keys() | features.codecs.keys()  # a Pillow may not know of AVIF
    found = dict(_ALWAYS)
    for feature, formats in _WHERE_PILLOW_CAN.items():
        if feature in known and features.check(feature):
            found |= formats
    return found


class ImageError(DataError):
    """An image file that cannot be used: the problem and the mend are apart, to be listed."""

    def __init__(self, path: Path, problem: str, mend: str) -> None:
        super().__init__(f"the image {path} {problem}: {mend}")
        self.path, self.problem, self.mend = path, problem, mend


def read_image(
    path: Path, image_size: int, channels: int, sixteen_bit: str = "refuse"
) -> NDArray[np.uint8]:
    """The image at `path` as uint8 (image_size, image_size, channels).

    The central square is cut out and, when larger, averaged over areas (box filter) down to
    `image_size`. The camera's orientation tag is obeyed, transparent parts lie on white, colour
    becomes grey by ITU-R 601 luma, and of an animation the first frame is taken. Only the formats
    of `image_formats` are looked for in the file: no interpreter is reached by what it holds.

    Args:
        path: the file.
        image_size: side of the result.
        channels: 1 or 3.
        sixteen_bit: of grey images of 16 bits: `refuse`, or `scale` 0 … 65535 to 0 … 255.

    Raises:
        ImageError: the file is not an image, is damaged, has more than 8 bits a channel, or is
            smaller than `image_size`.
    """
    image = decoded(path, channels, sixteen_bit)
    if min(image.size) < image_size:
        raise ImageError(
            path,
            f"is {image.width}x{image.height}, smaller than data.image_size {image_size}",
            "remove it, or lower data.image_size",
        )
    pixels = np.asarray(_square(image, image_size))
    return pixels.reshape(image_size, image_size, channels)


def fitted(pixels: NDArray[np.uint8], image_size: int, channels: int) -> NDArray[np.uint8]:
    """Decoded uint8 pixels (H, W, 1 or 3) as (image_size, image_size, channels), as `read_image`.

    Raises:
        DataError: they are smaller than `image_size`.
    """
    if min(pixels.shape[:2]) < image_size:
        raise DataError(
            f"the images are {pixels.shape[1]}x{pixels.shape[0]}, smaller than data.image_size "
            f"{image_size}: lower it"
        )
    if pixels.shape == (image_size, image_size, channels):
        return pixels
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    square = np.asarray(_square(_with_channels(image, channels), image_size))
    return square.reshape(image_size, image_size, channels)


def padded(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Pixels (H, W, C) with a border of zeros where they are smaller than `side`."""
    missing = [max(side - edge, 0) for edge in pixels.shape[:2]]
    border = [(lost // 2, lost - lost // 2) for lost in missing]
    return np.pad(pixels, [*border, (0, 0)])


def decoded(path: Path, channels: int, sixteen_bit: str = "refuse") -> Image.Image:
    """The upright image in grey (1) or RGB (3), of its own size; settings as for `read_image`.

    Raises:
        ImageError: the file is not an image, is damaged, or has more than 8 bits a channel.
    """
    formats = sorted(set(image_formats().values()))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's have a path of this machine, and no mend
            with Image.open(path, formats=formats) as file:
                upright = ImageOps.exif_transpose(file)
                if upright.mode.startswith(("I", "F")):
                    upright = _eight_bits(upright, path, sixteen_bit, file.format)
                return _with_channels(upright, channels)
    except ImageError:
        raise
    except UnidentifiedImageError:
        reason = f"it is none of {', '.join(formats)}"
    except Image.DecompressionBombError:
        reason = f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    except Exception as error:  # Pillow's decoders raise all kinds of things at damaged bytes
        strerror = error.strerror if isinstance(error, OSError) else None
        reason = strerror or " ".join(str(error).split()) or type(error).__name__
    raise ImageError(path, f"cannot be read ({reason})", "replace or remove it")


def _eight_bits(
    image: Image.Image, path: Path, sixteen_bit: str, file_format: str | None
) -> Image.Image:
    """A grey image of 16 bits in 8, its range kept: 65535 becomes 255."""
    # Pillow gives 16 bits of these formats in its 32-bit mode I.
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and file_format in ("PNG", "PPM"))
    if sixteen and sixteen_bit == "scale":
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray(((values * 255 + 32767) // 65535).clip(0, 255).astype(np.uint8))
    offer = ", or set data.sixteen_bit to scale" if sixteen else ""
    problem = f"has more than 8 bits a channel (mode {image.mode})"
    raise ImageError(path, problem, f"convert it to 8 bits{offer}")


def _with_channels(image: Image.Image, channels: int) -> Image.Image:
    """`image` in grey (1) or RGB (3), laid on white where it is transparent."""
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    if channels == 3:
        return image.convert("RGB")
    return image.convert("L") if image.mode != "RGBA" else image.convert("RGB").convert("L")


def _square(image: Image.Image, side: int) -> Image.Image:
    """The central square of `image`, `side` pixels wide."""
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    square = image.crop((left, top, left + edge, top + edge))
    return square if edge == side else square.resize((side, side), Image.Resampling.BOX)
