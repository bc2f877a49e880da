"""Where images come from: every source has classes, labels known in advance, and random access."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pdpipe.data.images import read_image
from pdpipe.errors import DataError, ParamsError
from pdpipe.params import DataParams

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
)


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

    Hidden files, sub-folders of a class and files without an image's suffix are left out; links
    are followed, and one that leads nowhere is an unreadable image.
    """

    def __init__(self, root: Path, image_size: int, channels: int) -> None:
        folders = _class_folders(root)
        names = [_image_names(folder) for folder in folders]
        self.name = "folder"
        self.classes = [folder.name for folder in folders]
        self.labels = np.repeat(np.arange(len(names)), [len(group) for group in names])
        self._folders = folders
        self._names = [name for group in names for name in group]
        self._image_size, self._channels = image_size, channels

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Image `index` as uint8 (H, W, C); raises `DataError`, see `read_image`."""
        path = self._folders[self.labels[index]] / self._names[index]
        return read_image(path, self._image_size, self._channels)


def open_source(params: DataParams) -> Source:
    """The source that `data.source` names, ready to be read.

    Raises:
        ParamsError: other `data` settings do not fit the source.
        DataError: the source arrives in a later release, or is not there.
    """
    if params.source == "digits":
        if (params.image_size, params.channels) != (8, 1):
            raise ParamsError(
                f"data.image_size is {params.image_size} and data.channels {params.channels}, but "
                "the images of data.source digits are 8x8 and grey: set them to 8 and 1"
            )
        return DigitsSource()
    if params.source == "folder":
        return FolderSource(Path(params.path).expanduser(), params.image_size, params.channels)
    raise DataError(
        f"data.source {params.source} arrives in a later release: until then save its images "
        "as path/class/name.png and set data.source to folder and data.path to that path"
    )


def _class_folders(root: Path) -> list[Path]:
    """The class folders of an image folder, sorted by name."""
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise DataError(
            f"data.path {root} {problem}: set it to the folder of class/name.png, such as data/raw"
        )
    folders = [p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")]
    if not folders:
        raise DataError(
            f"data.path {root} has no class folders: put the images in {root}/class/name.png, one "
            "folder a class"
        )
    return sorted(folders, key=lambda folder: folder.name)


def _image_names(folder: Path) -> list[str]:
    """The names of the image files directly in a class folder, sorted."""
    names = sorted(p.name for p in folder.iterdir() if _is_image_file(p))
    if not names:
        raise DataError(
            f"the class folder {folder} has no images directly in it "
            f"({', '.join(sorted(IMAGE_SUFFIXES))}): add some, or remove the folder"
        )
    return names


def _is_image_file(path: Path) -> bool:
    """Whether `path` is a file with an image's name, or a dangling link with one."""
    if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    return path.is_file() or (path.is_symlink() and not path.exists())
