"""The finding in one sentence, computed: what the fewest steps reach, beside the teacher."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pdpipe.reporting import formats
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.metrics import FID
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

    `sentence` is what was measured of the student of the fewest steps, with no claim; `details` are
    what follows from it, each a sentence. `metrics` are flat and numeric as trackers want them;
    reports/metrics.json has them but `UNLISTED`. `table` maps each column to its values, a row for
    each w.
    """

    sentence: str
    details: list[str]
    figure: str
    w: float
    metrics: dict[str, float]
    table: dict[str, list[Any]]


def headline(m: Measurements) -> Headline:
    """The headline of the measurements, at `headline_w`."""
    w = headline_w(m)
    return Headline(
        sentence=sentence(m, w),
        details=details(m, match(m, w)),
        figure=m.named("FID"),
        w=w,
        metrics=headline_metrics(m),
        table=_table(m),
    )


def headline_metrics(m: Measurements) -> dict[str, float]:
    """The few numbers at `headline_w`.

    The names are short: `dvc exp show` gives each a column. `fid_4` is the FID of the student of
    4 steps. `saved` is how many times fewer evaluations the student of the fewest steps takes: at
    equal FID, interpolated, with the ends of its interval; `saved_near` is that of the student of
    the fewest steps that reaches the teacher.
    """
    w = headline_w(m)
    listed = sorted(m.student_steps)[:LISTED]
    return {
        **{f"fid_{n}": float(m.cell("student", n, w)["fid"]) for n in listed},
        "fid_teacher": float(m.full(w)["fid"]),
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


def sentence(m: Measurements, w: float) -> str:
    """What the student of the fewest steps has at w, beside its teacher."""
    full = m.full(w)
    fid, guided, at = FID.text(full["fid"]), _guided(w), formats.weight(w)
    if not m.student_steps:
        count = formats.steps(m.full_steps)
        return (
            f"No student yet (the ladder is empty): the {guided} has FID {fid} in {count} at {at}"
        )
    fewest = min(m.student_steps)
    own = FID.text(m.cell("student", fewest, w)["fid"])
    alone = FID.text(m.cell("teacher", fewest, w)["fid"])
    return (
        f"{formats.steps(fewest)} instead of {m.full_steps}: FID {own}, where the {guided} has "
        f"{fid} in {formats.steps(m.full_steps)} and {alone} in {fewest} ({at}; lower is better)"
    )


def details(m: Measurements, found: Match) -> list[str]:
    """What follows from the figures at one w: the work, who reaches the teacher, what is saved."""
    if not m.student_steps:
        return []
    steps = min(m.student_steps)
    fewest = m.cell("student", steps, found.w)
    less = formats.times(float(found.teacher["nfe"] / fewest["nfe"]))
    two = ", since guidance takes two a step" * (found.w > 0)
    others = [_excess(m, steps, w) for w in m.guidance if w != found.w]
    ends = " to ".join(dict.fromkeys(map(_side, (min(others), max(others))))) if others else ""
    work = (
        f"That is {_side(_excess(m, steps, found.w))} the teacher's FID"
        f"{f' (at the other w: {ends})' * bool(ends)}, with {less} fewer network evaluations{two}."
    )
    at = formats.weight(found.w)
    within = (
        f"within {formats.share(NEAR)} of the teacher's FID, the 95 % interval of the difference "
        "included"
    )
    if found.steps is None:
        reached = f"At {at}, no student of fewer evaluations is shown to be {within}."
    else:
        enough, times = formats.steps(found.steps), formats.times(found.fewer_evaluations)
        reached = f"At {at}, {enough} suffice to be {within}: {times} fewer evaluations."
    return [work, reached, f"{saved_sentence(m, found.w)}."]


def _excess(m: Measurements, steps: int, w: float) -> float:
    """How far a student's FID is above that of the full-count teacher, as a share of it."""
    return float(m.cell("student", steps, w)["fid"] / m.full(w)["fid"]) - 1.0


def _side(excess: float) -> str:
    """`27 % above`."""
    return f"{formats.share(abs(excess))} {'above' if excess >= 0 else 'below'}"


def _guided(w: float) -> str:
    return "guided teacher" if w > 0 else "teacher"


def _table(m: Measurements) -> dict[str, list[Any]]:
    matches = [match(m, w) for w in m.guidance]
    table: dict[str, list[Any]] = {"w": m.guidance}
    for n in m.student_steps:
        table[f"student_{n}"] = [float(m.cell("student", n, w)["fid"]) for w in m.guidance]
    table["teacher"] = [float(found.teacher["fid"]) for found in matches]
    table["fewest_steps_reaching_teacher"] = [found.steps for found in matches]
    table["fewer_evaluations_reaching_teacher"] = [found.fewer_evaluations for found in matches]
    savings = [saving_of(m, w) for w in m.guidance]
    table["fewer_evaluations_equal_fid"] = [_at_equal_fid(s)["saved"] for s in savings]
    return table
