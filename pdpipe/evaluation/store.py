"""Finished cells on disk, and the parts of one on its way: what an evaluation goes on from."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pdpipe.errors import DamagedError, brief
from pdpipe.evaluation.measure import Measured
from pdpipe.tensor_files import load_tensors, save_tensors

_METADATA = "about"


@dataclass(frozen=True)
class Finished:
    """A finished cell: its figures, its first images, and what making them took.

    The store keeps one for each generation seed; the figures of several are their means.
    """

    steps: int
    w: float
    nfe: int  # network evaluations an image
    seconds: float  # of all seeds
    measured: Measured
    sheet: Tensor  # (columns * classes, C, H, W) uint8, a round of classes after the other
    paired: Tensor  # the first images before rounding, (p, C, H, W) float32
    seeds: int = 1  # generation seeds that it is measured at


@dataclass(frozen=True)
class Part:
    """The numbers of some images of a cell, and what making these took."""

    nfe: int
    seconds: float
    tensors: dict[str, Tensor]  # of Observed, `sheet` and `paired`

    @classmethod
    def joined(cls, parts: Iterable[Part], count: int) -> Part:
        """A cell's parts as one, each let go before the next is asked for.

        Args:
            parts: in the order of their images.
            count: the images of all: no tensor has more rows.
        """
        room: dict[str, Tensor] = {}
        rows: dict[str, int] = {}
        nfe, seconds = 0, 0.0
        for part in parts:
            nfe, seconds = part.nfe, seconds + part.seconds
            for name, tensor in part.tensors.items():
                if name not in room:  # memory that is not written to is not taken
                    room[name] = tensor.new_empty(count, *tensor.shape[1:])
                start = rows.get(name, 0)
                rows[name] = start + len(tensor)
                room[name][start : rows[name]] = tensor
        return cls(nfe, seconds, {name: room[name][: rows[name]] for name in room})


class CellStore:
    """A folder with the finished cells of one evaluation, and the parts of the one on its way.

    Each generation seed of a cell is kept by itself, counted by `repeat` from 0. A damaged file is
    said, and counts as none. What it holds belongs to one model, one way of measuring and one state
    of the code: another has another folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.earlier_seconds = 0.0  # that earlier runs took to make what was found here

    def cell(self, steps: int, w: float, repeat: int) -> Finished | None:
        """The finished cell at one seed, or None."""
        found = self._found(self._cell_path(steps, w, repeat))
        if found is None:
            return None
        about, tensors = found
        return Finished(
            steps,
            w,
            nfe=about["nfe"],
            seconds=about["seconds"],
            measured=about["measured"],
            sheet=tensors["sheet"],
            paired=tensors["paired"],
        )

    def finish(self, cell: Finished, repeat: int) -> None:
        """Keep a finished cell at one seed; its parts are not needed any more."""
        about = {"nfe": cell.nfe, "seconds": cell.seconds, "measured": cell.measured}
        tensors = {"sheet": cell.sheet, "paired": cell.paired}
        save_tensors(self._cell_path(cell.steps, cell.w, repeat), tensors, _METADATA, about)
        shutil.rmtree(self._parts(cell.steps, cell.w, repeat), ignore_errors=True)

    def part(self, steps: int, w: float, repeat: int, start: int) -> Part | None:
        """The part of a cell that begins at image `start`, or None."""
        found = self._found(self._parts(steps, w, repeat) / f"{start}.safetensors")
        return None if found is None else Part(found[0]["nfe"], found[0]["seconds"], found[1])

    def put_part(self, steps: int, w: float, repeat: int, start: int, part: Part) -> None:
        """Keep a part of a cell."""
        about = {"nfe": part.nfe, "seconds": part.seconds}
        path = self._parts(steps, w, repeat) / f"{start}.safetensors"
        save_tensors(path, part.tensors, _METADATA, about)

    def forget_others(self) -> None:
        """Remove what the folders beside this one hold: of other models, settings or code."""
        for other in self.folder.parent.glob("*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)

    def _cell_path(self, steps: int, w: float, repeat: int) -> Path:
        return self.folder / f"{steps}-{w!r}-{repeat}.safetensors"

    def _parts(self, steps: int, w: float, repeat: int) -> Path:
        return self.folder / f"{steps}-{w!r}-{repeat}"

    def _found(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        try:
            tensors, about = load_tensors(path, _METADATA, must_have_digest=True)
        except FileNotFoundError:
            return None
        except (DamagedError, KeyError) as error:
            reason = brief(error)
            print(f"{path} is damaged ({reason}): what it held is made again", file=sys.stderr)
            return None
        self.earlier_seconds += about["seconds"]
        return about, tensors
