"""The sample sheets: fixed-seed images of every model, over w and the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pdpipe import layout
from pdpipe.errors import DamagedError, EvaluationError, brief
from pdpipe.params import Params
from pdpipe.reporting import formats
from pdpipe.tensor_files import load_tensors

if TYPE_CHECKING:
    from torch import Tensor

Images = NDArray[np.uint8]

# A report shows this many classes, spread evenly over all.
MAX_CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A model's images from fixed noise.

    `images` is uint8 (num_w, num_classes, per_class, C, H, W); the same class and column has the
    same noise in every sheet.
    """

    w: list[float]
    classes: list[str]
    images: Images

    def at(self, w: float) -> Images:
        """The images (num_classes, per_class, C, H, W) at one guidance weight."""
        images: Images = self.images[self.w.index(w)]
        return images


@dataclass(frozen=True, kw_only=True)
class Sheets:
    """The sheets of a chain, by step count, most steps first; and real images.

    `real` is (classes, columns, C, H, W), of the same classes as each sheet.
    """

    real: Images
    teacher: dict[int, Sheet]
    students: dict[int, Sheet]

    @property
    def full_steps(self) -> int:
        """The teacher's full step count."""
        return next(iter(self.teacher))

    @property
    def full(self) -> Sheet:
        """The teacher's sheet at its full step count."""
        return self.teacher[self.full_steps]

    @property
    def classes(self) -> list[str]:
        """The names of the classes that are shown."""
        return self.full.classes


class _Info(BaseModel):
    """The metadata beside the tensors."""

    model_config = ConfigDict(frozen=True, strict=True)
    w: list[float]
    classes: list[str]
    per_class: int


def read_sheets(params: Params, results_dir: Path) -> Sheets:
    """The sheets of the ladder in `params`, cut to `MAX_CLASSES` classes and to evaluation.w.

    Raises:
        EvaluationError: a file is missing or damaged, or lacks what params asks for.
    """
    folder = results_dir / "samples"
    steps = sorted(params.evaluation.teacher_steps, reverse=True)
    teacher = _read(folder / "teacher.safetensors", steps, params)
    students: dict[int, Sheet] = {}
    expected = teacher[steps[0]]
    for n in params.rungs():
        path = folder / layout.student(n).name
        students |= _read(path, [n], params)
        if (students[n].classes, students[n].images.shape) != (
            expected.classes,
            expected.images.shape,
        ):
            raise EvaluationError(
                f"{path} shows other classes or shapes than the teacher's sheet: run `dvc repro`, "
                "which makes both alike"
            )
    return Sheets(
        real=_real(folder / "real.safetensors", expected), teacher=teacher, students=students
    )


def _real(path: Path, beside: Sheet) -> Images:
    tensors, about = _tensors(path)
    names, images = about.get("classes"), tensors.get("real")
    if not isinstance(names, list):
        raise _damaged(path, KeyError("classes"))
    if (
        not set(beside.classes) <= set(names)
        or images is None
        or images.shape[2:] != beside.images.shape[3:]
    ):
        raise EvaluationError(
            f"{path} shows other classes or shapes than the teacher's sheet: run `dvc repro`, "
            "which makes both alike"
        )
    kept: Images = images.numpy()[[names.index(name) for name in beside.classes]]
    return kept


def _tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise EvaluationError(
            f"{path} does not exist: run `dvc repro`, which makes it before the report"
        )
    try:
        return load_tensors(path, "sheet")
    except (DamagedError, KeyError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> EvaluationError:
    return EvaluationError(
        f"{path} is damaged ({brief(error)}): delete it and run `dvc repro` to have it again"
    )


def _read(path: Path, steps: Sequence[int], params: Params) -> dict[int, Sheet]:
    tensors, about = _tensors(path)
    try:
        info = _Info.model_validate(about)
    except ValidationError as error:
        raise _damaged(path, error) from None
    missing = [n for n in steps if f"sheet/{n}" not in tensors]
    if missing:
        raise EvaluationError(
            f"{path} has no sheet for {formats.steps(missing[0])}, which params.yaml asks for: run "
            "`dvc repro`, which makes it"
        )
    sheets = {n: tensors[f"sheet/{n}"].numpy() for n in steps}
    return {n: _cut(path, info, sheet, params.evaluation.w) for n, sheet in sheets.items()}


def _cut(path: Path, info: _Info, images: Images, wanted: Sequence[float]) -> Sheet:
    """The part of a sheet that is shown; `images` as stored, with every class."""
    if images.dtype != np.uint8 or images.ndim != 6:
        raise EvaluationError(
            f"{path} holds no uint8 images of six dimensions: run `dvc repro`, which makes it again"
        )
    if images.shape[:3] != (len(info.w), len(info.classes), info.per_class):
        raise EvaluationError(
            f"{path} describes {len(info.w)} w, {len(info.classes)} classes and {info.per_class} "
            f"images of each, but holds {images.shape[:3]}: run `dvc repro`, which makes it again"
        )
    for w in wanted:
        if w not in info.w:
            raise EvaluationError(
                f"{path} has no samples at {formats.weight(w)}, which evaluation.w asks for: run "
                "`dvc repro`, which makes them"
            )
    guidance = sorted(wanted)
    rows = [info.w.index(w) for w in guidance]
    shown = spread(len(info.classes), MAX_CLASSES)
    classes = [info.classes[k] for k in shown]
    return Sheet(w=guidance, classes=classes, images=images[np.ix_(rows, shown)])


def spread(total: int, most: int) -> list[int]:
    """At most `most` of the indices 0 … total - 1, evenly spread, both ends included."""
    if total <= most:
        return list(range(total))
    return [round(k * (total - 1) / (most - 1)) for k in range(most)]
