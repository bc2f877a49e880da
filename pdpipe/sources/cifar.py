"""CIFAR-10 and CIFAR-100 as published: the archive of pickles for Python, or its folder."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pdpipe.errors import DataError, brief
from pdpipe.params import DataParams
from pdpipe.sources.images import fitted
from pdpipe.sources.pickles import load_pickle
from pdpipe.sources.source import Source

MOST = 2**29  # bytes of a file in the archive; the largest, CIFAR-100's train, has 155 MB


@dataclass(frozen=True)
class _Edition:
    """How one of the two is laid out."""

    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    names: bytes  # of the classes, in `meta`
    labels: bytes  # in each batch


_EDITIONS = {
    "cifar10": _Edition(
        archive="cifar-10-python.tar.gz",
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{k}" for k in range(1, 6)),
        test="test_batch",
        meta="batches.meta",
        names=b"label_names",
        labels=b"labels",
    ),
    "cifar100": _Edition(
        archive="cifar-100-python.tar.gz",
        folder="cifar-100-python",
        train=("train",),
        test="test",
        meta="meta",
        names=b"fine_label_names",
        labels=b"fine_labels",
    ),
}


class CifarSource(Source):
    """32 x 32 RGB images; the published test images are the held-out ones.

    `path` is the archive, the folder that it unpacks to, or a folder with either. All images are
    in memory, 184 MB.
    """

    def __init__(self, path: Path, params: DataParams) -> None:
        self.name = params.source
        edition = _EDITIONS[self.name]
        with _opened(path, edition) as files:
            meta = _fields(files, edition.meta, edition.names)
            self.classes = [_text(found) for found in meta[edition.names]]
            batches = [
                _batch(files, part, edition.labels, len(self.classes))
                for part in (*edition.train, edition.test)
            ]
        images, labels = zip(*batches, strict=True)
        self._images = np.concatenate(images)
        self.labels = np.concatenate(labels)
        self.heldout = np.arange(len(self.labels)) >= len(self.labels) - len(labels[-1])
        self._params = params

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image `index` as uint8 (H, W, C)."""
        pixels = self._images[index].reshape(3, 32, 32).transpose(1, 2, 0)
        return fitted(pixels, self._params.image_size, self._params.channels)


_Files = Callable[[str], tuple[bytes, str]]
"""The name of a file -> its content, and what it is called in an error."""


@contextmanager
def _opened(path: Path, edition: _Edition) -> Iterator[_Files]:
    """The files below `path`, unpacked or in their archive."""
    for folder in (path, path / edition.folder):
        if (folder / edition.meta).is_file():
            yield partial(_from_folder, folder)
            return
    for archive in (path, path / edition.archive):
        if archive.is_file():
            try:
                with tarfile.open(archive, "r:*") as tar:
                    yield partial(_from_tar, tar, archive, edition.folder)
            except tarfile.ReadError:
                raise DataError(
                    f"{archive} is no archive, or is cut off: set data.path to "
                    f"{edition.archive}, or download it again"
                ) from None
            except (tarfile.TarError, EOFError, OSError) as error:
                raise DataError(
                    f"{archive} cannot be read ({brief(error)}): download it again"
                ) from None
            return
    raise DataError(
        f"data.path is {path}, where there is no {edition.archive} and no folder "
        f"{edition.folder}: download the python version from "
        "https://www.cs.toronto.edu/~kriz/cifar.html, and name the file or its folder"
    )


def _from_folder(folder: Path, name: str) -> tuple[bytes, str]:
    file = folder / name
    try:
        if file.stat().st_size > MOST:
            raise DataError(f"{file} is larger than any file of the data set: download it again")
        return file.read_bytes(), str(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({brief(error)}): download it again") from None


def _from_tar(tar: tarfile.TarFile, archive: Path, folder: str, name: str) -> tuple[bytes, str]:
    called = f"{folder}/{name} in {archive}"
    try:
        member = tar.getmember(f"{folder}/{name}")
    except KeyError:
        raise DataError(f"{called} is missing: download the archive again") from None
    stream = tar.extractfile(member) if member.isfile() else None
    if stream is None or member.size > MOST:
        raise DataError(f"{called} is no file of the data set: download the archive again")
    return stream.read(), called


def _fields(files: _Files, name: str, *needed: bytes) -> dict[bytes, Any]:
    content, called = files(name)
    found = load_pickle(content, called)
    if not isinstance(found, dict) or not set(needed) <= found.keys():
        fields = ", ".join(field.decode() for field in needed)
        raise DataError(f"{called} has no {fields}: download it again")
    return found


def _batch(
    files: _Files, name: str, labels: bytes, classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (n, 3072) and labels (n,) of a batch."""
    found = _fields(files, name, b"data", labels)
    images, given = found[b"data"], found[labels]
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 2:
        raise DataError(f"{name} holds no images of uint8: download it again")
    whole = isinstance(given, list) and all(type(label) is int for label in given)
    if images.shape != (len(given) if whole else -1, 3 * 32 * 32):
        raise DataError(
            f"{name} holds images of shape {images.shape} and {len(given)} labels, not one label "
            "for each image of 3 x 32 x 32: download it again"
        )
    own = np.array(given, dtype=np.int64)
    if len(own) and not 0 <= own.min() <= own.max() < classes:
        raise DataError(f"{name} holds labels outside 0 to {classes - 1}: download it again")
    return images, own


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
