"""Every cell of a model, a step count and a guidance weight: its images made, seen, and gone.

Images are made in parts; of each part a few numbers an image are kept, and the first images. A
finished part is on disk, so that an interrupted evaluation goes on where it was; so is a finished
cell, so that cells asked for later, at another w, are measured without measuring these again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pdpipe.data import to_uint8
from pdpipe.errors import EvaluationError
from pdpipe.evaluation.measure import Measured, measure
from pdpipe.evaluation.observe import Instruments, observe
from pdpipe.evaluation.observed import Observed
from pdpipe.files import replacing
from pdpipe.models import DiffusionModel, Sampling
from pdpipe.params import EvaluationParams
from pdpipe.progress import Progress
from pdpipe.seeds import derive_seed

PART = 2000  # most images in memory
SHEET_COLUMNS = 8  # most images of a class on a sample sheet
SHEET_CLASSES = 10  # most classes on it


@dataclass(frozen=True)
class Finished:
    """A finished cell: its figures, its first images, and what making them took."""

    steps: int
    w: float
    nfe: int  # network evaluations an image
    seconds: float
    measured: Measured
    sheet: Tensor  # (columns * classes, C, H, W) uint8, a round of classes after the other
    paired: Tensor  # the first images before rounding, (p, C, H, W) float32


@dataclass(frozen=True)
class Maker:
    """Makes the images of one model's cells, and looks at them.

    Sample k starts from the same noise in every cell of every model.
    """

    model: DiffusionModel
    sampling: Sampling
    labels: Tensor  # (n,), of the images of each cell
    settings: EvaluationParams
    instruments: Instruments
    store: CellStore
    progress: Progress  # in network evaluations

    def cell(self, steps: int, w: float) -> Finished:
        """The finished cell, from the store as far as it is there.

        Raises:
            EvaluationError: the images are not finite, or cannot be measured.
        """
        finished = self.store.cell(steps, w)
        if finished is not None:
            self.progress.skip(len(self.labels) * finished.nfe)
            return finished
        parts = [self._part(steps, w, start) for start in range(0, len(self.labels), PART)]
        cell = Finished(
            steps,
            w,
            nfe=parts[0].nfe,
            seconds=sum(part.seconds for part in parts),
            measured=measure(
                Observed.of([part.tensors for part in parts]), self.instruments.reference
            ),
            sheet=torch.cat([part.tensors["sheet"] for part in parts]),
            paired=torch.cat([part.tensors["paired"] for part in parts]),
        )
        self.store.finish(cell)
        return cell

    def _part(self, steps: int, w: float, start: int) -> _Part:
        kept = self.store.part(steps, w, start)
        if kept is not None:
            self.progress.skip(len(kept.tensors["features"]) * kept.nfe)
            return kept
        labels = self.labels[start : start + PART]
        images, nfe, seconds = make_images(
            self.model,
            self.sampling,
            labels,
            steps,
            w,
            self.settings,
            self.progress.advance,
            first=start,
        )
        conditional = self.model.network.config.num_classes > 0
        rounded = to_uint8(images)
        shown = sheet_mask(len(self.labels), int(self.labels.max()) + 1)
        seen = observe(rounded, labels if conditional else None, self.instruments, first=start)
        tensors = seen.tensors() | {
            "sheet": rounded[shown[start : start + PART]],
            "paired": images[: max(self.settings.paired_samples - start, 0)],
        }
        part = _Part(nfe, seconds, tensors)
        self.store.put_part(steps, w, start, part)
        return part


@dataclass(frozen=True)
class _Part:
    nfe: int
    seconds: float
    tensors: dict[str, Tensor]  # of Observed, `sheet` and `paired`


def make_images(
    model: DiffusionModel,
    sampling: Sampling,
    labels: Tensor,
    steps: int,
    w: float,
    settings: EvaluationParams,
    on_evaluations: Callable[[int], None],
    *,
    first: int = 0,
) -> tuple[Tensor, int, float]:
    """Images of a cell: (x (n, C, H, W) float32, network evaluations of each, seconds).

    Args:
        model: the teacher or a student.
        sampling: the sampler, its setting and its grid.
        labels: of the images, (n,).
        steps, w: the cell.
        settings: batch size, seed and clipping.
        on_evaluations: called with the network evaluations of each finished batch.
        first: the index of the first image in its cell.

    Raises:
        EvaluationError: the images are not finite.
    """
    nfe = 0  # as the sampler counts it

    def count(images: int, evaluations: int) -> None:
        nonlocal nfe
        nfe = evaluations
        on_evaluations(images * evaluations)

    started = time.perf_counter()
    x = model.sample(
        labels,
        w=w,
        seed=derive_seed(settings.seed, "evaluation"),
        sampler=sampling.sampler(model.schedule, clip=settings.clip),
        grid=sampling.times(model.schedule, steps),
        batch_size=settings.batch_size,
        first=first,
        on_batch=count,
    )
    seconds = time.perf_counter() - started
    if not x.isfinite().all():
        raise EvaluationError(
            f"{model.info.name} makes images that are not finite at {steps} steps, w = {w:g}: "
            "train it again, with a lower learning rate"
        )
    return x, nfe, seconds


class CellStore:
    """A folder with the finished cells of one evaluation, and the parts of the one on its way.

    A damaged file counts as none. What it holds belongs to one model, one way of measuring and one
    state of the code: another has another folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def cell(self, steps: int, w: float) -> Finished | None:
        """The finished cell, or None."""
        found = _read(self._cell_path(steps, w))
        if found is None:
            return None
        about, tensors = found
        try:
            return Finished(steps, w, about["nfe"], about["seconds"], about["measured"], **tensors)
        except (KeyError, TypeError):
            return None

    def finish(self, cell: Finished) -> None:
        """Keep a finished cell; its parts are not needed any more."""
        about = {"nfe": cell.nfe, "seconds": cell.seconds, "measured": cell.measured}
        tensors = {"sheet": cell.sheet, "paired": cell.paired}
        _write(self._cell_path(cell.steps, cell.w), about, tensors)
        shutil.rmtree(self._parts(cell.steps, cell.w), ignore_errors=True)

    def part(self, steps: int, w: float, start: int) -> _Part | None:
        """The part of a cell that begins at image `start`, or None."""
        found = _read(self._parts(steps, w) / f"{start}.safetensors")
        if found is None:
            return None
        about, tensors = found
        return _Part(about["nfe"], about["seconds"], tensors)

    def put_part(self, steps: int, w: float, start: int, part: _Part) -> None:
        """Keep a part of a cell."""
        about = {"nfe": part.nfe, "seconds": part.seconds}
        _write(self._parts(steps, w) / f"{start}.safetensors", about, part.tensors)

    def forget_others(self) -> None:
        """Remove what the folders beside this one hold: of other models, settings or code."""
        for other in self.folder.parent.glob("*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)

    def _cell_path(self, steps: int, w: float) -> Path:
        return self.folder / f"{steps}-{w!r}.safetensors"

    def _parts(self, steps: int, w: float) -> Path:
        return self.folder / f"{steps}-{w!r}"


def _write(path: Path, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(contiguous, temporary, {"about": json.dumps(about)})


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def balanced_labels(num_samples: int, num_classes: int) -> Tensor:
    """The labels 0, 1, … K - 1, 0, 1, …: (num_samples,) int64, every class equally often.

    Raises:
        EvaluationError: num_samples is not a multiple of the number of classes.
    """
    if num_samples % num_classes:
        nearest = max(num_samples // num_classes, 1) * num_classes
        raise EvaluationError(
            f"evaluation.num_samples is {num_samples}, which {num_classes} classes cannot share "
            f"equally: make it a multiple of {num_classes}, such as {nearest}"
        )
    return torch.arange(num_samples) % num_classes


def sheet_layout(num_samples: int, num_classes: int) -> tuple[int, int]:
    """(classes, columns) of a sample sheet."""
    return min(num_classes, SHEET_CLASSES), min(num_samples // num_classes, SHEET_COLUMNS)


def sheet_mask(num_samples: int, num_classes: int) -> Tensor:
    """Which images of a cell, labelled 0, 1, … K - 1, 0, 1, …, are on its sheet; (n,) bool."""
    classes, columns = sheet_layout(num_samples, num_classes)
    index = torch.arange(num_samples)
    return (index % num_classes < classes) & (index // num_classes < columns)
