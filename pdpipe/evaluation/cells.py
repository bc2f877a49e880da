"""Every cell of a model, a step count and a guidance weight: its images made, then measured.

A finished cell is kept in a working folder until its stage succeeds, so that an interrupted
evaluation goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pdpipe.data import to_uint8
from pdpipe.errors import EvaluationError
from pdpipe.files import replacing
from pdpipe.models import DiffusionModel, Sampling
from pdpipe.params import EvaluationParams
from pdpipe.seeds import derive_seed

SHEET_COLUMNS = 8  # most images of a class on a sample sheet
SHEET_CLASSES = 10  # most classes on it


@dataclass(frozen=True)
class Images:
    """The images of one cell and what making them took."""

    steps: int
    w: float
    nfe: int  # network evaluations an image
    images: Tensor  # (n, C, H, W) uint8
    paired: Tensor  # the first images before rounding, (p, C, H, W) float32
    seconds: float


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


def make_images(
    model: DiffusionModel,
    sampling: Sampling,
    labels: Tensor,
    steps: int,
    w: float,
    settings: EvaluationParams,
    on_evaluations: Callable[[int], None],
) -> Images:
    """The images of one cell; sample k starts from the same noise in every cell of every model.

    Args:
        model: the teacher or a student.
        sampling: the sampler, its setting and its grid.
        labels: of the images, (n,).
        steps, w: the cell.
        settings: batch size, seed, clipping and the number of paired samples.
        on_evaluations: called with the network evaluations of each finished batch.

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
        on_batch=count,
    )
    seconds = time.perf_counter() - started
    if not x.isfinite().all():
        raise EvaluationError(
            f"{model.info.name} makes images that are not finite at {steps} steps, w = {w:g}: "
            "train it again, with a lower learning rate"
        )
    return Images(steps, w, nfe, to_uint8(x), x[: settings.paired_samples].clone(), seconds)


class CellStore:
    """A working folder with the finished cells of one evaluation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, steps: int, w: float) -> Images | None:
        """The finished cell, or None; a damaged file counts as none."""
        try:
            with safe_open(self._path(steps, w), framework="pt") as file:
                about = json.loads(file.metadata()["cell"])
                tensors = {key: file.get_tensor(key) for key in ("images", "paired")}
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None
        return Images(steps, w, about["nfe"], **tensors, seconds=about["seconds"])

    def put(self, cell: Images) -> None:
        """Keep a finished cell."""
        about = json.dumps({"nfe": cell.nfe, "seconds": cell.seconds})
        with replacing(self._path(cell.steps, cell.w)) as temporary:
            save_file({"images": cell.images, "paired": cell.paired}, temporary, {"cell": about})

    def _path(self, steps: int, w: float) -> Path:
        return self.folder / f"{steps}-{w!r}.safetensors"


def sheet_layout(num_samples: int, num_classes: int) -> tuple[int, int]:
    """(classes, columns) of a sample sheet."""
    return min(num_classes, SHEET_CLASSES), min(num_samples // num_classes, SHEET_COLUMNS)


def sheet(cells: list[Images], num_classes: int) -> Tensor:
    """The first images of each class at each w: (num_w, classes, columns, C, H, W) uint8."""
    classes, columns = sheet_layout(len(cells[0].images), num_classes)
    shape = cells[0].images.shape[1:]
    picked = [
        cell.images[: columns * num_classes].view(columns, num_classes, *shape)[:, :classes]
        for cell in cells
    ]
    return torch.stack(picked).transpose(1, 2).contiguous()


def save_samples(
    path: Path,
    cells: list[Images],
    classes: list[str],
    paired: list[Images] | None = None,
) -> None:
    """Write a model's sample sheets, one tensor `sheet/<steps>` for each step count.

    Args:
        path: the file.
        cells: every cell of the model, the same weights w at each step count.
        classes: their names, in the order of the labels.
        paired: the cells whose unrounded first images the students are compared with; they are
            stored as `paired`, (num_w, p, C, H, W) float32.
    """
    steps = list(dict.fromkeys(cell.steps for cell in cells))
    tensors = {f"sheet/{n}": sheet([c for c in cells if c.steps == n], len(classes)) for n in steps}
    if paired is not None:
        tensors["paired"] = torch.stack([cell.paired for cell in paired])
    shown, columns = sheet_layout(len(cells[0].images), len(classes))
    about = {
        "w": [cell.w for cell in cells if cell.steps == steps[0]],
        "classes": classes[:shown],
        "per_class": columns,
    }
    with replacing(path) as temporary:
        save_file(tensors, temporary, {"sheet": json.dumps(about)})


def load_paired(path: Path, weights: list[float]) -> dict[float, Tensor]:
    """The teacher's unrounded images at each w, (p, C, H, W), as `save_samples` wrote them.

    Raises:
        EvaluationError: the file is missing, damaged, or lacks one of the weights w.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["sheet"])
            images = dict(zip(about["w"], file.get_tensor("paired"), strict=True))
    except FileNotFoundError:
        raise EvaluationError(
            f"{path} does not exist: run `dvc repro evaluate-teacher`, which makes it"
        ) from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        detail = " ".join(str(error).split())[:100]
        raise EvaluationError(
            f"{path} is damaged ({detail}): delete it and run `dvc repro evaluate-teacher`"
        ) from None
    absent = [w for w in weights if w not in images]
    if absent:
        raise EvaluationError(
            f"{path} was made for other weights w ({[*images]}, not {absent[0]}): put it into "
            "evaluation.w of params.yaml and run `dvc repro evaluate-teacher`"
        )
    return {w: images[w] for w in weights}
