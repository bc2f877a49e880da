"""The finding in one sentence, computed: the fewest steps that still do the teacher's work."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from pdpipe.reporting import formats
from pdpipe.reporting.intervals import apart, difference_margin, fid_margin
from pdpipe.reporting.measurements import Measurements

# A student does the teacher's work when its FID exceeds the full-count teacher's by at most this
# share of the floor (real held-out against real training images), the 95 % interval included.
NEAR = 0.25
# How many of the shortest students `dvc metrics show` lists: at a glance means few.
LISTED = 4


@dataclass(frozen=True, kw_only=True)
class Match:
    """At one w, the student of the fewest steps that is near the full-count teacher, if any.

    The margins are half the widths of the FIDs' 95 % intervals, NaN where there are none.
    """

    w: float
    teacher_fid: float
    teacher_margin: float
    teacher_nfe: int
    steps: int | None = None
    fid: float | None = None
    margin: float = math.nan
    nfe: int | None = None

    @property
    def fewer_evaluations(self) -> float:
        """How many times fewer network evaluations it needs; 1 when no student is near."""
        return self.teacher_nfe / self.nfe if self.nfe else 1.0


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What a chain's overview shows of a report.

    `saved` is what the student of the sentence saves at equal FID, empty without students.
    `metrics` are flat and numeric, as trackers want them; `table` maps each column to its values,
    a row for each w.
    """

    sentence: str
    saved: str = ""
    figure: str
    w: float
    metrics: dict[str, float]
    table: dict[str, list[Any]]


def headline_w(m: Measurements) -> float:
    """The w of the headline: the smallest positive one, else 0.

    It follows from the params alone, so two revisions of a chain are compared at the same w; and
    mild guidance is both the usual optimum of FID and where distillation saves most, since the
    guided teacher evaluates its network twice a step.
    """
    return next((w for w in m.guidance if w > 0), m.guidance[0])


def match(m: Measurements, w: float) -> Match:
    """The student of the fewest steps within `NEAR` x the floor of the full-count teacher at w.

    Within: with the whole 95 % interval of the difference, so that no student is near by chance,
    and none where there are no standard errors.
    """
    full = m.full(w)
    found = Match(
        w=w,
        teacher_fid=float(full["fid"]),
        teacher_margin=fid_margin(full),
        teacher_nfe=int(full["nfe"]),
    )
    students = m.select("student", w=w).sort_values("steps")
    for _, student in students[students["nfe"] < full["nfe"]].iterrows():
        highest = student["fid"] + difference_margin(fid_margin(student), fid_margin(full))
        if highest <= full["fid"] + NEAR * m.heldout["fid"]:
            return replace(
                found,
                steps=int(student["steps"]),
                fid=float(student["fid"]),
                margin=fid_margin(student),
                nfe=int(student["nfe"]),
            )
    return found


def headline(m: Measurements) -> Headline:
    """The headline of the measurements, at `headline_w`."""
    w = headline_w(m)
    summary = metrics_summary(m)
    fids = {f"fid_{name}": value for name, value in summary["fid"].items()}
    return Headline(
        sentence=sentence(m, match(m, w)),
        figure=m.named("FID"),
        w=w,
        metrics={**fids, "w": w, "fewer_evaluations": summary["fewer_evaluations"]},
        table=_table(m),
    )


def metrics_summary(m: Measurements) -> dict[str, Any]:
    """The few numbers of reports/metrics.json: FIDs at `headline_w`, and what they are called."""
    w = headline_w(m)
    listed = sorted(m.student_steps)[:LISTED]
    students = {f"student_{n}": float(m.cell("student", n, w)["fid"]) for n in listed}
    teacher = {"teacher": float(m.full(w)["fid"]), "floor": float(m.heldout["fid"])}
    return {
        "fid": students | teacher,
        "fewer_evaluations": match(m, w).fewer_evaluations,
        "w": w,
        "figure": m.named("FID"),
    }


def sentence(m: Measurements, found: Match) -> str:
    """The finding at one w, honest when no student is near the teacher."""
    name, at = m.named("FID"), formats.weight(found.w)
    guided = "guided teacher" if found.w > 0 else "teacher"
    spent = formats.evaluations(m.full_steps, found.teacher_nfe)
    teacher = f"{formats.figure(found.teacher_fid)} of the {guided} at {spent} evaluations"
    if found.steps is not None:
        saved = formats.times(found.fewer_evaluations)
        return (
            f"{formats.steps(found.steps)}: {name} {formats.figure(found.fid)} at {at} against "
            f"{teacher}: {saved} fewer network evaluations"
        )
    students = m.select("student", w=found.w)
    if students.empty:
        return f"No student yet (the ladder is empty): {name} {teacher} at {at}"
    margin = formats.figure(NEAR * m.heldout["fid"])
    return (
        f"No student of fewer evaluations is shown to come within {margin} of {name} {teacher} at "
        f"{at}; {_lowest(students)}"
    )


def _lowest(students: pd.DataFrame) -> str:
    """The student of the lowest FID, and those that are not separated from it."""
    lowest = students.sort_values("fid").iloc[0]
    alike = [
        f"{row['steps']}"
        for _, row in students.sort_values("steps").iterrows()
        if row["steps"] != lowest["steps"] and not apart(row, lowest)
    ]
    said = f"the lowest is {formats.figure(lowest['fid'])} at {formats.steps(int(lowest['steps']))}"
    return f"{said}, not separated from that at {' and '.join(alike)}" if alike else said


def _table(m: Measurements) -> dict[str, list[Any]]:
    matches = [match(m, w) for w in m.guidance]
    table: dict[str, list[Any]] = {"w": m.guidance}
    for n in m.student_steps:
        table[f"student_{n}"] = [float(m.cell("student", n, w)["fid"]) for w in m.guidance]
    table["teacher"] = [found.teacher_fid for found in matches]
    table["floor"] = [float(m.heldout["fid"])] * len(matches)
    table["fewest_steps"] = [found.steps for found in matches]
    table["fewer_evaluations"] = [found.fewer_evaluations for found in matches]
    return table
