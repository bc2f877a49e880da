"""Downsampled ImageNet as it is published: npz files of flat images, mapped and never loaded."""

from __future__ import annotations

import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pdpipe import layout
from pdpipe.errors import DataError, brief
from pdpipe.files import replacing
from pdpipe.params import DataParams
from pdpipe.sources.images import fitted
from pdpipe.sources.source import OneAfterAnother, Source

CLASSES = 1000
_HEADER = struct.Struct("<26xHH")  # of a file in a zip: the lengths of its name and extra field
Mapped = NDArray[np.uint8]


class DownsampledSource(Source):
    """ImageNet at 32 x 32 or 64 x 64; the published validation images are the held-out ones.

    `path` is the folder with `train_data_batch_1.npz` … and `val_data.npz`. Each has `data`,
    (n, 3 · side²) uint8, and `labels`, (n,), 1 to 1000. The arrays are mapped from the files, so
    that any number of images needs little memory; of a compressed file `data` is unpacked once,
    beside the project's other intermediate files. Classes are named by number, from 0.
    """

    def __init__(self, path: Path, params: DataParams) -> None:
        self.name, self._params = params.source, params
        self._side = int(self.name.removeprefix("imagenet"))
        train = sorted(path.glob("train_data_batch_*.npz"), key=_number)
        if not train or not (path / "val_data.npz").is_file():
            raise DataError(
                f"data.path is {path}, where there should be train_data_batch_1.npz … and "
                f"val_data.npz: download the npz files of {self._side} x {self._side} from "
                "https://image-net.org/download-images, and name their folder"
            )
        parts = [self._part(file) for file in (*train, path / "val_data.npz")]
        self._images = OneAfterAnother([images for images, _ in parts])
        self.labels = np.concatenate([labels for _, labels in parts])
        self.heldout = np.arange(len(self.labels)) >= len(self.labels) - len(parts[-1][0])
        self.classes = [f"{k:03d}" for k in range(CLASSES)]

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image `index` as uint8 (H, W, C)."""
        pixels = self._images[index].reshape(3, self._side, self._side).transpose(1, 2, 0)
        return fitted(pixels, self._params.image_size, self._params.channels)

    def _part(self, file: Path) -> tuple[Mapped, NDArray[np.int64]]:
        images: NDArray[Any] = mapped(file, "data")
        labels: NDArray[Any] = mapped(file, "labels")
        row = 3 * self._side**2
        if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != row:
            raise DataError(
                f"{file} holds images of shape {images.shape}, not rows of {row} uint8: is it of "
                f"another size than {self._side}? set data.source to that, or download it again"
            )
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
            raise DataError(
                f"{file} holds {len(images)} images and labels of shape {labels.shape}, not one "
                "for each: download it again"
            )
        if len(labels) and not 1 <= labels.min() <= labels.max() <= CLASSES:
            raise DataError(f"{file} holds labels outside 1 to {CLASSES}: download it again")
        return images, labels.astype(np.int64) - 1


def mapped(file: Path, name: str) -> NDArray[Any]:
    """An array of an npz file, mapped into memory.

    Raises:
        DataError: the file is damaged, or has no such array of numbers.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            member = archive.getinfo(f"{name}.npy")
            if member.compress_type == zipfile.ZIP_STORED:
                return _at(file, _start(file, member), member.file_size)
            unpacked = layout.WORK / "unpacked" / f"{file.stem}-{member.CRC:08x}-{name}.npy"
            if _checksum(unpacked) != member.CRC:
                _unpack(archive, member, unpacked)
            return _at(unpacked, 0, member.file_size)
    except KeyError:
        raise DataError(f"{file} holds no array {name}: download it again") from None
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read ({brief(error)}): download it again") from None


def _checksum(file: Path) -> int | None:
    """CRC-32 of a file, as in a zip; None where there is none."""
    if not file.is_file():
        return None
    found = 0
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            found = zlib.crc32(block, found)
    return found


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path) -> None:
    """A member as a file, if the disk can hold it."""
    to.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(to.parent).free
    if member.file_size > free:
        raise DataError(
            f"{archive.filename} takes {member.file_size / 2**30:.1f} GiB unpacked, and "
            f"{to.parent} has {free / 2**30:.1f} free: make room, or move the project"
        )
    with replacing(to) as temporary, archive.open(member) as packed, temporary.open("wb") as out:
        shutil.copyfileobj(packed, out, 2**20)


def _start(file: Path, member: zipfile.ZipInfo) -> int:
    """Where the bytes of a stored member begin."""
    with file.open("rb") as stream:
        stream.seek(member.header_offset)
        name, extra = _HEADER.unpack(stream.read(_HEADER.size))
    return int(member.header_offset + _HEADER.size + name + extra)


def _at(file: Path, start: int, size: int) -> NDArray[Any]:
    """The array whose npy file begins at a byte of a file."""
    with file.open("rb") as stream:
        stream.seek(start)
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, by_columns, dtype = read(stream)
        offset = stream.tell()
    if dtype.hasobject or by_columns:
        raise ValueError("its arrays are not plain rows of numbers")
    if int(np.prod(shape, dtype=object)) * dtype.itemsize != size - (offset - start):
        raise ValueError("an array of another size than it says")
    return np.memmap(file, dtype, "r", offset, shape)


def _number(path: Path) -> tuple[int, str]:
    digits = path.stem.rpartition("_")[2]
    return (int(digits) if digits.isdigit() else 0, path.name)
