"""A folder of images, in a folder for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pdpipe.params import DataParams
from pdpipe.sources.images import read_image
from pdpipe.sources.listing import class_folders, what_is_left_out
from pdpipe.sources.source import Source


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
