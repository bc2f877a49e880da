"""Sample sheets: the first images of each class, for pictures and for pairing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pdpipe.data import ImageSet
from pdpipe.errors import DamagedError, EvaluationError, brief
from pdpipe.evaluation.store import Finished
from pdpipe.tensor_files import load_tensors, save_tensors

METADATA = "sheet"  # key of the file's metadata
COLUMNS = 8  # most images of a class on a sample sheet
CLASSES = 10  # most classes on it


def sheet_layout(num_samples: int, num_classes: int) -> tuple[int, int]:
    """(classes, columns) of a sample sheet."""
    return min(num_classes, CLASSES), min(num_samples // num_classes, COLUMNS)


def sheet_mask(num_samples: int, num_classes: int) -> Tensor:
    """Which images of a cell, labelled 0, 1, … K - 1, 0, 1, …, are on its sheet; (n,) bool."""
    classes, columns = sheet_layout(num_samples, num_classes)
    index = torch.arange(num_samples)
    return (index % num_classes < classes) & (index // num_classes < columns)


def save_samples(
    path: Path,
    cells: Sequence[Finished],
    classes: Sequence[str],
    per_class: int,
    paired: Sequence[Finished] | None = None,
) -> None:
    """Write a model's sample sheets.

    One tensor `sheet/<steps>` for each step count, (num_w, classes, columns, C, H, W) uint8.

    Args:
        path: the file.
        cells: every cell of the model, the same weights w at each step count.
        classes: their names, in the order of the labels.
        per_class: images of each class in a cell.
        paired: the cells whose unrounded first images the students are compared with; they are
            stored as `paired`, (num_w, p, C, H, W) float32.
    """
    shown, columns = sheet_layout(per_class * len(classes), len(classes))
    steps = list(dict.fromkeys(cell.steps for cell in cells))

    def sheet(n: int) -> Tensor:
        rounds = [
            cell.sheet.view(columns, shown, *cell.sheet.shape[1:])
            for cell in cells
            if cell.steps == n
        ]
        return torch.stack(rounds).transpose(1, 2).contiguous()

    tensors = {f"sheet/{n}": sheet(n) for n in steps}
    if paired is not None:
        tensors["paired"] = torch.stack([cell.paired for cell in paired])
    about = {
        "w": [cell.w for cell in cells if cell.steps == steps[0]],
        "classes": list(classes[:shown]),
        "per_class": columns,
    }
    save_tensors(path, tensors, METADATA, about)


def save_real(path: Path, real: ImageSet) -> None:
    """Write real images as those of the models stand on their sheets: the first of each class.

    One tensor `real`, (classes, columns, C, H, W) uint8; each class can fill its columns.
    """
    shown, columns = sheet_layout(len(real), len(real.classes))
    rows = [(real.labels == k).nonzero().flatten() for k in range(shown)]
    columns = min(columns, *map(len, rows))
    sheet = torch.stack([real.images[own[:columns]] for own in rows])
    about = {"classes": list(real.classes[:shown])}
    save_tensors(path, {"real": sheet}, METADATA, about)


def load_paired(path: Path, weights: list[float]) -> dict[float, Tensor]:
    """The teacher's unrounded images at each w, (p, C, H, W), as `save_samples` wrote them.

    Raises:
        EvaluationError: the file is missing, damaged, or lacks one of the weights w.
    """
    try:
        tensors, about = load_tensors(path, METADATA)
        images = dict(zip(about["w"], tensors["paired"], strict=True))
    except FileNotFoundError:
        raise EvaluationError(
            f"{path} does not exist: run `dvc repro evaluate-teacher`, which makes it"
        ) from None
    except (DamagedError, KeyError, TypeError, ValueError) as error:
        raise EvaluationError(
            f"{path} is damaged ({brief(error)}): delete it and run `dvc repro evaluate-teacher`"
        ) from None
    absent = [w for w in weights if w not in images]
    if absent:
        raise EvaluationError(
            f"{path} was made for other weights w ({[*images]}, not {absent[0]}): put it into "
            "evaluation.w of params.yaml and run `dvc repro evaluate-teacher`"
        )
    return {w: images[w] for w in weights}
