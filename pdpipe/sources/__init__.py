"""From people's images to shards: what stage `prepare` needs, and no other.

`open_source` finds the images that the params name; `write_shards` writes them, split and shuffled.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pdpipe.errors import DataError
from pdpipe.params import DataParams, check_digits
from pdpipe.sources.arrays import ArraysSource
from pdpipe.sources.cifar import CifarSource
from pdpipe.sources.downsampled import DownsampledSource
from pdpipe.sources.folder import FolderSource
from pdpipe.sources.idx import IdxSource
from pdpipe.sources.shards import write_shards
from pdpipe.sources.source import DigitsSource, Source

__all__ = ["Source", "open_source", "write_shards"]


_READERS: dict[str, Callable[[Path, DataParams], Source]] = {
    "digits": lambda path, params: DigitsSource(),
    "folder": FolderSource,
    "cifar10": CifarSource,
    "cifar100": CifarSource,
    "idx": IdxSource,
    "npy": ArraysSource,
    "imagenet32": DownsampledSource,
    "imagenet64": DownsampledSource,
}


def open_source(params: DataParams) -> Source:
    """The source that `data.source` names, ready to be read.

    Raises:
        ParamsError: other `data` settings do not fit the source.
        DataError: the source is not there, is damaged, or arrives in a later release.
    """
    check_digits(params)
    if params.source in _READERS:
        return _READERS[params.source](Path(params.path), params)
    raise DataError(
        f"data.source {params.source} arrives in a later release: until then save its images "
        "as path/class/name.png and set data.source to folder and data.path to that path"
    )
