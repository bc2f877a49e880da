"""One shard, read through webdataset: its file is checked first, then each of its samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from numpy.typing import NDArray
from webdataset.tariterators import group_by_keys, tar_file_expander

from pdpipe.data.manifest import Manifest, Shard, Split
from pdpipe.errors import DataError
from pdpipe.files import digest_file

MEND = "restore it with `dvc checkout -f`, or make it again with `dvc repro -f prepare`"


def check_sizes(directory: Path, split: Split) -> None:
    """Raise `DataError` when a shard of `split` is missing or has not its recorded length.

    Costs next to nothing, so all shards are checked before the first is read.
    """
    for shard in split.shards:
        path = directory / shard.name
        if not path.is_file():
            raise DataError(f"the shard {path} is missing: {MEND}")
        size = path.stat().st_size
        if size != shard.bytes:
            problem = "truncated" if size < shard.bytes else "altered"
            raise DataError(
                f"the shard {path} is {problem} ({size} bytes instead of {shard.bytes}): {MEND}"
            )


def read_shard(
    directory: Path, manifest: Manifest, shard: Shard, *, verify: bool
) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Every (image uint8 (C, H, W), label) of a shard, in order.

    Args:
        directory: the manifest's folder.
        manifest: says what an image and a label may be.
        shard: one of the manifest's.
        verify: compare the file's sha256 with the manifest's before reading.

    Raises:
        DataError: the file is altered, cannot be read, or holds something else than it should.
    """
    path = directory / shard.name
    count = 0
    for sample in _samples(path, manifest.image_shape[0], shard.sha256 if verify else None):
        count += 1
        if count <= shard.count:
            yield _checked(sample, path, manifest)
    if count != shard.count:
        raise DataError(
            f"the shard {path} is damaged ({count} images instead of {shard.count}): {MEND}"
        )


def _samples(path: Path, channels: int, sha256: str | None) -> Iterator[dict[str, Any]]:
    """The decoded samples of one tar file, as webdataset makes them, `sha256` checked if given.

    The file is opened here, not by webdataset, which would leave it open, and whose openers obey
    environment variables (caches, splitting among processes). Only png and cls are decoded: its
    other decoders include pickle.
    """
    decode = webdataset.decode("l8" if channels == 1 else "rgb8", pre=[], only=["png", "cls"])
    try:
        if sha256 is not None and digest_file(path) != sha256:
            raise DataError(f"the shard {path} is altered (its sha256 differs): {MEND}")
        with path.open("rb") as stream:
            files = tar_file_expander([{"url": path.name, "stream": stream}])
            yield from decode(group_by_keys(files))
    except DataError:
        raise
    except webdataset.DecodingError as error:
        reason = f"the {error.k} of sample {error.key} cannot be decoded"
        raise DataError(f"the shard {path} is damaged ({reason}): {MEND}") from None
    except Exception as error:  # what tarfile raises depends on the byte that is wrong
        reason = f"{type(error).__name__} while reading it"
        raise DataError(f"the shard {path} cannot be read ({reason}): {MEND}") from None


def _checked(
    sample: dict[str, Any], path: Path, manifest: Manifest
) -> tuple[NDArray[np.uint8], int]:
    """The image (C, H, W) and label of a decoded sample, when they are as the manifest says."""
    where = f"sample {sample['__key__']} of the shard {path}"
    missing = [name for name in ("png", "cls") if name not in sample]
    if missing:
        raise DataError(f"{where} has no {missing[0]}: {MEND}")
    image, label = sample["png"], sample["cls"]
    pixels = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    if pixels.shape != manifest.image_shape:
        raise DataError(f"{where} has shape {pixels.shape}, not {manifest.image_shape}: {MEND}")
    if not 0 <= label < len(manifest.classes):
        raise DataError(f"{where} has label {label}, not one of {len(manifest.classes)}: {MEND}")
    return pixels, label
