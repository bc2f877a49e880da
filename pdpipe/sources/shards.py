"""From a source to webdataset shards, streaming: one image is in memory at a time.

Labels come first, without images; they decide which images are held out and in what order each
split is written. Then every image is read once, at its place in that order.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from webdataset import TarWriter

from pdpipe.data.manifest import FORMAT, MANIFEST_NAME, SPLITS, Manifest, Shard, Split, SplitName
from pdpipe.data.order import Purpose, permutation
from pdpipe.errors import DataError, counted
from pdpipe.files import digest_file, replacing, sealed, write_json
from pdpipe.params import DataParams
from pdpipe.sources.images import ImageError
from pdpipe.sources.source import Source, num_heldout

Indices = NDArray[np.int64]
_UNFINISHED = ".unfinished"  # shards are made there, and moved when all images were read
_NAMED = 10  # images that an error names; the others are counted


def write_shards(
    source: Source,
    params: DataParams,
    seed: int,
    out_dir: Path,
    progress: Callable[[int], object] | None = None,
) -> Manifest:
    """The manifest of the shards it writes to `out_dir`: train-*.tar, heldout-*.tar, manifest.json.

    The shards appear when every image was read, and the manifest last: a folder that has one is
    complete. Equal inputs give equal bytes (with the same Pillow). An earlier run's shards stay
    until then.

    Args:
        source: the labelled images.
        params: the image shape, the held-out fraction and the images a shard.
        seed: of the split and of the order, 0 or more.
        out_dir: made when missing.
        progress: called after each image with how many are written.

    Raises:
        DataError: a class has fewer than two images, or images cannot be read: all of them are
            told, by name as far as they are few.
    """
    indices = split_indices(source, params.heldout_fraction, seed)
    reader = _Reader(source, progress)
    unfinished = out_dir / _UNFINISHED
    _remove(unfinished)
    try:
        splits = {
            name: _write_split(reader, indices[name], params, unfinished, name) for name in SPLITS
        }
    except ImageError as error:
        _remove(unfinished)
        order = np.concatenate([indices[name] for name in SPLITS])
        raise _all_in_one([error, *reader.more_errors(order)], len(source)) from None
    _remove_shards(out_dir)
    for path in unfinished.iterdir():
        path.replace(out_dir / path.name)
    unfinished.rmdir()
    manifest = Manifest(
        format=FORMAT,
        source=source.name,
        classes=source.classes,
        image_shape=(params.channels, params.image_size, params.image_size),
        seed=seed,
        heldout_fraction=params.heldout_fraction,
        splits=splits,
    )
    write_json(out_dir / MANIFEST_NAME, sealed(manifest.model_dump()))
    return manifest


def split_indices(source: Source, heldout_fraction: float, seed: int) -> dict[SplitName, Indices]:
    """The source's indices of each split, shuffled so that the classes mix.

    Where the data set has a split of its own, that is it. Else, of a class with n images
    round(heldout_fraction * n) are held out, at least one and at most n - 1, chosen by a
    permutation drawn from (seed, class).

    Raises:
        DataError: a class has no image to train on, or none to hold out.
    """
    own = source.heldout
    is_heldout = np.zeros(len(source), dtype=bool) if own is None else own
    for label, name in enumerate(source.classes):
        members = np.flatnonzero(source.labels == label)
        count = len(members)
        both = count >= 2 if own is None else len(np.unique(own[members])) == 2
        if not both:
            raise DataError(
                f"class '{name}' of data.source {source.name} has {counted(count, 'image')}"
                f"{', all in one split' * (count > 1)}, but needs one to train on and one to hold "
                "out: add images, or remove the class"
            )
        if own is None:
            order = permutation(count, seed, Purpose.HELDOUT, label)
            chosen = order[: num_heldout(count, heldout_fraction)]
            is_heldout[members[chosen]] = True
    splits = {"train": np.flatnonzero(~is_heldout), "heldout": np.flatnonzero(is_heldout)}
    return {
        name: splits[name][permutation(len(splits[name]), seed, Purpose.SHARDS, place)]
        for place, name in enumerate(SPLITS)
    }


class _Reader:
    """Reads a source's images one by one, counting them for `progress`."""

    def __init__(self, source: Source, progress: Callable[[int], object] | None) -> None:
        self.source, self.progress = source, progress
        self.done = 0

    def read(self, index: int) -> tuple[NDArray[np.uint8], int]:
        """(image, label) at an index."""
        found = self.source[index], int(self.source.labels[index])
        self._count()
        return found

    def more_errors(self, order: Indices) -> Iterator[ImageError]:
        """The errors of the images that come in this order after the one that failed."""
        self._count()
        for index in order[self.done :].tolist():
            try:
                self.read(index)
            except ImageError as error:
                self._count()
                yield error

    def _count(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done)


def _all_in_one(errors: list[ImageError], total: int) -> DataError:
    """The one error of all images that cannot be used, the first of them by name."""
    if len(errors) == 1:
        return errors[0]
    first = sorted(errors, key=lambda error: error.path)[:_NAMED]
    named = ", ".join(f"{error.path} {error.problem}" for error in first)
    more = f", and {len(errors) - _NAMED:,} more" if len(errors) > _NAMED else ""
    mends = "; ".join(dict.fromkeys(error.mend for error in first))
    return DataError(f"{len(errors):,} of {total:,} images cannot be used: {named}{more}: {mends}")


def _write_split(
    reader: _Reader, indices: Indices, params: DataParams, out_dir: Path, name: str
) -> Split:
    """The record of a split whose shards hold the images `indices`, in that order."""
    contents, labels = hashlib.sha256(), reader.source.labels
    shards: list[Shard] = []
    for start in range(0, len(indices), params.images_per_shard):
        part = indices[start : start + params.images_per_shard]
        path = out_dir / f"{name}-{len(shards):06d}.tar"
        with (  # no clock, user or machine is put into it, and no half file is left
            replacing(path) as temporary,
            temporary.open("wb") as stream,
            TarWriter(stream, user="", group="", mode=0o644, mtime=0) as tar,
        ):
            for index in part.tolist():
                image, label = reader.read(index)
                contents.update(label.to_bytes(8, "little") + image.tobytes())
                tar.write(_sample(index, image, label))
        size = path.stat().st_size
        shards.append(Shard(name=path.name, count=len(part), sha256=digest_file(path), bytes=size))
    return Split(
        count=len(indices),
        class_counts=np.bincount(labels[indices], minlength=len(reader.source.classes)).tolist(),
        contents=contents.hexdigest(),
        shards=shards,
    )


def _sample(index: int, image: NDArray[np.uint8], label: int) -> dict[str, Any]:
    """A sample for webdataset, which encodes by the names png and cls; the key is the index."""
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    return {"__key__": f"{index:09d}", "png": pixels, "cls": label}


def _remove_shards(out_dir: Path) -> None:
    """Remove what an earlier run left, the manifest first: without it the folder is unfinished."""
    (out_dir / MANIFEST_NAME).unlink(missing_ok=True)
    for pattern in ("train-*.tar", "heldout-*.tar", ".*.tmp"):
        for path in out_dir.glob(pattern):
            path.unlink()


def _remove(folder: Path) -> None:
    """Remove the shards of a run that did not end, if there are any."""
    if folder.is_dir():
        shutil.rmtree(folder)
