"""A folder of images, in a folder for each class: what is in it, and what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pdpipe.errors import DataError, counted
from pdpipe.params import DataParams
from pdpipe.sources.images import image_formats, read_image
from pdpipe.sources.source import Source

# What file servers, archives and systems put beside a user's own folders, and into them.
_NO_CLASSES = {
    "@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found",
}  # fmt: skip
_NO_FILES = {"thumbs.db", "desktop.ini"}


class FolderSource(Source):
    """The images at `root/class/name.png` (or .jpg, .webp, ...); classes and files in name order.

    Hidden files, sub-folders of a class and files without an image's suffix are left out, and all
    but the hidden ones are counted for `notes`. What systems put beside images is no class. Links
    are followed, and one that leads nowhere is an unreadable image.
    """

    def __init__(self, root: Path, params: DataParams) -> None:
        folders = class_folders(root)
        self.name = "folder"
        self.classes = [folder.path.name for folder in folders]
        counts = [len(folder.images) for folder in folders]
        self.labels = np.repeat(np.arange(len(folders)), counts)
        self._folders = folders
        self._names = [name for folder in folders for name in folder.images]
        self._root, self._params = root, params

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image `index` as uint8 (H, W, C); raises `ImageError`, see `read_image`."""
        path = self._folders[self.labels[index]].path / self._names[index]
        p = self._params
        return read_image(path, p.image_size, p.channels, p.sixteen_bit)

    def notes(self) -> list[str]:
        """What lies in the folder and is left out, counted by suffix, as one sentence."""
        parts = what_is_left_out(self._root, self._folders)
        return [f"{self._root} has what is left out: {', '.join(parts)}"] if parts else []


@dataclass
class ClassFolder:
    """A class: its images by name, and what else is there."""

    path: Path
    images: list[str] = field(default_factory=list)  # sorted
    others: Counter[str] = field(default_factory=Counter)  # by suffix, "" for none
    below: Counter[str] = field(default_factory=Counter)  # images, by the sub-folder


def class_folders(root: Path) -> list[ClassFolder]:
    """The class folders of an image folder, sorted by name, each with its images.

    Raises:
        DataError: there are none, one has no images, or a name is not UTF-8.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"data.path {root} {problem}: set it to the folder of class/name.png")
    entries = list(_entries(root))
    folders = [Path(e.path) for e in entries if e.is_dir()]
    if not folders:
        images = sum(map(_is_image, entries))
        put = f"move its {counted(images, 'image')}" if images else "put the images"
        raise DataError(
            f"data.path {root} has no class folders: {put} in {root}/class/name.png, one folder a "
            "class"
        )
    found = [_class_folder(folder) for folder in sorted(folders, key=lambda path: path.name)]
    for folder in found:
        if not folder.images:
            raise _empty(folder)
    return found


def what_is_left_out(root: Path, folders: list[ClassFolder]) -> list[str]:
    """Each kind of thing that is in the folder and no image of a class, with its count."""
    others = sum((folder.others for folder in folders), Counter[str]())
    parts = [
        f"{count} {suffix}" if suffix else f"{counted(count, 'file')} without a suffix"
        for suffix, count in others.most_common()
    ]
    below = sum((folder.below for folder in folders), Counter[str]())
    if below:
        parts.append(
            f"{counted(below.total(), 'image')} in folders inside a class (such as {min(below)})"
        )
    beside = sum(map(_is_image, _entries(root)))
    if beside:
        parts.append(f"{counted(beside, 'image')} beside the class folders")
    return parts


def _class_folder(path: Path) -> ClassFolder:
    found = ClassFolder(path)
    for entry in _entries(path):
        if _is_image(entry):
            found.images.append(entry.name)
        elif entry.is_dir():
            images = sum(map(_is_image, _entries(Path(entry.path))))
            found.below.update({entry.path: images} if images else {})
        else:
            found.others[_suffix(entry.name)] += 1
    found.images.sort()
    return found


def _empty(folder: ClassFolder) -> DataError:
    where = f"the class folder {folder.path} has no images directly in it"
    if folder.below:
        return DataError(
            f"{where}, but {counted(folder.below.total(), 'image')} one level deeper, such as in "
            f"{min(folder.below)}: move them up, or set data.path to {folder.path} if that holds "
            "the classes"
        )
    suffixes = ", ".join(sorted(image_formats()))
    others = [s or "files without a suffix" for s, _ in folder.others.most_common(3)]
    instead = f" but {', '.join(others)}" if others else ""
    return DataError(f"{where}{instead} ({suffixes}): add some, or remove the folder")


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder, but for hidden things and what systems put there."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name in _NO_CLASSES or name.lower() in _NO_FILES:
                continue
            if any("\ud800" <= letter <= "\udfff" for letter in name):
                shown = os.fsencode(name).decode("utf-8", "backslashreplace")
                raise DataError(f"{folder} holds the name '{shown}', not UTF-8: rename it")
            yield entry


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file with an image's name, or a dangling link with one."""
    if _suffix(entry.name) not in image_formats():
        return False
    return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()
