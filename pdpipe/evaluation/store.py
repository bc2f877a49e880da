"""Finished cells on disk, and the parts of one on its way: what an evaluation goes on from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pdpipe.evaluation.measure import Measured
from pdpipe.files import parse_json, replacing


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

    Each generation seed of a cell is kept by itself, counted by `repeat` from 0. A damaged file
    counts as none. What it holds belongs to one model, one way of measuring and one state of the
    code: another has another folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def cell(self, steps: int, w: float, repeat: int) -> Finished | None:
        """The finished cell at one seed, or None."""
        found = _read(self._cell_path(steps, w, repeat))
        if found is None:
            return None
        about, tensors = found
        try:
            return Finished(
                steps,
                w,
                nfe=about["nfe"],
                seconds=about["seconds"],
                measured=about["measured"],
                sheet=tensors["sheet"],
                paired=tensors["paired"],
            )
        except (KeyError, TypeError):
            return None

    def finish(self, cell: Finished, repeat: int) -> None:
        """Keep a finished cell at one seed; its parts are not needed any more."""
        about = {"nfe": cell.nfe, "seconds": cell.seconds, "measured": cell.measured}
        tensors = {"sheet": cell.sheet, "paired": cell.paired}
        _write(self._cell_path(cell.steps, cell.w, repeat), about, tensors)
        shutil.rmtree(self._parts(cell.steps, cell.w, repeat), ignore_errors=True)

    def part(self, steps: int, w: float, repeat: int, start: int) -> Part | None:
        """The part of a cell that begins at image `start`, or None."""
        found = _read(self._parts(steps, w, repeat) / f"{start}.safetensors")
        if found is None:
            return None
        about, tensors = found
        return Part(about["nfe"], about["seconds"], tensors)

    def put_part(self, steps: int, w: float, repeat: int, start: int, part: Part) -> None:
        """Keep a part of a cell."""
        about = {"nfe": part.nfe, "seconds": part.seconds}
        _write(self._parts(steps, w, repeat) / f"{start}.safetensors", about, part.tensors)

    def forget_others(self) -> None:
        """Remove what the folders beside this one hold: of other models, settings or code."""
        for other in self.folder.parent.glob("*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)

    def _cell_path(self, steps: int, w: float, repeat: int) -> Path:
        return self.folder / f"{_name(steps, w, repeat)}.safetensors"

    def _parts(self, steps: int, w: float, repeat: int) -> Path:
        return self.folder / _name(steps, w, repeat)


def _name(steps: int, w: float, repeat: int) -> str:
    return f"{steps}-{w!r}-{repeat}"


def _write(path: Path, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(contiguous, temporary, {"about": json.dumps(about)})


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    try:
        with safe_open(path, framework="pt") as file:
            about = parse_json(file.metadata()["about"])
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
