"""What is in a folder of images: what settings for them depend on, and what cannot be used."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pdpipe.errors import DataError, ProjectError, counted
from pdpipe.progress import Progress
from pdpipe.sources.folder import class_folders, what_is_left_out
from pdpipe.sources.images import ImageError, decoded

LOOK_SECONDS = 120.0  # for the images of a large folder; the others are taken to be like these
_GREY_SPREAD = 8  # of 255: what the compression of a grey image adds between its channels


@dataclass(frozen=True)
class Look:
    """What one image is like, as far as settings depend on it."""

    width: int
    height: int
    colour: bool  # not only shades of grey
    sixteen_bit: bool  # of grey

    @property
    def side(self) -> int:
        """Of the central square."""
        return min(self.width, self.height)


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """The images of a folder, by class, and what the looked-at ones are like."""

    root: Path
    images: dict[str, list[Path]]  # by class, in the order of names; all that are there
    looks: dict[Path, Look]
    broken: dict[Path, str]  # those that cannot be read, with the reason
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """The images that are there, usable or not."""
        return sum(map(len, self.images.values()))

    @property
    def looked_at(self) -> int:
        """How many were opened."""
        return len(self.looks) + len(self.broken)

    @property
    def sides(self) -> list[int]:
        """The side of the central square of each image, the smallest first."""
        return sorted(look.side for look in self.looks.values())

    @property
    def least_side(self) -> int:
        """The largest side of which two images are left in each class."""
        seen = [
            sorted(self.looks[path].side for path in paths if path in self.looks)
            for paths in self.images.values()
        ]
        return min((sides[-2] for sides in seen if len(sides) > 1), default=self.sides[-1])

    def usable(self, image_size: int) -> dict[str, list[Path]]:
        """By class, what can be read and is not smaller."""
        return {
            name: [
                path
                for path in paths
                if path not in self.broken
                and (path not in self.looks or self.looks[path].side >= image_size)
            ]
            for name, paths in self.images.items()
        }


def survey(root: Path) -> Survey:
    """Look at a folder of images, `root/class/name.png`; of a large one, at what time allows.

    Raises:
        DataError: there are no class folders, or one is empty.
        ProjectError: there is one class, or one of which fewer than two images can be read.
    """
    try:
        folders = class_folders(root)
    except DataError as error:
        raise ProjectError(str(error).replace("data.path", "--images", 1)) from None
    images = {f.path.name: [f.path / name for name in f.images] for f in folders}
    if len(images) < 2:
        raise ProjectError(
            f"--images {root} has one class folder, {next(iter(images))}, and the metrics need two "
            "classes or more: sort the images, or make a project with `--preset lsun-church128`, "
            "which needs a file of Inception weights instead"
        )
    looks, broken = _look(path for paths in images.values() for path in paths)
    if not looks:
        reason = next(iter(broken.values()))
        raise ProjectError(f"no image in --images {root} can be read (the first {reason})")
    for name, paths in images.items():
        readable = sum(path not in broken for path in paths)
        if readable < 2:
            raise ProjectError(
                f"--images {root} has {counted(readable, 'image')} of class {name} that can be "
                "read, and needs one to train on and one to hold out: add some, or remove the "
                "folder"
            )
    left_out = what_is_left_out(root, folders)
    notes = [f"{root} has what is left out: {', '.join(left_out)}"] if left_out else []
    return Survey(root=root, images=images, looks=looks, broken=broken, notes=notes)


def look_at(path: Path) -> Look:
    """What the image at `path` is like; it is decoded as stage `prepare` does.

    Raises:
        ImageError: the file is not an image, is damaged, or has more than 8 bits of what is not
            grey.
    """
    try:
        image, sixteen_bit = decoded(path, 3, "refuse"), False
    except ImageError:
        image, sixteen_bit = decoded(path, 3, "scale"), True
    small = np.asarray(image.reduce(max(min(image.size) // 64, 1)))
    spread = int(np.ptp(small.astype(np.int16), axis=2).max())
    return Look(image.width, image.height, spread > _GREY_SPREAD, sixteen_bit)


def _look(paths: Iterable[Path]) -> tuple[dict[Path, Look], dict[Path, str]]:
    """What images are like, in an order that mixes the classes, until the time is over."""
    order = list(paths)
    random.Random(0).shuffle(order)
    looks: dict[Path, Look] = {}
    broken: dict[Path, str] = {}
    started = time.monotonic()
    with Progress("looking at the images", len(order), "images") as progress:
        for path in order:
            try:
                looks[path] = look_at(path)
            except ImageError as error:
                broken[path] = error.problem
            progress.advance()
            if looks and time.monotonic() - started > LOOK_SECONDS:
                break
    return looks, broken


def place(found: Survey, image_size: int, target: Path, *, copy: bool) -> str:
    """Let `target` hold the images that can be used, and say in words what it is.

    Without anything to leave out it is a link to their folder; else a folder of links, one for
    each image. With `copy` these are copies. It appears when it is complete.

    Raises:
        ProjectError: the disk has no space, or takes no links.
    """
    usable = found.usable(image_size)
    count = sum(map(len, usable.values()))
    unfinished = target.with_name(f".{target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if count == found.total and not copy:
            target.symlink_to(found.root.resolve(), target_is_directory=True)
            return f"a link to {found.root.resolve()}"
        for name, paths in usable.items():
            (unfinished / name).mkdir(parents=True)
            for path in paths:
                place = unfinished / name / path.name
                if copy:
                    shutil.copyfile(path, place)
                else:
                    place.symlink_to(path.resolve())
        unfinished.rename(target)
    except OSError as error:
        raise ProjectError(
            f"{target} cannot hold the images ({error.strerror}), but the rest of the project is "
            f"made: put their class folders into {target} yourself"
        ) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    what = "copies" if copy else "links"
    return f"{what} of {count:,} of {counted(found.total, 'image')}"


def left_out(found: Survey, image_size: int) -> str:
    """What `place` leaves out, in words; empty for nothing."""
    small = [path for path, look in found.looks.items() if look.side < image_size]
    parts = []
    for paths, why in (
        ([*found.broken], "cannot be read"),
        (small, f"{'is' if len(small) == 1 else 'are'} smaller than {image_size} pixels"),
    ):
        if paths:
            first = os.path.relpath(min(paths), found.root)
            parts.append(f"{counted(len(paths), 'image')} that {why} (such as {first})")
    return " and ".join(parts)
