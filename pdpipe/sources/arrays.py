"""Arrays of images, uint8, in npy files with their labels beside them; mapped and never loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pdpipe.errors import DataError, brief
from pdpipe.params import DataParams
from pdpipe.sources.images import fitted
from pdpipe.sources.source import OneAfterAnother, Source

LABELS = "-labels"  # ends the name of a file of labels: train.npy has train-labels.npy
_HELDOUT = ("test", "val", "heldout")  # begin the name of what is held out


class ArraysSource(Source):
    """Images (n, H, W), (n, H, W, C) or (n, C, H, W), C = 1 or 3; labels (n,), whole numbers.

    `path` is a file of images, or a folder with several. A file whose name begins with `test`,
    `val` or `heldout` is held out, if there is one. Classes are named by their number.
    """

    def __init__(self, path: Path, params: DataParams) -> None:
        files = _files(path)
        self.name, self._params = "npy", params
        parts = [_part(file) for file in files]
        self._images = OneAfterAnother([images for images, _ in parts])
        present, labels = np.unique(
            np.concatenate([labels for _, labels in parts]), return_inverse=True
        )
        self.labels = labels.astype(np.int64)
        self.classes = [str(k) for k in present]
        held = [file.stem.startswith(_HELDOUT) for file in files]
        heldout = np.repeat(held, [len(images) for images, _ in parts])
        self.heldout = heldout if heldout.any() else None

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image `index` as uint8 (H, W, C)."""
        pixels = self._images[index]
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        elif pixels.shape[2] not in (1, 3):
            pixels = pixels.transpose(1, 2, 0)
        return fitted(np.asarray(pixels), self._params.image_size, self._params.channels)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(f for f in path.glob("*.npy") if not f.stem.endswith(LABELS))
    else:
        found = [path] if path.is_file() and path.suffix == ".npy" else []
    if not found:
        raise DataError(
            f"data.path is {path}, where there is no npy file of images: name a file such as "
            f"images.npy, with images{LABELS}.npy beside it, or a folder of such files"
        )
    return found


def _part(file: Path) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """The images and labels of a file."""
    images, beside = _mapped(file), file.with_name(f"{file.stem}{LABELS}.npy")
    if not beside.is_file():
        raise DataError(f"{file} has no labels: put them beside it, as {beside.name}")
    labels = _mapped(beside)
    if images.dtype != np.uint8 or not _is_images(images.shape):
        raise DataError(
            f"{file} holds {images.dtype} of shape {images.shape}, not uint8 images (n, H, W), "
            "(n, H, W, C) or (n, C, H, W) with 1 or 3 channels: convert it"
        )
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{beside} holds {labels.dtype} of shape {labels.shape}, not one whole number for each "
            f"of {len(images)} images: convert it"
        )
    return images, labels


def _is_images(shape: tuple[int, ...]) -> bool:
    channels = {1, 3}
    return len(shape) == 3 or (len(shape) == 4 and bool({shape[1], shape[3]} & channels))


def _mapped(file: Path) -> NDArray[Any]:
    try:
        found: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file} cannot be read ({brief(error)}): write it again") from None
    return found
