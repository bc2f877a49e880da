"""How much a student saves: what the teacher would need for the same FID, and how sure that is.

The teacher's FID against its network evaluations is interpolated, both on a logarithmic scale,
between the step counts it was measured at. The interval comes from drawing every figure that
enters anew within its standard error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pdpipe.reporting import formats
from pdpipe.reporting.intervals import LEVEL
from pdpipe.reporting.measurements import Measurements
from pdpipe.reporting.tables import Table

DRAWS = 2000
Array = NDArray[np.float64]


class Span(NamedTuple):
    """A factor and the ends of its interval, which are NaN where there is none."""

    factor: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Saving:
    """What a student of some steps saves at one w against the teacher at equal FID.

    A teacher that does not reach the student's FID at its full count would need more: `at_least`.
    """

    steps: int
    w: float
    evaluations: Span  # the teacher's for each of the student's
    seconds: Span  # likewise, NaN where no times are known
    at_least: bool
    high_at_least: bool  # the upper end is that of the teacher's full count

    def text(self, span: Span) -> str:
        """`12× (10× to 14×)`."""
        factor, low, high = map(formats.times, span)
        figure = f"{'≥ ' * self.at_least}{factor}"
        if math.isnan(span.low):
            return figure
        return f"{figure} ({low} to {'≥ ' * self.high_at_least}{high})"


def saving(m: Measurements, steps: int, w: float) -> Saving:
    """What the student of `steps` steps saves at w."""
    student = m.cell("student", steps, w)
    teacher = m.select("teacher", w=w).sort_values("nfe")
    nfe = teacher["nfe"].to_numpy(dtype=float)
    fids, target = teacher["fid"].to_numpy(dtype=float), float(student["fid"])
    reached = float(_reached(fids[None], np.array([target]), nfe)[0])
    low, high = _interval(teacher, student, nfe)
    needed = np.minimum([reached, low, high], nfe[-1])
    seconds = np.interp(needed, nfe, teacher["seconds_per_image"].to_numpy(dtype=float))
    return Saving(
        steps=steps,
        w=w,
        evaluations=Span(*(needed / float(student["nfe"])).tolist()),
        seconds=Span(*(seconds / float(student["seconds_per_image"])).tolist()),
        at_least=math.isinf(reached),
        high_at_least=math.isinf(high),
    )


def saving_of(m: Measurements, w: float) -> Saving | None:
    """What the student of the fewest steps saves at w, if there is one."""
    return saving(m, min(m.student_steps), w) if m.student_steps else None


def saved_sentence(m: Measurements, w: float) -> str:
    """What the headline's student saves at w for equal FID."""
    found = saving_of(m, w)
    if found is None:
        return ""
    teacher = m.teacher_by if w == 0 else f"guided {m.teacher_by}"
    timed = not math.isnan(found.seconds.factor)
    return (
        f"For equal FID at {formats.weight(w)}, interpolated, the {teacher} needs "
        f"{found.text(found.evaluations)} the network evaluations of the student of "
        f"{formats.steps(found.steps)}"
    ) + f", and {found.text(found.seconds)} its time" * timed


def savings_tables(m: Measurements, *, paper: bool = False) -> list[Table]:
    """For each student and w: the teacher's evaluations, and its time, for each of the student's.

    A paper's leaves out the times, which depend on the machine; none without students.
    """
    found = {n: [saving(m, n, w) for w in m.guidance] for n in m.student_steps}
    what = {"network evaluations": [[s.text(s.evaluations) for s in row] for row in found.values()]}
    if not paper:
        what["time"] = [[s.text(s.seconds) for s in row] for row in found.values()]
    note = (
        f"The {{}} that the {m.teacher_by} needs for the student's FID, in multiples of the "
        "student's: interpolated between the step counts at which the teacher was measured, with "
        f"the {formats.share(LEVEL)} interval. ≥: at its full count of "
        f"{formats.steps(m.full_steps)} the teacher does not reach this FID. Below 1×, the teacher "
        "needs less. If an interval contains 1×, the two are not separated."
    )
    varied = {"time": " The interval does not include how times vary from run to run."}
    return [
        Table(
            title=f"Saved at equal quality: {name}",
            columns=["steps", *map(formats.weight, m.guidance)],
            rows=[[str(n), *row] for n, row in zip(found, cells, strict=True)],
            note=note.format(name) + varied.get(name, ""),
        )
        for name, cells in what.items()
        if found
    ]


def _interval(teacher: pd.DataFrame, student: pd.Series[Any], nfe: Array) -> tuple[float, float]:
    """The ends of the interval of the evaluations that the teacher needs; infinite: not reached."""
    errors = teacher["fid_se"].to_numpy(dtype=float)
    if np.isnan(errors).any() or pd.isna(student["fid_se"]):
        return math.nan, math.nan
    random = np.random.default_rng(0)
    dof = np.array([student["se_dof"], *teacher["se_dof"]], dtype=float)
    noise = random.standard_t(dof, (DRAWS, len(dof)))
    fids = teacher["fid"].to_numpy(dtype=float) + noise[:, 1:] * errors
    targets = float(student["fid"]) + noise[:, 0] * float(student["fid_se"])
    reached = np.sort(_reached(np.maximum(fids, 1e-9), np.maximum(targets, 1e-9), nfe))
    tail = (1 - LEVEL) / 2
    return float(reached[round(tail * DRAWS)]), float(reached[round((1 - tail) * DRAWS) - 1])


def _reached(fids: Array, targets: Array, nfe: Array) -> Array:
    """The fewest evaluations at which each teacher has its target FID, interpolated.

    Args:
        fids: of the teachers, (k, number of step counts).
        targets: a FID for each, (k,).
        nfe: the evaluations of the step counts, ascending.

    Returns:
        (k,); infinite where the target is not reached. Fewer than the first step count's are not
        extrapolated.
    """
    below = fids <= targets[:, None]
    found = np.full(len(targets), math.inf)
    for k in np.flatnonzero(below.any(axis=1)):
        j = int(below[k].argmax())
        if j == 0:
            found[k] = nfe[0]
            continue
        above, under = math.log(fids[k, j - 1]), math.log(fids[k, j])
        share = (above - math.log(targets[k])) / (above - under)
        found[k] = math.exp(math.log(nfe[j - 1]) + share * math.log(nfe[j] / nfe[j - 1]))
    return found
