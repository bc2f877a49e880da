"""Splits as tensors in memory, and their pixels as models take them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pdpipe.data.manifest import Manifest, Split, read_manifest
from pdpipe.data.reading import check_sizes, read_shard
from pdpipe.errors import DataError

T = TypeVar("T")
Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """A split in memory."""

    images: Tensor  # uint8 (n, C, H, W)
    labels: Tensor  # int64 (n,)
    classes: tuple[str, ...]  # names, by label
    digest: str  # of the manifest: the identity of the data

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)


def load_split(directory: Path, split: str, *, workers: int = 0, verify: bool = True) -> ImageSet:
    """A whole split, in the order of its shards whatever `workers` is.

    Args:
        directory: the folder of manifest.json and the shards.
        split: train or heldout.
        workers: processes that decode, a shard at a time; 0 decodes in this one.
        verify: compare each shard's sha256 with the manifest's before it is read.

    Raises:
        DataError: a shard or the manifest is missing or damaged; the sentence says how to mend it.
    """
    manifest = read_manifest(directory)
    record = manifest.split(split)
    check_sizes(directory, record)
    images = torch.empty((record.count, *manifest.image_shape), dtype=torch.uint8)
    labels = torch.empty(record.count, dtype=torch.int64)
    start = 0
    for shard in _decoded_shards(_Shards(directory, manifest, record, verify), workers):
        if isinstance(shard, DataError):
            raise shard
        stop = start + len(shard[1])
        images[start:stop] = torch.from_numpy(shard[0])
        labels[start:stop] = torch.from_numpy(shard[1])
        start = stop
    return ImageSet(
        images=images, labels=labels, classes=tuple(manifest.classes), digest=manifest.digest
    )


def to_unit(images: Tensor) -> Tensor:
    """Float32 x = images / 127.5 - 1 in [-1, 1], shaped like the uint8 `images`."""
    return images.to(torch.float32) / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """The uint8 images nearest to `x`: clamped to [-1, 1], rounded, shaped like `x`.

    Rounding, not truncation: truncated images shift the FID. `to_uint8(to_unit(images))` is
    `images` for all 256 values.
    """
    return ((x.to(torch.float32).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


class _Shards(Dataset[Arrays | DataError]):
    """A split as a list of shards, so that a loader may hand them out and keep their order.

    An error is an item, not raised: a loader would wrap it in the traceback of its worker.
    """

    def __init__(self, directory: Path, manifest: Manifest, record: Split, verify: bool) -> None:
        self._directory, self._manifest = directory, manifest
        self._record, self._verify = record, verify

    def __len__(self) -> int:
        return len(self._record.shards)

    def __getitem__(self, index: int) -> Arrays | DataError:
        shard = self._record.shards[index]
        images = np.empty((shard.count, *self._manifest.image_shape), dtype=np.uint8)
        labels = np.empty(shard.count, dtype=np.int64)
        try:
            samples = read_shard(self._directory, self._manifest, shard, verify=self._verify)
            for place, (image, label) in enumerate(samples):
                images[place], labels[place] = image, label
        except DataError as error:
            return error
        return images, labels


def _decoded_shards(shards: _Shards, workers: int) -> Iterator[Arrays | DataError]:
    """The items of `shards`, in order, decoded by `workers` processes."""
    num_workers = min(workers, len(shards))
    return iter(
        DataLoader(
            shards,
            batch_size=None,
            collate_fn=_unchanged,
            num_workers=num_workers,
            # a forked child may hang on the locks of this process's threads
            multiprocessing_context="spawn" if num_workers else None,
            generator=torch.Generator(),  # or the loader draws from torch's global one
        )
    )


def _unchanged(item: T) -> T:
    return item
