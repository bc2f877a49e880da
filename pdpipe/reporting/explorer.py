"""The page's explorer: every sample of the sheets, and the figures of each cell beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pdpipe.reporting import formats
from pdpipe.reporting.headline import Headline
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.metrics import METRICS
from pdpipe.reporting.sheets import Images, Sheet, Sheets, spread

# Pixels of all its images before compression, in bytes: a page of more is slow to send and to open.
MAX_BYTES = 16 * 2**20
FEWEST_COLUMNS = 4  # samples of a class that are kept; beyond, classes go


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One model at each step count of the explorer.

    `sprites` are (num_w · classes · H, columns · W[, 3]): a row for each w and class, in this
    order. `titles` [step count] and `figures` [step count][w][figure] stand above and below.
    """

    name: str
    sprites: list[Images]
    titles: list[str]
    figures: list[list[list[str]]]


@dataclass(frozen=True, kw_only=True)
class Explorer:
    """What the page's sliders choose from; `start` is the first (step count, w)."""

    steps: list[int]
    w: list[float]
    classes: list[str]
    columns: int
    height: int
    width: int
    figures: dict[str, str]  # {name: what it is}
    panels: list[Panel]
    real: Images  # (classes · H, real_columns · W[, 3]): held-out images
    real_columns: int
    start: tuple[int, int]


def explorer(m: Measurements, sheets: Sheets, headline: Headline) -> Explorer | None:
    """The students, the teacher at the same step counts, and at its full count; few steps first.

    None where there is no student.
    """
    steps = sorted(sheets.students)
    if not steps:
        return None
    classes, columns = fitted(sheets.full, 2 * len(steps) + 1)
    full = sheets.full_steps
    kept = [sheets.classes[k] for k in classes]
    height, width = sheets.full.images.shape[-2:]
    metrics = [metric for metric in METRICS if metric.measured(m)]

    def figures(kind: str, n: int, w: float) -> list[str]:
        row = m.cell(kind, n, w)
        nfe = formats.evaluations(n, int(row["nfe"]))
        return [nfe, *(metric.shown(row) for metric in metrics)]

    def panel(name: str, kind: str, called: str, shown: dict[int, Sheet]) -> Panel:
        return Panel(
            name=name,
            sprites=[sprite(sheet.images[:, classes, :columns]) for sheet in shown.values()],
            titles=[f"{called}, {formats.steps(n)}" for n in shown],
            figures=[[figures(kind, n, w) for w in sheets.full.w] for n in shown],
        )

    return Explorer(
        steps=steps,
        w=sheets.full.w,
        classes=kept,
        columns=columns,
        height=height,
        width=width,
        figures={
            "NFE ↓": "network evaluations for one image",
            **{metric.directed: metric.means for metric in metrics},
        },
        panels=[
            panel("student", "student", "Student", {n: sheets.students[n] for n in steps}),
            panel("teacher", "teacher", "Teacher", {n: sheets.teacher[n] for n in steps}),
            panel("full", "teacher", "Teacher", {full: sheets.full}),
        ],
        real=sprite(sheets.real[None, classes, :columns]),
        real_columns=min(columns, sheets.real.shape[1]),
        start=(0, sheets.full.w.index(headline.w)),
    )


def fitted(sheet: Sheet, num_sheets: int) -> tuple[list[int], int]:
    """(classes, columns) of each sheet to show so that `num_sheets` of them keep to `MAX_BYTES`.

    First the samples of a class become fewer, down to `FEWEST_COLUMNS`, then the classes.
    """
    num_w, num_classes, per_class = sheet.images.shape[:3]
    image = int(np.prod(sheet.images.shape[3:])) * num_w * num_sheets
    most = max(1, MAX_BYTES // image)
    columns = min(per_class, max(most // num_classes, FEWEST_COLUMNS), most)
    shown = min(num_classes, most // columns)
    return spread(num_classes, shown) if shown > 1 else [0], columns


def sprite(images: Images) -> Images:
    """Images (num_w, classes, columns, C, H, W) as one, (num_w · classes · H, columns · W[, 3])."""
    num_w, classes, columns, channels, height, width = images.shape
    laid = images.transpose(0, 1, 4, 2, 5, 3)
    picture = laid.reshape(num_w * classes * height, columns * width, channels)
    return picture[..., 0] if channels == 1 else picture
