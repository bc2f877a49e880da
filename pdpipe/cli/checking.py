"""What can be known before the first hour: the data, the machine, the files that settings name."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pdpipe import layout
from pdpipe.errors import ParamsError

if TYPE_CHECKING:
    from pdpipe.params import DataParams, Params
    from pdpipe.sources import Source

_WRITTEN = (
    layout.SHARDS, layout.TEACHER.parent, layout.RESULTS, layout.REPORTS, layout.WORK,
)  # fmt: skip


def check_here(params: Params) -> list[str]:
    """What the settings name is there and can be used; what there is to know beside, a note each.

    Raises:
        PdpipeError: something is not.
    """
    check_name(Path.cwd())
    for folder in _WRITTEN:
        _check_writable(folder)
    notes = []
    if params.data.source != "digits":
        from pdpipe.sources import open_source

        source = open_source(params.data)
        notes = source.notes()
        try:
            check_source(source, params)
        except ParamsError:
            say_notes(*notes)  # what is left out may be why the rest does not suffice
            raise
    if params.evaluation.extractor != "classifier":
        from pdpipe.evaluation.inception import check_weights

        check_weights(params.runtime.weights_file, params.evaluation.weights_sha256)
    _check_machine(params)  # the slowest last
    return notes


def check_source(source: Source, params: Params) -> None:
    """The evaluation can be made with the classes that there are; raises ParamsError."""
    from pdpipe.params import check_classes, check_shares

    classes = len(source.classes)
    check_classes(params.evaluation.extractor, classes)
    check_shares(params.evaluation.num_samples, classes if params.network.conditional else 1)


def say_notes(*notes: str) -> None:
    """Print what is worth knowing, and no error."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def say_source(data: DataParams, folder: Path = Path()) -> None:
    """Note where the images belong that do not come with the package."""
    place = folder / data.path
    if data.source.startswith("lsun"):
        say_notes(
            f"source {data.source} arrives in a later release; until then put its images in "
            f"{place}/<class>/ and set data.source to folder"
        )
    elif data.source not in ("digits", "folder"):
        say_notes(f"put the files of {data.source}, as they are published, into {place}")


def check_name(folder: Path) -> None:
    """A project's folder has a name that DVC and MLflow can write down; raises ParamsError."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(folder).decode("utf-8", "backslashreplace")
        raise ParamsError(
            f"the project's folder '{shown}' has a name that is not UTF-8, which DVC and MLflow "
            "cannot write down: rename it"
        ) from None


def _check_writable(folder: Path) -> None:
    """A file can be made in the folder, or where the folder would be made."""
    place = folder
    while not os.path.lexists(place):
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place, buffering=0) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise ParamsError(
            f"nothing can be written to {folder}, as stages have to ({place}: {error.strerror}): "
            "make it a folder of yours, on a disk with space"
        ) from None


def _check_machine(params: Params) -> None:
    runtime = params.runtime
    if runtime.compile or runtime.device != "auto":
        from pdpipe.runtime import check_compiler, resolve_device

        device = resolve_device(runtime.device)
        if runtime.compile:
            check_compiler(device)
