"""The idx files of MNIST and its kin (Fashion-MNIST, KMNIST, EMNIST), packed with gzip or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pdpipe.errors import DataError, brief
from pdpipe.params import DataParams
from pdpipe.sources.images import fitted, padded
from pdpipe.sources.source import Source

MOST = 2**32  # bytes that a file may have when unpacked
_SPLITS = {"train": ("train",), "test": ("t10k", "test")}


class IdxSource(Source):
    """Grey images, uint8; the published test images are the held-out ones.

    `path` is a folder with, for each split, one file of images and one of labels, such as
    `train-images-idx3-ubyte.gz` and `train-labels-idx1-ubyte.gz`. Classes are named by number.
    Images smaller than `data.image_size` get a border of zeros, larger ones are averaged down.
    """

    def __init__(self, path: Path, params: DataParams) -> None:
        parts = {split: _split(path, split, names) for split, names in _SPLITS.items()}
        self.name = "idx"
        (train, own), (test, other) = parts.values()
        if train.shape[1:] != test.shape[1:]:
            raise DataError(
                f"the training images in {path} are {train.shape[1:]} and the test images "
                f"{test.shape[1:]}: take the files of one data set"
            )
        self._images = np.concatenate([train, test])
        present, labels = np.unique(np.concatenate([own, other]), return_inverse=True)
        self.labels = labels.astype(np.int64)
        self.heldout = np.arange(len(self.labels)) >= len(train)
        self.classes = [str(k) for k in present]
        self._params = params

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image `index` as uint8 (H, W, C)."""
        size, channels = self._params.image_size, self._params.channels
        return fitted(padded(self._images[index][:, :, None], size), size, channels)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of an idx file of uint8; gzip is told by the file's first bytes.

    Raises:
        DataError: it is no such file, or is cut off or longer than it says.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            head = stream.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] != 8 or not 1 <= head[3] <= 4:
                raise DataError(f"{path} is no idx file of uint8: download it again")
            sizes = np.frombuffer(stream.read(4 * head[3]), ">u4").tolist()
            count = math.prod(sizes)
            if len(sizes) != head[3] or count > MOST:
                raise DataError(f"{path} says that it holds {sizes}: download it again")
            content = stream.read(count + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({brief(error)}): download it again") from None
    if len(content) != count:
        raise DataError(
            f"{path} should hold {count:,} values and has "
            f"{'more' if len(content) > count else 'fewer'}: download it again"
        )
    return np.frombuffer(content, np.uint8).reshape(sizes)


def _split(
    folder: Path, split: str, names: tuple[str, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images = read_idx(_file(folder, split, names, "images", 3))
    labels = read_idx(_file(folder, split, names, "labels", 1))
    if images.ndim != 3 or labels.shape != images.shape[:1] or not len(images):
        raise DataError(
            f"the {split} files in {folder} hold images of shape {images.shape} and labels of "
            f"shape {labels.shape}, not one label for each image: take the files of one data set"
        )
    return images, labels


def _file(folder: Path, split: str, names: tuple[str, ...], what: str, dims: int) -> Path:
    found = sorted(
        path
        for name in names
        for path in folder.glob(f"*{name}*{what}*idx{dims}*")
        if path.suffix in ("", ".gz") or path.suffix.endswith(f"idx{dims}-ubyte")
    )
    if len(found) != 1:
        several = f"several ({', '.join(path.name for path in found)})" if found else "none"
        raise DataError(
            f"data.path is {folder}, where there should be one file of {split} {what}, such as "
            f"{names[0]}-{what}-idx{dims}-ubyte.gz, but there are {several}: keep the files of one "
            "data set there, each once"
        )
    return found[0]
