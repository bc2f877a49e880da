"""Where images come from: every source has classes, labels known in advance, and random access."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pdpipe.data.folders import class_folders, what_is_left_out
from pdpipe.data.images import read_image
from pdpipe.errors import DataError
from pdpipe.params import DataParams, check_digits


class Source(Protocol):
    """Labelled images of one size; subclasses set the three attributes and `__getitem__`.

    Labels must be known without decoding an image, and images be reachable in any order: that is
    what lets a data set of any size be split by class and shuffled while one image is in memory.
    """

    name: str  # as in params.yaml
    classes: list[str]  # names, by label
    labels: NDArray[np.int64]  # (n,), each in 0 .. len(classes) - 1

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image `index` as uint8 (H, W, C); raises `DataError` when it cannot be read."""
        ...

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def notes(self) -> list[str]:
        """What the user should know of the source before it is read, a sentence each."""
        return []

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], int]]:
        """Every (image, label), in the order of the source."""
        for index, label in enumerate(self.labels):
            yield self[index], int(label)


class DigitsSource(Source):
    """scikit-learn's 1797 handwritten digits, 8x8 grey; they come with the package, no download."""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits  # slow to import, and only needed here

        digits = load_digits()
        self.name = "digits"
        self.classes = [str(name) for name in digits.target_names]
        self.labels = digits.target.astype(np.int64)
        self._images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # stored as 0 .. 16

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Digit `index` as uint8 (8, 8, 1)."""
        return self._images[index, :, :, None]  # type: ignore[no-any-return]


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


def open_source(params: DataParams) -> Source:
    """The source that `data.source` names, ready to be read.

    Raises:
        ParamsError: other `data` settings do not fit the source.
        DataError: the source arrives in a later release, or is not there.
    """
    check_digits(params)
    if params.source == "digits":
        return DigitsSource()
    if params.source == "folder":
        return FolderSource(Path(params.path), params)
    raise DataError(
        f"data.source {params.source} arrives in a later release: until then save its images "
        "as path/class/name.png and set data.source to folder and data.path to that path"
    )
