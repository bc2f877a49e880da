"""Images of any kind as uint8 tensors, and as pictures to look at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from pdpipe.data import to_uint8
from pdpipe.errors import DataError, counted
from pdpipe.sources.images import decoded, image_formats

Images = Tensor | NDArray[Any] | Sequence[Image.Image] | Path | str
"""Images as users have them: see `pdpipe.metrics.features`."""

_SHOWN = 64  # pixels that a small image is enlarged to, at least
_GAP = 16  # between two images lies this part of one
_ABOUT = "images are (n, C, H, W) with 1 or 3 channels, uint8 or float in [-1, 1]"


def to_pil(images: Tensor | NDArray[Any], *, scale: int = 1) -> list[Image.Image]:
    """PIL images, grey or RGB: one for each of `images`.

    Args:
        images: (n, C, H, W) with 1 or 3 channels; uint8, or float in [-1, 1], which is rounded to
            the nearest of 256 values and clamped where it leaves that range.
        scale: how many pixels wide each pixel becomes, 1 or more.

    Raises:
        DataError: images of another shape or type, or not finite, or a scale that is none.

    Examples:
        >>> x = torch.zeros(2, 1, 8, 8)
        >>> first, second = pdpipe.to_pil(x, scale=4)
        >>> first.size, first.mode, first.getpixel((0, 0))
        ((32, 32), 'L', 128)
    """
    tiles = _enlarged(_pixels(images), scale)
    return [_image(tile) for tile in tiles.permute(0, 2, 3, 1)]


def grid(
    images: Tensor | NDArray[Any], *, rows: int | None = None, scale: int | None = None
) -> Image.Image:
    """One PIL image of all `images`, row by row, with white lines between them.

    `pdpipe sample` draws with it. A notebook shows it, and `.save("grid.png")` writes it.

    Args:
        images: as for `to_pil`; or (rows, columns, C, H, W), such as `Trajectory.z`, whose rows
            these are.
        rows: by default about as many as columns; the last may be shorter.
        scale: how many pixels wide each pixel becomes; by default as many as make the images 64
            pixels wide or more.

    Raises:
        DataError: no images, images of another shape or type, or a number that is none.

    Examples:
        >>> x = torch.zeros(10, 1, 8, 8)
        >>> pdpipe.grid(x, rows=2).size  # 5 columns of 64 pixels, lines of 4
        (344, 140)
        >>> path = torch.zeros(3, 2, 1, 8, 8)
        >>> pdpipe.grid(path, scale=1).size
        (22, 32)
    """
    if images.ndim == 5:
        if rows not in (None, len(images)):
            raise DataError(f"the images have {len(images)} rows, not {rows}: leave rows out")
        rows, images = len(images), images.reshape(-1, *images.shape[2:])
    pixels = _pixels(images)
    if len(pixels) == 0:
        raise DataError("there are no images to draw: give one or more")
    rows = max(math.isqrt(len(pixels)), 1) if rows is None else rows
    if not 1 <= rows <= len(pixels):
        raise DataError(f"rows is {rows} for {counted(len(pixels), 'image')}: give 1 to that many")
    side = pixels.shape[-1]
    scale = max(1, _SHOWN // side) if scale is None else scale
    gap = max(2, scale * side // _GAP)
    tiles = pad(_enlarged(pixels, scale), (gap, 0, gap, 0), value=255)
    missing = -len(tiles) % rows
    tiles = pad(tiles, (0, 0, 0, 0, 0, 0, 0, missing), value=255)
    tiles = tiles.view(rows, -1, *tiles.shape[1:])
    # rows x columns tiles of (C, H, W) -> one (rows H, columns W, C)
    whole = tiles.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    return _image(pad(whole, (0, 0, 0, gap, 0, gap), value=255))


def as_uint8(images: Images, channels: int | None = None) -> Tensor:
    """Images of any kind as uint8 (n, C, H, W): to be measured, so in their range without doubt.

    Args:
        images: (n, C, H, W), uint8 or float in [-1, 1]; PIL images of one size; or a folder, of
            whose images below it each is read, in the order of their paths.
        channels: what files and PIL images are turned into, 1 (grey) or 3 (RGB); by default grey
            where all PIL images are.

    Raises:
        DataError: no images, or images of another shape, type, range or size.
    """
    if isinstance(images, str | Path):
        return _read_folder(Path(images), channels or 3)
    if not isinstance(images, Tensor | np.ndarray):
        return _of_pil(images, channels)
    pixels = torch.as_tensor(images)
    if pixels.is_floating_point() and pixels.numel() and pixels.isfinite().all():
        low, high = float(pixels.min()), float(pixels.max())
        if low < -1.001 or high > 1.001:
            raise DataError(
                f"float images are in [-1, 1], and these go from {low:.4g} to {high:.4g}: give "
                "uint8 for values from 0 to 255, or clamp them"
            )
        if low >= 0.0 and len(pixels) > 1:
            raise DataError(
                "float images are in [-1, 1], and none of these has a value below 0: give "
                "2 * x - 1 where they are in [0, 1], or uint8"
            )
    return _pixels(pixels)


def _pixels(images: Tensor | NDArray[Any]) -> Tensor:
    """Tensor or array as uint8 (n, C, H, W), in main memory."""
    found = torch.as_tensor(images).detach().cpu()
    shape = tuple(found.shape)
    if found.ndim != 4 or shape[1] not in (1, 3) or 0 in shape[2:]:
        last = found.ndim == 4 and shape[3] in (1, 3)
        mend = "move the channels forward" if last else "reshape them"
        if found.ndim == 3 and shape[0] in (1, 3):
            mend = "give x[None] for a single image"
        raise DataError(f"{_ABOUT}, not of shape {shape}: {mend}")
    if found.dtype == torch.uint8:
        return found
    if not found.is_floating_point():
        raise DataError(f"{_ABOUT}, not {str(found.dtype).removeprefix('torch.')}: convert them")
    if not found.isfinite().all():
        raise DataError("the images have values that are not finite: look at what made them")
    return to_uint8(found)


def _read_folder(folder: Path, channels: int) -> Tensor:
    if not folder.is_dir():
        problem = "is no folder" if folder.exists() else "does not exist"
        raise DataError(f"the folder of images {folder} {problem}: name one")
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in image_formats()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not files:
        raise DataError(f"the folder {folder} has no images: name one with image files")
    return _stacked((decoded(path, channels) for path in files), files)


def _of_pil(images: Sequence[Image.Image], channels: int | None) -> Tensor:
    found = list(images)
    if not found or not all(isinstance(image, Image.Image) for image in found):
        raise DataError(f"{_ABOUT}; or a list of PIL images, or the path of a folder: give these")
    grey = channels == 1 or (channels is None and all(i.mode in ("1", "L") for i in found))
    names = [f"image {k}" for k in range(len(found))]
    return _stacked((image.convert("L" if grey else "RGB") for image in found), names)


def _stacked(images: Iterable[Image.Image], names: Sequence[object]) -> Tensor:
    """Pictures of one size as uint8 (n, C, H, W)."""
    arrays: list[NDArray[np.uint8]] = []
    for image, name in zip(images, names, strict=True):
        array = np.atleast_3d(np.asarray(image))
        if arrays and array.shape != arrays[0].shape:
            (first_h, first_w), (h, w) = arrays[0].shape[:2], array.shape[:2]
            raise DataError(
                f"the images differ in size, {first_w}x{first_h} of {names[0]} and {w}x{h} of "
                f"{name}: bring them to one size"
            )
        arrays.append(array)
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def _enlarged(pixels: Tensor, scale: int) -> Tensor:
    if scale < 1:
        raise DataError(f"scale is {scale}: give a whole number of pixels, 1 or more")
    return pixels.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)


def _image(pixels: Tensor) -> Image.Image:
    """Of uint8 (H, W, C)."""
    array = pixels.numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
