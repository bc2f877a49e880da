"""Sample sheets: the first images of each class, for pictures and for pairing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pdpipe.errors import EvaluationError
from pdpipe.evaluation.store import Finished
from pdpipe.files import parse_json, replacing

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
    with replacing(path) as temporary:
        save_file(tensors, temporary, {"sheet": json.dumps(about)})


def load_paired(path: Path, weights: list[float]) -> dict[float, Tensor]:
    """The teacher's unrounded images at each w, (p, C, H, W), as `save_samples` wrote them.

    Raises:
        EvaluationError: the file is missing, damaged, or lacks one of the weights w.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = parse_json(file.metadata()["sheet"])
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
