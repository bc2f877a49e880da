"""One image file, decoded to a square uint8 array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pdpipe.errors import DataError


def read_image(path: Path, image_size: int, channels: int) -> NDArray[np.uint8]:
    """The image at `path` as uint8 (image_size, image_size, channels).

    The central square is cut out and, when larger, averaged over areas (box filter) down to
    `image_size`. The camera's orientation tag is obeyed, transparent parts lie on white, colour
    becomes grey by ITU-R 601 luma, and of an animation the first frame is taken.

    Raises:
        DataError: the file is not an image, is damaged, has more than 8 bits a channel, or is
            smaller than `image_size`.
    """
    try:
        with Image.open(path) as file:
            upright = ImageOps.exif_transpose(file)
            if upright.mode.startswith(("I", "F")):
                raise DataError(
                    f"the image {path} has more than 8 bits a channel (mode {upright.mode}): "
                    "convert it to 8 bits"
                )
            image = _with_channels(upright, channels)
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise all kinds of things at damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"the image {path} cannot be read ({reason}): replace or remove it"
        ) from None
    if min(image.size) < image_size:
        raise DataError(
            f"the image {path} is {image.width}x{image.height}, smaller than data.image_size "
            f"{image_size}: remove it, or lower data.image_size"
        )
    pixels = np.asarray(_square(image, image_size))
    return pixels.reshape(image_size, image_size, channels)


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
