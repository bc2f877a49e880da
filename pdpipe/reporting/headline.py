"""The finding in one sentence, computed: the fewest steps that still do the teacher's work."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pdpipe.reporting import formats
from pdpipe.reporting.intervals import apart
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.near import NEAR, Match, headline_w, match
from pdpipe.reporting.speedup import Saving, saved_sentence, saving_of

# How many of the shortest students `dvc metrics show` lists: at a glance means few.
LISTED = 4
# Of the metrics, what reports/metrics.json leaves to the report and to trackers: beside the rest of
# them, `dvc exp show --only-changed` has no room for the changed setting in 160 characters.
UNLISTED = ("saved_low", "saved_high")


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What a chain's overview shows of a report.

    `saved` is what the student of the sentence saves at equal FID, empty without students.
    `metrics` are flat and numeric as trackers want them; reports/metrics.json has them but
    `UNLISTED`. `table` maps each column to its values, a row for each w.
    """

    sentence: str
    saved: str
    figure: str
    w: float
    metrics: dict[str, float]
    table: dict[str, list[Any]]


def headline(m: Measurements) -> Headline:
    """The headline of the measurements, at `headline_w`."""
    w = headline_w(m)
    return Headline(
        sentence=sentence(m, match(m, w)),
        saved=saved_sentence(m, w),
        figure=m.named("FID"),
        w=w,
        metrics=headline_metrics(m),
        table=_table(m),
    )


def headline_metrics(m: Measurements) -> dict[str, float]:
    """The few numbers at `headline_w`.

    The names are short: `dvc exp show` gives each a column. `fid_4` is the FID of the student of
    4 steps. `saved` is how many times fewer evaluations the headline's student takes: at equal FID,
    interpolated, with the ends of its interval; `saved_near` with what is near the teacher.
    """
    w = headline_w(m)
    listed = sorted(m.student_steps)[:LISTED]
    return {
        **{f"fid_{n}": float(m.cell("student", n, w)["fid"]) for n in listed},
        "fid_teacher": float(m.full(w)["fid"]),
        "fid_floor": float(m.heldout["fid"]),
        **_at_equal_fid(saving_of(m, w)),
        "saved_near": match(m, w).fewer_evaluations,
        "w": w,
    }


def _at_equal_fid(found: Saving | None) -> dict[str, float]:
    """How many times fewer evaluations, and the ends of the interval; 1 without a student."""
    if found is None:
        return {"saved": 1.0}
    factor, low, high = found.evaluations
    ends = {} if math.isnan(low) else {"saved_low": low, "saved_high": high}
    return {"saved": factor} | ends


def sentence(m: Measurements, found: Match) -> str:
    """The finding at one w, honest when no student is near the teacher."""
    name, at = m.named("FID"), formats.weight(found.w)
    guided = "guided teacher" if found.w > 0 else "teacher"
    spent = formats.evaluations(m.full_steps, int(found.teacher["nfe"]))
    teacher = f"{formats.figure(found.teacher['fid'])} of the {guided} at {spent} evaluations"
    if found.student is not None:
        steps, fid = formats.steps(found.student["steps"]), formats.figure(found.student["fid"])
        saved = formats.times(found.fewer_evaluations)
        return f"{steps}: {name} {fid} at {at} against {teacher}: {saved} fewer network evaluations"
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
    table["teacher"] = [float(found.teacher["fid"]) for found in matches]
    table["floor"] = [float(m.heldout["fid"])] * len(matches)
    table["fewest_steps_near_teacher"] = [found.steps for found in matches]
    table["fewer_evaluations_near_teacher"] = [found.fewer_evaluations for found in matches]
    savings = [saving_of(m, w) for w in m.guidance]
    table["fewer_evaluations_equal_fid"] = [_at_equal_fid(s)["saved"] for s in savings]
    return table
