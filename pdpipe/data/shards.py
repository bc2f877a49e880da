"""From a source to webdataset shards, streaming: one image is in memory at a time.

Labels come first, without images; they decide which images are held out and in what order each
split is written. Then every image is read once, at its place in that order.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from webdataset import TarWriter

from pdpipe.data.manifest import FORMAT, MANIFEST_NAME, SPLITS, Manifest, Shard, Split, SplitName
from pdpipe.data.order import Purpose, permutation
from pdpipe.data.sources import Source
from pdpipe.errors import DataError
from pdpipe.files import digest_file, replacing, write_json
from pdpipe.params import DataParams

Indices = NDArray[np.int64]


def write_shards(
    source: Source,
    params: DataParams,
    seed: int,
    out_dir: Path,
    progress: Callable[[int], object] | None = None,
) -> Manifest:
    """The manifest of the shards it writes to `out_dir`: train-*.tar, heldout-*.tar, manifest.json.

    A shard appears whole or not at all, and the manifest last: a folder that has one is complete.
    Equal inputs give equal bytes (with the same Pillow). An earlier run's shards are removed first.

    Args:
        source: the labelled images.
        params: the image shape, the held-out fraction and the images a shard.
        seed: of the split and of the order, 0 or more.
        out_dir: made when missing.
        progress: called after each image with how many are written.

    Raises:
        DataError: a class has fewer than two images, or an image cannot be read.
    """
    indices = split_indices(source, params.heldout_fraction, seed)
    _remove_shards(out_dir)
    report = _counting(progress)
    splits = {
        name: _write_split(source, indices[name], params, out_dir, name, report) for name in SPLITS
    }
    manifest = Manifest(
        format=FORMAT,
        source=source.name,
        classes=source.classes,
        image_shape=(params.channels, params.image_size, params.image_size),
        seed=seed,
        heldout_fraction=params.heldout_fraction,
        splits=splits,
    )
    write_json(out_dir / MANIFEST_NAME, manifest.model_dump())
    return manifest


def split_indices(source: Source, heldout_fraction: float, seed: int) -> dict[SplitName, Indices]:
    """The source's indices of each split, shuffled so that the classes mix.

    Of a class with n images round(heldout_fraction * n) are held out, at least one and at most
    n - 1, chosen by a permutation drawn from (seed, class).

    Raises:
        DataError: a class has fewer than two images.
    """
    is_heldout = np.zeros(len(source), dtype=bool)
    for label, name in enumerate(source.classes):
        members = np.flatnonzero(source.labels == label)
        count = len(members)
        if count < 2:
            raise DataError(
                f"class '{name}' of data.source {source.name} has {count} image"
                f"{'s' if count != 1 else ''}, but needs one to train on and one to hold out: "
                "add images, or remove the class"
            )
        num_heldout = min(max(round(heldout_fraction * count), 1), count - 1)
        chosen = permutation(count, seed, Purpose.HELDOUT, label)[:num_heldout]
        is_heldout[members[chosen]] = True
    splits = {"train": np.flatnonzero(~is_heldout), "heldout": np.flatnonzero(is_heldout)}
    return {
        name: splits[name][permutation(len(splits[name]), seed, Purpose.SHARDS, place)]
        for place, name in enumerate(SPLITS)
    }


def _write_split(
    source: Source,
    indices: Indices,
    params: DataParams,
    out_dir: Path,
    name: str,
    report: Callable[[], None],
) -> Split:
    """The record of a split whose shards hold the images `indices`, in that order."""
    contents = hashlib.sha256()
    shards: list[Shard] = []
    for start in range(0, len(indices), params.images_per_shard):
        part = indices[start : start + params.images_per_shard]
        path = out_dir / f"{name}-{len(shards):06d}.tar"
        with _tar_writer(path) as tar:
            for index in part.tolist():
                image, label = source[index], int(source.labels[index])
                contents.update(label.to_bytes(8, "little") + image.tobytes())
                tar.write(_sample(index, image, label))
                report()
        size = path.stat().st_size
        shards.append(Shard(name=path.name, count=len(part), sha256=digest_file(path), bytes=size))
    return Split(
        count=len(indices),
        class_counts=np.bincount(source.labels[indices], minlength=len(source.classes)).tolist(),
        contents=contents.hexdigest(),
        shards=shards,
    )


def _sample(index: int, image: NDArray[np.uint8], label: int) -> dict[str, Any]:
    """A sample for webdataset, which encodes by the names png and cls; the key is the index."""
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    return {"__key__": f"{index:09d}", "png": pixels, "cls": label}


def _counting(progress: Callable[[int], object] | None) -> Callable[[], None]:
    """A function that tells `progress` how often it has been called."""
    done = itertools.count(1)

    def report() -> None:
        if progress is not None:
            progress(next(done))

    return report


@contextmanager
def _tar_writer(path: Path) -> Iterator[TarWriter]:
    """A writer of `path` that puts no clock, user or machine into it, and leaves no half file."""
    with (
        replacing(path) as temporary,
        temporary.open("wb") as stream,
        TarWriter(stream, user="", group="", mode=0o644, mtime=0) as tar,
    ):
        yield tar


def _remove_shards(out_dir: Path) -> None:
    """Remove what an earlier run left, the manifest first: without it the folder is unfinished."""
    (out_dir / MANIFEST_NAME).unlink(missing_ok=True)
    for pattern in ("train-*.tar", "heldout-*.tar", ".*.tmp"):
        for path in out_dir.glob(pattern):
            path.unlink()
