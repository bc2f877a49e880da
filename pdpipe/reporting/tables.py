"""The report's tables: selections of the measurements as text, and their Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pdpipe.reporting import formats
from pdpipe.reporting.headline import NEAR, match
from pdpipe.reporting.intervals import with_margin
from pdpipe.reporting.measurements import Measurements


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


@dataclass(frozen=True, kw_only=True)
class MetricMatrix:
    """A metric that is shown over N × w."""

    metric: str
    column: str
    text: Callable[[Any], str]


FID = MetricMatrix(metric="FID", column="fid", text=formats.figure)
INCEPTION_SCORE = MetricMatrix(metric="IS", column="is", text=formats.figure)
ACCURACY = MetricMatrix(metric="label accuracy", column="accuracy", text=formats.percent)


def by_steps(m: Measurements, w: float) -> pd.DataFrame:
    """The students at w, most steps first, each beside the teacher twice.

    Columns with the suffix `_teacher` are the teacher's at the same step count, `_equal_nfe` those
    at the same number of network evaluations; both are missing where there is no such cell.
    """
    columns = ["steps", "nfe", "fid", "fid_se", "is", "is_se", "paired_mse", "seconds_per_image"]
    teacher = m.select("teacher", w=w)[columns]
    same_steps = teacher.add_suffix("_teacher")
    equal_nfe = teacher.add_suffix("_equal_nfe")
    return (
        m.select("student", w=w)
        .merge(same_steps, how="left", left_on="steps", right_on="steps_teacher")
        .merge(equal_nfe, how="left", left_on="nfe", right_on="nfe_equal_nfe")
    )


def floor_note(m: Measurements, metric: MetricMatrix = FID) -> str:
    """What real held-out images reach: the words that stand beside every table of `metric`."""
    heldout = m.heldout
    name, value = m.named(metric.metric, heldout), metric.text(heldout[metric.column])
    if metric.column == "fid":
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


def steps_table(m: Measurements, w: float) -> Table:
    """FID, IS, paired error and time against steps at one w, student beside teacher."""
    full = m.full(w)
    rows = [_steps_row(row) for _, row in by_steps(m, w).iterrows()]
    spent = formats.evaluations(m.full_steps, int(full["nfe"]))
    reference = [
        f"teacher, {spent}",
        *([formats.DASH, with_margin(full["fid"], full["fid_se"])]),
        *(3 * [formats.DASH]),
        *([formats.DASH, with_margin(full["is"], full["is_se"])]),
        *([formats.DASH, formats.small(full["paired_mse"])]),
        *([formats.DASH, formats.milliseconds(full["seconds_per_image"])]),
    ]
    return Table(
        title=formats.weight(w),
        groups=((m.named("FID"), 5), (m.named("IS"), 2), ("paired error", 2), ("ms/image", 2)),
        columns=[
            "steps",
            *("student", "teacher, same steps", "teacher, equal NFE"),
            *("ratio, same steps", "ratio, equal NFE"),
            *(3 * ["student", "teacher, same steps"]),
        ],
        rows=[*rows, reference],
        note=floor_note(m) + " " + floor_note(m, INCEPTION_SCORE),
        references=1,
    )


def _steps_row(row: pd.Series[Any]) -> list[str]:
    return [
        str(int(row["steps"])),
        with_margin(row["fid"], row["fid_se"]),
        with_margin(row["fid_teacher"], row["fid_se_teacher"]),
        with_margin(row["fid_equal_nfe"], row["fid_se_equal_nfe"]),
        formats.figure(row["fid"] / row["fid_teacher"]),
        formats.figure(row["fid"] / row["fid_equal_nfe"]),
        with_margin(row["is"], row["is_se"]),
        with_margin(row["is_teacher"], row["is_se_teacher"]),
        formats.small(row["paired_mse"]),
        formats.small(row["paired_mse_teacher"]),
        formats.milliseconds(row["seconds_per_image"]),
        formats.milliseconds(row["seconds_per_image_teacher"]),
    ]


def matrix(m: Measurements, kind: str, metric: MetricMatrix) -> Table:
    """One metric of the students, or of the teacher, over N × w."""
    cells = m.select(kind).pivot(index="steps", columns="w", values=metric.column)
    rows = [
        [str(steps), *(metric.text(cells.loc[steps, w]) for w in m.guidance)]
        for steps in sorted(cells.index, reverse=True)
    ]
    references = []
    if kind == "student":
        full = [metric.text(m.full(w)[metric.column]) for w in m.guidance]
        references = [[f"teacher, {m.full_steps}", *full]]
    who = "Students" if kind == "student" else m.teacher_by.replace("t", "T", 1)
    return Table(
        title=f"{who}: {m.named(metric.metric)}",
        columns=["steps", *map(formats.weight, m.guidance)],
        rows=[*rows, *references],
        note=floor_note(m, metric),
        references=len(references),
    )


def matrices(m: Measurements) -> list[Table]:
    """FID, IS and label accuracy over N × w, of the students and of the teacher."""
    metrics = [FID, INCEPTION_SCORE]
    if m.select("teacher")["accuracy"].notna().any():
        metrics.append(ACCURACY)
    kinds = [kind for kind in ("student", "teacher") if not m.select(kind).empty]
    return [matrix(m, kind, metric) for metric in metrics for kind in kinds]


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
