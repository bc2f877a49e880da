"""Snapshots: a killed training goes on where it was, and a finished one is not done twice.

They lie outside every DVC output, under `<root>/<stage>/<key>/`, with `key` a digest of everything
that determines the result: changed params, data, teacher or code have another key and start afresh.
`state.pt` is of an unfinished training. `finished.safetensors` takes its place at the end: the
averaged weights alone. DVC deletes the outputs of a stage that it has not recorded, because it was
killed first; the stage's next run then takes its result from there. It goes when DVC has it.
Each file carries a digest, and a damaged one is never loaded.
"""

from __future__ import annotations

import io
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdpipe.errors import DamagedError, brief
from pdpipe.files import read_sealed, write_sealed, write_text
from pdpipe.tensor_files import load_tensors, save_tensors

KEEP_SECONDS = 30 * 24 * 3600.0
_STATE, _FINISHED, _OUTPUTS = "state.pt", "finished.safetensors", "outputs.md5"
_METADATA = "finished"


class Snapshots:
    """The snapshots of one run."""

    def __init__(self, root: Path, stage: str, key: str) -> None:
        self.stage = stage
        self.folder = root / stage / key[:32]

    def save(self, state: dict[str, Any]) -> None:
        """Replace the snapshot by `state` (tensors and plain values), atomically."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_sealed(self.folder / _STATE, buffer.getbuffer())

    def load(self) -> dict[str, Any] | None:
        """The last snapshot, or None; one that cannot be read is said and left aside."""
        path = self.folder / _STATE
        try:
            content = io.BytesIO(read_sealed(path))
            state: dict[str, Any] = torch.load(content, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as error:  # any damage means the same: start afresh
            self._say_damaged(path, error)
            return None
        return state

    def save_finished(self, weights: Mapping[str, Tensor], about: dict[str, Any]) -> None:
        """Keep a finished training's weights, and plain values, instead of its last snapshot."""
        save_tensors(self.folder / _FINISHED, weights, _METADATA, about)
        (self.folder / _STATE).unlink(missing_ok=True)

    def load_finished(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `save_finished` kept, or None; likewise."""
        path = self.folder / _FINISHED
        try:
            return load_tensors(path, _METADATA, must_have_digest=True)
        except FileNotFoundError:
            return None
        except (DamagedError, KeyError) as error:
            self._say_damaged(path, error)
            return None

    def note_outputs(self, md5s: Iterable[str]) -> None:
        """Note what became of the finished training: the md5 of each output, as in dvc.lock."""
        write_text(self.folder / _OUTPUTS, "".join(f"{md5}\n" for md5 in md5s))

    def _say_damaged(self, path: Path, error: Exception) -> None:
        print(
            f"{self.stage}: its snapshot {path} is damaged ({brief(error, 80)}); starting afresh",
            file=sys.stderr,
        )


def forget_recorded(root: Path, is_recorded: Callable[[str, float], bool]) -> None:
    """Remove the runs below `root` whose outputs are all recorded, and those left for long.

    Args:
        root: the folder of all stages' snapshots.
        is_recorded: whether a file of this md5 was, since this time in seconds since the epoch.
    """
    for folder in root.glob("*/*"):
        noted = folder / _OUTPUTS
        text = noted.read_bytes().decode(errors="replace") if noted.is_file() else ""
        md5s = text.split()  # damaged ones are of no file: the run is kept
        recorded = bool(md5s) and all(is_recorded(md5, noted.stat().st_mtime) for md5 in md5s)
        if recorded or time.time() - _last_change(folder) > KEEP_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _last_change(folder: Path) -> float:
    return max((path.stat().st_mtime for path in folder.glob("*")), default=0.0)
