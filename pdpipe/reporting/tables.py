"""The report's tables: selections of the measurements as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from pdpipe.evaluation.records import RungsRecord
from pdpipe.reporting import formats
from pdpipe.reporting.intervals import margin, ratio_margin, with_margin
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.metrics import FID, FID_HELDOUT, METRICS, Quantity
from pdpipe.reporting.near import NEAR, match


@dataclass(frozen=True, kw_only=True)
class Table:
    """A titled table of text: the first column names the row, a note says what to hold beside it.

    The last `references` rows are there to compare with. `groups` are headings above the columns
    after the first, each with the number of columns that it spans.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    references: int = 0
    groups: tuple[tuple[str, int], ...] = ()

    @property
    def headings(self) -> list[str]:
        """The columns' full names, group and all."""
        above = [name for name, span in self.groups for _ in range(span)]
        if not above:
            return self.columns
        named = [
            f"{name}: {column}" if name else column
            for name, column in zip(above, self.columns[1:], strict=True)
        ]
        return [self.columns[0], *named]


def by_steps(m: Measurements, w: float) -> pd.DataFrame:
    """The students at w, most steps first, each beside the teacher twice.

    Columns with the suffix `_teacher` are the teacher's at the same step count, `_equal_nfe` those
    at the same number of network evaluations; both are missing where there is no such cell.
    """
    columns = ["steps", "nfe", "se_dof", *(name for metric in METRICS for name in metric.columns)]
    found, teacher = m.select("student", w=w), m.select("teacher", w=w)[columns]
    for key, suffix in (("steps", "_teacher"), ("nfe", "_equal_nfe")):
        other = teacher.add_suffix(suffix)
        found = found.merge(other, how="left", left_on=key, right_on=f"{key}{suffix}")
    return found


def definitions(m: Measurements) -> list[str]:
    """What FID and the rest are in this report, said once: all its tables call them by name alone.

    A figure without these is not comparable with anything.
    """
    row, heldout = m.full(m.guidance[0]), m.heldout
    return [
        f"FID is {m.named('FID')} here: the Fréchet distance between "
        f"{formats.count(int(row['num_fake']))} generated images and the "
        f"{formats.count(int(row['num_real']))} training images, in the features of "
        f"{row['extractor']}. The other metrics are of the same images and features.",
        f"{int(heldout['num_fake'])} real images were held out from training: they have "
        f"{m.named('FID', heldout)} {FID.shown(heldout)}. FID falls as the number of images "
        f"grows, so compare this only with {FID_HELDOUT.name!r}. A model below it is nearer "
        "to the training images than unseen real ones are, perhaps by memorising them: see "
        "'Nearest training image'.",
    ]


def real_note(m: Measurements, metric: Quantity) -> str:
    """What held-out real images have, where that compares with a model's; and the metric's note."""
    heldout = m.heldout
    if metric is FID or metric.column not in heldout or pd.isna(heldout[metric.column]):
        return metric.note
    count = "" if metric is FID_HELDOUT else f" ({int(heldout['num_fake'])} of them)"
    return f"Held-out real images{count}: {metric.shown(heldout)}. {metric.note}".rstrip()


def near_table(m: Measurements) -> Table:
    """For each w, the student of the fewest steps that reaches the full-count teacher."""
    rows = [
        [
            formats.weight(found.w),
            f"{FID.shown(found.teacher)} ({_evaluations(m, found.teacher)})",
            str(found.steps or formats.DASH),
            FID.shown(found.student),
            formats.times(found.fewer_evaluations) if found.steps else formats.DASH,
        ]
        for found in (match(m, w) for w in m.guidance)
    ]
    return Table(
        title="The fewest steps that reach the teacher",
        columns=["", "teacher's FID", "steps", "student's FID", "fewer evaluations"],
        rows=rows,
        note=f"A student reaches the teacher if its FID is at most {formats.share(NEAR)} above "
        "that of the teacher at its full step count, the 95 % interval of the difference included. "
        f"This is the {m.teacher_by}: another sampler may need fewer evaluations.",
    )


def _evaluations(m: Measurements, full: pd.Series[Any]) -> str:
    """The network evaluations of the teacher at its full count."""
    return formats.evaluations(m.full_steps, int(full["nfe"]))


def steps_table(m: Measurements, w: float, *, paper: bool = False) -> Table:
    """The metrics that are shown against steps, at one w, student beside teacher.

    A paper's leaves out what depends on the machine, and the ratios.
    """
    shown = {
        metric: _compared(metric, ratios=metric.equal_nfe and not paper)
        for metric in METRICS
        if metric.against_steps and metric.measured(m) and (metric.in_paper or not paper)
    }
    columns = [column for cells in shown.values() for column in cells.items()]
    full = m.full(w)
    rows = [
        [str(int(row["steps"])), *(cell(row) for _, cell in columns)]
        for _, row in by_steps(m, w).iterrows()
    ]
    # the teacher at its full count has no student and stands for itself
    reference = [f"teacher, {_evaluations(m, full)}"]
    for metric, cells in shown.items():
        reference += [formats.DASH, metric.shown(full), *[formats.DASH] * (len(cells) - 2)]
    return Table(
        title=formats.weight(w),
        groups=tuple((metric.name, len(cells)) for metric, cells in shown.items()),
        columns=["steps", *(heading for heading, _ in columns)],
        rows=[*rows, reference],
        note="" if paper else "If the interval of a ratio contains 1, the two are not separated.",
        references=1,
    )


def _compared(metric: Quantity, ratios: bool) -> dict[str, Callable[[pd.Series[Any]], str]]:
    """{heading: what makes its cell of a row of `by_steps`}, of a metric in the table of steps."""
    cells: dict[str, Callable[[pd.Series[Any]], str]] = {
        "student": metric.shown,
        "teacher, same steps": partial(metric.shown, suffix="_teacher"),
    }
    if metric.equal_nfe:
        cells["teacher, equal NFE"] = partial(metric.shown, suffix="_equal_nfe")
    if ratios:
        cells["ratio, same steps"] = partial(_ratio, metric, "_teacher")
        cells["ratio, equal NFE"] = partial(_ratio, metric, "_equal_nfe")
    return cells


def _ratio(metric: Quantity, suffix: str, row: pd.Series[Any]) -> str:
    """The student's figure by that of a teacher, with its interval."""
    value, other = row[metric.column], row[metric.column + suffix]
    if pd.isna(other):
        return formats.DASH
    own, its = (margin(row[f"{metric.se}{end}"], row[f"se_dof{end}"]) for end in ("", suffix))
    return with_margin(value / other, ratio_margin(value, own, other, its))


def matrix(m: Measurements, kind: str, metric: Quantity) -> Table:
    """One metric of the students, or of the teacher, over N × w."""
    counts = sorted(set(m.select(kind)["steps"].tolist()), reverse=True)
    rows = [[str(n), *(metric.shown(m.cell(kind, n, w)) for w in m.guidance)] for n in counts]
    references = []
    if kind == "student":
        full = [metric.shown(m.full(w)) for w in m.guidance]
        references = [[f"teacher, {m.full_steps}", *full]]
    who = "Students" if kind == "student" else m.teacher_by.replace("t", "T", 1)
    return Table(
        title=f"{who}: {metric.name}",
        columns=["steps", *map(formats.weight, m.guidance)],
        rows=[*rows, *references],
        note=real_note(m, metric),
        references=len(references),
    )


def matrices(m: Measurements) -> list[Table]:
    """The metrics over N × w, of the students and of the teacher."""
    kinds = [kind for kind in ("student", "teacher") if not m.select(kind).empty]
    shown = [metric for metric in METRICS if metric.over_w and metric.measured(m)]
    return [matrix(m, kind, metric) for metric in shown for kind in kinds]


def memorization_table(m: Measurements) -> Table:
    """Distance to the nearest training image, beside that of real images never trained on."""
    rows = [
        [formats.steps(n), *(_nearest(m.cell("student", n, w)) for w in m.guidance)]
        for n in m.student_steps
    ]
    full = [_nearest(m.full(w)) for w in m.guidance]
    heldout = [_nearest(m.heldout)] * len(m.guidance)
    return Table(
        title="Nearest training image",
        columns=["", *map(formats.weight, m.guidance)],
        rows=[
            *rows,
            [f"teacher, {formats.steps(m.full_steps)}", *full],
            ["held-out real images", *heldout],
        ],
        note="Median Euclidean distance of an image (pixels in [-1, 1]) to the nearest training "
        "image, and the share of images that are nearer than 99 % of the held-out images are. "
        "Smaller distances and larger shares than those of the held-out images hint at "
        "memorisation. There are no intervals, so a small difference means nothing.",
        references=2,
    )


def _nearest(row: pd.Series[Any]) -> str:
    return f"{formats.figure(row['nearest_median'])} · {formats.percent(row['nearest_close'])}"


def rungs_table(record: RungsRecord) -> Table:
    """The loss of each rung on held-out images, and the drift of its images at some w."""
    protocol = record.protocol
    rows = [
        [
            rung.student,
            f"{rung.teacher}, {formats.steps(rung.teacher_steps)}",
            formats.small(rung.loss),
            *(formats.small(drift.mse) for drift in rung.drifts),
        ]
        for rung in record.rungs
    ]
    drifts = [formats.weight(drift.w) for drift in record.rungs[0].drifts]
    return Table(
        title="Each student against its own teacher",
        columns=["student", "teacher", "held-out", *drifts],
        groups=(("", 1), ("loss", 1), ("drift of images", len(drifts))),
        rows=rows,
        note="Loss: that of the stage's own algorithm, on "
        f"{formats.count(protocol.heldout_images)} held-out images at {protocol.draws} random "
        "times and w each. Stage one (the first row) has another loss weight than the halvings. "
        "Drift: the mean squared difference (pixels in [-1, 1]) between "
        f"{formats.count(protocol.samples)} final images and those of the teacher from the same "
        "noise. There are no intervals, so a small difference means nothing. A halving that is "
        "several times worse than the others needs more updates.",
    )


def coupling_table(m: Measurements) -> Table:
    """How well the way from noise to image is kept: the students' images against the teacher's."""

    def row(kind: str, n: int) -> list[str]:
        return [formats.small(m.cell(kind, n, w)["paired_mse"]) for w in m.guidance]

    counts = sorted(set(m.select("teacher")["steps"].tolist()) - {m.full_steps}, reverse=True)
    rows = [[formats.steps(n), *row("student", n)] for n in m.student_steps]
    rows += [[f"{m.teacher_by}, {formats.steps(n)}", *row("teacher", n)] for n in counts]
    return Table(
        title="The same noise, the same image",
        columns=["", *map(formats.weight, m.guidance)],
        rows=rows,
        references=len(counts),
        note=f"Mean squared difference (pixels in [-1, 1]) from the image that the teacher makes "
        f"of the same noise in {formats.steps(m.full_steps)}. There are no intervals, so a small "
        "difference means nothing.",
    )


def fid_by_steps(m: Measurements) -> pd.DataFrame:
    """reports/fid_by_steps.csv: the curves for `dvc plots`, one row a point, nothing missing."""
    generated = m.frame[m.frame["kind"] != "real"]
    points = generated[["steps", "w", "kind", "nfe", "fid", "is"]]
    ordered = points.sort_values(["w", "kind", "steps"])
    return ordered.assign(figure=m.named("FID"))
