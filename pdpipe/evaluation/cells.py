"""Every cell of a model, a step count and a guidance weight: its images made, seen, and gone.

Images are made in parts; of each part a few numbers an image are kept, and the first images. A
finished part is on disk, so that an interrupted evaluation goes on where it was; so is a finished
cell, so that cells asked for later, at another w or another generation seed, are measured without
measuring these again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdpipe.data import to_uint8
from pdpipe.errors import EvaluationError, counted
from pdpipe.evaluation.measure import mean_over_seeds, measure
from pdpipe.evaluation.observe import Instruments, Observed, observe
from pdpipe.evaluation.sheets import sheet_mask
from pdpipe.evaluation.store import CellStore, Finished, Part
from pdpipe.models import DiffusionModel, Sampling
from pdpipe.params import EvaluationParams, check_shares
from pdpipe.progress import Progress
from pdpipe.seeds import derive_seed

PART = 2000  # most images in memory
PART_NUMBERS = 2**23  # most numbers of these: fewer large images


@dataclass(frozen=True)
class Maker:
    """Makes the images of one model's cells, and looks at them.

    Sample k of a generation seed starts from the same noise in every cell of every model.
    """

    model: DiffusionModel
    sampling: Sampling
    labels: Tensor  # (n,), of the images of each cell
    settings: EvaluationParams
    instruments: Instruments
    store: CellStore
    progress: Progress  # in network evaluations

    def cell(self, steps: int, w: float) -> Finished:
        """The finished cell over its generation seeds, from the store as far as it is there.

        The first images are those of the first seed.

        Raises:
            EvaluationError: the images are not finite, or cannot be measured.
        """
        seeds = self.settings.seeds_at(steps)
        found = [self._at_seed(steps, w, repeat) for repeat in range(seeds)]
        return replace(
            found[0],
            seconds=sum(cell.seconds for cell in found),
            measured=mean_over_seeds([cell.measured for cell in found]),
            seeds=seeds,
        )

    def _at_seed(self, steps: int, w: float, repeat: int) -> Finished:
        finished = self.store.cell(steps, w, repeat)
        if finished is not None:
            self.progress.skip(len(self.labels) * finished.nfe)
            return finished
        n = len(self.labels)
        starts = range(0, n, self._part_size)
        whole = Part.joined((self._part(steps, w, repeat, start) for start in starts), n)
        cell = Finished(
            steps,
            w,
            nfe=whole.nfe,
            seconds=whole.seconds,
            measured=measure(
                Observed.of(whole.tensors),
                self.instruments.reference,
                errors=repeat == 0,  # further seeds are there for their spread
            ),
            sheet=whole.tensors["sheet"],
            paired=whole.tensors["paired"],
        )
        self.store.finish(cell, repeat)
        return cell

    @property
    def _part_size(self) -> int:
        """How many images are made at a time: whole batches, if more than one."""
        channels, height, width = self.model.info.image_shape
        most = max(min(PART, PART_NUMBERS // (channels * height * width)), 1)
        return most - most % self.settings.batch_size or most

    def _part(self, steps: int, w: float, repeat: int, start: int) -> Part:
        kept = self.store.part(steps, w, repeat, start)
        if kept is not None:
            self.progress.skip(len(kept.tensors["features"]) * kept.nfe)
            return kept
        labels = self.labels[start : start + self._part_size]
        images, nfe, seconds = make_images(
            self.model,
            self.sampling,
            labels,
            steps,
            w,
            self.settings,
            self.progress.advance,
            first=start,
            repeat=repeat,
        )
        conditional = self.model.network.conditional
        rounded = to_uint8(images)
        seen = observe(rounded, labels if conditional else None, self.instruments, first=start)
        tensors = seen.tensors() | self._kept(images, rounded, repeat, start)
        part = Part(nfe, seconds, tensors)
        self.store.put_part(steps, w, repeat, start, part)
        return part

    def _kept(self, x: Tensor, rounded: Tensor, repeat: int, start: int) -> dict[str, Tensor]:
        """What stays of a part's images: of the first seed, the sheet's and the paired ones."""
        if repeat:
            return {"sheet": rounded[:0], "paired": x[:0]}
        shown = sheet_mask(len(self.labels), int(self.labels.max()) + 1)
        return {
            "sheet": rounded[shown[start : start + len(rounded)]],
            "paired": x[: max(self.settings.paired_samples - start, 0)],
        }


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
    repeat: int = 0,
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
        repeat: which of the cell's generation seeds, from 0; their noises are independent.

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
        seed=derive_seed(settings.seed, "evaluation", *[repeat] * (repeat > 0)),
        sampler=sampling.sampler(model.schedule, clip=settings.clip),
        grid=sampling.times(model.schedule, steps),
        batch_size=settings.batch_size,
        first=first,
        on_batch=count,
    )
    seconds = time.perf_counter() - started
    if not x.isfinite().all():
        raise EvaluationError(
            f"{model.info.name} makes images that are not finite at {counted(steps, 'step')}, "
            f"w = {w:g}: train it again, with a lower learning rate"
        )
    return x, nfe, seconds


def balanced_labels(num_samples: int, num_classes: int) -> Tensor:
    """The labels 0, 1, … K - 1, 0, 1, …: (num_samples,) int64, every class equally often.

    Raises:
        ParamsError: num_samples is not a multiple of the number of classes.
    """
    check_shares(num_samples, num_classes)
    return torch.arange(num_samples) % num_classes
