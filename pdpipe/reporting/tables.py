"""The report's tables: selections of the measurements as text, and their Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pdpipe.reporting import formats
from pdpipe.reporting.headline import NEAR, match
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.metrics import FID, METRICS, Metric


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
        named = [f"{name}: {column}" for name, column in zip(above, self.columns[1:], strict=True)]
        return [self.columns[0], *named]


def by_steps(m: Measurements, w: float) -> pd.DataFrame:
    """The students at w, most steps first, each beside the teacher twice.

    Columns with the suffix `_teacher` are the teacher's at the same step count, `_equal_nfe` those
    at the same number of network evaluations; both are missing where there is no such cell.
    """
    columns = ["steps", "nfe", *(column for metric in METRICS for column in metric.columns)]
    teacher = m.select("teacher", w=w)[columns]
    same_steps = teacher.add_suffix("_teacher")
    equal_nfe = teacher.add_suffix("_equal_nfe")
    return (
        m.select("student", w=w)
        .merge(same_steps, how="left", left_on="steps", right_on="steps_teacher")
        .merge(equal_nfe, how="left", left_on="nfe", right_on="nfe_equal_nfe")
    )


def floor_note(m: Measurements, metric: Metric = FID) -> str:
    """What real held-out images reach: the words that stand beside every table of `metric`.

    Empty for a metric that real images do not have.
    """
    heldout = m.heldout
    if not metric.named or pd.isna(heldout[metric.column]):
        return ""
    name, value = m.named(metric.name, heldout), metric.text(heldout[metric.column])
    if metric is FID:
        return (
            f"Floor: {name} {value}, held-out real images against the {int(heldout['num_real'])} "
            "training images."
        )
    return f"Real held-out images: {name} {value}."


def near_table(m: Measurements) -> Table:
    """For each w, the student of the fewest steps that is near the full-count teacher."""
    rows = []
    for found in (match(m, w) for w in m.guidance):
        evaluations = formats.evaluations(m.full_steps, found.teacher_nfe)
        rows.append(
            [
                formats.weight(found.w),
                f"{formats.figure(found.teacher_fid)} ({evaluations})",
                formats.DASH if found.steps is None else str(found.steps),
                formats.DASH if found.fid is None else formats.figure(found.fid),
                formats.DASH if found.nfe is None else formats.times(found.fewer_evaluations),
            ]
        )
    name = m.named("FID")
    margin = formats.figure(NEAR * m.heldout["fid"])
    return Table(
        title="The fewest steps that reach the teacher",
        columns=["", f"teacher {name}", "steps", f"student {name}", "fewer evaluations"],
        rows=rows,
        note=f"Reached: at most {margin} ({NEAR:g} × the floor) above the teacher's full count. "
        + floor_note(m),
    )


def steps_table(m: Measurements, w: float, metrics: Sequence[Metric] = METRICS) -> Table:
    """Those of `metrics` that are shown against steps, at one w, student beside teacher."""
    shown = [metric for metric in metrics if metric.against_steps and metric.measured(m)]
    rows = [
        [str(int(row["steps"])), *(cell for metric in shown for cell in _compared(metric, row))]
        for _, row in by_steps(m, w).iterrows()
    ]
    full = m.full(w)
    reference = [f"teacher, {formats.evaluations(m.full_steps, int(full['nfe']))}"]
    for metric in shown:
        reference += [formats.DASH, metric.shown(full)] + 3 * [formats.DASH] * metric.equal_nfe
    headings = {metric: _compared_headings(metric) for metric in shown}
    return Table(
        title=formats.weight(w),
        groups=tuple((metric.heading(m), len(names)) for metric, names in headings.items()),
        columns=["steps", *(name for names in headings.values() for name in names)],
        rows=[*rows, reference],
        note=" ".join(filter(None, (floor_note(m, metric) for metric in shown))),
        references=1,
    )


def _compared_headings(metric: Metric) -> list[str]:
    equal_nfe = ["teacher, equal NFE", "ratio, same steps", "ratio, equal NFE"]
    return ["student", "teacher, same steps", *(equal_nfe if metric.equal_nfe else [])]


def _compared(metric: Metric, row: pd.Series[Any]) -> list[str]:
    """A row of `by_steps` under `_compared_headings`."""
    cells = [metric.shown(row), metric.shown(row, "_teacher")]
    if metric.equal_nfe:
        value = row[metric.column]
        cells.append(metric.shown(row, "_equal_nfe"))
        cells.append(formats.figure(value / row[f"{metric.column}_teacher"]))
        cells.append(formats.figure(value / row[f"{metric.column}_equal_nfe"]))
    return cells


def matrix(m: Measurements, kind: str, metric: Metric) -> Table:
    """One metric of the students, or of the teacher, over N × w."""
    counts = sorted(set(m.select(kind)["steps"].tolist()), reverse=True)
    rows = [[str(n), *(metric.shown(m.cell(kind, n, w)) for w in m.guidance)] for n in counts]
    references = []
    if kind == "student":
        full = [metric.shown(m.full(w)) for w in m.guidance]
        references = [[f"teacher, {m.full_steps}", *full]]
    who = "Students" if kind == "student" else m.teacher_by.replace("t", "T", 1)
    return Table(
        title=f"{who}: {metric.heading(m)}",
        columns=["steps", *map(formats.weight, m.guidance)],
        rows=[*rows, *references],
        note=floor_note(m, metric),
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
        "image, and the share of images nearer than all but 1 % of the held-out ones are. Smaller "
        "distances and larger shares than the held-out images' hint at memorisation.",
        references=2,
    )


def _nearest(row: pd.Series[Any]) -> str:
    return f"{formats.figure(row['nearest_median'])} · {formats.percent(row['nearest_close'])}"


def to_markdown(table: Table, level: int = 2) -> str:
    """The table in Markdown, under a heading of the given level."""
    lines = [f"{'#' * level} {table.title}", ""]
    lines.append("| " + " | ".join(name or " " for name in table.headings) + " |")
    lines.append("|" + " --- |" + " ---: |" * (len(table.columns) - 1))
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join([*lines, *(["", table.note] if table.note else [])]) + "\n"


def report_markdown(m: Measurements, sentence: str, machines: str) -> str:
    """reports/table.md: the finding, then FID against steps for each w, then the matrices.

    Args:
        m: the measurements.
        sentence: the finding.
        machines: where the times per image were taken, a sentence.
    """
    near = [to_markdown(near_table(m))] if m.student_steps else []
    return "\n".join(
        [
            "# Quality against sampling steps\n",
            f"**{sentence}.**\n",
            f"{machines}\n",
            *near,
            *(to_markdown(steps_table(m, w)) for w in m.guidance),
            *(to_markdown(table) for table in matrices(m)),
            to_markdown(memorization_table(m)),
        ]
    )


def fid_by_steps(m: Measurements) -> pd.DataFrame:
    """reports/fid_by_steps.csv: the curves for `dvc plots`, one row a point, nothing missing."""
    generated = m.frame[m.frame["kind"] != "real"]
    points = generated[["steps", "w", "kind", "nfe", "fid", "is"]]
    ordered = points.sort_values(["w", "kind", "steps"])
    return ordered.assign(floor=m.heldout["fid"], figure=m.named("FID"))
